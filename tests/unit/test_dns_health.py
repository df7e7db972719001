"""Counts of DNS queries, responses and timeouts, and how long lookups take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.names.dns import AAAA, A, Message, Question
from exporter.names.dns_health import (
    BOUNDS_S,
    OUTSTANDING_MAX,
    QTYPES,
    RCODES,
    TIMEOUT_S,
    DnsHealth,
    DnsHealthCounts,
)

CLIENT = bytes([10, 0, 0, 1])
SERVER = bytes([10, 0, 0, 53])
PORT = 40_000


def query(number: int = 1, name: str = "example.org", qtype: int = A) -> Message:
    return Message(
        number,
        False,
        0,
        0,
        False,
        True,
        (Question(name, qtype, 1),),
        (),
        authority=(),
        additional=(),
    )


def response(number: int = 1, name: str = "example.org", qtype: int = A, rcode: int = 0) -> Message:
    return query(number, name, qtype)._replace(is_response=True, rcode=rcode)


def see(health: DnsHealth, message: Message, now_s: float, port: int = PORT) -> bool:
    return health.see(message, CLIENT, port, SERVER, now_s)


def queries(counts: DnsHealthCounts) -> int:
    return sum(count for _, count in counts.queries)


def responses(counts: DnsHealthCounts) -> int:
    return sum(count for _, count in counts.responses)


def test_every_label_is_there_from_the_start_at_zero() -> None:
    counts = DnsHealth().snapshot(0.0)
    for pairs, labels in (
        (counts.queries, "A NS CNAME SOA PTR MX TXT AAAA SRV SVCB HTTPS ANY other"),
        (counts.responses, "NOERROR FORMERR SERVFAIL NXDOMAIN NOTIMP REFUSED other"),
    ):
        assert " ".join(label for label, _ in pairs) == labels
        assert not any(count for _, count in pairs)
    assert counts.lookups == (0,) * len(BOUNDS_S)


def test_queries_are_counted_by_type_and_responses_by_code() -> None:
    health = DnsHealth()
    for number, qtype in enumerate([*QTYPES, 99, 65_535]):
        assert not see(health, query(number, qtype=qtype), 1.0)
    for number, rcode in enumerate([*RCODES, 6, 23]):
        assert see(health, response(number, qtype=[*QTYPES][number], rcode=rcode), 1.001)
    counts = health.snapshot(1.0)
    assert dict(counts.queries) == dict.fromkeys(QTYPES.values(), 1) | {"other": 2}
    assert dict(counts.responses) == dict.fromkeys(RCODES.values(), 1) | {"other": 2}


@pytest.mark.parametrize("took_s", [0.0, 0.0004, *BOUNDS_S, 0.003, 4.9])
def test_the_time_of_a_lookup_falls_into_the_bucket_whose_bound_it_does_not_exceed(
    took_s: float,
) -> None:
    health = DnsHealth()
    see(health, query(), 0.0)
    see(health, response(), took_s)
    counts = health.snapshot(10.0)
    place = counts.lookups.index(1)
    assert sum(counts.lookups) == 1
    assert took_s <= BOUNDS_S[place]
    assert place == 0 or took_s > BOUNDS_S[place - 1]
    assert counts.lookups_sum_s == pytest.approx(took_s)


def test_an_unanswered_query_is_a_timeout_even_if_nothing_else_happens() -> None:
    health = DnsHealth()
    see(health, query(), 100.0)
    assert health.snapshot(100.0 + TIMEOUT_S).timeouts == 0
    counts = health.snapshot(100.001 + TIMEOUT_S)
    assert (counts.timeouts, counts.outstanding) == (1, 0)
    assert health.snapshot(1000.0).timeouts == 1


def test_an_answer_after_the_timeout_does_not_count_whenever_the_timeout_was_noticed() -> None:
    for noticed in (False, True):
        health = DnsHealth()
        see(health, query(), 100.0)
        see(health, query(2), 104.9)
        if noticed:
            health.snapshot(105.1)
        assert not see(health, response(), 105.2)
        counts = health.snapshot(105.2)
        assert (counts.timeouts, counts.unmatched, responses(counts)) == (1, 1, 0)


def test_a_retransmission_counts_once_and_its_time_runs_from_the_first() -> None:
    health = DnsHealth()
    see(health, query(), 0.0)
    see(health, query(), 2.0)
    assert see(health, response(), 2.2)
    counts = health.snapshot(2.2)
    assert (queries(counts), responses(counts)) == (1, 1)
    assert counts.lookups_sum_s == pytest.approx(2.2)


def test_what_passes_two_interfaces_counts_once() -> None:
    health = DnsHealth()
    for message, now_s in (
        (query(), 0.0),
        (query(), 0.0001),
        (response(), 0.01),
        (response(), 0.0101),
    ):
        see(health, message, now_s)
    counts = health.snapshot(1.0)
    assert (queries(counts), responses(counts), counts.unmatched) == (1, 1, 0)


def test_a_stub_on_the_node_and_what_it_asks_on_are_two_lookups() -> None:
    health = DnsHealth()
    stub, upstream = bytes([127, 0, 0, 53]), bytes([9, 9, 9, 9])
    health.see(query(1), CLIENT, 5000, stub, 0.0)
    health.see(query(2), CLIENT, 6000, upstream, 0.001)
    assert health.see(response(2), CLIENT, 6000, upstream, 0.020)
    assert health.see(response(1), CLIENT, 5000, stub, 0.021)
    counts = health.snapshot(1.0)
    assert (queries(counts), responses(counts), counts.timeouts) == (2, 2, 0)


def test_the_same_id_asked_again_after_the_answer_is_a_new_query() -> None:
    health = DnsHealth()
    for second in range(3):
        see(health, query(), float(second))
        assert see(health, response(), second + 0.01)
    counts = health.snapshot(3.0)
    assert (queries(counts), responses(counts)) == (3, 3)


def test_a_timed_out_query_asked_again_is_a_new_query() -> None:
    health = DnsHealth()
    see(health, query(), 0.0)
    see(health, query(), TIMEOUT_S + 0.1)
    assert see(health, response(), TIMEOUT_S + 0.2)
    counts = health.snapshot(TIMEOUT_S + 0.2)
    assert (queries(counts), counts.timeouts, responses(counts)) == (2, 1, 1)
    assert counts.lookups_sum_s == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("message", "client", "port", "server"),
    [
        (response(), SERVER, PORT, SERVER),
        (response(), CLIENT, PORT + 1, SERVER),
        (response(), CLIENT, PORT, CLIENT),
        (response(2), CLIENT, PORT, SERVER),
        (response(name="b.example"), CLIENT, PORT, SERVER),
        (response(qtype=AAAA), CLIENT, PORT, SERVER),
    ],
    ids=["client", "port", "server", "id", "name", "type"],
)
def test_a_response_that_differs_in_anything_is_no_answer(
    message: Message, client: bytes, port: int, server: bytes
) -> None:
    health = DnsHealth()
    see(health, query(), 0.0)
    assert not health.see(message, client, port, server, 1.0)
    counts = health.snapshot(1.0)
    assert (counts.outstanding, counts.unmatched, responses(counts)) == (1, 1, 0)


def test_two_questions_with_one_id_each_get_their_answer() -> None:
    health = DnsHealth()
    see(health, query(0, qtype=A), 0.0)
    see(health, query(0, qtype=AAAA), 0.0)
    assert see(health, response(0, qtype=AAAA), 0.01)
    assert see(health, response(0, qtype=A), 0.02)
    assert health.snapshot(1.0).outstanding == 0


def test_of_two_questions_with_one_id_the_second_outlives_the_first() -> None:
    health = DnsHealth()
    see(health, query(1, qtype=AAAA), 0.0)
    see(health, query(1, qtype=A), 4.0)
    see(health, query(1, qtype=A), TIMEOUT_S + 0.1)
    assert queries(health.snapshot(TIMEOUT_S + 0.1)) == 2
    assert see(health, response(1, qtype=A), TIMEOUT_S + 0.2)
    counts = health.snapshot(TIMEOUT_S + 0.2)
    assert (responses(counts), counts.timeouts, counts.outstanding) == (1, 1, 0)


def test_an_error_without_the_question_is_the_answer_to_it() -> None:
    health = DnsHealth()
    see(health, query(), 0.0)
    assert see(health, response(rcode=1)._replace(questions=()), 0.01)
    assert dict(health.snapshot(1.0).responses)["FORMERR"] == 1


def test_updates_and_notifications_are_no_lookups() -> None:
    health = DnsHealth()
    for opcode in (4, 5):
        assert not see(health, query()._replace(opcode=opcode), 0.0)
        assert not see(health, response()._replace(opcode=opcode), 0.0)
    assert health.snapshot(10.0) == DnsHealth().snapshot(10.0)


def test_beyond_the_limit_queries_are_counted_but_not_watched() -> None:
    health = DnsHealth()
    for number in range(OUTSTANDING_MAX + 10):
        see(health, query(number & 0xFFFF), 0.0, port=number >> 16)
    counts = health.snapshot(0.0)
    assert (queries(counts), counts.outstanding) == (OUTSTANDING_MAX + 10, OUTSTANDING_MAX)
    assert counts.unwatched == 10
    assert see(health, response(0), 0.1, port=0)
    see(health, query(60_000), 0.1)
    assert health.snapshot(0.1).outstanding == OUTSTANDING_MAX
    assert health.snapshot(10.0).timeouts == OUTSTANDING_MAX


class Plain:
    """The same rules over a list."""

    def __init__(self) -> None:
        self.waiting: list[tuple[tuple[object, ...], float]] = []
        self.queries = self.responses = self.timeouts = 0
        self.sum_s = 0.0

    def see(self, message: Message, port: int, now_s: float) -> None:
        self.timeouts += sum(now_s - since_s > TIMEOUT_S for _, since_s in self.waiting)
        self.waiting = [its for its in self.waiting if now_s - its[1] <= TIMEOUT_S]
        key = (message.id, port, message.questions)
        since = [since_s for its, since_s in self.waiting if its == key]
        if not message.is_response:
            if not since:
                self.queries += 1
                self.waiting.append((key, now_s))
        elif since:
            self.waiting.remove((key, since[0]))
            self.responses += 1
            self.sum_s += now_s - since[0]


steps = st.tuples(
    st.booleans(),
    st.integers(0, 2),
    st.sampled_from([A, AAAA]),
    st.integers(1, 2),
    st.integers(0, 3000).map(lambda milliseconds: milliseconds / 1000),
)


@given(st.lists(steps, max_size=60))
def test_every_query_ends_in_exactly_one_way(
    seen: list[tuple[bool, int, int, int, float]],
) -> None:
    health, plain, now_s = DnsHealth(), Plain(), 50.0
    before = health.snapshot(now_s)
    for is_response, number, qtype, port, wait_s in seen:
        now_s += wait_s
        message = (response if is_response else query)(number, qtype=qtype)
        see(health, message, now_s, port)
        plain.see(message, port, now_s)
        counts = health.snapshot(now_s)
        assert queries(counts) == plain.queries
        assert responses(counts) == plain.responses == sum(counts.lookups)
        assert counts.timeouts == plain.timeouts
        assert counts.outstanding == len(plain.waiting)
        assert counts.lookups_sum_s == pytest.approx(plain.sum_s)
        assert queries(counts) == responses(counts) + counts.timeouts + counts.outstanding
        assert all(now >= then for now, then in zip(counts.lookups, before.lookups, strict=True))
        before = counts
