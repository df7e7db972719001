"""What the ring of flow events says, and that what does not fit is counted."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator

import pytest
from scapy.layers.inet import TCP, UDP

from exporter.capture.records import (
    FLOW_EVENT,
    FLOW_EVENT_END,
    FLOW_EVENT_NEW,
    FLOW_OPENER,
)
from tests.kernel.conftest import TINY_RING
from tests.kernel.harness import Kernel
from tests.kernel.packets import ether, v4

EVENTS_PER_WAKEUP = 128
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


@pytest.mark.usefixtures("_one_cpu")
def test_the_reader_is_woken_only_in_a_rush(kernel: Kernel) -> None:
    """By one event of EVENTS_PER_WAKEUP on average; the bounds are missed once in a million."""
    events, woken = 32 * EVENTS_PER_WAKEUP, 0
    with select.epoll() as poll:
        poll.register(kernel.ring.fd, select.EPOLLIN | select.EPOLLET)
        for number in range(events):
            if number % 512 == 0:
                kernel.reset()
            kernel.run(_frame(number))
            woken += len(poll.poll(0))
    assert 8 <= woken <= 80
