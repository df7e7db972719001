"""Metric families of one moment as OTLP requests: the SDK's data types, the official encoder.

    families ──► parts of at most POINTS_MAX points ──► MetricsData ──► ExportMetricsServiceRequest

Cumulative temporality. Each point has the start time of its own series. The same families at the
same time are the same bytes: what is sent again is the same point.

Source: opentelemetry-proto, opentelemetry/proto/metrics/v1/metrics.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from exporter.outputs.catalogue import Family, Histogram, Metric
from exporter.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )
    from opentelemetry.sdk.metrics.export import Metric as SdkMetric
    from opentelemetry.sdk.resources import Resource

POINTS_MAX = 10_000
"""Of one request: some 1.5 MB, below the 4 MiB that a gRPC server takes unless told otherwise."""


class Encoder:
    """Makes requests, all from one resource. Making one imports the SDK: some 6 MB of memory."""

    def __init__(self, resource: Mapping[str, str], points_max: int = POINTS_MAX) -> None:
        from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._resource: Resource = Resource(dict(resource))
        self._scope = InstrumentationScope("ayaflow-exporter", VERSION)
        self._encode = encode_metrics
        self._points_max = points_max

    def requests(
        self, families: Iterable[Family], time_s: float
    ) -> Iterator[ExportMetricsServiceRequest]:
        """The requests for these families at this time (seconds since the epoch), in order."""
        metrics: list[SdkMetric] = []
        room = self._points_max
        for family in families:
            points = iter(_points(family, _nanoseconds(time_s)))
            while chunk := list(islice(points, room)):
                metrics.append(_metric(family.metric, chunk))
                room -= len(chunk)
                if room == 0:
                    yield self._request(metrics)
                    metrics, room = [], self._points_max
        if metrics:
            yield self._request(metrics)

    def _request(self, metrics: Sequence[SdkMetric]) -> ExportMetricsServiceRequest:
        from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics

        scope = ScopeMetrics(scope=self._scope, metrics=metrics, schema_url="")
        data = MetricsData([ResourceMetrics(self._resource, [scope], schema_url="")])
        return self._encode(data)


def _nanoseconds(seconds: float) -> int:
    # Whole microseconds: what a float of seconds since the epoch can tell apart, and no noise.
    return round(seconds * 1_000_000) * 1_000


def _points(family: Family, time_ns: int) -> Iterator[object]:
    from opentelemetry.sdk.metrics.export import NumberDataPoint

    metric = family.metric
    if family.histogram is not None:
        yield _histogram_point(family.histogram, time_ns)
    is_gauge = metric.kind == "gauge"
    for labels, value, created_s in zip(*family.columns, strict=True):
        yield NumberDataPoint(
            attributes=dict(zip(metric.labels, labels, strict=True)),
            start_time_unix_nano=0 if is_gauge else min(_nanoseconds(created_s), time_ns),
            time_unix_nano=time_ns,
            value=value,
        )


def _histogram_point(histogram: Histogram, time_ns: int) -> object:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    return HistogramDataPoint(
        attributes={},
        start_time_unix_nano=min(_nanoseconds(histogram.created_s), time_ns),
        time_unix_nano=time_ns,
        count=sum(histogram.counts),
        sum=histogram.sum,
        bucket_counts=histogram.counts,
        explicit_bounds=histogram.bounds,
        min=None,  # type: ignore[arg-type]  # not known of the time since the start
        max=None,  # type: ignore[arg-type]
    )


def _metric(metric: Metric, points: list[object]) -> SdkMetric:
    from opentelemetry.sdk.metrics import export

    temporality = export.AggregationTemporality.CUMULATIVE
    make: dict[str, Callable[[], object]] = {
        "gauge": lambda: export.Gauge(points),  # type: ignore[arg-type]
        "counter": lambda: export.Sum(points, temporality, is_monotonic=True),  # type: ignore[arg-type]
        "histogram": lambda: export.Histogram(points, temporality),  # type: ignore[arg-type]
    }
    return export.Metric(
        name=metric.otlp_name,
        description=metric.help,
        unit=metric.otlp_unit,
        data=make[metric.kind](),  # type: ignore[arg-type]
    )
