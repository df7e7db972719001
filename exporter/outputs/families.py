"""How a counter of the snapshot becomes a metric family."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, Metric

Values = Iterable[tuple[tuple[str, ...], int, float]]
"""Label values, value, start time."""


class MakeCounter(Protocol):
    """Makes a counter's family; *name* has no `_total`, and ends in the unit if there is one."""

    def __call__(
        self, name: str, what: str, labels: tuple[str, ...], values: Values, unit: str = ""
    ) -> Metric: ...


class Counters:
    """All counters of one scrape: with their start times, or without."""

    def __init__(self, *, start_times: bool) -> None:
        self._start_times = start_times

    def family(
        self, name: str, what: str, labels: tuple[str, ...], values: Values, unit: str = ""
    ) -> Metric:
        """As MakeCounter says."""
        family = CounterMetricFamily(name, what, labels=labels, unit=unit)
        for label_values, value, created_s in values:
            family.add_metric(label_values, value, created=created_s if self._start_times else None)
        return family
