"""The records that the kernel program and the exporter share, as bpf/flow_events.h lays them out.

That header is the truth; a test compiles it and compares sizes, offsets and values with this file.
Integers are in the machine's byte order, addresses and ports in network byte order.
"""

from __future__ import annotations

import operator
import struct
from typing import NamedTuple

RECORD_LAYOUT_VERSION = 1

FLOW_INGRESS = 0
FLOW_EGRESS = 1

FLOW_FREE = 0
FLOW_CLAIM = 1
FLOW_LIVE = 2
FLOW_CLOSING = 3
FLOW_SUPERSEDED = 4

FLOW_OPENER = 1
FLOW_ENDED = 2

FLOW_HEAD_FLAGS = 8
FLOW_HEAD_PROTOCOL = 16
FLOW_HEAD_FAMILY = 24
FLOW_HEAD_DIRECTION = 28
FLOW_HEAD_DEVICE = 32

FLOW_BUCKET_SLOTS = 64

LINK_OTHER = 0
LINK_ETHERNET = 1
LINK_IP = 2

DEVICE_BUCKETS = 1024
DEVICE_PROBES = 8

FLOW_EVENT_NEW = 1
FLOW_EVENT_END = 2

FLOW_ENTRY = struct.Struct("=Q16s16s4sIQQ")
FLOW_ENTRY_FIELDS = ("head", "source", "destination", "ports", "reserved", "packets", "bytes")

DEVICE = struct.Struct("=IHBB")
DEVICE_FIELDS = ("ifindex", "slot", "link_type", "reserved")

DEVICE_TOTALS = struct.Struct("=8Q")


class DeviceTotals(NamedTuple):
    """`struct device_totals`: of one device in one direction; packets and wire bytes,
    cumulative."""

    packets: int
    bytes: int
    overflow_packets: int
    overflow_bytes: int
    non_ip_packets: int
    non_ip_bytes: int
    events: int
    dropped_events: int


ZERO_TOTALS = DeviceTotals(*[0] * 8)


def plus(one: DeviceTotals, other: DeviceTotals) -> DeviceTotals:
    """The sum, field by field."""
    return DeviceTotals(*map(operator.add, one, other))


def minus(one: DeviceTotals, other: DeviceTotals) -> DeviceTotals:
    """The difference, field by field."""
    return DeviceTotals(*map(operator.sub, one, other))


FLOW_EVENT = struct.Struct("=QII" + FLOW_ENTRY.format[1:])
FLOW_EVENT_FIELDS = ("boot_ns", "type", "slot")


class Flow(NamedTuple):
    """One direction of one flow: what `struct flow_entry` says of who talks to whom."""

    slot: int
    """Index into the flow table."""
    direction: int
    """FLOW_INGRESS or FLOW_EGRESS."""
    device_slot: int
    family: int
    """4 or 6."""
    protocol: int
    """IP protocol number."""
    flags: int
    """FLOW_OPENER, FLOW_ENDED."""
    source: bytes
    """4 or 16 bytes."""
    destination: bytes
    source_port: int
    """0 where the protocol has no ports, and in later fragments."""
    destination_port: int


def decode_flow(slot: int, head: int, source: bytes, destination: bytes, ports: bytes) -> Flow:
    """The fields of a flow entry as a Flow."""
    family = head >> FLOW_HEAD_FAMILY & 0xF
    address_len = 4 if family == 4 else 16
    return Flow(
        slot,
        head >> FLOW_HEAD_DIRECTION & 0xF,
        head >> FLOW_HEAD_DEVICE & 0xFFFF,
        family,
        head >> FLOW_HEAD_PROTOCOL & 0xFF,
        head >> FLOW_HEAD_FLAGS & 0xFF,
        source[:address_len],
        destination[:address_len],
        int.from_bytes(ports[:2], "big"),
        int.from_bytes(ports[2:], "big"),
    )
