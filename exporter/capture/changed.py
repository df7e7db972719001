"""Where the flow table has counted more than what was folded of it.

The bytes of an entry tell: what counts a packet counts its bytes. Either all slots are looked at,
by comparing columns, or those that are known to have a flow, each by itself. Where these are few
that takes less: of a column every cache line of the table is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from exporter.capture.records import FLOW_ENTRY
from exporter.capture.windows import Windows

CHANGES_MAX = 512
"""Slots that are objects at a time: of what a window of new flows takes, little is given back."""

WORDS = FLOW_ENTRY.size // 8
BYTES_WORD = 7
"""Which of the 64-bit words of an entry has its bytes."""

_COMPARED = 32
"""Slots of which it is asked at once whether any has changed."""


class Part(NamedTuple):
    """Some slots of a window, which is mapped until the next part is asked for."""

    first: int
    """The window's first slot."""
    changed: list[tuple[int, int]]
    """Places in the window, and the bytes that each has counted; CHANGES_MAX at most."""
    raw: memoryview
    words: memoryview


def among_all(windows: Windows, folded: memoryview) -> Iterator[Part]:
    """Those of all slots. *folded*: bytes, by slot."""
    for window in windows:
        known = folded[window.first : window.first + window.slots]
        with windows.map(window) as (raw, words), words[BYTES_WORD::WORDS] as counted:
            if counted == known:
                continue
            for begin in range(0, window.slots, CHANGES_MAX):
                changed = _differing(counted, known, begin, begin + CHANGES_MAX)
                if changed:
                    yield Part(window.first, changed, raw, words)


def among(windows: Windows, slots: Iterable[int], folded: memoryview) -> Iterator[Part]:
    """Those of some slots, which are sorted."""
    for window, members in windows.divide(slots):
        first = window.first
        with windows.map(window) as (raw, words):
            changed = [
                (slot - first, counted)
                for slot in members
                if (counted := words[(slot - first) * WORDS + BYTES_WORD]) != folded[slot]
            ]
            for begin in range(0, len(changed), CHANGES_MAX):
                yield Part(first, changed[begin : begin + CHANGES_MAX], raw, words)


def _differing(
    counted: memoryview, folded: memoryview, begin: int, end: int
) -> list[tuple[int, int]]:
    """The places at which two columns differ, and what the first has there. Python looks at a place
    only where the few around it are not all equal.
    """
    found: list[tuple[int, int]] = []
    for first in range(begin, min(end, len(counted)), _COMPARED):
        few = slice(first, first + _COMPARED)
        if counted[few] != folded[few]:
            pairs = zip(counted[few].tolist(), folded[few].tolist(), strict=True)
            found += [
                (place, now) for place, (now, before) in enumerate(pairs, first) if now != before
            ]
    return found
