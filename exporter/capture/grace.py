"""Grace periods: when one is over, every run of the program that began before it has ended."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import threading

from exporter.capture import bpf

_MEMBARRIER = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "ppc64le": 365, "s390x": 356}
_MEMBARRIER_GLOBAL = 1


class GracePeriods:
    """Waits for grace periods in a thread, since one can take over a second on a busy machine.

    `fd` becomes readable when the one that was asked for is over.
    """

    def __init__(self, grace_fd: int, inner_fd: int) -> None:
        """*grace_fd*: a map of maps with one element; *inner_fd*: what to put into it."""
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._grace_fd = grace_fd
        self._inner = struct.pack("=I", inner_fd)
        self._wanted = threading.Semaphore(0)
        self._running = False
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether one was asked for and `finished()` has not yet said that it is over."""
        return self._running

    def start(self) -> None:
        """Asks for a grace period that begins now; one at a time."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="grace", daemon=True)
            self._thread.start()
        self._running = True
        self._wanted.release()

    def finished(self) -> bool:
        """Whether the one that was asked for is over; says so once."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return False
        self._running = False
        return True

    def _serve(self) -> None:
        while True:
            self._wanted.acquire()
            self.wait()
            os.eventfd_write(self.fd, 1)

    def wait(self) -> None:
        """Blocks for one grace period."""
        try:
            bpf.map_update(self._grace_fd, bytes(4), self._inner)
        except OSError:
            # Before Linux 5.19 map updates need a capability; membarrier(2) waits for RCU too.
            number = _MEMBARRIER[platform.machine()]
            if ctypes.CDLL(None).syscall(number, _MEMBARRIER_GLOBAL, 0, 0) != 0:
                raise
