"""The history in its SQLite file.

    series      one row for each series: its current values, committed before anybody is shown them
    intervals   when each interval ended, by the wall clock and by CLOCK_BOOTTIME
    history     of each interval the series that changed in it
    state       documents of others, of the same moment as `series`

The oldest interval that is kept is complete: before one is deleted, what the next one has not moves
there. What cannot be written waits in memory, and is written when that works again.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from exporter.clock import Now
from exporter.counts.history import History
from exporter.counts.history_file import (
    ERRORS,
    PAGE_BYTES,
    VALUES,
    Opened,
    explain,
    insert,
    open_file,
    reason_of,
)
from exporter.counts.rows import Row
from exporter.counts.unwritten import Unwritten, Waiting

_WAL_ROOM_BYTES = 2 << 20
_PRUNED_AT_ONCE = 4
_COLUMNS = ", ".join(VALUES)
_COLUMNS_OF_HISTORY = ", ".join(f"history.{column}" for column in VALUES)
_COLUMNS_OF_LATEST = ", ".join(f"latest.{column}" for column in VALUES)
_NO_VALUES = (None,) * len(VALUES)

_log = logging.getLogger(__name__)


def open_history(path: Path, retention_s: float, max_bytes: int) -> History:
    """The history in a file, with all that it has already; one that keeps nothing, and counts and
    says why, where the file cannot be used.

    *retention_s*: how long intervals are kept; *max_bytes*: of the file and its log.
    """
    try:
        opened = open_file(path)
    except ERRORS as error:
        history = History()
        history.errors[reason_of(error)] += 1
        _log.error(
            "history: %s cannot be used (%s): nothing outlives this process", path, explain(error)
        )
        return history
    stored = StoredHistory(opened, retention_s, max_bytes)
    if opened.set_aside is not None:
        stored.errors["corrupt"] += 1
        _log.error(
            "history: %s was corrupt, is kept as %s, and begins anew", path, opened.set_aside
        )
    return stored


class StoredHistory(History):
    """The history of this exporter, and of those before it. For one thread."""

    is_durable = True

    def __init__(self, opened: Opened, retention_s: float, max_bytes: int) -> None:
        """Arguments as of open_history."""
        super().__init__()
        self._connection = opened.connection
        self._lock_fd = opened.lock_fd
        self._retention_s = retention_s
        self._max_bytes = max_bytes
        self._complained = ""
        self._unwritten = Unwritten(self._boot_id)
        self._load()
        self.restored_rows = list(self._unwritten.current.values())

    def _load(self) -> None:
        rows = self._read(
            f"SELECT id, family, labels, created_s, {_COLUMNS} FROM series WHERE ended IS NULL"
        )
        ((last,),) = self._read("SELECT max(id) FROM series")
        texts = dict(self._read("SELECT key, value FROM state"))
        self._unwritten.load(_numbered(rows), last or 0, texts)
        ((newest,),) = self._read("SELECT max(id) FROM intervals")
        self.newest = newest or 0

    def state(self, key: str) -> Any:
        """As History."""
        text = self._unwritten.texts.get(key)
        return None if text is None else json.loads(text)

    def set_state(self, key: str, value: object) -> None:
        """As History."""
        self._unwritten.tell_documents({key: value})
        self._write()

    def record(
        self, rows: Iterable[Row], states: Mapping[str, object], interval_at: Now | None = None
    ) -> bool:
        """As History."""
        self._unwritten.tell_rows(rows)
        self._unwritten.tell_documents(states)
        if interval_at is not None:
            self.newest += 1
            self._unwritten.end_interval(self.newest, interval_at)
        return self._write()

    def _write(self) -> bool:
        unwritten = self._unwritten
        if unwritten.is_empty:
            return True
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._write_series()
            for waiting in unwritten.intervals:
                self._write_interval(waiting)
            self._connection.executemany(
                "INSERT OR REPLACE INTO state VALUES (?, ?)",
                [(key, unwritten.texts[key]) for key in unwritten.documents],
            )
            self._prune()
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._failed(error)
            return False
        unwritten.written()
        if self._complained:
            _log.info("history: it can be used again")
            self._complained = ""
        return True

    def _failed(self, error: sqlite3.Error) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        reason = reason_of(error)
        self.errors[reason] += 1
        if reason != self._complained:
            _log.error("history: it cannot be used (%s); what it lacks waits in memory", error)
            self._complained = reason

    def _read(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        """All rows; none where they cannot be read."""
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self._failed(error)
            return []

    def _write_series(self) -> None:
        unwritten = self._unwritten
        self._connection.executemany(
            "INSERT INTO series (id, family, labels, created_s) VALUES (?, ?, ?, ?)",
            [
                (number, row.family, json.dumps(row.labels), row.created_s)
                for number in unwritten.new
                for row in (unwritten.current[number],)
            ],
        )
        # By how many values a row has: to write columns that it has not takes as long again.
        by_count: dict[int, list[tuple[int | float, ...]]] = {}
        for number in unwritten.rows:
            values = unwritten.current[number].values
            if values:
                by_count.setdefault(len(values), []).append((number, *values))
        for count, rows in by_count.items():
            update = ", ".join(f"{each} = excluded.{each}" for each in VALUES[:count])
            insert(
                self._connection,
                f"INSERT INTO series (id, {', '.join(VALUES[:count])}) VALUES",
                rows,
                f"ON CONFLICT (id) DO UPDATE SET {update}",
            )
        self._connection.executemany(
            "UPDATE series SET ended = ? WHERE id = ?",
            [(self.newest + 1, number) for number in unwritten.ended],
        )

    def _write_interval(self, waiting: Waiting) -> None:
        self._connection.execute(
            "INSERT INTO intervals VALUES (?, ?, ?, ?)", (waiting.id, *waiting.at, self._boot_id)
        )
        insert(
            self._connection,
            "INSERT OR REPLACE INTO history VALUES",
            [(waiting.id, number, *_padded(row.values)) for number, row in waiting.changed.items()],
        )
        self._connection.executemany(
            "UPDATE series SET ended = ? WHERE id = ?",
            [(waiting.id, number) for number in waiting.ended],
        )

    def _prune(self) -> None:
        """Deletes the oldest intervals that are too many, a few at a time."""
        if not self._unwritten.intervals:
            return
        for _ in range(_PRUNED_AT_ONCE):
            query = "SELECT id, wall_s, boot_s, boot_id FROM intervals ORDER BY id LIMIT 2"
            oldest = self._connection.execute(query).fetchall()
            if len(oldest) < 2:
                return
            is_old = self._age_s(*oldest[0][1:]) > self._retention_s
            if not (is_old or self._is_too_big()):
                return
            gone, following = oldest[0][0], oldest[1][0]
            # What ended before the interval that is the oldest now is of no use any more.
            self._connection.execute(
                f"INSERT OR IGNORE INTO history SELECT ?, series, {_COLUMNS} FROM history"
                " WHERE interval = ? AND series IN"
                " (SELECT id FROM series WHERE ended IS NULL OR ended > ?)",
                (following, gone, following),
            )
            self._connection.execute("DELETE FROM history WHERE interval = ?", (gone,))
            self._connection.execute("DELETE FROM intervals WHERE id = ?", (gone,))
            self._connection.execute("DELETE FROM series WHERE ended <= ?", (gone,))

    def _age_s(self, wall_s: float, boot_s: float, boot_id: str) -> float:
        """How long before the newest interval another was. The wall clock may have been stepped."""
        newest = self._unwritten.intervals[-1].at
        return newest.boot_s - boot_s if boot_id == self._boot_id else newest.wall_s - wall_s

    def _is_too_big(self) -> bool:
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        return bool((pages - free) * PAGE_BYTES > max(1, self._max_bytes - _WAL_ROOM_BYTES))

    def oldest(self) -> int:
        """As History."""
        waiting = self._unwritten.intervals
        for (oldest,) in self._read("SELECT min(id) FROM intervals"):
            if oldest is not None:
                return int(oldest)
        return waiting[0].id if waiting else self.newest

    def first_since(self, boot_s: float) -> int | None:
        """As History."""
        query = "SELECT min(id) FROM intervals WHERE boot_id = ? AND boot_s >= ?"
        for (first,) in self._read(query, (self._boot_id, boot_s)):
            return None if first is None else int(first)
        return None

    def complete(self, number: int) -> dict[int, Row]:
        """As History."""
        # With max() SQLite takes the other columns from the row that has the maximum.
        query = (
            f"SELECT id, family, labels, created_s, {_COLUMNS_OF_LATEST} FROM series JOIN"
            f" (SELECT series, max(interval), {_COLUMNS} FROM history WHERE interval <= ?"
            " GROUP BY series) AS latest ON series = id WHERE ended IS NULL OR ended > ?"
        )
        return dict(_numbered(self._read(query, (number, number))))

    def changes(self, after: int) -> Waiting | None:
        """As History."""
        found = self._read(
            "SELECT id, wall_s, boot_s, boot_id FROM intervals WHERE id > ? ORDER BY id LIMIT 1",
            (after,),
        )
        if not found:
            return next((each for each in self._unwritten.intervals if each.id > after), None)
        number, *at, boot = found[0]
        if number > after + 1:
            return Waiting(number, Now(*at), self.complete(number), [], boot, is_complete=True)
        changed = self._read(
            f"SELECT id, family, labels, created_s, {_COLUMNS_OF_HISTORY}"
            " FROM history JOIN series ON id = series WHERE interval = ?",
            (number,),
        )
        ended = self._read("SELECT id FROM series WHERE ended = ?", (number,))
        return Waiting(
            number, Now(*at), dict(_numbered(changed)), [each for (each,) in ended], boot
        )

    def close(self) -> None:
        """Moves the log into the file, and lets go of both."""
        with suppress(sqlite3.Error):  # the next start does it
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
        os.close(self._lock_fd)


def _numbered(rows: Iterable[Any]) -> Iterator[tuple[int, Row]]:
    """What the columns of a series say, with its number."""
    for number, family, labels, created_s, *values in rows:
        kept = tuple(value for value in values if value is not None)
        yield number, Row(family, tuple(json.loads(labels)), kept, created_s)


def _padded(values: tuple[int | float, ...]) -> tuple[int | float | None, ...]:
    return (*values, *_NO_VALUES[len(values) :])
