"""The table layouts that ours is compared with count exactly too: they do the same work."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from exporter.capture import bpf
from exporter.capture.records import FLOW_EGRESS, FLOW_INGRESS
from tests.bench.harness.measure import check
from tests.bench.harness.programs import (
    EMPTY,
    NO_TABLE,
    PER_PACKET,
    VARIANTS,
    Monitor,
    Variant,
)
from tests.kernel.packets import V4, V6, ether, udp, v4, v6

LOOPBACK_IFINDEX = 1
RING_BYTES = 4096
ROOMY, TINY = 1024, 64
"""Entries of the table."""
CONNECTIONS = 60
ROUNDS = 3
EVENT_BYTES = 8 + 64
"""In the ring: its header, and `struct packet_event`."""

WITH_TABLE = [variant for variant in VARIANTS if variant.packet_words]


def named(variant: Variant) -> str:
    return variant.name


def exchange(monitor: Monitor, header: Callable[..., Any], addresses: tuple[str, str]) -> int:
    """Packets of some connections in both directions; how long each is."""
    here, there = addresses
    monitor.register(LOOPBACK_IFINDEX)
    size = 0
    for port in range(1000, 1000 + CONNECTIONS):
        came, went = ether() / header() / udp(), ether() / header() / udp()
        came["UDP"].sport = went["UDP"].dport = port
        went["UDP"].sport = came["UDP"].dport
        went[1].src, went[1].dst = there, here
        size = len(came)
        for direction, frame in ((FLOW_INGRESS, bytes(came)), (FLOW_EGRESS, bytes(went))):
            bpf.program_test_run(monitor.program_fd(direction), frame, repeat=ROUNDS)
    return size


@pytest.mark.parametrize("entries", [ROOMY, TINY])
@pytest.mark.parametrize("variant", WITH_TABLE, ids=named)
def test_flows_and_overflow_are_the_totals(variant: Variant, entries: int) -> None:
    with closing(Monitor(variant, entries, RING_BYTES)) as monitor:
        for header, addresses in ((v4, V4), (v6, V6)):
            monitor.reset()
            size = exchange(monitor, header, addresses)
            overflow = check(monitor, CONNECTIONS * 2 * ROUNDS, size)
            if entries == ROOMY:
                assert overflow == 0
                assert monitor.entries() == CONNECTIONS * 2 // len(variant.packet_words)
            else:
                assert 0 < monitor.entries() <= TINY


def test_without_a_table_everything_overflows() -> None:
    with closing(Monitor(NO_TABLE, TINY, RING_BYTES)) as monitor:
        size = exchange(monitor, v4, V4)
        assert check(monitor, CONNECTIONS * 2 * ROUNDS, size) == CONNECTIONS * 2 * ROUNDS


def test_the_empty_program_counts_nothing() -> None:
    with closing(Monitor(EMPTY, TINY, RING_BYTES)) as monitor:
        exchange(monitor, v4, V4)
        assert monitor.totals().packets == 0


def test_each_packet_is_an_event_or_one_that_found_the_ring_full() -> None:
    with closing(Monitor(PER_PACKET, TINY, RING_BYTES)) as monitor:
        exchange(monitor, v4, V4)
        totals = monitor.totals()
        assert totals.packets == CONNECTIONS * 2 * ROUNDS
        assert totals.packets - totals.dropped_events == RING_BYTES // EVENT_BYTES
