"""What the serving process uses itself, as the kernel counts it."""

from __future__ import annotations

import os
import resource
import time
from typing import NamedTuple

_STARTED_S = time.time()
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessUsage(NamedTuple):
    """Of one moment."""

    cpu_s: float
    """User and system time since the start."""
    resident_bytes: int
    started_s: float
    """Seconds since the epoch."""


def usage() -> ProcessUsage:
    """As of now (getrusage(2), proc_pid_statm(5)); without /proc the memory is 0."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            resident_pages = int(file.read().split()[1])
    except OSError:
        resident_pages = 0
    return ProcessUsage(used.ru_utime + used.ru_stime, resident_pages * _PAGE_BYTES, _STARTED_S)
