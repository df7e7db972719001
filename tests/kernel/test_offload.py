"""A super-packet counts as the packets that it becomes on the wire, with their repeated headers.

What is expected is added up from the segments themselves, each put together by scapy.
"""

from __future__ import annotations

from typing import Any

import pytest
from scapy.contrib.geneve import GENEVE, GeneveOptions
from scapy.layers.inet import IP, TCP, UDP, IPOption
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, Jumbo
from scapy.layers.l2 import ARP, GRE, Dot1AD, Dot1Q
from scapy.layers.ppp import PPP, PPPoE
from scapy.layers.sctp import SCTP
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from exporter.capture.records import FLOW_EGRESS, LINK_ETHERNET, LINK_IP
from tests.kernel.harness import Kernel, WireCounts
from tests.kernel.packets import PORTS, ether, mpls, v4, v6

SEGMENT = 100
PAYLOAD_LEN = 1234

_Options = list[tuple[str, Any]]

_OPTIONS: _Options = [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]
_SACK: _Options = [("NOP", None), ("NOP", None), ("SAck", (1, 2, 3, 4, 5, 6))]


def _tcp(options: _Options | None = None) -> Packet:
    return TCP(sport=PORTS[0], dport=PORTS[1], flags="A", options=options or [])


def _udp(port: int = PORTS[1]) -> Packet:
    return UDP(sport=PORTS[0], dport=port)


def _inner() -> Packet:
    return IP(src="10.0.0.1", dst="10.0.0.2") / _tcp(_OPTIONS)


def _inner_v6() -> Packet:
    return IPv6(src="fd00::1", dst="fd00::2") / _tcp(_OPTIONS)


def _vxlan(port: int = 4789, vni: int = 42) -> Packet:
    """RFC 7348; without the flags, scapy makes it VXLAN-GPE."""
    return _udp(port) / VXLAN(vni=vni, flags=8) / ether()


_GENEVE_OPTION = GeneveOptions(classid=0x0102, type=0x80, data=bytes(12))


def _geneve(*options: Packet) -> Packet:
    return _udp(6081) / GENEVE(vni=42, options=list(options)) / ether()


HEADERS: dict[str, Packet] = {
    "tcp-v4": ether() / v4() / _tcp(),
    "tcp-v4-timestamps": ether() / v4() / _tcp(_OPTIONS),
    "tcp-v4-sack": ether() / v4() / _tcp(_SACK),
    "tcp-v4-ip-options": ether() / v4(options=[IPOption(b"\x01" * 12)]) / _tcp(_OPTIONS),
    "tcp-v6": ether() / v6() / _tcp(),
    "tcp-v6-timestamps": ether() / v6() / _tcp(_OPTIONS),
    "tcp-v6-destination-options": ether() / v6() / IPv6ExtHdrDestOpt() / _tcp(_OPTIONS),
    "udp-v4": ether() / v4() / _udp(),
    "udp-v6": ether() / v6() / _udp(),
    "sctp-v4": ether() / v4() / SCTP(sport=1, dport=2),
    "vlan": ether() / Dot1Q(vlan=7) / v4() / _tcp(_OPTIONS),
    "qinq": ether() / Dot1AD(vlan=7) / Dot1Q(vlan=8) / v6() / _tcp(_OPTIONS),
    "pppoe": ether() / PPPoE(sessionid=3) / PPP(proto=0x21) / v4() / _tcp(),
    "mpls": ether() / mpls(2) / v4() / _tcp(),
    "raw-v4": v4() / _tcp(_OPTIONS),
    "raw-v6": v6() / _udp(),
    "ipip": ether() / v4() / _inner(),
    "6in4": ether() / v4() / _inner_v6(),
    "4in6": ether() / v6() / _inner(),
    "6in6": ether() / v6() / _inner_v6(),
    "udp-in-ipip": ether() / v4() / IP(src="10.0.0.1", dst="10.0.0.2") / _udp(),
    "ipip-with-inner-options": ether() / v4() / IP(options=[IPOption(b"\x01" * 8)]) / _tcp(),
    "ipip-raw": v4() / _inner(),
    "gre": ether() / v4() / GRE() / _inner(),
    "gre-over-v6": ether() / v6() / GRE() / _inner_v6(),
    "gre-key": ether() / v4() / GRE(key_present=1, key=5) / _inner(),
    "gre-checksum": ether() / v4() / GRE(chksum_present=1) / _inner(),
    "gre-sequence": ether() / v4() / GRE(seqnum_present=1) / _inner_v6(),
    "gre-all": ether() / v4() / GRE(chksum_present=1, key_present=1, seqnum_present=1) / _inner(),
    "gretap": ether() / v4() / GRE(proto=0x6558) / ether() / _inner(),
    "gretap-key": ether() / v6() / GRE(proto=0x6558, key_present=1) / ether() / _inner_v6(),
    "vxlan": ether() / v4() / _vxlan() / _inner(),
    "vxlan-of-v6": ether() / v4() / _vxlan() / _inner_v6(),
    "vxlan-other-port": ether() / v4() / _vxlan(port=8472) / _inner(),
    "vxlan-over-v6": ether() / v6() / _vxlan(vni=0xFFFFFF) / _inner(),
    "vlan-vxlan": ether() / Dot1Q(vlan=7) / v4() / _vxlan() / _inner(),
    "vxlan-of-vlan": ether() / v4() / _vxlan() / Dot1Q(vlan=9) / _inner(),
    "gretap-of-vlan": ether() / v4() / GRE(proto=0x6558) / ether() / Dot1Q(vlan=9) / _inner_v6(),
    "geneve": ether() / v4() / _geneve() / _inner(),
    "geneve-options": ether() / v4() / _geneve(_GENEVE_OPTION, _GENEVE_OPTION) / _inner_v6(),
    "geneve-over-v6": ether() / v6() / _geneve(_GENEVE_OPTION) / _inner(),
}


def _link_type(headers: Packet) -> int:
    return LINK_IP if isinstance(headers, IP | IPv6) else LINK_ETHERNET


def _super_packet(headers: Packet, payload_len: int = PAYLOAD_LEN) -> bytes:
    return bytes(headers / Raw(bytes(payload_len)))


def _on_the_wire(headers: Packet, payload_len: int = PAYLOAD_LEN) -> WireCounts:
    """What the segments of a super-packet add up to."""
    segments = [
        bytes(headers / Raw(bytes(min(SEGMENT, payload_len - start))))
        for start in range(0, payload_len, SEGMENT)
    ]
    return WireCounts(len(segments), sum(map(len, segments)))


each_header = pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)


@each_header
@pytest.mark.parametrize("count_given", [True, False], ids=["gso_segs", "no-gso_segs"])
def test_a_super_packet_counts_as_its_segments(
    kernel: Kernel, headers: Packet, count_given: bool
) -> None:
    wire = _on_the_wire(headers)
    kernel.set_link_type(_link_type(headers))
    kernel.run(
        _super_packet(headers),
        FLOW_EGRESS,
        gso_size=SEGMENT,
        gso_segs=wire.packets if count_given else 0,
        wire=wire,
    )
    assert kernel.only_flow().counts == wire


@each_header
def test_segments_that_fit_exactly_are_not_one_too_many(kernel: Kernel, headers: Packet) -> None:
    kernel.set_link_type(_link_type(headers))
    for count in (1, 2, 10):
        wire = _on_the_wire(headers, count * SEGMENT)
        assert wire.packets == count
        kernel.run(_super_packet(headers, count * SEGMENT), gso_size=SEGMENT, wire=wire)


@each_header
def test_one_segment_is_the_packet_that_it_looks_like(kernel: Kernel, headers: Packet) -> None:
    kernel.set_link_type(_link_type(headers))
    frame = _super_packet(headers, 40)
    for gso_segs in (0, 1):
        kernel.run(frame, gso_size=SEGMENT, gso_segs=gso_segs, wire=WireCounts(1, len(frame)))


@each_header
def test_a_count_without_a_size_is_no_super_packet(kernel: Kernel, headers: Packet) -> None:
    """As GRO leaves it behind, and as locally made packets have it."""
    kernel.set_link_type(_link_type(headers))
    frame = _super_packet(headers)
    kernel.run(frame, gso_segs=5, wire=WireCounts(1, len(frame)))


@pytest.mark.parametrize("options", [[], _OPTIONS], ids=["plain", "timestamps"])
@pytest.mark.parametrize("count_given", [True, False], ids=["gso_segs", "no-gso_segs"])
def test_the_jumbo_option_of_big_tcp_never_reaches_the_wire(
    kernel: Kernel, options: _Options, count_given: bool
) -> None:
    """The kernel strips the hop-by-hop header that it put in (net/ipv6/ip6_offload.c)."""
    jumbo = IPv6ExtHdrHopByHop(options=[Jumbo(jumboplen=200_000)])
    wire = _on_the_wire(ether() / v6() / _tcp(options))
    kernel.run(
        _super_packet(ether() / v6(plen=0) / jumbo / _tcp(options)),
        gso_size=SEGMENT,
        gso_segs=wire.packets if count_given else 0,
        wire=wire,
    )


def test_a_super_packet_of_65535_segments_counts_them_all(kernel: Kernel) -> None:
    headers = HEADERS["tcp-v4"]
    frame = _super_packet(headers)
    wire = WireCounts(65535, len(frame) + 65534 * len(bytes(headers)))
    kernel.run(frame, gso_size=1, gso_segs=65535, wire=wire)


def test_what_is_not_ip_is_never_split(kernel: Kernel) -> None:
    frame = bytes(ether() / ARP(hwsrc="02:00:00:00:00:01", psrc="192.0.2.1") / Raw(bytes(1000)))
    kernel.run(frame, gso_size=SEGMENT, gso_segs=10)
    assert kernel.totals().non_ip_bytes == len(frame)


@each_header
def test_a_cut_super_packet_is_counted_all_the_same(kernel: Kernel, headers: Packet) -> None:
    """Whatever the numbers then are, they are the same in totals and flows."""
    kernel.set_link_type(_link_type(headers))
    frame = _super_packet(headers, 20)
    for length in range(14 + 40, len(frame)):
        for gso_segs in (0, 3):
            kernel.run(frame[:length], gso_size=1, gso_segs=gso_segs)
            totals = kernel.totals()
            kernel.sent[0] = WireCounts(totals.packets, totals.bytes)
            kernel.check()
            assert totals.packets >= 1
