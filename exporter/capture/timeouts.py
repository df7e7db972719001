"""When each slot of the flow table falls idle: one byte a slot, found by searching bytes."""

from __future__ import annotations

import math
from array import array

from exporter.memory import positions, zero_bytes

_TICKS = 255
"""0 means no timeout, so a tick is one of 1..255."""

_LONGEST_TICKS = 250
"""The longest timeout in ticks; a few less than there are, so that it never meets the present."""

_SPARE_TICKS = 2
"""Added to each timeout, so that none ends early: `set` reckons from the last look, which may be a
tick ago, and may have come at the end of its tick."""


class Timeouts:
    """A timer wheel. Times are seconds of any monotonic clock; timeouts round up to whole ticks."""

    def __init__(self, slots: int, longest_s: float, now_s: float) -> None:
        self._tick_s = longest_s / (_LONGEST_TICKS - _SPARE_TICKS)
        self._due = zero_bytes(slots)
        self._now_tick = int(now_s / self._tick_s)

    @property
    def tick_s(self) -> float:
        """How precise it is: asked more often for what has expired, it says no more."""
        return self._tick_s

    def ticks(self, timeout_s: float) -> int:
        """A timeout in ticks, for `set`."""
        return min(_LONGEST_TICKS, math.ceil(timeout_s / self._tick_s) + _SPARE_TICKS)

    def set(self, slot: int, ticks: int) -> None:
        """The slot expires *ticks* from now, however long it had."""
        self._due[slot] = (self._now_tick + ticks) % _TICKS + 1

    def clear(self, slot: int) -> None:
        """The slot never expires."""
        self._due[slot] = 0

    def expired(self, now_s: float) -> array[int]:
        """The slots that have expired since the last call; their timeouts are cleared."""
        tick = int(now_s / self._tick_s)
        slots = array("I")  # they may be all that there are
        for passed in range(max(self._now_tick + 1, tick - _TICKS + 1), tick + 1):
            for slot in positions(bytes((passed % _TICKS + 1,)), self._due):
                slots.append(slot)
                self._due[slot] = 0
        self._now_tick = max(tick, self._now_tick)
        return slots
