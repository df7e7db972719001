"""A snapshot as rows: one for each series, in the form that the history keeps.

A row knows no metric: its family says what its labels and values are, and `rows_of` what families
there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from exporter.counts.snapshot import DIRECTIONS, DNS_LOOKUP_BOUNDS_S, Snapshot

DOMAIN = "domain"
RING = "ring"
PROCESS = "process"
LABEL_NAMES = "label_names"
"""The family of one row without values: its labels are what the added labels of domains are called.
They are those of a process, and the history has intervals of others.
"""

Value = int | float


class Row(NamedTuple):
    """One series at one moment."""

    family: str
    labels: tuple[str, ...]
    values: tuple[Value, ...]
    """As `rows_of` has them; at most four."""
    created_s: float
    """When its counters began, in seconds since the epoch; 0 of gauges."""


Rates = Mapping[tuple[str, ...], tuple[float, float]]
"""Packets and bytes a second over the last minute, by the labels of a domain's row."""


class Shown(NamedTuple):
    """What a scrape shows: the rows of one moment, all committed, and what follows from them."""

    folded_at_s: float
    """When the counts were read from the kernel, in seconds since the epoch."""
    rows: Sequence[Row]
    rates: Rates


def rows_of(snapshot: Snapshot) -> list[Row]:
    """Every count of the snapshot that is not worked out from others."""
    return [*_of_traffic(snapshot), *_of_names(snapshot), *_of_exporter(snapshot)]


def _of_traffic(s: Snapshot) -> Iterator[Row]:
    yield Row(LABEL_NAMES, s.label_names, (), 0.0)
    for direction, domain, labels, packets, wire_bytes, connections, created_s in s.domains:
        values = (packets, wire_bytes, connections)
        # A domain's rows are thousands; to make one so takes half the time of a call.
        yield Row._make((DOMAIN, (direction, domain, *labels), values, created_s))
    for device in s.devices:
        counts = (
            device.packets,
            device.bytes,
            device.driver_packets,
            device.overflow_packets,
        )
        yield Row("interface", (device.device, device.direction), counts, device.created_s)
    for each in s.attachments:
        labels = (each.device, each.direction, each.mode)
        yield Row("attached", labels, (int(each.attached), each.programs_before), 0.0)
    for n, direction in enumerate(DIRECTIONS):
        evicted, pending, unaccounted = s.evicted[n], s.pending[n], s.unaccounted[n]
        gone = (evicted.packets, evicted.bytes, s.unexpected_bytes[n])
        yield Row("direction", (direction,), gone, s.created_s)
        unfolded = (pending.packets, pending.bytes, unaccounted.packets, unaccounted.bytes)
        yield Row("unfolded", (direction,), unfolded, 0.0)


def _of_names(s: Snapshot) -> Iterator[Row]:
    for each in s.attributed:
        yield Row("attributed", (each.direction, each.source), (each.bytes,), s.created_s)
    yield from _by_label("names", s.names_learned, s.created_s)
    for read in s.inspected:
        yield Row("inspected", (read.protocol,), (read.packets, read.errors), s.created_s)
    if s.dns is not None:
        yield from _by_label("dns_queries", s.dns.queries, s.created_s)
        yield from _by_label("dns_responses", s.dns.responses, s.created_s)
        lookups = zip(map(str, DNS_LOOKUP_BOUNDS_S), s.dns.lookups, strict=True)
        yield from _by_label("dns_lookups", lookups, s.created_s)
        yield Row("dns", (), (s.dns.timeouts, s.dns.lookups_sum_s), s.created_s)


def _of_exporter(s: Snapshot) -> Iterator[Row]:
    yield from _by_label(RING, s.dropped_events, s.created_s)
    yield from _by_label("history_errors", s.history_errors, s.created_s)
    yield from _by_label("http_requests", s.http_requests, s.created_s)
    if s.otlp is not None:
        yield from _by_label("otlp_exports", s.otlp.exports, s.created_s)
        yield from _by_label("otlp_failures", s.otlp.failures, s.created_s)
        yield Row("otlp", (), (s.otlp.backlog_s,), 0.0)
    reloads = (int(s.reloads.succeeded), s.reloads.succeeded_at_s)
    yield Row("config", (), reloads, 0.0)
    yield Row("exporter", (), (s.domains_evicted,), s.created_s)
    resources = (
        s.flow_table_entries,
        s.flow_table_limit,
        s.kernel_memory_bytes,
        s.stacked_interfaces,
    )
    yield Row("resources", (), resources, 0.0)
    process = (s.process.cpu_s, s.process.resident_bytes)
    yield Row(PROCESS, (), process, s.process.started_s)


def _by_label(family: str, counts: Iterable[tuple[str, int]], created_s: float) -> Iterator[Row]:
    for label, count in counts:
        yield Row(family, (label,), (count,), created_s)
