"""The fold: every change is added to exactly one series, and nothing is taken away."""

from __future__ import annotations

import random

from exporter.capture.flow_table import Change
from exporter.capture.records import (
    FLOW_EGRESS,
    FLOW_ENDED,
    FLOW_INGRESS,
    FLOW_OPENER,
    ZERO_TOTALS,
    DeviceTotals,
    Flow,
)
from exporter.counts.fold import Fold
from exporter.counts.snapshot import Count, DomainCounts
from exporter.names.attribution import UNKNOWN
from tests.unit.kernel_side import head_of

SLOTS = 64
CREATED_S = 1_800_000_000.5
LIVE = head_of()
ENDED = head_of(flags=FLOW_ENDED)


def flow(slot: int, direction: int = FLOW_INGRESS, flags: int = 0) -> Flow:
    return Flow(slot, direction, 1, 4, 6, flags, b"\x0a\0\0\1", b"\x0a\0\0\2", 1, 2)


def fold() -> Fold:
    return Fold(SLOTS, CREATED_S)


def active(it: Fold) -> dict[tuple[str, str], int]:
    return {
        (each.direction, each.domain): each.active_connections
        for each in it.domains()
        if each.active_connections
    }


def test_before_anything_both_directions_are_there_with_zero() -> None:
    assert fold().domains() == (
        DomainCounts("ingress", UNKNOWN, 0, 0, 0, CREATED_S),
        DomainCounts("egress", UNKNOWN, 0, 0, 0, CREATED_S),
    )


def test_a_flow_counts_in_its_direction_and_domain() -> None:
    it = fold()
    it.opened(flow(3, FLOW_EGRESS), "example.org", CREATED_S + 9)
    it.add([Change(3, LIVE, 2, 300), Change(3, LIVE, 1, 60)])
    assert it.domains()[2:] == (DomainCounts("egress", "example.org", 3, 360, 0, CREATED_S + 9),)
    assert it.explained(FLOW_EGRESS) == Count(3, 360)
    assert it.explained(FLOW_INGRESS) == Count()


def test_a_series_begins_when_its_first_flow_does() -> None:
    it = fold()
    it.opened(flow(3), "example.org", CREATED_S + 9)
    it.opened(flow(4), "example.org", CREATED_S + 99)
    assert [each.created_s for each in it.domains()] == [CREATED_S, CREATED_S, CREATED_S + 9]


def test_a_slot_that_another_flow_takes_counts_for_that_one() -> None:
    it = fold()
    it.opened(flow(3), "a.example", 0.0)
    it.add([Change(3, LIVE, 1, 100)])
    it.ended(3)
    it.opened(flow(3), "b.example", 0.0)
    it.add([Change(3, LIVE, 2, 200)])
    counted = {each.domain: each.bytes for each in it.domains()}
    assert counted == {UNKNOWN: 0, "a.example": 100, "b.example": 200}


def test_the_series_sum_to_what_was_added() -> None:
    rng = random.Random(1)
    it = fold()
    totals = [Count(), Count()]
    for slot in range(SLOTS):
        it.opened(flow(slot, slot % 2), f"{slot % 7}.example", 0.0)
    for _ in range(500):
        slot = rng.randrange(SLOTS)
        change = Change(slot, LIVE, rng.randrange(1 << 40), rng.randrange(1 << 60))
        it.add([change])
        before = totals[slot % 2]
        totals[slot % 2] = Count(before.packets + change.packets, before.bytes + change.bytes)
    assert [it.explained(0), it.explained(1)] == totals


def test_only_the_opener_makes_a_connection_active() -> None:
    it = fold()
    it.opened(flow(3, FLOW_EGRESS, FLOW_OPENER), "example.org", 0.0)
    it.opened(flow(4, FLOW_INGRESS), "example.org", 0.0)
    assert active(it) == {("egress", "example.org"): 1}


def test_a_connection_ends_once_however_often_that_is_told() -> None:
    it = fold()
    it.opened(flow(3, flags=FLOW_OPENER), UNKNOWN, 0.0)
    it.opened(flow(4, flags=FLOW_OPENER), UNKNOWN, 0.0)
    assert active(it) == {("ingress", UNKNOWN): 2}
    it.ended(3)
    it.ended(3)
    it.add([Change(3, ENDED, 1, 60)])
    assert active(it) == {("ingress", UNKNOWN): 1}


def test_the_end_of_a_flow_that_nobody_opened_ends_nothing() -> None:
    it = fold()
    it.opened(flow(3, flags=FLOW_OPENER), UNKNOWN, 0.0)
    it.ended(4)
    it.opened(flow(5), UNKNOWN, 0.0)
    it.ended(5)
    assert active(it) == {("ingress", UNKNOWN): 1}


def test_a_change_may_tell_of_the_end_where_the_event_was_lost() -> None:
    it = fold()
    it.opened(flow(3, flags=FLOW_OPENER), UNKNOWN, 0.0)
    it.add([Change(3, LIVE, 1, 60)])
    assert active(it) == {("ingress", UNKNOWN): 1}
    it.add([Change(3, ENDED, 1, 60)])
    assert active(it) == {}


def test_a_connection_that_has_ended_before_it_was_seen_is_not_active() -> None:
    it = fold()
    it.opened(flow(3, flags=FLOW_OPENER | FLOW_ENDED), UNKNOWN, 0.0)
    assert active(it) == {}
    it.ended(3)
    assert active(it) == {}


def without_flow(packets: int, wire_bytes: int, share: int) -> DeviceTotals:
    """Totals of which a share has no room in the table, and the rest is not IP."""
    return ZERO_TOTALS._replace(
        packets=10**6,
        bytes=10**9,
        overflow_packets=share,
        overflow_bytes=share * 100,
        non_ip_packets=packets - share,
        non_ip_bytes=wire_bytes - share * 100,
    )


def test_what_has_no_flow_is_unknown_and_added_once() -> None:
    it = fold()
    it.add_without_flow(1, FLOW_EGRESS, without_flow(5, 1000, 2))
    it.add_without_flow(1, FLOW_EGRESS, without_flow(5, 1000, 2))
    it.add_without_flow(2, FLOW_EGRESS, without_flow(7, 2000, 7))
    it.add_without_flow(1, FLOW_EGRESS, without_flow(6, 1100, 3))
    it.add_without_flow(1, FLOW_INGRESS, without_flow(1, 60, 0))
    assert it.explained(FLOW_EGRESS) == Count(13, 3100)
    assert it.explained(FLOW_INGRESS) == Count(1, 60)
    assert [each.domain for each in it.domains()] == [UNKNOWN, UNKNOWN]
