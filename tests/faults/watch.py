"""Prometheus beside the faults: it scrapes all the time, and no counter may ever go back."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.e2e.exporter_process import Response
from tests.e2e.metrics import Metrics

EVERY_S = 0.5


def check_no_counter_goes_back(before: Metrics, after: Metrics) -> None:
    """Every counter that there was is there and not less, whichever process shows it."""
    now = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for sample in after.all()
        if sample.name.startswith("ayaflow_")
    }
    for sample in before.all():
        key = (sample.name, *sorted(sample.labels.items()))
        if sample.name.startswith("ayaflow_") and sample.name.endswith("_total"):
            assert key in now, f"{key} is gone"
            assert now[key] >= sample.value, f"{key}: {now[key]} after {sample.value}"


class Watch:
    """A thread that scrapes. As a context: what it found is raised at the end."""

    def __init__(self, get: Callable[[], Response]) -> None:
        """*get* asks for the metrics."""
        self.answered = 0
        self.unanswered = 0
        """Scrapes while nobody answered: it was stopped, or between two processes."""
        self.refused = 0
        """Scrapes that were told that too many requests are being answered."""
        self._get = get
        self._problem: AssertionError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        shown: Metrics | None = None
        while not self._ended.wait(EVERY_S):
            try:
                shown = self._ask(shown)
            except OSError:
                self.unanswered += 1
            except AssertionError as problem:
                self._problem = problem
                return

    def _ask(self, shown: Metrics | None) -> Metrics | None:
        """One scrape: what it shows, or what the last one did."""
        answer = self._get()
        if answer.status == 503 and "Retry-After" in answer.headers:
            self.refused += 1
            return shown
        assert answer.status == 200, answer
        metrics = Metrics(answer.body.decode())
        if shown is not None:
            check_no_counter_goes_back(shown, metrics)
        self.answered += 1
        return metrics

    def check(self) -> None:
        """Raises what was found so far."""
        if self._problem is not None:
            raise self._problem

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.check()
