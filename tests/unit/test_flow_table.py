"""The flow table as the exporter sees it, over a memory file in place of the kernel's map."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.capture.changed import CHANGES_MAX
from exporter.capture.flow_table import (
    HARDLY_BEGUN_PACKETS,
    LINGER_S,
    TCP_TIMEOUT_FACTOR,
    Change,
    FlowTable,
    slots_for,
)
from exporter.capture.records import (
    FLOW_CLAIM,
    FLOW_CLOSING,
    FLOW_ENDED,
    FLOW_FREE,
    FLOW_LIVE,
    FLOW_OPENER,
    FLOW_SUPERSEDED,
    Flow,
)
from exporter.capture.windows import WINDOW_SLOTS
from tests.unit.kernel_side import TCP, FlowSlots, head_of

SLOTS = 4 * WINDOW_SLOTS
IDLE_S = 60.0
START_S = 5_000.0
LIVE = head_of()
TCP_LIVE = head_of(protocol=TCP)
TCP_ENDED = head_of(flags=FLOW_ENDED, protocol=TCP)


@pytest.fixture
def kernel() -> Iterator[FlowSlots]:
    slots = FlowSlots(SLOTS)
    yield slots
    slots.close()


@pytest.fixture
def table(kernel: FlowSlots) -> FlowTable:
    return FlowTable(kernel.fd, SLOTS, IDLE_S, START_S)


def swept(table: FlowTable, *, only_known: bool = False) -> tuple[list[Flow], list[Change]]:
    sweeps = list(table.sweep(only_known=only_known))
    return (
        [flow for each in sweeps for flow in each.opened],
        [change for each in sweeps for change in each.changes],
    )


def closed_by(table: FlowTable, now_s: float) -> list[int]:
    """What is closed until then, if it is looked at as often as it is worth."""
    closed: list[int] = []
    at_s = START_S
    while at_s < now_s:
        at_s = min(now_s, at_s + table._timeouts.tick_s)
        closed += table.close_idle(at_s)
    return closed


def peer(table: FlowTable, slot: int) -> int | None:
    """The slot of the other direction."""
    mine, *peers = table.with_peer(slot)
    assert mine.slot == slot
    return peers[0].slot if peers else None


def close(kernel: FlowSlots, table: FlowTable, slot: int) -> None:
    """Lets an entry that was swept fall idle."""
    assert kernel.state(slot) in (FLOW_LIVE, FLOW_SUPERSEDED)
    assert slot in closed_by(table, START_S + 10 * IDLE_S)


@pytest.mark.parametrize(
    ("flows_max", "slots"),
    [(1, 64), (32, 64), (33, 128), (50_000, 131_072), (65_536, 131_072), (65_537, 262_144)],
)
def test_there_are_at_least_twice_as_many_slots_as_flows(flows_max: int, slots: int) -> None:
    assert slots_for(flows_max) == slots


def test_an_empty_table_has_nothing_to_tell(table: FlowTable) -> None:
    assert swept(table) == ([], [])
    assert table.entries == 0


@pytest.mark.parametrize("slot", [0, 1, WINDOW_SLOTS - 1, WINDOW_SLOTS, SLOTS - 1])
def test_a_sweep_finds_a_flow_wherever_it_is(
    kernel: FlowSlots, table: FlowTable, slot: int
) -> None:
    kernel.insert(slot, packets=3, wire_bytes=300)
    opened, changes = swept(table)
    assert [flow.slot for flow in opened] == [slot]
    assert changes == [Change(slot, LIVE, 3, 300)]
    assert table.entries == 1


@pytest.mark.parametrize("flows", [1, 8, 9, 40])
def test_known_flows_are_found_as_in_the_whole_table(
    kernel: FlowSlots, table: FlowTable, flows: int
) -> None:
    """Be they few in a window or many, at its ends or anywhere."""
    beside = FlowTable(kernel.fd, SLOTS, IDLE_S, START_S)
    chance = random.Random(flows)
    ends = (0, WINDOW_SLOTS - 1, WINDOW_SLOTS, SLOTS - 1)
    slots = sorted({*ends, *chance.sample(range(WINDOW_SLOTS), flows)})
    for slot in slots:
        kernel.insert(slot, packets=1, wire_bytes=60)
    assert swept(table, only_known=True) == ([], [])
    assert swept(table) == swept(beside)
    for _ in range(3):
        counting = sorted(chance.sample(slots, len(slots) // 2))
        for slot in counting:
            kernel.add(slot, 2, 120)
        opened, changes = swept(table, only_known=True)
        assert changes == [Change(slot, LIVE, 2, 120) for slot in counting]
        assert (opened, changes) == swept(beside)
    assert swept(table) == ([], [])


def test_a_known_flow_that_is_closing_is_still_swept(kernel: FlowSlots, table: FlowTable) -> None:
    kernel.insert(5)
    swept(table)
    close(kernel, table, 5)
    kernel.add(5, 1, 100)
    assert swept(table, only_known=True)[1] == [Change(5, head_of(FLOW_CLOSING), 1, 100)]


def test_of_known_flows_no_more_become_objects_at_a_time_either(kernel: FlowSlots) -> None:
    table = FlowTable(kernel.fd, SLOTS, IDLE_S, START_S)
    slots = range(SLOTS // 32 - 1)
    for slot in slots:
        kernel.insert(slot)
    swept(table)
    for slot in slots:
        kernel.add(slot, 1, 60)
    sweeps = list(table.sweep(only_known=True))
    assert max(len(each.changes) for each in sweeps) <= CHANGES_MAX
    assert [change.slot for each in sweeps for change in each.changes] == list(slots)


def test_many_known_flows_are_swept_with_all_others(kernel: FlowSlots, table: FlowTable) -> None:
    for slot in range(SLOTS // 32):
        kernel.insert(slot)
    swept(table)
    kernel.insert(SLOTS - 1)
    assert [flow.slot for flow in swept(table, only_known=True)[0]] == [SLOTS - 1]


def test_a_new_flow_is_decoded(kernel: FlowSlots, table: FlowTable) -> None:
    kernel.insert(
        7,
        head_of(flags=FLOW_OPENER, protocol=TCP, family=6, direction=1, device=0x1234),
        source=bytes(range(16)),
        destination=bytes(range(100, 116)),
        ports=(40_000, 443),
    )
    (flow,), _ = swept(table)
    assert flow == Flow(
        slot=7,
        direction=1,
        device_slot=0x1234,
        family=6,
        protocol=TCP,
        flags=FLOW_OPENER,
        source=bytes(range(16)),
        destination=bytes(range(100, 116)),
        source_port=40_000,
        destination_port=443,
    )


def test_an_ipv4_address_has_four_bytes(kernel: FlowSlots, table: FlowTable) -> None:
    kernel.insert(7, source=bytes([10, 0, 0, 1]), destination=bytes([192, 0, 2, 255]))
    (flow,), _ = swept(table)
    assert (flow.source, flow.destination) == (bytes([10, 0, 0, 1]), bytes([192, 0, 2, 255]))


def test_a_sweep_tells_each_packet_once(kernel: FlowSlots, table: FlowTable) -> None:
    kernel.insert(5, packets=1, wire_bytes=60)
    swept(table)
    assert swept(table) == ([], [])
    kernel.add(5, 2, 3_000)
    assert swept(table) == ([], [Change(5, LIVE, 2, 3_000)])
    assert swept(table) == ([], [])


def test_windows_without_change_are_not_looked_into(kernel: FlowSlots, table: FlowTable) -> None:
    for slot in (0, WINDOW_SLOTS, 2 * WINDOW_SLOTS):
        kernel.insert(slot)
    assert len(list(table.sweep())) == 3
    kernel.add(WINDOW_SLOTS, 1, 1)
    (only,) = table.sweep()
    assert [change.slot for change in only.changes] == [WINDOW_SLOTS]


def test_a_flood_is_found_in_parts_that_take_little_memory(
    kernel: FlowSlots, table: FlowTable
) -> None:
    slots = [*range(2 * CHANGES_MAX + 1), WINDOW_SLOTS - 1]
    for slot in slots:
        kernel.insert(slot)
    sweeps = list(table.sweep())
    assert [len(each.changes) for each in sweeps] == [CHANGES_MAX, CHANGES_MAX, 1, 1]
    assert [change.slot for each in sweeps for change in each.changes] == slots
    assert [flow.slot for each in sweeps for flow in each.opened] == slots


def test_packets_that_are_seen_before_their_bytes_are_told_once(
    kernel: FlowSlots, table: FlowTable
) -> None:
    """The kernel program adds to packets first, and may be stopped there."""
    kernel.insert(5, packets=1, wire_bytes=60)
    swept(table)
    kernel.add_packets(5, 1)
    assert swept(table) == ([], [])
    kernel.add_bytes(5, 60)
    assert swept(table) == ([], [Change(5, LIVE, 1, 60)])


def test_an_entry_that_is_being_written_waits_for_the_next_sweep(
    kernel: FlowSlots, table: FlowTable
) -> None:
    kernel.insert(5, head_of(FLOW_CLAIM), packets=1, wire_bytes=60)
    assert swept(table) == ([], [])
    assert table.entries == 0
    kernel.set_head(5, LIVE)
    assert [change.packets for change in swept(table)[1]] == [1]
    assert table.entries == 1


def test_a_flow_that_an_event_announced_is_not_opened_again(
    kernel: FlowSlots, table: FlowTable
) -> None:
    kernel.insert(5)
    assert table.announced(5, LIVE)
    assert not table.announced(5, LIVE)
    opened, changes = swept(table)
    assert (opened, len(changes), table.entries) == ([], 1, 1)


def test_an_event_tells_nothing_new_of_a_flow_that_a_sweep_has_found(
    kernel: FlowSlots, table: FlowTable
) -> None:
    kernel.insert(5)
    swept(table)
    assert not table.announced(5, LIVE)
    assert table.entries == 1


def test_counters_may_use_all_64_bits(kernel: FlowSlots, table: FlowTable) -> None:
    kernel.insert(5, packets=(1 << 64) - 2, wire_bytes=(1 << 64) - 2)
    assert swept(table)[1][0].bytes == (1 << 64) - 2
    kernel.add(5, 1, 1)
    assert swept(table)[1] == [Change(5, LIVE, 1, 1)]


@pytest.mark.parametrize(
    ("head", "packets", "timeout_s"),
    [
        (LIVE, 1, IDLE_S),
        (LIVE, 1000, IDLE_S),
        (head_of(protocol=1), 1000, IDLE_S),
        (TCP_LIVE, HARDLY_BEGUN_PACKETS, IDLE_S),
        (TCP_LIVE, HARDLY_BEGUN_PACKETS + 1, TCP_TIMEOUT_FACTOR * IDLE_S),
        (TCP_ENDED, 1000, LINGER_S),
    ],
    ids=["udp", "long udp", "icmp", "tcp that has hardly begun", "tcp", "ended"],
)
def test_a_silent_flow_is_closed_after_its_timeout_and_never_before(
    kernel: FlowSlots, table: FlowTable, head: int, packets: int, timeout_s: float
) -> None:
    kernel.insert(5, head, packets=packets)
    swept(table)
    assert closed_by(table, START_S + timeout_s - 0.01) == []
    assert kernel.head(5) == head
    assert closed_by(table, START_S + timeout_s + 4.1 * table._timeouts.tick_s) == [5]
    assert kernel.head(5) == head & ~0xFF | FLOW_CLOSING


def test_in_a_table_half_full_a_flow_that_has_hardly_begun_stays_no_longer_than_an_ended_one(
    kernel: FlowSlots, table: FlowTable
) -> None:
    for slot in range(SLOTS // 2 + 2):
        kernel.insert(slot, TCP_LIVE, packets=1)
        table.announced(slot, TCP_LIVE)
    went_on = SLOTS // 2 + 1
    kernel.add(went_on, HARDLY_BEGUN_PACKETS, 1000)
    swept(table)
    lingered = closed_by(table, START_S + LINGER_S + 4.1 * table._timeouts.tick_s)
    assert SLOTS // 2 in lingered
    assert went_on not in lingered


def test_a_flow_that_an_event_announced_falls_idle_too(kernel: FlowSlots, table: FlowTable) -> None:
    """Its event came, and then its bytes were folded when it was closed."""
    kernel.insert(5, TCP_ENDED)
    table.announced(5, TCP_ENDED)
    assert closed_by(table, START_S + 2 * LINGER_S) == [5]


def test_an_end_that_an_event_tells_lets_the_flow_go_sooner(
    kernel: FlowSlots, table: FlowTable
) -> None:
    kernel.insert(5, TCP_LIVE)
    swept(table)
    kernel.set_head(5, TCP_ENDED)
    table.ended(5)
    assert closed_by(table, START_S + 2 * LINGER_S) == [5]


def test_the_end_of_a_flow_that_nobody_knows_is_no_flow(
    kernel: FlowSlots, table: FlowTable
) -> None:
    table.ended(5)
    assert closed_by(table, START_S + 10 * IDLE_S) == []
    assert (kernel.head(5), table.entries) == (FLOW_FREE, 0)


def test_an_ended_flow_lingers_as_long_as_packets_come(kernel: FlowSlots, table: FlowTable) -> None:
    kernel.insert(5, TCP_ENDED)
    for at_s in range(0, 100, 5):
        kernel.add(5, 1, 60)
        swept(table)
        assert list(table.close_idle(START_S + at_s)) == []
    assert list(table.close_idle(START_S + 100 + LINGER_S)) == [5]


def test_a_flow_that_counted_since_the_last_sweep_is_spared(
    kernel: FlowSlots, table: FlowTable
) -> None:
    kernel.insert(5)
    swept(table)
    kernel.add(5, 1, 100)
    assert list(table.close_idle(START_S + 3 * IDLE_S)) == []
    assert kernel.state(5) == FLOW_LIVE
    assert swept(table)[1] == [Change(5, LIVE, 1, 100)]
    assert list(table.close_idle(START_S + 3 * IDLE_S + 1)) == []
    assert list(table.close_idle(START_S + 5 * IDLE_S)) == [5]


def test_an_entry_whose_ports_are_used_again_is_closed_whatever_it_counted(
    kernel: FlowSlots, table: FlowTable
) -> None:
    kernel.insert(5, TCP_ENDED)
    swept(table)
    kernel.add(5, 1, 100)
    kernel.set_head(5, head_of(FLOW_SUPERSEDED, FLOW_ENDED, protocol=TCP))
    close(kernel, table, 5)
    assert table.final_changes([5])[0][2:] == (1, 100)


def test_what_is_counted_while_an_entry_is_closing_is_in_its_final_change(
    kernel: FlowSlots, table: FlowTable
) -> None:
    kernel.insert(5)
    swept(table)
    close(kernel, table, 5)
    kernel.add(5, 1, 100)
    assert table.final_changes([5]) == [Change(5, head_of(FLOW_CLOSING), 1, 100)]
    assert table.final_changes([5]) == [Change(5, head_of(FLOW_CLOSING), 0, 0)]


def test_a_sweep_of_a_closing_entry_takes_from_its_final_change(
    kernel: FlowSlots, table: FlowTable
) -> None:
    kernel.insert(5)
    swept(table)
    close(kernel, table, 5)
    kernel.add(5, 1, 100)
    assert swept(table) == ([], [Change(5, head_of(FLOW_CLOSING), 1, 100)])
    kernel.add(5, 2, 200)
    assert table.final_changes([5]) == [Change(5, head_of(FLOW_CLOSING), 2, 200)]


def test_a_cleared_slot_is_all_zero_but_for_its_state_until_it_is_free(
    kernel: FlowSlots, table: FlowTable
) -> None:
    kernel.insert(5, source=b"\xff" * 16, destination=b"\xff" * 16)
    kernel.insert(4)
    kernel.insert(6)
    neighbours = [bytes(kernel.bytes_of(slot)) for slot in (4, 6)]
    swept(table)
    close(kernel, table, 5)
    kernel.set_head(4, LIVE)
    kernel.set_head(6, LIVE)
    table.final_changes([5])
    table.zero([5])
    assert not any(kernel.bytes_of(5)[8:])
    assert kernel.state(5) == FLOW_CLOSING
    assert table.entries == 3
    table.free([5])
    assert not any(kernel.bytes_of(5))
    assert table.entries == 2
    assert [bytes(kernel.bytes_of(slot)) for slot in (4, 6)] == neighbours


def free_again(kernel: FlowSlots, table: FlowTable, slot: int) -> None:
    close(kernel, table, slot)
    table.final_changes([slot])
    table.zero([slot])
    table.free([slot])


def test_a_slot_is_used_again_from_zero(kernel: FlowSlots, table: FlowTable) -> None:
    kernel.insert(5, packets=9, wire_bytes=900)
    swept(table)
    free_again(kernel, table, 5)
    kernel.insert(5, TCP_LIVE, ports=(1, 2), packets=1, wire_bytes=60)
    (flow,), changes = swept(table)
    assert (flow.protocol, flow.source_port) == (TCP, 1)
    assert changes == [Change(5, TCP_LIVE, 1, 60)]
    assert table.entries == 1


def test_an_end_that_is_told_while_the_entry_is_closing_closes_it_only_once(
    kernel: FlowSlots, table: FlowTable
) -> None:
    """A run that had found the entry alive saw the FIN; the slot may be another flow's by then."""
    kernel.insert(5, TCP_LIVE)
    swept(table)
    close(kernel, table, 5)
    table.ended(5)
    later_s = START_S + 10 * IDLE_S + 2 * LINGER_S
    assert list(table.close_idle(later_s)) == []
    table.final_changes([5])
    table.zero([5])
    table.ended(5)
    table.free([5])
    assert list(table.close_idle(later_s + 2 * LINGER_S)) == []
    assert (kernel.head(5), table.entries) == (FLOW_FREE, 0)


def test_flows_of_several_windows_go_together(kernel: FlowSlots, table: FlowTable) -> None:
    slots = [3, WINDOW_SLOTS + 3, SLOTS - 1]
    for slot in slots:
        kernel.insert(slot, packets=slot, wire_bytes=slot)
    assert sum(change.packets for change in swept(table)[1]) == sum(slots)
    for slot in slots:
        kernel.add(slot, 1, slot)
    swept(table)
    assert closed_by(table, START_S + 3 * IDLE_S) == slots
    for slot in slots:
        kernel.add(slot, 1, slot)
    assert [change[2:] for change in table.final_changes(slots)] == [(1, slot) for slot in slots]
    table.zero(slots)
    table.free(slots)
    assert kernel.is_clear()
    assert table.entries == 0


def test_looking_leaves_no_descriptor_open(kernel: FlowSlots, table: FlowTable) -> None:
    """Each mapping has one of its own."""
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    for slot in (0, WINDOW_SLOTS):
        kernel.insert(slot)
    swept(table)
    free_again(kernel, table, 0)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


def test_it_knows_of_a_slot_from_the_announcement_until_it_is_free(
    kernel: FlowSlots, table: FlowTable
) -> None:
    assert not table.is_known(3)
    assert not table.is_known(SLOTS)
    assert not table.is_known(0xFFFFFFFF)
    kernel.insert(3, TCP_LIVE, packets=2, wire_bytes=200)
    table.announced(3, TCP_LIVE)
    assert table.is_known(3)
    assert table.folded(3) == (0, 0)
    swept(table)
    assert table.folded(3) == (2, 200)
    close(kernel, table, 3)
    table.final_changes([3])
    table.zero([3])
    assert table.is_known(3)
    table.free([3])
    assert not table.is_known(3)
    assert table.folded(3) == (0, 0)


def test_flows_are_looked_up_by_slot_in_any_window(kernel: FlowSlots, table: FlowTable) -> None:
    slots = [WINDOW_SLOTS + 1, 5, SLOTS - 1, 6]
    for slot in slots:
        kernel.insert(slot, TCP_LIVE, ports=(slot, 443))
    swept(table)
    found = table.flows(slots)
    assert sorted(flow.slot for flow in found) == sorted(slots)
    assert all(flow.source_port == flow.slot for flow in found)
    assert table.flows([]) == []


CLIENT, SERVER = b"\x0a\0\0\1", b"\x0a\0\0\2"
UP = head_of(protocol=TCP, direction=1)
DOWN = head_of(protocol=TCP, direction=0)


def insert_pair(kernel: FlowSlots, up: int, down: int, down_head: int = DOWN) -> None:
    kernel.insert(up, UP, source=CLIENT, destination=SERVER, ports=(1000, 443))
    kernel.insert(down, down_head, source=SERVER, destination=CLIENT, ports=(443, 1000))


@pytest.mark.parametrize("first", [0, 64, WINDOW_SLOTS, SLOTS - 64])
@pytest.mark.parametrize(("up", "down"), [(0, 63), (63, 0), (5, 6)])
def test_the_other_direction_of_a_connection_is_found_in_its_bucket(
    kernel: FlowSlots, table: FlowTable, first: int, up: int, down: int
) -> None:
    insert_pair(kernel, first + up, first + down)
    swept(table)
    assert peer(table, first + up) == first + down
    assert peer(table, first + down) == first + up


def test_flags_do_not_hide_the_other_direction(kernel: FlowSlots, table: FlowTable) -> None:
    insert_pair(kernel, 5, 6, head_of(flags=FLOW_ENDED, protocol=TCP))
    swept(table)
    assert peer(table, 5) == 6
    assert peer(table, 6) == 5


@pytest.mark.parametrize(
    "other",
    [
        {"head": head_of(protocol=TCP, direction=1)},
        {"head": head_of(protocol=TCP, device=2)},
        {"head": head_of()},
        {"head": head_of(protocol=TCP, family=6)},
        {"source": CLIENT},
        {"destination": SERVER},
        {"ports": (443, 1001)},
        {"ports": (444, 1000)},
    ],
    ids=str,
)
def test_what_differs_in_anything_is_not_the_other_direction(
    kernel: FlowSlots, table: FlowTable, other: dict[str, Any]
) -> None:
    insert_pair(kernel, 5, 60)
    fields: dict[str, Any] = {
        "head": DOWN,
        "source": SERVER,
        "destination": CLIENT,
        "ports": (443, 1000),
    }
    kernel.insert(6, **(fields | other))
    swept(table)
    assert peer(table, 5) == 60


def test_a_direction_that_nobody_announced_is_no_peer_yet(
    kernel: FlowSlots, table: FlowTable
) -> None:
    insert_pair(kernel, 5, 6)
    table.announced(5, UP)
    assert peer(table, 5) is None
    table.announced(6, DOWN)
    assert peer(table, 5) == 6


@pytest.mark.parametrize("state", [FLOW_CLOSING, FLOW_SUPERSEDED])
@pytest.mark.parametrize(("old", "new"), [(6, 7), (7, 6)])
def test_of_two_entries_of_the_other_direction_the_live_one_is_the_peer(
    kernel: FlowSlots, table: FlowTable, state: int, old: int, new: int
) -> None:
    """Where a connection takes the ports of an earlier one, whose flow is on its way out."""
    insert_pair(kernel, 5, old)
    swept(table)
    kernel.set_head(old, head_of(state, protocol=TCP))
    assert peer(table, 5) == old
    kernel.insert(new, DOWN, source=SERVER, destination=CLIENT, ports=(443, 1000))
    swept(table)
    assert peer(table, 5) == new
