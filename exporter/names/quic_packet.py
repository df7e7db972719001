"""Initial packets of QUIC: found in a datagram, and their protection taken off.

RFC 9000 17.2 for long headers, RFC 9001 5 for protection. Only the client's side: its packets carry
its ClientHello, and anybody can derive the keys that they are protected with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from exporter.names.aes import BLOCK_LEN, Aes
from exporter.names.cursor import Cursor, ParseError
from exporter.names.quic_keys import Scheme, client_keys, schemes

_LONG_HEADER = 0x80
_TYPE_SHIFT = 4
_TYPE_MASK = 3
_VERSION_AT = 1
_VERSION_LEN = 4
_CONNECTION_ID_MAX = 20
_PACKET_NUMBER_LEN_MAX = 4

_COALESCED_MAX = 16
"""Packets that are looked for in one datagram: of each type one makes sense, which is four."""


class InitialPacket(NamedTuple):
    """A client's Initial packet, protected as it is."""

    schemes: tuple[Scheme, ...]
    connection_id: bytes
    """The Destination Connection ID."""
    data: bytes
    """The packet, from its first byte to the end that its length gives."""
    number_at: int
    """Where in it the packet number begins."""


class Opened(NamedTuple):
    """What was under the protection."""

    scheme: Scheme
    number: int
    frames: bytes


def looks_like_initial(start: bytes) -> bool:
    """Whether a datagram that starts so starts with an Initial packet of a version known here.

    The second bit, fixed in version 1, says nothing: a client may vary it (RFC 9287).
    """
    known = schemes(int.from_bytes(start[_VERSION_AT : _VERSION_AT + _VERSION_LEN], "big"))
    if not known or len(start) <= _VERSION_LEN or not start[0] & _LONG_HEADER:
        return False
    return start[0] >> _TYPE_SHIFT & _TYPE_MASK == known[0].initial_type


def read_varint(cursor: Cursor) -> int:
    """A variable-length integer (RFC 9000 16)."""
    first = cursor.u8()
    rest_len = (1 << (first >> 6)) - 1
    return (first & 0x3F) << 8 * rest_len | int.from_bytes(cursor.take(rest_len), "big")


def read_initials(datagram: bytes) -> Iterator[InitialPacket]:
    """The Initial packets of a datagram, where several may lie (RFC 9000 12.2).

    Ends before the first packet that is not of a known version with a long header: where that ends
    nobody can tell. Raises ParseError for a broken header, or a datagram that was cut.
    """
    cursor = Cursor(datagram)
    for _ in range(_COALESCED_MAX):
        if not cursor.remaining:
            return
        begin = cursor.position
        first = cursor.u8()
        if not first & _LONG_HEADER:
            return
        known = schemes(cursor.u32())
        packet_type = first >> _TYPE_SHIFT & _TYPE_MASK
        if not known or packet_type == known[0].retry_type:
            return
        destination = _read_connection_id(cursor)
        _read_connection_id(cursor)
        is_initial = packet_type == known[0].initial_type
        if is_initial:
            cursor.skip(read_varint(cursor))  # the token
        length = read_varint(cursor)
        number_at = cursor.position
        cursor.skip(length)
        if is_initial:
            data = datagram[begin : cursor.position]
            yield InitialPacket(known, destination, data, number_at - begin)


def maybe_open(
    aes: Aes, scheme: Scheme, attempt: bytes, packet: InitialPacket, largest: int
) -> Opened | None:
    """Number and frames of a packet; None if it is not protected as in that scheme and attempt.

    *attempt* is the connection ID that its keys come from; *largest* the largest packet number
    opened in it so far, -1 before the first.
    """
    keys = client_keys(scheme, attempt)
    data, number_at = packet.data, packet.number_at
    # Where the sample would be if the number had its full length (RFC 9001 5.4.2).
    sample_at = number_at + _PACKET_NUMBER_LEN_MAX
    sample = data[sample_at : sample_at + BLOCK_LEN]
    if len(sample) < BLOCK_LEN:
        return None
    mask = aes.encrypt_block(keys.hp, sample)
    first = data[0] ^ mask[0] & 0x0F
    number_len = (first & 0x03) + 1
    number_end = number_at + number_len
    masked = int.from_bytes(data[number_at:number_end], "big")
    truncated = masked ^ int.from_bytes(mask[1 : 1 + number_len], "big")
    number = _full_number(truncated, 8 * number_len, largest)
    header = bytes([first]) + data[1:number_at] + truncated.to_bytes(number_len, "big")
    nonce = (int.from_bytes(keys.iv, "big") ^ number).to_bytes(len(keys.iv), "big")
    frames = aes.maybe_open(keys.key, nonce, header, data[number_end:])
    return None if frames is None else Opened(scheme, number, frames)


def _read_connection_id(cursor: Cursor) -> bytes:
    length = cursor.u8()
    if length > _CONNECTION_ID_MAX:
        raise ParseError(f"a connection id of {length} bytes")
    return cursor.take(length)


def _full_number(truncated: int, bits: int, largest: int) -> int:
    """The number nearest to the next one that ends in these bits (RFC 9000 A.3)."""
    expected = largest + 1
    window = 1 << bits
    candidate = expected & ~(window - 1) | truncated
    if candidate <= expected - window // 2:
        return candidate + window
    if candidate > expected + window // 2 and candidate >= window:
        return candidate - window
    return candidate
