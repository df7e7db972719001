"""The flow table: where an entry is put, and what happens when there is no room."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator

import pytest
from scapy.layers.inet import TCP, UDP

from exporter.capture.records import (
    FLOW_BUCKET_SLOTS,
    FLOW_CLAIM,
    FLOW_CLOSING,
    FLOW_EGRESS,
    FLOW_INGRESS,
    FLOW_LIVE,
    FLOW_OPENER,
    FLOW_SUPERSEDED,
)
from tests.kernel.conftest import Figures
from tests.kernel.harness import Kernel
from tests.kernel.packets import ether, v4, v6

PROBES = 32
"""FLOW_PROBES of bpf/flow_events.h: slots that are searched."""

FLOWS = 50_000
KEPT_EVERY = 8
"""FLOW_KEPT_EVERY: of the pairs of slots, one is for TCP packets without SYN."""

OVERFLOW_BOUND = 40
"""Flows of 50,000 that may find no room among 131,072 slots. It is 5 to 15, because some slots are
kept; the keys of the hash are new at each load."""

_V4 = bytes(ether() / v4() / UDP(sport=1, dport=2))
_V4_SYN = bytes(ether() / v4() / TCP(sport=1, dport=443, flags="S"))
_V6 = bytes(ether() / v6() / UDP(sport=1, dport=2))


def _v4_frame(source: bytes, destination: bytes, sport: int, dport: int) -> bytes:
    return _V4[:26] + source + destination + struct.pack("!HH", sport, dport) + _V4[38:]


def _tcp_frame(here: Endpoint, there: Endpoint, flags: str) -> bytes:
    header = bytes(TCP(sport=here[1], dport=there[1], flags=flags))
    return _V4_SYN[:26] + here[0] + there[0] + header


def _v6_frame(source: bytes, destination: bytes, sport: int, dport: int) -> bytes:
    return _V6[:22] + source + destination + struct.pack("!HH", sport, dport) + _V6[58:]


Endpoint = tuple[bytes, int]


def _run_both_ways(kernel: Kernel, here: Endpoint, there: Endpoint) -> None:
    frame = _v4_frame if len(here[0]) == 4 else _v6_frame
    kernel.run(frame(here[0], there[0], here[1], there[1]), FLOW_EGRESS)
    kernel.run(frame(there[0], here[0], there[1], here[1]), FLOW_INGRESS)


def _random_endpoint(rng: random.Random, address_len: int) -> Endpoint:
    return rng.randbytes(address_len), rng.randrange(1 << 16)


@pytest.mark.parametrize("address_len", [4, 16], ids=["v4", "v6"])
def test_both_directions_of_a_connection_are_neighbours(kernel: Kernel, address_len: int) -> None:
    rng = random.Random(1)
    for _ in range(500):
        kernel.reset()
        _run_both_ways(
            kernel, _random_endpoint(rng, address_len), _random_endpoint(rng, address_len)
        )
        first, second = (entry.flow.slot for entry in kernel.flows())
        assert first ^ 1 == second
        assert first // FLOW_BUCKET_SLOTS == second // FLOW_BUCKET_SLOTS


def test_every_part_of_the_key_tells_flows_apart(kernel: Kernel) -> None:
    """Also where they search the same slots, which so many flows in one bucket do."""
    endpoints = [(bytes([10, 0, 0, n]), 100 + n) for n in range(4)]
    sent = 0
    for source in endpoints:
        for destination in endpoints:
            for direction in (FLOW_INGRESS, FLOW_EGRESS):
                kernel.run(
                    _v4_frame(source[0], destination[0], source[1], destination[1]), direction
                )
                sent += 1
    assert len(kernel.flows()) == sent
    assert {entry.counts.packets for entry in kernel.flows()} == {1}


@pytest.mark.parametrize("byte", range(26, 38))
def test_a_difference_in_any_byte_of_the_ipv4_key_is_another_flow(
    tiny_table: Kernel, byte: int
) -> None:
    _differs_in(tiny_table, _V4, byte)


@pytest.mark.parametrize("byte", range(22, 58))
def test_a_difference_in_any_byte_of_the_ipv6_key_is_another_flow(
    tiny_table: Kernel, byte: int
) -> None:
    _differs_in(tiny_table, _V6, byte)


def _differs_in(kernel: Kernel, frame: bytes, byte: int) -> None:
    other = frame[:byte] + bytes([frame[byte] ^ 0x80]) + frame[byte + 1 :]
    for each in (frame, other, frame):
        kernel.run(each)
    assert sorted(entry.counts.packets for entry in kernel.flows()) == [1, 2]


def test_a_full_window_overflows_and_loses_nothing(kernel: Kernel) -> None:
    """A connection whose ports are used again and again fills the window that it searches."""
    syn, ack, fin = (
        bytes(ether() / v4() / TCP(sport=1, dport=2, flags=flags)) for flags in ("S", "A", "FA")
    )
    kept = PROBES // KEPT_EVERY
    for _ in range(PROBES - kept):
        kernel.run(syn)
        kernel.run(fin)
    assert kernel.totals().overflow_packets == 0
    for _ in range(kept):
        for frame in (syn, ack, fin):
            kernel.run(frame)
    kernel.run(syn)
    kernel.run(fin)
    slots = sorted(entry.flow.slot for entry in kernel.flows())
    assert len(slots) == PROBES, "the ACKs took the places that are kept"
    assert len({slot // FLOW_BUCKET_SLOTS for slot in slots}) == 1
    totals = kernel.totals()
    assert totals.overflow_packets == kept + 2
    assert totals.overflow_bytes == (kept + 1) * len(syn) + len(fin)
    assert {entry.state for entry in kernel.flows()} == {FLOW_SUPERSEDED}


def test_a_full_table_still_counts_the_flows_that_it_holds(tiny_table: Kernel) -> None:
    rng = random.Random(2)
    frames = [
        _v4_frame(rng.randbytes(4), rng.randbytes(4), rng.randrange(1 << 16), 53)
        for _ in range(1000)
    ]
    for frame in frames * 3:
        tiny_table.run(frame)
    flows = tiny_table.flows()
    assert len(flows) == FLOW_BUCKET_SLOTS - FLOW_BUCKET_SLOTS // KEPT_EVERY
    assert {(entry.state, entry.counts.packets) for entry in flows} == {(FLOW_LIVE, 3)}
    assert tiny_table.totals().overflow_packets == 3 * (len(frames) - len(flows))


@pytest.mark.parametrize("protocol", ["syn", "udp"])
def test_a_flood_leaves_room_for_connections_that_come_about(kernel: Kernel, protocol: str) -> None:
    """The SYN of one may find no room then; what follows it does, both ways."""
    rng = random.Random(4)
    flood = _V4_SYN if protocol == "syn" else _V4
    for _ in range(20_000):
        kernel.run(flood[:26] + rng.randbytes(4) + flood[30:])
    held = len(kernel.flows())
    assert kernel.totals().overflow_packets == 20_000 - held, "the flood has filled the table"
    client, server = (b"\x0a\x00\x00\x01", 40_000), (b"\x0a\x00\x00\x02", 443)
    for flags, here, there, direction in (
        ("S", client, server, FLOW_INGRESS),
        ("SA", server, client, FLOW_EGRESS),
        ("A", client, server, FLOW_INGRESS),
        ("A", server, client, FLOW_EGRESS),
    ):
        kernel.run(_tcp_frame(here, there, flags), direction)
    ours = [entry for entry in kernel.flows() if entry.flow.source in (client[0], server[0])]
    assert [entry.counts.packets for entry in ours] == [1, 1], "the SYNs found no room"
    assert {(entry.flow.direction, entry.flow.flags) for entry in ours} == {
        (FLOW_INGRESS, FLOW_OPENER),
        (FLOW_EGRESS, 0),
    }


@pytest.mark.parametrize(
    "state", [FLOW_CLAIM, FLOW_CLOSING, FLOW_SUPERSEDED], ids=["claim", "closing", "superseded"]
)
def test_nothing_is_added_to_an_entry_that_is_not_live(kernel: Kernel, state: int) -> None:
    """While the exporter closes an entry, the flow goes on in a second one."""
    kernel.run(_V4)
    before = kernel.only_flow()
    kernel.set_state(before.flow.slot, state)
    kernel.run(_V4)
    kernel.run(_V4)
    entries = {entry.flow.slot: entry for entry in kernel.flows()}
    old = entries.pop(before.flow.slot)
    (new,) = entries.values()
    assert (old.state, old.counts) == (state, before.counts)
    assert (new.state, new.counts) == (FLOW_LIVE, (2, 2 * len(_V4)))
    assert new.key == old.key


def test_a_freed_slot_is_taken_again(kernel: Kernel) -> None:
    kernel.run(_V4)
    slot = kernel.only_flow().flow.slot
    kernel.reset()
    kernel.run(_V4)
    assert kernel.only_flow().flow.slot == slot
    assert kernel.only_flow().counts == (1, len(_V4))


def _random_v4(rng: random.Random) -> Iterator[tuple[Endpoint, Endpoint]]:
    while True:
        yield _random_endpoint(rng, 4), _random_endpoint(rng, 4)


def _random_v6(rng: random.Random) -> Iterator[tuple[Endpoint, Endpoint]]:
    while True:
        yield _random_endpoint(rng, 16), _random_endpoint(rng, 16)


def _one_client(rng: random.Random) -> Iterator[tuple[Endpoint, Endpoint]]:
    """Its ports one after the other, to one server."""
    for port in range(1 << 16):
        yield (b"\x0a\x00\x00\x01", port), (b"\x0a\x00\x00\x02", 443)


def _scan(rng: random.Random) -> Iterator[tuple[Endpoint, Endpoint]]:
    """One network's addresses one after the other."""
    for host in range(1 << 16):
        yield (b"\x0a\x00\x00\x01", 40000), (struct.pack("!I", 0x0A010000 + host), 80)


def _scan_v6(rng: random.Random) -> Iterator[tuple[Endpoint, Endpoint]]:
    prefix = bytes.fromhex("20010db8000000000000000000")
    for host in range(1 << 16):
        yield (prefix + b"\xff\x00\x01", 40000), (prefix + struct.pack("!I", host)[1:], 80)


@pytest.mark.parametrize("connections", [_random_v4, _random_v6, _one_client, _scan, _scan_v6])
def test_the_default_table_has_room_for_50000_flows(
    full_table: Kernel,
    connections: Callable[[random.Random], Iterator[tuple[Endpoint, Endpoint]]],
    figures: Figures,
) -> None:
    """25,000 connections, both ways."""
    source = connections(random.Random(3))
    for _ in range(FLOWS // 2):
        _run_both_ways(full_table, *next(source))
    overflow = sum(
        full_table.totals(direction).overflow_packets for direction in (FLOW_INGRESS, FLOW_EGRESS)
    )
    figures[f"{connections.__name__.strip('_')}: of {FLOWS} flows without room"] = overflow
    assert len(full_table.flows()) + overflow == FLOWS
    assert overflow <= OVERFLOW_BOUND
