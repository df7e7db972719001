"""Counters that go on from where another process left them, which keeps none of its own state.

The fold and the devices take up what they had. What is left are counts of the names' room and of
what the outputs do: they are added to what this process counts, in the snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from exporter.counts.rows import RING, Row
from exporter.counts.snapshot import DNS_LOOKUP_BOUNDS_S, OtlpCounts, Snapshot
from exporter.names.attribution import Inspected
from exporter.names.dns_health import DnsHealthCounts

Counts = Iterable[tuple[str, int]]


class Earlier:
    """What was counted before this process."""

    def __init__(self, rows: Iterable[Row], *, same_map: bool = False) -> None:
        """*rows*: as the process before this one left them; *same_map*: the totals in the kernel
        are those that it counted with, so what they say was not before.
        """
        self._values: dict[str, dict[str, tuple[float, ...]]] = {}
        for row in rows:
            if same_map and row.family == RING:
                continue
            label = row.labels[0] if len(row.labels) == 1 else ""
            self._values.setdefault(row.family, {})[label] = row.values

    def plus(self, now: Snapshot) -> Snapshot:
        """The snapshot with what was counted before."""
        return replace(
            now,
            names_learned=self._sums("names", now.names_learned),
            inspected=tuple(map(self._inspected, now.inspected)),
            dns=None if now.dns is None else self._dns(now.dns),
            dropped_events=self._sums(RING, now.dropped_events),
            history_errors=self._sums("history_errors", now.history_errors),
            http_requests=self._sums("http_requests", now.http_requests),
            otlp=None if now.otlp is None else self._otlp(now.otlp),
        )

    def _of(self, family: str) -> Mapping[str, tuple[float, ...]]:
        return self._values.get(family, {})

    def _sums(self, family: str, counts: Counts) -> tuple[tuple[str, int], ...]:
        before = self._of(family)
        return tuple((label, count + int(before.get(label, (0,))[0])) for label, count in counts)

    def _inspected(self, now: Inspected) -> Inspected:
        packets, errors = self._of("inspected").get(now.protocol, (0, 0))
        return Inspected(now.protocol, now.packets + int(packets), now.errors + int(errors))

    def _otlp(self, now: OtlpCounts) -> OtlpCounts:
        return replace(
            now,
            exports=self._sums("otlp_exports", now.exports),
            failures=self._sums("otlp_failures", now.failures),
        )

    def _dns(self, now: DnsHealthCounts) -> DnsHealthCounts:
        timeouts, lookups_sum_s = self._of("dns").get("", (0, 0.0))
        lookups = zip(map(str, DNS_LOOKUP_BOUNDS_S), now.lookups, strict=True)
        return replace(
            now,
            queries=self._sums("dns_queries", now.queries),
            responses=self._sums("dns_responses", now.responses),
            timeouts=now.timeouts + int(timeouts),
            lookups=tuple(count for _, count in self._sums("dns_lookups", lookups)),
            lookups_sum_s=now.lookups_sum_s + lookups_sum_s,
        )
