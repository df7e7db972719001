"""Headers between two hosts, to put frames together from."""

from __future__ import annotations

import struct
from typing import Any

from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

TCP_PROTOCOL, UDP_PROTOCOL, DCCP_PROTOCOL, SCTP_PROTOCOL, UDPLITE_PROTOCOL = 6, 17, 33, 132, 136
WITH_PORTS = (TCP_PROTOCOL, UDP_PROTOCOL, DCCP_PROTOCOL, SCTP_PROTOCOL, UDPLITE_PROTOCOL)
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, NO_NEXT_HEADER = 0, 43, 44, 51, 59
DESTINATION, MOBILITY, HIP, SHIM6 = 60, 135, 139, 140
EXTENSIONS = (
    HOP_BY_HOP,
    ROUTING,
    FRAGMENT,
    AUTHENTICATION,
    DESTINATION,
    MOBILITY,
    HIP,
    SHIM6,
)
EXTENSIONS_FOLLOWED = 5
"""How many extension headers a transport header may hide behind and still be found."""

V4 = ("192.0.2.1", "198.51.100.2")
V6 = ("2001:db8:1::1", "2001:db8:ffff::2")
MACS: dict[str, Any] = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
"""Given, since scapy would send ARP requests to find them."""
PORTS = (43210, 443)
PAYLOAD = b"payload of the shape"


def ether(**fields: Any) -> Packet:
    """An Ethernet header between the two hosts."""
    return Ether(**MACS, **fields)


def arp() -> Packet:
    """A question of one host for the other."""
    return ARP(hwsrc=MACS["src"], psrc=V4[0], pdst=V4[1])


def v4(**fields: Any) -> Packet:
    """An IPv4 header between the two hosts."""
    return IP(src=V4[0], dst=V4[1], **fields)


def v6(**fields: Any) -> Packet:
    """An IPv6 header between the two hosts."""
    return IPv6(src=V6[0], dst=V6[1], **fields)


def tcp(flags: str = "A", **fields: Any) -> Packet:
    """A TCP header with a payload."""
    return TCP(sport=PORTS[0], dport=PORTS[1], flags=flags, **fields) / Raw(PAYLOAD)


def udp() -> Packet:
    """A UDP header with a payload."""
    return UDP(sport=PORTS[0], dport=PORTS[1]) / Raw(PAYLOAD)


def ports_and_more() -> Raw:
    """A header that begins with two ports, of a protocol that scapy does not have."""
    return Raw(struct.pack("!HH", *PORTS) + PAYLOAD)


def extension(protocol: int, next_header: int, units: int = 0, more: int = 0) -> bytes:
    """An extension header by its number, longer by *units* (of 4 bytes for AH, else of 8).

    RFC 8200 (4.3 to 4.6), RFC 4302 (2.2), RFC 6275, 7401, 5533. *more*: the fragment offset.
    """
    if protocol == FRAGMENT:
        return struct.pack("!BBHI", next_header, 0, more << 3, 0x1234)
    if protocol == AUTHENTICATION:
        return struct.pack("!BBHII", next_header, 1 + units, 0, 1, 2) + bytes(4 * units)
    return struct.pack("!BB", next_header, units) + bytes(6 + 8 * units)


def mpls(labels: int) -> Packet:
    """A stack of labels."""
    stack = MPLS(label=100, s=labels == 1, ttl=9)
    for more in range(1, labels):
        stack = stack / MPLS(label=100 + more, s=more == labels - 1, ttl=9)
    return stack
