"""The thread that pushes: the history is its queue, and it takes one interval after the other.

    Outbox ──► Shown (rates, catalogue) ──► Encoder ──► Transport ──► how far, back to the Outbox

Strictly oldest first, each interval at its own time, and then the present: receivers refuse points
that are older than what they have. A request is repeated, as it was, until it is taken, refused for
good, or its interval is older than the history keeps; only then the next one goes. The cursor is
stored after each request that is over, so a process that is killed repeats at most the one that was
on its way, with the same times and values.

Source: https://opentelemetry.io/docs/specs/otlp.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from exporter import memory
from exporter.counts.outbox import Outbox
from exporter.counts.replay import Interval
from exporter.counts.snapshot import OtlpCounts
from exporter.outputs.catalogue import Family
from exporter.outputs.otlp_backoff import Backoff
from exporter.outputs.otlp_encode import Encoder
from exporter.outputs.otlp_outcome import FAILURE_REASONS, Outcome, Transport

if TYPE_CHECKING:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )

EXPORT_RESULTS = ("accepted", "partial", "dropped")
"""How a request can end: taken · taken without some points · refused for good."""

LEAD = 70
"""Intervals before the cursor that are read again for the rates: of a minute, at 1 s each."""

_OURS = "ours"
"""No reason that is counted: an error of this program."""

_log = logging.getLogger(__name__)


class Shown(Protocol):
    """What is shown of intervals, which it sees in order."""

    def add(self, interval: Interval) -> None:
        """The next interval."""

    def families(self) -> Iterable[Family]:
        """What is shown of the last one that was added."""


class OtlpSender:
    """Pushes a history's intervals, in a thread of its own."""

    def __init__(
        self,
        outbox: Outbox,
        shown: Shown,
        encoder: Encoder,
        transport: Transport,
        timeout_s: float,
        jitter: Callable[[], float] = lambda: int.from_bytes(os.urandom(2), "big") / 0xFFFF,
    ) -> None:
        """*timeout_s*: of one request."""
        self._outbox = outbox
        self._shown = shown
        self._encoder = encoder
        self._transport = transport
        self._timeout_s = timeout_s
        self._backoff = Backoff(jitter)
        self._exports = dict.fromkeys(EXPORT_RESULTS, 0)
        self._failures = dict.fromkeys(FAILURE_REASONS, 0)
        self._complained = ""
        self._waits_since_s: float | None = None
        self._stop = threading.Event()
        self._deadline_s = float("inf")
        state = outbox.committed or {}
        self._sent: int = min(state.get("sent", 0), outbox.newest)
        """The last interval that is done with."""
        self._parts: tuple[int, int] = (state.get("interval", 0), state.get("parts", 0))
        """An interval, and how many of its requests are done with."""
        self._knows_cursor = "sent" in state
        outbox.rewind(max(0, self._sent - LEAD))
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)

    def start(self) -> None:
        """Begins. To be called once privileges are given up, which each thread has for itself."""
        self._thread.start()

    def counts(self) -> OtlpCounts:
        """How it goes, in this process."""
        since_s = self._waits_since_s
        return OtlpCounts(
            tuple(self._exports.items()),
            tuple(self._failures.items()),
            0.0 if since_s is None else max(0.0, time.time() - since_s),
        )

    def close(self, timeout_s: float) -> None:
        """Pushes what there is, for so many seconds at most; the rest is for the next start."""
        self._deadline_s = time.monotonic() + timeout_s
        self._stop.set()
        self._outbox.serve_the_rest(lambda: not self._thread.is_alive(), self._deadline_s)
        if self._thread.is_alive():
            self._transport.abort()
            self._thread.join(0.5)
        self._outbox.serve()
        left = self._outbox.newest - self._sent
        if left > 0:
            later = "the next start pushes them" if self._outbox.is_durable else "they are lost"
            _log.warning("otlp: %d intervals were not pushed in time; %s", left, later)

    def _run(self) -> None:
        try:
            while self._goes_on():
                interval = self._outbox.take()
                if interval is None or not self._take(interval):
                    break
                if interval.id == self._outbox.newest:
                    memory.trim()
        finally:
            self._transport.close()

    def _goes_on(self) -> bool:
        return time.monotonic() < self._deadline_s

    def _take(self, interval: Interval) -> bool:
        """Pushes it, unless it was before. False where that was not done, and nothing goes on."""
        try:
            self._shown.add(interval)
            return interval.id <= self._sent or self._push(interval)
        except Exception:  # whatever it is, the intervals after this one are to be pushed
            if self._complained != _OURS:
                _log.exception("otlp: an interval could not be pushed, and is let go")
                self._complained = _OURS
            self._failures["rejected"] += 1
            self._done(interval)
            return True

    def _push(self, interval: Interval) -> bool:
        if self._knows_cursor and interval.id > self._sent + 1:
            self._expired(interval.id - self._sent - 1)
        self._waits_since_s = interval.wall_s
        done = self._parts[1] if self._parts[0] == interval.id else 0
        requests = self._encoder.requests(self._shown.families(), interval.wall_s)
        for part, request in enumerate(requests):
            if part < done:
                continue
            if not self._settle(request, interval):
                if self._stop.is_set():
                    return False
                self._expired(1)
                break
            self._parts = (interval.id, part + 1)
            self._store_cursor()
        self._done(interval)
        return True

    def _settle(self, request: ExportMetricsServiceRequest, interval: Interval) -> bool:
        """Repeats a request until it is done with. False where it never will, or not in time."""
        while self._goes_on():
            left_s = self._deadline_s - time.monotonic()
            outcome = self._transport.send(request, max(0.01, min(self._timeout_s, left_s)))
            self._count(outcome)
            if not outcome.retry:
                self._backoff.reset()
                return True
            if self._stop.is_set():
                return False
            stopped = self._stop.wait(self._backoff.wait_s(outcome.retry_after_s))
            if stopped and outcome.retry_after_s is not None:
                return False
            if interval.id < self._outbox.oldest:
                return False
        return False

    def _done(self, interval: Interval) -> None:
        self._sent, self._parts = interval.id, (0, 0)
        if interval.id >= self._outbox.newest:
            self._waits_since_s = None
        self._store_cursor()

    def _store_cursor(self) -> None:
        interval, parts = self._parts
        self._knows_cursor = True
        self._outbox.commit({"sent": self._sent, "interval": interval, "parts": parts})

    def _count(self, outcome: Outcome) -> None:
        if outcome.reason:
            self._failures[outcome.reason] += 1
        if not outcome.retry:
            result = "dropped" if not outcome.taken else outcome.reason or "accepted"
            self._exports[result] += 1
        if outcome.retry:
            self._complain(outcome.reason, f"{outcome.detail}; trying again until it works")
        elif outcome.reason == "partial":
            rejected = f"{outcome.rejected_points} points were rejected"
            self._complain("partial", f"{rejected}: {outcome.detail}".removesuffix(": "))
        elif outcome.reason:
            self._complain(outcome.reason, f"a request was refused for good: {outcome.detail}")
        elif self._complained:
            _log.info("otlp: pushing works again")
            self._complained = ""

    def _complain(self, reason: str, sentence: str) -> None:
        """Once for each reason, until it works again."""
        if self._complained != reason:
            _log.warning("otlp: %s", sentence)
            self._complained = reason

    def _expired(self, intervals: int) -> None:
        self._failures["expired"] += intervals
        self._complain("expired", "intervals grew older than history.retention, and are let go")
