"""The one loop of the counting thread: what the kernel wakes it for, and what is due by the
clock."""

from __future__ import annotations

import math
import os
import select
import signal
from collections.abc import Callable

from exporter.clock import boot_s

POLL_S = 0.5
"""How often the rings are looked at while something comes. The kernel wakes their reader only in a
rush of events."""

SWEEP_S = 5.0
"""How often flows are folded at the latest, unless their idle timeout is short."""

REST_S = 10.0
"""How often both are done while there is nothing to do."""

LOOK_S = 10.0
"""How often interfaces, and who else watches them, are looked at besides the kernel's own news."""


SLACK_S = 0.1
"""What is due so soon is called at once: to wake up takes longer than most of what is done then."""


class Loop:
    """Calls what is registered, until a signal asks it to stop. One thread."""

    def __init__(self) -> None:
        self.expected_s = boot_s()
        """When it began to turn, or will next at the latest: how a watcher in another thread sees
        that it lives.
        """
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._timers: list[Timer] = []
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopping = False
        self.on_readable(self._stop, self._stopped)

    def on_readable(self, fd: int, call: Callable[[], None]) -> None:
        """Calls *call* whenever *fd* is readable; it must make it unreadable."""
        self._readers[fd] = call
        self._epoll.register(fd, select.EPOLLIN)

    def every(self, interval_s: float, call: Callable[[], None]) -> Timer:
        """Calls *call* every *interval_s* seconds, as far as time allows; where that is infinite,
        only when the timer is asked to.
        """
        timer = Timer(interval_s, call)
        self._timers.append(timer)
        return timer

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
            self.expected_s = min(timer.due_s for timer in self._timers)
            readable = self._epoll.poll(max(0.0, self.expected_s - boot_s()))
            self.expected_s = boot_s()
            for fd, _ in readable:
                self._readers[fd]()
            now_s = boot_s()
            for timer in self._timers:
                if timer.due_s <= now_s + SLACK_S:
                    timer.due_s = math.inf
                    timer.call()
                    timer.within(timer.interval_s)


class Timer:
    """Of a loop: a call that is due at some time."""

    __slots__ = ("call", "due_s", "interval_s")

    def __init__(self, interval_s: float, call: Callable[[], None]) -> None:
        self.interval_s = interval_s
        self.call = call
        self.due_s = boot_s() + interval_s

    def within(self, wait_s: float) -> None:
        """The next call comes in so many seconds, unless it comes sooner."""
        self.due_s = min(self.due_s, boot_s() + wait_s)
