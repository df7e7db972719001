"""QUIC Initials: the RFCs' packets, and ClientHellos in pieces of every kind."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.names.aes import Aes
from exporter.names.cursor import Cursor
from exporter.names.quic import InitialReader, looks_like_initial
from exporter.names.quic_keys import client_keys, schemes
from exporter.names.quic_packet import maybe_open, read_initials, read_varint
from exporter.names.tls import ClientHello
from tests.hellos import named, post_quantum_key_share
from tests.initials import (
    CONNECTION_ID,
    DATAGRAM_LEN,
    V1,
    V2,
    crypto,
    initial,
    other_long,
    pieces,
    protect,
    read,
    varint,
)

AES = Aes()
PLAIN = ClientHello("www.example.org", has_ech=False)
SMALL = named(b"www.example.org")
POST_QUANTUM = named(b"www.example.org", post_quantum_key_share(), padded_to=4096)
PING = b"\x01"
SERVER_ID = b"server's"

# RFC 9001 A.2 and RFC 9369 A.2: the same frames in both versions.
RFC_FRAMES = bytes.fromhex(
    "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868"
    "04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578"
    "616d706c652e636f6dff01000100000a00080006001d00170018001000070005"
    "04616c706e000500050100000000003300260024001d00209370b2c9caa47fba"
    "baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400"
    "0d0010000e0403050306030203080408050806002d00020101001c0002400100"
    "3900320408ffffffffffffffff05048000ffff07048000ffff08011001048000"
    "75300901100f088394c8f03e51570806048000ffff"
) + bytes(917)

# A version's keys; header; the protected packet's start and its end, which is the tag.
RFC_PACKETS = {
    V1: (
        "1f369613dd76d5467730efcbe3b1a22d fa044b2f42a3fd3b46fb255c"
        " 9f50449e04a0e810283a1e9933adedd2",
        "c300000001088394c8f03e5157080000449e00000002",
        "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11",
        "e221af44860018ab0856972e194cd934",
    ),
    V2: (
        "8b1a0bc121284290a29e0971b5cd045d 91f73e2351d8fa91660e909f"
        " 45b95e15235d6f45a6b19cbcb0294ba9",
        "d36b3343cf088394c8f03e5157080000449e00000002",
        "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485",
        "a18b2faa745b6fe189cf772a9f84cbfc",
    ),
}


@pytest.mark.parametrize("version", RFC_PACKETS)
def test_the_rfcs_packet_is_read(version: int) -> None:
    keys, header, start, tag = RFC_PACKETS[version]
    (scheme,) = schemes(version)
    assert " ".join(value.hex() for value in client_keys(scheme, CONNECTION_ID)) == keys
    datagram = protect(scheme, CONNECTION_ID, bytes.fromhex(header), 2, RFC_FRAMES)
    assert len(datagram) == DATAGRAM_LEN
    assert datagram.hex().startswith(start)
    assert datagram.hex().endswith(tag)

    (packet,) = read_initials(datagram)
    opened = maybe_open(AES, scheme, CONNECTION_ID, packet, largest=-1)
    assert opened == (scheme, 2, RFC_FRAMES)
    assert looks_like_initial(datagram)
    assert read(AES, datagram) == ClientHello("example.com", has_ech=False)


VERSIONS = [
    V1, V2, 0x709A50C4, 0xFF000016, *range(0xFF000017, 0xFF000023),
    0xFACEB001, 0xFACEB002, 0xFACEB00E,
]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS, ids=hex)
def test_each_version_is_read(version: int) -> None:
    datagram = initial(crypto(0, SMALL), version=version)
    assert looks_like_initial(datagram)
    assert read(AES, datagram) == PLAIN


@pytest.mark.parametrize("version", [0x54303530, 0x54303531], ids=hex)
def test_googles_versions_with_tls_have_their_own_frames(version: int) -> None:
    assert read(AES, initial(crypto(0, SMALL, frame_type=8), version=version)) == PLAIN


@pytest.mark.parametrize("real", [V1, 0xFF00001D], ids=hex)
def test_a_forced_version_negotiation_is_read_in_the_version_behind_it(real: int) -> None:
    datagram = initial(crypto(0, SMALL), version=0x1A2A3A4A, scheme=schemes(real)[0])
    assert looks_like_initial(datagram)
    assert read(AES, datagram) == PLAIN


def test_an_unknown_version_is_passed_over() -> None:
    datagram = initial(crypto(0, SMALL))
    unknown = datagram[:1] + b"\x51\x30\x34\x36" + datagram[5:]
    assert not looks_like_initial(unknown)
    assert read(AES, unknown, datagram) == PLAIN


@pytest.mark.parametrize("length", [1, 5, 100, 1000])
def test_a_hello_in_many_frames_of_one_packet(length: int) -> None:
    frames = b"".join(pieces(SMALL, length))
    assert read(AES, initial(frames)) == PLAIN


def test_frames_in_any_order_with_others_in_between() -> None:
    ack = b"\x02" + varint(9) + varint(70_000) + varint(1) + varint(3) + varint(1) + varint(2)
    ack_ecn = b"\x03" + varint(9) + varint(0) + varint(0) + varint(3) + varint(1) * 3
    close = b"\x1c" + varint(10) + varint(6) + varint(5) + b"sorry"
    shuffled = pieces(SMALL, 10)
    random.Random(5).shuffle(shuffled)
    others = [PING, bytes(3), ack, ack_ecn, close, PING * 2, b"\0\x01\0"]
    frames = b"".join(frame + others[n % len(others)] for n, frame in enumerate(shuffled))
    assert read(AES, initial(frames)) == PLAIN


def test_overlapping_and_repeated_frames() -> None:
    frames = [crypto(at, SMALL[at : at + 30]) for at in range(0, len(SMALL), 11)]
    assert read(AES, initial(b"".join(frames[::2] + frames))) == PLAIN


def test_a_hello_over_several_datagrams_in_any_order() -> None:
    frames = pieces(POST_QUANTUM, 1000)
    datagrams = [initial(frame, number=n) for n, frame in enumerate(frames)]
    assert len(datagrams) == 5
    assert read(AES, *datagrams) == PLAIN
    assert read(AES, *reversed(datagrams)) == PLAIN
    repeated = [datagram for pair in pairwise(datagrams) for datagram in pair]
    assert read(AES, *repeated[:-1], datagrams[-1]) == PLAIN


def test_coalesced_packets_are_all_read() -> None:
    first = initial(crypto(0, SMALL[:40]), number=0, padded_to=0)
    second = initial(crypto(40, SMALL[40:]), number=1, padded_to=0)
    early_data = other_long(1, bytes(200))
    assert read(AES, first + early_data + second) == PLAIN
    assert read(AES, early_data + first + second + b"\x40one with a short header") == PLAIN
    assert read(AES, first, second + bytes(600)) == PLAIN


def test_an_initial_of_version_2_among_others_of_version_2() -> None:
    (scheme,) = schemes(V2)
    early_data = other_long(2, bytes(200), version=V2)
    assert not looks_like_initial(early_data)
    assert read(AES, early_data + initial(crypto(0, SMALL), version=V2)) == PLAIN
    assert scheme.retry_type == 0


def test_a_token_of_any_length_is_passed_over() -> None:
    for length in (1, 63, 64, 300):
        assert read(AES, initial(crypto(0, SMALL), token=b"t" * length)) == PLAIN


@pytest.mark.parametrize("length", [0, 1, 8, 20])
def test_connection_ids_of_any_length(length: int) -> None:
    assert read(AES, initial(crypto(0, SMALL), destination=bytes(range(length)))) == PLAIN


@pytest.mark.parametrize("number_len", [1, 2, 3, 4])
def test_packet_numbers_of_any_length(number_len: int) -> None:
    frames = pieces(POST_QUANTUM, 1000)
    first = (1 << 8 * number_len) - 3  # so that they go past what the length can say
    datagrams = [
        initial(frame, number=first + n, number_len=number_len) for n, frame in enumerate(frames)
    ]
    assert read(AES, *datagrams) == PLAIN
    assert read(AES, *reversed(datagrams[:3]), *datagrams[3:]) == PLAIN
    assert read(AES, *datagrams[:2], datagrams[3], datagrams[2], datagrams[4]) == PLAIN


def test_the_first_connection_id_keeps_the_keys() -> None:
    first = initial(crypto(0, SMALL[:40]))
    second = initial(crypto(40, SMALL[40:]), number=1, destination=SERVER_ID, attempt=CONNECTION_ID)
    assert read(AES, first, second) == PLAIN


def test_a_compatible_version_negotiation_keeps_the_attempt() -> None:
    first = initial(crypto(0, SMALL[:40]))
    second = initial(
        crypto(40, SMALL[40:]),
        number=1,
        version=V2,
        destination=SERVER_ID,
        attempt=CONNECTION_ID,
    )
    assert read(AES, first, second) == PLAIN


def test_a_retry_begins_anew() -> None:
    first = initial(crypto(0, SMALL[:40]))
    again = initial(crypto(0, SMALL[:40]), number=1, destination=SERVER_ID, token=b"token")
    rest = initial(crypto(40, SMALL[40:]), number=2, destination=SERVER_ID, token=b"token")
    assert read(AES, first, again, rest) == PLAIN
    assert InitialReader(AES).feed(rest) is None


def test_another_attempt_counts_its_packets_anew() -> None:
    first = initial(crypto(0, SMALL[:40]), number=1000, number_len=2)
    again = initial(crypto(0, SMALL[:40]), number=0, destination=SERVER_ID)
    rest = initial(crypto(40, SMALL[40:]), number=1, destination=SERVER_ID)
    assert read(AES, first, again, rest) == PLAIN


def test_what_another_attempt_left_is_forgotten() -> None:
    reader = InitialReader(AES)
    assert reader.feed(initial(crypto(0, SMALL[:40]))) is None
    rest = initial(crypto(40, SMALL[40:]), number=1, destination=SERVER_ID)
    assert reader.feed(rest) is None


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_a_variable_length_integer_of_each_size(size: int) -> None:
    value = (1 << (8 * size - 2)) - 1
    assert len(varint(value)) == size
    assert read_varint(Cursor(varint(value))) == value


def test_the_fixed_bit_may_vary() -> None:
    datagram = initial(crypto(0, SMALL))
    assert looks_like_initial(datagram)
    assert looks_like_initial(bytes([datagram[0] & ~0x40]) + datagram[1:])


@pytest.mark.parametrize(
    "start", [b"", b"\xc0", b"\xc0\0\0\0", b"\x40\0\0\0\x01", b"\xe0\0\0\0\x01"]
)
def test_what_does_not_look_like_an_initial(start: bytes) -> None:
    assert not looks_like_initial(start)


@given(st.permutations(pieces(SMALL, 9)), st.integers(1, 12))
def test_any_order_and_any_cut_into_datagrams_give_the_name(
    frames: list[bytes], datagrams: int
) -> None:
    reader = InitialReader(AES)
    found = [
        reader.feed(initial(b"".join(frames[n::datagrams]), number=n, padded_to=0))
        for n in range(datagrams)
    ]
    assert PLAIN in found
