"""The history as another process reads it: a series at a time, while the exporter goes on writing.

Each look is one short transaction, so the write-ahead log never waits for a reader. What the
exporter deletes meanwhile is missing from then on, and nothing is ever wrong: the last row of a
series moves to the oldest interval that is kept.
"""

from __future__ import annotations

import json
import os
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timezone
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from exporter.counts.history_file import SCHEMA_VERSION, VALUES
from exporter.counts.rates import WINDOW_S, Rates
from exporter.counts.rows import LABEL_NAMES, Row
from exporter.errors import ExporterError

_INTERVALS_AT_ONCE = 512
"""Of a series: some 100 KB."""

_BUSY_TIMEOUT_S = 5.0
"""Readers of a write-ahead log wait only while it is begun anew or recovered."""

_OF_HISTORY = ", ".join(f"history.{column}" for column in VALUES)

_NO_HISTORY = "it is not a history of the exporter"


class Life(NamedTuple):
    """A series from its first interval to its end. One that comes back has another life."""

    id: int
    family: str
    labels: tuple[str, ...]
    created_s: float
    ended: int | None
    """The first interval without it."""

    def row(self, values: Iterable[Any]) -> Row:
        kept = tuple(value for value in values if value is not None)
        return Row(self.family, self.labels, kept, self.created_s)


class Moment(NamedTuple):
    """The end of an interval."""

    interval: int
    wall_s: float
    boot_s: float
    boot_id: str

    @property
    def wall_ms(self) -> int:
        return round(self.wall_s * 1000)


class Span:
    """Some intervals, in runs of such that follow each other."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def add(self, interval: int, before: int) -> None:
        """*before*: the interval that it follows, which may be in here or not."""
        if self._lasts and self._lasts[-1] == before:
            self._lasts[-1] = interval
        else:
            self._firsts.append(interval)
            self._lasts.append(interval)

    @property
    def last(self) -> int:
        return self._lasts[-1]

    def __contains__(self, interval: int) -> bool:
        run = bisect_right(self._firsts, interval) - 1
        return run >= 0 and interval <= self._lasts[run]


class Past:
    """What a history's file has of a range of time; to be closed. Methods raise ExporterError."""

    def __init__(self, path: Path, since_s: float, until_s: float) -> None:
        """*since_s*, *until_s*: seconds since the epoch; both ends are included.

        Raises ExporterError where the file is no history, or has no interval of that time.
        """
        self.path = path
        self.span = Span()
        """Every interval, but for those that are left out."""
        self.by_label_names: dict[tuple[str, ...], Span] = {}
        """The same, by what the added labels of domains were called."""
        self.left_out = 0
        """Intervals that are not later than one before them, since the clock had been set back."""
        self._first = 0
        """Where reading begins: so long before the span that rates are known in it."""
        self._before: dict[int, tuple[Any, ...]] = {}
        """The values of each series when that interval began."""
        self._connection = self._open()
        try:
            self._check_schema()
            self._find(since_s, until_s)
        except BaseException:
            self._connection.close()
            raise

    def _open(self) -> sqlite3.Connection:
        try:
            os.close(os.open(self.path, os.O_RDONLY | os.O_CLOEXEC))
            return sqlite3.connect(
                f"file:{quote(os.fsencode(self.path))}?mode=ro",
                uri=True,
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
            )
        except FileNotFoundError:
            raise ExporterError(
                f"{self.path}: there is no such file; give the history's with --history.path"
            ) from None
        except (OSError, sqlite3.Error) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise ExporterError(f"{self.path}: it cannot be opened ({why})") from None

    def _check_schema(self) -> None:
        ((version,),) = self._all("PRAGMA user_version")
        if version > SCHEMA_VERSION:
            raise ExporterError(
                f"{self.path}: it has schema {version}, of a later version of the exporter; this"
                f" one knows {SCHEMA_VERSION}: use the version that wrote it"
            )
        tables = {name for (name,) in self._all("SELECT name FROM sqlite_master")}
        if not version or not {"series", "intervals", "history"} <= tables:
            raise ExporterError(f"{self.path}: {_NO_HISTORY}")
        if version < SCHEMA_VERSION:
            raise ExporterError(
                f"{self.path}: it has schema {version}, of an earlier version of the exporter:"
                " start this one with it once, which brings it up to date"
            )

    def close(self) -> None:
        self._connection.close()

    def _all(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Every row at once: a statement that is left half-way would keep its transaction open."""
        try:
            with closing(self._connection.execute(query, parameters)) as cursor:
                return cursor.fetchall()
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):
                raise ExporterError(f"{self.path}: {_NO_HISTORY}") from None
            raise ExporterError(f"{self.path}: it cannot be read ({error})") from None

    def _find(self, since_s: float, until_s: float) -> None:
        query = "SELECT min(id), max(id) FROM intervals WHERE wall_s BETWEEN ? AND ?"
        ((first, last),) = self._all(query, (since_s, until_s))
        if first is None:
            raise ExporterError(f"{self.path}: {self._nothing(since_s, until_s)}")
        self._first = self._a_window_before(first)
        self._before = self._values_before(self._first)
        latest_ms, before = -1, -1
        for moment, rows in self._rows(self.lives(LABEL_NAMES), last):
            if since_s <= moment.wall_s <= until_s:
                if moment.wall_ms > latest_ms:
                    latest_ms = moment.wall_ms
                    names = rows[-1].labels if rows else ()
                    for span in (self.span, self.by_label_names.setdefault(names, Span())):
                        span.add(moment.interval, before)
                else:
                    self.left_out += 1
            before = moment.interval
        if not self.by_label_names:  # the exporter has just deleted them
            raise ExporterError(f"{self.path}: {self._nothing(since_s, until_s)}")

    def _nothing(self, since_s: float, until_s: float) -> str:
        ((earliest, latest),) = self._all("SELECT min(wall_s), max(wall_s) FROM intervals")
        if earliest is None:
            return "it has no interval yet"
        return (
            f"it has nothing from {_text(since_s)} to {_text(until_s)}; it reaches from"
            f" {_text(earliest)} to {_text(latest)}"
        )

    def _a_window_before(self, interval: int) -> int:
        """The interval with which the rates at another begin, of the same boot."""
        query = (
            "SELECT max(earlier.id) FILTER (WHERE earlier.boot_s <= here.boot_s - ?),"
            " min(earlier.id) FROM intervals AS earlier JOIN intervals AS here ON here.id = ?"
            " WHERE earlier.id <= here.id AND earlier.boot_id = here.boot_id"
        )
        ((full, oldest),) = self._all(query, (WINDOW_S, interval))
        return next(each for each in (full, oldest, interval) if each is not None)

    def _values_before(self, interval: int) -> dict[int, tuple[Any, ...]]:
        # With max() SQLite takes the other columns from the row that has the maximum.
        query = (
            f"SELECT series, max(interval), {_OF_HISTORY} FROM history WHERE interval < ?"
            " GROUP BY series"
        )
        return {number: tuple(values) for number, _, *values in self._all(query, (interval,))}

    def lives(self, *families: str) -> list[Life]:
        """Every series of these families, in the order in which they began."""
        marks = ", ".join("?" * len(families))
        query = (
            "SELECT id, family, labels, created_s, ended FROM series"
            f" WHERE family IN ({marks}) ORDER BY id"
        )
        return [
            Life(number, family, tuple(json.loads(labels)), created_s, ended)
            for number, family, labels, created_s, ended in self._all(query, families)
        ]

    def moments(self, span: Span) -> Iterator[Moment]:
        """In time order."""
        for moment, _ in self._rows((), span.last):
            if moment.interval in span:
                yield moment

    def rows(self, lives: Sequence[Life], span: Span) -> Iterator[tuple[Moment, list[Row]]]:
        """What there is of these series at each moment, in time order, the youngest series last."""
        for moment, rows in self._rows(lives, span.last):
            if rows and moment.interval in span:
                yield moment, rows

    def rates(
        self, lives: Sequence[Life], span: Span
    ) -> Iterator[tuple[Moment, tuple[float, float]]]:
        """Packets and bytes a second of one domain's series, as they were shown then."""
        rates, boot_id = Rates(), ""
        for moment, rows in self._rows(lives, span.last):
            if moment.boot_id != boot_id:
                rates, boot_id = Rates(), moment.boot_id
            rates.add(rows, moment.boot_s)
            if rows and moment.interval in span:
                (rate,) = rates.of(rows[-1:], moment.boot_s).values()
                yield moment, rate

    def _rows(self, lives: Sequence[Life], last: int) -> Iterator[tuple[Moment, list[Row]]]:
        by_id = {life.id: life for life in lives}
        before = self._before
        current = {
            number: life.row(before[number]) for number, life in by_id.items() if number in before
        }
        ends = sorted((life.ended, life.id) for life in by_id.values() if life.ended is not None)
        ended = 0
        for moment, changed in self._chunks(tuple(by_id), last):
            for number, values in changed:
                current[number] = by_id[number].row(values)
            while ended < len(ends) and ends[ended][0] <= moment.interval:
                current.pop(ends[ended][1], None)
                ended += 1
            yield moment, [current[number] for number in sorted(current)]

    def _chunks(
        self, series: Sequence[int], last: int
    ) -> Iterator[tuple[Moment, list[tuple[int, tuple[Any, ...]]]]]:
        """Each interval, and what changed of some series in it; some hundreds at a time."""
        marks = ", ".join("?" * len(series))
        # An interval, and in it a seek for each series: nothing is sorted, nothing else is read.
        query = (
            f"SELECT past.id, wall_s, boot_s, boot_id, history.series, {_OF_HISTORY}"
            " FROM intervals AS past LEFT JOIN history ON history.interval = past.id"
            f" AND history.series IN ({marks}) WHERE past.id BETWEEN ? AND ? ORDER BY past.id"
        )
        for start in range(self._first, last + 1, _INTERVALS_AT_ONCE):
            end = min(last, start + _INTERVALS_AT_ONCE - 1)
            found = self._all(query, (*series, start, end))
            for _, of_one in groupby(found, key=itemgetter(0)):
                rows = list(of_one)
                changed = [(row[4], row[5:]) for row in rows if row[4] is not None]
                yield Moment(*rows[0][:4]), changed


def _text(epoch_s: float) -> str:
    """As the command line takes it."""
    moment = datetime.fromtimestamp(int(epoch_s), timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
