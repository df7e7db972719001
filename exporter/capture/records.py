"""The records that the kernel program and the exporter share, as bpf/flow_events.h lays them out.

That header is the truth; a test compiles it and compares sizes, offsets and values with this file.
Integers are in the machine's byte order, addresses and ports in network byte order.
"""

from __future__ import annotations

import operator
import struct
from typing import NamedTuple

RECORD_LAYOUT_VERSION = 5

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
FLOW_ENTRY_FIELDS = (
    "head",
    "source",
    "destination",
    "ports",
    "inspection",
    "packets",
    "bytes",
)

DEVICE = struct.Struct("=IHBB")
DEVICE_FIELDS = ("ifindex", "slot", "link_type", "listen_only")

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
    dropped_events: int
    dropped_payloads: int


ZERO_TOTALS = DeviceTotals(*[0] * 8)


def plus(one: DeviceTotals, other: DeviceTotals) -> DeviceTotals:
    """The sum, field by field."""
    return DeviceTotals(*map(operator.add, one, other))


def minus(one: DeviceTotals, other: DeviceTotals) -> DeviceTotals:
    """The difference, field by field."""
    return DeviceTotals(*map(operator.sub, one, other))


FLOW_EVENT = struct.Struct("=QII" + FLOW_ENTRY.format[1:])
FLOW_EVENT_FIELDS = ("boot_ns", "type", "slot")


PAYLOAD_DATA_MAX = 4096
PAYLOAD_NO_SLOT = 0xFFFFFFFF

PAYLOAD_EVENT = struct.Struct("=QQ16s16s4sIIIHHI")
PAYLOAD_EVENT_FIELDS = (
    "boot_ns",
    "head",
    "source",
    "destination",
    "ports",
    "inspection",
    "slot",
    "sequence",
    "data_len",
    "segment_len",
    "reserved",
)

PROTOCOL_TCP = 6
PROTOCOL_UDP = 17


class Payload(NamedTuple):
    """`struct payload_event`: some of the payload of one packet, and whose it is."""

    boot_ns: int
    """CLOCK_BOOTTIME."""
    slot: int
    """Of the flow, in the flow table; PAYLOAD_NO_SLOT without one."""
    device_slot: int
    protocol: int
    """IP protocol number."""
    source: bytes
    """4 or 16 bytes."""
    destination: bytes
    source_port: int
    destination_port: int
    sequence: int
    """Of TCP: the number of the first byte of `data`."""
    segment_len: int
    """Of UDP: how long each datagram of a super-packet is, else 0."""
    data: bytes


def decode_payload(record: bytes) -> Payload:
    """A record of the ring, with the bytes that follow its head."""
    boot_ns, head, source, destination, ports, _, slot, sequence, data_len, segment_len, _ = (
        PAYLOAD_EVENT.unpack_from(record)
    )
    flow = decode_flow(slot, head, source, destination, ports)
    return Payload(
        boot_ns,
        slot,
        flow.device_slot,
        flow.protocol,
        flow.source,
        flow.destination,
        flow.source_port,
        flow.destination_port,
        sequence,
        segment_len,
        record[PAYLOAD_EVENT.size : PAYLOAD_EVENT.size + data_len],
    )


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

    def is_reverse_of(self, other: Flow) -> bool:
        """Whether the addresses and ports are the other's, exchanged."""
        return (self.source, self.source_port, self.destination, self.destination_port) == (
            other.destination,
            other.destination_port,
            other.source,
            other.source_port,
        )


def decode_flow(slot: int, head: int, source: bytes, destination: bytes, ports: bytes) -> Flow:
    """The fields of a flow entry as a Flow."""
    family = head >> FLOW_HEAD_FAMILY & 0xF
    if family == 4:
        source, destination = source[:4], destination[:4]
    both_ports = int.from_bytes(ports, "big")
    return Flow(
        slot,
        head >> FLOW_HEAD_DIRECTION & 0xF,
        head >> FLOW_HEAD_DEVICE & 0xFFFF,
        family,
        head >> FLOW_HEAD_PROTOCOL & 0xFF,
        head >> FLOW_HEAD_FLAGS & 0xFF,
        source,
        destination,
        both_ports >> 16,
        both_ports & 0xFFFF,
    )
