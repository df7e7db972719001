"""ClientHellos over TCP: whole, in pieces of every kind, cut off everywhere, and hostile."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.names import tls
from exporter.names.cursor import ParseError
from exporter.names.tls import (
    HANDSHAKE_MAX,
    RECORDS_MAX,
    ClientHello,
    bytes_wanted,
    looks_like_client_hello,
    maybe_client_hello,
    parse_client_hello,
)
from tests import hellos
from tests.hellos import client_hello, extension, in_records, named, prefixed, server_name
from tests.reads import counted_reads

NAME = b"www.example.org"
PLAIN = ClientHello("www.example.org", has_ech=False)
SMALL = named(NAME)
POST_QUANTUM = named(NAME, hellos.post_quantum_key_share(), padded_to=4096)
FRAGMENT_LENS = (1, 2, 3, 7, 64, 1 << 14)


@pytest.mark.parametrize("message", [SMALL, POST_QUANTUM], ids=["small", "post-quantum"])
@pytest.mark.parametrize("fragment_len", [7, 64, 1 << 14])
def test_a_name_is_read_from_records_of_any_size(message: bytes, fragment_len: int) -> None:
    assert maybe_client_hello(in_records(message, fragment_len)) == PLAIN


@pytest.mark.parametrize("fragment_len", FRAGMENT_LENS)
def test_every_stream_that_is_cut_off_needs_more(fragment_len: int) -> None:
    stream = in_records(SMALL, fragment_len)
    for length in range(len(stream)):
        assert looks_like_client_hello(stream[:length])
        assert maybe_client_hello(stream[:length]) is None
        assert length < bytes_wanted(stream[:length]) <= len(stream)
    assert bytes_wanted(stream) == 0


@pytest.mark.parametrize("fragment_len", FRAGMENT_LENS)
def test_who_waits_for_what_is_wanted_parses_a_few_times(fragment_len: int) -> None:
    stream = in_records(SMALL, fragment_len)
    parses, have = 0, 0
    while wanted := bytes_wanted(stream[:have]):
        have, parses = wanted, parses + 1
    assert maybe_client_hello(stream[:have]) == PLAIN
    assert parses <= 40


def test_one_record_is_wanted_to_its_end() -> None:
    stream = in_records(SMALL)
    assert bytes_wanted(stream[:9]) == len(stream)


@pytest.mark.parametrize(
    "more",
    [
        b"\0",
        b"\xff" * 100,
        in_records(SMALL),
        b"\x14\x03\x03\0\x01\x01",
        bytes(100_000),
    ],
)
def test_what_follows_the_message_is_not_looked_at(more: bytes) -> None:
    assert maybe_client_hello(in_records(SMALL) + more) == PLAIN


def test_a_record_may_hold_more_than_the_message() -> None:
    record = in_records(SMALL + b"\x0b\0\0\0")
    assert maybe_client_hello(record) == PLAIN
    assert maybe_client_hello(record[:-1]) == PLAIN
    assert bytes_wanted(record[:20]) == len(record) - 4


def test_a_bare_message_is_whole_or_refused() -> None:
    assert parse_client_hello(SMALL) == PLAIN
    for length in range(len(SMALL)):
        with pytest.raises(ParseError):
            parse_client_hello(SMALL[:length])
    with pytest.raises(ParseError):
        parse_client_hello(SMALL + b"\0")


@pytest.mark.parametrize(
    ("extensions", "name"),
    [
        ((), None),
        ((extension(hellos.SERVER_NAME, b""),), None),
        ((server_name(),), None),
        ((server_name(b""),), None),
        ((server_name(b"192.0.2.1"),), None),
        ((server_name(b"2001:db8::1"),), None),
        ((server_name(b"a name of another type", name_type=7),), None),
        ((server_name(b"WWW.Example.ORG"),), "www.example.org"),
        ((server_name(b"example.org."),), "example.org"),
        ((server_name(b"_x.a-b"),), "_x.a-b"),
        ((extension(10, b"\0\x02\0\x1d"), server_name(b"a"), extension(43, b"")), "a"),
    ],
)
def test_what_a_name_may_be(extensions: tuple[bytes, ...], name: str | None) -> None:
    assert parse_client_hello(client_hello(*extensions)) == ClientHello(name, has_ech=False)


def test_a_hello_without_extensions_has_no_name() -> None:
    bare = bytearray(client_hello()[:-2])
    bare[3] -= 2
    assert parse_client_hello(bytes(bare)) == ClientHello(None, has_ech=False)


def test_with_an_encrypted_hello_the_outer_name_counts() -> None:
    hello = named(b"public.example", extension(hellos.ECH, bytes(200)))
    assert parse_client_hello(hello) == ClientHello("public.example", has_ech=True)


BROKEN_NAMES = {
    "spaces": (server_name(b"two words"),),
    "binary": (server_name(b"a\0b"),),
    "empty label": (server_name(b"a..b"),),
    "too long": (server_name(b"a." * 126 + b"ab"),),
    "two names": (server_name(b"a", b"b"),),
    "two extensions": (server_name(b"a"), server_name(b"a")),
    "bytes after the list": (extension(hellos.SERVER_NAME, b"\0\x04\0\0\x01a!"),),
    "a list past the extension": (extension(hellos.SERVER_NAME, b"\0\x09\0\0\x01a"),),
    "a name past the list": (extension(hellos.SERVER_NAME, b"\0\x04\0\0\x09a"),),
    "an extension past the end": (server_name(b"a"), b"\0\x0a\0\x09\0"),
}


@pytest.mark.parametrize("extensions", BROKEN_NAMES.values(), ids=BROKEN_NAMES)
def test_a_broken_name_is_an_error(extensions: tuple[bytes, ...]) -> None:
    with pytest.raises(ParseError):
        parse_client_hello(client_hello(*extensions))


NOT_A_HELLO = {
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "SSL 2.0": bytes.fromhex("802e0100020015000000100100800300800700c0"),
    "an alert": b"\x15\x03\x01\0\x02\x02\x28",
    "a ServerHello": b"\x16\x03\x03\0\x04\x02\0\0\x2a",
    "DTLS": b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x10\x01",
    "an empty record": b"\x16\x03\x01\0\0\x16\x03\x01\0\x01\x01",
    "a record too long": b"\x16\x03\x01\x40\x01\x01",
    "a message too long": b"\x16\x03\x01\x40\0\x01\x01\0\0",
    "a record in between": in_records(SMALL[:20]) + b"\x17\x03\x03\0\x01\0",
    "of another major version": in_records(SMALL[:4] + b"\x02" + SMALL[5:]),
    "a record of no TLS": b"\x16\x02" + in_records(SMALL)[2:],
    "a long session id": in_records(
        b"\x01" + prefixed(SMALL[4:38] + b"\x21" + SMALL[39:71] + b"\0" + SMALL[71:], 3)
    ),
    "odd cipher suites": in_records(SMALL[:72] + b"\x05" + SMALL[73:]),
    "bytes after the extensions": in_records(b"\x01" + prefixed(SMALL[4:] + b"\0", 3)),
}


@pytest.mark.parametrize("stream", NOT_A_HELLO.values(), ids=NOT_A_HELLO)
def test_anything_else_is_an_error(stream: bytes) -> None:
    with pytest.raises(ParseError):
        maybe_client_hello(stream)


@pytest.mark.parametrize("name", ["HTTP", "SSL 2.0", "an alert", "a ServerHello", "DTLS"])
def test_the_first_bytes_tell_what_is_no_hello(name: str) -> None:
    assert not looks_like_client_hello(NOT_A_HELLO[name])


def test_the_longest_message_is_read_and_no_longer_one() -> None:
    assert maybe_client_hello(in_records(named(NAME, padded_to=HANDSHAKE_MAX))) == PLAIN
    with pytest.raises(ParseError):
        maybe_client_hello(in_records(named(NAME, padded_to=HANDSHAKE_MAX + 1))[:9])


def test_records_are_counted() -> None:
    message = named(NAME, padded_to=RECORDS_MAX)
    assert maybe_client_hello(in_records(message, 1)) == PLAIN
    with pytest.raises(ParseError):
        maybe_client_hello(in_records(named(NAME, padded_to=RECORDS_MAX + 1), 1))


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(stream: bytes) -> None:
    for start in (b"", b"\x16\x03\x01", in_records(SMALL)[:43], in_records(SMALL)[:80]):
        try:
            hello = maybe_client_hello(start + stream)
            assert (hello is None) == bool(bytes_wanted(start + stream))
        except ParseError:
            pass
        with contextlib.suppress(ParseError):
            parse_client_hello(start[5:] + stream)


@given(st.data(), st.sampled_from(FRAGMENT_LENS))
def test_no_change_to_a_hello_raises_anything_else(data: st.DataObject, fragment_len: int) -> None:
    stream = bytearray(in_records(SMALL, fragment_len))
    for place in data.draw(st.lists(st.integers(0, len(stream) - 1), max_size=4)):
        stream[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ParseError):
        maybe_client_hello(bytes(stream))


HOSTILE = {
    "a byte a record": in_records(b"\x01\0\x3f\xf0" + bytes(65536 // 6), 1),
    "two bytes a record": in_records(b"\x01\0\x3f\xf0" + bytes(65536 // 7), 2),
    "empty extensions": in_records(
        client_hello(*[extension(9, b"")] * ((HANDSHAKE_MAX - 100) // 4))
    ),
    "empty names": in_records(client_hello(server_name(*[b""] * 5400, name_type=9))),
    "zeros": bytes(65536),
    "records": b"\x16\x03\x01\0\x01\x01" * 10922,
    "a record header for ever": b"\x16" * 65536,
}


@pytest.mark.parametrize("stream", HOSTILE.values(), ids=HOSTILE)
def test_64_kb_of_anything_take_a_bounded_number_of_reads(stream: bytes) -> None:
    with counted_reads(tls) as reads, contextlib.suppress(ParseError):
        maybe_client_hello(stream)
    assert reads.total <= 2 * RECORDS_MAX + HANDSHAKE_MAX


OPENSSL = {
    "its own": ("-servername", "www.example.org"),
    "TLS 1.2": ("-servername", "www.example.org", "-tls1_2"),
    "several segments": (
        "-servername", "www.example.org", "-alpn", ",".join(f"protocol-{n:04}" for n in range(300))
    ),
    "several records": ("-servername", "www.example.org", "-max_send_frag", "512",
        "-alpn", ",".join(f"protocol-{n:04}" for n in range(300))
    ),
}  # fmt: skip


@pytest.mark.parametrize("arguments", OPENSSL.values(), ids=OPENSSL)
def test_what_openssl_sends_is_read(arguments: tuple[str, ...]) -> None:
    stream = hellos.from_openssl(*arguments)
    assert looks_like_client_hello(stream[:6])
    assert maybe_client_hello(stream) == PLAIN
    for length in range(len(stream)):
        assert maybe_client_hello(stream[:length]) is None
    if "-alpn" in arguments:
        assert len(stream) > 4096
    if "-max_send_frag" in arguments:
        assert int.from_bytes(stream[3:5], "big") == 512


def test_openssl_without_a_name_has_none() -> None:
    assert maybe_client_hello(hellos.from_openssl("-noservername")) == ClientHello(
        None, has_ech=False
    )
