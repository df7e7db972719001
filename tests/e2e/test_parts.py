"""The harness itself: the real Prometheus and the real Collector do what other tests rely on."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.collector_process import Collector
from tests.e2e.net import Network
from tests.e2e.parts import PROMETHEUS_3
from tests.e2e.prometheus_server import OTLP_RECEIVER, Prometheus, scrape
from tests.e2e.waiting import wait_until

START_NS = 1_764_345_600_000_000_000
AT_NS = START_NS + 10_123_456_789


def push(port: int, path: str, time_ns: int, value: int) -> int:
    """Sends a counter and a histogram over OTLP as JSON; the status."""
    point = {"startTimeUnixNano": str(START_NS), "timeUnixNano": str(time_ns)}
    labels = [{"key": "domain", "value": {"stringValue": "x: Str(y).example.com"}}]
    cumulative = {"aggregationTemporality": 2}
    metrics: list[dict[str, Any]] = [
        {
            "name": "ayaflow.bytes",
            "unit": "By",
            "sum": {
                **cumulative,
                "isMonotonic": True,
                "dataPoints": [{**point, "attributes": labels, "asInt": str(value)}],
            },
        },
        {
            "name": "ayaflow.lookups",
            "unit": "s",
            "histogram": {
                **cumulative,
                "dataPoints": [
                    {
                        **point,
                        "count": "6",
                        "sum": 1.5,
                        "bucketCounts": ["1", "2", "3"],
                        "explicitBounds": [0.1, 1],
                    }
                ],
            },
        },
    ]
    body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parts
def test_prometheus_scrapes_in_a_namespace_and_keeps_its_data(
    network: Network, tmp_path: Path
) -> None:
    namespace = network.namespace("host")
    prometheus = Prometheus(PROMETHEUS_3, tmp_path / "p", namespace=namespace)
    target = f"127.0.0.1:{prometheus.port}"
    with Prometheus(
        PROMETHEUS_3, tmp_path / "q", scrape(target, 0.2), namespace=namespace
    ) as watching:
        wait_until(lambda: watching.value("up") == 0)
        with prometheus:
            wait_until(lambda: watching.value("up") == 1)
    with watching:
        assert {point[1] for point in watching.query("up[5m]")[0].points} == {0.0, 1.0}


@pytest.mark.parts
def test_the_collector_tells_of_every_point_it_was_sent_also_before_a_restart(
    tmp_path: Path,
) -> None:
    with Collector(tmp_path / "collector") as collector:
        assert push(collector.http_port, "/v1/metrics", AT_NS, 5) == 200
        wait_until(lambda: len(collector.points()) == 2)
        assert 'domain="x: Str(y).example.com"' in collector.metrics()
    with collector:
        assert push(collector.http_port, "/v1/metrics", AT_NS + 1, 12345) == 200
        wait_until(lambda: len(collector.points()) == 4)
    counters = [point for point in collector.points() if point.kind == "Sum"]
    assert [(point.time_ns, point.value) for point in counters] == [(AT_NS, 5), (AT_NS + 1, 12345)]
    assert {point.start_ns for point in counters} == {START_NS}
    assert counters[0].series == ("ayaflow.bytes", (("domain", "x: Str(y).example.com"),))
    histogram = collector.points()[1]
    assert (histogram.metric, histogram.unit) == ("ayaflow.lookups", "s")
    assert (histogram.buckets, histogram.value) == ([1, 2, 3], 1.5)


@pytest.mark.parts
def test_prometheus_3_takes_otlp(tmp_path: Path) -> None:
    with Prometheus(PROMETHEUS_3, tmp_path / "p", None, *OTLP_RECEIVER) as prometheus:
        assert push(prometheus.port, "/api/v1/otlp/v1/metrics", AT_NS, 5) == 200
        assert prometheus.value("ayaflow_bytes_total", AT_NS / 1e9 + 1) == 5
