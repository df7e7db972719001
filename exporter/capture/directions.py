"""Two programs of the one that is compiled: one for each direction."""

from __future__ import annotations

import struct

from exporter.capture.records import FLOW_EGRESS, FLOW_INGRESS
from exporter.errors import ExporterError

_DIRECTION_PLACE = struct.pack("=I", 0x41594146)
"""As in bpf/flow_monitor.c."""


def programs_of(instructions: bytes) -> list[tuple[str, bytes]]:
    """Name and instructions of the programs for ingress and egress: the one that was compiled, with
    its direction put in its place. To compile it twice takes half as long again.
    """
    before, place, after = instructions.partition(_DIRECTION_PLACE)
    if not place or len(before) % 8 != 4 or _DIRECTION_PLACE in after:
        raise ExporterError("the compiled kernel program has no place for its direction")
    return [
        (name, before + struct.pack("=i", direction) + after)
        for name, direction in (("monitor_ingress", FLOW_INGRESS), ("monitor_egress", FLOW_EGRESS))
    ]
