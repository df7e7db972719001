"""Frames of every kind that the parser knows, each with the answer that the RFCs give.

Where headers lie is taken from how scapy, or the builder below, put the frame together, never from
the program under test.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from itertools import pairwise

from scapy.layers.inet import ICMP, IP, UDP, IPOption
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    IPv6ExtHdrSegmentRouting,
    Jumbo,
    RouterAlert,
)
from scapy.layers.l2 import LLC, STP, Dot1AD, Dot1Q, Dot3
from scapy.layers.ppp import PPP, PPP_LCP, PPPoE
from scapy.layers.sctp import SCTP, SCTPChunkInit
from scapy.packet import Packet, Raw

from exporter.capture.records import LINK_ETHERNET, LINK_IP
from tests.kernel.harness import FlowKey
from tests.kernel.packets import (
    DCCP_PROTOCOL,
    DESTINATION,
    EXTENSIONS,
    EXTENSIONS_FOLLOWED,
    FRAGMENT,
    HOP_BY_HOP,
    MACS,
    NO_NEXT_HEADER,
    PAYLOAD,
    PORTS,
    ROUTING,
    TCP_PROTOCOL,
    UDPLITE_PROTOCOL,
    V6,
    WITH_PORTS,
    arp,
    ether,
    extension,
    mpls,
    ports_and_more,
    tcp,
    udp,
    v4,
    v6,
)

_SCAPY_EXTENSIONS = (
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    IPv6ExtHdrSegmentRouting,
    IPv6ExtHdrFragment,
    IPv6ExtHdrDestOpt,
)


@dataclass(frozen=True, slots=True)
class Shape:
    """One frame. *chain*: number and offset of each header behind the IP header that is read."""

    name: str
    frame: bytes
    link_type: int = LINK_ETHERNET
    family: int = 0
    ip_offset: int = 0
    source: bytes = b""
    destination: bytes = b""
    chain: tuple[tuple[int, int], ...] = ()
    ports: tuple[int, int] = (0, 0)

    def key(self, length: int | None = None) -> FlowKey | None:
        """The flow that the first *length* bytes belong to; None where they hold no IP header."""
        if length is None:
            length = len(self.frame)
        if not self.family or length < self.ip_offset + (20 if self.family == 4 else 40):
            return None
        protocol, offset = self.chain[0]
        for next_protocol, next_offset in self.chain[1:]:
            if length < offset + 4:
                break
            protocol, offset = next_protocol, next_offset
        reached_end = (protocol, offset) == self.chain[-1] and length >= offset + 4
        ports = self.ports if reached_end else (0, 0)
        return FlowKey(self.family, protocol, self.source, self.destination, *ports)


def _offsets(packet: Packet) -> Iterator[tuple[Packet, int]]:
    """Each layer of a packet and where it begins."""
    total = len(bytes(packet))
    layer = packet
    while layer:
        yield layer, total - len(bytes(layer))
        layer = layer.payload


def shape(name: str, packet: Packet, link_type: int = LINK_ETHERNET) -> Shape:
    """A scapy packet as a Shape, read by its first IP layer."""
    frame = bytes(packet)
    layers = list(_offsets(packet))
    at = next((n for n, (layer, _) in enumerate(layers) if isinstance(layer, IP | IPv6)), None)
    if at is None:
        return Shape(name, frame, link_type)
    ip_layer, ip_offset = layers[at]
    built = ip_layer.__class__(bytes(ip_layer))
    family = 4 if isinstance(ip_layer, IP) else 6
    l4_offset = ip_offset + (built.ihl * 4 if family == 4 else 40)
    chain = [(built.proto if family == 4 else built.nh, l4_offset)]
    later_fragment = family == 4 and built.frag > 0
    for layer, offset in layers[at + 1 :]:
        if later_fragment or not isinstance(layer, _SCAPY_EXTENSIONS):
            break
        end = offset + len(bytes(layer)) - len(bytes(layer.payload))
        chain.append((frame[offset], end))
        later_fragment = isinstance(layer, IPv6ExtHdrFragment) and layer.offset > 0
    protocol, offset = chain[-1]
    ports = (0, 0)
    if protocol in WITH_PORTS and not later_fragment:
        ports = struct.unpack_from("!HH", frame, offset)
    return Shape(
        name,
        frame,
        link_type,
        family,
        ip_offset,
        ip_address(ip_layer.src).packed,
        ip_address(ip_layer.dst).packed,
        tuple(chain),
        ports,
    )


def chained(name: str, protocols: tuple[int, ...], *, units: int = 0, more: int = 0) -> Shape:
    """TCP behind IPv6 extension headers; *more* as the fragment offset of a fragment header."""
    payload = bytes(tcp())
    numbers = [*protocols, TCP_PROTOCOL]
    headers = b""
    chain = [(numbers[0], 14 + 40)]
    for protocol, next_header in pairwise(numbers):
        headers += extension(protocol, next_header, units, more)
        chain.append((next_header, 14 + 40 + len(headers)))
    later_fragment = more > 0 and FRAGMENT in protocols
    if later_fragment:
        chain = chain[: protocols.index(FRAGMENT) + 2]
    hidden = len(protocols) > EXTENSIONS_FOLLOWED
    frame = bytes(ether() / v6(nh=numbers[0], plen=len(headers) + len(payload))) + headers + payload
    return Shape(
        name,
        frame,
        LINK_ETHERNET,
        6,
        14,
        ip_address(V6[0]).packed,
        ip_address(V6[1]).packed,
        tuple(chain[: EXTENSIONS_FOLLOWED + 1]),
        (0, 0) if hidden or later_fragment else PORTS,
    )


def _link_shapes() -> Iterator[Shape]:
    yield shape("ethernet-v4", ether() / v4() / tcp())
    yield shape("ethernet-v6", ether() / v6() / udp())
    for name, tags in {
        "vlan": Dot1Q(vlan=7),
        "vlan-priority": Dot1Q(vlan=0, prio=5),
        "qinq": Dot1AD(vlan=7) / Dot1Q(vlan=8),
        "qinq-8100": Dot1Q(vlan=7) / Dot1Q(vlan=8),
        "three-tags": Dot1AD(vlan=7) / Dot1AD(vlan=8) / Dot1Q(vlan=9),
    }.items():
        yield shape(f"{name}-v4", ether() / tags / v4() / tcp())
        yield shape(f"{name}-v6", ether() / tags / v6() / udp())
    yield shape("tag-9100", ether(type=0x9100) / Dot1Q(vlan=7) / v4() / tcp())
    yield shape("vlan-arp", ether() / Dot1Q(vlan=7) / arp())
    yield Shape("four-tags", bytes(ether() / Dot1Q() / Dot1Q() / Dot1Q() / Dot1Q() / v4() / tcp()))
    for number, ip in ((0x21, v4()), (0x57, v6())):
        session: Packet = PPPoE(sessionid=3) / PPP(proto=number)
        yield shape(f"pppoe-{ip.name}", ether() / session / ip / tcp())
        yield shape(f"vlan-pppoe-{ip.name}", ether() / Dot1Q(vlan=7) / session / ip / tcp())
    yield shape("pppoe-lcp", ether() / PPPoE(sessionid=3) / PPP(proto=0xC021) / PPP_LCP())
    yield shape("pppoe-discovery", ether(type=0x8863) / Raw(bytes(46)))
    for labels in range(1, 5):
        for ip in (v4(), v6()):
            yield shape(f"mpls-{labels}-{ip.name}", ether(type=0x8847) / mpls(labels) / ip / tcp())
    yield shape("vlan-mpls", ether() / Dot1Q(vlan=7, type=0x8847) / mpls(2) / v4() / tcp())
    yield Shape("mpls-5", bytes(ether(type=0x8847) / mpls(5) / v4() / tcp()))
    yield Shape("mpls-pseudowire", bytes(ether(type=0x8847) / mpls(1)) + bytes(4) + PAYLOAD)
    yield shape("arp", ether() / arp())
    yield shape("lldp", ether(type=0x88CC) / Raw(bytes(46)))
    yield shape("eapol", ether(type=0x888E) / Raw(bytes(46)))
    yield shape("macsec", ether(type=0x88E5) / Raw(bytes(46)))
    yield shape("spanning-tree", Dot3(**MACS) / LLC() / STP())
    yield shape("802.3-empty", Dot3(**MACS, len=0) / Raw(bytes(46)))
    yield shape("raw-v4", v4() / tcp(), LINK_IP)
    yield shape("raw-v6", v6() / udp(), LINK_IP)
    yield Shape("raw-no-ip", b"\x00" * 40, LINK_IP)
    yield Shape("raw-version-5", b"\x55" * 40, LINK_IP)


def _bad_ip(name: str, first_byte: int, ethertype: int = 0x0800) -> Shape:
    frame = bytearray(bytes(ether(type=ethertype)) + bytes(v4() / tcp()))
    frame[14] = first_byte
    return Shape(name, bytes(frame))


def _ipv4_shapes() -> Iterator[Shape]:
    for words in range(1, 11):
        options = [IPOption(b"\x01" * 4 * words)]
        yield shape(f"v4-{5 + words}-words", ether() / v4(options=options) / tcp())
    for version in (0, 1, 5, 7, 15):
        yield _bad_ip(f"v4-version-{version}", version << 4 | 5)
    for words in range(5):
        yield _bad_ip(f"v4-ihl-{words}", 0x40 | words)
    yield shape("v4-first-fragment", ether() / v4(flags="MF") / udp())
    yield shape("v4-later-fragment", ether() / v4(frag=185, flags="MF", proto=17) / Raw(PAYLOAD))
    yield shape("v4-last-fragment", ether() / v4(frag=1, proto=6) / Raw(PAYLOAD))
    yield shape("v4-dont-fragment", ether() / v4(flags="DF") / udp())
    yield shape("v4-evil-bit", ether() / v4(flags="evil") / udp())
    yield shape("v4-padded", ether() / v4(len=28) / UDP(sport=PORTS[0], dport=53) / Raw(bytes(18)))


def _ipv6_shapes() -> Iterator[Shape]:
    for protocol in EXTENSIONS:
        yield chained(f"v6-extension-{protocol}", (protocol,))
        if protocol != FRAGMENT:
            yield chained(f"v6-extension-{protocol}-longer", (protocol,), units=3)
    for count in range(2, len(EXTENSIONS) + 1):
        yield chained(f"v6-{count}-extensions", EXTENSIONS[:count])
    for count in (5, 6, 7, 20):
        yield chained(f"v6-{count}-destination-headers", (DESTINATION,) * count)
    yield chained("v6-later-fragment", (FRAGMENT,), more=185)
    yield chained("v6-later-fragment-behind", (HOP_BY_HOP, ROUTING, FRAGMENT), more=1)
    yield chained("v6-later-fragment-then", (FRAGMENT, DESTINATION), more=1)
    yield chained("v6-very-long-extension", (DESTINATION,), units=255)
    alert = IPv6ExtHdrHopByHop(options=[RouterAlert()])
    yield shape("v6-router-alert", ether() / v6() / alert / ICMPv6EchoRequest())
    jumbo = IPv6ExtHdrHopByHop(options=[Jumbo(jumboplen=70000)])
    yield shape("v6-jumbo", ether() / v6(plen=0) / jumbo / tcp())
    routing = IPv6ExtHdrRouting(addresses=["2001:db8::5", "2001:db8::6"])
    yield shape("v6-routing", ether() / v6() / routing / tcp())
    segments = IPv6ExtHdrSegmentRouting(addresses=["2001:db8::5", "2001:db8::6"])
    yield shape("v6-segment-routing", ether() / v6() / segments / tcp())
    first = IPv6ExtHdrFragment(offset=0, m=1, id=9)
    yield shape("v6-first-fragment", ether() / v6() / first / udp())
    atomic = IPv6ExtHdrFragment(offset=0, m=0, id=9)
    yield shape("v6-atomic-fragment", ether() / v6() / atomic / udp())
    yield shape("v6-flow-label", ether() / v6(tc=0xB8, fl=0xFFFFF) / udp())
    yield shape("v6-no-next-header", ether() / v6(nh=NO_NEXT_HEADER) / Raw(PAYLOAD))


def _transport_shapes() -> Iterator[Shape]:
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("NOP", None), ("WScale", 7)]
    for ip in (v4, v6):
        name = ip().name
        yield shape(f"tcp-options-{name}", ether() / ip() / tcp("S", options=options))
        yield shape(f"tcp-all-flags-{name}", ether() / ip() / tcp("FSRPAUEC"))
        yield shape(f"sctp-{name}", ether() / ip() / SCTP(sport=1, dport=2) / SCTPChunkInit())
        number = "proto" if ip is v4 else "nh"
        for protocol in (DCCP_PROTOCOL, UDPLITE_PROTOCOL):
            header = ip(**{number: protocol})
            yield shape(f"protocol-{protocol}-{name}", ether() / header / ports_and_more())
        for protocol in (2, 4, 41, 47, 50, 89, 103, 112, 115, 253, 255):
            header = ip(**{number: protocol})
            yield shape(f"protocol-{protocol}-{name}", ether() / header / Raw(PAYLOAD))
    yield shape("icmp", ether() / v4() / ICMP() / Raw(PAYLOAD))
    yield shape("icmpv6", ether() / v6() / ICMPv6EchoRequest(data=PAYLOAD))
    inner = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw(PAYLOAD)
    yield shape("icmp-unreachable", ether() / v4() / ICMP(type=3, code=3) / inner)


@cache
def all_shapes() -> tuple[Shape, ...]:
    """Every shape; their names are unique."""
    shapes = (*_link_shapes(), *_ipv4_shapes(), *_ipv6_shapes(), *_transport_shapes())
    assert len({shape.name for shape in shapes}) == len(shapes)
    return shapes
