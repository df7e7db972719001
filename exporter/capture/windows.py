"""The flow table's map, a window at a time: mapped whole, it would be memory of this process."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby

from exporter.capture.records import FLOW_ENTRY

WINDOW_SLOTS = 4096
"""256 KB: few enough mappings for a sweep, little memory for each."""


class Windows:
    """The windows of a table, each of which is known by its first slot; iterates over these."""

    def __init__(self, fd: int, slots: int) -> None:
        self.slots_each = min(slots, WINDOW_SLOTS)
        self._fd = fd
        self._slots = slots

    def __iter__(self) -> Iterator[int]:
        return iter(range(0, self._slots, self.slots_each))

    @contextmanager
    def map(self, first: int) -> Iterator[tuple[memoryview, memoryview]]:
        """The window that begins with slot *first*, as bytes and as 64-bit words."""
        size = self.slots_each * FLOW_ENTRY.size
        with (
            mmap.mmap(self._fd, size, offset=first * FLOW_ENTRY.size) as mapped,
            memoryview(mapped) as raw,
            raw.cast("Q") as words,
        ):
            yield raw, words

    def divide(self, slots: Iterable[int]) -> Iterator[tuple[int, list[int]]]:
        """Slots that follow one another, by the window that they lie in."""
        for window, members in groupby(slots, lambda slot: slot // self.slots_each):
            yield window * self.slots_each, list(members)
