"""How much is sent: of one flow, into a full ring, without a flow."""

from __future__ import annotations

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.packet import Raw

from exporter.capture.records import (
    FLOW_EGRESS,
    FLOW_INGRESS,
    LINK_ETHERNET,
    PAYLOAD_EVENT,
    PAYLOAD_NO_SLOT,
)
from tests.kernel.conftest import TINY_PAYLOAD_RING
from tests.kernel.harness import DEVICE_SLOT, Kernel, WireCounts
from tests.kernel.packets import ether, v4, v6
from tests.kernel.samples import (
    ANSWER,
    BUDGET,
    HELLO,
    INITIAL,
    NOISE,
    QUERY,
    REQUEST,
    UNKNOWN_PACKETS,
    framed,
)
from tests.kernel.talk import CLIENT_PORT, Talk


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
    for port in range(1000):  # so many ACKs that there is no room for connections, either
        tiny_table.run(bytes(ether() / v4() / UDP(sport=port, dport=9)))
        tiny_table.run(bytes(ether() / v4() / TCP(sport=port, dport=9, flags="A")))
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
