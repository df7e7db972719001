"""The counting: what is folded when, and what the audit says of what is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from exporter.capture.attach import Attached
from exporter.capture.closing import Closing
from exporter.capture.device import Device
from exporter.capture.flow_table import LINGER_S, FlowTable
from exporter.capture.grace import GracePeriods
from exporter.capture.records import (
    FLOW_CLOSING,
    FLOW_ENDED,
    FLOW_ENTRY,
    FLOW_EVENT_END,
    FLOW_EVENT_NEW,
    FLOW_LIVE,
    FLOW_OPENER,
    ZERO_TOTALS,
    DeviceTotals,
    Flow,
    Payload,
    plus,
)
from exporter.clock import Now
from exporter.counting import Counting, _gap
from exporter.counts.budget import Budget
from exporter.counts.fold import Fold
from exporter.counts.snapshot import Attachment, Count, DeviceCounts
from exporter.kernel import Kernel
from exporter.names.attribution import NONE, TLS, Inspected, Unattributed, Verdict
from exporter.names.dns_health import DnsHealth, DnsHealthCounts
from exporter.names.domains import UNKNOWN
from exporter.names.scope import AddedLabels, Scopes
from tests.unit.kernel_side import TCP, FlowSlots, head_of

SLOTS = 64
IDLE_S = 60.0
CREATED_S = 1_800_000_000.0
LATER = Now(CREATED_S + 100, 1000.0)
MUCH_LATER = Now(CREATED_S + 1000, 10 * IDLE_S)
OPENER = head_of(flags=FLOW_OPENER, protocol=TCP)
ENDED_OPENER = head_of(flags=FLOW_OPENER | FLOW_ENDED, protocol=TCP)


class Grace:
    """Over as soon as it is asked for."""

    running = False

    def start(self) -> None:
        self.running = True

    def finished(self) -> bool:
        was_running, self.running = self.running, False
        return was_running


class Ring:
    """As FlowEventRing."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def drain(self) -> list[tuple[Any, ...]]:
        events, self.events = self.events, []
        return events


class PayloadRing:
    """As PayloadRing."""

    def __init__(self) -> None:
        self.payloads: list[Payload] = []

    def drain(self) -> list[Payload]:
        payloads, self.payloads = self.payloads, []
        return payloads


class Names(Unattributed):
    """Decides what a test says: a payload names its flow by what it holds."""

    def __init__(self) -> None:
        self.pending: dict[int, Flow] = {}
        self.is_patient = False
        """Whether flows that open are pending."""

    def opened(self, flow: Flow, opened_s: float) -> Verdict | None:
        assert opened_s < CREATED_S, "the clock is monotonic"
        if not self.is_patient:
            return super().opened(flow, opened_s)
        self.pending[flow.slot] = flow
        return None

    def read(self, payload: Payload) -> list[Verdict]:
        self.pending.pop(payload.slot, None)
        return [Verdict(payload.slot, payload.data.decode(), TLS, False)]

    @property
    def is_waiting(self) -> bool:
        return bool(self.pending)

    def due(self, now_s: float) -> list[Verdict]:
        assert now_s < CREATED_S
        return [verdict for slot in list(self.pending) for verdict in self.closed(slot, now_s)]

    def closed(self, slot: int, now_s: float) -> list[Verdict]:
        return [Verdict(slot, UNKNOWN, NONE)] if self.pending.pop(slot, None) else []

    def learned(self) -> tuple[tuple[str, int], ...]:
        return (("tls", 3),)

    def inspected(self) -> tuple[Inspected, ...]:
        return (Inspected("tls", 4, 5),)

    def dns_health(self, now_s: float) -> DnsHealthCounts | None:
        return DnsHealth().snapshot(now_s)


class Stacking:
    """As Stacking."""

    count = 0


class Totals:
    """As Totals, of slot 1 alone."""

    def __init__(self) -> None:
        self.cells = [ZERO_TOTALS, ZERO_TOTALS]
        self.while_reading: list[int] = []
        """Packets of 100 bytes that come in before each of the next readings."""

    def count(self, direction: int = 0, **counts: int) -> None:
        self.cells[direction] = plus(self.cells[direction], ZERO_TOTALS._replace(**counts))

    def read(self, slot: int, direction: int) -> DeviceTotals:
        if self.while_reading and (slot, direction) == (0, 0):
            more = self.while_reading.pop(0)
            self.count(packets=more, bytes=more * 100)
        return self.cells[direction] if slot == 1 else ZERO_TOTALS


class Interfaces:
    """As Interfaces."""

    def __init__(self, totals: Totals) -> None:
        self.devices: dict[str, Device] = {}
        self.removed = [ZERO_TOTALS, ZERO_TOTALS]
        self.stacking = Stacking()
        self.slots = self
        self._totals = totals

    def used(self) -> list[int]:
        return [0, 1]

    def carried(self, _: int) -> DeviceTotals:
        return ZERO_TOTALS

    def see_drivers(self) -> None:
        for device in self.devices.values():
            device.see_driver((7, 8))

    def totals_of(self, device: Device, direction: int) -> DeviceTotals:
        return self._totals.read(device.slot, direction)

    def totals_of_removed(self, direction: int) -> DeviceTotals:
        return self.removed[direction]


class Bench:
    """A Counting, and the kernel's side of all that it reads."""

    def __init__(self) -> None:
        self.flows = FlowSlots(SLOTS)
        self.ring = Ring()
        self.totals = Totals()
        self.interfaces = Interfaces(self.totals)
        table = FlowTable(self.flows.fd, SLOTS, IDLE_S, 0.0)
        self.payloads = PayloadRing()
        self.listening = Interfaces(self.totals)
        self.names = Names()
        kernel = Kernel(
            ring=cast(Any, self.ring),
            payloads=cast(Any, self.payloads),
            table=table,
            totals=cast(Any, self.totals),
            interfaces=cast(Any, self.interfaces),
            listening=cast(Any, self.listening),
            flows_max=50,
            memory_bytes=4711,
        )
        closing = Closing(table, cast(GracePeriods, Grace()))
        budget = Budget(200, 86_400.0, 0.0)
        self.fold = Fold(SLOTS, budget, AddedLabels((), Scopes()), CREATED_S)
        self.counting = Counting(kernel, closing, self.names, self.fold, CREATED_S)

    def insert(self, slot: int, head: int, packets: int = 1) -> None:
        """A flow, and its packets of 100 bytes among the totals."""
        self.flows.insert(slot, head, packets=packets, wire_bytes=packets * 100)
        self.totals.count(packets=packets, bytes=packets * 100)

    def send_event(self, kind: int, slot: int) -> None:
        entry = FLOW_ENTRY.unpack(self.flows.bytes_of(slot))
        self.ring.events.append((0, kind, slot, *entry))

    def send_payload(self, slot: int, name: str) -> None:
        payload = Payload(0, slot, 1, TCP, b"c" * 4, b"s" * 4, 1000, 443, 0, 0, name.encode())
        self.payloads.payloads.append(payload)

    def bytes(self) -> dict[str, int]:
        """Of ingress, by domain, as the next snapshot shows them."""
        shown = self.counting.snapshot(LATER).domains
        return {each.domain: each.bytes for each in shown if each.direction == "ingress"}

    def counted(self) -> Count:
        """The series of ingress, as the next snapshot shows them."""
        first, *_ = self.counting.snapshot(LATER).domains
        return Count(first.packets, first.bytes)

    def active(self) -> int:
        return self.counting.snapshot(LATER).domains[0].active_connections

    def unaccounted(self) -> tuple[Count, Count]:
        return self.counting.snapshot(LATER).unaccounted


NOTHING = (Count(), Count())


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.flows.close()


def test_before_anything_all_is_zero(bench: Bench) -> None:
    snapshot = bench.counting.snapshot(LATER)
    assert [(each.packets, each.bytes) for each in snapshot.domains] == [(0, 0), (0, 0)]
    assert (snapshot.unaccounted, snapshot.pending) == (NOTHING, NOTHING)
    assert (snapshot.folded_at_s, snapshot.created_s) == (LATER.wall_s, CREATED_S)
    assert (snapshot.flow_table_entries, snapshot.flow_table_limit) == (0, 50)
    assert snapshot.kernel_memory_bytes == 4711
    assert snapshot.dropped_events == (("flow", 0), ("payload", 0))
    assert (snapshot.evicted, snapshot.domains_evicted) == (NOTHING, 0)
    assert snapshot.unexpected_bytes == (0, 0)
    assert not any(each.bytes for each in snapshot.attributed)


def test_a_snapshot_shows_what_was_counted_until_then(bench: Bench) -> None:
    bench.insert(3, OPENER, packets=2)
    assert bench.counted() == Count(2, 200)
    bench.flows.add(3, 1, 100)
    bench.totals.count(packets=1, bytes=100)
    assert bench.counted() == Count(3, 300)
    assert bench.unaccounted() == NOTHING


def test_overflow_and_non_ip_are_counted_with_the_flows(bench: Bench) -> None:
    bench.insert(3, OPENER)
    bench.totals.count(packets=2, bytes=200, overflow_packets=2, overflow_bytes=200)
    bench.totals.count(packets=4, bytes=240, non_ip_packets=4, non_ip_bytes=240)
    assert bench.counted() == Count(7, 540)
    assert bench.unaccounted() == NOTHING


def test_without_news_in_the_totals_the_table_is_not_swept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.insert(3, OPENER)
    bench.counting.sweep(LATER)
    monkeypatch.setattr(FlowTable, "sweep", lambda _, **__: pytest.fail("it was swept"))
    bench.counting.sweep(LATER)
    assert bench.counting.snapshot(Now(CREATED_S + 109, 1009.0)).folded_at_s == CREATED_S + 109


def test_a_sweep_says_whether_there_was_anything(bench: Bench) -> None:
    assert bench.counting.sweep(LATER)
    assert not bench.counting.sweep(LATER)
    bench.insert(3, OPENER)
    assert bench.counting.sweep(LATER)
    assert not bench.counting.sweep(LATER)


def test_a_look_says_whether_anything_came(bench: Bench) -> None:
    assert not bench.counting.look(LATER)
    bench.insert(3, OPENER)
    bench.send_event(FLOW_EVENT_NEW, 3)
    assert bench.counting.look(LATER)
    assert not bench.counting.look(LATER)
    bench.send_payload(3, "example.org")
    assert bench.counting.look(LATER)
    assert not bench.counting.look(LATER)


def test_a_look_says_whether_anything_waits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.names.is_patient = True
    bench.insert(3, OPENER)
    bench.send_event(FLOW_EVENT_NEW, 3)
    with monkeypatch.context() as patient:
        patient.setattr(bench.names, "due", lambda _: [])
        assert bench.counting.look(LATER)
        assert bench.counting.look(LATER), "its grace period is not over"
    assert not bench.counting.look(LATER)


def test_a_look_lets_flows_go_whose_time_began_with_an_earlier_one(bench: Bench) -> None:
    """However long there was none."""
    for slot in (3, 4):
        bench.insert(slot, OPENER)
    bench.counting.look(LATER)
    bench.counting.sweep(LATER)
    rested = Now(LATER.wall_s + 3 * LINGER_S, LATER.boot_s + 3 * LINGER_S)
    bench.flows.set_head(4, ENDED_OPENER)
    bench.send_event(FLOW_EVENT_END, 4)
    bench.counting.look(rested)
    assert bench.flows.head(4) & 0xFF == FLOW_LIVE
    bench.counting.look(Now(rested.wall_s + 2 * LINGER_S, rested.boot_s + 2 * LINGER_S))
    assert [bench.flows.head(slot) & 0xFF for slot in (3, 4)] == [FLOW_LIVE, FLOW_CLOSING]


def test_an_event_opens_and_ends_a_connection_before_any_sweep(bench: Bench) -> None:
    bench.insert(3, OPENER)
    bench.send_event(FLOW_EVENT_NEW, 3)
    bench.counting.drain(LATER)
    assert bench.active() == 1
    bench.flows.set_head(3, ENDED_OPENER)
    bench.send_event(FLOW_EVENT_END, 3)
    bench.counting.drain(LATER)
    assert bench.active() == 0


def test_a_flow_whose_event_was_lost_is_found_by_the_sweep(bench: Bench) -> None:
    bench.insert(3, OPENER)
    assert bench.active() == 1
    bench.send_event(FLOW_EVENT_NEW, 3)
    bench.counting.drain(LATER)
    assert bench.active() == 1, "the event that came late tells nothing new"


def test_the_first_sweep_sees_what_a_process_before_this_one_left(bench: Bench) -> None:
    """Though others hide what is missing, as below."""
    bench.insert(0, OPENER)
    bench.send_event(FLOW_EVENT_NEW, 0)
    bench.insert(3, OPENER)
    bench.flows.add(0, 1, 100)
    bench.totals.while_reading = [0, 1]
    assert bench.active() == 2


@pytest.mark.parametrize("direction", [0, 1])
def test_each_lost_event_has_the_whole_table_looked_at(bench: Bench, direction: int) -> None:
    for slot in range(4):  # of the table of 64, the first two are few
        bench.insert(slot, OPENER)
        bench.totals.count(direction, dropped_events=1)
        assert bench.active() == slot + 1
        assert bench.unaccounted() == NOTHING


def test_a_flow_that_is_missed_is_looked_for_whatever_became_of_its_event(bench: Bench) -> None:
    assert bench.active() == 0
    bench.insert(3, OPENER)
    assert bench.unaccounted() == NOTHING
    assert bench.active() == 1


def test_a_lost_event_is_made_up_for_though_others_hide_what_is_missing(bench: Bench) -> None:
    """While the known flow counts more than the totals said when they were read."""
    bench.insert(0, OPENER)
    assert bench.active() == 1
    bench.insert(3, OPENER)
    bench.totals.count(dropped_events=1)
    bench.flows.add(0, 1, 100)
    bench.totals.while_reading = [0, 1]
    assert bench.active() == 2


def test_the_end_of_a_flow_whose_beginning_was_lost_ends_nothing_else(bench: Bench) -> None:
    bench.insert(3, ENDED_OPENER)
    bench.send_event(FLOW_EVENT_END, 3)
    bench.counting.drain(LATER)
    assert bench.active() == 0
    assert bench.counted() == Count(1, 100)


def test_a_flow_that_falls_idle_is_folded_to_its_last_byte(bench: Bench) -> None:
    bench.insert(3, OPENER)
    assert bench.active() == 1
    bench.counting.close_idle(MUCH_LATER)
    bench.flows.add(3, 1, 100)  # by a run that had begun before
    bench.totals.count(packets=1, bytes=100)
    bench.counting.settle(LATER)
    assert bench.active() == 0
    assert bench.counted() == Count(2, 200)
    bench.counting.settle(LATER)
    assert bench.flows.is_clear()
    assert bench.counting.released_flows == 1
    assert bench.unaccounted() == NOTHING


def test_events_are_taken_in_before_a_slot_is_free_again(bench: Bench) -> None:
    """Else the end of the old flow would be told of the new one in its slot."""
    bench.insert(3, OPENER)
    bench.counting.sweep(LATER)
    bench.counting.close_idle(MUCH_LATER)
    bench.counting.settle(LATER)
    bench.send_event(FLOW_EVENT_NEW, 3)
    bench.send_event(FLOW_EVENT_END, 3)
    bench.counting.settle(LATER)
    assert bench.flows.is_clear()
    bench.insert(3, OPENER)
    bench.counting.drain(LATER)
    assert bench.active() == 1


def test_what_comes_in_during_a_sweep_is_not_unaccounted_for(bench: Bench) -> None:
    """Whether the sweep saw it or not."""
    bench.insert(3, OPENER)
    bench.flows.add(3, 4, 400)
    bench.totals.while_reading = [0, 5]
    assert bench.unaccounted() == NOTHING


def test_what_was_counted_before_and_is_in_no_flow_is_unaccounted_for(bench: Bench) -> None:
    bench.totals.count(packets=3, bytes=300)
    bench.totals.count(1, packets=1, bytes=64)
    assert bench.unaccounted() == (Count(3, 300), Count(1, 64))
    bench.flows.insert(3, OPENER, packets=3, wire_bytes=300)
    assert bench.unaccounted() == (Count(), Count(1, 64))
    bench.flows.insert(4, head_of(direction=1), packets=1, wire_bytes=64)
    assert bench.unaccounted() == NOTHING


def test_what_is_in_flows_and_not_in_the_totals_is_less_than_nothing(bench: Bench) -> None:
    bench.totals.count(packets=1, bytes=100)
    bench.flows.insert(3, OPENER, packets=3, wire_bytes=350)
    assert bench.unaccounted() == (Count(-2, -250), Count())


@pytest.mark.parametrize(
    ("explained", "gap"), [(9, 1), (10, 0), (15, 0), (20, 0), (21, -1), (0, 10), (100, -80)]
)
def test_how_far_a_count_lies_outside(explained: int, gap: int) -> None:
    assert _gap(Count(10, 10), Count(explained, 10), Count(20, 10)) == Count(gap, 0)
    assert _gap(Count(10, 10), Count(10, explained), Count(10, 20)) == Count(0, gap)


def device(name: str, attached: Attached | None) -> Device:
    return Device(name, 1, (ZERO_TOTALS, ZERO_TOTALS), CREATED_S + 5, 3, attached, (0, 2))


def test_devices_are_shown_with_their_totals_and_their_drivers(bench: Bench) -> None:
    bench.interfaces.devices["eth0"] = device("eth0", Attached("tcx", (1, 2)))
    bench.interfaces.stacking.count = 2
    bench.totals.count(packets=9, bytes=900, overflow_packets=2, dropped_events=3)
    bench.totals.count(1, dropped_events=10, dropped_payloads=4)
    snapshot = bench.counting.snapshot(LATER)
    assert snapshot.devices == (
        DeviceCounts("eth0", "ingress", 9, 900, 2, 7, CREATED_S + 5),
        DeviceCounts("eth0", "egress", 0, 0, 0, 8, CREATED_S + 5),
    )
    assert snapshot.dropped_events == (("flow", 13), ("payload", 4))
    assert snapshot.stacked_interfaces == 2


def test_what_is_attached_is_shown_and_what_is_not(bench: Bench) -> None:
    bench.interfaces.devices["eth0"] = device("eth0", Attached("clsact", ()))
    bench.interfaces.devices["eth1"] = device("eth1", None)
    bench.listening.devices["lo"] = device("lo", Attached("tcx", (1, 2)))
    assert bench.counting.snapshot(LATER).attachments == (
        Attachment("eth0", "ingress", "clsact", True, 0),
        Attachment("eth0", "egress", "clsact", True, 2),
        Attachment("eth1", "ingress", "none", False, 0),
        Attachment("eth1", "egress", "none", False, 2),
        Attachment("lo", "ingress", "tcx", True, 0),
        Attachment("lo", "egress", "tcx", True, 2),
    )


def test_devices_that_are_only_listened_to_have_no_totals(bench: Bench) -> None:
    bench.listening.devices["lo"] = device("lo", Attached("tcx", (1, 2)))
    assert bench.counting.snapshot(LATER).devices == ()


def test_forgotten_devices_are_shown_together_once_there_are_any(bench: Bench) -> None:
    assert bench.counting.snapshot(LATER).devices == ()
    bench.interfaces.removed[1] = ZERO_TOTALS._replace(packets=4, bytes=400)
    assert bench.counting.snapshot(LATER).devices == (
        DeviceCounts("removed", "egress", 4, 400, 0, 0, CREATED_S),
    )


# Names.


def test_a_flow_is_pending_until_a_payload_names_it(bench: Bench) -> None:
    bench.names.is_patient = True
    bench.insert(3, OPENER)
    snapshot = bench.counting.snapshot(LATER)
    assert (snapshot.pending, snapshot.unaccounted) == ((Count(1, 100), Count()), NOTHING)
    bench.send_payload(3, "example.org")
    bench.flows.add(3, 2, 200)
    bench.totals.count(packets=2, bytes=200)
    bench.counting.drain(LATER)
    assert bench.bytes() == {UNKNOWN: 0, "example.org": 300}
    snapshot = bench.counting.snapshot(LATER)
    assert (snapshot.pending, snapshot.unaccounted) == (NOTHING, NOTHING)
    assert snapshot.unexpected_bytes == (300, 0)
    assert [each.bytes for each in snapshot.attributed if each.source == TLS] == [300, 0]


def test_an_event_and_its_payload_may_come_at_once_before_any_sweep(bench: Bench) -> None:
    bench.names.is_patient = True
    bench.insert(3, OPENER)
    bench.send_event(FLOW_EVENT_NEW, 3)
    bench.send_payload(3, "example.org")
    bench.counting.drain(LATER)
    assert bench.bytes() == {UNKNOWN: 0, "example.org": 100}


@pytest.mark.parametrize("slot", [5, SLOTS, 0xFFFFFFFF])
def test_a_payload_of_a_slot_that_has_no_flow_decides_nothing(bench: Bench, slot: int) -> None:
    bench.insert(3, OPENER)
    bench.send_payload(slot, "example.org")
    bench.counting.drain(LATER)
    assert bench.bytes() == {UNKNOWN: 100}


def test_a_flow_is_decided_when_it_has_been_pending_for_long_enough(bench: Bench) -> None:
    bench.names.is_patient = True
    bench.insert(3, OPENER)
    bench.counting.sweep(LATER)
    bench.counting.decide_due(LATER)
    assert bench.counting.snapshot(LATER).pending == NOTHING
    assert bench.bytes() == {UNKNOWN: 100}


def test_a_flow_that_is_gone_is_not_pending_any_more(bench: Bench) -> None:
    bench.names.is_patient = True
    bench.insert(3, OPENER)
    bench.counting.sweep(LATER)
    bench.counting.close_idle(MUCH_LATER)
    bench.flows.add(3, 1, 100)
    bench.totals.count(packets=1, bytes=100)
    bench.counting.settle(LATER)
    snapshot = bench.counting.snapshot(LATER)
    assert (snapshot.pending, snapshot.unaccounted) == (NOTHING, NOTHING)
    assert bench.counted() == Count(2, 200)
    bench.send_payload(3, "example.org")
    bench.counting.settle(LATER)
    assert bench.flows.is_clear()
    assert bench.bytes() == {UNKNOWN: 200}


def test_what_names_say_is_in_the_snapshot(bench: Bench) -> None:
    snapshot = bench.counting.snapshot(LATER)
    assert snapshot.names_learned == (("tls", 3),)
    assert snapshot.inspected == (Inspected("tls", 4, 5),)
    assert snapshot.dns == DnsHealth().snapshot(0.0)
    assert snapshot.label_names == ()
