"""The flow table's map, a window at a time: mapped whole, it would be memory of this process.

The kernel enters every page of a mapping as it is made: a large window costs as much as dozens of
small ones. So where few slots are looked at, each is looked at through a small one.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import NamedTuple

from exporter.capture.records import FLOW_BUCKET_SLOTS, FLOW_ENTRY

WINDOW_SLOTS = 4096
"""256 KB: few enough mappings for a sweep, little memory for each."""

SMALL_SLOTS = max(FLOW_BUCKET_SLOTS, mmap.ALLOCATIONGRANULARITY // FLOW_ENTRY.size)
"""A page, which holds whole buckets."""

_FEW = 8
"""Slots in a window that are looked at each by itself."""


class Window(NamedTuple):
    """Some slots that follow one another."""

    first: int
    slots: int


class Windows:
    """The windows of a table; iterates over all of them, the large ones."""

    def __init__(self, fd: int, slots: int) -> None:
        self.slots_each = min(slots, WINDOW_SLOTS)
        self._fd = fd
        self._slots = slots

    def __iter__(self) -> Iterator[Window]:
        each = self.slots_each
        return (Window(first, each) for first in range(0, self._slots, each))

    @contextmanager
    def map(self, window: Window) -> Iterator[tuple[memoryview, memoryview]]:
        """What is in a window, as bytes and as 64-bit words."""
        size, offset = window.slots * FLOW_ENTRY.size, window.first * FLOW_ENTRY.size
        with (
            mmap.mmap(self._fd, size, offset=offset) as mapped,
            memoryview(mapped) as raw,
            raw.cast("Q") as words,
        ):
            yield raw, words

    def around(self, slot: int) -> Window:
        """The smallest window that holds the slot, and with it the whole of its bucket."""
        each = min(self._slots, SMALL_SLOTS)
        return Window(slot - slot % each, each)

    def divide(self, slots: Iterable[int]) -> Iterator[tuple[Window, list[int]]]:
        """Slots that follow one another, by a window that they lie in."""
        for number, found in groupby(slots, lambda slot: slot // self.slots_each):
            members = list(found)
            if len(members) > _FEW:
                yield Window(number * self.slots_each, self.slots_each), members
            else:
                for window, few in groupby(members, self.around):
                    yield window, list(few)
