"""The server name of a QUIC connection, from the Initial packets that its client sends.

The flow: a datagram -> its Initial packets (`quic_packet`), opened with keys that everybody can
derive (`quic_keys`) -> their CRYPTO frames (RFC 9000 19.6), in any order -> the ClientHello, as in
TLS without its records (RFC 9001 4).

Rules:
- Nothing is believed whose tag is wrong: no name comes out of bytes that only look like QUIC.
- Keys belong to an attempt, which the client's first Destination Connection ID names. The client
  takes up the server's ID later and goes on with the same keys; after a Retry (RFC 9001 5.2) or a
  version negotiation it begins again: new keys, and the ClientHello from its first byte.
- What a reader holds and does is bounded, whatever it is fed.
"""

from __future__ import annotations

import re

from exporter.names.aes import Aes
from exporter.names.cursor import Cursor, ParseError
from exporter.names.quic_packet import (
    InitialPacket,
    Opened,
    looks_like_initial,
    maybe_open,
    read_initials,
    read_varint,
)
from exporter.names.tls import HANDSHAKE_MAX, ClientHello, client_hello_len, parse_client_hello

__all__ = ["PACKETS_MAX", "InitialReader", "looks_like_initial"]

PACKETS_MAX = 32
"""Initial packets that one connection may take for its ClientHello: the longest one takes 14 of
1,200 bytes, and each may be sent again once."""

_READS_MAX = 4096
"""Reads that the frames of one packet may take: with a frame for each byte of the handshake, 1,500
bytes take 2,300."""

_ACK_RANGES_MAX = 256
"""Ranges of an ACK frame: by then a client has not received as many packets."""

_ACK = 0x02
_ACK_ECN = 0x03
_CONNECTION_CLOSE = 0x1C

_IDLE = re.compile(rb"[\x00\x01]+")
"""PADDING and PING frames in a row."""


class InitialReader:
    """Reads one client's datagrams, in the order they come, until its ClientHello is whole."""

    def __init__(self, aes: Aes) -> None:
        self._aes = aes
        self._packets = 0
        self._connection_id: bytes | None = None
        """The one that names the attempt. None until a packet was opened."""
        self._largest = -1
        self._crypto = _CryptoStream()

    @property
    def held(self) -> int:
        """Bytes that the reader holds: twice HANDSHAKE_MAX at most."""
        return self._crypto.held

    def feed(self, datagram: bytes) -> ClientHello | None:
        """One UDP payload; the ClientHello as soon as it is whole, which ends the reader's work.

        Packets that do not open are passed over, as they would be by the server. Raises ParseError
        if what the client sent is broken, or too much: nothing will come of this reader any more.
        """
        for packet in read_initials(datagram):
            self._packets += 1
            if self._packets > PACKETS_MAX:
                raise ParseError(f"no ClientHello in {PACKETS_MAX} Initial packets")
            opened = self._maybe_open(packet)
            if opened is None:
                continue
            self._largest = max(self._largest, opened.number)
            _read_frames(opened, self._crypto)
            message = self._crypto.maybe_message()
            if message is not None:
                return parse_client_hello(message)
        return None

    def _maybe_open(self, packet: InitialPacket) -> Opened | None:
        current = self._connection_id
        if current is not None:
            opened = self._maybe_open_as(current, packet, self._largest)
            if opened is not None or packet.connection_id == current:
                return opened
        opened = self._maybe_open_as(packet.connection_id, packet, largest=-1)
        if opened is not None:
            self._connection_id = packet.connection_id
            self._largest = -1
            self._crypto = _CryptoStream()
        return opened

    def _maybe_open_as(self, attempt: bytes, packet: InitialPacket, largest: int) -> Opened | None:
        for scheme in packet.schemes:
            opened = maybe_open(self._aes, scheme, attempt, packet, largest)
            if opened is not None:
                return opened
        return None


class _CryptoStream:
    """The bytes of CRYPTO frames in their places; of bytes sent twice, the last ones."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._known = bytearray()
        """A byte for each of data: whether it was sent."""

    @property
    def held(self) -> int:
        return len(self._data) + len(self._known)

    def add(self, offset: int, piece: bytes) -> None:
        end = offset + len(piece)
        if end > HANDSHAKE_MAX:
            raise ParseError(f"a CRYPTO frame that ends at byte {end}")
        grown = max(end - len(self._data), 0)
        self._data += bytes(grown)
        self._known += bytes(grown)
        self._data[offset:end] = piece
        self._known[offset:end] = b"\x01" * len(piece)

    def maybe_message(self) -> bytes | None:
        """The ClientHello; None until all of it is there."""
        gap_at = self._known.find(0)
        prefix = self._data if gap_at < 0 else self._data[:gap_at]
        length = client_hello_len(prefix)
        return bytes(prefix[:length]) if len(prefix) >= length else None


def _read_frames(opened: Opened, crypto: _CryptoStream) -> None:
    """Takes the CRYPTO frames; passes over what else an Initial packet may hold (RFC 9000 12.4)."""
    cursor = Cursor(opened.frames)
    while cursor.remaining:
        if cursor.reads > _READS_MAX:
            raise ParseError(f"over {_READS_MAX} reads in one Initial packet")
        idle = _IDLE.match(opened.frames, cursor.position)
        if idle is not None:
            cursor.skip(len(idle[0]))
            continue
        frame_type = cursor.u8()
        if frame_type == opened.scheme.crypto_frame:
            offset = read_varint(cursor)
            crypto.add(offset, cursor.take(read_varint(cursor)))
        elif frame_type in (_ACK, _ACK_ECN):
            _pass_ack(cursor, has_ecn=frame_type == _ACK_ECN)
        elif frame_type == _CONNECTION_CLOSE:
            read_varint(cursor)  # the error
            read_varint(cursor)  # the frame type that caused it
            cursor.skip(read_varint(cursor))
        else:
            raise ParseError(f"frame type {frame_type} in an Initial packet")


def _pass_ack(cursor: Cursor, *, has_ecn: bool) -> None:
    """An ACK frame (RFC 9000 19.3)."""
    read_varint(cursor)  # the largest number acknowledged
    read_varint(cursor)  # the delay
    ranges = read_varint(cursor)
    if ranges > _ACK_RANGES_MAX:
        raise ParseError(f"an ACK frame of {ranges} ranges")
    read_varint(cursor)  # the first range
    for _ in range(ranges):
        read_varint(cursor)
        read_varint(cursor)
    for _ in range(3 if has_ecn else 0):
        read_varint(cursor)
