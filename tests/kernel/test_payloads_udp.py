"""Of DNS everything is sent, of other UDP the Initial packets of QUIC."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from tests.hellos import named
from tests.initials import V1, V2, crypto, initial
from tests.kernel.harness import Kernel
from tests.kernel.packets import ether, v4
from tests.kernel.samples import (
    ANSWER,
    BUDGET,
    HELLO,
    INITIAL,
    QUERY,
    REQUEST,
    either_family,
    framed,
)
from tests.kernel.talk import Talk


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
