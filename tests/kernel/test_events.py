"""What the ring of flow events says, and that what does not fit is counted."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable, Iterator

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.packet import Raw

from exporter.capture.records import (
    FLOW_EVENT,
    FLOW_EVENT_END,
    FLOW_EVENT_NEW,
    FLOW_OPENER,
    PAYLOAD_EVENT,
)
from tests.kernel.conftest import TINY_PAYLOAD_RING, TINY_RING
from tests.kernel.harness import Kernel
from tests.kernel.packets import ether, v4
from tests.kernel.samples import QUERY

WAKEUPS_PER_RING = 8
"""As in bpf/flow_monitor.c."""
_RING_HEADER = 8


def _frame(number: int) -> bytes:
    return bytes(ether() / v4() / UDP(sport=1 + number, dport=53))


@pytest.fixture
def _one_cpu() -> Iterator[None]:
    """Keeps to one CPU, since each counts its own events."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def test_a_new_flow_is_told_as_it_is_in_the_table(kernel: Kernel) -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    kernel.run(_frame(1))
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    (event,) = kernel.events()
    assert event.type == FLOW_EVENT_NEW
    assert event.flow == kernel.only_flow()
    assert event.flow.flow.flags == FLOW_OPENER
    assert before <= event.boot_ns <= after


def test_a_flow_is_told_once_however_many_packets_it_has(kernel: Kernel) -> None:
    for _ in range(100):
        kernel.run(_frame(1))
    assert len(kernel.events()) == 1


def test_the_end_carries_the_counts_up_to_and_with_the_last_packet(kernel: Kernel) -> None:
    sizes: list[int] = []
    for flags in ("S", "A", "PA", "FA"):
        frame = bytes(ether() / v4() / TCP(sport=1, dport=2, flags=flags)) + bytes(len(sizes))
        sizes.append(len(frame))
        kernel.run(frame)
    new, end = kernel.events()
    assert (new.type, new.flow.counts) == (FLOW_EVENT_NEW, (1, sizes[0]))
    assert (end.type, end.flow.counts) == (FLOW_EVENT_END, (4, sum(sizes)))
    assert end.flow == kernel.only_flow()
    assert end.boot_ns >= new.boot_ns


def test_events_come_in_order_with_the_slots_of_their_flows(kernel: Kernel) -> None:
    for number in range(100):
        kernel.run(_frame(number))
    events = kernel.events()
    assert [event.flow.flow.source_port for event in events] == list(range(1, 101))
    assert [event.boot_ns for event in events] == sorted(event.boot_ns for event in events)
    by_slot = {entry.flow.slot: entry for entry in kernel.flows()}
    assert all(by_slot[event.flow.flow.slot] == event.flow for event in events)


def test_the_ring_may_wrap_anywhere(tiny_table: Kernel) -> None:
    """Each record begins a little further on, until one has begun at every place."""
    for number in range(2 * TINY_RING // _RING_HEADER):
        tiny_table.reset()
        tiny_table.run(_frame(number))
        (event,) = tiny_table.events()
        assert event.flow.flow.source_port == 1 + number


def test_events_that_find_the_ring_full_are_counted_and_the_packets_too(
    tiny_table: Kernel,
) -> None:
    fit = (TINY_RING - 1) // (FLOW_EVENT.size + _RING_HEADER)
    for number in range(1000):
        tiny_table.run(_frame(number))
    totals = tiny_table.totals()
    flows = len(tiny_table.flows())
    assert flows > fit
    assert totals.dropped_events == flows - fit
    assert totals.packets == 1000
    assert len(tiny_table.events()) == fit


def test_a_lost_event_is_not_made_up_for_by_later_packets(tiny_table: Kernel) -> None:
    """The next sweep of the table finds the flow: a packet costs no more for it."""
    for number in range(1000):
        tiny_table.run(_frame(number))
    tiny_table.events()
    for number in range(1000):
        tiny_table.run(_frame(number))
    assert tiny_table.events() == []


def _woken_by(kernel: Kernel, ring_fd: int, frames: Iterable[bytes]) -> list[int]:
    """The numbers of the frames with which the kernel woke the reader of a ring."""
    with select.epoll() as poll:
        poll.register(ring_fd, select.EPOLLIN | select.EPOLLET)
        poll.poll(0)
        woken = []
        for number, frame in enumerate(frames):
            kernel.run(frame)
            if poll.poll(0):
                woken.append(number)
        return woken


def _one_flow_each(kernel: Kernel, number: int) -> Iterator[bytes]:
    """So many frames, each of which finds an empty table."""
    for _ in range(number):
        kernel.forget_counts()
        yield _frame(1)


def _that_fill_parts(records: int, record_bytes: int, ring_bytes: int) -> list[int]:
    """Which of so many records, of which none is read, fill another eighth of their ring."""
    ends = [number * record_bytes * WAKEUPS_PER_RING // ring_bytes for number in range(records + 1)]
    return [number for number in range(records) if ends[number] != ends[number + 1]]


@pytest.mark.usefixtures("_one_cpu")
def test_the_reader_is_woken_as_the_ring_fills(tiny_table: Kernel) -> None:
    record = FLOW_EVENT.size + _RING_HEADER
    fit = (TINY_RING - 1) // record
    for _ in range(3):
        woken = _woken_by(tiny_table, tiny_table.ring.fd, _one_flow_each(tiny_table, fit))
        assert woken == _that_fill_parts(fit, record, TINY_RING)
        assert len(woken) == WAKEUPS_PER_RING - 1
        assert len(tiny_table.events()) == fit


@pytest.mark.usefixtures("_one_cpu")
def test_the_reader_of_payloads_is_woken_as_their_ring_fills(tiny_table: Kernel) -> None:
    ring = tiny_table.payload_ring
    assert ring is not None
    question = bytes(ether() / v4() / UDP(sport=1, dport=53) / Raw(QUERY))
    tiny_table.run(question)
    (payload,) = tiny_table.payloads()
    record = _RING_HEADER + PAYLOAD_EVENT.size + -(-len(payload.data) // 8) * 8
    fit = (TINY_PAYLOAD_RING - 1) // record
    for _ in range(2):
        woken = _woken_by(tiny_table, ring.fd, [question] * fit)
        assert woken == _that_fill_parts(fit, record, TINY_PAYLOAD_RING)
        assert len(tiny_table.payloads()) == fit


@pytest.mark.usefixtures("_one_cpu")
def test_a_reader_that_keeps_up_is_not_woken(kernel: Kernel) -> None:
    with select.epoll() as poll:
        poll.register(kernel.ring.fd, select.EPOLLIN | select.EPOLLET)
        for number in range(2000):
            kernel.run(_frame(number))
            if number % 100 == 0:
                kernel.reset()
            assert poll.poll(0) == []
