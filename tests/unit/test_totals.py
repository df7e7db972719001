"""The exact totals, summed over CPUs, and the table that says which device has which slot."""

from __future__ import annotations

import mmap
import os
import random
from collections.abc import Iterator

import pytest

from exporter.capture.records import (
    DEVICE,
    DEVICE_BUCKETS,
    DEVICE_PROBES,
    DEVICE_TOTALS,
    DeviceTotals,
    minus,
    plus,
)
from exporter.capture.totals import DeviceTable, Totals
from exporter.errors import ExporterError

DEVICE_SLOTS = 16


def memory_file(size: int) -> int:
    fd = os.memfd_create("map", os.MFD_CLOEXEC)
    os.ftruncate(fd, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
    return fd


def cell(number: int) -> DeviceTotals:
    """Distinct in every field."""
    return DeviceTotals(*(number * 10 + field for field in range(8)))


@pytest.fixture
def descriptors() -> Iterator[list[int]]:
    opened: list[int] = []
    yield opened
    for descriptor in opened:
        os.close(descriptor)


@pytest.mark.parametrize("cpus", [1, 2, 3, 128])
def test_totals_are_summed_over_cpus_for_each_device_and_direction(
    descriptors: list[int], cpus: int
) -> None:
    fd = memory_file(DEVICE_SLOTS * cpus * 2 * DEVICE_TOTALS.size)
    descriptors.append(fd)
    rng = random.Random(cpus)
    expected: dict[tuple[int, int], DeviceTotals] = {}
    for slot in range(DEVICE_SLOTS):
        for cpu in range(cpus):
            for direction in (0, 1):
                counted = cell(rng.randrange(1 << 50))
                index = (slot * cpus + cpu) * 2 + direction  # as bpf/flow_events.h has it
                os.pwrite(fd, DEVICE_TOTALS.pack(*counted), index * DEVICE_TOTALS.size)
                before = expected.get((slot, direction), DeviceTotals(*[0] * 8))
                expected[slot, direction] = plus(before, counted)
    totals = Totals(fd, DEVICE_SLOTS, cpus)
    for slot in (3, DEVICE_SLOTS - 1, 0, 7):
        for direction in (0, 1):
            assert totals.read(slot, direction) == expected[slot, direction]


def test_totals_are_read_anew_each_time(descriptors: list[int]) -> None:
    fd = memory_file(DEVICE_SLOTS * 2 * DEVICE_TOTALS.size)
    descriptors.append(fd)
    totals = Totals(fd, DEVICE_SLOTS, 1)
    assert totals.read(2, 1) == DeviceTotals(*[0] * 8)
    os.pwrite(fd, DEVICE_TOTALS.pack(*cell(5)), (2 * 2 + 1) * DEVICE_TOTALS.size)
    assert totals.read(2, 1) == cell(5)


def test_no_more_is_mapped_than_the_slots_in_use(descriptors: list[int]) -> None:
    """What is mapped counts as memory of the exporter, and each mapping has a descriptor."""
    cpus = 64
    fd = memory_file(DEVICE_SLOTS * cpus * 2 * DEVICE_TOTALS.size)
    descriptors.append(fd)
    open_before = len(os.listdir("/proc/self/fd"))
    totals = Totals(fd, DEVICE_SLOTS, cpus)
    slot_bytes = cpus * 2 * DEVICE_TOTALS.size
    assert totals._words.nbytes == slot_bytes
    for slot in range(4):
        totals.read(slot, 0)
    assert totals._words.nbytes == 4 * slot_bytes
    assert len(os.listdir("/proc/self/fd")) == open_before + 1


def test_sums_and_differences_are_made_field_by_field() -> None:
    assert plus(cell(1), cell(2)) == DeviceTotals(30, 32, 34, 36, 38, 40, 42, 44)
    assert minus(cell(2), cell(1)) == DeviceTotals(*[10] * 8)


@pytest.fixture
def device_map(descriptors: list[int]) -> int:
    fd = memory_file(DEVICE_BUCKETS * DEVICE.size)
    descriptors.append(fd)
    return fd


def found(fd: int, ifindex: int) -> tuple[int, int]:
    """Slot and link type, as find_device() in bpf/flow_monitor.c searches."""
    for probe in range(DEVICE_PROBES):
        place = (ifindex + probe) % DEVICE_BUCKETS * DEVICE.size
        index, slot, link_type, _ = DEVICE.unpack(os.pread(fd, DEVICE.size, place))
        if index == ifindex:
            return slot, link_type
    return 0, 0


def test_a_device_that_was_put_is_found_until_it_is_removed(device_map: int) -> None:
    table = DeviceTable(device_map)
    table.put(7, 3, 1)
    assert found(device_map, 7) == (3, 1)
    table.remove(7)
    assert found(device_map, 7) == (0, 0)
    table.remove(7)


def test_a_device_may_be_one_that_is_only_listened_to(device_map: int) -> None:
    table = DeviceTable(device_map)
    table.put(7, 0, 2, listen_only=True)
    place = 7 * DEVICE.size
    assert DEVICE.unpack(os.pread(device_map, DEVICE.size, place)) == (7, 0, 2, 1)
    table.put(7, 3, 2)
    assert DEVICE.unpack(os.pread(device_map, DEVICE.size, place)) == (7, 3, 2, 0)


def test_a_device_that_is_put_again_is_changed(device_map: int) -> None:
    table = DeviceTable(device_map)
    table.put(7, 3, 1)
    table.put(7, 255, 2)
    assert found(device_map, 7) == (255, 2)
    table.remove(7)
    assert not any(os.pread(device_map, DEVICE_BUCKETS * DEVICE.size, 0))


@pytest.mark.parametrize("first", [5, DEVICE_BUCKETS - 3], ids=["inside", "over the end"])
def test_devices_that_want_the_same_place_are_all_found(device_map: int, first: int) -> None:
    table = DeviceTable(device_map)
    ifindexes = [first + n * DEVICE_BUCKETS for n in range(DEVICE_PROBES)]
    for slot, ifindex in enumerate(ifindexes, 1):
        table.put(ifindex, slot, 1)
    assert [found(device_map, ifindex)[0] for ifindex in ifindexes] == list(range(1, 9))
    table.remove(ifindexes[0])
    assert [found(device_map, ifindex)[0] for ifindex in ifindexes] == [0, *range(2, 9)]


def test_a_device_is_changed_in_its_place_though_an_earlier_one_is_free(device_map: int) -> None:
    table = DeviceTable(device_map)
    table.put(5, 1, 1)
    table.put(5 + DEVICE_BUCKETS, 2, 1)
    table.remove(5)
    table.put(5 + DEVICE_BUCKETS, 3, 1)
    assert found(device_map, 5 + DEVICE_BUCKETS) == (3, 1)
    table.remove(5 + DEVICE_BUCKETS)
    assert found(device_map, 5 + DEVICE_BUCKETS) == (0, 0)


def test_where_all_places_are_taken_it_says_so(device_map: int) -> None:
    table = DeviceTable(device_map)
    for n in range(DEVICE_PROBES):
        table.put(5 + n * DEVICE_BUCKETS, 1, 1)
    with pytest.raises(ExporterError, match=r"no place for the interface with index 999429: count"):
        table.put(5 + 976 * DEVICE_BUCKETS, 1, 1)
