"""Who asks for a name is told its addresses; what else an answer holds is not about the name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.names.dns import AAAA, CNAME, HTTPS, SVCB, A, Message, Question, Record
from exporter.names.dns_answer import Resolution, maybe_resolution

V4, OTHER_V4, V6 = b"\xc0\0\x02\x01", b"\xc0\0\x02\x02", bytes(15) + b"\x01"
NAME = "www.example.com"


def response(
    *answers: Record, name: str | None = NAME, qtype: int = A, additional: tuple[Record, ...] = ()
) -> Message:
    questions = (Question(name, qtype, 1),)
    return Message(1, True, 0, 0, False, True, questions, answers, (), additional)


def address(owner: str, value: bytes = V4, ttl: int = 60) -> Record:
    return Record(owner, A if len(value) == 4 else AAAA, ttl, (value,), None)


def alias(owner: str, target: str, ttl: int = 60) -> Record:
    return Record(owner, CNAME, ttl, (), target)


def test_the_addresses_of_the_name_that_was_asked() -> None:
    message = response(address(NAME, V4, 5), address(NAME, V6, 7))
    assert maybe_resolution(message) == Resolution(NAME, ((V4, 5), (V6, 7)))


def test_aliases_lead_to_addresses_in_any_order_and_the_shortest_ttl_holds() -> None:
    records = (
        alias(NAME, "a.cdn.example", 300),
        alias("a.cdn.example", "b.cdn.example", 20),
        address("b.cdn.example", V4, 40),
        address("b.cdn.example", OTHER_V4, 10),
    )
    for message in (response(*records), response(*reversed(records))):
        found = maybe_resolution(message)
        assert found is not None
        assert found.name == NAME
        assert dict(found.addresses) == {V4: 20, OTHER_V4: 10}


def test_the_ttl_of_the_first_alias_holds_for_all_behind_it() -> None:
    records = (alias(NAME, "a.example", 20), alias("a.example", "b.example", 300))
    found = maybe_resolution(response(*records, address("b.example", V4, 600)))
    assert found == Resolution(NAME, ((V4, 20),))


def test_hints_are_addresses_of_the_name() -> None:
    hints = Record(NAME, HTTPS, 30, (V4, V6), NAME)
    assert maybe_resolution(response(hints, qtype=HTTPS)) == Resolution(NAME, ((V4, 30), (V6, 30)))


@pytest.mark.parametrize(
    ("asked", "qtype", "name"),
    [
        ("_8443._https.api.example.com", HTTPS, "api.example.com"),
        ("_dns.resolver.arpa", SVCB, "resolver.arpa"),
        ("www.example.com", HTTPS, "www.example.com"),
        ("_8443._https.api.example.com", A, "_8443._https.api.example.com"),
        ("_https", HTTPS, "_https"),
        ("_https.", HTTPS, "_https."),
    ],
)
def test_who_asks_for_a_service_means_its_host(asked: str, qtype: int, name: str) -> None:
    found = maybe_resolution(
        response(Record(asked, qtype, 30, (V4,), None), name=asked, qtype=qtype)
    )
    assert found is not None
    assert found.name == name


def test_records_of_other_owners_and_sections_are_not_the_answer() -> None:
    others = (address("evil.example", OTHER_V4), alias("evil.example", NAME))
    assert maybe_resolution(response(*others)) is None
    glue = (address("ns.example.com"), address(NAME))
    assert maybe_resolution(response(additional=glue)) is None
    found = maybe_resolution(response(address(NAME), *others, additional=glue))
    assert found == Resolution(NAME, ((V4, 60),))


@pytest.mark.parametrize(
    "change",
    [
        {"is_response": False},
        {"opcode": 5},
        {"rcode": 3},
        {"questions": ()},
        {"questions": (Question(NAME, A, 1), Question(NAME, AAAA, 1))},
        {"questions": (Question(None, A, 1),)},
        {"answers": ()},
    ],
)
def test_no_answer_to_a_question(change: dict[str, object]) -> None:
    message = response(address(NAME))
    assert maybe_resolution(message) is not None
    assert maybe_resolution(message._replace(**change)) is None  # type: ignore[arg-type]


def test_aliases_in_a_circle_lead_nowhere_and_end() -> None:
    circle = (alias(NAME, "b.example"), alias("b.example", NAME))
    assert maybe_resolution(response(*circle)) is None
    assert maybe_resolution(response(*circle, address("b.example"))) is not None


NAMES = st.sampled_from([NAME, "a.example", "b.example", "c.example", None])


@given(
    st.lists(
        st.builds(Record, NAMES, st.just(A), st.integers(0, 9), st.just((V4,)), st.none())
        | st.builds(Record, NAMES, st.just(CNAME), st.integers(0, 9), st.just(()), NAMES)
    )
)
def test_any_records_give_the_asked_name_or_nothing(records: list[Record]) -> None:
    found = maybe_resolution(response(*records))
    assert found is None or found.name == NAME
