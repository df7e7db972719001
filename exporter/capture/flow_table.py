"""The flow table as the exporter sees it: what each flow has counted since it was last looked at.

The kernel program writes it, this process reads it in place, through windows that are mapped one
after the other: mapping the whole table would count its 8 MB as memory of this process.

Of each slot the table keeps what has been folded already. A sweep compares bytes column by column,
and only where something changed does Python look at single flows. Bytes are read before packets,
and the kernel adds to packets first: what a sweep sees of one it sees of the other, now or in a
later one.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from exporter.capture import changed
from exporter.capture.changed import BYTES_WORD, WORDS, Part
from exporter.capture.records import (
    FLOW_BUCKET_SLOTS,
    FLOW_CLAIM,
    FLOW_CLOSING,
    FLOW_ENDED,
    FLOW_ENTRY,
    FLOW_FREE,
    FLOW_HEAD_DIRECTION,
    FLOW_HEAD_FLAGS,
    FLOW_HEAD_PROTOCOL,
    FLOW_LIVE,
    Flow,
    decode_flow,
)
from exporter.capture.timeouts import Timeouts
from exporter.capture.windows import Windows
from exporter.memory import positions, zeros

TCP_TIMEOUT_FACTOR = 5
"""TCP flows may be silent this many times longer than others before they count as idle."""

LINGER_S = 10.0
"""How long an ended flow stays, for its last acknowledgements, or as long as an idle one."""

HARDLY_BEGUN_PACKETS = 2
"""No TCP connection that carried data has so few. One that never came about may be silent as long
as other flows, in a table half full as long as an ended one: floods hold slots for seconds."""

_PACKETS_WORD = 6
_STATE_MASK = 0xFF
_FLAGS_AND_STATE = 0xFFFF
_STATE_BYTE = 0 if sys.byteorder == "little" else 7
_ENDED = FLOW_ENDED << FLOW_HEAD_FLAGS
_PROTOCOL_TCP = 6
_UNKNOWN, _OPEN, _CLOSED = range(3)
"""What the exporter knows of a slot. From `close_idle` to `free` it is closed, whatever the table
says: a run that had begun may still have an end to tell, or mark the entry SUPERSEDED."""
_IS_KNOWN = bytes.maketrans(bytes((_CLOSED,)), bytes((_OPEN,)))
"""Makes all slots the same that are not _UNKNOWN."""
_FEW_OF = 32
"""Flows are few where no more than one of so many slots has one."""
_ZERO_COUNTERS = memoryview(bytes(8 * (WORDS - 1))).cast("Q")


class Change(NamedTuple):
    """What one slot has counted since the last look."""

    slot: int
    head: int
    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """What was found in one part of a window."""

    opened: list[Flow]
    """Flows that no event has announced."""
    changes: list[Change]


def slots_for(flows_max: int) -> int:
    """Slots for *flows_max* flows: a power of two, at least twice as many."""
    return max(FLOW_BUCKET_SLOTS, 1 << (2 * flows_max - 1).bit_length())


class FlowTable:
    """All slots: what was folded of each, and when it falls idle. Times are monotonic seconds."""

    def __init__(self, fd: int, slots: int, idle_timeout_s: float, now_s: float) -> None:
        self.slots = slots
        self.entries = 0
        self.used_windows: set[int] = set()
        """The first slots of the windows in which there ever was a flow."""
        self._windows = Windows(fd, slots)
        self._window_slots = self._windows.slots_each
        self._folded_packets = zeros("Q", slots)
        self._folded_bytes = zeros("Q", slots)
        self._stage = zeros("B", slots)
        self._timeouts = Timeouts(slots, idle_timeout_s * TCP_TIMEOUT_FACTOR, now_s)
        self._tcp_ticks = self._timeouts.ticks(idle_timeout_s * TCP_TIMEOUT_FACTOR)
        self._idle_ticks = self._timeouts.ticks(idle_timeout_s)
        self._linger_ticks = self._timeouts.ticks(min(idle_timeout_s, LINGER_S))

    def announced(self, slot: int, head: int) -> bool:
        """Notes a flow that an event tells of; False if it was known already."""
        if self._stage[slot] != _UNKNOWN:
            return False
        self._stage[slot] = _OPEN
        self.used_windows.add(slot - slot % self._window_slots)
        self.entries += 1
        self._timeouts.set(slot, self._ticks(slot, head))
        return True

    @property
    def folded_columns(self) -> tuple[memoryview[int], memoryview[int]]:
        """What was folded of each slot: packets and bytes."""
        return self._folded_packets, self._folded_bytes

    def restore(
        self, windows: Collection[int], is_bound: memoryview[int]
    ) -> Iterator[tuple[Flow, bool]]:
        """Takes up the flows of an exporter that ended, once `folded_columns` hold what it folded.

        *windows*: those for which they hold something, by first slot; *is_bound*: by slot, whether
        it knew whose the flow is. Yields each flow that is known now, and whether it is open. What
        it did not know is left to the next sweep; what was on its way out falls idle once more.
        """
        for window in self._windows:
            with self._windows.map(window) as (raw, words):
                for place, head in enumerate(words[::WORDS].tolist()):
                    state = head & _STATE_MASK
                    is_free = state in (FLOW_FREE, FLOW_CLAIM)
                    if is_free and window.first not in windows:
                        continue  # reading the columns would take memory
                    slot = window.first + place
                    counted = words[place * WORDS + BYTES_WORD]
                    if is_free or counted < self._folded_bytes[slot]:  # cleared since
                        self._folded_packets[slot] = self._folded_bytes[slot] = 0
                    if not is_free and (is_bound[slot] or counted == self._folded_bytes[slot]):
                        self.announced(slot, head)
                        yield self._decode(slot, raw, place), state == FLOW_LIVE

    def is_known(self, slot: int) -> bool:
        """Whether the slot has a flow that was announced or found by a sweep."""
        return slot < self.slots and self._stage[slot] != _UNKNOWN

    def folded(self, slot: int) -> tuple[int, int]:
        """Packets and bytes that changes have reported of the slot's flow so far."""
        return self._folded_packets[slot], self._folded_bytes[slot]

    def ended(self, slot: int) -> None:
        """Notes that FIN or RST was seen: the flow may go soon."""
        if self._stage[slot] == _OPEN:
            self._timeouts.set(slot, self._linger_ticks)

    def _ticks(self, slot: int, head: int) -> int:
        if head & _ENDED:
            return self._linger_ticks
        if self._folded_packets[slot] <= HARDLY_BEGUN_PACKETS:
            return self._linger_ticks if 2 * self.entries > self.slots else self._idle_ticks
        is_tcp = head >> FLOW_HEAD_PROTOCOL & 0xFF == _PROTOCOL_TCP
        return self._tcp_ticks if is_tcp else self._idle_ticks

    def sweep(self, *, only_known: bool = False) -> Iterator[Sweep]:
        """What has changed since the last sweep, part by part, less those without change.

        *only_known*: it need not look for flows that no event has announced.
        """
        if only_known and self.entries * _FEW_OF < self.slots:
            stages = bytes(self._stage).translate(_IS_KNOWN)
            known = positions(bytes((_OPEN,)), stages)
            parts = changed.among(self._windows, known, self._folded_bytes)
        else:
            parts = changed.among_all(self._windows, self._folded_bytes)
        return map(self._sweep_part, parts)

    def _sweep_part(self, part: Part) -> Sweep:
        opened: list[Flow] = []
        changes: list[Change] = []
        first, places, raw, words = part
        for place, counted in places:
            at = place * WORDS
            head = words[at]
            state = head & _STATE_MASK
            if state == FLOW_CLAIM:
                continue  # being written: the next sweep sees it whole
            slot = first + place
            if self._stage[slot] == _UNKNOWN:
                self.announced(slot, head)
                opened.append(self._decode(slot, raw, place))
            changes.append(self._change(slot, head, words[at + _PACKETS_WORD], counted))
            if state == FLOW_LIVE:
                self._timeouts.set(slot, self._ticks(slot, head))
        return Sweep(opened, changes)

    @staticmethod
    def _decode(slot: int, raw: memoryview, place: int) -> Flow:
        head, source, destination, ports, *_ = FLOW_ENTRY.unpack_from(raw, place * FLOW_ENTRY.size)
        return decode_flow(slot, head, source, destination, ports)

    def flows(self, slots: Iterable[int]) -> list[Flow]:
        """What the table says of known flows."""
        found: list[Flow] = []
        for window, members in self._windows.divide(sorted(slots)):
            with self._windows.map(window) as (raw, _):
                found += [self._decode(slot, raw, slot - window.first) for slot in members]
        return found

    def with_peer(self, slot: int) -> list[Flow]:
        """The flow in a slot, and behind it the known one of the other direction; of several the
        live one, for an earlier connection between the same ports may be on its way out.
        """
        window = self._windows.around(slot)
        with self._windows.map(window) as (raw, words):
            mine = self._decode(slot, raw, slot - window.first)
            wanted = words[(slot - window.first) * WORDS] ^ 1 << FLOW_HEAD_DIRECTION
            first = slot - slot % FLOW_BUCKET_SLOTS
            found: list[Flow] = []
            # Most often it is the neighbour.
            for other in chain((slot ^ 1,), range(first, first + FLOW_BUCKET_SLOTS)):
                place = other - window.first
                head = words[place * WORDS]
                if (head ^ wanted) & ~_FLAGS_AND_STATE or not self.is_known(other):
                    continue
                flow = self._decode(other, raw, place)
                if flow.is_reverse_of(mine):
                    found = [flow]
                    if head & _STATE_MASK == FLOW_LIVE:
                        break
        return [mine, *found]

    def _change(self, slot: int, head: int, packets: int, counted_bytes: int) -> Change:
        """The difference to what was folded, which it becomes."""
        new_packets = packets - self._folded_packets[slot]
        new_bytes = counted_bytes - self._folded_bytes[slot]
        self._folded_packets[slot] = packets
        self._folded_bytes[slot] = counted_bytes
        return Change._make((slot, head, new_packets, new_bytes))  # half the time of a call

    def close_idle(self, now_s: float) -> array[int]:
        """Marks the flows that have fallen idle as CLOSING, and returns their slots.

        The kernel program adds to them no longer, but for runs that have begun: a grace period
        later their counters are final. A flow that has counted since the last sweep is not idle.
        """
        closed = array("I")
        for window, slots in self._windows.divide(self._timeouts.expired(now_s)):
            with self._windows.map(window) as (raw, words):
                for slot in slots:
                    place = slot - window.first
                    head = words[place * WORDS]
                    if (
                        words[place * WORDS + BYTES_WORD] != self._folded_bytes[slot]
                        and head & _STATE_MASK == FLOW_LIVE
                        and not head & _ENDED
                    ):
                        self._timeouts.set(slot, self._ticks(slot, head))
                        continue
                    raw[place * FLOW_ENTRY.size + _STATE_BYTE] = FLOW_CLOSING
                    self._stage[slot] = _CLOSED
                    closed.append(slot)
        return closed

    def _places(self, slots: Iterable[int]) -> Iterator[tuple[int, int, memoryview]]:
        """Each slot, and where its words begin in those of a window."""
        for window, members in self._windows.divide(slots):
            with self._windows.map(window) as (_, words):
                for slot in members:
                    yield slot, (slot - window.first) * WORDS, words

    def final_changes(self, slots: Sequence[int]) -> list[Change]:
        """What CLOSING flows have counted since the last sweep, once a grace period has passed."""
        return [
            self._change(slot, words[at], words[at + _PACKETS_WORD], words[at + BYTES_WORD])
            for slot, at, words in self._places(slots)
        ]

    def zero(self, slots: Sequence[int]) -> None:
        """Clears CLOSING entries whose final counters are committed; their state stays CLOSING."""
        for slot, at, words in self._places(slots):
            words[at + 1 : at + WORDS] = _ZERO_COUNTERS
            self._folded_packets[slot] = self._folded_bytes[slot] = 0

    def free(self, slots: Sequence[int]) -> None:
        """Gives cleared slots back to the kernel program, a grace period after `zero`."""
        for slot, at, words in self._places(slots):
            words[at] = FLOW_FREE
            self._stage[slot] = _UNKNOWN
        self.entries -= len(slots)
