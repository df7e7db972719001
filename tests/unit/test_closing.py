"""How flows leave the table: what happens in which order, and between which grace periods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from exporter.capture.closing import Closing
from exporter.capture.flow_table import Change, FlowTable
from exporter.capture.grace import GracePeriods
from exporter.capture.records import FLOW_CLOSING, FLOW_FREE, FLOW_LIVE
from tests.unit.kernel_side import FlowSlots

SLOTS = 64
IDLE_S = 60.0
LONG_S = 10 * IDLE_S


class Grace:
    """As GracePeriods: the test says when one is over."""

    def __init__(self) -> None:
        self.started = 0
        self.running = False
        self.is_over = False

    def start(self) -> None:
        assert not self.running, "one at a time"
        self.running = True
        self.is_over = False
        self.started += 1

    def finished(self) -> bool:
        if not self.is_over:
            return False
        self.is_over = self.running = False
        return True


class Exit:
    """A table with flows that fall idle, and all that lets them go."""

    def __init__(self) -> None:
        self.kernel = FlowSlots(SLOTS)
        self.table = FlowTable(self.kernel.fd, SLOTS, IDLE_S, 0.0)
        self.grace = Grace()
        self.closing = Closing(self.table, cast(GracePeriods, self.grace))
        self.now_s = 0.0

    def add(self, *slots: int) -> None:
        """Flows that have counted one packet of 100 bytes, which is folded."""
        for slot in slots:
            self.kernel.insert(slot)
        for _ in self.table.sweep():
            pass

    def fall_idle(self) -> None:
        self.now_s += LONG_S
        self.closing.close_idle(self.now_s)

    def end_grace(self) -> list[Change]:
        """One grace period is over; its changes are folded and committed."""
        self.grace.is_over = True
        changes = self.settle()
        self.closing.settled()
        return changes

    def settle(self) -> list[Change]:
        return [change for part in self.closing.settle() for change in part]

    def states(self, *slots: int) -> list[int]:
        return [self.kernel.state(slot) for slot in slots]


@pytest.fixture
def way_out() -> Iterator[Exit]:
    made = Exit()
    yield made
    made.kernel.close()


def test_without_idle_flows_no_grace_period_is_asked_for(way_out: Exit) -> None:
    way_out.closing.close_idle(1.0)
    assert way_out.grace.started == 0


def test_a_flow_leaves_after_two_grace_periods(way_out: Exit) -> None:
    way_out.add(3)
    way_out.fall_idle()
    assert way_out.states(3) == [FLOW_CLOSING]
    assert way_out.grace.started == 1

    way_out.kernel.add(3, 2, 200)
    assert [change[2:] for change in way_out.end_grace()] == [(2, 200)]
    assert way_out.states(3) == [FLOW_CLOSING]
    assert not any(way_out.kernel.bytes_of(3)[8:])
    assert way_out.grace.started == 2
    assert (way_out.closing.released, way_out.table.entries) == (0, 1)

    assert way_out.end_grace() == []
    assert way_out.states(3) == [FLOW_FREE]
    assert (way_out.closing.released, way_out.table.entries) == (1, 0)
    assert way_out.grace.started == 2


def test_nothing_is_cleared_before_its_last_changes_are_committed(way_out: Exit) -> None:
    way_out.add(3)
    way_out.fall_idle()
    way_out.grace.is_over = True
    assert [change.slot for change in way_out.settle()] == [3]
    assert any(way_out.kernel.bytes_of(3)[8:])
    assert way_out.grace.started == 1
    way_out.closing.settled()
    assert not any(way_out.kernel.bytes_of(3)[8:])


def test_nothing_happens_before_the_grace_period_is_over(way_out: Exit) -> None:
    way_out.add(3)
    way_out.fall_idle()
    for _ in range(3):
        assert way_out.settle() == []
        way_out.closing.settled()
    assert way_out.states(3) == [FLOW_CLOSING]
    assert any(way_out.kernel.bytes_of(3)[8:])
    assert way_out.grace.started == 1


def test_what_falls_idle_meanwhile_waits_for_a_grace_period_of_its_own(way_out: Exit) -> None:
    way_out.add(3)
    way_out.fall_idle()
    way_out.add(4)
    way_out.fall_idle()
    assert way_out.states(3, 4) == [FLOW_CLOSING, FLOW_CLOSING]
    assert way_out.grace.started == 1

    way_out.kernel.add(4, 1, 100)
    assert [change.slot for change in way_out.end_grace()] == [3]
    assert any(way_out.kernel.bytes_of(4)[8:])

    assert [change[0::2] for change in way_out.end_grace()] == [(4, 1)]
    assert way_out.states(3, 4) == [FLOW_FREE, FLOW_CLOSING]
    assert way_out.end_grace() == []
    assert way_out.states(3, 4) == [FLOW_FREE, FLOW_FREE]
    assert way_out.grace.started == 3


def test_a_batch_goes_together(way_out: Exit) -> None:
    slots = list(range(0, SLOTS, 3))
    way_out.add(*slots)
    way_out.fall_idle()
    assert [change.slot for change in way_out.end_grace()] == slots
    way_out.end_grace()
    assert way_out.kernel.is_clear()
    assert way_out.closing.released == len(slots)


def test_the_last_changes_of_many_come_in_parts(
    way_out: Exit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.capture.closing.CHANGES_MAX", 2)
    way_out.add(*range(5))
    way_out.fall_idle()
    way_out.grace.is_over = True
    parts = [[change.slot for change in part] for part in way_out.closing.settle()]
    assert parts == [[0, 1], [2, 3], [4]]


def test_flows_that_live_are_left_alone(way_out: Exit) -> None:
    way_out.add(3)
    way_out.fall_idle()
    way_out.add(4)
    way_out.end_grace()
    way_out.end_grace()
    assert way_out.states(3, 4) == [FLOW_FREE, FLOW_LIVE]
    assert way_out.table.entries == 1


def test_of_very_many_only_a_batch_goes_at_a_time(
    way_out: Exit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.capture.closing.BATCH_MAX", 2)
    way_out.add(*range(5))
    way_out.fall_idle()
    batches = [[change.slot for change in way_out.end_grace()] for _ in range(4)]
    assert batches == [[0, 1], [2, 3], [4], []]
    assert way_out.kernel.is_clear()
    assert way_out.closing.released == 5
    assert not way_out.grace.running
