"""Adds what the kernel counted to the series of each direction and domain; nothing is ever taken
away.

The fold is pure: it reads no clock, no file and no map. Every change that the flow table reports,
and every packet that has no flow, is added to exactly one series, so that the series, with what
those that left had counted, sum to what the kernel counted.

A flow whose domain is not known yet is counted as pending, which is no counter but a gauge: with
the verdict all that it has counted moves to its domain at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from exporter.capture.flow_table import Change
from exporter.capture.records import FLOW_ENDED, FLOW_HEAD_FLAGS, FLOW_OPENER, DeviceTotals, Flow
from exporter.clock import Now
from exporter.counts.budget import Budget
from exporter.counts.evidence import NO_FLOW, UNNAMED, Evidence, evidence_of
from exporter.counts.other_names import OtherNames
from exporter.counts.rows import Row
from exporter.counts.series import Series, SeriesTable
from exporter.counts.snapshot import DIRECTIONS, AttributedBytes, Count, DomainCounts
from exporter.memory import zeros
from exporter.names.attribution import Verdict
from exporter.names.domains import OTHER, RESERVED, UNKNOWN
from exporter.names.scope import AddedLabels

_ENDED = FLOW_ENDED << FLOW_HEAD_FLAGS
_BOTH = range(len(DIRECTIONS))


class Fold:
    """The cumulative counts of all series, and which of them each flow belongs to."""

    def __init__(
        self,
        slots: int,
        budget: Budget,
        labels: AddedLabels,
        created_s: float,
        shown_as: Callable[[str], str] = str,
    ) -> None:
        """*slots*: of the flow table; *created_s*: seconds since the epoch; *shown_as*: what a
        domain that was shown before, maybe by other settings, is shown as.
        """
        self.label_names = labels.names
        self._shown_as = shown_as
        self._labels = labels
        self._table = SeriesTable(budget, (UNKNOWN,) * len(labels.names), created_s)
        self._series_of = zeros("I", slots)
        self._evidence_of = zeros("B", slots)
        self._is_active = zeros("B", slots)
        self._names = OtherNames(slots)
        self._evidence = Evidence()
        self._without_flow: dict[tuple[int, int], Count] = {}

    def change_domains(
        self, domains_max: int, idle_s: float, shown_as: Callable[[str], str], now: Now
    ) -> None:
        """Goes on with other settings: series that are not to be shown any more leave at once."""
        self._shown_as = shown_as
        self._table.change(domains_max, idle_s, self._may_stay, now)

    def _may_stay(self, domain: str) -> bool:
        return domain in RESERVED or self._shown_as(domain) == domain

    def weights(self, now: Now) -> dict[str, float]:
        """What each domain with a series weighs in the budget."""
        return self._table.weights(now)

    def state(self) -> dict[str, Any]:
        """What `restore` takes besides weights and the rows of domains, for JSON."""
        return {
            **self._evidence.state(),
            "label_names": self.label_names,
            "evicted": [[each.packets, each.bytes] for each in self._table.evicted],
            "domains_evicted": self.domains_evicted,
            "without_flow": [
                [*where, each.packets, each.bytes] for where, each in self._without_flow.items()
            ],
            "pending": [[each.packets, each.bytes] for each in map(self.pending, _BOTH)],
        }

    def restore(
        self,
        state: Mapping[str, Any],
        rows: Iterable[Row],
        weights: Mapping[str, float],
        now: Now,
        *,
        same_map: bool = False,
    ) -> None:
        """Goes on from what another process folded. What was pending has no name any more.

        *rows*: of domains; *weights*: of domains, as far as they are known; *same_map*: the totals
        are those that it counted with, else they begin at nothing.
        """
        self._evidence.restore(state)
        for direction in _BOTH:
            self._table.add_evicted(direction, *state["evicted"][direction])
            self.add_unnamed(direction, *state["pending"][direction])
        self._table.evicted_before = state["domains_evicted"]
        if tuple(state.get("label_names", self.label_names)) == self.label_names:
            self._table.restore(rows, weights, self._may_stay, now)
        else:
            self._table.leave_behind(rows, now)
        if same_map:
            for slot, direction, packets, wire_bytes in state["without_flow"]:
                self._without_flow[slot, direction] = Count(packets, wire_bytes)

    @property
    def columns(self) -> tuple[memoryview[int], memoryview[int]]:
        """Whose each slot's flow is: the number of its series, and the evidence, 0 without a flow.

        `take_over` reads them again.
        """
        return self._series_of, self._evidence_of

    def series_domains(self) -> list[str]:
        """The domain of each series, by the numbers in `columns`."""
        return self._table.domains_by_index()

    def take_over(
        self,
        flows: Iterable[tuple[Flow, bool]],
        domains: Sequence[str],
        slots: Iterable[int],
        now: Now,
    ) -> None:
        """Binds flows again whose `columns` are those of another process; its counts of them were
        restored before.

        *flows*: each with whether it is open; *domains*: its `series_domains`; *slots*: all for
        which the columns hold something.
        """
        stale = {slot for slot in slots if self._evidence_of[slot]}
        for flow, is_open in flows:
            slot = flow.slot
            evidence = self._evidence_of[slot] or UNNAMED
            domain = domains[self._series_of[slot]] if self._evidence_of[slot] else UNKNOWN
            if domain not in RESERVED:
                domain = self._shown_as(domain)
            series = self._table.of(flow.direction, domain, self._labels.of(flow), now)
            self._series_of[slot] = self._table.bind(series)
            self._evidence_of[slot] = evidence
            if is_open and flow.flags & FLOW_OPENER and not flow.flags & FLOW_ENDED:
                self._is_active[slot] = 1
                series.active_connections += 1
            stale.discard(slot)
        for slot in stale:
            self._series_of[slot] = 0
            self._evidence_of[slot] = NO_FLOW

    def add_unnamed(self, direction: int, packets: int, wire_bytes: int) -> None:
        """Adds what no flow explains to what is unknown."""
        series = self._table.unknown[direction]
        series.packets += packets
        series.bytes += wire_bytes
        self._evidence.add(direction, UNNAMED, wire_bytes)

    def opened(self, flow: Flow) -> None:
        """From now on the flow's counts are pending, until `decide` says whose they are."""
        series = self._table.pending(flow.direction, self._labels.of(flow))
        self._series_of[flow.slot] = self._table.bind(series)
        self._evidence_of[flow.slot] = UNNAMED
        if flow.flags & FLOW_OPENER and not flow.flags & FLOW_ENDED:
            self._is_active[flow.slot] = 1
            series.active_connections += 1

    def decide(self, verdict: Verdict, counted: tuple[int, int], now: Now) -> None:
        """The flow belongs to a domain. *counted*: packets and bytes added since it was opened.

        If it was pending, that moves along; if it had a domain, only what follows is the new one's.
        A flow that is gone, whose payload came late, has nothing to decide.
        """
        slot, domain, source, is_expected = verdict
        packets, wire_bytes = counted
        if not self._evidence_of[slot]:
            return
        before = self._table.by_index[self._series_of[slot]]
        evidence = evidence_of(source, is_expected=is_expected)
        self._evidence_of[slot] = evidence
        after = self._table.of(before.direction, domain, before.labels, now)
        if after.domain == OTHER and domain not in RESERVED:
            self._names.remember(slot, domain, wire_bytes)
            if before.is_pending and self._table.weigh(domain, wire_bytes, now):
                after = self._table.of(before.direction, domain, before.labels, now)
                after.weighed += wire_bytes
        elif not before.is_pending:  # which has no other name yet
            self._names.forget(slot)
        self._rebind(slot, before, after, now)
        if before.is_pending:
            before.packets -= packets
            before.bytes -= wire_bytes
            after.packets += packets
            after.bytes += wire_bytes
            self._evidence.add(after.direction, evidence, wire_bytes)

    def _rebind(self, slot: int, before: Series, after: Series, now: Now) -> None:
        if self._is_active[slot]:
            self._table.connections_of(before, now).active_connections -= 1
            self._table.connections_of(after, now).active_connections += 1
        if after is not before:
            self._series_of[slot] = self._table.bind(after)
            self._table.unbind(before)

    def _contest(self, slot: int, series: Series, wire_bytes: int, now: Now) -> Series:
        """The flow counts again whose domain has no series, or has one no longer."""
        domain = series.domain if series.has_left else self._names.get(slot)
        if domain is None:
            return series
        domain = self._shown_as(domain)
        has_series = self._table.weigh(domain, wire_bytes, now)
        after = self._table.of(series.direction, domain, series.labels, now)
        if has_series and after.domain != OTHER:
            after.weighed += wire_bytes
        if after.domain == OTHER and domain != OTHER:
            self._names.remember(slot, domain, wire_bytes)
        else:
            self._names.forget(slot)
        if after is not series:
            self._rebind(slot, series, after, now)
        return after

    def ended(self, slot: int, now: Now) -> None:
        """The flow's connection is closed, or has been silent for too long."""
        if self._is_active[slot]:
            self._is_active[slot] = 0
            series = self._table.by_index[self._series_of[slot]]
            self._table.connections_of(series, now).active_connections -= 1

    def gone(self, slot: int, now: Now) -> None:
        """The flow has left the table: nothing of it will be added any more."""
        self.ended(slot, now)
        self._table.unbind(self._table.by_index[self._series_of[slot]])
        self._series_of[slot] = 0
        self._evidence_of[slot] = NO_FLOW
        self._names.forget(slot)

    def add(self, changes: Iterable[Change], now: Now) -> None:
        """Adds what flows have counted; each was `opened` before."""
        by_index, series_of, evidence_of = self._table.by_index, self._series_of, self._evidence_of
        known_by: defaultdict[tuple[int, int], int] = defaultdict(int)
        for slot, head, packets, wire_bytes in changes:
            series = by_index[series_of[slot]]
            if series.contested:
                series = self._contest(slot, series, wire_bytes, now)
            series.packets += packets
            series.bytes += wire_bytes
            if not series.is_pending:
                known_by[series.direction, evidence_of[slot]] += wire_bytes
            if head & _ENDED:
                self.ended(slot, now)
        for of, wire_bytes in known_by.items():
            self._evidence.add(*of, wire_bytes)

    def add_without_flow(self, device_slot: int, direction: int, totals: DeviceTotals) -> None:
        """Adds what has no flow: what found no room in the table, and what is not IP."""
        packets = totals.overflow_packets + totals.non_ip_packets
        wire_bytes = totals.overflow_bytes + totals.non_ip_bytes
        before = self._without_flow.get((device_slot, direction), Count())
        self.add_unnamed(direction, packets - before.packets, wire_bytes - before.bytes)
        self._without_flow[device_slot, direction] = Count(packets, wire_bytes)

    def swept(self, now: Now) -> None:
        """All changes of a sweep are added: the budget learns of them."""
        self._table.weigh_own(now)

    def explained(self, direction: int) -> Count:
        """All that was added, wherever it is now."""
        return self._table.explained(direction)

    def evicted(self, direction: int) -> Count:
        """What series that left had counted."""
        return self._table.evicted[direction]

    @property
    def domains_evicted(self) -> int:
        """How many times a domain's series have left."""
        return self._table.domains_evicted

    def pending(self, direction: int) -> Count:
        """What flows without a verdict have counted."""
        return self._table.pending_count(direction)

    def unexpected_bytes(self, direction: int) -> int:
        """Bytes of domains that were not expected."""
        return self._evidence.unexpected_bytes(direction)

    def attributed(self) -> tuple[AttributedBytes, ...]:
        """How the names behind all bytes were known."""
        return self._evidence.attributed()

    def domains(self) -> tuple[DomainCounts, ...]:
        """Every series, as the outputs see it."""
        return self._table.domains()
