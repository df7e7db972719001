"""A bounded table of DNS answers, whose memory and whose work for each answer are fixed.

Rows lie in buckets; which bucket, and which row of it, a 64-bit keyed hash says. A row is taken
from the same bucket: one that is free or has expired, else the one of the lowest rank. So nothing
is ever searched but one bucket, and who floods the table reaches only rows of a lower rank than its
own. Names are the one part that an attacker can make large, so their bytes are bounded too.

Times are seconds of one monotonic clock, later than 0.
"""

from __future__ import annotations

import math

from exporter.memory import zeros

ROWS = 16_384
"""A node of a hundred pods with some dozen answers each, two to four addresses an answer, fills a
half of it. It takes 0.6 MB from the start on."""

WAYS = 16
"""Rows of a bucket: in a table half full, one bucket of 250 has no room, and then loses its oldest
row."""

NAME_BYTES_MAX = 1 << 20
"""As Python strings: 80 bytes, an ordinary name, for four rows of five. Names of 253 characters
would take 5 MB."""

_STR_BYTES = 49
"""Of a Python string, besides its ASCII characters."""

_NEIGHBOURS = 64
"""Among so many rows there is one that no flow uses, in a flood of such rows."""

_STRIDE = 67
"""From one neighbourhood to the next, and to every row in the end: odd, as rows are a power of two.
"""

NEVER = 0.0
"""Before every moment, so a free row is one that has expired."""

_LAST = math.inf


class AnswerTable:
    """Rows of key, name, since when, until when, and rank. Columns are public; rows are numbers."""

    def __init__(self, rows: int = ROWS, name_bytes_max: int = NAME_BYTES_MAX) -> None:
        """*rows*: a power of two, at least WAYS."""
        self.names: list[str] = []
        """Made with the first row that is taken."""
        self._rows = rows
        self.since = zeros("d", rows)
        self.until = zeros("d", rows)
        self.rank = zeros("d", rows)
        """The higher, the later the row goes while it has not expired. Finite; NEVER if free."""
        self._keys = zeros("q", rows)
        self._bucket_mask = rows // WAYS - 1
        self._name_bytes = 0
        self._name_bytes_max = name_bytes_max
        self._hand = 0

    def rows_of(self, key: int) -> list[int]:
        """The rows of this key, expired ones too; *key* is a 64-bit keyed hash."""
        first = (key & self._bucket_mask) * WAYS
        keys = self._keys[first : first + WAYS].tolist()
        if key not in keys:
            return []
        return [row for row, its in enumerate(keys, first) if its == key]

    def take(self, key: int, name: str, now_s: float) -> int:
        """A row for the key, with the name in it; the caller sets the other columns."""
        first = (key & self._bucket_mask) * WAYS
        row = self._lowest(first, now_s)
        if not self.names:
            self.names = [""] * self._rows
        self._keys[row] = key
        self.set_name(row, name)
        return row

    def set_name(self, row: int, name: str) -> None:
        """Gives the row another name; rows elsewhere go where all names would take too much."""
        self._name_bytes += _size(name) - _size(self.names[row])
        self.names[row] = name
        if self._name_bytes > self._name_bytes_max:
            rank, self.rank[row] = self.rank[row], _LAST
            while self._name_bytes > self._name_bytes_max:
                self._make_room()
            self.rank[row] = rank

    def _lowest(self, first: int, now_s: float) -> int:
        until = self.until[first : first + WAYS].tolist()
        earliest = min(until)
        if earliest < now_s:
            return first + until.index(earliest)
        rank = self.rank[first : first + WAYS].tolist()
        return first + rank.index(min(rank))

    def _make_room(self) -> None:
        """Forgets the row of the lowest rank among the neighbours of a row that has a name.

        A neighbourhood has its turn as often as it has names, so that none is ever emptied.
        """
        hand = self._hand
        while not self.names[hand]:
            hand = (hand + _STRIDE) % len(self.names)
        self._hand = (hand + _STRIDE) % len(self.names)
        first = hand - hand % _NEIGHBOURS
        rows = range(first, first + _NEIGHBOURS)
        row = min(rows, key=lambda row: self.rank[row] or _LAST)
        if NEVER < self.rank[row] < _LAST:
            self._name_bytes -= _size(self.names[row])
            self.names[row] = ""
            self.until[row] = self.rank[row] = NEVER
            self._keys[row] = 0


def _size(name: str) -> int:
    return _STR_BYTES + len(name) if name else 0
