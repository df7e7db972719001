"""The real exporter pushes to a real OpenTelemetry Collector and to a real Prometheus 3."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.collector_process import Collector, Point
from tests.e2e.exporter_process import Audit, Exporter
from tests.e2e.metrics import Metrics
from tests.e2e.net import End, Network
from tests.e2e.parts import PROMETHEUS_3, http_get
from tests.e2e.prometheus_server import OTLP_RECEIVER, Prometheus
from tests.e2e.traffic import Flood
from tests.e2e.waiting import wait_until

pytestmark = pytest.mark.parts

OF_THE_TARGET = {
    "job",
    "instance",
    "otel_scope_name",
    "otel_scope_version",
    "otel_scope_schema_url",
}
"""Labels that a Collector adds."""

OUTAGE_S = 180.0
DEFAULT_INTERVAL_S = 10
CHANGES = ("ayaflow_last_fold", "ayaflow_otlp_", "ayaflow_build_info")
"""What differs between a scrape and a push, even at rest, or is a resource attribute in OTLP."""

Series = tuple[str, tuple[tuple[str, str], ...]]


@pytest.fixture
def ends(network: Network) -> tuple[End, End]:
    """(peer, host) on a wire without offloads; the exporter counts on the host's end."""
    return network.wire(network.namespace("peer"), network.namespace("host"))


def exporter(host: End, folder: Path, *flags: str) -> Exporter:
    history = ("--history.path", str(folder / "history.db"), "--history.interval", "1s")
    return Exporter(host.namespace, "--interface", "eth0", *history, *flags)


def samples_of(metrics: Metrics) -> dict[Series, float]:
    return {
        (
            sample.name,
            tuple(
                sorted(
                    (key, str(float(value)) if key == "le" else value)
                    for key, value in sample.labels.items()
                    if key not in OF_THE_TARGET
                )
            ),
        ): sample.value
        for sample in metrics.all()
        if sample.name.startswith("ayaflow_")
    }


def interval_times_ns(folder: Path) -> list[int]:
    """When each interval of the history ended, in whole microseconds as they are pushed."""
    connection = sqlite3.connect(f"file:{folder}/history.db?mode=ro", uri=True)
    try:
        query = "SELECT wall_s FROM intervals ORDER BY id"
        return [round(wall_s * 1e6) * 1000 for (wall_s,) in connection.execute(query)]
    finally:
        connection.close()


def check_each_interval_once(points: list[Point], folder: Path) -> list[Point]:
    """Every one in order, at its own time. Returns the points that came again."""
    times = [point.time_ns for point in points]
    assert times == sorted(times)
    assert sorted(set(times)) == interval_times_ns(folder)
    seen: dict[tuple[object, int], Point] = {}
    again = []
    for point in points:
        before = seen.setdefault((point.series, point.time_ns), point)
        if before is not point:
            assert (before.value, before.start_ns) == (point.value, point.start_ns)
            again.append(point)
    return again


def packets_at_last(points: list[Point]) -> int:
    sums: Counter[int] = Counter()
    for point in points:
        if point.metric == "ayaflow.packets" and point.labels["direction"] == "ingress":
            sums[point.time_ns] += int(point.value)
    return sums[max(sums)]


def wait_for_all(running: Exporter, collector: Collector) -> Metrics:
    """Until the Collector has what is shown; traffic rests."""

    def is_there() -> Metrics:
        shown = running.scrape()
        assert shown.value("ayaflow_otlp_backlog_seconds") == 0
        pushed = packets_at_last(collector.points())
        assert pushed == shown.sum("ayaflow_packets_total", direction="ingress")
        return shown

    return wait_until(is_there, timeout_s=60)


def has_backlog(running: Exporter, seconds: float) -> bool:
    return running.scrape().value("ayaflow_otlp_backlog_seconds") > seconds


def has_more_than(collector: Collector, points: int) -> bool:
    return len(collector.points()) > points


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_collector_shows_the_names_and_values_of_a_scrape(
    ends: tuple[End, End], flood: Flood, tmp_path: Path, protocol: str
) -> None:
    peer, host = ends
    with Collector(tmp_path / "collector", host.namespace) as collector:
        port = collector.grpc_port if protocol == "grpc" else collector.http_port
        flags = ("--otlp.endpoint", f"http://127.0.0.1:{port}", "--otlp.protocol", protocol)
        with exporter(host, tmp_path, *flags) as running:
            audit = Audit(running, host)
            flood.send(peer, "--flows", "100", "--count", "20000")
            audit.verify()

            def same() -> None:
                shown = samples_of(running.scrape())
                passed_on = samples_of(Metrics(collector.metrics()))
                names = {name for name, _ in shown if not name.startswith("ayaflow_build_info")}
                assert {name for name, _ in passed_on} == names
                for series, value in shown.items():
                    if not series[0].startswith(CHANGES) and "_per_second" not in series[0]:
                        assert passed_on[series] == value, series

            wait_until(same, timeout_s=20)


def test_an_outage_of_minutes_leaves_no_gap_and_nothing_comes_twice(
    ends: tuple[End, End], flood: Flood, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    peer, host = ends
    collector = Collector(tmp_path / "collector", host.namespace)
    endpoint = ("--otlp.endpoint", f"http://127.0.0.1:{collector.http_port}")
    collector.start()
    with exporter(host, tmp_path, *endpoint) as running:
        flooding = flood.start(peer, "--flows", "50", "--pps", "1000", "--count", "185000")
        wait_until(lambda: len(collector.points()) > 100, timeout_s=20)
        collector.stop()
        flood.sent(flooding, timeout_s=240)
        backlog_s = running.scrape().value("ayaflow_otlp_backlog_seconds")
        assert backlog_s > OUTAGE_S - 10
        had = len(collector.points())
        collector.start()
        began = time.monotonic()
        wait_until(lambda: len(collector.points()) > had, timeout_s=30)
        first = time.monotonic()
        wait_for_all(running, collector)
        took_s = time.monotonic() - first
    figure(
        f"{backlog_s} intervals of a second caught up in {took_s:.1f} s, once the next try had come"
        f" ({first - began:.1f} s): {backlog_s / took_s * DEFAULT_INTERVAL_S:.0f} times real time"
        " with the default interval"
    )
    assert check_each_interval_once(collector.points(), tmp_path) == []
    collector.stop()


def test_killed_in_the_middle_of_catching_up_one_request_comes_again(
    ends: tuple[End, End], flood: Flood, tmp_path: Path
) -> None:
    peer, host = ends
    collector = Collector(tmp_path / "collector", host.namespace)
    endpoint = ("--otlp.endpoint", f"http://127.0.0.1:{collector.http_port}")
    running = exporter(host, tmp_path, *endpoint)
    running.start()
    running.wait_ready()
    flood.send(peer, "--flows", "500", "--pps", "2000", "--count", "60000")
    kills = 3
    for _ in range(kills):
        wait_until(partial(has_backlog, running, 10), 30)
        collector.start()
        wait_until(partial(has_more_than, collector, len(collector.points())), 30, poll_s=0.005)
        running.kill()
        running.check_words()
        collector.stop()
        running.close()
        running = exporter(host, tmp_path, *endpoint)
        running.start()
        running.wait_ready()
    collector.start()
    wait_for_all(running, collector)
    running.stop()
    running.close()
    again = check_each_interval_once(collector.points(), tmp_path)
    assert len({point.time_ns for point in again}) <= kills
    collector.stop()


def test_prometheus_takes_a_whole_catch_up_without_rejecting_a_sample(
    ends: tuple[End, End], flood: Flood, tmp_path: Path
) -> None:
    peer, host = ends
    prometheus = Prometheus(
        PROMETHEUS_3, tmp_path / "prometheus", None, *OTLP_RECEIVER, namespace=host.namespace
    )
    url = f"http://127.0.0.1:{prometheus.port}/api/v1/otlp"
    with exporter(host, tmp_path, "--otlp.endpoint", url) as running:
        flood.send(peer, "--flows", "50", "--pps", "1000", "--count", "30000")
        wait_until(lambda: running.scrape().value("ayaflow_otlp_backlog_seconds") > 30, 60)
        prometheus.start()
        wait_until(lambda: running.scrape().value("ayaflow_otlp_backlog_seconds") == 0, 60)
        shown = running.scrape()
        assert shown.sum("ayaflow_otlp_exports_total", result="accepted") >= 30
        for result in ("partial", "dropped"):
            assert shown.sum("ayaflow_otlp_exports_total", result=result) == 0
        expected = shown.sum("ayaflow_bytes_total", direction="ingress")
        query = 'sum(ayaflow_bytes_total{direction="ingress"})'
        wait_until(lambda: prometheus.value(query) == expected, 10)
        counted = prometheus.value("max(count_over_time(ayaflow_interface_bytes_total[10m]))")
        assert counted >= len(interval_times_ns(tmp_path)) - 1
    own = Metrics(http_get(host.namespace, prometheus.port, "/metrics")[1].decode())
    for name in (
        "out_of_order_samples_total",
        "out_of_bound_samples_total",
        "too_old_samples_total",
    ):
        assert own.sum(f"prometheus_tsdb_{name}") == 0
    prometheus.stop()
