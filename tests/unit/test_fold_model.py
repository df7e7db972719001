"""The fold under a small budget and any order of events, against a plain count of the same."""

from __future__ import annotations

import tracemalloc

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from exporter.capture.flow_table import Change
from exporter.capture.records import FLOW_ENDED, FLOW_OPENER, ZERO_TOTALS, Flow
from exporter.clock import Now
from exporter.counts.budget import Budget
from exporter.counts.fold import Fold
from exporter.counts.snapshot import DIRECTIONS, Count
from exporter.names.attribution import NONE, SOURCES, Verdict
from exporter.names.domains import OTHER, RESERVED, UNKNOWN
from exporter.names.scope import AddedLabels, Scopes
from tests.unit.kernel_side import head_of

SLOTS = 8
DOMAINS_MAX = 2
IDLE_S = 60.0
WALL_S = 1_800_000_000.0

_Key = tuple[str, str, tuple[str, ...]]

slots = st.integers(0, SLOTS - 1)
domains = st.sampled_from([UNKNOWN, OTHER, "a.example", "b.example", "c.example", "d.example"])
sizes = st.integers(0, 3).flatmap(lambda digits: st.integers(1, 10**digits * 10))


class FoldMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = Now(WALL_S, 1000.0)
        self.fold = Fold(
            SLOTS,
            Budget(DOMAINS_MAX, IDLE_S, self.now.boot_s),
            AddedLabels(["role"], Scopes()),
            WALL_S,
        )
        self.flows: dict[int, Flow] = {}
        self.counted: dict[int, Count] = {}
        self.evidence: dict[int, tuple[str, bool] | None] = {}
        """Of each flow: its source, and whether it was expected; None while it is pending."""
        self.active: dict[int, bool] = {}
        self.added = [Count(), Count()]
        self.attributed = {(direction, source): 0 for direction in (0, 1) for source in SOURCES}
        self.unexpected = [0, 0]
        self.without_flow = ZERO_TOTALS
        self.before: dict[_Key, tuple[int, int, float]] = {}

    @rule(slot=slots, direction=st.integers(0, 1), flags=st.integers(0, 3))
    def opens(self, slot: int, direction: int, flags: int) -> None:
        if slot in self.flows:
            return
        flow = Flow(slot, direction, 1, 4, 6, flags, b"\1" * 4, b"\2" * 4, 1, 2)
        self.fold.opened(flow)
        self.flows[slot] = flow
        self.counted[slot] = Count()
        self.evidence[slot] = None
        self.active[slot] = bool(flags & FLOW_OPENER) and not flags & FLOW_ENDED

    @precondition(lambda self: self.flows)
    @rule(data=st.data(), domain=domains, expected=st.booleans())
    def decides(self, data: st.DataObject, domain: str, expected: bool) -> None:
        slot = data.draw(st.sampled_from(sorted(self.flows)))
        source = NONE if domain == UNKNOWN else data.draw(st.sampled_from(SOURCES[:-1]))
        was_pending = self.evidence[slot] is None
        self.fold.decide(Verdict(slot, domain, source, expected), self.counted[slot], self.now)
        self.evidence[slot] = (source, expected)
        if was_pending:
            self._attribute(slot, self.counted[slot].bytes)

    def _attribute(self, slot: int, wire_bytes: int) -> None:
        evidence = self.evidence[slot]
        if evidence is not None:
            source, expected = evidence
            direction = self.flows[slot].direction
            self.attributed[direction, source] += wire_bytes
            self.unexpected[direction] += 0 if expected else wire_bytes

    @precondition(lambda self: self.flows)
    @rule(data=st.data(), wire_bytes=sizes, packets=st.integers(0, 9), ends=st.booleans())
    def adds(self, data: st.DataObject, wire_bytes: int, packets: int, ends: bool) -> None:
        slot = data.draw(st.sampled_from(sorted(self.flows)))
        head = head_of(flags=FLOW_ENDED if ends else 0)
        self.fold.add([Change(slot, head, packets, wire_bytes)], self.now)
        more = Count(packets, wire_bytes)
        self.counted[slot] = _plus(self.counted[slot], more)
        direction = self.flows[slot].direction
        self.added[direction] = _plus(self.added[direction], more)
        self._attribute(slot, wire_bytes)
        self.active[slot] = self.active[slot] and not ends

    @rule(slot=slots)
    def ends(self, slot: int) -> None:
        self.fold.ended(slot, self.now)
        self.active[slot] = False

    @precondition(lambda self: self.flows)
    @rule(data=st.data())
    def goes(self, data: st.DataObject) -> None:
        """As a flow leaves: decided, then gone."""
        slot = data.draw(st.sampled_from(sorted(self.flows)))
        if self.evidence[slot] is None:
            verdict = Verdict(slot, UNKNOWN, NONE)
            self.fold.decide(verdict, self.counted[slot], self.now)
            self.evidence[slot] = (NONE, True)
            self._attribute(slot, self.counted[slot].bytes)
        self.fold.gone(slot, self.now)
        for mine in (self.flows, self.counted, self.evidence, self.active):
            mine.pop(slot)

    @rule(packets=st.integers(0, 5))
    def comes_without_flow(self, packets: int) -> None:
        before = self.without_flow
        self.without_flow = before._replace(
            overflow_packets=before.overflow_packets + packets,
            non_ip_bytes=before.non_ip_bytes + 60 * packets,
        )
        self.fold.add_without_flow(1, 1, self.without_flow)
        self.added[1] = _plus(self.added[1], Count(packets, 60 * packets))
        self.attributed[1, NONE] += 60 * packets

    @rule(after_s=st.sampled_from([0.0, 5.0, 20.0, 61.0]))
    def is_swept(self, after_s: float) -> None:
        self.now = Now(self.now.wall_s + after_s, self.now.boot_s + after_s)
        self.fold.swept(self.now)

    @invariant()
    def all_that_was_added_is_somewhere_once(self) -> None:
        shown = self.fold.domains()
        for direction, name in enumerate(DIRECTIONS):
            mine = [Count(each.packets, each.bytes) for each in shown if each.direction == name]
            explained = _plus(self.fold.pending(direction), self.fold.evicted(direction))
            for each in mine:
                explained = _plus(explained, each)
            assert explained == self.added[direction] == self.fold.explained(direction)

    @invariant()
    def pending_is_what_flows_without_a_verdict_have_counted(self) -> None:
        for direction in (0, 1):
            expected = Count()
            for slot, flow in self.flows.items():
                if flow.direction == direction and self.evidence[slot] is None:
                    expected = _plus(expected, self.counted[slot])
            assert self.fold.pending(direction) == expected

    @invariant()
    def every_byte_but_the_pending_ones_has_its_source(self) -> None:
        attributed = {
            (DIRECTIONS.index(each.direction), each.source): each.bytes
            for each in self.fold.attributed()
        }
        assert attributed == self.attributed
        for direction in (0, 1):
            total = sum(attributed[direction, source] for source in SOURCES)
            assert total == self.added[direction].bytes - self.fold.pending(direction).bytes
            assert self.fold.unexpected_bytes(direction) == self.unexpected[direction]

    @invariant()
    def no_counter_that_is_shown_decreases(self) -> None:
        now = {
            (each.direction, each.domain, each.labels): (
                each.packets,
                each.bytes,
                each.created_s,
            )
            for each in self.fold.domains()
        }
        for key, (packets, wire_bytes, created_s) in self.before.items():
            if key in now and now[key][2] == created_s and not self._may_be_another(key):
                assert now[key][0] >= packets
                assert now[key][1] >= wire_bytes
        for key in self.before.keys() - now.keys():
            assert key[1] not in RESERVED
        self.before = now
        self.evictions_before = self.fold.domains_evicted

    def _may_be_another(self, key: _Key) -> bool:
        """It left and came back within one step, at the same moment."""
        return key[1] not in RESERVED and self.fold.domains_evicted > self.evictions_before

    @invariant()
    def no_more_domains_are_shown_than_the_budget_allows(self) -> None:
        shown = {each.domain for each in self.fold.domains()} - RESERVED
        assert len(shown) <= DOMAINS_MAX

    @invariant()
    def connections_are_those_of_the_flows(self) -> None:
        table = self.fold._table
        every = [*table.shown(), *table.waiting()]
        for direction in (0, 1):
            mine = sum(each.active_connections for each in every if each.direction == direction)
            flows = [flow for flow in self.flows.values() if flow.direction == direction]
            assert mine == sum(self.active[flow.slot] for flow in flows)
        assert all(each.active_connections >= 0 for each in every)

    @invariant()
    def a_series_is_bound_by_its_flows_and_its_index_is_free_only_without_any(self) -> None:
        table = self.fold._table
        bound = [0] * len(table.by_index)
        for slot, flow in self.flows.items():
            index = self.fold._series_of[slot]
            bound[index] += 1
            series = table.by_index[index]
            assert (series.index, series.direction) == (index, flow.direction)
            assert series.is_pending == (self.evidence[slot] is None)
        assert [each.bound for each in table.by_index] == bound
        assert len(set(table._free)) == len(table._free)
        assert not any(bound[index] for index in table._free)
        in_use = {each.index for each in (*table.shown(), *table.waiting())}
        left = {n for n, count in enumerate(bound) if count} - in_use
        assert in_use | left | set(table._free) == set(range(len(bound)))
        assert not in_use & set(table._free)

    def teardown(self) -> None:
        for slot in list(self.flows):
            self.fold.gone(slot, self.now)
        assert not any(each.active_connections for each in self.fold.domains())
        assert not any(each.bound for each in self.fold._table.by_index)


def _plus(one: Count, other: Count) -> Count:
    return Count(one.packets + other.packets, one.bytes + other.bytes)


TestFoldMachine = FoldMachine.TestCase
TestFoldMachine.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def test_forty_thousand_junk_names_keep_the_memory_flat() -> None:
    fold = Fold(64, Budget(20, 3600.0, 0.0), AddedLabels((), Scopes()), WALL_S)

    def flood(names: range) -> None:
        for number in names:
            slot = number % 64
            now = Now(WALL_S + number / 1000, number / 1000)
            if number >= 64:
                fold.gone(slot, now)
            fold.opened(Flow(slot, 0, 1, 4, 6, FLOW_OPENER, b"\1" * 4, b"\2" * 4, 1, 2))
            fold.add([Change(slot, head_of(), 1, 100)], now)
            verdict = Verdict(slot, f"junk-{number:050}.example", SOURCES[0])
            fold.decide(verdict, Count(1, 100), now)
            fold.add([Change(slot, head_of(), 1, 1000 + number % 7)], now)
            if number % 500 == 0:
                fold.swept(now)

    flood(range(20_000))
    indexes = len(fold._table.by_index)
    tracemalloc.start()
    flood(range(20_000, 60_000))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 1 << 20, "what replaced the names of before, which were not traced"
    assert len(fold._table.by_index) <= max(indexes, 20 + 64 + 5)
    assert len(fold.domains()) <= 20 + 3
    assert fold.explained(0).packets == 120_000
