"""The table of series: what is shown, who is bound to what, and what leaves."""

from __future__ import annotations

from exporter.clock import Now
from exporter.counts.budget import TENURE_S, Budget
from exporter.counts.series import Series, SeriesTable
from exporter.counts.snapshot import Count
from exporter.names.domains import OTHER, UNKNOWN

CREATED_S = 1_800_000_000.0
IDLE_S = 3600.0
NOW = Now(CREATED_S + 5, 1000.0)
LATER = Now(CREATED_S + 5 + TENURE_S, 1000.0 + TENURE_S)
TCP, UDP = ("tcp",), ("udp",)


def table(domains_max: int = 1) -> SeriesTable:
    return SeriesTable(Budget(domains_max, IDLE_S, NOW.boot_s), (UNKNOWN,), CREATED_S)


def shown(it: SeriesTable) -> set[tuple[int, str, tuple[str, ...]]]:
    return {(each.direction, each.domain, each.labels) for each in it.shown()}


def count(series: Series, packets: int, wire_bytes: int) -> None:
    series.packets += packets
    series.bytes += wire_bytes


UNKNOWNS = {(0, UNKNOWN, (UNKNOWN,)), (1, UNKNOWN, (UNKNOWN,))}


def test_what_has_no_flow_has_a_series_from_the_start() -> None:
    it = table()
    assert shown(it) == UNKNOWNS
    assert [each.created_s for each in it.unknown] == [CREATED_S, CREATED_S]
    assert it.evicted == [Count(), Count()]
    assert not list(it.waiting())


def test_a_domain_has_a_series_for_each_direction_and_labels() -> None:
    it = table()
    made = [it.of(0, "a.example", TCP, NOW), it.of(1, "a.example", TCP, NOW)]
    made.append(it.of(0, "a.example", UDP, NOW))
    assert it.of(0, "a.example", TCP, LATER) is made[0]
    assert shown(it) - UNKNOWNS == {
        (0, "a.example", TCP),
        (1, "a.example", TCP),
        (0, "a.example", UDP),
    }
    assert {each.created_s for each in made} == {NOW.wall_s}
    assert [it.by_index[each.index] for each in made] == made


def test_without_room_it_is_other_whose_flows_may_come_to_count_elsewhere() -> None:
    it = table()
    assert not it.of(0, "a.example", TCP, NOW).contested
    other = it.of(0, "b.example", TCP, NOW)
    assert (other.domain, other.contested, other.has_left) == (OTHER, True, False)
    assert it.of(0, OTHER, TCP, NOW) is other


def test_pending_is_no_counter() -> None:
    it = table()
    pending = it.pending(0, TCP)
    assert it.pending(0, TCP) is pending
    assert it.pending(1, TCP) is not pending
    assert it.pending(0, UDP) is not pending
    assert pending.is_pending
    assert shown(it) == UNKNOWNS
    assert len(list(it.waiting())) == 3
    it.bind(pending)
    it.unbind(pending)
    assert it.pending(0, TCP) is pending
    assert it.by_index[pending.index] is pending
    assert it.of(0, "a.example", TCP, NOW).index != pending.index


def test_all_series_of_a_domain_leave_together() -> None:
    it = table()
    first = [it.of(direction, "a.example", TCP, NOW) for direction in (0, 1)]
    count(first[0], 1, 100)
    count(first[1], 2, 50)
    first[1].active_connections = 3
    it.weigh_own(NOW)
    assert not it.weigh("b.example", 140, LATER)
    assert shown(it) - UNKNOWNS == {(0, "a.example", TCP), (1, "a.example", TCP)}
    assert it.weigh("b.example", 20, LATER)
    assert it.evicted == [Count(1, 100), Count(2, 50)]
    assert shown(it) - UNKNOWNS == {(1, OTHER, TCP)}
    assert it.of(1, OTHER, TCP, LATER).active_connections == 3
    assert first[1].active_connections == 0
    assert it.domains_evicted == 1
    assert all(each.has_left for each in first)
    assert it.connections_of(first[1], LATER) is it.of(1, OTHER, TCP, LATER)


def evict(it: SeriesTable, domain: str, by: str, now: Now) -> None:
    it.weigh_own(NOW)
    assert it.weigh(by, 1 << 40, now)
    assert not any(domain == each.domain for each in it.shown())


def test_an_index_is_used_again_only_when_no_flow_refers_to_it() -> None:
    it = table()
    first = it.of(0, "a.example", TCP, NOW)
    count(first, 1, 1)
    index = it.bind(first)
    assert it.bind(first) == index
    evict(it, "a.example", "b.example", LATER)
    assert it.of(0, "b.example", TCP, LATER).index != index
    it.unbind(first)
    assert it.of(0, "b.example", UDP, LATER).index != index
    assert it.by_index[index] is first
    it.unbind(first)
    assert it.of(1, "b.example", UDP, LATER).index == index
    assert it.by_index[index] is not first


def test_the_index_of_a_series_that_no_flow_refers_to_is_free_at_once() -> None:
    it = table()
    first = it.of(0, "a.example", TCP, NOW)
    it.bind(first)
    it.unbind(first)
    count(first, 1, 1)
    evict(it, "a.example", "b.example", LATER)
    assert it.of(0, "b.example", TCP, LATER).index == first.index
    assert len({each.index for each in it.shown()}) == len(list(it.shown()))


def test_a_series_that_is_shown_keeps_its_index_without_flows() -> None:
    it = table()
    for series in (it.of(0, "a.example", TCP, NOW), it.of(0, OTHER, TCP, NOW), it.unknown[0]):
        it.bind(series)
        it.unbind(series)
        assert it.by_index[series.index] is series
        assert it.of(1, OTHER, UDP, NOW).index != series.index


def test_what_was_weighed_once_is_not_weighed_again() -> None:
    it = table()
    series = it.of(0, "a.example", TCP, NOW)
    count(series, 1, 100)
    for _ in range(5):
        it.weigh_own(NOW)
    assert series.weighed == 100
    assert it.weigh("b.example", 101, LATER)


def test_a_domain_that_counts_is_not_idle() -> None:
    it = table()
    count(it.of(0, "a.example", TCP, NOW), 1, 1)
    it.weigh_own(NOW)
    it.weigh_own(Now(0.0, NOW.boot_s + IDLE_S - 1))
    assert it.domains_evicted == 0
    count(it.of(0, "a.example", UDP, NOW), 1, 1)
    it.weigh_own(Now(0.0, NOW.boot_s + IDLE_S + 1))
    assert it.domains_evicted == 0
    it.weigh_own(Now(0.0, NOW.boot_s + 2 * IDLE_S + 1))
    assert it.domains_evicted == 1
    assert it.evicted[0] == Count(2, 2)
    assert shown(it) == UNKNOWNS


def test_new_settings_let_those_go_that_may_not_be_shown_and_then_the_lightest() -> None:
    it = table(domains_max=4)
    for weight, domain in enumerate("abcd", 1):
        count(it.of(0, domain, TCP, NOW), weight, weight * 100)
    it.weigh_own(NOW)
    it.change(2, IDLE_S, lambda domain: domain != "d", LATER)
    assert shown(it) - UNKNOWNS == {(0, "b", TCP), (0, "c", TCP)}
    assert it.evicted[0] == Count(1 + 4, 100 + 400)
    assert it.domains_evicted == 2
    assert it.of(0, "d", TCP, LATER).domain == OTHER
    it.change(3, IDLE_S, lambda domain: True, LATER)
    assert it.of(0, "d", TCP, LATER).domain == "d"


def test_weights_are_the_same_after_another_idle_time() -> None:
    it = table(domains_max=4)
    count(it.of(0, "a", TCP, NOW), 1, 800)
    it.weigh_own(NOW)
    hour = Now(NOW.wall_s + IDLE_S, NOW.boot_s + IDLE_S)
    it.change(4, 2 * IDLE_S, lambda domain: True, hour)
    assert it.weights(hour) == {"a": 400.0}
    assert it.weights(Now(hour.wall_s, hour.boot_s + 2 * IDLE_S)) == {"a": 200.0}
