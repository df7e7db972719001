"""Which domains have series: never too many, never junk, and no byte lost over it."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from exporter.counts.budget import CANDIDATES_MAX, TENURE_S, Budget
from exporter.counts.ranking import Ranked, Ranking
from tests.unit.ledger import BoundFlow, Ledger

DAY_S = 86_400.0


def full_budget(domains_max: int = 4, weight: int = 1000, idle_s: float = DAY_S) -> Budget:
    """Full of domains `s0`, `s1`, … each a little heavier, all of which can be displaced from
    TENURE_S on.
    """
    budget = Budget(domains_max, idle_s, 0.0)
    for number in range(domains_max):
        assert budget.admit(f"s{number}", 0.0) == f"s{number}"
        budget.weigh(f"s{number}", weight + number, 0.0)
    return budget


def test_while_there_is_room_a_name_gets_its_series_at_once() -> None:
    budget = Budget(2, DAY_S, 0.0)
    assert [budget.admit(name, 0.0) for name in "abab"] == ["a", "b", "a", "b"]
    assert budget.admit("c", 0.0) == "other"
    assert len(budget) == 2
    assert "c" not in budget


def test_what_stands_for_no_name_takes_no_room() -> None:
    budget = Budget(1, DAY_S, 0.0)
    for name in ("unknown", "other"):
        assert budget.admit(name, 0.0) == name
        assert budget.weigh(name, 10**12, 0.0) is None
        assert name not in budget
    assert budget.admit("a", 0.0) == "a"


def test_without_any_room_everything_is_other() -> None:
    budget = Budget(0, DAY_S, 0.0)
    for _ in range(3):
        assert budget.admit("a", 0.0) == "other"
        assert budget.weigh("a", 1000, 100.0) is None
    assert budget.expire(10 * DAY_S) == []


def test_a_newcomer_displaces_the_lightest_once_it_is_proven_heavier() -> None:
    budget = full_budget()
    assert budget.weigh("new", 900, TENURE_S) is None
    assert budget.weigh("new", 99, TENURE_S) is None
    assert budget.admit("new", TENURE_S) == "other"
    assert budget.weigh("new", 900, TENURE_S) == "s0"
    assert budget.admit("new", TENURE_S) == "new"
    assert budget.admit("s0", TENURE_S) == "other"
    assert (len(budget), budget.displaced) == (4, 1)


def test_the_one_that_left_must_prove_itself_from_nothing() -> None:
    budget = full_budget(domains_max=1, weight=1000)
    assert budget.weigh("new", 1001, TENURE_S) == "s0"
    later_s = 2 * TENURE_S
    assert budget.weigh("s0", 1000, later_s) is None
    assert budget.weigh("s0", 2, later_s) == "new"


def test_two_domains_of_the_same_rate_do_not_take_turns() -> None:
    budget = Budget(1, DAY_S, 0.0)
    budget.admit("a", 0.0)
    now_s = 0.0
    for _ in range(5000):
        now_s += 5.0
        budget.weigh("a", 1000, now_s)
        budget.weigh("b", 1000, now_s)
    assert budget.displaced == 0


def test_a_new_series_stays_for_its_tenure() -> None:
    budget = full_budget(domains_max=1, weight=1)
    assert budget.weigh("new", 10**9, TENURE_S - 0.001) is None
    assert budget.weigh("new", 1, TENURE_S) == "s0"


def test_the_tenure_of_the_newest_protects_no_other() -> None:
    budget = full_budget()
    assert budget.weigh("a", 2000, 100.0) == "s0"
    assert budget.weigh("b", 1500, 100.0) == "s1"
    assert budget.weigh("c", 1400, 100.0) == "s2"
    assert budget.weigh("d", 1300, 100.0) == "s3"
    assert budget.weigh("e", 10**9, 100.0) is None


def test_an_idle_series_leaves() -> None:
    budget = full_budget(domains_max=2, idle_s=100.0)
    budget.weigh("s1", 1, 60.0)
    assert budget.expire(99.0) == []
    assert budget.expire(100.0) == ["s0"]
    assert budget.expire(159.0) == []
    assert budget.admit("s1", 159.0) == "s1"
    assert budget.expire(258.0) == []
    assert budget.expire(259.0) == ["s1"]
    assert (len(budget), budget.expired, budget.displaced) == (0, 2, 0)


def test_room_that_an_idle_series_leaves_is_taken_by_the_next() -> None:
    budget = full_budget(domains_max=1, idle_s=100.0)
    assert budget.weigh("new", 1, 50.0) is None
    assert budget.expire(100.0) == ["s0"]
    assert budget.weigh("new", 1, 101.0) is None
    assert budget.admit("new", 101.0) == "new"
    assert budget.admit("s0", 101.0) == "other"


def test_what_was_heavy_long_ago_is_light_now() -> None:
    budget = full_budget(domains_max=1, weight=1_000_000, idle_s=1000.0)
    budget.weigh("s0", 1, 4000.0)
    assert budget.weigh("new", 50_000, 4000.0) is None
    assert budget.weigh("new", 15_000, 4000.0) == "s0"


@pytest.mark.parametrize("wait_s", [100.0, 6_400.0, 6_500.0, 1e6, 1e9])
def test_weights_keep_their_order_over_any_time(wait_s: float) -> None:
    budget = full_budget(domains_max=3, idle_s=100.0)
    for number in range(3):
        budget.weigh(f"s{number}", 100_000 - number, wait_s)
    assert budget.weigh("new", 90_000, wait_s + 1.0) is None
    assert budget.weigh("new", 20_000, wait_s + 1.0) == "s2"


def test_200_000_junk_names_crowd_out_nobody_and_a_newcomer_gets_through_them() -> None:
    budget = full_budget(domains_max=200, weight=5000)
    now_s = TENURE_S
    newcomer_at = 0
    for number in range(200_000):
        now_s += 0.0005
        name = f"{number:x}.junk.example"
        assert budget.admit(name, now_s) == "other"
        assert budget.weigh(name, 4000, now_s) is None
        if number % 1000 == 0 and "new" not in budget:
            left = budget.weigh("new", 100_000, now_s)
            newcomer_at = number
            assert left == (None if "new" not in budget else "s0")
    assert newcomer_at < 5000
    assert "new" in budget
    assert all(f"s{number}" in budget for number in range(1, 200))
    assert budget.displaced == 1


def test_a_flood_takes_a_bounded_amount_of_memory() -> None:
    budget = full_budget(domains_max=200)
    before = resident_bytes()
    for number in range(100_000):
        budget.admit(f"{number:0253d}", 100.0)
        budget.weigh(f"{number:0253d}", 100, 100.0)
    assert resident_bytes() - before < 1_500_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_among_more_names_than_candidates_the_one_with_the_most_bytes_is_found() -> None:
    """Space-saving: what has more than its share of all candidates' bytes is not lost."""
    budget = full_budget(domains_max=1, weight=1_000_000)
    chosen = random.Random(1)
    for number in range(20 * CANDIDATES_MAX):
        assert budget.weigh(f"junk-{number}", chosen.randrange(1, 1000), TENURE_S) is None
        if number % 100 == 0:
            budget.weigh("steady", 10_000, TENURE_S)
    assert "steady" in budget
    assert budget.displaced == 1


operations = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 100), st.booleans()), max_size=80
)


@given(operations)
def test_the_lightest_of_a_ranking_against_a_plain_search(
    steps: list[tuple[str, int, bool]],
) -> None:
    ranking, plain = Ranking(), dict[str, float]()
    for name, added, removes in steps:
        ranked = ranking.get(name)
        if ranked is None:
            ranked = Ranked(name, float(added))
            ranking.add(ranked)
            ranking.enter(ranked)
            plain[name] = float(added)
        elif removes:
            ranking.remove(ranked)
            del plain[name]
        else:
            ranked.weight += added
            plain[name] += added
        if added == 50:
            ranking.scale(0.5)
            plain = {its: weight / 2 for its, weight in plain.items()}
        lightest = ranking.lightest()
        assert (lightest.weight if lightest else None) == min(plain.values(), default=None)
        assert len(ranking) == len(plain)


class BudgetMachine(RuleBasedStateMachine):
    """Flows of few names under a small budget, in any order of events."""

    flows = Bundle("flows")

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.ledger = Ledger(Budget(2, 60.0, self.now_s))
        self.counted = 0
        self.shown_before = self.ledger.shown()
        self.evicted_before = 0
        self.step = 0

    @rule(target=flows, name=st.sampled_from("abcde"))
    def open(self, name: str) -> BoundFlow:
        return self.ledger.open(name, self.now_s)

    @rule(flow=flows, wire_bytes=st.integers(60, 100_000))
    def count(self, flow: BoundFlow, wire_bytes: int) -> None:
        self.ledger.add(flow, wire_bytes, self.now_s)
        self.counted += wire_bytes
        self.step = wire_bytes

    @rule()
    def end_sweep(self) -> None:
        self.ledger.end_sweep(self.now_s)

    @rule()
    def expire(self) -> None:
        self.ledger.expire(self.now_s)

    @rule(seconds=st.floats(0.1, 100.0))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @precondition(lambda self: self.now_s < 1e6)
    @rule()
    def wait_for_ages(self) -> None:
        self.now_s += 65 * 60.0

    @invariant()
    def every_byte_is_in_one_place(self) -> None:
        assert sum(self.ledger.shown().values()) + self.ledger.evicted == self.counted

    @invariant()
    def the_budget_is_kept(self) -> None:
        assert len(self.ledger.own) <= len(self.ledger.budget) <= 2
        assert all(domain in self.ledger.budget for domain in self.ledger.own)

    @invariant()
    def no_counter_decreases_or_jumps(self) -> None:
        shown = self.ledger.shown()
        left = 0
        for key, before in self.shown_before.items():
            if key in shown:
                assert before <= shown[key] <= before + self.step
            else:
                left += before
        for key in shown.keys() - self.shown_before.keys():
            assert shown[key] <= self.step
        assert self.ledger.evicted == self.evicted_before + left
        self.shown_before, self.evicted_before, self.step = shown, self.ledger.evicted, 0


TestBudgetMachine = BudgetMachine.TestCase
TestBudgetMachine.settings = settings(max_examples=200, stateful_step_count=60)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10_000)), max_size=300))
def test_random_streams_through_a_small_budget_sum_up(stream: list[tuple[int, int]]) -> None:
    ledger = Ledger(Budget(3, 60.0, 0.0))
    flows: dict[int, BoundFlow] = {}
    for place, (number, wire_bytes) in enumerate(stream):
        now_s = place * 0.5
        if number not in flows:
            flows[number] = ledger.open(f"n{number}", now_s)
        ledger.add(flows[number], wire_bytes, now_s)
        if place % 10 == 9:
            ledger.end_sweep(now_s)
            ledger.expire(now_s)
    assert sum(ledger.shown().values()) + ledger.evicted == sum(each for _, each in stream)


def test_a_domain_that_comes_back_starts_from_zero_and_its_old_flow_goes_on_under_other() -> None:
    ledger = Ledger(full_budget(domains_max=1, weight=0))
    flow = ledger.open("s0", 0.0)
    ledger.add(flow, 500, 0.0)
    ledger.end_sweep(0.0)
    ledger.add(ledger.open("new", 20.0), 900, 20.0)
    assert (ledger.evicted, ledger.own["new"].bytes) == (500, 900)
    ledger.add(flow, 100, 40.0)
    assert ledger.other.bytes == 100
    ledger.add(flow, 5000, 60.0)
    numbers = [number for domain, number in ledger.shown() if domain == "s0"]
    assert ledger.shown()["s0", numbers[0]] == 5000
    assert ledger.evicted == 1400


def test_numbers_of_returning_series_grow() -> None:
    ledger = Ledger(Budget(1, 10.0, 0.0))
    flow = ledger.open("a", 0.0)
    seen = []
    for round_trip in range(3):
        ledger.add(flow, 100, 100.0 * round_trip)
        seen.append(ledger.own["a"].number)
        ledger.end_sweep(100.0 * round_trip)
        ledger.expire(100.0 * round_trip + 50)
    assert all(one < other for one, other in pairwise(seen))
