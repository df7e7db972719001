"""Who opened a connection, when it ended, and what happens when its ports are used again."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.packet import Packet, Raw

from exporter.capture.records import (
    FLOW_EGRESS,
    FLOW_ENDED,
    FLOW_EVENT_END,
    FLOW_EVENT_NEW,
    FLOW_INGRESS,
    FLOW_LIVE,
    FLOW_OPENER,
    FLOW_SUPERSEDED,
)
from tests.kernel.harness import CountedFlow, Kernel
from tests.kernel.packets import V4, V6, ether, v4, v6

CLIENT_PORT, SERVER_PORT = 50000, 443
NEW, END = FLOW_EVENT_NEW, FLOW_EVENT_END


class Conversation:
    """TCP between a client behind the device and a server: the client's packets leave by egress."""

    def __init__(self, kernel: Kernel, family: int = 4) -> None:
        self._kernel = kernel
        self._ip, (self._client, self._server) = (v4, V4) if family == 4 else (v6, V6)

    def client(self, flags: str) -> None:
        """The client sends."""
        self._send(flags, FLOW_EGRESS, CLIENT_PORT, SERVER_PORT)

    def server(self, flags: str) -> None:
        """The server sends."""
        self._send(flags, FLOW_INGRESS, SERVER_PORT, CLIENT_PORT)

    def _send(self, flags: str, direction: int, source: int, destination: int) -> None:
        packet: Packet = self._ip() / TCP(sport=source, dport=destination, flags=flags)
        if direction == FLOW_INGRESS:
            packet.src, packet.dst = self._server, self._client
        self._kernel.run(bytes(ether() / packet), direction)

    def seen(self) -> list[tuple[str, int, int, int]]:
        """The entries as (who sends, state, flags, packets), in order of these."""
        return sorted(map(_summary, self._kernel.flows()))

    def events(self) -> list[tuple[int, str]]:
        """The events since the last look, as (type, who sends); each with the slot of its flow."""
        keys = {entry.flow.slot: entry.key for entry in self._kernel.flows()}
        events = self._kernel.events()
        assert all(keys[event.flow.flow.slot] == event.flow.key for event in events)
        return [(event.type, _summary(event.flow)[0]) for event in events]


def _summary(entry: CountedFlow) -> tuple[str, int, int, int]:
    who = "client" if entry.flow.direction == FLOW_EGRESS else "server"
    return who, entry.state, entry.flow.flags, entry.counts.packets


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def tcp(kernel: Kernel, request: pytest.FixtureRequest) -> Conversation:
    return Conversation(kernel, request.param)


def test_the_sender_of_the_syn_is_the_opener(tcp: Conversation) -> None:
    tcp.client("S")
    tcp.server("SA")
    tcp.client("A")
    assert tcp.seen() == [
        ("client", FLOW_LIVE, FLOW_OPENER, 2),
        ("server", FLOW_LIVE, 0, 1),
    ]
    assert tcp.events() == [(NEW, "client"), (NEW, "server")]


def test_who_answers_a_syn_ack_is_the_opener_even_when_the_syn_was_not_seen(
    tcp: Conversation,
) -> None:
    tcp.server("SA")
    tcp.client("A")
    assert [flags for _, _, flags, _ in tcp.seen()] == [FLOW_OPENER, 0]


def test_with_ecn_a_syn_is_still_a_syn(tcp: Conversation) -> None:
    tcp.client("SEC")
    tcp.server("SAE")
    assert [flags for _, _, flags, _ in tcp.seen()] == [FLOW_OPENER, 0]


def test_without_a_syn_the_first_one_seen_is_the_opener(tcp: Conversation) -> None:
    tcp.server("A")
    tcp.client("A")
    assert tcp.seen() == [
        ("client", FLOW_LIVE, 0, 1),
        ("server", FLOW_LIVE, FLOW_OPENER, 1),
    ]


def test_two_that_open_to_each_other_are_both_openers(tcp: Conversation) -> None:
    """RFC 9293, 3.5: simultaneous open."""
    tcp.client("S")
    tcp.server("S")
    assert [flags for _, _, flags, _ in tcp.seen()] == [FLOW_OPENER, FLOW_OPENER]


def test_a_repeated_syn_is_the_same_flow(tcp: Conversation) -> None:
    for _ in range(5):
        tcp.client("S")
    assert tcp.seen() == [("client", FLOW_LIVE, FLOW_OPENER, 5)]
    assert tcp.events() == [(NEW, "client")]


def test_each_direction_ends_with_its_own_fin_and_says_so_once(tcp: Conversation) -> None:
    tcp.client("S")
    tcp.server("SA")
    tcp.events()
    tcp.client("FA")
    assert tcp.events() == [(END, "client")]
    tcp.server("A")
    tcp.server("FA")
    assert tcp.events() == [(END, "server")]
    tcp.client("FA")
    tcp.server("FA")
    tcp.client("A")
    assert tcp.events() == []
    assert tcp.seen() == [
        ("client", FLOW_LIVE, FLOW_OPENER | FLOW_ENDED, 4),
        ("server", FLOW_LIVE, FLOW_ENDED, 4),
    ]


def test_a_reset_ends_both_directions_once(tcp: Conversation) -> None:
    tcp.client("S")
    tcp.server("SA")
    tcp.events()
    tcp.server("R")
    assert tcp.events() == [(END, "server"), (END, "client")]
    tcp.server("R")
    tcp.client("RA")
    assert tcp.events() == []
    assert tcp.seen() == [
        ("client", FLOW_LIVE, FLOW_OPENER | FLOW_ENDED, 2),
        ("server", FLOW_LIVE, FLOW_ENDED, 3),
    ]


def test_a_refused_connection_is_new_and_ended_in_both_directions(tcp: Conversation) -> None:
    tcp.client("S")
    tcp.server("RA")
    assert tcp.events() == [(NEW, "client"), (NEW, "server"), (END, "server"), (END, "client")]
    assert tcp.seen() == [
        ("client", FLOW_LIVE, FLOW_OPENER | FLOW_ENDED, 1),
        ("server", FLOW_LIVE, FLOW_ENDED, 1),
    ]


def test_a_reset_of_a_flow_seen_in_one_direction_ends_that(tcp: Conversation) -> None:
    tcp.client("A")
    tcp.client("R")
    assert tcp.events() == [(NEW, "client"), (END, "client")]


def test_a_flow_that_begins_with_its_end_is_announced_and_ended(tcp: Conversation) -> None:
    tcp.client("FA")
    assert tcp.events() == [(NEW, "client"), (END, "client")]


def test_ports_used_again_after_the_end_are_a_new_flow_in_each_direction(
    tcp: Conversation,
) -> None:
    tcp.client("S")
    tcp.server("SA")
    tcp.client("FA")
    tcp.server("FA")
    tcp.events()
    tcp.client("S")
    tcp.server("SA")
    tcp.client("A")
    tcp.server("A")
    assert tcp.events() == [(NEW, "client"), (NEW, "server")]
    assert tcp.seen() == [
        ("client", FLOW_LIVE, FLOW_OPENER, 2),
        ("client", FLOW_SUPERSEDED, FLOW_OPENER | FLOW_ENDED, 2),
        ("server", FLOW_LIVE, 0, 2),
        ("server", FLOW_SUPERSEDED, FLOW_ENDED, 2),
    ]


def test_ports_used_again_after_a_reset_are_a_new_flow(tcp: Conversation) -> None:
    tcp.client("S")
    tcp.server("RA")
    tcp.client("S")
    tcp.server("SA")
    assert tcp.seen() == [
        ("client", FLOW_LIVE, FLOW_OPENER, 1),
        ("client", FLOW_SUPERSEDED, FLOW_OPENER | FLOW_ENDED, 1),
        ("server", FLOW_LIVE, 0, 1),
        ("server", FLOW_SUPERSEDED, FLOW_ENDED, 1),
    ]


def test_the_ports_may_be_used_again_from_the_other_side(tcp: Conversation) -> None:
    tcp.client("S")
    tcp.server("RA")
    tcp.server("S")
    tcp.client("SA")
    assert [flags for _, state, flags, _ in tcp.seen() if state == FLOW_LIVE] == [0, FLOW_OPENER]


def test_a_syn_on_a_flow_that_has_not_ended_is_the_same_flow(tcp: Conversation) -> None:
    """The old connection's end was not seen, or this is an attack; nothing is lost either way."""
    tcp.client("A")
    tcp.client("S")
    assert tcp.seen() == [("client", FLOW_LIVE, FLOW_OPENER, 2)]


def test_a_reset_ends_the_live_entry_and_no_superseded_one(tcp: Conversation) -> None:
    tcp.client("S")
    tcp.client("FA")
    tcp.client("S")
    tcp.server("SA")
    tcp.events()
    tcp.server("R")
    assert tcp.events() == [(END, "server"), (END, "client")]
    assert [state for who, state, _, _ in tcp.seen() if who == "client"] == [
        FLOW_LIVE,
        FLOW_SUPERSEDED,
    ]


@pytest.mark.parametrize(
    ("there", "back"),
    [
        (UDP(sport=5353, dport=53) / Raw(b"x"), UDP(sport=53, dport=5353) / Raw(b"x")),
        (ICMP(type=8), ICMP(type=0)),
        (Raw(b"\x01" * 40), Raw(b"\x12" * 40)),
    ],
    ids=["udp", "icmp", "hopopt"],
)
def test_what_has_no_syn_is_opened_by_the_first_and_never_ends(
    kernel: Kernel, there: Packet, back: Packet
) -> None:
    """Bytes that would be TCP flags mean nothing there."""
    for _ in range(2):
        kernel.run(bytes(ether() / v4() / there), FLOW_EGRESS)
        answer: Packet = v4() / back
        answer.src, answer.dst = V4[1], V4[0]
        kernel.run(bytes(ether() / answer), FLOW_INGRESS)
    assert sorted(map(_summary, kernel.flows())) == [
        ("client", FLOW_LIVE, FLOW_OPENER, 2),
        ("server", FLOW_LIVE, 0, 2),
    ]
    assert [event.type for event in kernel.events()] == [NEW, NEW]


def test_both_ways_of_a_forwarded_packet_are_each_an_opener(kernel: Kernel) -> None:
    """The same key on ingress and egress is no answer: addresses and ports have to be swapped."""
    frame = bytes(ether() / v4() / UDP(sport=1, dport=2))
    for direction in (FLOW_INGRESS, FLOW_EGRESS):
        kernel.run(frame, direction)
    assert [entry.flow.flags for entry in kernel.flows()] == [FLOW_OPENER, FLOW_OPENER]


def test_flags_beyond_the_captured_bytes_are_not_guessed(kernel: Kernel) -> None:
    frame = bytes(ether() / v4() / TCP(sport=1, dport=2, flags="SFR"))
    kernel.run(frame[: 14 + 20 + 13])
    assert kernel.only_flow().flow.flags == FLOW_OPENER
    assert [event.type for event in kernel.events()] == [NEW]


def test_a_later_fragment_has_no_flags(kernel: Kernel) -> None:
    kernel.run(bytes(ether() / v4(frag=10, proto=6) / Raw(b"\x07" * 40)))
    assert kernel.only_flow().flow.flags == FLOW_OPENER
    assert [event.type for event in kernel.events()] == [NEW]
