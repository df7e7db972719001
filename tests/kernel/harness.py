"""The real kernel program under BPF_PROG_TEST_RUN: frames in, flows, totals and events out.

Each frame that is run is also added up here, so that `check()` compares three things: what was
sent, what the totals say, and what flows, overflow and non-IP packets add up to.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from exporter.capture import bpf
from exporter.capture.loader import LoaderSettings, Programs, load_programs
from exporter.capture.records import (
    DEVICE,
    DEVICE_BUCKETS,
    DEVICE_TOTALS,
    FLOW_BUCKET_SLOTS,
    FLOW_EGRESS,
    FLOW_ENTRY,
    FLOW_EVENT,
    FLOW_FREE,
    FLOW_INGRESS,
    LINK_ETHERNET,
    DeviceTotals,
    Flow,
    Payload,
    decode_flow,
)
from exporter.capture.ring import FlowEventRing, PayloadRing
from exporter.capture.totals import DeviceTable, Totals
from tests.kernel.namespace import LiveWire

LOOPBACK_IFINDEX = 1
DEVICE_SLOT = 1
DEVICE_SLOTS = 8

FRAME_MIN = 14
FRAME_MAX = 3700
"""A test run takes at most a page less room for headers and struct skb_shared_info."""

_TEST_RUN_MIN = {b"\x08\x00": 14 + 20, b"\x86\xdd": 14 + 40}
"""By Ethernet type: kernels from 6.18 on refuse to test-run what ends within that header."""

_TC_ACT_UNSPEC = 0xFFFFFFFF
_STATE_MASK = 0xFF
_BUCKET_BYTES = FLOW_BUCKET_SLOTS * FLOW_ENTRY.size
_EMPTY_BUCKET = bytes(_BUCKET_BYTES)

# struct __sk_buff in include/uapi/linux/bpf.h, up to gso_size.
_CONTEXT = struct.Struct("=40xI120xI8xI")


class WireCounts(NamedTuple):
    """Packets and bytes as on the wire."""

    packets: int
    bytes: int

    def plus(self, packets: int, size: int) -> WireCounts:
        """The sum."""
        return WireCounts(self.packets + packets, self.bytes + size)


class FlowKey(NamedTuple):
    """What tells flows of one device and direction apart."""

    family: int
    protocol: int
    source: bytes
    destination: bytes
    source_port: int
    destination_port: int


@dataclass(frozen=True, slots=True)
class CountedFlow:
    """A slot of the flow table that is not free."""

    flow: Flow
    state: int
    counts: WireCounts
    inspection: int = field(compare=False)
    """What of the payload is still looked at; no part of what is counted."""

    @property
    def key(self) -> FlowKey:
        flow = self.flow
        return FlowKey(
            flow.family,
            flow.protocol,
            flow.source,
            flow.destination,
            flow.source_port,
            flow.destination_port,
        )


@dataclass(frozen=True, slots=True)
class Event:
    """A `struct flow_event`."""

    boot_ns: int
    type: int
    flow: CountedFlow


def possible_cpus() -> int:
    """The highest number that a CPU can have, plus one."""
    ranges = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(ranges.replace("-", ",").split(",")[-1]) + 1


def _counted_flow(slot: int, fields: tuple[int, bytes, bytes, bytes, int, int, int]) -> CountedFlow:
    head, source, destination, ports, inspection, packets, size = fields
    flow = decode_flow(slot, head, source, destination, ports)
    return CountedFlow(flow, head & _STATE_MASK, WireCounts(packets, size), inspection)


class Kernel:
    """The loaded programs with their maps in reach. Device 1 has slot 1 of the totals."""

    def __init__(self, flow_slots: int, ring_bytes: int, payload_ring_bytes: int) -> None:
        """*payload_ring_bytes*: 0 for the program that inspects no payloads."""
        self.cpus = possible_cpus()
        self.settings = LoaderSettings(
            flow_slots, DEVICE_SLOTS, self.cpus, ring_bytes, payload_ring_bytes
        )
        self.programs: Programs = load_programs(self.settings)
        self.totals_map = mmap.mmap(
            self.programs.totals_fd,
            -(-DEVICE_SLOTS * self.cpus * 2 * DEVICE_TOTALS.size // mmap.PAGESIZE) * mmap.PAGESIZE,
        )
        self._flows = mmap.mmap(self.programs.flows_fd, flow_slots * FLOW_ENTRY.size)
        self._devices = mmap.mmap(self.programs.devices_fd, DEVICE_BUCKETS * DEVICE.size)
        self.totals_table = Totals(self.programs.totals_fd, DEVICE_SLOTS, self.cpus)
        self.devices = DeviceTable(self.programs.devices_fd)
        self.ring = FlowEventRing(self.programs.flow_events_fd, ring_bytes)
        self.payload_ring = None
        if self.programs.payloads_fd is not None:
            self.payload_ring = PayloadRing(self.programs.payloads_fd, payload_ring_bytes)
        self._wire: LiveWire | None = None
        self.reset()

    def reset(self) -> None:
        """As freshly loaded, with device 1 registered as Ethernet."""
        self.forget_counts()
        self.ring.drain()
        self.payloads()

    def forget_counts(self) -> None:
        """The same, but for what the rings hold."""
        for target in (self._flows, self.totals_map, self._devices):
            target[:] = bytes(len(target))
        self.set_link_type(LINK_ETHERNET)
        self.sent = [WireCounts(0, 0), WireCounts(0, 0)]

    def close(self) -> None:
        """Lets go of programs and maps, except what is still mapped."""
        if self._wire:
            self._wire.close()
        for name, descriptor in asdict(self.programs).items():
            if name.endswith("_fd") and descriptor is not None:
                os.close(descriptor)

    def set_link_type(self, link_type: int, *, listen_only: bool = False) -> None:
        """What kind of device the frames that follow come from."""
        self.devices.put(LOOPBACK_IFINDEX, DEVICE_SLOT, link_type, listen_only)

    def run(
        self,
        frame: bytes,
        direction: int = FLOW_INGRESS,
        *,
        gso_size: int = 0,
        gso_segs: int = 0,
        ifindex: int = LOOPBACK_IFINDEX,
        wire: WireCounts | None = None,
        linear_len: int = 0,
    ) -> None:
        """Runs one frame; *wire* says what it counts as, where not as one of its length.

        With *linear_len* it is really sent, and what follows these bytes lies in fragments.
        """
        self.sent[direction] = self.sent[direction].plus(*(wire or (1, len(frame))))
        if linear_len or not _TEST_RUN_MIN.get(frame[12:14], 0) <= len(frame) <= FRAME_MAX:
            self._send(frame, direction, linear_len)
            return
        program = self.programs.egress_fd if direction == FLOW_EGRESS else self.programs.ingress_fd
        context = b""
        if gso_size or gso_segs or ifindex != LOOPBACK_IFINDEX:
            context = _CONTEXT.pack(ifindex, gso_segs, gso_size)
        answer = bpf.program_test_run(program, frame, context)
        if answer.returned != _TC_ACT_UNSPEC or answer.data != frame:
            raise AssertionError(f"{frame.hex()} was not left alone: {answer}")

    def _send(self, frame: bytes, direction: int, linear_len: int) -> None:
        """Really sends a frame, as one that a test run would refuse, from one like device 1."""
        if self._wire is None:
            self._wire = LiveWire(self.programs)
        _, slot, link_type, _ = DEVICE.unpack_from(self._devices, LOOPBACK_IFINDEX * DEVICE.size)
        self.devices.put(self._wire.ifindexes[direction], slot, link_type)
        self._wire.send(frame, direction, linear_len)

    def totals(self, direction: int = FLOW_INGRESS, slot: int = DEVICE_SLOT) -> DeviceTotals:
        """What one device counted, over all CPUs."""
        return self.totals_table.read(slot, direction)

    def all_totals(self, direction: int) -> DeviceTotals:
        """The same over all devices."""
        slots = [self.totals(direction, slot) for slot in range(DEVICE_SLOTS)]
        return DeviceTotals(*(sum(column) for column in zip(*slots, strict=True)))

    def flows(self) -> list[CountedFlow]:
        """All entries of the flow table, in the order of their slots."""
        found = []
        for start in range(0, len(self._flows), _BUCKET_BYTES):
            bucket = self._flows[start : start + _BUCKET_BYTES]
            if bucket == _EMPTY_BUCKET:
                continue
            slot = start // FLOW_ENTRY.size
            found += [
                _counted_flow(slot + place, fields)
                for place, fields in enumerate(FLOW_ENTRY.iter_unpack(bucket))
                if fields[0] & _STATE_MASK != FLOW_FREE
            ]
        return found

    def set_state(self, slot: int, state: int) -> None:
        """Changes the state of an entry, as the exporter does."""
        self._flows[slot * FLOW_ENTRY.size] = state

    def only_flow(self) -> CountedFlow:
        """The one entry that there must be."""
        flows = self.flows()
        if len(flows) != 1:
            raise AssertionError(f"expected one flow, found {flows}")
        return flows[0]

    def sums_by_key(self, direction: int = FLOW_INGRESS) -> dict[FlowKey, WireCounts]:
        """The flow table as userspace sums it: by key, whatever the state of an entry."""
        sums: dict[FlowKey, WireCounts] = {}
        for entry in self.flows():
            if entry.flow.direction == direction:
                sums[entry.key] = sums.get(entry.key, WireCounts(0, 0)).plus(*entry.counts)
        return sums

    def events(self) -> list[Event]:
        """The events since the last look, oldest first."""
        assert FLOW_EVENT.size % 8 == 0
        return [
            Event(boot_ns, kind, _counted_flow(slot, tuple(fields)))
            for boot_ns, kind, slot, *fields in self.ring.drain()
        ]

    def payloads(self) -> list[Payload]:
        """The payloads sent since the last look, oldest first."""
        found: list[Payload] = []
        while self.payload_ring is not None and (more := self.payload_ring.drain()):
            found += more
        return found

    def check(self) -> None:
        """Raises AssertionError unless sent = totals = flows + overflow + non-IP, to the byte."""
        flows = self.flows()
        for direction in (FLOW_INGRESS, FLOW_EGRESS):
            totals = self.all_totals(direction)
            accounted = WireCounts(
                totals.overflow_packets + totals.non_ip_packets,
                totals.overflow_bytes + totals.non_ip_bytes,
            )
            for entry in flows:
                if entry.flow.direction == direction:
                    accounted = accounted.plus(*entry.counts)
            counted = WireCounts(totals.packets, totals.bytes)
            if not self.sent[direction] == counted == accounted:
                raise AssertionError(
                    f"direction {direction}: sent {self.sent[direction]}, totals {counted},"
                    f" flows + overflow + non-IP {accounted}"
                )
