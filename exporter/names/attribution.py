"""Whose flow is it: the one question that this room answers.

Nothing is learnt from packets yet, so every flow is `unknown`.
"""

from __future__ import annotations

from exporter.capture.records import Flow

UNKNOWN = "unknown"
"""The domain of what could not be attributed."""


class Attribution:
    """Gives each flow its domain."""

    def domain_of(self, flow: Flow) -> str:
        """The domain that the flow's packets and bytes are counted under."""
        return UNKNOWN
