"""Where outputs ask for a snapshot, from any thread, and the pipeline hands it out."""

from __future__ import annotations

import os
import threading

from exporter.counts.rows import Shown


class SnapshotDesk:
    """Everyone who asks before a snapshot is begun gets that one; `fd` is readable while one is
    asked for.
    """

    def __init__(self, first: Shown) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._latest = first
        self._begun = 0
        self._done = 0
        self._closed = False
        self._changed = threading.Condition()

    def take(self, timeout_s: float) -> Shown:
        """A snapshot that was begun after this call, or after *timeout_s* the latest there is."""
        with self._changed:
            wanted = self._begun + 1
            os.eventfd_write(self.fd, 1)
            self._changed.wait_for(lambda: self._closed or self._done >= wanted, timeout_s)
            return self._latest

    def begin(self) -> None:
        """The pipeline begins a snapshot now; who asks from here on waits for the next one."""
        os.eventfd_read(self.fd)
        with self._changed:
            self._begun += 1

    def serve(self, snapshot: Shown) -> None:
        """Hands out the snapshot that was begun."""
        with self._changed:
            self._latest = snapshot
            self._done = self._begun
            self._changed.notify_all()

    def close(self, last: Shown) -> None:
        """The pipeline makes no more: *last* is for all who wait, and at once for all who come."""
        with self._changed:
            self._latest = last
            self._closed = True
            self._changed.notify_all()
