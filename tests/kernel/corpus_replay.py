"""Runs captures through the kernel program, each frame from the side that its sender is on."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.capture.records import (
    FLOW_EGRESS,
    FLOW_INGRESS,
    LINK_ETHERNET,
    LINK_IP,
    PROTOCOL_TCP,
)
from tests.captures import DLT_EN10MB, read_capture
from tests.corpus import Capture
from tests.kernel.harness import Kernel
from tests.kernel.namespace import MTU_MAX
from tests.kernel.reference import Reading, read

_FRAME_MAX = MTU_MAX + 14
_FLAGS_OFFSET = 13
_SYN = 2


def replay(kernel: Kernel, capture: Capture, *, without_syn: bool = False) -> Iterator[None]:
    """Runs one frame for each step. Who sends the first packet of a connection is the client.

    *without_syn*: leaves the packets out that open connections.
    """
    clients: dict[frozenset[tuple[bytes, int]], tuple[bytes, int]] = {}
    kernel.reset()
    for packet in read_capture(capture.path):
        link_type = LINK_ETHERNET if packet.linktype == DLT_EN10MB else LINK_IP
        frame = packet.ip_or_ethernet()[:_FRAME_MAX]
        reading = read(frame, link_type)
        direction = FLOW_INGRESS
        if reading is not None:
            if without_syn and _is_syn(frame, reading):
                continue
            key = reading.key
            sender = (key.source, key.source_port)
            ends = frozenset((sender, (key.destination, key.destination_port)))
            if clients.setdefault(ends, sender) == sender:
                direction = FLOW_EGRESS
        kernel.set_link_type(link_type)
        kernel.run(frame, direction)
        yield


def _is_syn(frame: bytes, reading: Reading) -> bool:
    at = reading.transport + _FLAGS_OFFSET
    return reading.key.protocol == PROTOCOL_TCP and len(frame) > at and bool(frame[at] & _SYN)
