"""The ring reader, over a memory file laid out as the kernel lays out a BPF ring buffer.

The reader maps the data once, so that records wrap around its end.
"""

from __future__ import annotations

import mmap
import os
import random
import struct
from collections.abc import Iterator

import pytest

from exporter.capture.records import FLOW_EVENT, PAYLOAD_DATA_MAX, PAYLOAD_EVENT, Payload
from exporter.capture.ring import PAYLOADS_PER_LOOK, FlowEventRing, PayloadRing
from tests.unit.kernel_side import TCP, head_of

SIZE = mmap.PAGESIZE
BUSY = 1 << 31
RECORD_BYTES = 8 + FLOW_EVENT.size
ROOM = SIZE // RECORD_BYTES


def event(number: int) -> tuple[object, ...]:
    """Distinct in every field."""
    return (number, 1, number + 1, number + 2, b"s" * 16, b"d" * 16, b"port", 0, number + 3, number)


def packed(number: int) -> bytes:
    return FLOW_EVENT.pack(*event(number))


class KernelRing:
    """The writer's side of kernel/bpf/ringbuf.c."""

    def __init__(self, position: int = 0, size: int = SIZE) -> None:
        self.fd = os.memfd_create("ring", os.MFD_CLOEXEC)
        self._size = size
        os.ftruncate(self.fd, 2 * mmap.PAGESIZE + size)
        self._map = mmap.mmap(self.fd, 2 * mmap.PAGESIZE + size)
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
            self._map[2 * mmap.PAGESIZE + offset % self._size] = byte

    def reserve(self, length: int = FLOW_EVENT.size) -> int | None:
        """The place of a record that is being written, or None where there is no room."""
        place = self.producer
        room = 8 + (length + 7) // 8 * 8
        if place + room - self.consumer > self._size:
            return None
        self._write(place, struct.pack("=II", length | BUSY, 0) + b"?" * length)
        self._write_position(mmap.PAGESIZE, place + room)
        return place

    def submit(self, place: int, content: bytes) -> None:
        self._write(place + 8, content)
        self._write(place, struct.pack("=II", len(content), 0))

    def put(self, content: bytes) -> bool:
        place = self.reserve(len(content))
        if place is not None:
            self.submit(place, content)
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
        kernel.put(packed(number))
    assert reader.drain() == [event(number) for number in range(3)]
    assert reader.drain() == []
    assert kernel.consumer == kernel.producer


def test_a_record_that_is_being_written_holds_up_what_lies_behind_it(
    kernel: KernelRing, reader: FlowEventRing
) -> None:
    kernel.put(packed(0))
    place = kernel.reserve()
    kernel.put(packed(2))
    assert reader.drain() == [event(0)]
    assert reader.drain() == []
    assert kernel.consumer == place
    assert place is not None
    kernel.submit(place, packed(1))
    assert reader.drain() == [event(1), event(2)]


def test_a_full_ring_is_read_to_its_end_and_has_room_again(
    kernel: KernelRing, reader: FlowEventRing
) -> None:
    for turn in range(3):
        for number in range(ROOM):
            assert kernel.put(packed(100 * turn + number))
        assert not kernel.put(packed(99))
        assert reader.drain() == [event(100 * turn + number) for number in range(ROOM)]


def test_a_ring_that_another_reader_left_half_read_is_read_on_from_there(
    kernel: KernelRing, reader: FlowEventRing
) -> None:
    kernel.put(packed(0))
    reader.drain()
    kernel.put(packed(1))
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
            kernel.submit(place, packed(unfinished.pop(place)))
        elif choice == 3:
            read += reader.drain()
    for place, number in unfinished.items():
        kernel.submit(place, packed(number))
    read += reader.drain()
    assert read == [event(number) for number in written]
    kernel.close()


# Payloads: records of any length.

ROOMY = 4 * SIZE


def payload(number: int, length: int) -> Payload:
    """Distinct in every field."""
    return Payload(
        number,
        number + 1,
        7,
        TCP,
        b"src4",
        b"dst4",
        1000,
        443,
        number + 2,
        number % 1000,
        bytes((number + at) % 256 for at in range(length)),
    )


def packed_payload(of: Payload) -> bytes:
    head = head_of(protocol=of.protocol, device=of.device_slot)
    ports = of.source_port.to_bytes(2, "big") + of.destination_port.to_bytes(2, "big")
    return (
        PAYLOAD_EVENT.pack(
            of.boot_ns,
            head,
            of.source,
            of.destination,
            ports,
            0xFFFFFFFF,
            of.slot,
            of.sequence,
            len(of.data),
            of.segment_len,
            0,
        )
        + of.data
    )


@pytest.fixture(params=[0, 7 * ROOMY - 8, (1 << 40) + 8 * 123], ids=["start", "end", "far"])
def roomy(request: pytest.FixtureRequest) -> Iterator[KernelRing]:
    ring = KernelRing(request.param, ROOMY)
    yield ring
    ring.close()


def test_payloads_of_all_lengths_come_once_and_in_order(roomy: KernelRing) -> None:
    reader = PayloadRing(roomy.fd, ROOMY)
    assert reader.drain() == []
    for turn in range(3):
        sent = [payload(turn + length, length) for length in (0, 1, 7, 8, 9, 1400, 4096)]
        assert all(roomy.put(packed_payload(each)) for each in sent)
        assert reader.drain() == sent
        assert reader.drain() == []
        assert roomy.consumer == roomy.producer


def test_a_record_may_be_longer_than_its_payload(roomy: KernelRing) -> None:
    """The kernel reserves one of a few fixed sizes; what lies behind the data is of no use."""
    reader = PayloadRing(roomy.fd, ROOMY)
    sent = payload(1, 100)
    assert roomy.put(packed_payload(sent) + b"?" * 412)
    assert roomy.put(packed_payload(payload(2, 5)))
    assert reader.drain() == [sent, payload(2, 5)]


def test_an_address_of_ipv6_has_16_bytes(roomy: KernelRing) -> None:
    head = head_of(family=6)
    event = PAYLOAD_EVENT.pack(1, head, b"s" * 16, b"d" * 16, b"\0\1\0\2", 0, 3, 4, 2, 0, 0)
    roomy.put(event + b"xy")
    (found,) = PayloadRing(roomy.fd, ROOMY).drain()
    assert found == Payload(1, 3, 1, 17, b"s" * 16, b"d" * 16, 1, 2, 4, 0, b"xy")


def test_a_payload_that_is_being_written_holds_up_what_lies_behind_it(roomy: KernelRing) -> None:
    reader = PayloadRing(roomy.fd, ROOMY)
    sent = [payload(number, 100 * number) for number in range(3)]
    roomy.put(packed_payload(sent[0]))
    place = roomy.reserve(len(packed_payload(sent[1])))
    roomy.put(packed_payload(sent[2]))
    assert reader.drain() == sent[:1]
    assert reader.drain() == []
    assert roomy.consumer == place
    assert place is not None
    roomy.submit(place, packed_payload(sent[1]))
    assert reader.drain() == sent[1:]


def test_a_look_takes_no_more_than_so_many_payloads_and_the_next_one_goes_on() -> None:
    size = 128 * SIZE
    kernel = KernelRing(size - 80, size)
    sent = [payload(number, 1) for number in range(PAYLOADS_PER_LOOK + 10)]
    assert all(kernel.put(packed_payload(each)) for each in sent)
    reader = PayloadRing(kernel.fd, size)
    assert reader.drain() == sent[:PAYLOADS_PER_LOOK]
    assert kernel.consumer < kernel.producer
    assert reader.drain() == sent[PAYLOADS_PER_LOOK:]
    kernel.close()


def test_the_longest_payload_has_its_place() -> None:
    kernel = KernelRing(ROOMY - 4000, ROOMY)
    sent = payload(1, PAYLOAD_DATA_MAX)
    assert kernel.put(packed_payload(sent))
    assert PayloadRing(kernel.fd, ROOMY).drain() == [sent]
    kernel.close()


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_order_and_the_length_every_payload_is_read_once(seed: int) -> None:
    rng = random.Random(seed)
    kernel = KernelRing(rng.randrange(1 << 20) * 8, ROOMY)
    reader = PayloadRing(kernel.fd, ROOMY)
    sent: list[Payload] = []
    unfinished: dict[int, Payload] = {}
    read: list[Payload] = []
    for number in range(300):
        choice = rng.randrange(4)
        if choice < 2:
            one = payload(number, rng.choice([0, 3, 64, 500, 4096]))
            place = kernel.reserve(len(packed_payload(one)))
            if place is not None:
                unfinished[place] = one
                sent.append(one)
        elif choice == 2 and unfinished:
            place = rng.choice(list(unfinished))
            kernel.submit(place, packed_payload(unfinished.pop(place)))
        elif choice == 3:
            read += reader.drain()
    for place, one in unfinished.items():
        kernel.submit(place, packed_payload(one))
    read += reader.drain()
    assert read == sent
    kernel.close()
