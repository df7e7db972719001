"""Options that this version takes and does not act on, so that a configuration outlives an update.

Each key has the values that are already true of this version; any other earns a warning.
"""

from __future__ import annotations

RESERVED: dict[str, frozenset[str]] = {
    "history.interval": frozenset(),
    "history.path": frozenset(),
    "history.retention": frozenset(),
    "otlp.endpoint": frozenset(),
    "pin.path": frozenset({"none"}),
}
