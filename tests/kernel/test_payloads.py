"""Which payloads the kernel program sends: all that can teach a name, and little else."""

from __future__ import annotations

import struct
import time

import pytest
from scapy.layers.inet import TCP, UDP, IPOption
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Dot1Q
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from exporter.capture.records import (
    FLOW_EGRESS,
    FLOW_INGRESS,
    LINK_ETHERNET,
    LINK_IP,
    PAYLOAD_EVENT,
    PAYLOAD_NO_SLOT,
)
from tests import dns_messages
from tests.hellos import in_records, named, post_quantum_key_share
from tests.initials import V1, V2, crypto, initial
from tests.kernel.conftest import TINY_PAYLOAD_RING
from tests.kernel.harness import DEVICE_SLOT, Kernel, WireCounts
from tests.kernel.packets import ether, v4, v6
from tests.kernel.talk import CLIENT_PORT, FIRST_SEQUENCE, Talk, stream_of

QUERY = dns_messages.message([dns_messages.question("a.test")], flags=dns_messages.QUERY_FLAGS)
ANSWER = dns_messages.message([dns_messages.question("a.test")])
HELLO = in_records(named(b"a.test"))
LARGE_HELLO = in_records(named(b"a.test", post_quantum_key_share(), padded_to=4000))
LONGEST_HELLO = in_records(named(b"a.test", padded_to=1 << 14))
REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
INITIAL = initial(crypto(0, named(b"a.test")))
NOISE = bytes(range(0x80, 0xC0)) * 16
"""Begins like nothing that is known."""

BUDGET = 36
"""INSPECTED_PACKETS_MAX of bpf/flow_events.h."""
UNKNOWN_PACKETS = 3
"""UNKNOWN_PACKETS_MAX of bpf/payload.h."""

either_family = pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])


def framed(message: bytes) -> bytes:
    """As DNS goes over TCP."""
    return struct.pack("!H", len(message)) + message


def test_a_record_says_whose_payload_it_is(kernel: Kernel) -> None:
    talk = Talk(kernel, 8443)
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    talk.tcp(HELLO, 5)
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    (payload,) = kernel.payloads()
    flow = kernel.only_flow().flow
    assert before <= payload.boot_ns <= after
    assert (payload.slot, payload.device_slot, payload.protocol) == (flow.slot, DEVICE_SLOT, 6)
    assert (payload.source, payload.destination) == (flow.source, flow.destination)
    assert (payload.source_port, payload.destination_port) == (CLIENT_PORT, 8443)
    assert payload.sequence == FIRST_SEQUENCE + 5
    assert payload.segment_len == 0
    assert payload.data == HELLO


@either_family
def test_dns_is_sent_both_ways(kernel: Kernel, family: int) -> None:
    talk = Talk(kernel, 53, family)
    talk.udp(QUERY)
    talk.udp(ANSWER, from_client=False)
    talk.open()
    talk.tcp(framed(QUERY))
    talk.tcp(framed(ANSWER), from_client=False)
    assert talk.sent() == [QUERY, ANSWER, framed(QUERY), framed(ANSWER)]


def test_dns_has_no_budget(kernel: Kernel) -> None:
    """One resolver asks another from one port for days."""
    talk = Talk(kernel, 53)
    for _ in range(10 * BUDGET):
        talk.udp(QUERY)
        talk.udp(ANSWER, from_client=False)
    assert len(talk.sent()) == 20 * BUDGET


def test_dns_of_other_ports_is_not_sent(kernel: Kernel) -> None:
    talk = Talk(kernel, 5353)
    talk.udp(QUERY)
    talk.udp(ANSWER, from_client=False)
    assert talk.sent() == []


@either_family
@pytest.mark.parametrize("port", [443, 1, 8443, 65535])
def test_a_client_hello_is_sent_on_any_port(kernel: Kernel, family: int, port: int) -> None:
    talk = Talk(kernel, port, family)
    talk.open()
    talk.tcp(HELLO)
    assert talk.sent() == [HELLO]


@pytest.mark.parametrize("length", [1, 2, 5, 6, 8, 9, 100, 536, 1448])
def test_a_client_hello_is_sent_whole_whatever_its_first_segment_is(
    kernel: Kernel, length: int
) -> None:
    talk = Talk(kernel, 443)
    talk.open()
    talk.tcp(LARGE_HELLO[:length])
    talk.segments(LARGE_HELLO[length:], 1448, length)
    assert stream_of(kernel.payloads()) == LARGE_HELLO


@pytest.mark.parametrize("length", [536, 1200, 1448, 8000, 1 << 15])
@pytest.mark.parametrize("before", [0, 3])
def test_the_longest_client_hello_is_sent_whole(kernel: Kernel, length: int, before: int) -> None:
    """In segments of any size that is in use; in chunks, of a super-packet."""
    talk = Talk(kernel, 443)
    for _ in range(before):
        talk.tcp(b"EHLO me\r\n")
    talk.sent()
    talk.segments(LONGEST_HELLO, length)
    assert stream_of(kernel.payloads()) == LONGEST_HELLO


@pytest.mark.parametrize("fragment_len", [1, 2, 3, 16, 64, 1000])
def test_a_client_hello_in_many_records_is_sent_whole(kernel: Kernel, fragment_len: int) -> None:
    stream = in_records(named(b"a.test", padded_to=min(1 << 14, 1000 * fragment_len)), fragment_len)
    talk = Talk(kernel, 443)
    talk.segments(stream, 1448)
    assert stream_of(kernel.payloads()) == stream


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (0, 2, 1), (1, 2, 0), (2, 0, 1)])
def test_segments_of_a_client_hello_may_come_in_any_order(
    kernel: Kernel, order: tuple[int, ...]
) -> None:
    talk = Talk(kernel, 443)
    talk.open()
    for number in order:
        start = number * 1448
        talk.tcp(LARGE_HELLO[start : start + 1448], start)
    assert stream_of(kernel.payloads()) == LARGE_HELLO


def test_a_segment_that_is_sent_again_is_sent_again(kernel: Kernel) -> None:
    """Whoever reads may have lost the first."""
    talk = Talk(kernel, 443)
    for _ in range(2):
        talk.segments(LARGE_HELLO, 1448)
    assert len(talk.sent()) == 2 * -(-len(LARGE_HELLO) // 1448)


def test_nothing_of_what_follows_a_client_hello_is_sent(kernel: Kernel) -> None:
    talk = Talk(kernel, 443)
    talk.open()
    talk.tcp(HELLO)
    talk.tcp(NOISE, len(HELLO))
    talk.tcp(NOISE, from_client=False)
    assert talk.sent() == [HELLO]


def test_of_a_segment_only_the_client_hello_is_sent(kernel: Kernel) -> None:
    """What follows in it is early data."""
    talk = Talk(kernel, 443)
    talk.tcp(HELLO + NOISE)
    assert talk.sent() == [HELLO]


def test_a_client_hello_after_other_data_is_sent(kernel: Kernel) -> None:
    """STARTTLS, and a proxy's CONNECT."""
    talk = Talk(kernel, 25)
    talk.open()
    talk.tcp(b"220 mail.test ESMTP\r\n", from_client=False)
    for line in (b"EHLO me\r\n", b"HELP\r\n", b"NOOP\r\n", b"NOOP\r\n", b"STARTTLS\r\n"):
        talk.tcp(line)
        talk.tcp(b"250 OK\r\n", from_client=False)
    talk.sent()
    talk.segments(LARGE_HELLO, 1448)
    assert stream_of(kernel.payloads()) == LARGE_HELLO


def test_a_client_hello_is_sent_whoever_seems_to_have_opened_the_connection(
    kernel: Kernel,
) -> None:
    """The first packet that was seen of it was the server's."""
    talk = Talk(kernel, 443)
    talk.tcp(b"", from_client=False)
    talk.segments(LARGE_HELLO, 1448)
    assert stream_of(kernel.payloads()) == LARGE_HELLO


def test_a_client_hello_that_comes_with_the_syn_has_its_place(kernel: Kernel) -> None:
    """TCP Fast Open, RFC 7413: the SYN takes a number of its own."""
    talk = Talk(kernel, 443)
    talk.tcp(LARGE_HELLO[:1400], -1, flags="S")
    talk.tcp(LARGE_HELLO[1400:], 1400)
    assert stream_of(kernel.payloads()) == LARGE_HELLO


@pytest.mark.parametrize("method", [b"GET", b"POST", b"OPTIONS", b"CONNECT", b"PRI", b"ACL"])
def test_requests_are_sent_and_responses_are_not(kernel: Kernel, method: bytes) -> None:
    talk = Talk(kernel, 8080)
    request = REQUEST.replace(b"GET", method)
    for n in range(UNKNOWN_PACKETS + 2):
        talk.tcp(request, n * len(request))
        talk.tcp(RESPONSE, n * len(RESPONSE), from_client=False)
    assert talk.sent() == [request] * (UNKNOWN_PACKETS + 2)


def test_a_request_is_sent_over_several_segments(kernel: Kernel) -> None:
    head = b"GET / HTTP/1.1\r\nCookie: " + b"c" * 6000 + b"\r\nHost: a.test\r\n\r\n"
    talk = Talk(kernel, 80)
    talk.open()
    talk.segments(head, 1000)
    assert stream_of(kernel.payloads()) == head


def test_after_connect_the_inner_client_hello_is_sent(kernel: Kernel) -> None:
    talk = Talk(kernel, 3128)
    connect = b"CONNECT a.test:443 HTTP/1.1\r\n\r\n"
    talk.open()
    talk.tcp(connect)
    talk.tcp(RESPONSE, from_client=False)
    talk.segments(LARGE_HELLO, 1448, len(connect))
    assert stream_of(kernel.payloads()) == connect + LARGE_HELLO


def test_of_a_body_no_more_is_sent_than_a_head_may_have(kernel: Kernel) -> None:
    talk = Talk(kernel, 80)
    talk.open()
    talk.tcp(REQUEST)
    talk.segments(bytes(30000), 1448, len(REQUEST))
    assert sum(map(len, talk.sent())) == 8192


VERSIONS = {"v1": V1, "v2": V2, "v2-draft": 0x709A50C4, "draft-29": 0xFF00001D, "mvfst": 0xFACEB002}
VERSIONS |= {"T051": 0x54303531, "T050": 0x54303530}


@either_family
@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_quic_initials_are_sent_on_any_port(kernel: Kernel, family: int, version: int) -> None:
    datagram = initial(crypto(0, named(b"a.test")), version=version)
    talk = Talk(kernel, 4433, family)
    talk.udp(datagram)
    talk.udp(datagram, from_client=False)
    assert talk.sent() == [datagram, datagram]


@pytest.mark.parametrize("version", [0x0A0A0A0A, 0x1A2A3A4A, 0xFAFAFAFA])
def test_a_reserved_version_is_sent(kernel: Kernel, version: int) -> None:
    """RFC 9000, 15."""
    datagram = INITIAL[:1] + struct.pack("!I", version) + INITIAL[5:]
    talk = Talk(kernel, 443)
    talk.udp(datagram)
    assert talk.sent() == [datagram]


def test_an_initial_without_the_fixed_bit_is_sent(kernel: Kernel) -> None:
    """RFC 9287."""
    datagram = bytes([INITIAL[0] & ~0x40]) + INITIAL[1:]
    talk = Talk(kernel, 443)
    talk.udp(datagram)
    assert talk.sent() == [datagram]


OTHER_DATAGRAMS = {
    "quic-short-header": bytes([0x40]) + INITIAL[1:],
    "quic-handshake": bytes([0xE0]) + INITIAL[1:],
    "quic-0rtt": bytes([0xD0]) + INITIAL[1:],
    "quic-retry": bytes([0xF0]) + INITIAL[1:],
    "quic-v2-handshake": bytes([0xF0]) + struct.pack("!I", V2) + INITIAL[5:],
    "quic-v2-retry": bytes([0xC0]) + struct.pack("!I", V2) + INITIAL[5:],
    "quic-version-negotiation": bytes([0xC0]) + bytes(4) + INITIAL[5:],
    "gquic": b"\x09" + bytes(8) + b"Q039" + bytes(1200),
    "rtp": b"\x80\x60" + bytes(range(10, 170)),
    "rtcp": b"\x80\xc8\x00\x06" + bytes(24),
    "stun": b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12),
    "turn-channel": b"\x40\x00\x00\x64" + bytes(100),
    "dtls-client-hello": b"\x16\xfe\xfd" + bytes(8) + HELLO,
    "tls-in-udp": HELLO,
    "http-in-udp": REQUEST,
    "ntp": b"\xe3\x00\x06\xec" + bytes(44),
    "wireguard": b"\x01\x00\x00\x00" + bytes(144),
    "zeros": bytes(1200),
    "ones": b"\xff" * 1200,
    "one-byte": b"\xc0",
    "empty": b"",
}


@pytest.mark.parametrize("datagram", OTHER_DATAGRAMS.values(), ids=OTHER_DATAGRAMS)
def test_other_datagrams_are_not_sent(kernel: Kernel, datagram: bytes) -> None:
    for family in (4, 6):
        talk = Talk(kernel, 443, family)
        talk.udp(datagram)
        talk.udp(datagram, from_client=False)
        assert talk.sent() == []


def test_what_else_has_ports_is_not_looked_at(kernel: Kernel) -> None:
    for port in (443, 53):
        kernel.run(bytes(ether() / v4() / SCTP(sport=1, dport=port) / Raw(HELLO)))
        kernel.run(bytes(ether() / v4(proto=136) / UDP(sport=1, dport=port) / Raw(INITIAL)))
        kernel.run(bytes(ether() / v4(proto=33) / TCP(sport=1, dport=port) / Raw(HELLO)))
    assert kernel.payloads() == []


def test_a_super_packet_of_datagrams_says_how_long_each_is(kernel: Kernel) -> None:
    talk = Talk(kernel, 443)
    talk.udp(INITIAL + INITIAL[:1000], gso_size=len(INITIAL))
    (payload,) = kernel.payloads()
    assert payload.segment_len == len(INITIAL)
    assert payload.data == INITIAL + INITIAL[:1000]


def test_of_a_datagram_that_is_longer_than_a_record_the_beginning_is_sent(kernel: Kernel) -> None:
    talk = Talk(kernel, 53)
    answer = ANSWER + bytes(20000)
    talk.udp(answer, from_client=False)
    assert talk.sent() == [answer[:4096]]


@pytest.mark.parametrize("cut", [0, 1, 5, 9, 1000])
def test_a_payload_in_fragments_of_the_socket_buffer_is_read(kernel: Kernel, cut: int) -> None:
    """As a local process sends it over a device with offloads: only headers are linear, or some."""
    payload = (LARGE_HELLO + NOISE)[:4096]
    headers = ether() / v4() / TCP(sport=1, dport=443)
    frame = bytes(headers / Raw(payload))
    kernel.run(frame, FLOW_EGRESS, linear_len=len(bytes(headers)) + cut)
    (sent,) = kernel.payloads()
    assert sent.data.startswith(LARGE_HELLO)
    assert kernel.only_flow().counts == (1, len(frame))


PADDING = bytes(64)

HEADERS: dict[str, Packet] = {
    "v4": ether() / v4(),
    "v4-options": ether() / v4(options=[IPOption(b"\x01" * 12)]),
    "v6": ether() / v6(),
    "v6-extensions": ether() / v6() / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt(),
    "vlan-v4": ether() / Dot1Q(vlan=7) / v4(),
    "raw-v4": v4(),
    "raw-v6": v6(),
}

each_header = pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)


def _set_link_type(kernel: Kernel, headers: Packet) -> None:
    kernel.set_link_type(LINK_ETHERNET if headers.name == "Ethernet" else LINK_IP)


@each_header
def test_the_payload_begins_where_the_headers_end(kernel: Kernel, headers: Packet) -> None:
    _set_link_type(kernel, headers)
    kernel.run(bytes(headers / TCP(sport=1, dport=2, options=[("NOP", None)] * 8) / Raw(HELLO)))
    kernel.run(bytes(headers / UDP(sport=1, dport=2) / Raw(INITIAL)))
    assert [payload.data for payload in kernel.payloads()] == [HELLO, INITIAL]


@each_header
def test_padding_is_no_payload(kernel: Kernel, headers: Packet) -> None:
    _set_link_type(kernel, headers)
    kernel.run(bytes(headers / TCP(sport=1, dport=53, flags="A")) + PADDING)
    kernel.run(bytes(headers / UDP(sport=1, dport=53) / Raw(QUERY)) + PADDING)
    assert [payload.data for payload in kernel.payloads()] == [QUERY]
    inspected = [entry.inspection for entry in kernel.flows()]
    assert inspected == [0, 0]


@pytest.mark.parametrize("stated", [0, 20, 27, 28, 100, 65535])
def test_the_length_that_ip_states_bounds_the_payload(kernel: Kernel, stated: int) -> None:
    """It may be left 0, and be more than there is."""
    kernel.run(bytes(ether() / v4(len=stated) / UDP(sport=1, dport=53) / Raw(INITIAL)))
    payload_len = max(0, stated - 28) if stated else len(INITIAL)
    expected = [INITIAL[:payload_len]] if payload_len else []
    assert [payload.data for payload in kernel.payloads()] == expected


@pytest.mark.parametrize("stated", [0, 7, 8, 100, 65535])
def test_the_length_that_ipv6_states_does_too(kernel: Kernel, stated: int) -> None:
    kernel.run(bytes(ether() / v6(plen=stated) / UDP(sport=1, dport=53) / Raw(INITIAL)))
    payload_len = max(0, stated - 8) if stated else len(INITIAL)
    expected = [INITIAL[:payload_len]] if payload_len else []
    assert [payload.data for payload in kernel.payloads()] == expected


def test_a_first_fragment_has_a_payload_and_a_later_one_has_none(kernel: Kernel) -> None:
    whole = bytes(UDP(sport=1, dport=53) / Raw(ANSWER * 40))
    for at in range(0, len(whole), 800):
        part = whole[at : at + 800]
        more = "MF" if at + 800 < len(whole) else 0
        kernel.run(bytes(ether() / v4(frag=at // 8, flags=more, proto=17) / Raw(part)))
    assert [payload.data for payload in kernel.payloads()] == [whole[8:800]]


@pytest.mark.parametrize("data_offset", [0, 4, 15])
def test_a_tcp_header_that_lies_about_its_length_does_no_harm(
    kernel: Kernel, data_offset: int
) -> None:
    for size in range(60):
        headers = ether() / v4() / TCP(sport=1, dport=53, dataofs=data_offset)
        kernel.run(bytes(headers / Raw(bytes(size))))
    for payload in kernel.payloads():
        assert payload.data == bytes(len(payload.data))


@pytest.mark.parametrize("from_client", [True, False])
def test_bulk_is_not_sent_once_the_budget_is_spent(kernel: Kernel, from_client: bool) -> None:
    talk = Talk(kernel, 443)
    talk.open()
    for n in range(3 * BUDGET):
        talk.tcp(NOISE, n * len(NOISE), from_client=from_client)
    assert len(talk.sent()) == (UNKNOWN_PACKETS if from_client else 0)
    for _ in range(2):
        talk.tcp(HELLO, 3 * BUDGET * len(NOISE), from_client=from_client)
    assert talk.sent() == []


def test_a_flow_sends_no_more_messages_than_its_budget(kernel: Kernel) -> None:
    talk = Talk(kernel, 443)
    for n in range(3 * BUDGET):
        talk.tcp(REQUEST, n * len(REQUEST))
        talk.udp(INITIAL)
    sent = talk.sent()
    assert sent.count(INITIAL) == BUDGET
    # A message that begins has no packet of unknown kind before it any more.
    assert sent.count(REQUEST) == BUDGET - UNKNOWN_PACKETS + 1
    assert {entry.inspection for entry in kernel.flows()} == {BUDGET}


def test_packets_without_a_payload_cost_none_of_the_budget(kernel: Kernel) -> None:
    talk = Talk(kernel, 443)
    talk.open()
    for _ in range(3 * BUDGET):
        talk.tcp(b"")
    talk.tcp(HELLO)
    assert talk.sent() == [HELLO]


@pytest.mark.parametrize("end", ["FA", "R", None])
def test_a_connection_that_uses_the_ports_again_is_looked_at_again(
    kernel: Kernel, end: str | None
) -> None:
    """Also where the end of the one before was not seen."""
    talk = Talk(kernel, 443)
    talk.open()
    for n in range(2 * BUDGET):
        talk.tcp(NOISE, n * len(NOISE))
    if end:
        talk.tcp(b"", 2 * BUDGET * len(NOISE), flags=end)
    talk.sent()
    talk.open()
    talk.tcp(HELLO)
    assert talk.sent() == [HELLO]


def test_payloads_that_find_the_ring_full_are_counted(tiny_table: Kernel) -> None:
    talk = Talk(tiny_table, 53)
    fit = (TINY_PAYLOAD_RING - 1) // (-(-(PAYLOAD_EVENT.size + len(QUERY)) // 8) * 8 + 8)
    for _ in range(1000):
        talk.udp(QUERY)
    assert len(talk.sent()) == fit
    assert tiny_table.totals(FLOW_EGRESS).dropped_payloads == 1000 - fit
    assert tiny_table.totals(FLOW_EGRESS).dropped_events == 0
    assert tiny_table.totals(FLOW_EGRESS).packets == 1000
    talk.udp(QUERY)
    assert talk.sent() == [QUERY]


def test_records_may_wrap_anywhere(tiny_table: Kernel) -> None:
    talk = Talk(tiny_table, 53)
    for size in range(0, 1500, 7):
        query = QUERY + bytes(size)
        talk.udp(query)
        assert talk.sent() == [query]


def test_dns_is_sent_when_the_flow_table_is_full(tiny_table: Kernel) -> None:
    for port in range(1000):
        tiny_table.run(bytes(ether() / v4() / UDP(sport=port, dport=9)))
    assert tiny_table.totals().overflow_packets > 0
    talks = [Talk(tiny_table, port) for port in (53, 443)]
    for talk in talks:
        talk.udp(QUERY)
    talks[1].tcp(HELLO)
    (payload,) = tiny_table.payloads()
    assert payload.slot == PAYLOAD_NO_SLOT
    assert payload.data == QUERY
    assert (payload.source_port, payload.destination_port) == (CLIENT_PORT, 53)


def test_a_device_that_is_listened_to_counts_nothing_and_sends_dns_alone(kernel: Kernel) -> None:
    kernel.set_link_type(LINK_ETHERNET, listen_only=True)
    nothing = WireCounts(0, 0)
    for frame in (
        ether() / v4() / UDP(sport=1, dport=53) / Raw(QUERY),
        ether() / v6() / TCP(sport=53, dport=1) / Raw(framed(ANSWER)),
        ether() / v4() / TCP(sport=1, dport=443) / Raw(HELLO),
        ether() / v4() / UDP(sport=1, dport=443) / Raw(INITIAL),
        ether() / Raw(bytes(60)),
    ):
        for direction in (FLOW_INGRESS, FLOW_EGRESS):
            kernel.run(bytes(frame), direction, wire=nothing)
    payloads = kernel.payloads()
    assert [payload.data for payload in payloads] == [QUERY] * 2 + [framed(ANSWER)] * 2
    assert {(payload.slot, payload.device_slot) for payload in payloads} == {
        (PAYLOAD_NO_SLOT, DEVICE_SLOT)
    }
    assert kernel.flows() == []
    assert kernel.events() == []
