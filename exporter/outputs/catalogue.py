"""Every metric: its name, kind, unit and labels, and which value of which row it shows.

/metrics and OTLP make their output from `families`, and backfill a series at a time from the same
ENTRIES, so a metric has the same name, unit and value wherever it is seen. Left out is what is of
no row: build_info, and what prometheus_client adds to a scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from exporter.counts.rows import LABEL_NAMES, Row
from exporter.outputs import descriptions

Labels = tuple[str, ...]
Rates = Mapping[Labels, tuple[float, float]]
"""Packets and bytes a second, by the labels of a domain's row."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric is, whoever shows it."""

    name: str
    """As in Prometheus, without `_total`."""
    help: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: Literal["", "bytes", "seconds"]
    """As OpenMetrics means it: the name ends in it."""
    otlp_unit: str
    """In UCUM; empty, not 1, without one: 1 would become a suffix `_ratio` of a gauge."""
    labels: Labels

    @property
    def otlp_name(self) -> str:
        """In OTLP. The translation to Prometheus (OpenTelemetry's specification, "Prometheus and
        OpenMetrics Compatibility") adds no unit that is a word of the name already, and `_total`.
        """
        return self.name.replace("_", ".", 1)


Sample = tuple[Labels, int | float, float]
"""One series of a counter or a gauge: the values of its labels, its own, and when the counter
began, in seconds since the epoch; 0 of a gauge. A scrape makes thousands, so they have no class."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """The one series of a histogram without labels."""

    bounds: tuple[float, ...]
    """Upper bounds, ascending, without infinity."""
    counts: tuple[int, ...]
    """In each bucket alone, not in those below it; one more than bounds."""
    sum: float
    created_s: float


@dataclass(frozen=True, slots=True)
class Family:
    """A metric and its series: samples, or a histogram where the metric is one."""

    metric: Metric
    samples: Sequence[Sample]
    histogram: Histogram | None = None


def families(
    rows: Iterable[Row], rates: Rates, folded_at_s: float | None = None
) -> Iterator[Family]:
    """The metrics of one moment, in a fixed order, but for those without a series.

    *folded_at_s*: when the rows were read from the kernel, in seconds since the epoch; an
    interval's wall_s.
    """
    by_family: dict[str, list[Row]] = {}
    for row in rows:
        by_family.setdefault(row.family, []).append(row)
    label_names = next((row.labels for row in by_family.get(LABEL_NAMES, ())), ())
    for entry in descriptions.ENTRIES:
        found = _samples(entry, by_family, rates, folded_at_s)
        histogram = _histogram(by_family) if entry.source == descriptions.LOOKUPS else None
        if found or histogram:
            yield Family(_metric(entry, label_names), found, histogram)


def _metric(entry: descriptions.Entry, label_names: Labels) -> Metric:
    labels = (*entry.labels, *label_names) if entry.has_added_labels else entry.labels
    return Metric(entry.name, entry.help, entry.kind, entry.unit, entry.otlp_unit, labels)


def _samples(
    entry: descriptions.Entry,
    by_family: Mapping[str, list[Row]],
    rates: Rates,
    folded_at_s: float | None,
) -> Sequence[Sample]:
    value = entry.value
    if entry.source == descriptions.LOOKUPS:
        return ()
    if entry.source == descriptions.RATES:
        domains = [row.labels for row in by_family.get("domain", ())]
        return [(labels, rates[labels][value], 0.0) for labels in domains if labels in rates]
    if entry.source == descriptions.FOLDED_AT:
        return () if folded_at_s is None else [((), folded_at_s, 0.0)]
    rows = by_family.get(entry.source, ())
    if entry.has_added_labels:
        return [(labels, values[value], since) for _, labels, values, since in rows]
    kept = len(entry.labels)
    return [
        (labels[:kept], values[value], since)
        for _, labels, values, since in rows
        if len(values) > value
    ]


def _histogram(by_family: Mapping[str, list[Row]]) -> Histogram | None:
    buckets, rest = by_family.get("dns_lookups"), by_family.get("dns")
    if not buckets or not rest:
        return None
    counts = {float(row.labels[0]): int(row.values[0]) for row in buckets}
    bounds = tuple(sorted(bound for bound in counts if bound != float("inf")))
    beyond = counts.get(float("inf"), 0)
    return Histogram(
        bounds,
        (*(counts[bound] for bound in bounds), beyond),
        rest[0].values[1],
        rest[0].created_s,
    )
