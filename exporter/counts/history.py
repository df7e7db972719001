"""The history: what every series was at each interval, and is.

It is kept in a SQLite file (`history_store`), or not at all: where no file is wanted, and where the
one that is cannot be used. That never stops the counting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from exporter.clock import Now, boot_id
from exporter.counts.replay import Replay
from exporter.counts.rows import Row
from exporter.counts.unwritten import Waiting

REASONS = ("full", "read_only", "corrupt", "locked", "schema", "io")
"""Why the file could not be used: the label `reason`."""


class History:
    """A history of the last interval alone: enough to push what is now."""

    is_durable = False
    """Whether what is recorded outlives this process."""

    def __init__(self) -> None:
        self.errors = dict.fromkeys(REASONS, 0)
        self.restored_rows: list[Row] = []
        """Every series as it was last committed by the process before this one."""
        self.newest = 0
        """The id of the last interval; 0 before the first."""
        self._boot_id = boot_id()
        self._latest: Waiting | None = None

    def state(self, key: str) -> Any:
        """A document as it was committed last; None without one."""
        return None

    def set_state(self, key: str, value: object) -> None:
        """Commits a document at once."""

    def record(
        self, rows: Iterable[Row], states: Mapping[str, object], interval_at: Now | None = None
    ) -> bool:
        """Commits what every series is now, and with *interval_at* that an interval ends.

        False where that could not be written: it is counted, and waits for the next success.
        """
        if interval_at is not None:
            self.newest += 1
            every = dict(enumerate(rows))
            self._latest = Waiting(
                self.newest, interval_at, every, [], self._boot_id, is_complete=True
            )
        return False

    def replay(self, after: int) -> Replay:
        """The intervals after the one with that id, oldest first; 0: all that are kept."""
        return Replay(self, after)

    def oldest(self) -> int:
        """The id of the first interval that is kept; `newest` where none is."""
        return self.newest

    def first_since(self, boot_s: float) -> int | None:
        """The id of the first interval since then, by CLOCK_BOOTTIME of this boot."""
        return None

    def complete(self, number: int) -> dict[int, Row]:
        """Every series as it was at an interval that is in the file, by the series' number."""
        return {}

    def changes(self, after: int) -> Waiting | None:
        """The first interval after an id; None while there is none."""
        return self._latest if self.newest > after else None

    def close(self) -> None:
        """Lets go of the file."""
