"""Frames of every kind on live devices: tags, no IP, no L2 header, payloads in fragments."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.e2e import frames
from tests.e2e.exporter_process import Audit, Exporter
from tests.e2e.net import End, Namespace, Network
from tests.e2e.traffic import NOBODY, send_frames


@pytest.fixture
def ends(network: Network) -> tuple[End, End]:
    """(peer, host) on a wire without offloads, and without IPv6, so that nobody speaks unasked."""
    return network.wire(network.namespace("peer"), network.namespace("host"))


@pytest.fixture
def audit(ends: tuple[End, End]) -> Iterator[Audit]:
    with Exporter(ends[1].namespace, "--interface", "eth0") as exporter:
        yield Audit(exporter, ends[1])


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param([(frames.VLAN, 100)], id="one"),
        pytest.param([(frames.VLAN, 100), (frames.QINQ, 200)], id="two"),
        pytest.param([(frames.VLAN, 1), (frames.VLAN, 2), (frames.QINQ, 3)], id="three"),
        pytest.param([(frames.VLAN, 0)], id="priority"),
    ],
)
def test_vlan_tags_count_though_the_kernel_keeps_the_outer_one_beside_the_frame(
    ends: tuple[End, End], audit: Audit, tags: list[tuple[int, int]]
) -> None:
    peer, host = ends
    frame = frames.ethernet(NOBODY, frames.IPV4, frames.udp("192.0.2.1", host.ipv4, 9, bytes(50)))
    for ether_type, vlan in tags:
        frame = frames.tagged(frame, ether_type, vlan)
    send_frames(peer, [frame] * 10)
    received = audit.verify()
    assert received.sum("ayaflow_bytes_total", direction="ingress") == 10 * len(frame)
    send_frames(host, [frame] * 7)
    sent = audit.verify()
    assert sent.sum("ayaflow_bytes_total", direction="egress") == 7 * len(frame)


def test_what_is_not_ip_is_unknown(ends: tuple[End, End], audit: Audit) -> None:
    strange = [
        frames.ethernet(NOBODY, frames.ARP, bytes(46)),
        frames.ethernet("ff:ff:ff:ff:ff:ff", 0x88B5, bytes(46)),
        frames.ethernet("01:80:c2:00:00:00", 0x0026, bytes(38)),
        frames.ethernet(NOBODY, frames.IPV4, b"\x00" * 20),
        frames.ethernet(NOBODY, frames.IPV4, b"\x45"),
    ]
    send_frames(ends[0], strange)
    metrics = audit.verify()
    counted = metrics.value("ayaflow_bytes_total", direction="ingress", domain="unknown")
    assert counted >= sum(map(len, strange))


def test_a_ping_that_gets_answers(ends: tuple[End, End], audit: Audit) -> None:
    peer, host = ends
    assert _icmp_echoes(peer.namespace, host.ipv4, 20) == 20
    metrics = audit.verify()
    for direction in ("ingress", "egress"):
        assert metrics.value("ayaflow_packets_total", direction=direction, domain="unknown") == 20


def _icmp_echoes(namespace: Namespace, address: str, count: int) -> int:
    answered = 0
    with namespace.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as plug:
        plug.settimeout(5)
        for number in range(count):
            body = struct.pack("!BBHHH", 8, 0, 0, 7, number) + bytes(56)
            whole = body[:2] + struct.pack("!H", frames.checksum(body)) + body[4:]
            plug.sendto(whole, (address, 0))
            answered += plug.recv(1500)[20] == 0
    return answered


def test_a_tun_device_has_no_l2_header(network: Network) -> None:
    host = network.namespace("host")
    tun = frames.open_tun(host, "tun0")
    try:
        host.ip("address add 10.7.0.1/24 dev tun0")
        host.ip("link set tun0 up")
        device = End(host, "tun0", "10.7.0.1", "")
        with Exporter(host, "--interface", "tun0") as exporter:
            audit = Audit(exporter, device)
            packets = [
                frames.udp("10.7.0.2", "224.0.0.99", 9, bytes(100)),
                frames.ipv4("10.7.0.2", "10.7.0.1", socket.IPPROTO_ICMP, bytes(8)),
                b"\x60" + bytes(39),
            ]
            for packet in packets:
                os.write(tun, packet)
            with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
                for _ in range(5):
                    plug.sendto(bytes(72), ("10.7.0.2", 9))
            for _ in range(5):  # the driver counts as sent what was read
                assert os.read(tun, 2000)
            metrics = audit.verify()
            received = metrics.value("ayaflow_bytes_total", direction="ingress", domain="unknown")
            assert received == sum(map(len, packets))
            assert metrics.value("ayaflow_packets_total", direction="egress", domain="unknown") == 5
            assert metrics.value("ayaflow_bytes_total", direction="egress", domain="unknown") == 500
            # As many flows as were sent: it was parsed from the first byte on.
            assert metrics.value("ayaflow_flow_table_entries") == 4
    finally:
        os.close(tun)
