"""A history becomes blocks, and a real Prometheus answers for a time when it was not running."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from exporter.clock import Now
from exporter.counts.history_store import open_history
from exporter.counts.rows import Row
from tests.e2e.exporter_process import ROOT, Exporter, exporter_command
from tests.e2e.net import Network
from tests.e2e.parts import PROMETHEUS_3, RELEASES, Release
from tests.e2e.prometheus_server import Prometheus, check_increase
from tests.e2e.traffic import Flood
from tests.e2e.waiting import wait_until

INTERVAL_S = 10.0
INTERVALS = 360
STEADY_PACKETS = 30
"""In each interval, of 100 bytes each."""
RESTARTED = 120
"""The interval in which the exporter was restarted and a domain began anew."""
NOBODY = 65534


def rows(number: int, start_s: float) -> list[Row]:
    """What had been counted when an interval ended."""
    packets = STEADY_PACKETS * number
    restarted_s = start_s + RESTARTED * INTERVAL_S - 5
    anew = (restarted_s, number - RESTARTED + 1) if number >= RESTARTED else (start_s, 2 * number)
    return [
        Row("domain", ("egress", "steady.example"), (packets, packets * 100, 1), start_s),
        Row("domain", ("egress", "silent.example"), (7, 700, 0), start_s),
        Row("domain", ("egress", "anew.example"), (anew[1], anew[1] * 60, 1), anew[0]),
        Row("interface", ("eth0", "egress"), (packets, packets * 100, packets, 0), start_s),
        Row("dns_lookups", ("0.001",), (number,), start_s),
        Row("dns_lookups", ("+Inf",), (0,), start_s),
        Row("dns", (), (0, number * 0.0005), start_s),
    ]


def backfill(path: Path, *flags: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        exporter_command("backfill", "--history.path", str(path), *flags),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )


@pytest.mark.parametrize("release", RELEASES)
def test_prometheus_answers_for_a_time_when_it_was_not_running(
    release: Release, tmp_path: Path
) -> None:
    start_s = float(int(time.time()) - 3 * 3600)
    with closing(open_history(tmp_path / "history.db", 86_400.0, 64 << 20)) as history:
        for number in range(INTERVALS + 1):
            at = Now(start_s + number * INTERVAL_S, 1000.0 + number * INTERVAL_S)
            assert history.record(rows(number, start_s), {}, at)
        done = backfill(tmp_path / "history.db", "--since", "4h")
    assert (done.returncode, done.stderr) == (0, b"")
    told = tmp_path / "history.txt"
    told.write_bytes(done.stdout)

    prometheus = Prometheus(release, tmp_path / "prometheus")
    prometheus.load_openmetrics(told)
    with prometheus:
        end_s = start_s + INTERVALS * INTERVAL_S
        steady = '{domain="steady.example",direction="egress"}'
        points = prometheus.query(f"ayaflow_packets_total{steady}[1h]", end_s)[0].points
        expected = [
            (start_s + n * INTERVAL_S, float(STEADY_PACKETS * n))
            for n in range(INTERVALS - len(points) + 1, INTERVALS + 1)
        ]
        assert list(points) == expected
        assert len(points) in (INTERVALS, INTERVALS + 1)  # whether the left end is in, by version
        for window, at_s in (("5m", start_s + 600), ("30m", end_s), ("1m", start_s + 3000)):
            rate = prometheus.value(f"rate(ayaflow_bytes_total{steady}[{window}])", at_s)
            assert rate == pytest.approx(STEADY_PACKETS * 100 / INTERVAL_S)
        grown = prometheus.value(f"increase(ayaflow_packets_total{steady}[30m])", end_s)
        assert grown == pytest.approx(STEADY_PACKETS * 180)
        silent = 'ayaflow_packets_total{domain="silent.example"}'
        assert len(prometheus.query(f"{silent}[1h]", end_s)[0].points) == len(points)
        assert prometheus.value(f"rate({silent}[10m])", end_s) == 0
        # A series that began anew is a reset, and neither a fall nor a hole.
        anew = 'ayaflow_packets_total{domain="anew.example"}'
        around_s = start_s + (RESTARTED + 10) * INTERVAL_S
        assert prometheus.value(f"resets({anew}[1h])", end_s) == 1
        assert prometheus.value(f"increase({anew}[3m20s])", around_s) == pytest.approx(28, rel=0.1)
        quantile = "histogram_quantile(0.5, rate(ayaflow_dns_lookup_duration_seconds_bucket[5m]))"
        assert 0 < prometheus.value(quantile, end_s) <= 0.001
        shown = prometheus.value(f"ayaflow_packets_per_second{steady}", end_s)
        assert shown == pytest.approx(STEADY_PACKETS / INTERVAL_S)
        assert prometheus.query(f"ayaflow_packets_total{steady}", end_s + 301) == []


@pytest.mark.parts
def test_a_running_exporter_goes_on_and_what_it_counted_is_told(
    network: Network, flood: Flood, tmp_path: Path
) -> None:
    peer, host = network.wire(network.namespace("peer"), network.namespace("host"))
    history = tmp_path / "history.db"
    flags = ("--interface", "eth0", "--history.path", str(history), "--history.interval", "1s")
    since_s = time.time()
    sent: dict[str, int] = {}
    for label, value in (("transport", "udp"), ("role", "server")):
        with Exporter(host.namespace, *flags, "--metrics.labels", label) as exporter:
            flooding = flood.start(peer, "--flows", "20", "--pps", "5000", "--count", "9000")
            backfill(history, "--since", "10m")
            sent[f'{label}="{value}"'] = flood.sent(flooding).packets

            def told() -> bytes:
                done = backfill(history, "--since", "10m")
                total = f'_packets_total{{device="eth0",direction="ingress"}} {sum(sent.values())} '
                assert total.encode() in done.stdout
                assert (done.returncode, done.stderr) == (0, b"")
                return done.stdout

            file = tmp_path / f"{label}.txt"
            file.write_bytes(wait_until(told, timeout_s=30))
            assert exporter.scrape().sum("ayaflow_history_errors_total") == 0
    prometheus = Prometheus(PROMETHEUS_3, tmp_path / "prometheus")
    prometheus.load_openmetrics(file)
    with prometheus:
        until_s = float(int(time.time()) + 1)
        total = 'ayaflow_interface_packets_total{device="eth0",direction="ingress"}'
        check_increase(prometheus, total, sum(sent.values()), since_s - 5, until_s)
        for label, packets in sent.items():
            series = f'ayaflow_packets_total{{direction="ingress",domain="unknown",{label}}}[10m]'
            ((_, points),) = prometheus.query(series, until_s)
            assert points[-1][1] == packets


def test_it_is_run_by_root_and_leaves_nothing_that_the_exporter_cannot_write(
    tmp_path: Path,
) -> None:
    path = tmp_path / "history.db"
    with closing(open_history(path, 86_400.0, 64 << 20)) as history:
        for number in range(3):
            history.record(rows(number, 1.0), {}, Now(1.0 + number, 1.0 + number))
    os.chown(path, NOBODY, NOBODY)
    assert backfill(path, "--since", "@0").returncode == 0
    beside = [*tmp_path.glob("history.db*")]
    owners = {file.name: file.stat().st_uid for file in beside if file.suffix != ".lock"}
    assert set(owners.values()) == {NOBODY}, owners


def test_a_disk_that_is_full_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with closing(open_history(path, 86_400.0, 64 << 20)) as history:
        history.record(rows(1, 1.0), {}, Now(1.0, 1.0))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            exporter_command("backfill", "--since", "@0", "--history.path", str(path)),
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    said = "ayaflow-exporter: standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_a_reader_that_leaves_is_no_trace(tmp_path: Path) -> None:
    with closing(open_history(tmp_path / "history.db", 86_400.0, 64 << 20)) as history:
        for number in range(INTERVALS):
            history.record(rows(number, 1.0), {}, Now(1.0 + number, 1.0 + number))
    command = exporter_command("backfill", "--since", "@0", "--history.path")
    with subprocess.Popen(
        [*command, str(tmp_path / "history.db")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 1
        assert process.stderr.read() == b""
