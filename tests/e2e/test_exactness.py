"""Without offloads the exporter counts what the driver counts, to the byte and the packet."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.e2e.exporter_process import Audit, Exporter
from tests.e2e.net import End, Network
from tests.e2e.traffic import Flood, iperf


@pytest.fixture
def ends(network: Network) -> tuple[End, End]:
    """(peer, host) on a wire without offloads; the exporter counts on the host's end."""
    return network.wire(network.namespace("peer", ipv6=True), network.namespace("host", ipv6=True))


@pytest.fixture
def audit(ends: tuple[End, End]) -> Iterator[Audit]:
    with Exporter(ends[1].namespace, "--interface", "eth0") as exporter:
        yield Audit(exporter, ends[1])


@pytest.mark.parametrize("options", [(), ("--reverse",)], ids=["received", "sent"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_tcp(ends: tuple[End, End], audit: Audit, family: str, options: tuple[str, ...]) -> None:
    peer, host = ends
    carried = iperf(
        peer.namespace, host.namespace, getattr(host, family), "--bytes", "200M", *options
    )
    metrics = audit.verify()
    direction = "egress" if options else "ingress"
    assert carried > 100_000_000
    assert metrics.sum("ayaflow_bytes_total", direction=direction) > carried


def test_a_million_datagrams_of_50000_flows(
    ends: tuple[End, End], audit: Audit, flood: Flood
) -> None:
    peer, host = ends
    sent = flood.send(peer, "--flows", "50000", "--count", "1000000")
    metrics = audit.verify()
    assert sent.packets == 1_000_000
    assert metrics.sum("ayaflow_packets_total", direction="ingress") >= 1_000_000
    assert metrics.value("ayaflow_flow_table_entries") > 49_000

    flood.send(host, "--flows", "2000", "--count", "200000")
    audit.verify()


def test_many_short_connections(ends: tuple[End, End], audit: Audit, flood: Flood) -> None:
    """To an address of the host: its stack answers every SYN with a RST."""
    peer, host = ends
    options = ("--proto", "tcp", "--repeat", "4", "--count", "40000", "--destination", host.ipv4)
    flood.send(peer, *options, "--source", peer.ipv4, "--pps", "40000", to=host.mac)
    metrics = audit.verify()
    assert metrics.sum("ayaflow_packets_total", direction="egress") > 1000


def test_fragments_of_large_datagrams(ends: tuple[End, End], audit: Audit) -> None:
    peer, host = ends
    for family, address in ((socket.AF_INET, host.ipv4), (socket.AF_INET6, host.ipv6)):
        with peer.namespace.socket(family, socket.SOCK_DGRAM) as plug:
            for _ in range(50):
                plug.sendto(bytes(20000), (address, 9))
    metrics = audit.verify()
    assert metrics.sum("ayaflow_packets_total", direction="ingress") >= 1400
