"""What `backfill` makes of a history: every series at every interval, and nothing that was not."""

from __future__ import annotations

import io
import os
import re
import sqlite3
import tracemalloc
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporter import cli
from exporter.clock import Now
from exporter.counts.history import History
from exporter.counts.history_store import open_history
from exporter.counts.past import Past
from exporter.counts.rates import Rates
from exporter.counts.rows import LABEL_NAMES, Row, rows_of
from exporter.errors import ExporterError
from exporter.outputs.backfill import write
from exporter.outputs.metrics import OPENMETRICS, BuildInfo, render
from tests.unit.example_snapshot import SHOWN, SNAPSHOT

START_S = 1_800_000_000.0
INTERVAL_S = 10.0
LINE = re.compile(r"(?P<name>\w+)(?:{(?P<labels>.*)})? (?P<value>\S+)(?: (?P<at>\S+))?")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
ALL = (0.0, 4e9)
LARGE = 64 << 20


class Point(NamedTuple):
    name: str
    labels: tuple[tuple[str, str], ...]
    at_s: float | None
    value: float


def domain(name: str, packets: int, created_s: float = START_S, *added: str) -> Row:
    return Row("domain", ("egress", name, *added), (packets, packets * 100, 1), created_s)


def at(number: float) -> Now:
    """The end of an interval, by both clocks."""
    return Now(START_S + INTERVAL_S * number, 500.0 + INTERVAL_S * number)


def opened(folder: Path, retention_s: float = 86_400.0) -> History:
    return open_history(folder / "history.db", retention_s, LARGE)


def record(folder: Path, *intervals: Iterable[Row]) -> Path:
    """A history of these intervals, closed."""
    with closing(opened(folder)) as history:
        for number, rows in enumerate(intervals):
            assert history.record(rows, {}, at(number))
    return folder / "history.db"


def names(*labels: str) -> Row:
    """What the added labels are called."""
    return Row(LABEL_NAMES, labels, (), 0.0)


def written(path: Path, wanted: tuple[float, float] = ALL) -> tuple[str, list[str]]:
    out, said = io.StringIO(), list[str]()
    write(path, *wanted, out, said.append)
    return out.getvalue(), said


def parsed(text: str) -> list[Point]:
    """Every line. The reference parser, which leaves out what it takes for repetitions, must accept
    the whole: it refuses what is interleaved or goes back in time.
    """
    list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    found = []
    for line in text.splitlines():
        if not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, line
            labels = tuple(sorted(LABEL.findall(match["labels"] or "")))
            at_s = float(match["at"]) if match["at"] else None
            found.append(Point(match["name"], labels, at_s, float(match["value"])))
    return found


def values(text: str, name: str, domain_name: str | None = None) -> list[tuple[float, float]]:
    """Of one series: (seconds after the start, value)."""
    return [
        (point.at_s - START_S, point.value)
        for point in parsed(text)
        if point.name == name
        and point.at_s is not None
        and (domain_name is None or ("domain", domain_name) in point.labels)
    ]


def test_an_interval_shows_what_a_scrape_showed(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with closing(opened(tmp_path)) as history:
        history.record(rows_of(SNAPSHOT), {}, Now(SNAPSHOT.folded_at_s, 100.0))
    scraped = b"".join(render(SHOWN, BuildInfo("", "", "", ""), OPENMETRICS)).decode()
    told = written(path)[0]
    assert {point.at_s for point in parsed(told)} == {SNAPSHOT.folded_at_s}

    def counts(text: str) -> set[Point]:
        return {
            point._replace(at_s=None)
            for point in parsed(text)
            if point.name.startswith("ayaflow_")
            and not point.name.endswith("_per_second")
            and point.name != "ayaflow_build_info"
        }

    assert counts(told) == counts(scraped)
    heads = re.compile(r"^# (?!.*(?:_per_second| process_)).*$", re.MULTILINE)
    assert set(heads.findall(told)) <= set(heads.findall(scraped))


def test_every_series_is_there_at_every_interval_changed_or_not(tmp_path: Path) -> None:
    still, busy = domain("still", 7), "busy"
    path = record(tmp_path, *([still, domain(busy, 3 * n)] for n in range(100)))
    text, said = written(path)
    assert said == []
    assert text.endswith("# EOF\n")
    times = [n * INTERVAL_S for n in range(100)]
    assert values(text, "ayaflow_packets_total", "still") == [(at_s, 7) for at_s in times]
    assert values(text, "ayaflow_bytes_total", busy) == [(s, 30 * s) for s in times]
    assert values(text, "ayaflow_packets_created", "still") == [(s, START_S) for s in times]
    assert values(text, "ayaflow_active_connections", "still") == [(s, 1) for s in times]
    assert [s for s, _ in values(text, "ayaflow_last_fold_timestamp_seconds")] == times


def test_a_range_has_its_ends_and_what_was_before_it_still_holds(tmp_path: Path) -> None:
    path = record(tmp_path, [domain("a", 7)], *([domain("b", n), domain("a", 7)] for n in range(9)))
    text, _ = written(path, (START_S + 30, START_S + 50))
    assert values(text, "ayaflow_packets_total", "a") == [(30, 7), (40, 7), (50, 7)]
    assert values(text, "ayaflow_packets_total", "b") == [(30, 2), (40, 3), (50, 4)]


def test_more_intervals_than_are_read_at_once(tmp_path: Path) -> None:
    path = record(tmp_path, *([domain("a", n // 700), domain("b", 5)] for n in range(1500)))
    text, _ = written(path, (START_S + 100 * INTERVAL_S, 4e9))
    counted = values(text, "ayaflow_packets_total", "a")
    assert counted == [(n * INTERVAL_S, n // 700) for n in range(100, 1500)]
    assert len(values(text, "ayaflow_packets_total", "b")) == 1400


def test_a_series_that_left_is_silent_and_one_that_came_back_starts_anew(tmp_path: Path) -> None:
    again_s = START_S + 35
    path = record(
        tmp_path,
        [domain("a", 5), domain("b", 1)],
        [domain("a", 6), domain("b", 1)],
        [domain("b", 1)],
        [domain("b", 1)],
        [domain("a", 2, again_s), domain("b", 1)],
        [domain("a", 2, again_s), domain("b", 1)],
    )
    text, _ = written(path)
    assert values(text, "ayaflow_packets_total", "a") == [(0, 5), (10, 6), (40, 2), (50, 2)]
    created = values(text, "ayaflow_packets_created", "a")
    assert created == [(0, START_S), (10, START_S), (40, again_s), (50, again_s)]
    later, _ = written(path, (START_S + 20, START_S + 30))
    assert values(later, "ayaflow_packets_total", "a") == []
    assert len(values(later, "ayaflow_packets_total", "b")) == 2


def test_a_gauge_whose_hidden_label_changed_stays_one_series(tmp_path: Path) -> None:
    def attached(mode: str, before: int) -> Row:
        return Row("attached", ("eth0", "ingress", mode), (1, before), 0.0)

    modes = [attached("tcx", 1), attached("none", 2), attached("tcx", 3)]
    text, _ = written(record(tmp_path, *([row] for row in modes)))
    assert values(text, "ayaflow_programs_before") == [(0, 1), (10, 2), (20, 3)]


def test_after_a_clock_that_was_set_back_only_what_is_later_is_shown(tmp_path: Path) -> None:
    walls = (0, 10, 20, 15, 20, 25, 30)
    with closing(opened(tmp_path)) as history:
        for n, wall in enumerate(walls):
            rows = [domain("a", n), *([domain("new", n)] if n >= 3 else [])]
            history.record(rows, {}, Now(START_S + wall, at(n).boot_s))
    text, said = written(tmp_path / "history.db")
    counted = values(text, "ayaflow_packets_total", "a")
    assert counted == [(0, 0), (10, 1), (20, 2), (25, 5), (30, 6)]
    assert values(text, "ayaflow_packets_total", "new") == [(25, 5), (30, 6)]
    (sentence,) = said
    assert sentence.startswith("2 intervals are left out: the clock had been set back")


def test_rates_are_those_that_were_shown_then(tmp_path: Path) -> None:
    def rows(n: int) -> list[Row]:
        return [domain("a", n * n), *([domain("b", 3 * n, START_S + 55)] if n > 5 else [])]

    path = record(tmp_path, *(rows(n) for n in range(40)))
    shown: dict[tuple[float, str], float] = {}
    rates = Rates()
    for n in range(40):
        rates.add(rows(n), at(n).boot_s)
        for labels, (packets, _) in rates.of(rows(n), at(n).boot_s).items():
            shown[n * INTERVAL_S, labels[1]] = packets
    for wanted in (ALL, (START_S + 200, 4e9)):
        text, _ = written(path, wanted)
        for name in ("a", "b"):
            found = values(text, "ayaflow_packets_per_second", name)
            assert found
            assert found == [(at_s, shown[at_s, name]) for at_s, _ in found]


def test_rates_begin_anew_with_a_boot(tmp_path: Path) -> None:
    path = record(tmp_path, *([domain("a", n * n)] for n in range(20)))
    with closing(sqlite3.connect(path)) as other, other:
        # The first ten are of a boot whose clock was further.
        other.execute("UPDATE intervals SET boot_id = 'before', boot_s = boot_s + 5 WHERE id <= 10")
    for since_s in (0, START_S + 120):
        found = dict(values(written(path, (since_s, 4e9))[0], "ayaflow_packets_per_second", "a"))
        assert found[120] == (12 * 12 - 10 * 10) / 20
        assert found[190] == (19 * 19 - 13 * 13) / 60
        assert since_s or (found[90], found[100]) == ((9 * 9 - 3 * 3) / 60, 0)


def test_labels_are_escaped_and_added_ones_named(tmp_path: Path) -> None:
    odd = Row("interface", ('a"b\\c\nd', "ingress"), (1, 2, 3, 4), START_S)
    path = record(tmp_path, [names("role"), domain("a", 1, START_S, "client"), odd])
    text, said = written(path)
    assert said == []
    labels = {point.labels for point in parsed(text)}
    assert (("direction", "egress"), ("domain", "a"), ("role", "client")) in labels
    assert (("device", r"a\"b\\c\nd"), ("direction", "ingress")) in labels


def test_each_process_has_its_own_added_labels(tmp_path: Path) -> None:
    path = record(
        tmp_path,
        [names("role"), domain("a", 1, START_S, "unknown")],
        [names("scope"), domain("a", 2, START_S + 5, "unknown")],
        [names(), domain("a", 3, START_S + 15)],
        [names("role"), domain("a", 4, START_S + 25, "unknown")],
        [names("role"), domain("a", 5, START_S + 25, "unknown")],
    )
    text, said = written(path)
    assert said == []
    by_labels: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for point in parsed(text):
        if point.name == "ayaflow_packets_total" and point.at_s is not None:
            named = tuple(name for name, _ in point.labels)
            by_labels.setdefault(named, []).append((point.at_s - START_S, point.value))
    assert by_labels == {
        ("direction", "domain", "role"): [(0, 1), (30, 4), (40, 5)],
        ("direction", "domain", "scope"): [(10, 2)],
        ("direction", "domain"): [(20, 3)],
    }


class Meanwhile(io.StringIO):
    """An output beside which the exporter goes on."""

    def __init__(self, history: History, path: Path) -> None:
        super().__init__()
        self.history = history
        self.number = 50
        self.writes = 0
        self.wal = path.with_name(path.name + "-wal")
        self.largest_wal = 0

    def write(self, text: str) -> int:
        self.writes += 1
        if self.writes % 20:
            return super().write(text)
        self.number += 1
        rows = [domain(f"d{n}", self.number) for n in range(20)]
        assert self.history.record(rows, {}, at(self.number))
        self.largest_wal = max(self.largest_wal, self.wal.stat().st_size)
        return super().write(text)


def test_the_exporter_goes_on_writing_and_deleting_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with closing(opened(tmp_path, retention_s=600)) as history:
        for n in range(51):
            history.record([domain(f"d{m}", n) for m in range(20)], {}, at(n))
        out = Meanwhile(history, path)
        write(path, *ALL, out, pytest.fail)
    text = out.getvalue()
    assert out.number > 60 + 50, "nothing was deleted meanwhile"
    for name in (f"d{m}" for m in range(20)):
        for s, packets in values(text, "ayaflow_packets_total", name):
            assert packets * INTERVAL_S == s <= 500
    assert values(text, "ayaflow_packets_total", "d0")[-1] == (500, 50)
    assert out.largest_wal < 4 << 20, "a reader kept the write-ahead log from beginning anew"


def test_what_it_needs_of_memory_does_not_grow_with_the_history(tmp_path: Path) -> None:
    path = record(tmp_path, *([domain(f"d{m}", n * m) for m in range(3)] for n in range(1000)))

    class Nowhere(io.StringIO):
        def write(self, text: str) -> int:
            return len(text)

    tracemalloc.start()
    try:
        write(path, *ALL, Nowhere(), pytest.fail)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 700_000


def test_the_path_may_have_any_name(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/100%41?#\xff.db"))
    record(tmp_path, [domain("a", 1)]).rename(odd)
    assert values(written(odd)[0], "ayaflow_packets_total", "a") == [(0, 1)]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ExporterError, match=r"there is no such file; give the .*--history\.path"):
        Past(tmp_path / "none.db", *ALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"some text that is long enough" * 100])
def test_a_file_that_is_something_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(ExporterError, match="it is not a history of the exporter"):
        Past(path, *ALL)
    assert path.read_bytes() == content


def test_a_database_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE series (id)")
        other.execute("PRAGMA user_version = 1")
    with pytest.raises(ExporterError, match="it is not a history of the exporter"):
        Past(path, *ALL)


def test_a_history_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = record(tmp_path, [domain("a", 1)])
    with closing(sqlite3.connect(path)) as later:
        later.execute("PRAGMA user_version = 99")
    with pytest.raises(ExporterError, match=r"schema 99, of a later version.*use the version that"):
        Past(path, *ALL)


def test_a_time_of_which_there_is_nothing(tmp_path: Path) -> None:
    path = record(tmp_path, [domain("a", 1)], [domain("a", 2)])
    with pytest.raises(ExporterError) as raised:
        written(path, (START_S + 100, START_S + 200))
    assert str(raised.value) == (
        f"{path}: it has nothing from 2027-01-15T08:01:40Z to 2027-01-15T08:03:20Z; it reaches"
        " from 2027-01-15T08:00:00Z to 2027-01-15T08:00:10Z"
    )


def test_a_history_that_has_no_interval_yet(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as history:
        history.record([domain("a", 1)], {})
        with pytest.raises(ExporterError, match="it has no interval yet"):
            written(tmp_path / "history.db")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required: --since"),
        (["--since", "2x"], "--since: must be how long ago, such as 2h, or a time with its zone"),
        (["--since", "2026-07-01T12:00:00"], "--since: must be how long ago"),
        (["--since", "1h", "--until", "2h"], "--since: must be earlier than --until"),
        (["--since", "1h", "--history.path", "none"], "history.path is none"),
        (["--since", "1h", "--metric", "x"], "unrecognized arguments: --metric x"),
    ],
)
def test_words_that_make_no_command(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["backfill", *words]) in (1, 2)
    out, err = capsys.readouterr()
    assert said in err
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    "since", ["2027-01-15T08:00:10Z", "@1800000010", "2027-01-15T10:00:10+02:00"]
)
def test_the_command_takes_times_in_three_ways_and_the_path_from_the_file(
    since: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = record(tmp_path, *([domain("a", n)] for n in range(4)))
    config = tmp_path / "config.yml"
    config.write_text(f"history: {{path: {path}}}\n")
    words = ["--since", since, "--until", "@1800000020", "--config.file", str(config)]
    assert cli.main(["backfill", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert values(out, "ayaflow_packets_total", "a") == [(10, 1), (20, 2)]
