"""The families of a snapshot, in both formats, against golden files and Prometheus' own linter.

`python -m tests.unit.test_metrics` writes the golden files anew; read the difference.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporter.counts.snapshot import DomainCounts, Snapshot
from exporter.outputs.exposition import LabelTexts, TextsByNames, label_text, number
from exporter.outputs.metrics import OPENMETRICS, TEXT, own_lines, render
from tests.unit.example_snapshot import BUILD, SHOWN, SNAPSHOT, shown

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GOLDEN_TEXT = HERE / "golden_metrics.txt"
GOLDEN_OPENMETRICS = HERE / "golden_openmetrics.txt"


def as_text(snapshot: Snapshot = SNAPSHOT) -> str:
    """Without the metrics of the process, which differ from run to run."""
    return "".join(own_lines(shown(snapshot), BUILD, {}, openmetrics=False))


def as_openmetrics(snapshot: Snapshot = SNAPSHOT) -> str:
    return "".join(own_lines(shown(snapshot), BUILD, {}, openmetrics=True)) + "# EOF\n"


class Collected:
    """Families for a registry of prometheus_client."""

    def __init__(self, found: Iterable[Metric]) -> None:
        self._found = list(found)

    def collect(self) -> list[Metric]:
        return self._found


def written_by_the_library(found: Iterable[Metric], *, openmetrics: bool) -> str:
    registry = CollectorRegistry()
    registry.register(Collected(found))
    if openmetrics:
        rendered: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
        return rendered.decode()
    return generate_latest(registry).decode()


def by_line(text: str) -> list[tuple[str, float] | str]:
    """Each line, its value as a number: the library shows an integer as a float."""
    return [
        line if line.startswith("#") else (line.rpartition(" ")[0], float(line.rpartition(" ")[2]))
        for line in text.splitlines()
    ]


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


def test_it_is_what_prometheus_client_would_have_written() -> None:
    found = families(as_openmetrics()).values()
    assert by_line(as_openmetrics()) == by_line(written_by_the_library(found, openmetrics=True))
    without_start_times = []
    for family in found:
        family.samples = [each for each in family.samples if not each.name.endswith("_created")]
        without_start_times.append(family)
    text = written_by_the_library(without_start_times, openmetrics=False)
    assert by_line(as_text()) == by_line(text)


@given(
    names=st.lists(st.from_regex(r"[a-z][a-z_]{0,4}", fullmatch=True), unique=True, max_size=3),
    data=st.data(),
)
def test_any_label_can_be_read_again(names: list[str], data: st.DataObject) -> None:
    values = [data.draw(st.text(st.characters(codec="utf-8"))) for _ in names]
    line = f"a{label_text(names, values)} 1\n"
    (family,) = text_string_to_metric_families(f"# TYPE a gauge\n{line}# EOF\n")  # type: ignore[no-untyped-call]
    assert family.samples[0].labels == dict(zip(names, values, strict=True))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (2**60 + 1, "1152921504606846977"),
        (0.1, "0.1"),
        (1e22, "1e+22"),
        (float("inf"), "+Inf"),
        (-float("inf"), "-Inf"),
        (float("nan"), "NaN"),
    ],
)
def test_numbers(value: float, shown: str) -> None:
    assert number(value) == shown


def test_the_package_of_prometheus_client_is_not_loaded() -> None:
    script = (
        "import sys; from exporter.outputs import metrics; loaded = set(sys.modules);"
        "import prometheus_client; assert prometheus_client.generate_latest();"
        "print(sorted(loaded & {'http.server', 'ssl', 'email', 'prometheus_client'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_promtool_has_nothing_to_say_about_a_scrape() -> None:
    done = subprocess.run(
        [promtool(), "check", "metrics"],
        input=b"".join(render(SHOWN, BUILD, TEXT)),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_openmetrics_is_well_formed_with_the_metrics_of_the_process() -> None:
    found = families(b"".join(render(SHOWN, BUILD, OPENMETRICS)).decode())
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


def test_counts_beyond_2_to_the_53_are_exact() -> None:
    largest = 2**60 + 1
    domain = DomainCounts("ingress", "example.org", (), largest, largest, 0, 0.0)
    snapshot = dataclasses.replace(SNAPSHOT, label_names=(), domains=(domain,))
    line = next(li for li in as_text(snapshot).splitlines() if li.startswith("ayaflow_bytes_total"))
    assert int(line.rpartition(" ")[2]) == largest


def test_losses_are_shown_before_there_is_any() -> None:
    nothing = dataclasses.replace(
        SNAPSHOT,
        dropped_events=(("flow", 0), ("payload", 0)),
        devices=tuple(dataclasses.replace(d, overflow_packets=0) for d in SNAPSHOT.devices),
    )
    rendered = as_text(nothing)
    for ring in ("flow", "payload"):
        assert f'ayaflow_ring_dropped_events_total{{ring="{ring}"}} 0\n' in rendered
    assert rendered.count("\nayaflow_flow_table_overflow_packets_total{") == 4


def test_a_series_that_left_the_snapshot_is_gone_from_the_next_scrape() -> None:
    fewer = dataclasses.replace(SNAPSHOT, domains=SNAPSHOT.domains[1:2])
    texts_by: TextsByNames = {}
    assert b"example.org" in b"".join(render(SHOWN, BUILD, TEXT, texts_by))
    assert b"example.org" not in b"".join(render(shown(fewer), BUILD, TEXT, texts_by))


def test_the_texts_of_labels_that_are_kept_change_nothing() -> None:
    """Series leave, come back in another order, and labels get other names."""
    other_names = dataclasses.replace(SNAPSHOT, label_names=("scope", "transport"))
    texts_by: TextsByNames = {}
    for each in (
        SNAPSHOT,
        dataclasses.replace(SNAPSHOT, domains=SNAPSHOT.domains[::-1]),
        dataclasses.replace(SNAPSHOT, domains=SNAPSHOT.domains[2:]),
        other_names,
        SNAPSHOT,
    ):
        for openmetrics in (False, True):
            kept = own_lines(shown(each), BUILD, texts_by, openmetrics=openmetrics)
            assert "".join(kept) == "".join(
                own_lines(shown(each), BUILD, {}, openmetrics=openmetrics)
            )


def test_no_text_is_kept_of_a_series_that_left() -> None:
    texts = LabelTexts(("domain",))
    assert texts.column([("left.example",), ("stays.example",)])[1] == '{domain="stays.example"}'
    assert texts.column([("stays.example",)]) == ['{domain="stays.example"}']
    assert list(texts._text_of) == [("stays.example",)]


if __name__ == "__main__":
    GOLDEN_TEXT.write_text(as_text(), encoding="utf-8")
    GOLDEN_OPENMETRICS.write_text(as_openmetrics(), encoding="utf-8")
