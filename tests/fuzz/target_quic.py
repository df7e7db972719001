"""QUIC datagrams without their protection, or no random change would get past it.

An input is a run of datagrams, each after its length in two bytes.
"""

from __future__ import annotations

import contextlib

from exporter.names.aes import TAG_LEN, Aes
from exporter.names.cursor import Cursor, ParseError
from exporter.names.quic import PACKETS_MAX, InitialReader, looks_like_initial
from exporter.names.quic_packet import InitialPacket, maybe_open, read_initials
from exporter.names.tls import HANDSHAKE_MAX
from tests import hellos
from tests.corpus import read_corpus
from tests.initials import crypto, initial, pieces
from tests.streams import read_datagrams


class NoAes(Aes):
    """Takes and gives everything as it is."""

    def __init__(self) -> None:
        """Nothing is loaded."""

    def encrypt_block(self, key: bytes, block: bytes) -> bytes:
        return bytes(len(block))

    def maybe_open(self, key: bytes, nonce: bytes, header: bytes, sealed: bytes) -> bytes | None:
        return sealed[:-TAG_LEN]


NO_AES = NoAes()


def seeds() -> list[bytes]:
    message = hellos.named(b"a.example", padded_to=300)
    several = [
        initial(b"".join(pieces(message, 40)[n::3]), number=n, padded_to=400) for n in range(3)
    ]
    runs = [
        [datagram.payload]
        for capture in read_corpus()
        for datagram in read_datagrams(capture.path)
        if looks_like_initial(datagram.payload) and not datagram.cut
    ]
    runs += [several, [initial(crypto(0, message), token=b"token")]]
    return [b"".join(hellos.prefixed(unprotected(datagram), 2) for datagram in run) for run in runs]


def unprotected(datagram: bytes) -> bytes:
    return b"".join(plain(packet) for packet in read_initials(datagram))


def plain(packet: InitialPacket) -> bytes:
    """The packet with its first byte and number as if nothing had hidden them."""
    aes = Aes()
    for scheme in packet.schemes:
        opened = maybe_open(aes, scheme, packet.connection_id, packet, largest=-1)
        if opened is not None:
            number_len = len(packet.data) - packet.number_at - len(opened.frames) - TAG_LEN
            first = packet.data[0] & 0xF0 | number_len - 1
            header = bytes([first]) + packet.data[1 : packet.number_at] + bytes(number_len)
            return header + opened.frames + bytes(TAG_LEN)
    return packet.data


def one_input(data: bytes) -> None:
    reader = InitialReader(NO_AES)
    cursor = Cursor(data)
    with contextlib.suppress(ParseError):
        for _ in range(2 * PACKETS_MAX):
            length = cursor.u16()
            reader.feed(cursor.take(min(length, cursor.remaining)))
    assert reader.held <= 2 * HANDSHAKE_MAX
