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
from exporter.clock import Now
from exporter.counts.budget import TENURE_S, Budget
from exporter.counts.fold import Fold
from exporter.counts.snapshot import AttributedBytes, Count, DomainCounts
from exporter.names.attribution import DNS, NONE, SOURCES, TLS, Verdict
from exporter.names.domains import OTHER, UNKNOWN
from exporter.names.scope import AddedLabels, Scopes
from tests.unit.kernel_side import head_of

SLOTS = 64
CREATED_S = 1_800_000_000.5
NOW = Now(CREATED_S + 9, 1000.0)
LIVE = head_of()
ENDED = head_of(flags=FLOW_ENDED)
IDLE_S = 86_400.0


def later(seconds: float) -> Now:
    return Now(NOW.wall_s + seconds, NOW.boot_s + seconds)


def flow(slot: int, direction: int = FLOW_INGRESS, flags: int = 0, protocol: int = 6) -> Flow:
    return Flow(slot, direction, 1, 4, protocol, flags, b"\x0a\0\0\1", b"\x0a\0\0\2", 1, 2)


def fold(domains_max: int = 200, labels: tuple[str, ...] = ()) -> Fold:
    budget = Budget(domains_max, IDLE_S, NOW.boot_s)
    return Fold(SLOTS, budget, AddedLabels(labels, Scopes()), CREATED_S)


class Bench:
    """A fold, and what the flow table knows of each flow."""

    def __init__(self, domains_max: int = 200, labels: tuple[str, ...] = ()) -> None:
        self.fold = fold(domains_max, labels)
        self.counted: dict[int, Count] = {}

    def open(self, its: Flow, domain: str | None = None, now: Now = NOW) -> None:
        """Opens a flow; with a *domain* it is decided at once."""
        self.fold.opened(its)
        self.counted[its.slot] = Count()
        if domain is not None:
            self.decide(its.slot, domain, now=now)

    def decide(
        self, slot: int, domain: str, source: str = TLS, expected: bool = True, now: Now = NOW
    ) -> None:
        if domain == UNKNOWN:
            source = NONE
        self.fold.decide(Verdict(slot, domain, source, expected), self.counted[slot], now)

    def add(
        self, slot: int, packets: int, wire_bytes: int, head: int = LIVE, now: Now = NOW
    ) -> None:
        before = self.counted[slot]
        self.counted[slot] = Count(before.packets + packets, before.bytes + wire_bytes)
        self.fold.add([Change(slot, head, packets, wire_bytes)], now)

    def bytes(self) -> dict[str, int]:
        """Of ingress, by domain."""
        return {d.domain: d.bytes for d in self.fold.domains() if d.direction == "ingress"}

    def active(self) -> dict[tuple[str, str], int]:
        return {
            (each.direction, each.domain): each.active_connections
            for each in self.fold.domains()
            if each.active_connections
        }

    def attributed(self) -> dict[tuple[str, str], int]:
        return {(a.direction, a.source): a.bytes for a in self.fold.attributed() if a.bytes}


def test_before_anything_both_directions_are_there_with_zero() -> None:
    assert fold().domains() == (
        DomainCounts("ingress", UNKNOWN, (), 0, 0, 0, CREATED_S),
        DomainCounts("egress", UNKNOWN, (), 0, 0, 0, CREATED_S),
    )
    assert fold().attributed() == tuple(
        AttributedBytes(direction, source, 0)
        for direction in ("ingress", "egress")
        for source in SOURCES
    )


def test_a_flow_counts_in_its_direction_and_domain() -> None:
    it = Bench()
    it.open(flow(3, FLOW_EGRESS), "example.org")
    it.fold.add([Change(3, LIVE, 2, 300), Change(3, LIVE, 1, 60)], NOW)
    shown = DomainCounts("egress", "example.org", (), 3, 360, 0, NOW.wall_s)
    assert it.fold.domains()[2:] == (shown,)
    assert it.fold.explained(FLOW_EGRESS) == Count(3, 360)
    assert it.fold.explained(FLOW_INGRESS) == Count()


def test_a_series_begins_when_its_first_flow_is_decided() -> None:
    it = Bench()
    it.open(flow(3), "example.org")
    it.open(flow(4), "example.org", later(90))
    assert [each.created_s for each in it.fold.domains()] == [CREATED_S, CREATED_S, NOW.wall_s]


def test_a_slot_that_another_flow_takes_counts_for_that_one() -> None:
    it = Bench()
    it.open(flow(3), "a.example")
    it.add(3, 1, 100)
    it.fold.gone(3, NOW)
    it.open(flow(3), "b.example")
    it.add(3, 2, 200)
    assert it.bytes() == {UNKNOWN: 0, "a.example": 100, "b.example": 200}


def test_the_series_sum_to_what_was_added() -> None:
    rng = random.Random(1)
    it = Bench()
    totals = [Count(), Count()]
    for slot in range(SLOTS):
        it.open(flow(slot, slot % 2), f"{slot % 7}.example")
    for _ in range(500):
        slot = rng.randrange(SLOTS)
        packets, wire_bytes = rng.randrange(1 << 40), rng.randrange(1 << 60)
        it.add(slot, packets, wire_bytes)
        before = totals[slot % 2]
        totals[slot % 2] = Count(before.packets + packets, before.bytes + wire_bytes)
    assert [it.fold.explained(0), it.fold.explained(1)] == totals


def test_a_flow_is_pending_until_it_is_decided_and_then_moves_with_all_it_counted() -> None:
    it = Bench()
    it.open(flow(3))
    it.add(3, 2, 300)
    assert it.fold.pending(FLOW_INGRESS) == it.fold.explained(FLOW_INGRESS) == Count(2, 300)
    assert it.fold.pending(FLOW_EGRESS) == Count()
    assert (it.bytes(), it.attributed()) == ({UNKNOWN: 0}, {})
    it.decide(3, "example.org")
    it.add(3, 1, 50)
    assert it.fold.pending(FLOW_INGRESS) == Count()
    assert it.bytes() == {UNKNOWN: 0, "example.org": 350}
    assert it.attributed() == {("ingress", TLS): 350}
    assert it.fold.explained(FLOW_INGRESS) == Count(3, 350)


def test_a_flow_without_a_name_becomes_unknown() -> None:
    it = Bench()
    it.open(flow(3))
    it.add(3, 2, 300)
    it.decide(3, UNKNOWN)
    it.add(3, 1, 1)
    assert it.bytes() == {UNKNOWN: 301}
    assert it.attributed() == {("ingress", NONE): 301}


def test_of_a_name_that_comes_late_only_what_follows_counts() -> None:
    it = Bench()
    it.open(flow(3), UNKNOWN)
    it.add(3, 1, 100)
    it.decide(3, "example.org")
    it.add(3, 2, 10)
    it.decide(3, "inner.example", DNS)
    it.add(3, 3, 1)
    assert it.bytes() == {UNKNOWN: 100, "example.org": 10, "inner.example": 1}
    assert it.attributed() == {("ingress", NONE): 100, ("ingress", TLS): 10, ("ingress", DNS): 1}


def test_unexpected_bytes_are_summed_by_direction() -> None:
    it = Bench()
    it.open(flow(3))
    it.add(3, 1, 100)
    it.decide(3, "bad.example", expected=False)
    it.add(3, 1, 11)
    it.open(flow(4, FLOW_EGRESS))
    it.decide(4, "good.example")
    it.add(4, 1, 7)
    assert (it.fold.unexpected_bytes(0), it.fold.unexpected_bytes(1)) == (111, 0)
    it.decide(3, "good.example")
    it.add(3, 1, 1000)
    assert it.fold.unexpected_bytes(0) == 111
    assert it.attributed() == {("ingress", TLS): 1111, ("egress", TLS): 7}


def test_a_slot_does_not_inherit_what_was_unexpected_of_the_last_flow() -> None:
    it = Bench()
    it.open(flow(3))
    it.decide(3, "bad.example", expected=False)
    it.fold.gone(3, NOW)
    it.open(flow(3))
    it.add(3, 1, 100)
    it.decide(3, UNKNOWN)
    assert it.fold.unexpected_bytes(0) == 0


def test_added_labels_are_those_of_the_flow_also_while_it_is_pending() -> None:
    it = Bench(labels=("role", "transport"))
    assert it.fold.label_names == ("role", "transport")
    it.open(flow(3, FLOW_EGRESS, FLOW_OPENER))
    it.open(flow(4, FLOW_EGRESS, protocol=17))
    for slot in (3, 4):
        it.decide(slot, "example.org")
        it.add(slot, 1, slot)
    shown = {each.labels: each.bytes for each in it.fold.domains() if each.bytes}
    assert shown == {("client", "tcp"): 3, ("server", "udp"): 4}
    it.fold.add_without_flow(1, FLOW_EGRESS, without_flow(1, 60, 0))
    unknown = [each for each in it.fold.domains() if each.domain == UNKNOWN and each.bytes]
    assert [each.labels for each in unknown] == [(UNKNOWN, UNKNOWN)]


# The budget.


def test_what_has_no_room_counts_as_other_until_it_is_proven_heavier() -> None:
    it = Bench(domains_max=1)
    it.open(flow(3), "first.example")
    it.add(3, 1, 100)
    it.fold.swept(NOW)
    it.open(flow(4), "second.example")
    it.add(4, 1, 30)
    assert it.bytes() == {UNKNOWN: 0, "first.example": 100, OTHER: 30}
    now = later(TENURE_S)
    it.add(4, 1, 1000, now=now)
    assert it.bytes() == {UNKNOWN: 0, "second.example": 1000, OTHER: 30}
    assert it.fold.evicted(FLOW_INGRESS) == Count(1, 100)
    assert it.fold.evicted(FLOW_EGRESS) == Count()
    assert it.fold.domains_evicted == 1
    it.add(3, 1, 5, now=now)
    assert it.bytes() == {UNKNOWN: 0, "second.example": 1000, OTHER: 35}
    assert it.fold.explained(FLOW_INGRESS) == Count(4, 1135)


def test_what_a_pending_flow_has_counted_is_proof_too() -> None:
    it = Bench(domains_max=1)
    it.open(flow(3), "first.example")
    it.add(3, 1, 100)
    it.fold.swept(NOW)
    it.open(flow(4))
    it.add(4, 7, 5000)
    it.decide(4, "second.example", now=later(TENURE_S))
    assert it.bytes() == {UNKNOWN: 0, OTHER: 0, "second.example": 5000}
    assert it.fold.pending(0) == Count()
    assert it.fold.evicted(0) == Count(1, 100)
    assert it.fold.explained(0) == Count(8, 5100)


def weight(it: Bench, domain: str) -> float:
    """What the budget knows of a domain with a series."""
    ranked = it.fold._table._budget._series.get(domain)
    assert ranked is not None
    return ranked.weight


def test_the_budget_weighs_each_byte_once() -> None:
    it = Bench(domains_max=1)
    it.open(flow(3), "first.example")
    it.add(3, 1, 100)
    it.fold.swept(NOW)
    assert weight(it, "first.example") == 100
    now = later(TENURE_S)
    it.open(flow(4))
    it.add(4, 1, 5000)
    it.decide(4, "second.example", now=now)
    before = weight(it, "second.example")
    it.fold.swept(now)
    assert weight(it, "second.example") == before
    now = later(2 * TENURE_S)
    it.add(3, 1, 80_000, now=now)
    before = weight(it, "first.example")
    it.fold.swept(now)
    assert weight(it, "first.example") == before


def test_what_a_flow_counted_for_another_is_no_proof() -> None:
    it = Bench(domains_max=1)
    it.open(flow(3), "first.example")
    it.add(3, 1, 100)
    it.fold.swept(NOW)
    it.open(flow(4), UNKNOWN)
    it.add(4, 1, 1 << 40)
    it.decide(4, "late.example", now=later(TENURE_S))
    assert it.bytes() == {UNKNOWN: 1 << 40, "first.example": 100, OTHER: 0}
    it.add(4, 1, 7, now=later(TENURE_S))
    assert it.bytes() == {UNKNOWN: 1 << 40, "first.example": 100, OTHER: 7}


def test_a_flow_whose_domain_left_counts_as_other_and_may_win_it_back() -> None:
    it = Bench(domains_max=1)
    it.open(flow(3), "first.example")
    it.add(3, 1, 100)
    it.fold.swept(NOW)
    it.open(flow(4), "second.example")
    it.add(4, 1, 1000, now=later(TENURE_S))
    it.fold.swept(later(TENURE_S))
    it.add(3, 1, 5, now=later(TENURE_S))
    assert it.bytes() == {UNKNOWN: 0, "second.example": 1000, OTHER: 5}
    it.add(3, 1, 9000, now=later(2 * TENURE_S))
    assert it.bytes() == {UNKNOWN: 0, "first.example": 9000, OTHER: 5}


def test_a_domain_that_comes_back_starts_from_zero_with_a_new_start_time() -> None:
    it = Bench(domains_max=1)
    it.open(flow(3), "first.example")
    it.add(3, 1, 100)
    it.fold.swept(NOW)
    it.open(flow(4), "second.example")
    it.add(4, 1, 1000, now=later(TENURE_S))
    it.fold.swept(later(TENURE_S))
    back = later(2 * TENURE_S)
    it.add(3, 1, 5000, now=back)
    series = next(each for each in it.fold.domains() if each.domain == "first.example")
    assert (series.bytes, series.created_s) == (5000, back.wall_s)
    assert it.fold.evicted(0) == Count(2, 1100)
    assert it.fold.domains_evicted == 2


def test_an_idle_domain_leaves_and_its_connections_are_of_other() -> None:
    it = Bench()
    it.open(flow(3, flags=FLOW_OPENER), "example.org")
    it.add(3, 1, 100)
    it.fold.swept(NOW)
    it.fold.swept(later(IDLE_S - 1))
    assert it.bytes() == {UNKNOWN: 0, "example.org": 100}
    it.fold.swept(later(IDLE_S))
    assert it.bytes() == {UNKNOWN: 0, OTHER: 0}
    assert it.active() == {("ingress", OTHER): 1}
    assert it.fold.evicted(0) == Count(1, 100)
    it.add(3, 1, 7, now=later(IDLE_S + 1))
    assert it.bytes() == {UNKNOWN: 0, OTHER: 0, "example.org": 7}
    assert it.active() == {("ingress", "example.org"): 1}
    it.fold.ended(3, later(IDLE_S + 1))
    assert it.active() == {}


def test_names_that_stand_for_none_take_no_room() -> None:
    it = Bench(domains_max=1)
    for slot, domain in ((3, UNKNOWN), (4, OTHER), (5, "example.org")):
        it.open(flow(slot), domain)
        it.add(slot, 1, slot)
    assert it.bytes() == {UNKNOWN: 3, OTHER: 4, "example.org": 5}
    it.fold.swept(NOW)
    it.fold.swept(later(2 * IDLE_S))
    assert it.bytes() == {UNKNOWN: 3, OTHER: 4}, "they never leave"


def test_what_counts_as_other_by_rule_stays_there_however_heavy() -> None:
    it = Bench(domains_max=1)
    it.open(flow(3), "example.org")
    it.add(3, 1, 1)
    it.fold.swept(NOW)
    it.open(flow(4), "second.example")
    it.decide(4, OTHER)
    it.add(4, 1, 1 << 40, now=later(TENURE_S))
    assert it.bytes() == {UNKNOWN: 0, "example.org": 1, OTHER: 1 << 40}


# Connections.


def test_only_the_opener_makes_a_connection_active() -> None:
    it = Bench()
    it.open(flow(3, FLOW_EGRESS, FLOW_OPENER), "example.org")
    it.open(flow(4, FLOW_INGRESS), "example.org")
    assert it.active() == {("egress", "example.org"): 1}


def test_a_connection_without_a_verdict_is_shown_as_unknown_and_moves_with_it() -> None:
    it = Bench()
    it.open(flow(3, flags=FLOW_OPENER))
    it.open(flow(4, flags=FLOW_OPENER), UNKNOWN)
    assert it.active() == {("ingress", UNKNOWN): 2}
    it.decide(3, "example.org")
    assert it.active() == {("ingress", UNKNOWN): 1, ("ingress", "example.org"): 1}


def test_a_connection_ends_once_however_often_that_is_told() -> None:
    it = Bench()
    it.open(flow(3, flags=FLOW_OPENER), UNKNOWN)
    it.open(flow(4, flags=FLOW_OPENER), UNKNOWN)
    assert it.active() == {("ingress", UNKNOWN): 2}
    it.fold.ended(3, NOW)
    it.fold.ended(3, NOW)
    it.add(3, 1, 60, ENDED)
    it.fold.gone(3, NOW)
    assert it.active() == {("ingress", UNKNOWN): 1}


def test_the_end_of_a_flow_that_nobody_opened_ends_nothing() -> None:
    it = Bench()
    it.open(flow(3, flags=FLOW_OPENER), UNKNOWN)
    it.fold.ended(4, NOW)
    it.open(flow(5), UNKNOWN)
    it.fold.ended(5, NOW)
    assert it.active() == {("ingress", UNKNOWN): 1}


def test_a_change_may_tell_of_the_end_where_the_event_was_lost() -> None:
    it = Bench()
    it.open(flow(3, flags=FLOW_OPENER), UNKNOWN)
    it.add(3, 1, 60)
    assert it.active() == {("ingress", UNKNOWN): 1}
    it.add(3, 1, 60, ENDED)
    assert it.active() == {}


def test_a_connection_that_has_ended_before_it_was_seen_is_not_active() -> None:
    it = Bench()
    it.open(flow(3, flags=FLOW_OPENER | FLOW_ENDED), UNKNOWN)
    assert it.active() == {}
    it.fold.ended(3, NOW)
    assert it.active() == {}


def test_a_verdict_on_a_flow_that_is_gone_changes_nothing() -> None:
    """Else its domain would be held for ever by a slot that no flow has."""
    it = Bench()
    it.open(flow(3, flags=FLOW_OPENER), "a.example")
    it.fold.gone(3, NOW)
    it.decide(3, "b.example")
    assert it.bytes() == {UNKNOWN: 0, "a.example": 0}
    assert not any(each.bound for each in it.fold._table.by_index)


# What has no flow.


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
    it = Bench()
    it.fold.add_without_flow(1, FLOW_EGRESS, without_flow(5, 1000, 2))
    it.fold.add_without_flow(1, FLOW_EGRESS, without_flow(5, 1000, 2))
    it.fold.add_without_flow(2, FLOW_EGRESS, without_flow(7, 2000, 7))
    it.fold.add_without_flow(1, FLOW_EGRESS, without_flow(6, 1100, 3))
    it.fold.add_without_flow(1, FLOW_INGRESS, without_flow(1, 60, 0))
    assert it.fold.explained(FLOW_EGRESS) == Count(13, 3100)
    assert it.fold.explained(FLOW_INGRESS) == Count(1, 60)
    assert [each.domain for each in it.fold.domains()] == [UNKNOWN, UNKNOWN]
    assert it.attributed() == {("egress", NONE): 3100, ("ingress", NONE): 60}


def test_new_settings_take_effect_on_flows_that_go_on() -> None:
    it = Bench()
    for slot, domain in enumerate(("www.a.example", "b.example", "secret.example")):
        it.open(flow(slot, flags=FLOW_OPENER), domain)
        it.add(slot, 1, 100 * (slot + 1))
    shown_as = {"www.a.example": "a.example", "secret.example": OTHER}
    it.fold.change_domains(200, IDLE_S, lambda name: shown_as.get(name, name), later(1))
    assert it.bytes() == {UNKNOWN: 0, "b.example": 200, OTHER: 0}
    assert it.fold.evicted(FLOW_INGRESS) == Count(2, 400)
    for slot in range(3):
        it.add(slot, 1, 50, now=later(2))
    assert it.bytes() == {UNKNOWN: 0, "b.example": 250, OTHER: 50, "a.example": 50}
    for slot in range(3):
        it.add(slot, 1, 10**9, now=later(100))
    assert "secret.example" not in it.bytes()
    assert it.fold.explained(FLOW_INGRESS) == Count(9, 600 + 150 + 3 * 10**9)


def test_a_heavy_name_in_other_that_must_not_be_shown_any_more_stays_there() -> None:
    it = Bench(domains_max=1)
    it.open(flow(0), "a.example")
    it.add(0, 1, 100)
    it.open(flow(1), "secret.example")
    it.add(1, 1, 50)
    hidden = {"secret.example": OTHER}
    it.fold.change_domains(1, IDLE_S, lambda name: hidden.get(name, name), later(1))
    it.add(1, 1, 10**9, now=later(1 + 2 * TENURE_S))
    assert it.bytes() == {UNKNOWN: 0, "a.example": 100, OTHER: 50 + 10**9}
