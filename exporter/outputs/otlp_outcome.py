"""What became of one try to push, and what the OTLP specification makes of it.

Source: https://opentelemetry.io/docs/specs/otlp, "Failures", "Retryable Response Codes" and
"Failures (gRPC)".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
        ExportMetricsServiceResponse,
    )

RETRY_AFTER_MAX_S = 900.0
"""The longest that a collector can ask for: a slip of its own must not end the pushes for good."""

DETAIL_MAX = 200
"""Characters of a collector's words that the log repeats."""

FAILURE_REASONS = ("connection", "timeout", "unavailable", "rejected", "partial", "expired")
"""Why a push can fail: no connection or no answer that can be understood · no answer in time · an
answer after which to try again · one after which not to · some points rejected, the others taken ·
an interval older than the history's retention before it could be sent."""


class Outcome(NamedTuple):
    """Of one try."""

    reason: str = ""
    """Empty where the request was taken as a whole, else one of FAILURE_REASONS."""
    detail: str = ""
    """For the log; one line."""
    retry: bool = False
    retry_after_s: float | None = None
    """What the collector asked for."""
    rejected_points: int = 0

    @property
    def taken(self) -> bool:
        """Whether the request was taken, be it without some of its points."""
        return self.reason in ("", "partial")


class Transport(Protocol):
    """One way to a collector. Used by one thread, but for `abort`."""

    def send(self, request: ExportMetricsServiceRequest, timeout_s: float) -> Outcome:
        """Sends one request and waits for the answer, at most *timeout_s* seconds."""

    def abort(self) -> None:
        """Ends a `send` of another thread soon, as one that failed."""

    def close(self) -> None:
        """Closes what is open."""


def taken(response: ExportMetricsServiceResponse) -> Outcome:
    """The outcome of a request that was answered with success."""
    partial = response.partial_success
    if partial.rejected_data_points > 0:
        return Outcome(
            "partial", one_line(partial.error_message), False, None, partial.rejected_data_points
        )
    return Outcome(detail=one_line(partial.error_message))


def one_line(text: str) -> str:
    """What a collector said, fit for the log."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in text[:1000]).split())
    return shown if len(shown) <= DETAIL_MAX else shown[:DETAIL_MAX] + "…"


def bounded_retry_after(seconds: float) -> float:
    """Between nothing and RETRY_AFTER_MAX_S."""
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_S)
