"""The history across restarts: counters go on, and what was shown never goes back."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from tests.e2e.exporter_process import Audit, Exporter, status_field
from tests.e2e.metrics import UNITS, Metrics, check_identity
from tests.e2e.net import End, Network, command
from tests.e2e.traffic import Flood
from tests.e2e.waiting import wait_until

COUNTERS = tuple(
    f"ayaflow_{stem}{unit}_total" for stem in ("", "interface_", "evicted_") for unit in UNITS
)


@pytest.fixture
def ends(network: Network) -> tuple[End, End]:
    """(peer, host) on a wire without offloads; the exporter counts on the host's end."""
    return network.wire(network.namespace("peer"), network.namespace("host"))


def exporter(host: End, folder: Path, *flags: str) -> Exporter:
    path = str(folder / "history.db")
    return Exporter(host.namespace, "--interface", "eth0", "--history.path", path, *flags)


def history_errors(running: Exporter, reason: str) -> int:
    return running.scrape().value("ayaflow_history_errors_total", reason=reason)


def check_not_less(before: Metrics, after: Metrics) -> None:
    """Every counter that there was is there, and says as much at least."""
    for name in (*COUNTERS, "ayaflow_attributed_bytes_total"):
        for sample in before.samples(name):
            now = after.value(name, **sample.labels)
            assert now >= sample.value, f"{name}{sample.labels}: {now} after {sample.value}"


def test_a_stop_loses_nothing(ends: tuple[End, End], flood: Flood, tmp_path: Path) -> None:
    peer, host = ends
    with exporter(host, tmp_path) as first:
        audit = Audit(first, host)
        flood.send(peer, "--flows", "100", "--count", "20000")
        before = audit.verify()
        flood.send(peer, "--flows", "100", "--count", "5000")  # nobody scrapes after that
    with exporter(host, tmp_path) as second:
        after = second.scrape()
        check_not_less(before, after)
        check_identity(after)
        assert after.sum("ayaflow_packets_total", direction="ingress") == (
            before.sum("ayaflow_packets_total", direction="ingress") + 5000
        )
        audit = Audit(second, host)
        flood.send(peer, "--flows", "100", "--count", "20000")
        last = audit.verify()
        assert last.sum("ayaflow_packets_total", direction="ingress") == (
            after.sum("ayaflow_packets_total", direction="ingress") + 20000
        )


def test_start_times_outlive_the_process(
    ends: tuple[End, End], flood: Flood, tmp_path: Path
) -> None:
    def created(running: Exporter) -> list[str]:
        answer = running.get(headers={"Accept": "application/openmetrics-text"}).body.decode()
        return [
            line
            for line in answer.splitlines()
            if line.startswith(("ayaflow_bytes_created", "ayaflow_interface_bytes_created"))
        ]

    with exporter(ends[1], tmp_path) as first:
        before = created(first)
    with exporter(ends[1], tmp_path) as second:
        assert created(second) == before
        assert before


def test_rates_are_right_from_the_first_scrape_after_a_restart(
    ends: tuple[End, End], flood: Flood, tmp_path: Path
) -> None:
    peer, host = ends
    with exporter(host, tmp_path, "--history.interval", "1s") as first:
        flooding = flood.start(peer, "--flows", "10", "--pps", "1000", "--count", "3000")
        flood.sent(flooding)
        first.scrape()
    with exporter(host, tmp_path, "--history.interval", "1s") as second:
        metrics = second.scrape()
        rate = sum(
            sample.value
            for sample in metrics.samples("ayaflow_packets_per_second", direction="ingress")
        )
        assert 45 < rate < 1100, f"3,000 packets within the last minute, and {rate} a second"


def test_kills_under_traffic_never_take_back_what_was_shown(
    ends: tuple[End, End], flood: Flood, tmp_path: Path
) -> None:
    peer, host = ends
    flooding = flood.start(peer, "--flows", "500", "--pps", "20000", "--count", "180000")
    shown: Metrics | None = None
    for _ in range(2):
        running = exporter(host, tmp_path, "--history.interval", "1s")
        running.start()
        try:
            running.wait_ready()
            metrics = running.scrape()
            if shown is not None:
                check_not_less(shown, metrics)

            def more(than: Metrics = metrics, of: Exporter = running) -> Metrics:
                now = of.scrape()
                name = "ayaflow_packets_total"
                assert now.sum(name) > than.sum(name) + 1000
                return now

            shown = wait_until(more, timeout_s=10)
            running.kill()
            running.check_words()
        finally:
            running.close()
    assert shown is not None
    with exporter(host, tmp_path) as last:
        check_not_less(shown, last.scrape())
        flood.sent(flooding)
        audit = Audit(last, host)
        audit.verify()


def test_the_history_is_the_users_and_the_server_can_still_write_it(
    ends: tuple[End, End], flood: Flood, tmp_path: Path
) -> None:
    folder = tmp_path / "history"
    tmp_path.chmod(0o755)
    with exporter(ends[1], folder, "--history.interval", "1s") as running:
        path = folder / "history.db"
        assert path.stat().st_uid == 65534
        assert path.stat().st_mode & 0o777 == 0o600
        assert status_field(running.pid, "CapEff") == 0

        def intervals() -> int:
            with sqlite3.connect(path) as reader:
                (count,) = reader.execute("SELECT count(*) FROM intervals").fetchone()
            reader.close()
            return int(count)

        before = intervals()
        flood.send(ends[0], "--count", "100")

        def goes_on() -> None:
            assert intervals() >= before + 2

        wait_until(goes_on, timeout_s=10)
        assert running.scrape().sum("ayaflow_history_errors_total") == 0


def test_a_corrupt_file_does_not_stop_the_counting(
    ends: tuple[End, End], flood: Flood, tmp_path: Path
) -> None:
    (tmp_path / "history.db").write_bytes(b"not a database " * 500)
    with exporter(ends[1], tmp_path) as running:
        audit = Audit(running, ends[1])
        flood.send(ends[0], "--count", "1000")
        metrics = audit.verify()
        assert metrics.value("ayaflow_history_errors_total", reason="corrupt") == 1
        assert "was corrupt" in running.log


def test_a_read_only_folder_does_not_stop_the_counting(
    ends: tuple[End, End], flood: Flood, tmp_path: Path
) -> None:
    """What an earlier run has stored there stays: the next one that can read it goes on from it."""
    with exporter(ends[1], tmp_path) as first:
        flood.send(ends[0], "--count", "500")
        before = Audit(first, ends[1]).verify()
    command("mount", "--bind", "-o", "ro", str(tmp_path), str(tmp_path))
    try:
        with exporter(ends[1], tmp_path) as running:
            audit = Audit(running, ends[1])
            flood.send(ends[0], "--count", "1000")
            audit.verify()
            assert history_errors(running, "read_only") == 1
            assert running.log.count("history: ") == 1, running.log
            assert "Read-only file system): nothing outlives this process" in running.log
    finally:
        command("umount", str(tmp_path))
    with exporter(ends[1], tmp_path) as last:
        check_not_less(before, last.scrape())


def test_a_locked_file_gets_later_what_it_missed(
    ends: tuple[End, End], flood: Flood, tmp_path: Path
) -> None:
    with exporter(ends[1], tmp_path, "--history.interval", "1s") as running:
        audit = Audit(running, ends[1])
        other = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        began = time.time()
        flood.send(ends[0], "--count", "1000")
        audit.verify()
        wait_until(lambda: history_errors(running, "locked") > 2)
        other.execute("COMMIT")
        ended = time.time()

        def has_all() -> None:
            query = "SELECT count(*) FROM intervals WHERE wall_s BETWEEN ? AND ?"
            (count,) = other.execute(query, (began, ended)).fetchone()
            assert count >= int(ended - began) - 1

        wait_until(has_all)
        other.close()
        wait_until(lambda: "history: it can be used again" in running.log)
        assert running.log.count("history: ") == 2, running.log
