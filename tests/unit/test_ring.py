"""The ring reader, over a memory file laid out as the kernel lays out a BPF ring buffer.

The kernel maps the data twice in a row, so that no record ever wraps; here each byte is written to
both places.
"""

from __future__ import annotations

import mmap
import os
import random
import struct
from collections.abc import Iterator

import pytest

from exporter.capture.records import FLOW_EVENT
from exporter.capture.ring import FlowEventRing

SIZE = mmap.PAGESIZE
BUSY = 1 << 31
RECORD_BYTES = 8 + FLOW_EVENT.size
ROOM = SIZE // RECORD_BYTES


def event(number: int) -> tuple[object, ...]:
    """Distinct in every field."""
    return (number, 1, number + 1, number + 2, b"s" * 16, b"d" * 16, b"port", 0, number + 3, number)


class KernelRing:
    """The writer's side of kernel/bpf/ringbuf.c."""

    def __init__(self, position: int = 0) -> None:
        self.fd = os.memfd_create("ring", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, 2 * mmap.PAGESIZE + 2 * SIZE)
        self._map = mmap.mmap(self.fd, 2 * mmap.PAGESIZE + 2 * SIZE)
        self._write_position(0, position)
        self._write_position(mmap.PAGESIZE, position)

    def close(self) -> None:
        os.close(self.fd)

    @property
    def consumer(self) -> int:
        return self._position(0)

    @property
    def producer(self) -> int:
        return self._position(mmap.PAGESIZE)

    def _position(self, at: int) -> int:
        return int(struct.unpack_from("=Q", self._map, at)[0])

    def _write_position(self, at: int, position: int) -> None:
        struct.pack_into("=Q", self._map, at, position)

    def _write(self, position: int, content: bytes) -> None:
        for offset, byte in enumerate(content, position):
            for copy in (0, SIZE):
                self._map[2 * mmap.PAGESIZE + copy + offset % SIZE] = byte

    def reserve(self) -> int | None:
        """The place of a record that is being written, or None where there is no room."""
        place = self.producer
        if place + RECORD_BYTES - self.consumer > SIZE:
            return None
        self._write(place, struct.pack("=II", FLOW_EVENT.size | BUSY, 0) + b"?" * FLOW_EVENT.size)
        self._write_position(mmap.PAGESIZE, place + RECORD_BYTES)
        return place

    def submit(self, place: int, number: int) -> None:
        self._write(place + 8, FLOW_EVENT.pack(*event(number)))
        self._write(place, struct.pack("=II", FLOW_EVENT.size, 0))

    def put(self, number: int) -> bool:
        place = self.reserve()
        if place is not None:
            self.submit(place, number)
        return place is not None


@pytest.fixture(params=[0, 7 * SIZE - 8, (1 << 40) + 8 * 123], ids=["start", "end", "far"])
def kernel(request: pytest.FixtureRequest) -> Iterator[KernelRing]:
    ring = KernelRing(request.param)
    yield ring
    ring.close()


@pytest.fixture
def reader(kernel: KernelRing) -> FlowEventRing:
    return FlowEventRing(kernel.fd, SIZE)


def test_an_empty_ring_has_no_records(kernel: KernelRing, reader: FlowEventRing) -> None:
    before = kernel.consumer
    assert reader.drain() == []
    assert kernel.consumer == before


def test_records_come_once_and_in_order(kernel: KernelRing, reader: FlowEventRing) -> None:
    for number in range(3):
        kernel.put(number)
    assert reader.drain() == [event(number) for number in range(3)]
    assert reader.drain() == []
    assert kernel.consumer == kernel.producer


def test_a_record_that_is_being_written_holds_up_what_lies_behind_it(
    kernel: KernelRing, reader: FlowEventRing
) -> None:
    kernel.put(0)
    place = kernel.reserve()
    kernel.put(2)
    assert reader.drain() == [event(0)]
    assert reader.drain() == []
    assert kernel.consumer == place
    assert place is not None
    kernel.submit(place, 1)
    assert reader.drain() == [event(1), event(2)]


def test_a_full_ring_is_read_to_its_end_and_has_room_again(
    kernel: KernelRing, reader: FlowEventRing
) -> None:
    for turn in range(3):
        for number in range(ROOM):
            assert kernel.put(100 * turn + number)
        assert not kernel.put(99)
        assert reader.drain() == [event(100 * turn + number) for number in range(ROOM)]


def test_a_ring_that_another_reader_left_half_read_is_read_on_from_there(
    kernel: KernelRing, reader: FlowEventRing
) -> None:
    kernel.put(0)
    reader.drain()
    kernel.put(1)
    assert FlowEventRing(kernel.fd, SIZE).drain() == [event(1)]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_order_every_record_is_read_once(seed: int) -> None:
    rng = random.Random(seed)
    kernel = KernelRing(rng.randrange(1 << 20) * 8)
    reader = FlowEventRing(kernel.fd, SIZE)
    written: list[int] = []
    unfinished: dict[int, int] = {}
    read: list[tuple[object, ...]] = []
    for _ in range(400):
        choice = rng.randrange(4)
        if choice < 2:
            place = kernel.reserve()
            if place is not None:
                unfinished[place] = len(written)
                written.append(len(written))
        elif choice == 2 and unfinished:
            place = rng.choice(list(unfinished))
            kernel.submit(place, unfinished.pop(place))
        elif choice == 3:
            read += reader.drain()
    for place, number in unfinished.items():
        kernel.submit(place, number)
    read += reader.drain()
    assert read == [event(number) for number in written]
    kernel.close()
