"""QUIC packets that are broken, tampered with, cut off, too many, or made to take long."""

from __future__ import annotations

import contextlib
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.names import quic, quic_packet, tls
from exporter.names.aes import Aes
from exporter.names.cursor import ParseError
from exporter.names.quic import PACKETS_MAX, InitialReader
from exporter.names.tls import HANDSHAKE_MAX, ClientHello
from tests.hellos import named
from tests.initials import V1, crypto, initial, pieces, read, varint
from tests.reads import counted_reads

AES = Aes()
PLAIN = ClientHello("www.example.org", has_ech=False)
SMALL = named(b"www.example.org")
PING = b"\x01"


def test_a_packet_that_was_tampered_with_counts_for_nothing() -> None:
    datagram = initial(crypto(0, SMALL), padded_to=0)
    for place in range(len(datagram) - 20, len(datagram)):
        tampered = bytearray(datagram)
        tampered[place] ^= 1
        assert read(AES, bytes(tampered)) is None
    assert read(AES, bytes(tampered), datagram) == PLAIN


def test_a_packet_of_a_known_attempt_is_tried_once() -> None:
    aes = Aes()
    datagram = initial(crypto(0, SMALL[:40]))
    with mock.patch.object(aes, "maybe_open", wraps=aes.maybe_open) as opening:
        assert read(aes, datagram, datagram[:-1] + b"!") is None
    assert opening.call_count == 2


def test_a_retry_or_a_packet_too_short_counts_for_nothing() -> None:
    start = V1.to_bytes(4, "big") + b"\0\0"
    retry = b"\xf0" + start + b"\xff" * 40
    short = b"\xc0" + start + b"\0\x13" + bytes(19)
    assert read(AES, retry, short, initial(crypto(0, SMALL))) == PLAIN


def test_a_server_packet_counts_for_nothing() -> None:
    """Its keys are derived with another label: nothing of it opens."""
    wrong = initial(crypto(0, SMALL), attempt=b"another!")
    assert read(AES, wrong) is None


def test_a_datagram_cut_off_anywhere_says_nothing() -> None:
    datagram = initial(crypto(0, SMALL), padded_to=0)
    for length in range(len(datagram)):
        with contextlib.suppress(ParseError):
            assert read(AES, datagram[:length]) is None


BROKEN = {
    "a connection id too long": b"\xc0" + V1.to_bytes(4, "big") + b"\x15" + bytes(40),
    "a token past the end": b"\xc0" + V1.to_bytes(4, "big") + b"\0\0\x40\xff" + bytes(40),
    "a length past the end": b"\xc0" + V1.to_bytes(4, "big") + b"\0\0\0\x40\xff" + bytes(40),
    "a frame of another packet type": initial(b"\x08" + bytes(9)),
    "a CRYPTO frame past the end": initial(b"\x06\0\x44\xff", padded_to=0),
    "too many ranges": initial(b"\x02\0\0\xc0" + b"\xff" * 7),
    "another message": initial(crypto(0, b"\x02\0\0\x20")),
    "another message, from its end": initial(crypto(4, bytes(9)) + crypto(0, b"\x0b\0\0\x0a")),
    "a message too long": initial(crypto(0, b"\x01\x01\0\0")),
    "data too far": initial(crypto(HANDSHAKE_MAX, b"a")),
    "data very far": initial(b"\x06" + varint((1 << 62) - 1) + varint(9) + bytes(9)),
    "a broken name": initial(crypto(0, named(b"not a name"))),
}


@pytest.mark.parametrize("datagram", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_an_error(datagram: bytes) -> None:
    with pytest.raises(ParseError):
        InitialReader(AES).feed(datagram)


def test_the_longest_hello_is_read_within_the_packets_allowed() -> None:
    message = named(b"www.example.org", padded_to=HANDSHAKE_MAX)
    frames = pieces(message, 1100)
    datagrams = [initial(frame, number=n) for n, frame in enumerate(frames)]
    assert 2 * len(datagrams) <= PACKETS_MAX
    assert read(AES, *datagrams) == PLAIN


def test_packets_and_bytes_of_a_reader_are_bounded() -> None:
    reader = InitialReader(AES)
    for number in range(PACKETS_MAX):
        assert reader.feed(initial(crypto(HANDSHAKE_MAX - 9, bytes(9)), number=number)) is None
    assert reader.held <= 2 * HANDSHAKE_MAX
    with pytest.raises(ParseError):
        reader.feed(initial(crypto(0, SMALL), number=PACKETS_MAX))


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    starts = (b"", b"\xc0" + V1.to_bytes(4, "big"), initial(crypto(0, SMALL[:40]), padded_to=0))
    for start in starts:
        with contextlib.suppress(ParseError):
            assert InitialReader(AES).feed(start + data) is None
    with contextlib.suppress(ParseError):  # as frames, genuine
        assert InitialReader(AES).feed(initial(data)) is None


@given(st.data())
def test_no_change_to_a_datagram_gives_another_name(data: st.DataObject) -> None:
    datagram = bytearray(initial(crypto(0, SMALL), padded_to=0))
    for place in data.draw(st.lists(st.integers(0, len(datagram) - 1), max_size=4)):
        datagram[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ParseError):
        assert InitialReader(AES).feed(bytes(datagram)) in (None, PLAIN)


MANY = 65_000
HOSTILE = {
    "zeros": bytes(MANY),
    "other long packets": (b"\xd0" + V1.to_bytes(4, "big") + bytes(3)) * (MANY // 8),
    "small packets": initial(PING, padded_to=0, destination=b"") * (MANY // 31),
    "PADDING and PING": initial(b"\0\x01" * (MANY // 2)),
    "empty CRYPTO frames": initial(b"\x06\0\0" * (MANY // 3)),
    "ACK frames": initial(b"\x02\0\0\0\0" * (MANY // 5)),
    "an ACK frame": initial(b"\x02\0\0\x7f\xff\0" + bytes(MANY)),
    "single bytes": initial(b"".join(pieces(named(b"a", padded_to=4096), 1))[:MANY]),
}


@pytest.mark.parametrize("datagram", HOSTILE.values(), ids=HOSTILE)
def test_64_kb_of_anything_take_a_bounded_amount_of_work(datagram: bytes) -> None:
    aes = Aes()
    with (
        counted_reads(quic, quic_packet, tls) as reads,
        mock.patch.object(aes, "maybe_open", wraps=aes.maybe_open) as opening,
        contextlib.suppress(ParseError),
    ):
        InitialReader(aes).feed(datagram)
    assert reads.total <= 8192
    assert opening.call_count <= 16
