"""Under every shortage each packet is counted, and what was lost on the way is said."""

from __future__ import annotations

import mmap
import os
import re
import signal
from collections.abc import Callable
from time import monotonic

import pytest

from tests.e2e.exporter_process import Audit, Exporter
from tests.e2e.net import End, Network
from tests.e2e.traffic import Flood
from tests.e2e.waiting import wait_until

_RELEASED = re.compile(r"stopped; (\d+) flows have come and gone")


@pytest.fixture
def ends(network: Network) -> tuple[End, End]:
    return network.wire(network.namespace("peer"), network.namespace("host"))


def _flags(*flags: str) -> tuple[str, ...]:
    return ("--interface", "eth0", *flags)


def test_a_ring_that_is_too_small_loses_events_and_no_packet(
    ends: tuple[End, End], flood: Flood
) -> None:
    peer, host = ends
    with Exporter(host.namespace, *_flags("--ring.size", str(mmap.PAGESIZE))) as exporter:
        audit = Audit(exporter, host)
        flood.send(peer, "--flows", "40000", "--count", "200000")
        flood.send(peer, "--proto", "tcp", "--repeat", "4", "--count", "40000")
        flood.send(host, "--flows", "2000", "--count", "20000", "--source", "198.19.0.0")
        metrics = audit.verify()
        assert metrics.sum("ayaflow_ring_dropped_events_total") > 1000
        # A sweep finds the flows that no event has announced.
        assert metrics.value("ayaflow_flow_table_entries") > 45_000


@pytest.mark.parametrize("flows_max", [1, 10, 100])
def test_a_flow_table_that_is_too_small_overflows_into_unknown(
    ends: tuple[End, End], flood: Flood, flows_max: int
) -> None:
    peer, host = ends
    with Exporter(host.namespace, *_flags("--flows.max", str(flows_max))) as exporter:
        audit = Audit(exporter, host)
        flood.send(peer, "--flows", "10000", "--count", "100000")
        flood.send(host, "--flows", "5000", "--count", "50000")
        metrics = audit.verify()
        assert metrics.value("ayaflow_flow_table_limit") == flows_max
        for direction, packets in (("ingress", 100_000), ("egress", 50_000)):
            labels = {"device": "eth0", "direction": direction}
            overflow = metrics.value("ayaflow_flow_table_overflow_packets_total", **labels)
            assert packets // 2 < overflow <= packets
            known = metrics.value("ayaflow_packets_total", direction=direction, domain="unknown")
            assert known == packets


def test_a_full_table_takes_new_flows_once_old_ones_are_idle(
    ends: tuple[End, End], flood: Flood
) -> None:
    peer, host = ends
    flags = ("--flows.max", "100", "--flows.idle-timeout", "500ms")
    with Exporter(host.namespace, *_flags(*flags)) as exporter:
        audit = Audit(exporter, host)
        flood.send(peer, "--flows", "2000", "--count", "2000")
        full = audit.verify()
        assert full.value("ayaflow_flow_table_entries") > 150
        wait_until(lambda: exporter.scrape().value("ayaflow_flow_table_entries") == 0, 20)
        flood.send(peer, "--flows", "50", "--count", "500", "--first", "5000")
        after = audit.verify()
        assert after.value("ayaflow_flow_table_entries") >= 45
        overflow = "ayaflow_flow_table_overflow_packets_total"
        assert after.sum(overflow) - full.sum(overflow) < 100


def test_flows_that_are_idle_leave_the_table_and_come_back(
    ends: tuple[End, End], flood: Flood
) -> None:
    peer, host = ends
    with Exporter(host.namespace, *_flags("--flows.idle-timeout", "1s")) as exporter:
        audit = Audit(exporter, host)
        for round_ in range(1, 4):
            flood.send(peer, "--flows", "1000", "--count", "5000")
            metrics = audit.verify()
            assert metrics.value("ayaflow_flow_table_entries") == 1000
            wait_until(lambda: exporter.scrape().value("ayaflow_flow_table_entries") == 0, 20)
            assert audit.verify().sum("ayaflow_packets_total") == 5000 * round_


def test_connections_that_are_closed_are_no_longer_active(
    ends: tuple[End, End], flood: Flood
) -> None:
    peer, host = ends
    with Exporter(host.namespace, *_flags()) as exporter:
        audit = Audit(exporter, host)
        flood.send(peer, "--proto", "tcp", "--repeat", "4", "--count", "4000")
        flood.send(peer, "--flows", "300", "--count", "600", "--source", "198.19.0.0")
        metrics = audit.verify()
        active = metrics.value("ayaflow_active_connections", direction="ingress", domain="unknown")
        assert active == 300


def test_an_exporter_that_stands_still_for_seconds_loses_nothing(
    ends: tuple[End, End], flood: Flood
) -> None:
    peer, host = ends
    with Exporter(host.namespace, *_flags("--flows.idle-timeout", "1s")) as exporter:
        audit = Audit(exporter, host)
        sender = flood.start(peer, "--repeat", "4", "--seconds", "3")
        wait_until(lambda: exporter.scrape().sum("ayaflow_packets_total") > 0)
        os.kill(exporter.pid, signal.SIGSTOP)
        flood.sent(sender)
        os.kill(exporter.pid, signal.SIGCONT)
        metrics = audit.verify()
        assert metrics.sum("ayaflow_flow_table_overflow_packets_total") > 0
        assert metrics.sum("ayaflow_ring_dropped_events_total") > 0


def _churn(
    ends: tuple[End, End], flood: Flood, seconds: float, enough: int, say: Callable[[str], None]
) -> int:
    """Two senders at full rate, whose flows come and go; returns how many flows left the table."""
    peer, host = ends
    flags = ("--flows.idle-timeout", "300ms", "--flows.max", "100000")
    with Exporter(host.namespace, *_flags(*flags)) as exporter:
        audit = Audit(exporter, host)
        begun = monotonic()
        options = ("--seconds", str(seconds))
        senders = (
            flood.start(peer, "--repeat", "5", *options),
            flood.start(
                peer, "--proto", "tcp", "--repeat", "4", "--source", "198.19.0.0", *options
            ),
        )
        slowest = 0.0
        while any(sender.poll() is None for sender in senders):
            asked = monotonic()
            exporter.scrape()
            slowest = max(slowest, monotonic() - asked)
        sent = [flood.sent(sender) for sender in senders]
        metrics = audit.verify()
        wait_until(lambda: exporter.scrape().value("ayaflow_flow_table_entries") == 0, 60)
        audit.verify()
        exporter.stop()
        found = _RELEASED.search(exporter.log)
        assert found, exporter.log
        released = int(found[1])
        say(
            f"{sum(one.packets for one in sent):,} packets in {monotonic() - begun:.0f} s,"
            f" {released:,} deletions, slowest scrape {slowest:.2f} s, overflow"
            f" {metrics.sum('ayaflow_flow_table_overflow_packets_total'):,} packets, events dropped"
            f" {metrics.sum('ayaflow_ring_dropped_events_total'):,}"
        )
    assert released >= enough
    return released


def test_flows_that_are_deleted_all_the_time_lose_nothing(
    ends: tuple[End, End], flood: Flood, figure: Callable[[str], None]
) -> None:
    _churn(ends, flood, 6, 50_000, figure)


@pytest.mark.slow
def test_a_million_deletions_lose_nothing(
    ends: tuple[End, End], flood: Flood, figure: Callable[[str], None]
) -> None:
    released = 0
    while released < 1_000_000:
        released += _churn(ends, flood, 60, 100_000, figure)
