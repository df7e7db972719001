"""What stands in the label `domain` where no name does."""

from __future__ import annotations

UNKNOWN = "unknown"
"""What could not be attributed."""

OTHER = "other"
"""What has a name, but no series of its own."""

RESERVED = frozenset((UNKNOWN, OTHER))
"""They are host names too, and anybody may send one: such a name is never a series of its own."""
