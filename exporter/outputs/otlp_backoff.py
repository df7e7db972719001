"""How long to wait before a push is tried again.

Source: https://opentelemetry.io/docs/specs/otlp, "OTLP/HTTP Throttling", "All Other Responses".
"""

from __future__ import annotations

from collections.abc import Callable

BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 10.0


class Backoff:
    """How long to wait before the next try: 1 s, doubled up to 10 s, with jitter."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        """*jitter* answers a number from 0 to 1."""
        self._jitter = jitter
        self._next_s = BACKOFF_FIRST_S

    def reset(self) -> None:
        """A request went well."""
        self._next_s = BACKOFF_FIRST_S

    def wait_s(self, asked_s: float | None) -> float:
        """Seconds to wait; what the collector asked for wins."""
        chosen_s, self._next_s = self._next_s, min(2 * self._next_s, BACKOFF_MAX_S)
        return asked_s if asked_s is not None else chosen_s * (0.75 + 0.25 * self._jitter())
