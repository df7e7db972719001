"""The timer wheel: nothing expires early, nothing much too late, whatever the clock does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.capture.timeouts import Timeouts

LONGEST_S = 300.0
IDLE_S = 60.0
TICK_S = Timeouts(1, LONGEST_S, 0.0).tick_s
LATE_S = 4 * TICK_S
"""Timeouts are rounded up to whole ticks, and reckoned from a look that may be a tick ago."""


def wheel(now_s: float = 0.0, slots: int = 4) -> Timeouts:
    return Timeouts(slots, LONGEST_S, now_s)


def test_nothing_expires_that_was_not_set() -> None:
    timeouts = wheel()
    assert [list(timeouts.expired(at_s)) for at_s in (0.0, 1.0, 1e3, 1e6)] == [[]] * 4


def test_it_is_looked_at_often_enough_for_the_longest_timeout() -> None:
    assert LONGEST_S / 255 <= TICK_S <= LONGEST_S / 200


def test_a_slot_expires_once() -> None:
    timeouts = wheel()
    timeouts.set(2, timeouts.ticks(IDLE_S))
    assert list(timeouts.expired(IDLE_S + LATE_S)) == [2]
    assert list(timeouts.expired(10 * IDLE_S)) == []


def test_a_new_timeout_replaces_the_old_one() -> None:
    timeouts = wheel()
    timeouts.set(2, timeouts.ticks(LONGEST_S))
    timeouts.set(2, timeouts.ticks(IDLE_S))
    assert list(timeouts.expired(IDLE_S + LATE_S)) == [2]
    timeouts.set(2, timeouts.ticks(IDLE_S))
    timeouts.expired(2 * IDLE_S)
    timeouts.set(2, timeouts.ticks(LONGEST_S))
    assert list(timeouts.expired(2 * IDLE_S + LONGEST_S - TICK_S)) == []
    assert list(timeouts.expired(2 * IDLE_S + LONGEST_S + LATE_S)) == [2]


def test_what_is_cleared_never_expires() -> None:
    timeouts = wheel()
    timeouts.set(2, timeouts.ticks(IDLE_S))
    timeouts.clear(2)
    assert list(timeouts.expired(1e6)) == []


def test_a_suspend_of_hours_lets_everything_expire_at_once() -> None:
    timeouts = wheel(slots=300)
    for slot in range(300):
        timeouts.set(slot, 1 + slot % timeouts.ticks(LONGEST_S))
    assert sorted(timeouts.expired(8 * 3600.0)) == list(range(300))


def test_after_a_suspend_timeouts_are_reckoned_from_then() -> None:
    timeouts = wheel()
    awake_s = 8 * 3600.0
    timeouts.expired(awake_s)
    timeouts.set(1, timeouts.ticks(IDLE_S))
    assert list(timeouts.expired(awake_s + IDLE_S)) == []
    assert list(timeouts.expired(awake_s + IDLE_S + LATE_S)) == [1]


def test_a_clock_that_stands_still_or_goes_back_expires_nothing() -> None:
    timeouts = wheel(1000.0)
    timeouts.set(1, timeouts.ticks(IDLE_S))
    assert (
        list(timeouts.expired(1000.0))
        == list(timeouts.expired(0.0))
        == list(timeouts.expired(1000.0))
        == []
    )
    assert list(timeouts.expired(1000.0 + IDLE_S + LATE_S)) == [1]


@given(
    timeout_s=st.floats(0.001, LONGEST_S),
    start_s=st.floats(0, 1e7),
    since_look_s=st.floats(0, TICK_S * 0.999),
)
def test_a_timeout_never_ends_early(timeout_s: float, start_s: float, since_look_s: float) -> None:
    """Also where it is set a while after the last look, as it is between two of them."""
    timeouts = wheel(start_s)
    set_at_s = start_s + since_look_s
    timeouts.set(3, timeouts.ticks(timeout_s))
    assert list(timeouts.expired(set_at_s + timeout_s - 1e-6 * TICK_S)) == []
    assert list(timeouts.expired(start_s + timeout_s + LATE_S)) == [3]


@given(longest_s=st.floats(0.5, 432_000.0), start_s=st.floats(0, 1e7))
def test_the_longest_timeout_never_meets_the_present(longest_s: float, start_s: float) -> None:
    timeouts = Timeouts(1, longest_s, start_s)
    timeouts.set(0, timeouts.ticks(longest_s))
    assert list(timeouts.expired(start_s + longest_s * (1 - 1e-6))) == []
    assert list(timeouts.expired(start_s + longest_s + 4 * timeouts.tick_s)) == [0]


_LOOK = st.tuples(st.just("look"), st.one_of(st.floats(0, 3 * TICK_S), st.floats(0, 2_000.0)))
_SET = st.tuples(st.just("set"), st.integers(0, 3), st.floats(0.001, LONGEST_S))
_CLEAR = st.tuples(st.just("clear"), st.integers(0, 3))


@given(start_s=st.floats(0, 1e6), steps=st.lists(st.one_of(_LOOK, _SET, _CLEAR), max_size=60))
def test_it_behaves_like_a_dictionary_of_deadlines(
    start_s: float, steps: list[tuple[str, float] | tuple[str, int, float] | tuple[str, int]]
) -> None:
    timeouts = wheel(start_s)
    now_s = start_s
    deadlines: dict[int, float] = {}
    for step in steps:
        if step[0] == "set":
            slot, timeout_s = int(step[1]), float(step[2])  # type: ignore[misc]
            timeouts.set(slot, timeouts.ticks(timeout_s))
            deadlines[slot] = now_s + timeout_s
        elif step[0] == "clear":
            timeouts.clear(int(step[1]))
            deadlines.pop(int(step[1]), None)
        else:
            now_s += step[1]
            expired = set(timeouts.expired(now_s))
            must = {slot for slot, due_s in deadlines.items() if now_s >= due_s + LATE_S}
            may = {slot for slot, due_s in deadlines.items() if now_s >= due_s}
            assert must <= expired <= may
            for slot in expired:
                del deadlines[slot]
