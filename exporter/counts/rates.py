"""Packets and bytes a second, as the mean over the last minute, from the intervals of the history.

What a series had at the beginning of the minute is kept, and what changed in each interval since.
Times are of CLOCK_BOOTTIME, so the wall clock may be stepped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from exporter.counts.rows import DOMAIN, Row

WINDOW_S = 60.0
SHORTEST_S = 1.0
"""A mean over less says nothing."""

Labels = tuple[str, ...]
_Counted = tuple[float, float, float]
"""Start time, packets and bytes: what began anew since begins at nothing."""
_NEVER: _Counted = (-1.0, 0, 0)


class Rates:
    """The window of one minute, which moves with each interval."""

    def __init__(self) -> None:
        self._baseline: dict[Labels, _Counted] = {}
        self._baseline_s: float | None = None
        self._latest: dict[Labels, _Counted] = {}
        self._since: deque[tuple[float, dict[Labels, _Counted]]] = deque()

    def add(self, rows: Iterable[Row], boot_s: float) -> None:
        """An interval has ended."""
        now = {row.labels: _counted(row) for row in rows if row.family == DOMAIN}
        if self._baseline_s is None:
            self._baseline, self._baseline_s = now, boot_s
        else:
            changed = {
                labels: value for labels, value in now.items() if self._latest.get(labels) != value
            }
            self._since.append((boot_s, changed))
        self._latest = now
        while self._since and self._since[0][0] <= boot_s - WINDOW_S:
            self._baseline_s, changed = self._since.popleft()
            self._baseline.update(changed)
            for labels in self._baseline.keys() - now.keys():
                del self._baseline[labels]

    def of(self, rows: Iterable[Row], boot_s: float) -> dict[Labels, tuple[float, float]]:
        """Packets and bytes a second of each domain's row, in whole thousandths: more digits mean
        nothing, and are half of what an answer to a scrape takes. 0 while the window is too short.
        """
        span_s = 0.0 if self._baseline_s is None else boot_s - self._baseline_s
        baseline = self._baseline
        rates: dict[Labels, tuple[float, float]] = {}
        for family, labels, values, created_s in rows:
            if family != DOMAIN:
                continue
            if span_s < SHORTEST_S:
                rates[labels] = (0.0, 0.0)
                continue
            since_s, packets_before, bytes_before = baseline.get(labels, _NEVER)
            if since_s != created_s:
                packets_before = bytes_before = 0
            rates[labels] = (
                (values[0] - packets_before) * 1000 // span_s / 1000,
                (values[1] - bytes_before) * 1000 // span_s / 1000,
            )
        return rates


def _counted(row: Row) -> _Counted:
    return (row.created_s, row.values[0], row.values[1])
