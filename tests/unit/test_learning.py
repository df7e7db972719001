"""Whose flow it is: by what its connection states, by DNS, and when nothing says."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from exporter.capture.records import (
    FLOW_EGRESS,
    FLOW_ENDED,
    FLOW_INGRESS,
    FLOW_OPENER,
    PAYLOAD_NO_SLOT,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    Flow,
    Payload,
)
from exporter.names.aes import Aes
from exporter.names.attribution import DNS, DNS_NODE, HTTP, NONE, QUIC, TLS, Inspected, Verdict
from exporter.names.dns_health import DnsHealth
from exporter.names.dns_names import GRACE_S as DNS_GRACE_S
from exporter.names.dns_names import DnsNames
from exporter.names.domains import OTHER, UNKNOWN
from exporter.names.inspection import Inspection
from exporter.names.learning import Learning
from exporter.names.policy import Policy
from exporter.names.statements import BYTES_MAX, CONNECTIONS_MAX, SILENT_TCP_S, SILENT_UDP_S
from tests.dns_messages import message, pointer, question, record
from tests.hellos import client_hello, in_records, named
from tests.initials import initial, pieces
from tests.unit.payloads import CLIENT, PORT, RESOLVER, SERVER, reply, tcp, udp

SLOTS = 64
GRACE_S = 2.0
NOW_S = 1000.0
TTL_S = 60
OTHER_CLIENT = bytes([10, 0, 0, 9])
FIRST = 1000
"""Of the ports of clients that are many."""
UP, DOWN = 3, 4
"""Slots of the client's flow and of the answers to it."""

AES = Aes()


class Directory:
    """Flows by slot, as the flow table looks them up."""

    slots = SLOTS

    def __init__(self) -> None:
        self.by_slot: dict[int, Flow] = {}

    def flows(self, slots: Iterable[int]) -> list[Flow]:
        slots = list(slots)
        assert all(slot < SLOTS for slot in slots)
        return [self.by_slot[slot] for slot in slots if slot in self.by_slot]

    def with_peer(self, slot: int) -> list[Flow]:
        """Of several peers the one that has not ended."""
        mine = self.by_slot.get(slot)
        if mine is None:
            return []
        peers = [
            each
            for each in self.by_slot.values()
            if each.is_reverse_of(mine) and each.protocol == mine.protocol
        ]
        return [mine, *sorted(peers, key=lambda each: each.flags & FLOW_ENDED)[:1]]


class Bench:
    """A Learning, and the flows that there are."""

    def __init__(self, policy: Policy | None = None, grace_s: float = GRACE_S) -> None:
        self.directory = Directory()
        self.learning = Learning(
            self.directory,
            Inspection(AES),
            DnsNames(),
            DnsHealth(),
            policy or Policy("full"),
            grace_s,
        )
        self._message_id = 0

    def open(self, flow: Flow, at_s: float = NOW_S) -> Verdict | None:
        self.directory.by_slot[flow.slot] = flow
        return self.learning.opened(flow, at_s)

    def open_both(self, at_s: float = NOW_S) -> None:
        assert self.open(up(), at_s) is None
        assert self.open(down(), at_s) is None

    def read(self, *payloads: Payload) -> list[Verdict]:
        """Sorted by slot."""
        return sorted(verdict for each in payloads for verdict in self.learning.read(each))

    def due(self, at_s: float = NOW_S + GRACE_S) -> list[Verdict]:
        return sorted(self.learning.due(at_s))

    def close(self, slot: int, at_s: float = NOW_S + 100) -> list[Verdict]:
        verdicts = list(self.learning.closed(slot, at_s))
        del self.directory.by_slot[slot]
        return verdicts

    def learned(self) -> dict[str, int]:
        return {source: count for source, count in self.learning.learned() if count}

    def tell(
        self,
        name: str,
        address: bytes = SERVER,
        client: bytes = CLIENT,
        at_s: float = NOW_S - 1,
        ttl_s: int = TTL_S,
    ) -> None:
        """The client asks, and is told."""
        self._message_id += 1
        ask = udp(
            message([question(name)], flags=0x0100, message_id=self._message_id),
            server=RESOLVER,
            server_port=53,
            client=client,
            at_s=at_s,
        )
        owner = pointer(12)
        answer = message(
            [question(name)], [record(owner, 1, address, ttl_s)], message_id=self._message_id
        )
        assert self.read(ask, reply(ask, answer)) == []


def up(slot: int = UP, port: int = PORT, protocol: int = PROTOCOL_TCP) -> Flow:
    """The flow that the client opened."""
    return Flow(slot, FLOW_EGRESS, 1, 4, protocol, FLOW_OPENER, CLIENT, SERVER, port, 443)


def down(slot: int = DOWN, port: int = PORT, protocol: int = PROTOCOL_TCP) -> Flow:
    return Flow(slot, FLOW_INGRESS, 1, 4, protocol, 0, SERVER, CLIENT, 443, port)


def hello(name: bytes = b"www.example.org", slot: int = UP, port: int = PORT) -> Payload:
    return tcp(in_records(named(name)), slot=slot, port=port)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# What the connection states.


def test_a_statement_decides_both_directions_at_once(bench: Bench) -> None:
    bench.open_both()
    assert bench.read(hello()) == [
        Verdict(UP, "www.example.org", TLS),
        Verdict(DOWN, "www.example.org", TLS),
    ]
    assert bench.due() == []
    assert bench.close(UP) == bench.close(DOWN) == []
    assert bench.learned() == {TLS: 1}


def test_http_and_quic_are_statements_too(bench: Bench) -> None:
    bench.open_both()
    request = tcp(b"GET / HTTP/1.1\r\nHost: Example.COM:80\r\n\r\n", slot=UP)
    assert [v[1:3] for v in bench.read(request)] == [("example.com", HTTP)] * 2
    bench.open(up(5, protocol=PROTOCOL_UDP))
    (datagram,) = pieces(named(b"q.example"), 1000)
    assert bench.read(udp(initial(datagram), slot=5)) == [Verdict(5, "q.example", QUIC)]
    assert bench.learned() == {HTTP: 1, QUIC: 1}


def test_the_flow_of_the_answers_may_open_after_the_statement(bench: Bench) -> None:
    assert bench.open(up()) is None
    assert bench.read(hello()) == [Verdict(UP, "www.example.org", TLS)]
    assert bench.open(down()) == Verdict(DOWN, "www.example.org", TLS)
    assert bench.due() == []


def test_a_statement_may_come_before_either_flow_is_known(bench: Bench) -> None:
    bench.read(hello(slot=PAYLOAD_NO_SLOT))
    assert bench.open(up()) == Verdict(UP, "www.example.org", TLS)
    assert bench.open(down()) == Verdict(DOWN, "www.example.org", TLS)
    assert bench.open(up(5, port=PORT + 1)) is None, "of another connection"
    assert bench.open(up(6, protocol=PROTOCOL_UDP)) is None


def test_a_statement_after_the_grace_counts_in_both_directions(bench: Bench) -> None:
    bench.open_both()
    assert bench.due() == [Verdict(UP, UNKNOWN, NONE), Verdict(DOWN, UNKNOWN, NONE)]
    assert [verdict.slot for verdict in bench.read(hello())] == [UP, DOWN]


def test_the_later_of_two_statements_counts_for_what_follows(bench: Bench) -> None:
    bench.open_both()
    connect = tcp(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n", slot=UP)
    assert [v[:3] for v in bench.read(connect)] == [
        (UP, "a.example", HTTP),
        (DOWN, "a.example", HTTP),
    ]
    inner = tcp(in_records(named(b"b.example")), len(connect.data), slot=UP)
    assert [v[:3] for v in bench.read(inner)] == [(UP, "b.example", TLS), (DOWN, "b.example", TLS)]


def test_a_statement_of_no_name_leaves_it_to_dns(bench: Bench) -> None:
    bench.tell("told.example")
    bench.open_both()
    assert bench.read(tcp(in_records(client_hello()), slot=UP)) == []
    assert [v[1:3] for v in bench.due()] == [("told.example", DNS)] * 2
    assert bench.learned() == {DNS: 1}


def test_what_a_statement_says_is_stronger_than_dns(bench: Bench) -> None:
    bench.tell("told.example")
    bench.open_both()
    assert [v[1:3] for v in bench.read(hello(b"stated.example"))] == [("stated.example", TLS)] * 2


def test_a_late_payload_decides_nothing_of_another_flow_in_its_slot(bench: Bench) -> None:
    assert bench.open(up(UP, port=PORT + 1)) is None
    assert bench.read(hello(slot=UP)) == []
    assert bench.due() == [Verdict(UP, UNKNOWN, NONE)]


def test_statements_are_remembered_up_to_a_limit(bench: Bench) -> None:
    for port in range(CONNECTIONS_MAX + 1):
        bench.read(hello(b"n%d.example" % port, PAYLOAD_NO_SLOT, FIRST + port))
    assert bench.open(up(5, port=FIRST)) is None
    assert bench.open(up(6, port=FIRST + 1)) == Verdict(6, "n1.example", TLS)
    last = FIRST + CONNECTIONS_MAX
    assert bench.open(up(7, port=last)) == Verdict(7, f"n{CONNECTIONS_MAX}.example", TLS)
    assert len(bench.learning._statements) == CONNECTIONS_MAX


def test_a_name_that_is_stated_again_is_remembered_anew(bench: Bench) -> None:
    bench.read(hello(b"again.example", PAYLOAD_NO_SLOT, FIRST))
    for port in range(1, CONNECTIONS_MAX):
        bench.read(hello(b"x.example", PAYLOAD_NO_SLOT, FIRST + port))
    bench.read(hello(b"again.example", PAYLOAD_NO_SLOT, FIRST))
    bench.read(hello(b"y.example", PAYLOAD_NO_SLOT, FIRST + CONNECTIONS_MAX))
    assert bench.open(up(5, port=FIRST)) == Verdict(5, "again.example", TLS)
    assert bench.open(up(6, port=FIRST + 1)) is None


def test_long_names_are_remembered_in_a_bounded_number_of_bytes(bench: Bench) -> None:
    long = b".".join([b"x" * 61] * 3 + [b"n%05d.example"])
    for port in range(CONNECTIONS_MAX):
        bench.read(hello(long % port, PAYLOAD_NO_SLOT, FIRST + port))
    assert BYTES_MAX / 300 < len(bench.learning._statements) < BYTES_MAX / len(long)
    assert bench.open(up(5, port=FIRST)) is None
    newest = bench.open(up(6, port=FIRST + CONNECTIONS_MAX - 1))
    assert newest is not None
    assert newest.domain.endswith(f".n{CONNECTIONS_MAX - 1:05}.example")


# Another connection between the same ports.


def end(bench: Bench, *slots: int) -> None:
    for slot in slots:
        flow = bench.directory.by_slot[slot]
        bench.directory.by_slot[slot] = flow._replace(flags=flow.flags | FLOW_ENDED)


@pytest.mark.parametrize("close_first", [False, True])
def test_a_connection_on_used_ports_has_nothing_of_the_one_before(
    bench: Bench, close_first: bool
) -> None:
    bench.open_both()
    bench.read(hello(b"before.example"))
    end(bench, UP, DOWN)
    if close_first:
        bench.close(UP, NOW_S + 20)
        bench.close(DOWN, NOW_S + 20)
    assert bench.open(up(5), NOW_S + 21) is None
    assert bench.open(down(6), NOW_S + 21) is None
    assert bench.due(NOW_S + 100) == [Verdict(5, UNKNOWN, NONE), Verdict(6, UNKNOWN, NONE)]
    assert bench.read(hello(b"after.example", 5)) == [
        Verdict(5, "after.example", TLS),
        Verdict(6, "after.example", TLS),
    ]


def test_also_in_the_slot_that_the_one_before_had(bench: Bench) -> None:
    bench.open_both()
    bench.read(hello(b"before.example"))
    end(bench, UP, DOWN)
    bench.close(UP, NOW_S + 20)
    assert bench.open(up(), NOW_S + 21) is None


def test_answers_that_go_on_after_the_client_has_ended_keep_the_name(bench: Bench) -> None:
    """What the client acknowledges, when its first flow has left the table, opens nothing."""
    bench.open_both()
    bench.read(hello(b"half.example"))
    end(bench, UP)
    bench.close(UP, NOW_S + 20)
    again = up(5)._replace(flags=0)
    assert bench.open(again, NOW_S + 21) == Verdict(5, "half.example", TLS)
    bench.close(DOWN, NOW_S + 100)
    assert bench.open(down(6), NOW_S + 101) == Verdict(6, "half.example", TLS)


@pytest.mark.parametrize("late_s", [-1, 1])
@pytest.mark.parametrize(
    ("protocol", "silent_s"), [(PROTOCOL_TCP, SILENT_TCP_S), (PROTOCOL_UDP, SILENT_UDP_S)]
)
def test_a_silent_connection_keeps_its_name_for_as_long_as_it_may_live(
    bench: Bench, protocol: int, silent_s: float, late_s: int
) -> None:
    (datagram,) = pieces(named(b"silent.example"), 1000)
    stated = {
        PROTOCOL_TCP: hello(b"silent.example"),
        PROTOCOL_UDP: udp(initial(datagram), slot=UP),
    }[protocol]
    closed_s = NOW_S + 400
    bench.open(up(protocol=protocol))
    (verdict,) = bench.read(stated)
    bench.close(UP, closed_s)
    again = bench.open(up(5, protocol=protocol), closed_s + silent_s + late_s)
    assert again == (verdict._replace(slot=5) if late_s < 0 else None)


def test_a_connection_that_is_silent_again_and_again_keeps_its_name_until_it_ends(
    bench: Bench,
) -> None:
    bench.open(up())
    bench.read(hello(b"idle.example"))
    at_s = NOW_S
    for slot in (UP, 5, 6, 7):
        at_s += 0.9 * SILENT_TCP_S
        bench.close(slot, at_s)
        at_s += 0.9 * SILENT_TCP_S
        again = bench.open(up(slot + 1 if slot > UP else 5), at_s)
        assert again is not None
        assert again.domain == "idle.example"
    end(bench, 8)
    bench.close(8, at_s + 20)
    assert bench.open(up(9), at_s + 21) is None


def test_what_is_acknowledged_after_the_end_does_not_make_it_undone(bench: Bench) -> None:
    bench.open_both()
    bench.read(hello(b"half.example"))
    end(bench, UP)
    bench.close(UP, NOW_S + 20)
    assert bench.open(up(5)._replace(flags=0), NOW_S + 21) is not None
    bench.close(5, NOW_S + 400)
    assert bench.open(up(6), NOW_S + 401) is None


def test_a_flow_that_a_sweep_finds_after_its_statement_has_its_name(bench: Bench) -> None:
    """Its event was lost, so when it opened is not known."""
    bench.directory.by_slot[UP] = up()
    bench.read(hello())
    assert bench.open(up(), NOW_S + 5) == Verdict(UP, "www.example.org", TLS)


# The grace period.


def test_a_flow_waits_for_as_long_as_the_grace_period(bench: Bench) -> None:
    bench.open(up())
    bench.open(up(5, port=FIRST), NOW_S + 0.5)
    assert bench.due(NOW_S + GRACE_S - 0.01) == []
    assert bench.due(NOW_S + GRACE_S) == [Verdict(UP, UNKNOWN, NONE)]
    assert bench.due(NOW_S + GRACE_S + 0.49) == []
    assert bench.due(NOW_S + GRACE_S + 0.5) == [Verdict(5, UNKNOWN, NONE)]
    assert bench.due(NOW_S + 100) == []


def test_both_directions_are_decided_as_of_when_the_first_of_them_opened(bench: Bench) -> None:
    bench.tell("told.example")
    bench.open(up())
    bench.tell("late.example", at_s=NOW_S + 0.2)
    bench.open(down(), NOW_S + 0.5)
    both = [Verdict(UP, "told.example", DNS), Verdict(DOWN, "told.example", DNS)]
    assert bench.due(NOW_S + GRACE_S) == both
    assert bench.due(NOW_S + 100) == []


def test_a_slot_that_is_another_flow_s_by_then_waits_anew(bench: Bench) -> None:
    bench.open(up())
    assert bench.close(UP, NOW_S + 0.5) == [Verdict(UP, UNKNOWN, NONE)]
    bench.open(up(port=FIRST), NOW_S + 1)
    assert bench.due(NOW_S + GRACE_S) == []
    assert bench.due(NOW_S + GRACE_S + 1) == [Verdict(UP, UNKNOWN, NONE)]


def test_without_a_grace_period_dns_decides_at_the_next_look() -> None:
    bench = Bench(grace_s=0.0)
    bench.tell("told.example")
    assert bench.open(up()) is None
    assert bench.due(NOW_S) == [Verdict(UP, "told.example", DNS)]


def test_a_flow_that_is_gone_while_it_waits_gets_its_verdict_then(bench: Bench) -> None:
    bench.tell("told.example")
    bench.open(up())
    assert bench.close(UP, NOW_S + 0.5) == [Verdict(UP, "told.example", DNS)]
    assert bench.due() == []
    assert bench.learning.closed(UP, NOW_S + 1) == []


def test_who_is_gone_first_is_decided_as_of_when_the_other_opened(bench: Bench) -> None:
    bench.tell("told.example", at_s=NOW_S)
    ends_s = NOW_S + TTL_S + DNS_GRACE_S
    bench.open(up(), ends_s - 0.1)
    bench.open(down(), ends_s + 0.1)
    verdicts = bench.close(DOWN, ends_s + 0.5)
    assert sorted(verdicts) == [
        Verdict(UP, "told.example", DNS),
        Verdict(DOWN, "told.example", DNS),
    ]
    assert bench.due(ends_s + 100) == []


def test_where_more_wait_than_there_are_slots_the_oldest_are_decided_early(bench: Bench) -> None:
    """Those that are gone are waiting, too, until it is their turn."""
    bench.open(up(6), NOW_S)
    for number in range(SLOTS):
        bench.open(up(UP, port=FIRST + number), NOW_S + number * 0.001)
        bench.close(UP, NOW_S + number * 0.001)
    bench.open(up(5), NOW_S + 0.1)
    assert bench.due(NOW_S + 0.2) == [Verdict(6, UNKNOWN, NONE)]
    assert 0 < bench.learning._waiting < SLOTS
    assert bench.due(NOW_S + 0.1 + GRACE_S) == [Verdict(5, UNKNOWN, NONE)]
    assert bench.learning._waiting == 0


def test_many_flows_wait_and_all_are_decided(bench: Bench) -> None:
    for slot in range(SLOTS):
        assert bench.open(up(slot, port=FIRST + slot), NOW_S + slot * 0.01) is None
    decided = bench.due(NOW_S + 100)
    assert decided == [Verdict(slot, UNKNOWN, NONE) for slot in range(SLOTS)]
    assert not bench.learning._batches
    assert not any(bench.learning._pending_since)


# DNS.


def test_the_client_that_asked_is_told_whom_it_talks_to(bench: Bench) -> None:
    bench.tell("told.example")
    bench.open_both()
    assert bench.due() == [Verdict(UP, "told.example", DNS), Verdict(DOWN, "told.example", DNS)]


def test_an_answer_after_the_flow_opened_says_nothing_about_it(bench: Bench) -> None:
    bench.open_both()
    bench.tell("late.example", at_s=NOW_S + 0.5)
    assert bench.due() == [Verdict(UP, UNKNOWN, NONE), Verdict(DOWN, UNKNOWN, NONE)]


def test_what_was_answered_before_a_flow_closed_says_nothing_of_it_either(bench: Bench) -> None:
    bench.tell("told.example", at_s=NOW_S - 0.0001)
    bench.open(up())
    bench.tell("late.example", at_s=NOW_S + 0.0001)
    assert bench.close(UP, NOW_S + 0.5) == [Verdict(UP, "told.example", DNS)]


def test_an_answer_counts_for_its_ttl_and_a_grace(bench: Bench) -> None:
    bench.tell("told.example", at_s=NOW_S)
    ends_s = NOW_S + TTL_S + DNS_GRACE_S
    bench.open(up(5), ends_s - 0.1)
    bench.open(up(6), ends_s + 0.1)
    assert [v[:3] for v in bench.due(ends_s + 100)] == [
        (5, "told.example", DNS),
        (6, UNKNOWN, NONE),
    ]


def test_somebody_on_the_node_was_told(bench: Bench) -> None:
    bench.tell("told.example", client=OTHER_CLIENT)
    bench.open_both()
    assert [v[1:3] for v in bench.due()] == [("told.example", DNS_NODE)] * 2


def test_two_names_of_one_address_are_unknown_unless_the_client_itself_asked(bench: Bench) -> None:
    bench.tell("one.example", client=OTHER_CLIENT)
    bench.tell("two.example", client=OTHER_CLIENT)
    bench.open(up())
    assert bench.due() == [Verdict(UP, UNKNOWN, NONE)]
    bench.tell("one.example")
    bench.open(up(5), NOW_S)
    assert bench.due() == [Verdict(5, "one.example", DNS)]


def test_what_a_client_asked_for_others_is_not_what_it_asked(bench: Bench) -> None:
    """Of two names that share the address, nobody knows which a pod behind it wants."""
    for name in ("one.example", "two.example"):
        heard = udp(message([question(name)], flags=0x0100), server=RESOLVER, server_port=53)
        heard = heard._replace(source=OTHER_CLIENT, boot_ns=int((NOW_S - 2) * 1e9))
        assert bench.read(heard) == []
        passed_on = heard._replace(source=CLIENT, source_port=5353, slot=9)
        assert bench.read(passed_on, answer_to(passed_on, name, 0x1234)) == []
        if name == "one.example":
            bench.open_both()
            assert [v[1:3] for v in bench.due()] == [("one.example", DNS_NODE)] * 2
    bench.open_both()
    assert [v[1:3] for v in bench.due()] == [(UNKNOWN, NONE)] * 2


def test_who_opened_the_connection_is_its_client(bench: Bench) -> None:
    """A node that serves a client with a name does not call it by that."""
    bench.tell("client.example", address=CLIENT, client=SERVER)
    bench.open_both()
    assert bench.due() == [Verdict(UP, UNKNOWN, NONE), Verdict(DOWN, UNKNOWN, NONE)]


@pytest.mark.parametrize("protocol", [PROTOCOL_TCP, PROTOCOL_UDP])
def test_dns_itself_is_unknown_at_once(bench: Bench, protocol: int) -> None:
    bench.tell("resolver.example", address=RESOLVER)
    ask = up(protocol=protocol)._replace(destination=RESOLVER, destination_port=53)
    answer = down(protocol=protocol)._replace(source=RESOLVER, source_port=53)
    assert bench.open(ask) == Verdict(UP, UNKNOWN, NONE)
    assert bench.open(answer) == Verdict(DOWN, UNKNOWN, NONE)


def answer_to(ask: Payload, name: str, message_id: int) -> Payload:
    answer = message(
        [question(name)], [record(pointer(12), 1, SERVER, TTL_S)], message_id=message_id
    )
    return reply(ask, answer)


def test_only_an_answer_to_a_question_that_was_heard_teaches(bench: Bench) -> None:
    asked = message([question("asked.example")], flags=0x0100, message_id=7)
    ask = udp(asked, server=RESOLVER, server_port=53, at_s=NOW_S - 1)
    forged = [
        answer_to(ask, "asked.example", 8),
        answer_to(ask, "other.example", 7),
        answer_to(ask._replace(source_port=1), "asked.example", 7),
        answer_to(ask._replace(destination=SERVER), "asked.example", 7),
        answer_to(ask._replace(source=OTHER_CLIENT), "asked.example", 7),
    ]
    bench.read(forged[0], ask, *forged)
    assert bench.learned() == {}
    bench.read(answer_to(ask, "asked.example", 7))
    assert bench.learned() == {DNS: 1}
    bench.read(answer_to(ask, "asked.example", 7))
    assert bench.learned() == {DNS: 1}, "the second answer to one question"
    bench.open(up())
    assert bench.due() == [Verdict(UP, "asked.example", DNS)]


def test_an_answer_without_addresses_teaches_nothing(bench: Bench) -> None:
    ask = udp(
        message([question("asked.example")], flags=0x0100, message_id=7),
        server=RESOLVER,
        server_port=53,
    )
    bench.read(ask, reply(ask, message([question("asked.example")], message_id=7)))
    assert bench.learned() == {}
    counts = bench.learning.dns_health(NOW_S)
    assert counts is not None
    assert dict(counts.responses)["NOERROR"] == 1


# The policy, and what is counted.


def test_the_policy_says_what_a_name_is_shown_as_and_whether_it_was_expected() -> None:
    bench = Bench(Policy("full", ["^secret"], ["*.example.org"]))
    bench.open(up(5, port=5))
    bench.open(up(6, port=6))
    bench.open(up(7, port=7))
    assert bench.read(hello(b"a.example.org", 5, 5)) == [Verdict(5, "a.example.org", TLS, True)]
    assert bench.read(hello(b"a.example.net", 6, 6)) == [Verdict(6, "a.example.net", TLS, False)]
    assert bench.read(hello(b"secret.example.org", 7, 7)) == [Verdict(7, OTHER, TLS, True)]
    bench.tell("told.example.net")
    bench.open(up(8, port=8))
    bench.open(up(9, port=9)._replace(destination=OTHER_CLIENT))
    assert bench.due() == [
        Verdict(8, "told.example.net", DNS, False),
        Verdict(9, UNKNOWN, NONE, True),
    ]


def test_before_anything_every_source_and_protocol_is_there(bench: Bench) -> None:
    assert bench.learning.learned() == ((DNS, 0), (TLS, 0), (QUIC, 0), (HTTP, 0))
    assert bench.learning.inspected() == tuple(
        Inspected(protocol, 0, 0) for protocol in (DNS, TLS, QUIC, HTTP)
    )
    bench.read(hello(), tcp(b"GET / HTTP/9.9\r\n\r\n", port=1))
    assert bench.learning.inspected()[1:] == (
        Inspected(TLS, 1, 0),
        Inspected(QUIC, 0, 0),
        Inspected(HTTP, 1, 1),
    )
