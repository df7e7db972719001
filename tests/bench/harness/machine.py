"""How busy the machine is with other things: CPUs share caches, so that this moves every figure."""

from __future__ import annotations

import os
import time
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_LOOK_S = 0.2
_IDLE = 0.1
"""A machine that is busy no more than this share of the time counts as idle."""


def _idle_s(without: int | None = None) -> list[float]:
    """How long each CPU has had nothing to do: idle and iowait of /proc/stat."""
    found = []
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name not in ("cpu", f"cpu{without}"):
            found.append((int(ticks[3]) + int(ticks[4])) / _TICKS_PER_S)
    return found


class OtherCpus:
    """All but one: how busy they have been since this was made, with whatever."""

    def __init__(self, but: int | None) -> None:
        self._but = but
        self._idle_s = _idle_s(but)
        self._began_s = time.monotonic()

    def busy_share(self) -> float:
        """From 0 to 1, of the busiest; 0 where there is no other."""
        took_s = time.monotonic() - self._began_s
        idle_s = [now - then for now, then in zip(_idle_s(self._but), self._idle_s, strict=True)]
        return max(0.0, 1 - min(idle_s, default=took_s) / took_s)


def is_idle(busy_share: float) -> bool:
    """Whether so little is no disturbance."""
    return busy_share <= _IDLE


def wait_until_idle(until_s: float) -> None:
    """Waits until no CPU has much to do, or until that monotonic time."""
    while time.monotonic() < until_s:
        all_cpus = OtherCpus(but=None)
        time.sleep(_LOOK_S)
        if is_idle(all_cpus.busy_share()):
            return
