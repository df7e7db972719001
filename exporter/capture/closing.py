"""How idle flows leave the table without losing a packet: two grace periods, and a commit between.

    close      LIVE -> CLOSING: the kernel program opens another entry for packets that still come
    grace      every run that had found the entry LIVE has ended
    settle     the counters are final: they are folded, and the fold is committed
    zero       the entry is cleared, still CLOSING
    grace      every run that could have seen the old key has ended
    free       CLOSING -> FREE, once a commit says that nothing of the old flow is left

One grace period, and the commit after it, serve a batch that is closing and the batch before it
that is cleared. The commits are for pinned tables: the next exporter takes over what they say.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from exporter.capture.changed import CHANGES_MAX
from exporter.capture.flow_table import Change, FlowTable
from exporter.capture.grace import GracePeriods

BATCH_MAX = 8192
"""Flows that one grace period serves. It takes 1.5 s under the heaviest load; 5,000 flows a second
can go then."""


class Closing:
    """The flows on their way out."""

    def __init__(self, table: FlowTable, grace: GracePeriods) -> None:
        self.released = 0
        """Flows that have left the table so far."""
        self._table = table
        self._grace = grace
        self._closing = array("I")
        self._waiting_to_settle = array("I")
        self._cleared = array("I")
        self._waiting_to_free = array("I")

    def close_idle(self, now_s: float) -> None:
        """Begins with what has fallen idle. *now_s*: monotonic."""
        self._closing += self._table.close_idle(now_s)
        self._next_grace()

    @property
    def needs_commit(self) -> bool:
        """Whether `settled` waits for one."""
        return not self._grace.running and bool(self._waiting_to_settle or self._waiting_to_free)

    def settle(self) -> Iterator[list[Change]]:
        """To be called when the grace period's descriptor is readable.

        Yields the last changes of flows that are gone now. Fold and commit them, forget their
        slots, then call `settled`.
        """
        if self._grace.finished():
            for begin in range(0, len(self._waiting_to_settle), CHANGES_MAX):
                part = self._waiting_to_settle[begin : begin + CHANGES_MAX]
                yield self._table.final_changes(part)

    def settled(self) -> None:
        """What `settle` returned is committed."""
        if self._grace.running:
            return
        self._table.free(self._waiting_to_free)
        self.released += len(self._waiting_to_free)
        self._waiting_to_free = array("I")
        self._table.zero(self._waiting_to_settle)
        self._cleared += self._waiting_to_settle
        self._waiting_to_settle = array("I")
        self._next_grace()

    def _next_grace(self) -> None:
        if self._grace.running or not (self._closing or self._cleared):
            return
        self._waiting_to_settle = self._closing[:BATCH_MAX]
        del self._closing[:BATCH_MAX]
        self._waiting_to_free, self._cleared = self._cleared, array("I")
        self._grace.start()
