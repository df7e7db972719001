"""A reader of frames of its own, written from the RFCs, to compare the kernel program with.

It gives the flow that a frame belongs to by the outermost IP header, found behind up to three VLAN
tags, PPPoE or up to four MPLS labels, and the transport behind up to five extension headers.
A frame that ends early is read as far as it goes.
"""

from __future__ import annotations

from typing import NamedTuple

from exporter.capture.records import LINK_ETHERNET, LINK_IP
from tests.kernel.harness import FlowKey
from tests.kernel.packets import (
    AUTHENTICATION,
    EXTENSIONS,
    EXTENSIONS_FOLLOWED,
    FRAGMENT,
    WITH_PORTS,
)

_VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
_IP_TYPES = (0x0800, 0x86DD)
_PPP_IP_TYPES = (0x0021, 0x0057)


class Reading(NamedTuple):
    """What a frame is."""

    key: FlowKey
    fragment: bool
    """A part of a datagram; one that is whole in spite of its fragment header is none."""
    transport: int
    """Where the header after the IP headers begins."""


class _TooShort(Exception):  # noqa: N818
    """The frame ends before what is looked for."""


def _word(frame: bytes, offset: int) -> int:
    if len(frame) < offset + 2:
        raise _TooShort
    return frame[offset] << 8 | frame[offset + 1]


def read(frame: bytes, link_type: int) -> Reading | None:
    """The frame's flow; None where it has no IP header."""
    try:
        offset = _ip_offset(frame) if link_type == LINK_ETHERNET else 0
    except _TooShort:
        return None
    if offset is None or link_type not in (LINK_ETHERNET, LINK_IP) or len(frame) <= offset:
        return None
    if frame[offset] >> 4 == 4:
        return _read_ipv4(frame, offset)
    if frame[offset] >> 4 == 6:
        return _read_ipv6(frame, offset)
    return None


def _ip_offset(frame: bytes) -> int | None:
    offset = 12
    tags = 0
    while _word(frame, offset) in _VLAN_TYPES and tags < 3:
        tags += 1
        offset += 4
    ethertype = _word(frame, offset)
    offset += 2
    if ethertype in _IP_TYPES:
        return offset
    if ethertype == 0x8864:  # RFC 2516
        return offset + 8 if _word(frame, offset + 6) in _PPP_IP_TYPES else None
    if ethertype == 0x8847:  # RFC 3032
        for label in range(4):
            _word(frame, offset + 4 * label + 2)
            if frame[offset + 4 * label + 2] & 1:
                return offset + 4 * label + 4
    return None


def _ports(frame: bytes, offset: int, protocol: int) -> tuple[int, int]:
    if protocol not in WITH_PORTS or len(frame) < offset + 4:
        return 0, 0
    return _word(frame, offset), _word(frame, offset + 2)


def _read_ipv4(frame: bytes, offset: int) -> Reading | None:
    """RFC 791, 3.1."""
    header_len = (frame[offset] & 0xF) * 4
    if len(frame) < offset + 20 or header_len < 20:
        return None
    fragment = _word(frame, offset + 6)
    protocol = frame[offset + 9]
    later = fragment & 0x1FFF
    ports = (0, 0) if later else _ports(frame, offset + header_len, protocol)
    source, destination = frame[offset + 12 : offset + 16], frame[offset + 16 : offset + 20]
    key = FlowKey(4, protocol, source, destination, *ports)
    return Reading(key, bool(later or fragment & 0x2000), offset + header_len)


def _read_ipv6(frame: bytes, offset: int) -> Reading | None:
    """RFC 8200, 3 and 4."""
    if len(frame) < offset + 40:
        return None
    source, destination = frame[offset + 8 : offset + 24], frame[offset + 24 : offset + 40]
    protocol, fragment, later = frame[offset + 6], False, False
    offset += 40
    followed = 0
    while (
        protocol in EXTENSIONS
        and not later
        and followed < EXTENSIONS_FOLLOWED
        and len(frame) >= offset + 4
    ):
        header_len = (frame[offset + 1] + 1) * 8
        if protocol == FRAGMENT:
            header_len = 8
            later = _word(frame, offset + 2) >> 3 != 0
            fragment = later or frame[offset + 3] & 1 != 0
        elif protocol == AUTHENTICATION:
            header_len = (frame[offset + 1] + 2) * 4
        protocol = frame[offset]
        offset += header_len
        followed += 1
    ports = (0, 0) if later else _ports(frame, offset, protocol)
    return Reading(FlowKey(6, protocol, source, destination, *ports), fragment, offset)
