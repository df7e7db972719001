"""The two clocks: one that is only ever a stamp, one for every timeout."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple


class Now(NamedTuple):
    """One moment."""

    wall_s: float
    """Seconds since the epoch; may be stepped, so it is only a stamp."""
    boot_s: float
    """CLOCK_BOOTTIME: monotonic, and goes on while the machine is suspended."""


def boot_s() -> float:
    """CLOCK_BOOTTIME in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def now() -> Now:
    """This moment."""
    return Now(time.time(), boot_s())


def boot_id() -> str:
    """Which boot of the machine boot_s counts from; empty where nothing says so."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
