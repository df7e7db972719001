"""One snapshot as metric families, and these as the two formats that a scrape can ask for.

    Snapshot ──► rows ──► catalogue ──► SnapshotCollector ──► text 0.0.4 or OpenMetrics 1.0.0

Names, labels and types are a promise to every dashboard and rule. Nothing is kept from one scrape
to the next: a counter is what the snapshot says, and a series that it no longer has is gone.

Start times (`_created`) are shown in OpenMetrics only. prometheus_client would add them to the text
format as gauges of their own, which look like measurements and are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate

from prometheus_client import (
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.counts.rows import rows_of
from exporter.counts.snapshot import Snapshot
from exporter.outputs.catalogue import Family, families

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """What runs: the labels of `ayaflow_build_info`."""

    version: str
    revision: str
    bcc: str
    kernel: str


def render(snapshot: Snapshot, build: BuildInfo, content_type: str) -> bytes:
    """The whole answer to a scrape, in the format that `content_type` names (TEXT, OPENMETRICS).

    Besides the snapshot it shows what every Python exporter does of its process, from /proc/self.
    """
    openmetrics = content_type == OPENMETRICS
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(snapshot, build, start_times=openmetrics))
    registry.register(PROCESS_COLLECTOR)
    registry.register(PLATFORM_COLLECTOR)
    if openmetrics:
        return bytes(generate_openmetrics(registry))  # type: ignore[no-untyped-call]
    return generate_latest(registry)


class SnapshotCollector:
    """A snapshot as prometheus_client's families, in a fixed order."""

    def __init__(self, snapshot: Snapshot, build: BuildInfo, *, start_times: bool) -> None:
        self._snapshot = snapshot
        self._build = build
        self._start_times = start_times

    def collect(self) -> Iterator[Metric]:
        """Every `ayaflow_` family, the domains' first."""
        s = self._snapshot
        for family in families(rows_of(s), s.rates, s.folded_at_s):
            yield self._of(family)
        yield InfoMetricFamily(
            "ayaflow_build",
            "The exporter's version and commit, and the BCC and kernel it runs on.",
            value=asdict(self._build),
        )

    def _of(self, family: Family) -> Metric:
        metric = family.metric
        if metric.kind == "histogram":
            return _histogram(family)
        if metric.kind == "gauge":
            gauge = GaugeMetricFamily(
                metric.name, metric.help, labels=metric.labels, unit=metric.unit
            )
            for sample in family.samples:
                gauge.add_metric(sample.labels, sample.value)
            return gauge
        counter = CounterMetricFamily(
            metric.name, metric.help, labels=metric.labels, unit=metric.unit
        )
        for sample in family.samples:
            created = sample.created_s if self._start_times else None
            counter.add_metric(sample.labels, sample.value, created=created)
        return counter


def _histogram(family: Family) -> HistogramMetricFamily:
    metric, histogram = family.metric, family.histogram
    shown = HistogramMetricFamily(metric.name, metric.help, unit=metric.unit)
    if histogram is not None:
        bounds = [*map(str, histogram.bounds), "+Inf"]
        below = accumulate(histogram.counts)
        shown.add_metric((), list(zip(bounds, below, strict=True)), histogram.sum)
    return shown
