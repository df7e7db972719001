"""The domains behind `other`: each flow has its own or none, and a flood forgets itself."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.counts import other_names
from exporter.counts.other_names import BYTES_MAX, OtherNames

SLOTS = 64
LONG = "x" * 235


def test_a_flow_has_the_domain_that_it_was_given_last() -> None:
    names = OtherNames(SLOTS)
    assert names.get(3) is None
    names.remember(3, "a.example", 100)
    names.remember(4, "a.example", 100)
    names.remember(4, "b.example", 100)
    assert [names.get(slot) for slot in (3, 4, 5)] == ["a.example", "b.example", None]
    names.forget(3)
    names.forget(3)
    assert [names.get(slot) for slot in (3, 4)] == [None, "b.example"]


def test_a_domain_leaves_with_its_last_flow() -> None:
    names = OtherNames(SLOTS)
    for slot in range(3):
        names.remember(slot, "a.example", 1)
    assert len(names) == 1
    names.forget(0)
    names.forget(1)
    assert (len(names), names.get(2)) == (1, "a.example")
    names.forget(2)
    assert len(names) == 0


def test_what_takes_the_place_of_another_is_not_its_flows() -> None:
    names = OtherNames(SLOTS, names_max=1)
    names.remember(0, "a.example", 1)
    names.remember(1, "b.example", 1)
    assert [names.get(slot) for slot in (0, 1)] == [None, "b.example"]
    names.forget(0)
    assert names.get(1) == "b.example", "a flow whose domain was forgotten takes none along"
    names.forget(1)
    names.remember(1, "c.example", 1)
    assert [names.get(slot) for slot in (0, 1)] == [None, "c.example"]


def test_a_flood_of_light_names_forgets_no_heavy_one() -> None:
    slots = 1 << 17
    names = OtherNames(slots)
    names.remember(0, "heavy.example", 10_000)
    for slot in range(1, slots):
        names.remember(slot, f"{slot:x}.flood.example", 200)
    assert names.get(0) == "heavy.example"
    assert names.get(slots - 1) == f"{slots - 1:x}.flood.example", "the newest is always held"
    assert len(names) <= other_names.NAMES_MAX


def test_weight_adds_up_over_all_flows_of_a_domain() -> None:
    names = OtherNames(SLOTS, names_max=8)
    for slot in range(10):
        names.remember(slot, "many.example", 50)
    for slot in range(10, SLOTS):
        names.remember(slot, f"{slot}.example", 200)
    assert names.get(0) == "many.example"


def test_the_longest_names_take_a_bounded_number_of_bytes() -> None:
    tracemalloc.start()
    names = OtherNames(1 << 15)
    before, _ = tracemalloc.get_traced_memory()
    for slot in range(1 << 15):
        names.remember(slot, f"{slot:04x}.{LONG}.example"[:253], 200)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert BYTES_MAX * 0.9 < after - before < 2 * BYTES_MAX


def test_numbers_never_repeat_because_all_is_forgotten_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(other_names, "_NUMBER_END", 8)
    names = OtherNames(SLOTS, names_max=2)
    names.remember(SLOTS - 1, "there.example", 1)
    for turn in range(20):
        names.remember(turn, f"{turn}.example", 1)
        assert names.get(turn) == f"{turn}.example"
        names.forget(turn)
    assert names.get(SLOTS - 1) is None


@given(
    st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["", *"abcdef"]), st.integers(0, 99))),
    st.integers(1, 5),
)
def test_a_flow_s_domain_is_right_or_forgotten(
    steps: list[tuple[int, str, int]], names_max: int
) -> None:
    names = OtherNames(8, names_max)
    truth: dict[int, str] = {}
    for slot, domain, wire_bytes in steps:
        if domain:
            names.remember(slot, domain, wire_bytes)
            truth[slot] = domain
            assert names.get(slot) == domain
        else:
            names.forget(slot)
            truth.pop(slot, None)
        assert all(names.get(slot) in (None, truth.get(slot)) for slot in range(8))
        assert len(names) <= min(names_max, len(set(truth.values())))
