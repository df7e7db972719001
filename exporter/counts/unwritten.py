"""What the history has been told and its file does not have yet: what changed, by series.

A series is known by its family, labels and start time: one that left and came back is another one.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from exporter.clock import Now
from exporter.counts.rows import Row

WAITING_MAX = 360
"""Intervals that wait for the file: an hour of them. Then the two oldest become one."""

Key = tuple[str, tuple[str, ...], float]


class Waiting(NamedTuple):
    """An interval: what changed in it, and which series had ended before it did."""

    id: int
    at: Now
    changed: dict[int, Row]
    ended: list[int]
    boot_id: str
    """Of the boot whose clock `at` has."""
    is_complete: bool = False
    """Whether `changed` has every series, since the interval before it is not kept any more."""


class Unwritten:
    """Rows and documents as they were told last, and which of them the file lacks."""

    def __init__(self, boot_id: str) -> None:
        self.boot_id = boot_id
        self.current: dict[int, Row] = {}
        self.rows: set[int] = set()
        """Series that the file has other values of, or none."""
        self.new: set[int] = set()
        """Of these, the series that the file does not have yet."""
        self.ended: list[int] = []
        """Series that have ended since the last interval."""
        self.intervals: deque[Waiting] = deque()
        self.documents: set[str] = set()
        self.texts: dict[str, str] = {}
        self._ids: dict[Key, int] = {}
        self._since_interval: dict[int, Row] = {}
        self._next_id = 1

    def load(self, rows: Iterable[tuple[int, Row]], last_id: int, texts: dict[str, str]) -> None:
        """What the file has."""
        for number, row in rows:
            self._ids[row.family, row.labels, row.created_s] = number
            self.current[number] = row
        self._next_id = last_id + 1
        self.texts = texts

    def tell_rows(self, rows: Iterable[Row]) -> None:
        """Every series as it is now; one that is not among them has ended."""
        seen: set[int] = set()
        for row in rows:
            key = (row.family, row.labels, row.created_s)
            number = self._ids.get(key)
            if number is None:
                number = self._ids[key] = self._next_id
                self._next_id += 1
                self.new.add(number)
            seen.add(number)
            if self.current.get(number) != row:
                self.current[number] = row
                self.rows.add(number)
                self._since_interval[number] = row
        if len(seen) != len(self.current):
            for number in self.current.keys() - seen:
                row = self.current.pop(number)
                del self._ids[row.family, row.labels, row.created_s]
                self.rows.discard(number)
                self.new.discard(number)
                self.ended.append(number)

    def tell_documents(self, documents: Mapping[str, object]) -> None:
        """Documents, for JSON."""
        for key, value in documents.items():
            text = json.dumps(value, separators=(",", ":"))
            if self.texts.get(key) != text:
                self.texts[key] = text
                self.documents.add(key)

    def end_interval(self, number: int, at: Now) -> None:
        """What was told since the last one is of this interval."""
        changed, self._since_interval = self._since_interval, {}
        ended, self.ended = self.ended, []
        self.intervals.append(Waiting(number, at, changed, ended, self.boot_id))
        if len(self.intervals) > WAITING_MAX:
            first, second = self.intervals.popleft(), self.intervals.popleft()
            self.intervals.appendleft(
                second._replace(
                    changed={**first.changed, **second.changed}, ended=first.ended + second.ended
                )
            )

    def written(self) -> None:
        """The file has everything."""
        self.rows.clear()
        self.new.clear()
        self.documents.clear()
        self.intervals.clear()

    @property
    def is_empty(self) -> bool:
        """Whether the file has everything already."""
        return not (self.rows or self.documents or self.intervals or self.ended)
