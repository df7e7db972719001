"""What a host sends to a group, or to all, comes back to itself, and is on no wire then."""

from __future__ import annotations

import socket

import pytest

from tests.e2e.exporter_process import Audit, Exporter
from tests.e2e.net import Network

PACKETS = 50
GROUP_V4 = "239.1.2.3"
GROUP_V6 = "ff15::1234"
PORT = 5353


@pytest.mark.parametrize("mode", ["tcx", "clsact"])
def test_copies_for_the_sender_itself_are_not_counted(network: Network, mode: str) -> None:
    _, host = network.wire(
        network.namespace("peer", ipv6=True), network.namespace("host", ipv6=True)
    )
    ifindex = host.namespace.ifindex("eth0")
    v4 = host.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
    v6 = host.namespace.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with v4, v6, Exporter(host.namespace, "--interface", "eth0", "--attach", mode) as exporter:
        v4.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        member = socket.inet_aton(GROUP_V4) + bytes(4) + ifindex.to_bytes(4, "little")
        v4.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        v4.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, bytes(8) + member[8:])
        v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        group = socket.inet_pton(socket.AF_INET6, GROUP_V6) + ifindex.to_bytes(4, "little")
        v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, ifindex)
        for sock in (v4, v6):
            sock.bind(("", PORT))
            sock.settimeout(5)
        audit = Audit(exporter, host)
        for _ in range(PACKETS):
            v4.sendto(b"to all", (host.ipv4.rpartition(".")[0] + ".255", PORT))
            assert v4.recv(100) == b"to all"
            v4.sendto(b"to the group", (GROUP_V4, PORT))
            assert v4.recv(100) == b"to the group"
            v6.sendto(b"to the group", (GROUP_V6, PORT))
            assert v6.recv(100) == b"to the group"
        metrics = audit.verify()
        assert metrics.counted("eth0").tx_packets >= 3 * PACKETS
