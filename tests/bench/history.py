"""What the history takes: CPU time of a commit, and bytes of an interval, when all series change.

Commits come at the end of an interval (10 s) and before each scrape. They are made in this process:
there is no exporter around them.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from exporter.clock import Now
from exporter.counts.history_store import open_history
from exporter.counts.rows import DOMAIN, Row
from tests.bench.harness.lab import SCRAPE_INTERVAL_S, Lab

INTERVAL_S = 10.0

_SERIES = (1_000, 10_000)
_COMMITS = 30
_RETENTION_S = 3600.0
_MAX_BYTES = 64 << 20


def run(lab: Lab) -> None:
    """By the number of series."""
    for series in _SERIES:
        with tempfile.TemporaryDirectory() as folder:
            note_commits(lab, Path(folder), series)


def note_commits(lab: Lab, folder: Path, series: int) -> None:
    """One of each kind after the other."""
    took_s: dict[bool, list[float]] = {False: [], True: []}
    history = open_history(folder / "history.db", _RETENTION_S, _MAX_BYTES)
    for n in range(_COMMITS):
        for ends_interval in (False, True):
            value = 2 * n + ends_interval
            rows = [
                Row(DOMAIN, ("ingress", f"name-{k}.example.com"), (value, value, 1), 1.0)
                for k in range(series)
            ]
            began = time.process_time()
            now = INTERVAL_S * n
            history.record(rows, {}, Now(now, now) if ends_interval else None)
            took_s[ends_interval].append(time.process_time() - began)
    history.close()
    size = sum(each.stat().st_size for each in folder.iterdir())
    scrape_s, interval_s = (median(took_s[kind]) for kind in (False, True))
    share = interval_s / INTERVAL_S + scrape_s / SCRAPE_INTERVAL_S
    what = f"{series:,} series that all change"
    lab.figures.note(f"CPU of an interval's commit, {what}", "ms", interval_s * 1e3)
    lab.figures.note(f"CPU of a scrape's commit, {what}", "ms", scrape_s * 1e3)
    lab.figures.note(f"CPU of all commits, {what}", "% of a core", 100 * share)
    lab.figures.note(f"size of the file, {what}", "kB an interval", size / _COMMITS / 1e3)
