"""The kernel's side of the flow table, over a memory file in place of the map.

`FlowSlots` writes entries as a test says. `Program` does what bpf/flow_monitor.c does to them, one
memory access at a time, so that a test can put anything between any two of its steps.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Generator, Iterator
from typing import NamedTuple

from exporter.capture.records import (
    FLOW_CLAIM,
    FLOW_ENDED,
    FLOW_ENTRY,
    FLOW_EVENT_END,
    FLOW_EVENT_NEW,
    FLOW_FREE,
    FLOW_HEAD_DEVICE,
    FLOW_HEAD_DIRECTION,
    FLOW_HEAD_FAMILY,
    FLOW_HEAD_FLAGS,
    FLOW_HEAD_PROTOCOL,
    FLOW_LIVE,
    FLOW_OPENER,
    FLOW_SUPERSEDED,
    ZERO_TOTALS,
    DeviceTotals,
    plus,
)
from exporter.counts.snapshot import Count

UDP = 17
TCP = 6
FIN, SYN, RST, ACK = 1, 2, 4, 16

_STATE = 0xFF
_FLAGS = 0xFF00
_ENDED = FLOW_ENDED << FLOW_HEAD_FLAGS
_OPENER = FLOW_OPENER << FLOW_HEAD_FLAGS


def head_of(
    state: int = FLOW_LIVE,
    flags: int = 0,
    *,
    protocol: int = UDP,
    family: int = 4,
    direction: int = 0,
    device: int = 1,
) -> int:
    return (
        state
        | flags << FLOW_HEAD_FLAGS
        | protocol << FLOW_HEAD_PROTOCOL
        | family << FLOW_HEAD_FAMILY
        | direction << FLOW_HEAD_DIRECTION
        | device << FLOW_HEAD_DEVICE
    )


class FlowSlots:
    """The table as memory. `fd` is what FlowTable takes for the map."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.fd = os.memfd_create("flows", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, slots * FLOW_ENTRY.size)
        self._words = memoryview(mmap.mmap(self.fd, slots * FLOW_ENTRY.size)).cast("Q")

    def close(self) -> None:
        os.close(self.fd)

    def insert(
        self,
        slot: int,
        head: int | None = None,
        *,
        source: bytes = b"\x0a\0\0\1",
        destination: bytes = b"\x0a\0\0\2",
        ports: tuple[int, int] = (1000, 53),
        packets: int = 1,
        wire_bytes: int = 100,
    ) -> None:
        """Writes a whole entry; without a *head*, of a live UDP flow."""
        entry = FLOW_ENTRY.pack(
            head_of() if head is None else head,
            source,
            destination,
            ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big"),
            0,
            packets,
            wire_bytes,
        )
        self.bytes_of(slot)[:] = entry

    def bytes_of(self, slot: int) -> memoryview:
        """One entry, to read and to write."""
        return self._words[8 * slot : 8 * slot + 8].cast("B")

    def head(self, slot: int) -> int:
        return self._words[8 * slot]

    def set_head(self, slot: int, head: int) -> None:
        self._words[8 * slot] = head

    def state(self, slot: int) -> int:
        return self.head(slot) & _STATE

    def add_packets(self, slot: int, packets: int) -> None:
        self._words[8 * slot + 6] += packets

    def add_bytes(self, slot: int, wire_bytes: int) -> None:
        self._words[8 * slot + 7] += wire_bytes

    def add(self, slot: int, packets: int, wire_bytes: int) -> None:
        self.add_packets(slot, packets)
        self.add_bytes(slot, wire_bytes)

    def is_clear(self) -> bool:
        return not any(self._words)


class Packet(NamedTuple):
    """What one run of the program is about."""

    key: bytes
    """Source and destination, one byte each."""
    direction: int
    packets: int
    bytes: int
    tcp_flags: int = 0
    protocol: int = TCP

    @property
    def reverse(self) -> Packet:
        return self._replace(key=self.key[::-1], direction=1 - self.direction)


class Ring:
    """The ring of events as FlowEventRing reads it: nothing that lies behind an unfinished one."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._records: list[list[object]] = []

    def reserve(self) -> list[object] | None:
        if len(self._records) >= self._room:
            return None
        record: list[object] = []
        self._records.append(record)
        return record

    def drain(self) -> list[list[object]]:
        ready = next(
            (n for n, record in enumerate(self._records) if not record), len(self._records)
        )
        taken, self._records = self._records[:ready], self._records[ready:]
        return taken


class Program:
    """monitor(): each run is an iterator that yields between its memory accesses."""

    def __init__(self, table: FlowSlots, ring: Ring, probes: int) -> None:
        """*probes*: in how many slots, from the first on, every flow is searched for and put."""
        self._table = table
        self._probes = probes
        self._ring = ring
        self.totals = {(1, 0): ZERO_TOTALS, (1, 1): ZERO_TOTALS}
        self.sums: dict[tuple[int, str], Count] = {}
        """What each direction of each key counted, in hexadecimal; under "" what overflew."""
        self.events_lost = 0

    def read(self, slot: int, direction: int) -> DeviceTotals:
        """As Totals.read."""
        return self.totals.get((slot, direction), ZERO_TOTALS)

    def _count(self, direction: int, **counts: int) -> None:
        more = ZERO_TOTALS._replace(**counts)
        self.totals[1, direction] = plus(self.totals[1, direction], more)

    def run(self, packet: Packet) -> Iterator[None]:
        table, direction = self._table, packet.direction
        self._count(direction, packets=packet.packets, bytes=packet.bytes)
        yield
        slot = yield from self._find(packet)
        yield
        if slot is not None and packet.tcp_flags & SYN:
            old = table.head(slot)
            yield
            if old & _ENDED:
                self._swap(slot, old, old & ~_STATE | FLOW_SUPERSEDED)
                slot = None
        found = slot is not None
        if slot is not None:
            self._sum(packet.key.hex(), packet)
            table.add_packets(slot, packet.packets)
            yield
            table.add_bytes(slot, packet.bytes)
            yield
            if not packet.tcp_flags & (FIN | RST):
                return
        else:
            slot = self._claim()
            if slot is None:
                yield
                self._count(direction, overflow_packets=packet.packets)
                yield
                self._count(direction, overflow_bytes=packet.bytes)
                self._sum("", packet)
                return
            yield
            self._sum(packet.key.hex(), packet)
            self._write_key(slot, packet)
            yield
            table.add(slot, packet.packets, packet.bytes)
            yield
        reverse = yield from self._find(packet.reverse)
        yield
        if not found:
            is_syn = packet.tcp_flags & SYN
            other_opened = reverse is not None and table.head(reverse) & _OPENER
            opener = not packet.tcp_flags & ACK if is_syn else not other_opened
            table.set_head(slot, _live(packet) | (_OPENER if opener else 0))
            yield
            yield from self._send(FLOW_EVENT_NEW, slot)
        if packet.tcp_flags & (FIN | RST):
            yield from self._end(slot)
        if packet.tcp_flags & RST and reverse is not None:
            yield from self._end(reverse)

    def _find(self, packet: Packet) -> Generator[None, None, int | None]:
        """Reads the key before the head, as a processor may that reorders loads."""
        for slot in range(self._probes):
            entry = self._table.bytes_of(slot)
            if (entry[8], entry[24]) != tuple(packet.key):
                continue
            yield
            if self._table.head(slot) & ~_FLAGS == _live(packet):
                return slot
        return None

    def _sum(self, domain: str, packet: Packet) -> None:
        before = self.sums.get((packet.direction, domain), Count())
        self.sums[packet.direction, domain] = Count(
            before.packets + packet.packets, before.bytes + packet.bytes
        )

    def _claim(self) -> int | None:
        for slot in range(self._probes):
            if self._swap(slot, FLOW_FREE, FLOW_CLAIM):
                return slot
        return None

    def _write_key(self, slot: int, packet: Packet) -> None:
        entry = self._table.bytes_of(slot)
        assert not any(entry[8:]), "a free slot is not clear"
        entry[8] = packet.key[0]
        entry[24] = packet.key[1]

    def _swap(self, slot: int, old: int, new: int) -> bool:
        """Compare and swap."""
        if old == new or self._table.head(slot) != old:
            return False
        self._table.set_head(slot, new)
        return True

    def _end(self, slot: int) -> Iterator[None]:
        head = self._table.head(slot)
        yield
        if self._swap(slot, head, head | _ENDED):
            yield
            yield from self._send(FLOW_EVENT_END, slot)

    def _send(self, kind: int, slot: int) -> Iterator[None]:
        record = self._ring.reserve()
        if record is None:
            self.events_lost += 1
            return
        yield
        record += [0, kind, slot, *FLOW_ENTRY.unpack(self._table.bytes_of(slot))]
        yield


def _live(packet: Packet) -> int:
    return head_of(protocol=packet.protocol, direction=packet.direction)
