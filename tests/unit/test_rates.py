"""Rates: the mean over the last minute."""

from __future__ import annotations

from exporter.counts.rates import Rates
from exporter.counts.rows import DOMAIN, Row


def row(name: str, packets: int, created_s: float = 1.0) -> Row:
    return Row(DOMAIN, ("ingress", name), (packets, packets * 100, 0), created_s)


def test_there_is_none_before_there_is_a_window() -> None:
    rates = Rates()
    assert rates.of([row("a", 5)], 10.0) == {("ingress", "a"): (0.0, 0.0)}
    rates.add([row("a", 5)], 10.0)
    assert rates.of([row("a", 50)], 10.5) == {("ingress", "a"): (0.0, 0.0)}


def test_a_steady_rate_is_seen_from_the_start_on() -> None:
    rates = Rates()
    for second in range(0, 300, 10):
        now = [row("a", 7 * second)]
        rates.add(now, float(second))
        if second:
            assert rates.of(now, float(second)) == {("ingress", "a"): (7.0, 700.0)}


def test_a_rate_is_in_whole_thousandths_and_none_too_many() -> None:
    rates = Rates()
    rates.add([row("a", 0)], 0.0)
    assert rates.of([row("a", 2)], 3.0) == {("ingress", "a"): (0.666, 66.666)}
    assert rates.of([row("a", 2**60)], 7.0)["ingress", "a"][0] <= 2**60 / 7


def test_what_lies_a_minute_back_is_forgotten() -> None:
    rates = Rates()
    for second in range(0, 200, 10):
        rates.add([row("a", 1000 if second >= 50 else 0)], float(second))
    assert rates.of([row("a", 1000)], 195.0) == {("ingress", "a"): (0.0, 0.0)}


def test_a_new_series_counts_from_nothing() -> None:
    rates = Rates()
    for second in range(0, 70, 10):
        rates.add([row("a", 1)], float(second))
    assert rates.of([row("a", 1), row("b", 120)], 60.0)["ingress", "b"] == (2.0, 200.0)


def test_a_series_that_came_back_does_not_go_backwards() -> None:
    rates = Rates()
    for second in range(0, 70, 10):
        rates.add([row("a", 1_000_000)], float(second))
    assert rates.of([row("a", 60, created_s=65.0)], 60.0)["ingress", "a"] == (1.0, 100.0)
