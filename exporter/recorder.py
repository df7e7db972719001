"""Between the counting and everybody who is shown its counts: they are committed first.

A counter that somebody has seen can so never go back, however this process ends: the next one goes
on from what was committed last.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from exporter.capture import privileges
from exporter.capture.device_slots import DeviceSlots
from exporter.capture.flow_table import FlowTable
from exporter.clock import Now
from exporter.config import HistoryConfig
from exporter.counting import Counting
from exporter.counts.earlier import Earlier
from exporter.counts.fold import Fold
from exporter.counts.history import History
from exporter.counts.rates import WINDOW_S, Rates
from exporter.counts.rows import DOMAIN, Shown, rows_of
from exporter.counts.snapshot import DIRECTIONS
from exporter.pinning import Pinning
from exporter.pushing import Pushing
from exporter.reloading import Reloading
from exporter.serving import Serving

_FOLD, _DEVICES, _WEIGHTS, _BEGAN = "fold", "devices", "weights", "began"


def open_history(settings: HistoryConfig, user_id: int, group_id: int) -> History:
    """Its files are those of the user that the server becomes."""
    if settings.path is None:
        return History()
    from exporter.counts import history_store  # here: SQLite takes 2 MB

    path = Path(settings.path).absolute()

    def give() -> None:
        with suppress(OSError):  # opening it says what is wrong
            privileges.give_folder(path.parent, path.name, user_id, group_id)

    give()
    with privileges.acting_as(user_id, group_id):
        if os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
            return history_store.open_history(path, settings.retention_s, settings.max_bytes)
    # That user cannot get there, as into a checkout in another's home: root can, and hands it over.
    history = history_store.open_history(path, settings.retention_s, settings.max_bytes)
    give()
    return history


def began_s(history: History, now: Now) -> float:
    """When counting began, in this process or in the first whose counts it goes on from."""
    began = history.state(_BEGAN)
    return now.wall_s if began is None else min(float(began), now.wall_s)


def restore_devices(history: History, slots: DeviceSlots, now: Now, *, same_map: bool) -> None:
    """Goes on with the totals of another process. To be called before anything is attached."""
    state = history.state(_DEVICES)
    if state is not None:
        slots.restore(state, now.boot_s, same_map=same_map)


class Recorder:
    """Draws snapshots, records them, and ends the intervals of the history."""

    def __init__(
        self,
        history: History,
        counting: Counting,
        fold: Fold,
        pinning: Pinning,
        push: Pushing,
        reloading: Reloading,
        serving: Serving,
        began_s: float,
    ) -> None:
        """*push*, *reloading* and *serving* are asked how they fare; *began_s*: as of the function
        of that name.
        """
        self._history = history
        self._counting = counting
        self._fold = fold
        self._slots = counting.slots
        self._pinning = pinning
        self._push = push
        self._reloading = reloading
        self._serving = serving
        self._began_s = began_s
        self._earlier = Earlier(history.restored_rows, same_map=pinning.is_takeover)
        self._rates = Rates()

    def go_on(self, table: FlowTable, now: Now) -> None:
        """Goes on with what the history has, and commits that it does."""
        self._restore(now)
        self._pinning.take_over(table, self._fold, now)
        if self._pinning.is_takeover:
            self._counting.reconcile(now)
        self._replay_last_minute(now)
        self.end_interval(now)
        self._pinning.clean_up()

    def _restore(self, now: Now) -> None:
        state: dict[str, Any] | None = self._history.state(_FOLD)
        if state is None:
            return
        rows = [row for row in self._history.restored_rows if row.family == DOMAIN]
        weights = self._history.state(_WEIGHTS) or {}
        same_map = self._pinning.is_takeover
        self._fold.restore(state, rows, weights, now, same_map=same_map)
        if same_map:
            return
        # The totals were read after the flows: what only they have seen has no name any more.
        for direction in range(len(DIRECTIONS)):
            carried, explained = self._slots.carried(direction), self._fold.explained(direction)
            packets = carried.packets - explained.packets
            wire_bytes = carried.bytes - explained.bytes
            self._fold.add_unnamed(direction, max(0, packets), max(0, wire_bytes))
            self._slots.explain(direction, max(0, -packets), max(0, -wire_bytes))

    def _replay_last_minute(self, now: Now) -> None:
        first = self._history.first_since(now.boot_s - WINDOW_S)
        if first is not None:
            for interval in self._history.replay(first - 1):
                self._rates.add(interval.rows, interval.boot_s)

    def snapshot(self, now: Now) -> Shown:
        """All counts as of now, committed."""
        return self._record(now, ends_interval=False)

    def commit(self, now: Now) -> None:
        """Commits all counts before slots of a table are used again that the next process sees."""
        if self._pinning.needs_commits:
            self.snapshot(now)

    def end_interval(self, now: Now) -> Shown:
        """As `snapshot`; an interval of the history ends with it."""
        return self._record(now, ends_interval=True)

    def _record(self, now: Now, *, ends_interval: bool) -> Shown:
        own = replace(
            self._counting.snapshot(now),
            history_errors=tuple(self._history.errors.items()),
            http_requests=self._serving.requests(),
            reloads=self._reloading.state(),
            otlp=self._push.counts(),
        )
        rows = rows_of(self._earlier.plus(own))
        states: dict[str, object] = {
            _FOLD: self._fold.state(),
            _DEVICES: self._slots.state(),
            _BEGAN: self._began_s,
        }
        if ends_interval:
            states[_WEIGHTS] = self._fold.weights(now)
        states.update(self._pinning.document())
        done = self._history.record(rows, states, now if ends_interval else None)
        self._pinning.committed(done)
        if ends_interval:
            self._rates.add(rows, now.boot_s)
        return Shown(own.folded_at_s, rows, self._rates.of(rows, now.boot_s))
