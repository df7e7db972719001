"""The faults: each begins, lasts, shows that it truly happened, and ends with its recovery."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.e2e.waiting import wait_until
from tests.faults import disk
from tests.faults.crowd import crowd, dribble
from tests.faults.node import SOON_S, Node, hold

SCRAPERS = 200
STEPS_S = (3600, -7200, 10 * 365 * 86400)
_BLACK_HOLE = (
    "add table ip faults; add chain ip faults out {{ type filter hook output priority 0; }};"
    " add rule ip faults out tcp dport {port} drop"
)


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    hold_s: float
    """Of most faults."""
    stopped_s: float
    flows: int
    """Of the flood."""


FULL = Scale(hold_s=5.0, stopped_s=20.0, flows=1_000_000)
SHORT = Scale(hold_s=0.5, stopped_s=1.0, flows=100_000)


def interface_down(node: Node, scale: Scale, rng: random.Random) -> None:
    """While somebody goes on sending to it."""
    spare = node.spare
    seconds = str(scale.hold_s * 2)
    sender = node.flood.start(spare.sender, "--flows", "50", "--pps", "2000", "--seconds", seconds)
    hold(scale.hold_s / 2)
    spare.set("down")
    hold(scale.hold_s / 2)
    spare.set("up")
    node.flood.sent(sender)


def interface_deleted(node: Node, scale: Scale, rng: random.Random) -> None:
    """And another one comes under its name."""
    node.spare.unplug()
    wait_until(lambda: not node.spare.is_attached(node.scrape()), SOON_S)
    hold(scale.hold_s)
    node.spare.plug()
    node.check_attached()
    node.flood.send(node.spare.sender, "--flows", "50", "--count", "5000")


def interface_renamed(node: Node, scale: Scale, rng: random.Random) -> None:
    """While somebody goes on sending to it, there and back."""
    spare = node.spare
    seconds = str(scale.hold_s * 2)
    sender = node.flood.start(spare.sender, "--flows", "50", "--pps", "2000", "--seconds", seconds)
    for _ in range(2):
        hold(scale.hold_s / 2)
        spare.rename()
        node.check_attached()
    node.flood.sent(sender)


def check_table_has_room(node: Node) -> None:
    """Soon, nearly all of it, since flows that are idle leave it."""

    def has_room() -> bool:
        metrics = node.scrape()
        limit = metrics.value("ayaflow_flow_table_limit")
        return metrics.value("ayaflow_flow_table_entries") < limit // 10

    wait_until(has_room, SOON_S)


def many_flows(node: Node, scale: Scale, rng: random.Random) -> None:
    """More than the table has room for, at full rate; afterwards they leave it."""
    count = str(scale.flows)
    before = node.scrape().sum("ayaflow_flow_table_overflow_packets_total")
    node.flood.send(node.peer, "--source", "198.20.0.0", "--count", count, timeout_s=SOON_S)
    assert node.scrape().sum("ayaflow_flow_table_overflow_packets_total") > before
    check_table_has_room(node)


def ring_full(node: Node, scale: Scale, rng: random.Random) -> None:
    """By more new flows than it has room for, before anybody reads one."""
    before = node.scrape().value("ayaflow_ring_dropped_events_total", ring="flow")
    node.stand_still(still=True)
    try:
        node.flood.send(node.peer, "--source", "198.21.0.0", "--count", "10000")
    finally:
        node.stand_still(still=False)
    now = node.scrape().value("ayaflow_ring_dropped_events_total", ring="flow")
    assert now > before + 1000, f"{now} events after {before} found the ring full"


def stopped(node: Node, scale: Scale, rng: random.Random) -> None:
    """The serving process, by SIGSTOP."""
    node.stand_still(still=True)
    try:
        hold(scale.stopped_s)
    finally:
        node.stand_still(still=False)


def killed(node: Node, scale: Scale, rng: random.Random) -> None:
    """All processes, by SIGKILL, amid new flows; for a time nobody counts but the kernel."""
    flows = str(scale.flows // 10)
    sender = node.flood.start(node.peer, "--source", "198.22.0.0", "--count", flows)
    node.kill()
    hold(scale.hold_s)
    node.start()
    node.flood.sent(sender)
    check_table_has_room(node)


def disk_full(node: Node, scale: Scale, rng: random.Random) -> None:
    """Nothing of the history can be written; afterwards all of it is."""
    ballast = node.disk / "ballast"
    before = node.scrape().value("ayaflow_history_errors_total", reason="full")

    def is_noticed() -> bool:
        disk.fill(ballast)  # the exporter may have found some room meanwhile
        return node.scrape().value("ayaflow_history_errors_total", reason="full") > before

    try:
        wait_until(is_noticed, SOON_S)
        hold(scale.hold_s)
    finally:
        ballast.unlink()
    newest = node.newest_interval()
    wait_until(lambda: node.newest_interval() > newest + 1, SOON_S)


def collector_silent(node: Node, scale: Scale, rng: random.Random) -> None:
    """Packets to the collector vanish; afterwards what waited is pushed."""
    before = node.scrape().sum("ayaflow_otlp_export_failures_total")
    node.host.run("nft", _BLACK_HOLE.format(port=node.receiver.http_port))
    try:
        wait_until(lambda: node.scrape().sum("ayaflow_otlp_export_failures_total") > before, SOON_S)
        hold(scale.hold_s)
    finally:
        node.host.run("nft", "delete table ip faults")
    wait_until(lambda: node.scrape().value("ayaflow_otlp_backlog_seconds") < 5, SOON_S)


def clock_stepped(node: Node, scale: Scale, rng: random.Random) -> None:
    """Forth and back, and then to what it was."""
    for step_s in (*STEPS_S, 0):
        node.clock.step(step_s)
        hold(scale.hold_s / len(STEPS_S))
        shown_s = node.scrape().value("ayaflow_last_fold_timestamp_seconds")
        assert abs(shown_s - time.time() - step_s) < SOON_S, "the exporter has another clock"


def hostile_scrapers(node: Node, scale: Scale, rng: random.Random) -> None:
    """An honest one is answered beside them, though it may be asked to come again."""
    with crowd(node.host, SCRAPERS, rng) as plugs:
        dribble(plugs, scale.hold_s)
        wait_until(lambda: node.get().status == 200, SOON_S)
        assert len(os.listdir(f"/proc/{node.exporter.pid}/fd")) > SCRAPERS // 2


Fault = Callable[[Node, Scale, random.Random], None]
FAULTS: tuple[Fault, ...] = (
    *(interface_down, interface_deleted, interface_renamed, many_flows, ring_full, stopped),
    *(killed, disk_full, collector_silent, clock_stepped, hostile_scrapers),
)
