"""Who passes on the questions of others."""

from __future__ import annotations

from exporter.names.relays import (
    QUESTIONS_MAX,
    RELAY_S,
    RELAYS_MAX,
    WAITING_S,
    Relays,
)

NOW_S = 1000.0
ASKED = ("one.example", 1)
POD, OTHER_POD, NODE = bytes([10, 2, 0, 1]), bytes([10, 2, 0, 2]), bytes([192, 0, 2, 1])


def test_who_asks_what_somebody_else_waits_for_is_a_relay_for_an_hour() -> None:
    relays = Relays()
    relays.heard(ASKED, POD, NOW_S)
    relays.left(ASKED, NODE, NOW_S + WAITING_S)
    assert relays.has(NODE, NOW_S)
    assert relays.has(NODE, NOW_S + WAITING_S + RELAY_S)
    assert not relays.has(NODE, NOW_S + WAITING_S + RELAY_S + 1)
    assert not relays.has(POD, NOW_S)


def test_who_asks_something_else_or_first_or_much_later_or_once_it_was_told_is_none() -> None:
    relays = Relays()
    relays.left(ASKED, NODE, NOW_S)
    relays.heard(ASKED, POD, NOW_S)
    relays.left(("two.example", 1), NODE, NOW_S)
    relays.left(("one.example", 28), NODE, NOW_S)
    relays.left(ASKED, NODE, NOW_S + WAITING_S + 0.1)
    relays.told(ASKED, POD)
    relays.left(ASKED, NODE, NOW_S)
    assert not relays.has(NODE, NOW_S)
    relays.told(ASKED, POD)  # twice, as it was seen twice


def test_a_question_that_leaves_under_the_address_that_asked_it_is_passed_on_by_nobody() -> None:
    relays = Relays()
    relays.heard(ASKED, POD, NOW_S)
    relays.heard(ASKED, OTHER_POD, NOW_S)
    relays.left(ASKED, POD, NOW_S)
    relays.left(ASKED, OTHER_POD, NOW_S)
    assert not relays.has(POD, NOW_S)
    assert not relays.has(OTHER_POD, NOW_S)


def test_while_one_of_several_still_waits_its_question_is_passed_on() -> None:
    relays = Relays()
    relays.heard(ASKED, POD, NOW_S)
    relays.heard(ASKED, OTHER_POD, NOW_S)
    relays.told(ASKED, POD)
    relays.left(ASKED, NODE, NOW_S)
    assert relays.has(NODE, NOW_S)


def test_questions_and_relays_are_bounded() -> None:
    relays = Relays()
    for number in range(QUESTIONS_MAX + 1):
        asked = (f"{number}.example", 1)
        for client in range(20):
            relays.heard(asked, bytes([client]), NOW_S)
    relays.left(("0.example", 1), NODE, NOW_S)
    assert not relays.has(NODE, NOW_S), "the oldest question is forgotten"
    for number in range(RELAYS_MAX + 1):
        relays.left(("1.example", 1), number.to_bytes(4, "big"), NOW_S)
    assert not relays.has(bytes(4), NOW_S), "the relay that was one longest ago is forgotten"
    assert relays.has(RELAYS_MAX.to_bytes(4, "big"), NOW_S)
