"""The history as OpenMetrics 1.0 with timestamps, for a time when Prometheus did not scrape.

`promtool tsdb create-blocks-from openmetrics` makes blocks of it.

    history file ──► Past: one series at a time ──► lines

Every series has a point at each interval, changed or not, since Prometheus takes a series that is
silent for five minutes for gone. OpenMetrics demands that families, and series within them, are
not interleaved; so the file is read once for each metric of each series, and nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import TextIO

from exporter.counts.past import Life, Past, Span
from exporter.counts.rows import DOMAIN
from exporter.outputs import descriptions, exposition
from exporter.outputs.catalogue import families

_HISTOGRAM_ROWS = ("dns_lookups", "dns")


def write(
    path: Path, since_s: float, until_s: float, to: TextIO, say: Callable[[str], None]
) -> None:
    """Writes what the history at *path* has of that time, in seconds since the epoch.

    *say* is told, in a sentence, what is left out. Raises ExporterError where there is no history,
    or nothing of that time.
    """
    with closing(Past(path, since_s, until_s)) as past:
        if past.left_out:
            say(
                f"{past.left_out} intervals are left out: the clock had been set back, and"
                " Prometheus takes only what is later than what it has"
            )
        for entry in descriptions.ENTRIES:
            header = exposition.header(entry.name, entry.help, entry.kind, entry.unit)
            for lines in _Series(past, entry).lines():
                to.write(header + lines)
                header = ""
        to.write("# EOF\n")


class _Series:
    """All that a metric shows, a series after the other."""

    def __init__(self, past: Past, entry: descriptions.Entry) -> None:
        self._past = past
        self._entry = entry

    def lines(self) -> Iterator[str]:
        """A few lines at a time; none where it has no series."""
        entry, span = self._entry, self._past.span
        if entry.source == descriptions.FOLDED_AT:
            for moment in self._past.moments(span):
                yield f"{entry.name} {moment.wall_s!r} {_stamp(moment.wall_ms)}\n"
        elif entry.source == descriptions.LOOKUPS:
            yield from self._histogram()
        elif entry.has_added_labels:
            for added, part in self._past.by_label_names.items():
                yield from self._each((*entry.labels, *added), part)
        else:
            yield from self._each(entry.labels, span)

    def _each(self, names: tuple[str, ...], span: Span) -> Iterator[str]:
        """The series with labels of these names, and of each all its lives in time order."""
        entry, kept = self._entry, len(names)
        points = {"counter": self._counter, "gauge": self._gauge}[entry.kind]
        family = entry.source
        if entry.source == descriptions.RATES:
            points, family = self._rates, DOMAIN
        lives = self._past.lives(family)
        if entry.has_added_labels:  # the others are of processes that had more of them, or fewer
            lives = [life for life in lives if len(life.labels) == kept]
        lives.sort(key=lambda life: (life.labels[:kept], life.id))
        for labels, of_one in groupby(lives, key=lambda life: life.labels[:kept]):
            yield from points(exposition.label_text(names, labels), list(of_one), span)

    def _counter(self, labels: str, lives: list[Life], span: Span) -> Iterator[str]:
        name, value = self._entry.name, self._entry.value
        for moment, rows in self._past.rows(lives, span):
            row, stamp = rows[-1], _stamp(moment.wall_ms)
            yield (
                f"{name}_total{labels} {row.values[value]!r} {stamp}\n"
                f"{name}_created{labels} {row.created_s!r} {stamp}\n"
            )

    def _gauge(self, labels: str, lives: list[Life], span: Span) -> Iterator[str]:
        name, value = self._entry.name, self._entry.value
        for moment, rows in self._past.rows(lives, span):
            yield f"{name}{labels} {rows[-1].values[value]!r} {_stamp(moment.wall_ms)}\n"

    def _rates(self, labels: str, lives: list[Life], span: Span) -> Iterator[str]:
        name, value = self._entry.name, self._entry.value
        for moment, rate in self._past.rates(lives, span):
            yield f"{name}{labels} {rate[value]!r} {_stamp(moment.wall_ms)}\n"

    def _histogram(self) -> Iterator[str]:
        name, lives = self._entry.name, self._past.lives(*_HISTOGRAM_ROWS)
        for moment, rows in self._past.rows(lives, self._past.span):
            for family in families(rows, {}):
                if family.histogram is not None:
                    stamp = f" {_stamp(moment.wall_ms)}"
                    yield exposition.histogram_lines(name, family.histogram, stamp)


def _stamp(wall_ms: int) -> str:
    return f"{wall_ms // 1000}.{wall_ms % 1000:03d}"
