"""Where a push takes the history's intervals, one after the other, from a thread of its own.

The history is for one thread, the pipeline's. So the other one asks, and waits: how far it is gets
committed, and it is handed the next interval. `fd` is readable while it asks for something.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from typing import Any

from exporter.counts.history import History
from exporter.counts.replay import Interval

_LOOK_MS = 50


class Outbox:
    """The queue of one push. Who pushes calls `take` and `commit`, the pipeline all the rest."""

    def __init__(self, history: History, document: str) -> None:
        """*document*: the history's, that says how far the push is."""
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.committed: Any = history.state(document)
        """How far the last process was; None where there was none."""
        self.is_durable = history.is_durable
        """Whether the next process goes on where this one ends."""
        self.oldest = history.oldest()
        """The id of the first interval that is kept."""
        self.newest = history.newest
        """The id of the last one."""
        self._history = history
        self._document = document
        self._replay = history.replay(0)
        self._changed = threading.Condition()
        self._progress: object = None
        self._takes = False
        self._taken: Interval | None = None
        self._closed = False

    def rewind(self, after: int) -> None:
        """The first interval to be taken is the one after that id."""
        self._replay = self._history.replay(after)

    def take(self) -> Interval | None:
        """The next interval, once there is one; None where no more will come."""
        with self._changed:
            self._takes, self._taken = True, None
            self._ask(lambda: self._taken is not None or self._closed)
            self._takes = False
            return self._taken

    def commit(self, progress: object) -> None:
        """Returns once it is committed how far the push is."""
        with self._changed:
            self._progress = progress
            self._ask(lambda: self._progress is None or self._closed)

    def _ask(self, is_answered: Callable[[], bool]) -> None:
        os.eventfd_write(self.fd, 1)
        self._changed.wait_for(is_answered)

    def serve(self) -> None:
        """Answers what is asked; to be called as well when an interval has ended."""
        if select.select([self.fd], [], [], 0)[0]:
            os.eventfd_read(self.fd)
        with self._changed:
            if self._progress is not None:
                self._history.set_state(self._document, self._progress)
                self._progress = None
            self.oldest, self.newest = self._history.oldest(), self._history.newest
            if self._takes and self._taken is None:
                self._taken = self._replay.next()
            self._changed.notify_all()

    def serve_the_rest(self, is_done: Callable[[], bool], deadline_s: float) -> None:
        """No interval comes any more: serves those that there are, until a time.monotonic()."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        self.serve()
        while not is_done() and time.monotonic() < deadline_s:
            poll.poll(_LOOK_MS)
            self.serve()
            with self._changed:
                if self._takes and self._taken is None:
                    self._closed = True
                    self._changed.notify_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
