"""What the history has of each slot of the flow table: columns that outlive this process.

They lie in a pinned map beside the flow table, twice. One half is what the last commit of the
history says it is; the other is written before the next commit, which then names it. So however
this process ends, the history and the half that it names are of the same moment, and what the flow
table has counted since is found by the sweep, as ever.

    map      half 0 | half 1      half     a block for each window of slots
    block    the window's part of each column, one after the other, up to a whole page
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from exporter.capture.windows import WINDOW_SLOTS

RECORDED_SLOT_BYTES = 21
"""Of all columns: folded packets and bytes (8 each), series (4), evidence (1)."""

RECORDED_SHAPE = (1, RECORDED_SLOT_BYTES, WINDOW_SLOTS)
"""How it is laid out, as of Layout; the first number is that of this format."""

HALVES = 2


def _window_slots(slots: int) -> int:
    return min(slots, WINDOW_SLOTS)


def _block_bytes(slots: int) -> int:
    wanted = _window_slots(slots) * RECORDED_SLOT_BYTES
    return -(-wanted // mmap.PAGESIZE) * mmap.PAGESIZE


def recorded_bytes(slots: int) -> int:
    """The size of the map for a flow table of so many slots."""
    return HALVES * slots // _window_slots(slots) * _block_bytes(slots)


class Recorded:
    """The two halves of the map, and the columns of this process that they are copies of."""

    def __init__(self, fd: int, slots: int, columns: Sequence[memoryview[Any]]) -> None:
        """*columns*: RECORDED_SLOT_BYTES a slot in all."""
        self.half = 0
        """The half that the history names."""
        self._fd = fd
        self._slots = slots
        self._window_slots = _window_slots(slots)
        self._block_bytes = _block_bytes(slots)
        self._columns = columns
        self._written: set[int] = set()
        """Windows that either half may have something of."""

    @property
    def next_half(self) -> int:
        """The half that `write` writes, for the history to name."""
        return 1 - self.half

    def write(self, used_windows: Collection[int]) -> None:
        """Copies the columns into the next half. *used_windows*: first slots of windows."""
        self._written |= set(used_windows)
        for first in self._written:
            with self._block(self.next_half, first) as block, memoryview(block) as raw:
                for start, part in self._parts(first):
                    raw[start : start + part.nbytes] = part

    def committed(self) -> None:
        """The history names the half that was written last."""
        self.half = self.next_half

    def load(self, half: int) -> set[int]:
        """Takes the columns from a half, which the history names; returns its windows."""
        self.half = half
        for first in range(0, self._slots, self._window_slots):
            for each in range(HALVES):
                with self._block(each, first) as block:
                    if block.find(b"\0" * len(block)) == 0:
                        continue  # nothing was ever written: reading the column would take memory
                    self._written.add(first)
                    if each == half:
                        with memoryview(block) as raw:
                            for start, part in self._parts(first):
                                part[:] = raw[start : start + part.nbytes]
        return set(self._written)

    def slots_of(self, windows: Iterable[int]) -> Iterator[int]:
        """All slots of windows that are given by their first slots."""
        return chain.from_iterable(range(n, n + self._window_slots) for n in windows)

    def _parts(self, first: int) -> list[tuple[int, memoryview[Any]]]:
        """Where in a block each column of a window begins, and that part of the column."""
        parts: list[tuple[int, memoryview[Any]]] = []
        start = 0
        for column in self._columns:
            part = column[first : first + self._window_slots].cast("B")
            parts.append((start, part))
            start += part.nbytes
        return parts

    def _block(self, half: int, first: int) -> mmap.mmap:
        number = half * (self._slots // self._window_slots) + first // self._window_slots
        return mmap.mmap(self._fd, self._block_bytes, offset=number * self._block_bytes)
