"""How the names behind all bytes were known, and which bytes went where nobody expected.

Of a flow this is one byte: the index of its source in SOURCES, and whether it was unexpected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.counts.snapshot import DIRECTIONS, AttributedBytes
from exporter.names.attribution import NONE, SOURCES

_BOTH = range(len(DIRECTIONS))
_SOURCE_MASK = 0x3F
_HAS_FLOW = 0x40
_UNEXPECTED = 0x80

_EVIDENCE = {source: number | _HAS_FLOW for number, source in enumerate(SOURCES)}

NO_FLOW = 0
"""The evidence of a slot without a flow."""


def evidence_of(source: str, *, is_expected: bool = True) -> int:
    """The byte of a flow."""
    evidence = _EVIDENCE[source]
    return evidence if is_expected else evidence | _UNEXPECTED


UNNAMED = evidence_of(NONE)


class Evidence:
    """The sums over all bytes, by direction."""

    def __init__(self) -> None:
        self._attributed = [[0] * len(SOURCES) for _ in _BOTH]
        self._unexpected = [0, 0]

    def add(self, direction: int, evidence: int, wire_bytes: int) -> None:
        """Bytes of a flow with that evidence."""
        self._attributed[direction][evidence & _SOURCE_MASK] += wire_bytes
        if evidence & _UNEXPECTED:
            self._unexpected[direction] += wire_bytes

    def unexpected_bytes(self, direction: int) -> int:
        """Bytes of domains that were not expected."""
        return self._unexpected[direction]

    def attributed(self) -> tuple[AttributedBytes, ...]:
        """How the names behind all bytes were known."""
        return tuple(
            AttributedBytes(DIRECTIONS[direction], source, wire_bytes)
            for direction in _BOTH
            for source, wire_bytes in zip(SOURCES, self._attributed[direction], strict=True)
        )

    def state(self) -> dict[str, Any]:
        """What `restore` takes, for JSON."""
        return {"attributed": self._attributed, "unexpected": self._unexpected}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Adds what another process had."""
        for direction in _BOTH:
            for n, wire_bytes in enumerate(state["attributed"][direction]):
                self._attributed[direction][n] += wire_bytes
            self._unexpected[direction] += state["unexpected"][direction]
