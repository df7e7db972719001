"""What the transport layer of a capture carries: UDP datagrams, and TCP streams put in order.

By the outermost IP header, as the exporter sees traffic: Ethernet with any number of VLAN tags, or
bare IP. TCP is ordered by sequence number alone: no states, no windows. Later fragments carry no
ports and are passed over; a first fragment is a datagram that was cut.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.captures import DLT_EN10MB, CapturedPacket, read_capture

TCP = 6
UDP = 17

_IPV4, _IPV6 = 0x0800, 0x86DD
_VLANS = (0x8100, 0x88A8, 0x9100)
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _OPTIONS = 0, 43, 44, 60
_SYN, _RST = 2, 4


class Ends(NamedTuple):
    """Who sends to whom: addresses as text, as the corpus' truth writes them."""

    source: str
    source_port: int
    destination: str
    destination_port: int


class Datagram(NamedTuple):
    """One UDP datagram."""

    ends: Ends
    payload: bytes
    cut: bool
    """The capture, or fragmentation, left less of the payload than was sent."""


class Segment(NamedTuple):
    """Bytes of one TCP segment, and where in the stream they lie: 0 is the first byte."""

    offset: int
    payload: bytes


class Stream:
    """One direction of a TCP connection. Its segments are in the order of the capture."""

    def __init__(self, ends: Ends, sequence: int, *, from_syn: bool) -> None:
        self.ends = ends
        self.from_syn = from_syn
        """The capture has its SYN, so offset 0 is known to be its first byte."""
        self.segments: list[Segment] = []
        self._sequence = sequence

    def add(self, sequence: int, payload: bytes) -> None:
        """Puts a segment where its sequence number says. Without a SYN the earliest is the first.

        What lies before a SYN's first byte, as a keep-alive's byte does, is no part of the stream.
        """
        offset = _signed(sequence - self._sequence)
        if offset < 0 and self.from_syn:
            return
        if offset < 0:
            self.segments = [Segment(at - offset, data) for at, data in self.segments]
            self._sequence = sequence
        self.segments.append(Segment(max(offset, 0), payload))

    def is_reopened_by(self, sequence: int) -> bool:
        """A SYN of this number opens another connection between the same ports."""
        return bool(self.segments or self.from_syn) and sequence != self._sequence

    def data(self) -> bytes:
        """The bytes in order, until the first gap. Of bytes sent twice the earliest segment's."""
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """The same, segment by segment: each piece is what its segment added."""
        end = 0
        for offset, payload in sorted(self.segments, key=lambda segment: segment.offset):
            if offset > end:
                return
            piece = payload[end - offset :]
            end += len(piece)
            if piece:
                yield piece


def read_datagrams(path: Path) -> list[Datagram]:
    """All UDP datagrams of a capture, in its order."""
    found: list[Datagram] = []
    for ends_of, packet in _transport(read_capture(path), UDP):
        if len(packet) >= 8:
            length = int.from_bytes(packet[4:6], "big")
            payload = packet[8 : length or None]
            ends = Ends(ends_of[0], _u16(packet, 0), ends_of[1], _u16(packet, 2))
            found.append(Datagram(ends, payload, cut=8 + len(payload) < length))
    return found


def read_streams(path: Path) -> list[Stream]:
    """All TCP streams of a capture that carry data, by their first packet."""
    streams: list[Stream] = []
    current: dict[Ends, Stream] = {}
    for ends_of, packet in _transport(read_capture(path), TCP):
        if len(packet) < 20:
            continue
        ends = Ends(ends_of[0], _u16(packet, 0), ends_of[1], _u16(packet, 2))
        sequence = int.from_bytes(packet[4:8], "big")
        payload = packet[(packet[12] >> 4) * 4 :]
        flags = packet[13]
        if flags & _SYN:
            sequence = (sequence + 1) & 0xFFFFFFFF
        elif not payload or flags & _RST:
            continue
        stream = current.get(ends)
        if stream is None or (flags & _SYN and stream.is_reopened_by(sequence)):
            stream = current[ends] = Stream(ends, sequence, from_syn=bool(flags & _SYN))
            streams.append(stream)
        if payload:
            stream.add(sequence, payload)
    return [stream for stream in streams if stream.segments]


def _transport(
    packets: Iterable[CapturedPacket], protocol: int
) -> Iterator[tuple[tuple[str, str], bytes]]:
    """Source, destination and the transport header with what follows it, of one protocol."""
    for packet in packets:
        network = _network_layer(packet)
        if not network:
            continue
        read = _read_ipv4 if network[0] >> 4 == 4 else _read_ipv6
        found = read(network)
        if found is not None and found[1] == protocol:
            yield found[0], found[2]


def _network_layer(packet: CapturedPacket) -> bytes:
    frame = packet.ip_or_ethernet()
    if packet.linktype != DLT_EN10MB:
        return frame
    offset = 12
    while len(frame) >= offset + 2 and _u16(frame, offset) in _VLANS:
        offset += 4
    known = len(frame) >= offset + 2 and _u16(frame, offset) in (_IPV4, _IPV6)
    return frame[offset + 2 :] if known else b""


_Network = tuple[tuple[str, str], int, bytes] | None


def _read_ipv4(packet: bytes) -> _Network:
    if len(packet) < 20:
        return None
    header = (packet[0] & 0xF) * 4
    # Segmentation offload leaves the length 0.
    end = _u16(packet, 2) or len(packet)
    if header < 20 or _u16(packet, 6) & 0x1FFF:
        return None
    return (_address(packet[12:16]), _address(packet[16:20])), packet[9], packet[header:end]


def _read_ipv6(packet: bytes) -> _Network:
    if len(packet) < 40 or packet[0] >> 4 != 6:
        return None
    end = 40 + (_u16(packet, 4) or len(packet))
    protocol, offset = packet[6], 40
    while protocol in (_HOP_BY_HOP, _ROUTING, _FRAGMENT, _OPTIONS) and len(packet) >= offset + 8:
        if protocol == _FRAGMENT and _u16(packet, offset + 2) & 0xFFF8:
            return None
        length = 8 if protocol == _FRAGMENT else (packet[offset + 1] + 1) * 8
        protocol, offset = packet[offset], offset + length
    return (_address(packet[8:24]), _address(packet[24:40])), protocol, packet[offset:end]


def _address(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))


def _u16(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 2], "big")


def _signed(difference: int) -> int:
    """A difference of sequence numbers, which wrap at 32 bits."""
    return (difference + 0x80000000) % 0x100000000 - 0x80000000
