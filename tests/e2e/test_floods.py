"""Floods from invented addresses: connections keep their counts, their names and their places."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from tests.e2e.exporter_process import Audit, Exporter
from tests.e2e.metrics import Metrics
from tests.e2e.net import End, Network
from tests.e2e.services import ECHO_PORT, Echo, connect, exchange, say
from tests.e2e.traffic import Flood
from tests.e2e.waiting import wait_until

_FLAGS = ("--interface", "eth0", "--flows.max", "4096", "--flows.idle-timeout", "10s")
_SLOTS = 8192
_FLOOD_S = 5
_GROWTH_MB = 6.0
"""Of the first 8,192 flows, whatever comes after them."""


@pytest.fixture
def ends(network: Network) -> tuple[End, End]:
    """(the attacker and a client, the node)."""
    return network.wire(network.namespace("peer"), network.namespace("host"))


def _connected(near: End, far: End, name: str) -> socket.socket:
    """A connection that has said whose it is."""
    plug = connect(near.namespace, far.ipv4, ECHO_PORT)
    exchange(plug, f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    return plug


def _packets_of(metrics: Metrics, name: str) -> int:
    return metrics.sum("ayaflow_packets_total", domain=name)


def _cpu_s(exporter: Exporter) -> float:
    (sample,) = exporter.scrape().samples("process_cpu_seconds_total")
    return sample.value


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_connections_are_counted_and_named_through_a_flood(
    ends: tuple[End, End], flood: Flood, protocol: str, figure: Callable[[str], None]
) -> None:
    peer, host = ends
    echo = Echo(host.namespace, ECHO_PORT)
    with Exporter(host.namespace, *_FLAGS) as exporter:
        audit = Audit(exporter, host)
        steady = _connected(peer, host, "steady.example")
        wait_until(lambda: _packets_of(exporter.scrape(), "steady.example") > 0)
        memory_mb, cpu_s = exporter.memory_mb(), _cpu_s(exporter)
        # Of TCP each is a SYN.
        options = ("--repeat", "1", "--payload", "0", "--seconds", str(_FLOOD_S))
        flooding = flood.start(peer, "--proto", protocol, *options)
        asked = 0
        newcomers: list[socket.socket] = []
        while flooding.poll() is None:
            say(steady, 1000)
            asked += 1
            if len(newcomers) < 10 and asked % 10 == 0:
                newcomers.append(_connected(peer, host, f"newcomer{len(newcomers)}.example"))
            time.sleep(0.01)
        sent = flood.sent(flooding)
        spent_s = _cpu_s(exporter) - cpu_s
        grown_mb = exporter.memory_mb() - memory_mb
        for plug in (steady, *newcomers):
            plug.close()
        metrics = audit.verify()
        overflow = metrics.sum("ayaflow_flow_table_overflow_packets_total")
        assert overflow > sent.packets / 2, "the flood has filled the table"
        assert metrics.value("ayaflow_flow_table_entries") <= _SLOTS
        assert _packets_of(metrics, "steady.example") >= 2 * asked
        assert len(newcomers) == 10
        for number in range(len(newcomers)):
            assert _packets_of(metrics, f"newcomer{number}.example") > 0
        assert grown_mb < _GROWTH_MB
        figure(
            f"{sent.packets:,} packets and flows in {sent.seconds:.1f} s, CPU {spent_s:.2f} s,"
            f" memory {grown_mb:+.2f} MiB, {asked} exchanges meanwhile"
        )
        wait_until(
            lambda: exporter.scrape().value("ayaflow_flow_table_entries") < _SLOTS // 10,
            timeout_s=40,
        )
        audit.verify()
    echo.close()
