"""What a process takes over from the one before it: no sum is lost, and none goes back."""

from __future__ import annotations

import functools
import json
from typing import Any, cast

import pytest

from exporter.capture.device_slots import DeviceSlots
from exporter.capture.flow_table import Change
from exporter.capture.records import ZERO_TOTALS, DeviceTotals, Flow, plus
from exporter.capture.totals import Totals
from exporter.clock import Now
from exporter.counts.budget import Budget
from exporter.counts.earlier import Earlier
from exporter.counts.fold import Fold
from exporter.counts.rows import DOMAIN, Row, rows_of
from exporter.counts.snapshot import Count
from exporter.names.attribution import TLS, Verdict
from exporter.names.domains import OTHER
from exporter.names.scope import AddedLabels, Scopes
from tests.unit.example_snapshot import SNAPSHOT
from tests.unit.kernel_side import TCP

BEGAN_S = 1_800_000_000.0
NOW = Now(BEGAN_S + 100, 1000.0)
LATER = Now(BEGAN_S + 200, 1100.0)
INGRESS, EGRESS = 0, 1


def make_fold(labels: tuple[str, ...] = (), domains_max: int = 200) -> Fold:
    return Fold(64, Budget(domains_max, 3600.0, NOW.boot_s), AddedLabels(labels, Scopes()), BEGAN_S)


def flow(slot: int, direction: int = INGRESS) -> Flow:
    return Flow(slot, direction, 1, 4, TCP, 0, b"\x0a\0\0\1", b"\x0a\0\0\2", 1000 + slot, 443)


def count(
    fold: Fold, slot: int, packets: int, domain: str | None, direction: int = INGRESS
) -> None:
    """A flow that counts, and is of a domain or waits for one."""
    fold.opened(flow(slot, direction))
    fold.add([Change(slot, 0, packets, packets * 100)], NOW)
    if domain is not None:
        fold.decide(Verdict(slot, domain, TLS), Count(packets, packets * 100), NOW)


def rows(fold: Fold) -> list[Row]:
    return [
        Row(DOMAIN, (d.direction, d.domain, *d.labels), (d.packets, d.bytes, 0), d.created_s)
        for d in fold.domains()
    ]


def taken_over(before: Fold, after: Fold, weights: dict[str, float] | None = None) -> Fold:
    state = json.loads(json.dumps(before.state()))
    after.restore(state, rows(before), before.weights(NOW) if weights is None else weights, LATER)
    return after


def packets_of(fold: Fold) -> dict[tuple[str, str], int]:
    return {(d.direction, d.domain): d.packets for d in fold.domains() if d.packets}


@pytest.fixture
def before() -> Fold:
    fold = make_fold()
    count(fold, 1, 10, "heavy.example.com")
    count(fold, 2, 3, "light.example.com", EGRESS)
    count(fold, 3, 5, None)
    return fold


def test_series_go_on_and_what_was_pending_is_unknown(before: Fold) -> None:
    after = taken_over(before, make_fold())
    assert packets_of(after) == {
        ("ingress", "heavy.example.com"): 10,
        ("egress", "light.example.com"): 3,
        ("ingress", "unknown"): 5,
    }
    assert [after.explained(n) for n in (INGRESS, EGRESS)] == [
        before.explained(n) for n in (INGRESS, EGRESS)
    ]
    assert {d.domain: d.created_s for d in after.domains()} == {
        d.domain: d.created_s for d in before.domains()
    }
    assert sum(each.bytes for each in after.attributed()) == 1800


def test_a_domain_that_came_after_the_last_weighing_keeps_its_series(before: Fold) -> None:
    after = taken_over(before, make_fold(), weights={"heavy.example.com": 1000.0})
    assert packets_of(after) == packets_of(taken_over(before, make_fold()))
    assert after.evicted(EGRESS) == Count()


def test_the_lightest_leave_where_there_is_room_for_fewer(before: Fold) -> None:
    after = taken_over(before, make_fold(domains_max=1))
    assert ("ingress", "heavy.example.com") in packets_of(after)
    assert after.evicted(EGRESS) == Count(3, 300)
    assert after.explained(EGRESS) == before.explained(EGRESS)


@pytest.mark.parametrize("labels", [(), ("transport",), ("role", "transport")])
def test_series_with_other_labels_have_left(labels: tuple[str, ...]) -> None:
    before = make_fold(labels=("role",))
    count(before, 1, 10, "heavy.example.com")
    count(before, 2, 3, "light.example.com", EGRESS)
    count(before, 3, 5, None)
    after = taken_over(before, make_fold(labels))
    assert after.evicted(INGRESS) == Count(10, 1000)
    assert packets_of(after) == {("ingress", "unknown"): 5}
    assert {d.created_s for d in after.domains()} == {LATER.wall_s}, "what was shown goes back"
    assert [after.explained(n) for n in (INGRESS, EGRESS)] == [
        before.explained(n) for n in (INGRESS, EGRESS)
    ]


def test_it_can_be_taken_over_again(before: Fold) -> None:
    once = taken_over(before, make_fold(domains_max=1))
    count(once, 1, 7, "heavy.example.com")
    twice = taken_over(once, make_fold(domains_max=1))
    assert packets_of(twice)["ingress", "heavy.example.com"] == 17
    assert twice.evicted(EGRESS) == Count(3, 300)
    assert twice.domains_evicted == once.domains_evicted


class Cells:
    """As Totals."""

    def __init__(self, device_slots: int = 4) -> None:
        self.device_slots = device_slots
        self.cells: dict[tuple[int, int], DeviceTotals] = {}

    def count(self, slot: int, packets: int) -> None:
        for direction in (INGRESS, EGRESS):
            self.cells[slot, direction] = ZERO_TOTALS._replace(packets=packets, bytes=packets * 9)

    def read(self, slot: int, direction: int) -> DeviceTotals:
        return self.cells.get((slot, direction), ZERO_TOTALS)


def counted(slots: DeviceSlots) -> DeviceTotals:
    """On all devices, those that are forgotten too."""
    every = [slots.totals_of(device, INGRESS) for device in slots.devices.values()]
    return functools.reduce(plus, every, slots.totals_of_removed(INGRESS))


def test_devices_go_on_over_new_totals() -> None:
    cells = Cells()
    old = DeviceSlots(cast(Totals, cells))
    for name, packets in (("eth0", 5), ("eth1", 7), ("eth2", 11)):
        device = old.take(name, BEGAN_S)
        assert device is not None
        cells.count(device.slot, packets)
    old.forget(old.devices["eth1"])
    cells.count(0, 2)
    old.devices["eth0"].see_driver((3, 4))
    state: Any = json.loads(json.dumps(old.state()))

    new = DeviceSlots(cast(Totals, Cells()))
    new.restore(state, 50.0)
    assert {name: new.totals_of(it, EGRESS).packets for name, it in new.devices.items()} == {
        "eth0": 5,
        "eth2": 11,
    }
    assert new.totals_of_removed(INGRESS).packets == 9
    assert counted(new) == counted(old)
    assert new.devices["eth0"].driver_packets(EGRESS) == 4
    assert (new.devices["eth0"].created_s, new.devices["eth0"].vanished_at_s) == (BEGAN_S, 50.0)


def test_no_device_is_lost_where_there_is_room_for_fewer() -> None:
    cells = Cells(device_slots=9)
    old = DeviceSlots(cast(Totals, cells))
    for n in range(8):
        device = old.take(f"eth{n}", BEGAN_S)
        assert device is not None
        cells.count(device.slot, n + 1)
    new = DeviceSlots(cast(Totals, Cells(device_slots=3)))
    new.restore(json.loads(json.dumps(old.state())), 50.0)
    assert counted(new).packets == 36


def test_counts_of_names_and_dns_go_on() -> None:
    twice = Earlier(rows_of(SNAPSHOT)).plus(SNAPSHOT)
    assert twice.dns is not None
    assert SNAPSHOT.dns is not None
    assert twice.dns.lookups == tuple(2 * each for each in SNAPSHOT.dns.lookups)
    assert twice.dns.lookups_sum_s == 2 * SNAPSHOT.dns.lookups_sum_s
    assert twice.dns.timeouts == 2 * SNAPSHOT.dns.timeouts
    assert dict(twice.dns.queries) == {k: 2 * v for k, v in SNAPSHOT.dns.queries}
    assert dict(twice.names_learned) == {k: 2 * v for k, v in SNAPSHOT.names_learned}
    assert dict(twice.dropped_events) == {k: 2 * v for k, v in SNAPSHOT.dropped_events}
    assert [each.packets for each in twice.inspected] == [
        2 * each.packets for each in SNAPSHOT.inspected
    ]


def test_nothing_is_added_without_a_process_before() -> None:
    assert Earlier([]).plus(SNAPSHOT) == SNAPSHOT


def test_what_new_settings_do_not_show_has_left(before: Fold) -> None:
    hidden = {"heavy.example.com": OTHER}
    after = Fold(
        64,
        Budget(200, 3600.0, NOW.boot_s),
        AddedLabels((), Scopes()),
        BEGAN_S,
        lambda name: hidden.get(name, name),
    )
    taken_over(before, after)
    assert ("ingress", "heavy.example.com") not in packets_of(after)
    assert packets_of(after)["egress", "light.example.com"] == 3
    assert after.evicted(INGRESS) == Count(10, 1000)
    assert after.explained(INGRESS) == before.explained(INGRESS)
