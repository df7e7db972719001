"""The intervals of a history again, in order, each with every series: for a push or a rate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from exporter.counts.rows import Row
from exporter.counts.unwritten import Waiting


class Interval(NamedTuple):
    """One interval, with every series, also what did not change in it."""

    id: int
    wall_s: float
    boot_s: float
    boot_id: str
    """The boot whose clock boot_s is of."""
    rows: tuple[Row, ...]


class Changes(Protocol):
    """A history, as far as it is read here."""

    def complete(self, number: int) -> dict[int, Row]: ...
    def changes(self, after: int) -> Waiting | None: ...


class Replay:
    """Iterates over the intervals after one; at the end, later ones may still come."""

    def __init__(self, history: Changes, after: int) -> None:
        """*after*: an id; 0 for all that are kept, the oldest of which is complete."""
        self._history = history
        self._rows = history.complete(after)
        self._at = after

    def __iter__(self) -> Iterator[Interval]:
        while (interval := self.next()) is not None:
            yield interval

    def next(self) -> Interval | None:
        """The next interval; None while there is none."""
        found = self._history.changes(self._at)
        if found is None:
            return None
        if found.is_complete:
            self._rows.clear()
        self._rows.update(found.changed)
        for number in found.ended:
            self._rows.pop(number, None)
        self._at = found.id
        return Interval(found.id, *found.at, found.boot_id, tuple(self._rows.values()))
