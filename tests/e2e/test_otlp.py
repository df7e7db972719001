"""The real exporter pushes to a receiver made from the official protobuf services.

tests/e2e/test_otlp_collector.py does the same with a real Collector (`make test-parts`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.exporter_process import Audit, Exporter
from tests.e2e.metrics import Metrics
from tests.e2e.net import End, Network
from tests.e2e.otlp_receiver import Point, Receiver, repeated
from tests.e2e.traffic import Flood
from tests.e2e.waiting import wait_until

PACKETS = "ayaflow.packets"
PROTOBUF, GRPC = "google/_upb", "grpc/_cython"
"""Libraries that pushing loads, as /proc/PID/maps names them."""

OUTSIDE = ("ayaflow_build_info", "ayaflow_dns_lookup_duration_seconds")
"""What is a resource attribute in OTLP, and what is one point there and many samples here."""

Series = tuple[str, tuple[tuple[str, str], ...]]


@pytest.fixture
def ends(network: Network) -> tuple[End, End]:
    """(peer, host) on a wire without offloads; the exporter counts on the host's end."""
    return network.wire(network.namespace("peer"), network.namespace("host"))


@pytest.fixture
def receiver(ends: tuple[End, End]) -> Iterator[Receiver]:
    """In the exporter's namespace."""
    namespace = ends[1].namespace
    made = namespace.inside(Receiver)
    namespace.inside(made.start)
    yield made
    made.stop()


def exporter(host: End, folder: Path, *flags: str) -> Exporter:
    history = ("--history.path", str(folder / "history.db"), "--history.interval", "1s")
    return Exporter(host.namespace, "--interface", "eth0", *history, *flags)


def series_at(points: list[Point], time_ns: int) -> dict[Series, float]:
    """By the names that /metrics has, without `_total`."""
    return {
        (point.name.replace(".", "_"), point.attributes): point.value
        for point in points
        if point.time_ns == time_ns
    }


def shown_series(metrics: Metrics) -> set[Series]:
    return {
        (sample.name.removesuffix("_total"), tuple(sorted(sample.labels.items())))
        for sample in metrics.all()
        if sample.name.startswith("ayaflow_") and not sample.name.startswith(OUTSIDE)
    }


def received_packets(receiver: Receiver) -> int:
    """The sum of the ingress packets at the last time that was pushed."""
    sums: Counter[int] = Counter()
    for point in receiver.points():
        if point.name == PACKETS and ("direction", "ingress") in point.attributes:
            sums[point.time_ns] += int(point.value)
    return sums[max(sums)] if sums else 0


def check_no_counter_goes_back(points: list[Point]) -> None:
    """Whatever process pushed it; and that times only go forward."""
    seen: dict[tuple[str, object, int], tuple[int, float]] = {}
    for point in points:
        if not point.start_ns:
            continue
        key = (point.name, point.attributes, point.start_ns)
        time_ns, value = seen.get(key, (0, 0.0))
        assert point.time_ns > time_ns, f"{key} came at {point.time_ns} after {time_ns}"
        assert point.value >= value, f"{key}: {point.value} after {value}"
        seen[key] = (point.time_ns, point.value)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_what_is_pushed_is_what_a_scrape_shows(
    ends: tuple[End, End], receiver: Receiver, flood: Flood, tmp_path: Path, protocol: str
) -> None:
    peer, host = ends
    url = receiver.grpc_url if protocol == "grpc" else receiver.http_url
    flags = ("--otlp.endpoint", url, "--otlp.protocol", protocol, "--otlp.compression", "gzip")
    with exporter(host, tmp_path, *flags) as running:
        audit = Audit(running, host)
        flood.send(peer, "--flows", "100", "--count", "20000")
        shown = audit.verify()
        wait_until(
            lambda: (
                received_packets(receiver)
                == shown.sum("ayaflow_packets_total", direction="ingress")
            )
        )
    points = receiver.points()
    final = series_at(points, max(point.time_ns for point in points))
    left_out = {("ayaflow_dns_lookup_duration_seconds", ())}
    of_process = {(f"process_{name}", ()) for name in ("cpu_seconds", "resident_memory_bytes")}
    assert shown_series(shown) == final.keys() - left_out - of_process
    assert of_process <= final.keys()
    for name in ("ayaflow_packets", "ayaflow_bytes", "ayaflow_interface_bytes"):
        for sample in shown.samples(f"{name}_total", direction="ingress"):
            assert final[name, tuple(sorted(sample.labels.items()))] == sample.value
    resource = {
        each.key: each.value.string_value
        for each in receiver.requests[-1].resource_metrics[0].resource.attributes
    }
    assert resource["service.name"] == "ayaflow-exporter"
    assert resource["service.instance.id"] == resource["host.name"]
    if protocol != "grpc":  # there the library unpacks it before the receiver sees the headers
        assert receiver.headers[-1]["content-encoding"] == "gzip"


def test_an_outage_and_a_kill_are_caught_up_at_their_own_times(
    ends: tuple[End, End], receiver: Receiver, flood: Flood, tmp_path: Path
) -> None:
    peer, host = ends
    flag = ("--otlp.endpoint", receiver.http_url)
    flooding = flood.start(peer, "--flows", "50", "--pps", "2000", "--count", "16000")
    running = exporter(host, tmp_path, *flag)
    running.start()
    running.wait_ready()
    wait_until(lambda: len(receiver.requests) >= 2)
    receiver.stop()
    wait_until(lambda: running.scrape().value("ayaflow_otlp_backlog_seconds") >= 3, timeout_s=20)
    running.kill()
    running.check_words()
    running.close()
    with exporter(host, tmp_path, *flag) as second:
        assert second.scrape().sum("ayaflow_otlp_export_failures_total") > 0
        flood.sent(flooding)
        host.namespace.inside(receiver.start)

        def all_pushed() -> None:
            shown = second.scrape()
            assert received_packets(receiver) == shown.sum(
                "ayaflow_packets_total", direction="ingress"
            )

        wait_until(all_pushed, timeout_s=30)
        assert second.scrape().sum("ayaflow_otlp_export_failures_total", reason="expired") == 0
    points = receiver.points()
    again = repeated(points)
    assert len({point.time_ns for point in again}) <= 1, "more than the request in flight"
    check_no_counter_goes_back(
        [p for n, p in enumerate(points) if p not in again or p in points[n + 1 :]]
    )
    times = sorted({point.time_ns for point in points})
    longest_s = max(later - time for time, later in pairwise(times)) / 1e9
    assert longest_s < 5, f"intervals of 1 s, and none for {longest_s} s"


def test_a_stop_pushes_what_came_last(
    ends: tuple[End, End], receiver: Receiver, flood: Flood, tmp_path: Path
) -> None:
    peer, host = ends
    flags = ("--otlp.endpoint", receiver.http_url, "--history.interval", "1h")
    with exporter(host, tmp_path, *flags) as running:
        audit = Audit(running, host)
        flood.send(peer, "--flows", "10", "--count", "5000")
        shown = audit.verify()
    assert received_packets(receiver) == shown.sum("ayaflow_packets_total", direction="ingress")


def test_a_collector_that_swallows_everything_holds_up_nothing(
    ends: tuple[End, End], flood: Flood, tmp_path: Path
) -> None:
    peer, host = ends
    peer.namespace.ip("route add blackhole 192.0.2.0/24")
    host.namespace.ip(f"route add 192.0.2.0/24 via {peer.ipv4}")
    silent = ("--otlp.endpoint", "http://192.0.2.1:4318", "--otlp.timeout", "1s")
    with exporter(host, tmp_path, *silent) as running:
        wait_until(lambda: running.scrape().sum("ayaflow_otlp_export_failures_total") > 0)
        flood.send(peer, "--flows", "10", "--count", "5000")
        assert running.scrape().sum("ayaflow_packets_total", direction="ingress") >= 5000


def test_of_pushing_nothing_is_loaded_without_it(
    ends: tuple[End, End], receiver: Receiver, tmp_path: Path
) -> None:
    def loaded(running: Exporter) -> str:
        return Path(f"/proc/{running.pid}/maps").read_text()

    host = ends[1]
    with exporter(host, tmp_path) as running:
        assert PROTOBUF not in loaded(running)
    with exporter(host, tmp_path, "--otlp.endpoint", receiver.http_url) as running:
        assert PROTOBUF in loaded(running)
        assert GRPC not in loaded(running)
