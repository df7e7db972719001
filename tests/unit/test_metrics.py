"""The families of a snapshot, in both formats, against golden files and Prometheus' own linter.

`python -m tests.unit.test_metrics` writes the golden files anew; read the difference.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporter.counts.snapshot import DomainCounts, Snapshot
from exporter.outputs.metrics import OPENMETRICS, TEXT, SnapshotCollector, render
from tests.unit.example_snapshot import BUILD, SNAPSHOT

HERE = Path(__file__).parent
GOLDEN_TEXT = HERE / "golden_metrics.txt"
GOLDEN_OPENMETRICS = HERE / "golden_openmetrics.txt"


def registry(snapshot: Snapshot, *, start_times: bool) -> CollectorRegistry:
    """The snapshot's families without those of the process, which differ from run to run."""
    result = CollectorRegistry()
    result.register(SnapshotCollector(snapshot, BUILD, start_times=start_times))
    return result


def as_text() -> str:
    return generate_latest(registry(SNAPSHOT, start_times=False)).decode()


def as_openmetrics() -> str:
    rendered: bytes = generate_openmetrics(  # type: ignore[no-untyped-call]
        registry(SNAPSHOT, start_times=True)
    )
    return rendered.decode()


def families(openmetrics: str) -> dict[str, Metric]:
    return {f.name: f for f in text_string_to_metric_families(openmetrics)}  # type: ignore[no-untyped-call]


def promtool() -> str:
    """Where `make test-setup` puts it, else from PATH."""
    ours = HERE.parents[1] / ".cache/prometheus/usr/bin/promtool"
    found = str(ours) if ours.exists() else shutil.which("promtool")
    assert found, "promtool is missing: `make test-setup` installs it"
    return found


def test_text_is_the_golden_file() -> None:
    assert as_text() == GOLDEN_TEXT.read_text(encoding="utf-8")


def test_openmetrics_is_the_golden_file() -> None:
    assert as_openmetrics() == GOLDEN_OPENMETRICS.read_text(encoding="utf-8")


def test_promtool_has_nothing_to_say_about_a_scrape() -> None:
    done = subprocess.run(
        [promtool(), "check", "metrics"],
        input=render(SNAPSHOT, BUILD, TEXT),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_openmetrics_is_well_formed_with_the_metrics_of_the_process() -> None:
    found = families(render(SNAPSHOT, BUILD, OPENMETRICS).decode())
    assert {"ayaflow_bytes", "process_resident_memory_bytes", "python_info"} <= found.keys()


def test_start_times_are_those_of_each_series_and_in_openmetrics_alone() -> None:
    created = {
        tuple(sample.labels.values()): sample.value
        for sample in families(as_openmetrics())["ayaflow_bytes"].samples
        if sample.name == "ayaflow_bytes_created"
    }
    assert created == {(d.direction, d.domain, *d.labels): d.created_s for d in SNAPSHOT.domains}
    assert "_created" not in as_text()


@pytest.mark.parametrize("name", ["ayaflow_bytes", "ayaflow_interface_packets"])
def test_every_counter_of_openmetrics_has_a_start_time(name: str) -> None:
    names = [sample.name for sample in families(as_openmetrics())[name].samples]
    assert names.count(f"{name}_total") == names.count(f"{name}_created") == 4


def test_counts_up_to_2_to_the_53_are_exact() -> None:
    largest = 2**53 - 1
    domain = DomainCounts("ingress", "example.org", (), largest, largest, 0, 0.0)
    snapshot = dataclasses.replace(SNAPSHOT, label_names=(), domains=(domain,))
    found = registry(snapshot, start_times=False).get_sample_value(
        "ayaflow_bytes_total", {"direction": "ingress", "domain": "example.org"}
    )
    rendered = generate_latest(registry(snapshot, start_times=False)).decode()
    line = next(li for li in rendered.splitlines() if li.startswith("ayaflow_bytes_total"))
    assert found == largest
    assert int(float(line.rpartition(" ")[2])) == largest


def test_losses_are_shown_before_there_is_any() -> None:
    nothing = dataclasses.replace(
        SNAPSHOT,
        dropped_events=(("flow", 0), ("payload", 0)),
        devices=tuple(dataclasses.replace(d, overflow_packets=0) for d in SNAPSHOT.devices),
    )
    rendered = generate_latest(registry(nothing, start_times=False)).decode()
    for ring in ("flow", "payload"):
        assert f'ayaflow_ring_dropped_events_total{{ring="{ring}"}} 0.0\n' in rendered
    assert rendered.count("\nayaflow_flow_table_overflow_packets_total{") == 4


def test_a_series_that_left_the_snapshot_is_gone_from_the_next_scrape() -> None:
    fewer = dataclasses.replace(SNAPSHOT, domains=SNAPSHOT.domains[1:2])
    assert b"example.org" in render(SNAPSHOT, BUILD, TEXT)
    assert b"example.org" not in render(fewer, BUILD, TEXT)


if __name__ == "__main__":
    GOLDEN_TEXT.write_text(as_text(), encoding="utf-8")
    GOLDEN_OPENMETRICS.write_text(as_openmetrics(), encoding="utf-8")
