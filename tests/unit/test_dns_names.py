"""What DNS answers teach, and for how long."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.names import dns_names
from exporter.names.answer_table import NAME_BYTES_MAX, WAYS, AnswerTable
from exporter.names.dns import AAAA, CNAME, HTTPS, A, Message, Question, Record
from exporter.names.dns_answer import Resolution, maybe_resolution
from exporter.names.dns_names import (
    ADDRESSES_MAX,
    GRACE_S,
    LOOK_BACK_S,
    NAMES_MAX,
    TTL_MAX_S,
    TTL_MIN_S,
    DnsNames,
)

POD = bytes([10, 244, 0, 1])
NODE = bytes([10, 0, 0, 1])
SERVER = bytes([203, 0, 113, 1])
SERVER6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1")


def told(name: str, *addresses: bytes, ttl: int = 60) -> Resolution:
    return Resolution(name, tuple((address, ttl) for address in addresses or (SERVER,)))


def answer(question: str, *records: Record) -> Message:
    return Message(
        7,
        True,
        0,
        0,
        False,
        True,
        (Question(question, A, 1),),
        records,
        authority=(),
        additional=(),
    )


def learnt_from(message: Message, names: DnsNames, now_s: float = 100.0) -> None:
    resolution = maybe_resolution(message)
    assert resolution is not None
    names.learn(resolution, POD, now_s)


def test_who_was_told_an_address_is_named_and_nobody_else() -> None:
    names = DnsNames()
    names.learn(told("example.org"), POD, 100.0)
    assert names.name_for(POD, SERVER, 100.5) == "example.org"
    assert names.name_for(NODE, SERVER, 100.5) is None
    assert names.name_for(POD, SERVER6, 100.5) is None
    assert names.name_for(SERVER, POD, 100.5) is None


def test_the_same_bytes_split_otherwise_are_another_pair() -> None:
    names = DnsNames()
    both = SERVER6 + POD
    names.learn(told("example.org", both[:16]), both[16:], 100.0)
    assert names.name_for(both[:4], both[4:], 100.0) is None
    assert names.name_for(both[16:], both[:16], 100.0) == "example.org"


@pytest.mark.parametrize(
    ("ttl", "counts_as"), [(60, 60), (0, TTL_MIN_S), (1, 1), (2**31 - 1, TTL_MAX_S)]
)
def test_an_answer_holds_for_its_ttl_and_the_grace(ttl: int, counts_as: float) -> None:
    names = DnsNames()
    names.learn(told("example.org", ttl=ttl), POD, 100.0)
    last_s = 100.0 + counts_as + GRACE_S
    assert names.name_for(POD, SERVER, last_s) == "example.org"
    assert names.node_name_for(SERVER, last_s) == "example.org"
    assert names.name_for(POD, SERVER, last_s + 0.001) is None
    assert names.node_name_for(SERVER, last_s + 0.001) is None


def test_an_answer_says_nothing_about_a_flow_that_was_opened_before_it() -> None:
    names = DnsNames()
    names.learn(told("example.org"), POD, 100.0)
    assert names.name_for(POD, SERVER, 99.999) is None
    assert names.node_name_for(SERVER, 99.999) is None
    assert names.name_for(POD, SERVER, 100.0) == "example.org"


def test_of_two_names_of_an_address_a_client_means_the_one_it_asked_for_last() -> None:
    names = DnsNames()
    names.learn(told("a.example"), POD, 100.0)
    names.learn(told("b.example"), POD, 101.0)
    assert names.name_for(POD, SERVER, 100.5) == "a.example"
    assert names.name_for(POD, SERVER, 101.5) == "b.example"
    names.learn(told("a.example"), POD, 102.0)
    assert names.name_for(POD, SERVER, 101.5) == "b.example"
    assert names.name_for(POD, SERVER, 102.0) == "a.example"


def test_the_older_name_counts_again_when_the_newer_one_has_run_out() -> None:
    names = DnsNames()
    names.learn(told("long.example", ttl=3600), POD, 100.0)
    names.learn(told("short.example", ttl=5), POD, 110.0)
    assert names.name_for(POD, SERVER, 115.0 + GRACE_S) == "short.example"
    assert names.name_for(POD, SERVER, 115.1 + GRACE_S) == "long.example"


def test_one_name_on_changing_addresses_names_each_while_it_is_valid() -> None:
    names = DnsNames()
    other = bytes([203, 0, 113, 2])
    names.learn(told("example.org", SERVER, ttl=5), POD, 100.0)
    names.learn(told("example.org", other, ttl=5), POD, 110.0)
    assert names.name_for(POD, SERVER, 112.0) == "example.org"
    assert names.name_for(POD, SERVER, 120.0) is None
    assert names.name_for(POD, other, 120.0) == "example.org"


def test_for_the_node_two_names_are_ambiguous_until_one_has_run_out() -> None:
    names = DnsNames()
    names.learn(told("a.example", ttl=100), POD, 100.0)
    assert names.node_name_for(SERVER, 101.0) == "a.example"
    names.learn(told("b.example", ttl=20), NODE, 110.0)
    assert names.node_name_for(SERVER, 111.0) is None
    assert names.node_name_for(SERVER, 130.0 + GRACE_S) is None
    assert names.node_name_for(SERVER, 130.1 + GRACE_S) == "a.example"
    assert names.node_name_for(SERVER, 200.1 + GRACE_S) is None


def test_for_the_node_one_name_told_to_many_is_not_ambiguous() -> None:
    names = DnsNames()
    for last in range(1, 200):
        names.learn(told("a.example"), bytes([10, 0, 0, last]), 100.0)
    assert names.node_name_for(SERVER, 101.0) == "a.example"


def test_the_asked_name_is_kept_for_the_smallest_ttl_of_the_chain() -> None:
    names = DnsNames()
    learnt_from(
        answer(
            "www.example.org",
            Record("edge.cdn.example", A, 300, (SERVER,), None),
            Record("www.example.org", CNAME, 20, (), "edge.cdn.example"),
            Record("stranger.example", A, 300, (NODE,), None),
            Record("edge.cdn.example", AAAA, 300, (SERVER6,), None),
            Record("edge.cdn.example", HTTPS, 300, (bytes([203, 0, 113, 3]),), None),
        ),
        names,
    )
    for address in (SERVER, SERVER6, bytes([203, 0, 113, 3])):
        assert names.name_for(POD, address, 120.0 + GRACE_S) == "www.example.org"
        assert names.name_for(POD, address, 120.1 + GRACE_S) is None
    assert names.name_for(POD, NODE, 100.0) is None


def test_one_answer_teaches_a_bounded_number_of_addresses() -> None:
    names = DnsNames()
    many = [bytes([203, 0, n >> 8, n & 255]) for n in range(1000)]
    names.learn(told("example.org", *many), POD, 100.0)
    known = [address for address in many if names.name_for(POD, address, 100.0)]
    assert known == many[:ADDRESSES_MAX]


class Unbounded:
    """The same rules, over a list of everything that ever was learnt."""

    def __init__(self) -> None:
        self.answers: list[tuple[float, float, bytes, bytes, str]] = []

    def learn(self, name: str, address: bytes, ttl: int, client: bytes, now_s: float) -> None:
        until_s = now_s + min(max(ttl, TTL_MIN_S), TTL_MAX_S) + GRACE_S
        self.answers.append((now_s, until_s, client, address, name))

    def _valid(self, address: bytes, at_s: float) -> Iterator[tuple[bytes, str]]:
        for now_s, until_s, client, its, name in self.answers:
            if its == address and now_s <= at_s <= until_s:
                yield client, name

    def name_for(self, client: bytes, address: bytes, at_s: float) -> str | None:
        valid = {name for who, name in self._valid(address, at_s) if who == client}
        asked = [
            name
            for now_s, _, who, its, name in self.answers
            if who == client and its == address and now_s <= at_s and name in valid
        ]
        return asked[-1] if asked else None

    def node_name_for(self, address: bytes, at_s: float) -> str | None:
        every = {name for _, name in self._valid(address, at_s)}
        return every.pop() if len(every) == 1 else None


steps = st.tuples(
    st.sampled_from(["a.example", "b.example", "c.example", "d.example"]),
    st.sampled_from([SERVER, NODE]),
    st.integers(0, 60),
    st.sampled_from([POD, NODE]),
    st.integers(20, 400).map(lambda tenths: tenths / 10),
)


@settings(max_examples=300)
@given(st.lists(steps, max_size=30), st.floats(0, LOOK_BACK_S / 2))
def test_under_its_limits_it_knows_what_an_unbounded_list_of_answers_knows(
    learnt: list[tuple[str, bytes, int, bytes, float]], late_s: float
) -> None:
    names, model = DnsNames(rows=256), Unbounded()
    now_s = 1000.0
    for name, address, ttl, client, wait_s in learnt:
        now_s += wait_s
        names.learn(told(name, address, ttl=ttl), client, now_s)
        model.learn(name, address, ttl, client, now_s)
        for who in (POD, NODE):
            for where in (SERVER, NODE):
                for at_s in (now_s, now_s + 1.5):
                    found = names.name_for(who, where, at_s)
                    assert found == model.name_for(who, where, at_s)
                    assert names.node_name_for(where, at_s) == model.node_name_for(where, at_s)
                at_s = now_s - late_s
                assert names.name_for(who, where, at_s) == model.name_for(who, where, at_s)
                # Of the past the node knows less, but nothing else.
                in_the_past = names.node_name_for(where, at_s)
                assert in_the_past in (None, model.node_name_for(where, at_s))


def test_a_pair_with_many_names_keeps_the_latest_ones() -> None:
    names = DnsNames()
    for n in range(20):
        names.learn(told(f"n{n}.example", ttl=300 - n), POD, 100.0 + n)
    kept = [n for n in range(20) if names.name_for(POD, SERVER, 100.0 + n) == f"n{n}.example"]
    assert kept == list(range(20 - NAMES_MAX, 20))


def test_a_flood_does_not_evict_what_flows_use() -> None:
    names = DnsNames(rows=1024)
    used = [bytes([203, 0, 113, n]) for n in range(50)]
    for address in used:
        names.learn(told(f"real-{address[3]}.example", address, ttl=3600), POD, 100.0)
        assert names.name_for(POD, address, 100.1)
        assert names.node_name_for(address, 100.1)
    for n in range(20_000):
        junk = told(f"junk-{n}.example", n.to_bytes(4, "big"), ttl=86_400)
        names.learn(junk, NODE, 101.0 + n / 1000)
    for address in used:
        assert names.name_for(POD, address, 130.0) == f"real-{address[3]}.example"
        assert names.node_name_for(address, 130.0) == f"real-{address[3]}.example"


def test_a_new_answer_survives_a_flood_long_enough_to_be_used() -> None:
    """Five times as many answers as there are buckets, each younger than the real one."""
    names = DnsNames(rows=16_384)
    names.learn(told("real.example"), POD, 100.0)
    for n in range(5_000):
        names.learn(told(f"junk-{n}.example", n.to_bytes(4, "big"), ttl=86_400), NODE, 100.001)
    assert names.name_for(POD, SERVER, 100.1) == "real.example"


def test_expired_rows_go_before_valid_ones_of_any_rank() -> None:
    table = AnswerTable(rows=WAYS)
    for key in range(1, WAYS + 1):
        row = table.take(key, f"n{key}", 0.0)
        table.until[row], table.rank[row] = 100.0 + key, 100.0 - key
    assert table.names[table.take(99, "new", 101.5)] == "new"
    assert not table.rows_of(1)
    assert all(table.rows_of(key) for key in range(2, WAYS + 1))


def test_without_an_expired_row_the_lowest_rank_goes() -> None:
    table = AnswerTable(rows=WAYS)
    for key in range(1, WAYS + 1):
        row = table.take(key, f"n{key}", 0.0)
        table.until[row], table.rank[row] = 100.0, 100.0 - key
    table.take(99, "new", 50.0)
    assert not table.rows_of(WAYS)
    assert all(table.rows_of(key) for key in range(1, WAYS))


def test_names_together_take_a_bounded_number_of_bytes() -> None:
    table = AnswerTable(rows=64, name_bytes_max=20 * 300)
    for key in range(1, 500):
        row = table.take(key, f"{key:0250d}", 0.0)
        table.until[row] = 1000.0
        table.rank[row] = float(key)
        held = [name for name in table.names if name]
        assert sum(49 + len(name) for name in held) <= 20 * 300
        assert table.names[row] in held
    assert len(held) == 20


def test_names_that_take_too_much_do_not_evict_what_flows_use() -> None:
    table = AnswerTable(rows=1024, name_bytes_max=400 * 300)
    for key in range(1, 51):
        row = table.take(key, f"used-{key}", 0.0)
        table.until[row], table.rank[row] = 1000.0, 5000.0
    for key in range(100, 3000):
        row = table.take(key, f"{key:0250d}", 0.0)
        table.until[row], table.rank[row] = 1000.0, float(key)
    assert all(table.rows_of(key) for key in range(1, 51))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("length", [24, 253])
def test_a_flood_takes_no_more_memory_than_the_limits_say(length: int) -> None:
    names = DnsNames()
    before = resident_bytes()
    for n in range(60_000):
        junk = told(f"{n:0{length}d}", n.to_bytes(4, "big"), ttl=86_400)
        names.learn(junk, NODE, 100.0 + n / 1000)
    assert resident_bytes() - before < 2 * NAME_BYTES_MAX + 1_000_000


def test_the_grace_and_the_look_back_fit_together() -> None:
    """A row that is given a new date must have been valid for every flow still to be asked for."""
    assert dns_names.LOOK_BACK_S < GRACE_S + TTL_MIN_S
