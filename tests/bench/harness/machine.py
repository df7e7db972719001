"""The machine that figures are of, and what processes take of it."""

from __future__ import annotations

import os
import platform
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.exporter_process import status_field

SENDING_CPU = 0
"""Packets are sent here, and so received here, too; everything else runs on the other CPUs."""

_CPUCLOCK_SCHED = 2
"""With the inverse of a process' id, the clock of its CPU time: see clock_getcpuclockid(3)."""


def leave_the_sending_cpu() -> None:
    """For this process and those that it starts; where there is but one CPU, all share it."""
    others = os.sched_getaffinity(0) - {SENDING_CPU}
    if others:
        os.sched_setaffinity(0, others)


@contextmanager
def every_cpu() -> Iterator[None]:
    """For what is started meanwhile, while nothing is sent at full rate."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def describe() -> dict[str, str]:
    """What to say beside figures."""
    rows = Path("/proc/cpuinfo").read_text().splitlines()
    models = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    return {
        "kernel": platform.release(),
        "CPUs": f"{os.cpu_count()} x {models[0] if models else platform.machine()}",
        "Python": platform.python_version(),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def cpu_s(pids: Iterable[int]) -> float:
    """CPU time of processes, user and system, of all threads that they ever had: to the
    nanosecond, where /proc/PID/stat counts ticks of 10 ms."""
    return sum(time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED) for pid in pids)


def pss_mb(pids: Iterable[int]) -> float:
    """Memory of processes in millions of bytes, what they share divided among all that map it."""
    total_kb = 0
    for pid in pids:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total_kb += next(int(row.split()[1]) for row in rows if row.startswith("Pss:"))
    return total_kb * 1024 / 1e6


def once_mb(pids: Iterable[int]) -> float:
    """The same as if no other process shared anything with these: each page once.

    Private pages of each, and of each part of a file the most that one of them has shared. None of
    them is a fork, so they have nothing else in common.
    """
    private_kb = 0
    shared_kb: dict[str, int] = defaultdict(int)
    for pid in pids:
        mapped, shared = "", 0
        for row in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            name, *values = row.split()
            if not name.endswith(":"):  # a heading: addresses, rights, offset, device, inode, path
                mapped, shared = " ".join(values[1:4]), 0
            elif name.startswith("Private_"):
                private_kb += int(values[0])
            elif name in ("Shared_Clean:", "Shared_Dirty:"):
                shared += int(values[0])
                shared_kb[mapped] = max(shared_kb[mapped], shared)
    return (private_kb + sum(shared_kb.values())) * 1024 / 1e6


def rss_mb(pids: Iterable[int]) -> float:
    """Memory of processes in millions of bytes, what they share counted in each."""
    return sum(status_field(pid, "VmRSS") for pid in pids) * 1024 / 1e6
