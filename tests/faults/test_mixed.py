"""All that can happen to a node, in random order: afterwards it is as it was, to the byte."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.net import Network
from tests.e2e.traffic import Flood
from tests.e2e.waiting import wait_until
from tests.faults.catalogue import FAULTS, FULL, SHORT, Fault, Scale
from tests.faults.node import SOON_S, Level, Node, hold
from tests.faults.watch import Watch

RSS_RATIO = 1.10
LINES_A_MINUTE = 30


def settled(node: Node, warm: Level) -> Level:
    """The exporter takes no more than it did after the warm-up; or soon does."""

    def check() -> Level:
        now = node.level()
        assert now.rss_mb <= RSS_RATIO * warm.rss_mb, f"{now} after {warm}"
        assert now.descriptors <= warm.descriptors, f"{now} after {warm}"
        return now

    return wait_until(check, SOON_S, poll_s=0.5)


def shuffled(rng: random.Random) -> Iterator[Fault]:
    """Rounds of all faults, each in another order."""
    while True:
        yield from rng.sample(FAULTS, len(FAULTS))


def inject(
    node: Node, watch: Watch, rng: random.Random, scale: Scale, seconds: float, warm: Level
) -> tuple[Counter[str], float]:
    """Each fault once at least, until the time is over. How often each was injected, and the
    highest RSS in MiB that one left behind.
    """
    injected: Counter[str] = Counter()
    highest_mb = 0.0
    end_s = time.monotonic() + seconds
    for fault in shuffled(rng):
        print(f"{fault.__name__} in process {node.processes}, {node.level()}", flush=True)
        fault(node, scale, rng)
        watch.check()
        node.check_attached()
        highest_mb = max(highest_mb, settled(node, warm).rss_mb)
        injected[fault.__name__] += 1
        if injected.total() >= len(FAULTS) and time.monotonic() > end_s:
            break
    return injected, highest_mb


@pytest.mark.parametrize(
    ("scale", "warm_up_s"),
    [
        pytest.param(SHORT, 3.0, id="short"),
        pytest.param(FULL, 60.0, id="full", marks=pytest.mark.faults),
    ],
)
def test_a_node_is_as_it_was_after_any_fault(
    network: Network,
    flood: Flood,
    tmp_path: Path,
    rng: random.Random,
    seconds: float,
    scale: Scale,
    warm_up_s: float,
    figure: Callable[[str], None],
) -> None:
    begun_s = time.monotonic()
    with Node(network, tmp_path, flood) as node, Watch(node.get) as watch:
        node.send()
        hold(warm_up_s)
        warm = node.least_level()
        faults_s = seconds if scale is FULL else 0.0
        injected, highest_mb = inject(node, watch, rng, scale, faults_s, warm)
        node.rest()
        metrics = node.check_counts()
        last = settled(node, warm)
        minutes = (time.monotonic() - begun_s) / 60
        lines = len(node.log.splitlines())
        figure(f"{injected.total()} faults in {minutes:.1f} min: {dict(injected)}")
        figure(
            f"{metrics.sum('ayaflow_interface_packets_total'):,} packets,"
            f" {metrics.sum('ayaflow_interface_bytes_total'):,} bytes: exact"
        )
        figure(
            f"RSS {warm.rss_mb:.1f} MiB warm, {last.rss_mb:.1f} at the end, at most"
            f" {highest_mb:.1f} after a fault; descriptors {warm.descriptors}, {last.descriptors}"
        )
        figure(f"{node.processes} processes, {lines} log lines, {lines / minutes:.0f} a minute")
        figure(
            f"scrapes: {watch.answered} answered, {watch.unanswered} not, {watch.refused} told to"
            " come again; no counter went back"
        )
        assert "Traceback" not in node.log
        assert lines / max(1.0, minutes) < LINES_A_MINUTE, node.log
