"""The one loop of the counting thread: what the kernel wakes it for, and what is due by the
clock."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

from exporter.clock import boot_s

POLL_S = 0.5
"""How often the ring is looked at. The kernel wakes the reader only in a rush of events."""

SWEEP_S = 5.0
"""How often flows are folded at the latest, unless their idle timeout is short."""

LOOK_S = 10.0
"""How often interfaces, and who else watches them, are looked at besides the kernel's own news."""


class Loop:
    """Calls what is registered, until a signal asks it to stop. One thread."""

    def __init__(self) -> None:
        self.turned_at_s = boot_s()
        """When it last came round: how a watcher in another thread sees that it lives."""
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._timers: list[_Timer] = []
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopping = False
        self.on_readable(self._stop, self._stopped)

    def on_readable(self, fd: int, call: Callable[[], None]) -> None:
        """Calls *call* whenever *fd* is readable; it must make it unreadable."""
        self._readers[fd] = call
        self._epoll.register(fd, select.EPOLLIN)

    def every(self, interval_s: float, call: Callable[[], None]) -> None:
        """Calls *call* every *interval_s* seconds, as far as time allows."""
        self._timers.append(_Timer(interval_s, call, boot_s() + interval_s))

    def stop_on_signals(self) -> None:
        """SIGTERM and SIGINT end `run`."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os.eventfd_write(self._stop, 1))

    def on_hangup(self, call: Callable[[], None]) -> None:
        """Calls *call* for a SIGHUP, once for several that come together."""
        asked = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        signal.signal(signal.SIGHUP, lambda *_: os.eventfd_write(asked, 1))

        def answer() -> None:
            os.eventfd_read(asked)
            call()

        self.on_readable(asked, answer)

    def _stopped(self) -> None:
        self._stopping = True

    def run(self) -> None:
        """Turns until it is stopped."""
        while not self._stopping:
            wait_s = max(0.0, min(timer.due_s for timer in self._timers) - boot_s())
            for fd, _ in self._epoll.poll(wait_s):
                self._readers[fd]()
            now_s = self.turned_at_s = boot_s()
            for timer in self._timers:
                if timer.due_s <= now_s:
                    timer.call()
                    timer.due_s = boot_s() + timer.interval_s


class _Timer:
    __slots__ = ("call", "due_s", "interval_s")

    def __init__(self, interval_s: float, call: Callable[[], None], due_s: float) -> None:
        self.interval_s = interval_s
        self.call = call
        self.due_s = due_s
