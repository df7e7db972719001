"""From payloads to names and DNS messages, however segments and datagrams come."""

from __future__ import annotations

import tracemalloc
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.capture.records import Payload
from exporter.names.aes import Aes
from exporter.names.attribution import DNS, HTTP, QUIC, TLS
from exporter.names.inspection import (
    HELD_MAX,
    PROTOCOLS,
    READERS_HELD_MAX,
    READERS_MAX,
    DnsSeen,
    Finding,
    Inspection,
)
from exporter.names.quic_packet import looks_like_initial
from tests.dns_messages import message, question
from tests.hellos import client_hello, in_records, named, post_quantum_key_share
from tests.initials import crypto, initial, pieces
from tests.unit.payloads import RESOLVER, reply, tcp, udp

AES = Aes()
NAME = "www.example.org"
SMALL = in_records(named(NAME.encode()))
LARGE = in_records(named(NAME.encode(), post_quantum_key_share(), padded_to=4096))
SEVERAL_RECORDS = in_records(named(NAME.encode(), padded_to=3000), fragment_len=700)
REQUEST = b"GET /index.html HTTP/1.1\r\nAccept: */*\r\nHost: www.example.org\r\n\r\n"
CONNECT = b"CONNECT proxied.example:443 HTTP/1.1\r\nHost: proxied.example:443\r\n\r\n"


def inspect(
    *payloads: Payload, by: Inspection | None = None
) -> list[tuple[str, str | None] | tuple[int, bool]]:
    """Findings as (source, name), DNS messages as (id, whether it is a response)."""
    inspection = by or Inspection(AES)
    found: list[tuple[str, str | None] | tuple[int, bool]] = []
    for payload in payloads:
        for seen in inspection.read(payload):
            assert seen.payload is payload
            if isinstance(seen, Finding):
                found.append((seen.source, seen.name))
            else:
                assert isinstance(seen, DnsSeen)
                found.append((seen.message.id, seen.message.is_response))
    return found


def cut(data: bytes, count: int) -> list[Payload]:
    """So many segments."""
    length = -(-len(data) // count)
    return [tcp(data[at : at + length], 1000 + at) for at in range(0, len(data), length)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("hello", [SMALL, LARGE, SEVERAL_RECORDS], ids=["small", "4 KB", "records"])
def test_a_client_hello_in_segments_in_any_order_states_its_name_once(
    hello: bytes, count: int
) -> None:
    for order in permutations(cut(hello, count)):
        assert inspect(*order) == [(TLS, NAME)]


@pytest.mark.parametrize("start", [(1 << 32) - 1, (1 << 32) - 1000, (1 << 31) - 10])
def test_the_sequence_numbers_of_a_client_hello_may_wrap(start: int) -> None:
    segments = [tcp(LARGE[at : at + 1460], start + at) for at in range(0, len(LARGE), 1460)]
    assert inspect(*segments) == inspect(*reversed(segments)) == [(TLS, NAME)]


def test_a_client_hello_byte_by_byte() -> None:
    small = in_records(named(b"a.example"))[:]
    first, rest = small[:100], small[100:]
    assert len(rest) < 60
    bytewise = [tcp(rest[at : at + 1], 100 + at) for at in range(len(rest))]
    assert inspect(tcp(first), *bytewise) == [(TLS, "a.example")]


def test_retransmitted_and_overlapping_segments_change_nothing() -> None:
    segments = [
        tcp(LARGE[:1460], 0),
        tcp(LARGE[:1460], 0),
        tcp(LARGE[1000:2500], 1000),
        tcp(LARGE[:3000], 0),
        tcp(LARGE[2900:], 2900),
    ]
    assert inspect(*segments) == [(TLS, NAME)]


def test_a_client_hello_may_follow_other_messages() -> None:
    """As after STARTTLS."""
    assert inspect(tcp(b"EHLO there\r\n", 0), tcp(b"STARTTLS\r\n", 12), tcp(SMALL, 22)) == [
        (TLS, NAME)
    ]


def test_connections_and_directions_and_devices_are_told_apart() -> None:
    first, second = cut(SMALL, 2)
    for other in (
        second._replace(source_port=1),
        second._replace(destination_port=1),
        second._replace(source=b"abcd"),
        second._replace(destination=b"abcd"),
        second._replace(device_slot=2),
        reply(second),
    ):
        assert inspect(first, other) == []
    assert inspect(first, reply(second), second) == [(TLS, NAME)]


def test_a_client_hello_without_a_name_says_so() -> None:
    assert inspect(tcp(in_records(client_hello()))) == [(TLS, None)]


def test_after_a_name_the_connection_may_state_another() -> None:
    inspection = Inspection(AES)
    assert inspect(tcp(CONNECT), by=inspection) == [(HTTP, "proxied.example")]
    hello = [tcp(SMALL[:50], len(CONNECT)), tcp(SMALL[50:], len(CONNECT) + 50)]
    assert inspect(*hello, by=inspection) == [(TLS, NAME)]
    assert inspection.packets == {DNS: 0, TLS: 2, QUIC: 0, HTTP: 1}


def test_a_request_in_segments_in_any_order_states_its_host() -> None:
    for count in (1, 2, 3, 4, 5):
        for order in permutations(cut(REQUEST, count)):
            assert inspect(*order) == [(HTTP, NAME)]


@pytest.mark.parametrize("broken", [SMALL[:5] + b"\x01\0\0\1\0", b"GET / HTTP/2\r\n\r\n"])
def test_a_broken_message_is_one_error_and_no_name(broken: bytes) -> None:
    inspection = Inspection(AES)
    assert inspect(tcp(broken), by=inspection) == []
    assert sum(inspection.errors.values()) == 1
    assert inspect(tcp(SMALL, 5000), by=inspection) == [(TLS, NAME)]


def test_each_payload_counts_once() -> None:
    inspection = Inspection(AES)
    first, second = cut(SMALL, 2)
    assert inspect(first, first, second, by=inspection) == [(TLS, NAME)]
    assert inspection.packets == {DNS: 0, TLS: 3, QUIC: 0, HTTP: 0}
    assert not any(inspection.errors.values())


# DNS.

QUERY = message([question("a.example")], flags=0x0100, message_id=1)
ANSWER = message([question("a.example")], message_id=2)
OTHER = message([question("b.example", 28)], message_id=3)


def dns(data: bytes, sequence: int | None = None) -> Payload:
    if sequence is None:
        return udp(data, server=RESOLVER, server_port=53)
    return tcp(data, sequence, server_port=53)


def framed(*messages: bytes) -> bytes:
    return b"".join(len(each).to_bytes(2, "big") + each for each in messages)


def test_dns_over_udp_both_ways() -> None:
    assert inspect(dns(QUERY), reply(dns(ANSWER))) == [(1, False), (2, True)]


def test_dns_that_the_capture_cut_is_read_as_far_as_it_goes() -> None:
    inspection = Inspection(AES)
    assert inspect(dns(QUERY[:-2]), by=inspection) == [(1, False)]
    assert inspect(dns(QUERY[:11]), by=inspection) == []
    assert inspection.packets[DNS] == 2
    assert inspection.errors[DNS] == 1


def test_datagrams_of_a_super_packet_are_read_one_by_one() -> None:
    assert len(QUERY) == len(ANSWER)
    both = dns(QUERY + ANSWER + OTHER[:20])._replace(segment_len=len(QUERY))
    assert inspect(both) == [(1, False), (2, True), (3, True)]


THREE = framed(QUERY, ANSWER, OTHER)
EXPECTED = [(1, False), (2, True), (3, True)]


@pytest.mark.parametrize("at", range(1, len(THREE)))
def test_dns_over_tcp_may_be_cut_anywhere(at: int) -> None:
    """Also between the two bytes of a length."""
    inspection = Inspection(AES)
    assert inspect(dns(THREE[:at], 7), dns(THREE[at:], 7 + at), by=inspection) == EXPECTED
    assert inspection.errors[DNS] == 0


def test_dns_over_tcp_byte_by_byte() -> None:
    query = framed(QUERY)
    assert inspect(*(dns(query[at : at + 1], at) for at in range(len(query)))) == [(1, False)]


@pytest.mark.parametrize("last_cut", range(40, len(THREE)))
def test_dns_over_tcp_goes_on_behind_a_segment_that_came_late(last_cut: int) -> None:
    """What is left of a stream stays where it lies, whichever segment closed the gap."""
    cut = THREE.index(b"\x07example")  # which as a length is more than there is
    first, second, third = (
        dns(THREE[a:b], 7 + a) for a, b in ((0, cut), (cut, last_cut), (last_cut, len(THREE)))
    )
    assert inspect(second, first, third) == EXPECTED


def test_dns_over_tcp_after_a_broken_message_begins_anew() -> None:
    inspection = Inspection(AES)
    broken = framed(QUERY[:12])
    assert inspect(dns(broken, 0), dns(framed(ANSWER), 14), by=inspection) == [(2, True)]
    assert inspection.errors[DNS] == 1


# QUIC.

QUIC_HELLO = named(NAME.encode(), post_quantum_key_share(), padded_to=3000)
DATAGRAMS = [initial(piece, number=number) for number, piece in enumerate(pieces(QUIC_HELLO, 1000))]


def test_quic_over_datagrams_in_any_order() -> None:
    for order in permutations(DATAGRAMS):
        assert inspect(*map(udp, order)) == [(QUIC, NAME)]


def test_quic_in_a_super_packet() -> None:
    assert len({len(each) for each in DATAGRAMS}) == 1
    assert inspect(udp(b"".join(DATAGRAMS), segment_len=len(DATAGRAMS[0]))) == [(QUIC, NAME)]


def test_quic_connections_are_told_apart() -> None:
    first, second, third = DATAGRAMS
    inspection = Inspection(AES)
    assert inspect(udp(first), udp(second, port=1), udp(third), by=inspection) == []
    assert inspect(udp(second), by=inspection) == [(QUIC, NAME)]
    assert inspection.packets == {DNS: 0, TLS: 0, QUIC: 4, HTTP: 0}


def test_a_broken_initial_is_an_error_and_the_next_attempt_is_read() -> None:
    inspection = Inspection(AES)
    assert looks_like_initial(initial(b"\x1e"))
    assert inspect(udp(initial(b"\x1e")), by=inspection) == []
    assert inspection.errors[QUIC] == 1
    assert inspect(*map(udp, DATAGRAMS), by=inspection) == [(QUIC, NAME)]


# What must hold whatever comes.


@given(
    st.lists(
        st.tuples(
            st.sampled_from([SMALL, LARGE, REQUEST, THREE, DATAGRAMS[0], b"\xff" * 300]),
            st.integers(0, 400),
            st.binary(max_size=20),
            st.booleans(),
            st.sampled_from([53, 443]),
        ),
        max_size=12,
    )
)
def test_junk_raises_nothing_and_names_nothing_that_was_not_sent(
    parts: list[tuple[bytes, int, bytes, bool, int]],
) -> None:
    inspection = Inspection(AES)
    for sequence, (data, length, junk, is_tcp, server_port) in enumerate(parts):
        payload = (data[:length] + junk) or b"x"
        if is_tcp:
            read = list(inspection.read(tcp(payload, sequence * 7, server_port=server_port)))
        else:
            read = list(inspection.read(udp(payload, server_port=server_port, segment_len=900)))
        for seen in read:
            if isinstance(seen, Finding) and seen.name is not None:
                assert seen.name.startswith(NAME[:3])


@pytest.mark.parametrize("server_port", [53, 443])
def test_a_payload_without_a_byte_says_nothing(server_port: int) -> None:
    inspection = Inspection(AES)
    for empty in (tcp(b"", server_port=server_port), udp(b"", server_port=server_port)):
        assert list(inspection.read(empty)) == []
    assert not any(inspection.errors.values())


def test_a_stream_that_never_completes_is_given_up() -> None:
    inspection = Inspection(AES)
    endless = in_records(named(NAME.encode(), padded_to=16_000))[:-1]
    for number in range(40):
        inspect(tcp(endless[:1000], 1000 * number), by=inspection)
    assert inspection._held < 25_000


def grown_by(inspection: Inspection, payloads: list[Payload]) -> int:
    """Bytes that the inspection holds of what it read, by tracemalloc."""
    tracemalloc.start()
    for payload in payloads:
        copy = payload._replace(
            source=bytes(bytearray(payload.source)), data=bytes(bytearray(payload.data))
        )
        for _ in inspection.read(copy):
            pass
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return grown


@pytest.mark.parametrize("length", [1, 6, 1400], ids=["tiny", "small", "large"])
@pytest.mark.parametrize("server_port", [443, 53])
def test_a_flood_of_incomplete_streams_keeps_to_its_memory(length: int, server_port: int) -> None:
    start = LARGE[:length]
    flood = [
        tcp(start, 0, port=number % 60_000, server_port=server_port)._replace(
            source=(number // 60_000).to_bytes(4, "big")
        )
        for number in range(8_000)
    ]
    inspection = Inspection(AES)
    assert grown_by(inspection, flood) < 1.5 * HELD_MAX
    assert inspection._held == sum(each.cost for each in inspection._streams.values())
    assert 0 < inspection._held <= HELD_MAX
    newest = flood[-1]
    rest = newest._replace(data=LARGE[length:], sequence=length)
    if server_port == 443:
        assert inspect(rest, by=inspection) == [(TLS, NAME)], "the oldest give way"


@pytest.mark.parametrize("offset", [0, 15_000])
def test_a_flood_of_incomplete_initials_keeps_to_its_memory(offset: int) -> None:
    datagram = initial(crypto(offset, QUIC_HELLO[:100]))
    inspection = Inspection(AES)
    flood = [udp(datagram, port=number) for number in range(2 * READERS_MAX)]
    assert grown_by(inspection, flood) < 2 * READERS_HELD_MAX
    assert 0 < len(inspection._readers) <= READERS_MAX
    assert sum(each.held for each in inspection._readers.values()) <= READERS_HELD_MAX


def test_every_protocol_is_there_from_the_start() -> None:
    inspection = Inspection(AES)
    assert inspection.packets == inspection.errors == dict.fromkeys(PROTOCOLS, 0)
