"""Every metric: its name, kind, unit and labels, and which value of which row it shows.

/metrics and OTLP make their output from `families`, and backfill a series at a time from the same
ENTRIES, so a metric has the same name, unit and value wherever it is seen. Left out is what is of
no row: build_info, and what prometheus_client adds to a scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from exporter.counts.rows import DOMAIN, LABEL_NAMES, Rates, Row
from exporter.outputs import descriptions

Labels = tuple[str, ...]


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


@dataclass(frozen=True, slots=True)
class Histogram:
    """The one series of a histogram without labels."""

    bounds: tuple[float, ...]
    """Upper bounds, ascending, without infinity."""
    counts: tuple[int, ...]
    """In each bucket alone, not in those below it; one more than bounds."""
    sum: float
    created_s: float


class Columns(NamedTuple):
    """The series of a counter or a gauge: a scrape has thousands, which are not objects each."""

    labels: Sequence[Labels] = ()
    """The values of the labels of each; one object for all metrics that have the same."""
    values: Sequence[int | float] = ()
    created_s: Sequence[float] = ()
    """When each counter began, in seconds since the epoch; 0 of a gauge."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric and its series: columns, or a histogram where the metric is one."""

    metric: Metric
    columns: Columns
    histogram: Histogram | None = None


def families(
    rows: Iterable[Row], rates: Rates, folded_at_s: float | None = None
) -> Iterator[Family]:
    """The metrics of one moment, in a fixed order, but for those without a series.

    *rates*: of every domain, or of none; *folded_at_s*: when the rows were read from the kernel, in
    seconds since the epoch; an interval's wall_s.
    """
    by_family: dict[str, list[Row]] = {}
    for row in rows:
        by_family.setdefault(row.family, []).append(row)
    label_names = next((row.labels for row in by_family.get(LABEL_NAMES, ())), ())
    domains = [row.labels for row in by_family.get(DOMAIN, ())]
    for entry in descriptions.ENTRIES:
        histogram = None
        if entry.source == descriptions.LOOKUPS:
            columns, histogram = Columns(), _histogram(by_family)
        elif entry.source == descriptions.FOLDED_AT:
            columns = Columns() if folded_at_s is None else Columns([()], [folded_at_s], [0.0])
        elif entry.source == descriptions.RATES:
            columns = _rates(domains, rates, entry.value) if rates else Columns()
        elif entry.source == DOMAIN:
            columns = _columns(by_family.get(DOMAIN, ()), domains, entry.value)
        else:
            columns = _first_labels(by_family.get(entry.source, ()), entry)
        if columns.labels or histogram:
            yield Family(_metric(entry, label_names), columns, histogram)


def _metric(entry: descriptions.Entry, label_names: Labels) -> Metric:
    labels = (*entry.labels, *label_names) if entry.has_added_labels else entry.labels
    return Metric(entry.name, entry.help, entry.kind, entry.unit, entry.otlp_unit, labels)


def _columns(rows: Sequence[Row], labels: Sequence[Labels], value: int) -> Columns:
    return Columns(labels, [row.values[value] for row in rows], [row.created_s for row in rows])


def _first_labels(rows: Iterable[Row], entry: descriptions.Entry) -> Columns:
    """Rows of an older exporter may lack values that came later."""
    kept = len(entry.labels)
    rows = [row for row in rows if len(row.values) > entry.value]
    return _columns(rows, [row.labels[:kept] for row in rows], entry.value)


def _rates(domains: Sequence[Labels], rates: Rates, value: int) -> Columns:
    return Columns(domains, [rates[labels][value] for labels in domains], [0.0] * len(domains))


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
