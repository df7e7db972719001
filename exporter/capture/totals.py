"""The exact totals of each device and direction, and which device has which slot of them."""

from __future__ import annotations

import mmap
import sys

from exporter.capture.records import (
    DEVICE,
    DEVICE_BUCKETS,
    DEVICE_PROBES,
    DEVICE_TOTALS,
    DeviceTotals,
)
from exporter.errors import ExporterError

_WORDS = DEVICE_TOTALS.size // 8


class Totals:
    """The map `totals`: a cell for each slot, CPU and direction, summed over CPUs when it is
    read."""

    def __init__(self, fd: int, device_slots: int, cpus: int) -> None:
        self.device_slots = device_slots
        self._fd = fd
        self._slot_words = cpus * 2 * _WORDS
        self._map_up_to(0)

    def _map_up_to(self, slot: int) -> None:
        """Maps no more than the slots in use: what is mapped counts as memory of this process."""
        wanted = (slot + 1) * self._slot_words * 8
        self._words = memoryview(
            mmap.mmap(self._fd, -(-wanted // mmap.PAGESIZE) * mmap.PAGESIZE)
        ).cast("Q")

    def read(self, slot: int, direction: int) -> DeviceTotals:
        """What one device counted in one direction, over all CPUs, since the program was loaded."""
        start = slot * self._slot_words
        if start + self._slot_words > len(self._words):
            self._map_up_to(slot)
        first = start + direction * _WORDS
        end = start + self._slot_words
        return DeviceTotals(
            *(
                sum(self._words[first + field : end : 2 * _WORDS].tolist())
                for field in range(_WORDS)
            )
        )


class DeviceTable:
    """The map `devices`: the slot and the link type of each device, by ifindex."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, DEVICE_BUCKETS * DEVICE.size)
        self._words = memoryview(self._map).cast("Q")

    def put(self, ifindex: int, slot: int, link_type: int, listen_only: bool = False) -> None:
        """Registers a device, or changes it at once; do so before a program is attached to it.

        Raises ExporterError where too many devices share the places that this one could take.
        """
        word = int.from_bytes(DEVICE.pack(ifindex, slot, link_type, listen_only), sys.byteorder)
        free = None
        for bucket in self._places(ifindex):
            found = self._words[bucket] & 0xFFFFFFFF
            if found == ifindex:
                self._words[bucket] = word
                return
            if found == 0 and free is None:
                free = bucket
        if free is None:
            raise ExporterError(f"no place for the interface with index {ifindex}: count fewer")
        self._words[free] = word

    def remove(self, ifindex: int) -> None:
        """Forgets a device; do so after its programs are detached and a grace period has passed."""
        for bucket in self._places(ifindex):
            if self._words[bucket] & 0xFFFFFFFF == ifindex:
                self._words[bucket] = 0

    @staticmethod
    def _places(ifindex: int) -> list[int]:
        return [(ifindex + probe) % DEVICE_BUCKETS for probe in range(DEVICE_PROBES)]
