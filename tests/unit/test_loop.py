"""The loop of the counting thread: what is due is called, in order, until a signal comes."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from exporter import loop as loop_module
from exporter.loop import SLACK_S, Loop


class Clock:
    """CLOCK_BOOTTIME, that goes on by itself only where a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(loop_module, "boot_s", made)
    return made


@pytest.fixture
def loop(clock: Clock) -> Iterator[Loop]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    made = Loop()
    made.stop_on_signals()
    yield made
    for number, handler in handlers.items():
        signal.signal(number, handler)
    made._epoll.close()
    os.close(made._stop)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_though_it_waits(loop: Loop, clock: Clock, number: signal.Signals) -> None:
    """The alarm interrupts a wait that would last an hour."""
    loop.every(3600.0, lambda: pytest.fail("it waited"))
    before = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        loop.run()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_signal_before_it_runs_ends_it_too(loop: Loop, clock: Clock) -> None:
    loop.every(3600.0, lambda: pytest.fail("it waited"))
    stop()
    loop.run()


def turned(loop: Loop, clock: Clock, times_s: list[float]) -> None:
    """Turns once at each of these times."""
    left = list(times_s)

    def next_time() -> None:
        os.eventfd_read(ticks)
        if left:
            clock.now_s = left.pop(0)
            os.eventfd_write(ticks, 1)
        else:
            stop()

    ticks = os.eventfd(1)
    loop.on_readable(ticks, next_time)
    loop.run()
    os.close(ticks)


def test_what_is_due_is_called_in_the_order_in_which_it_was_given(loop: Loop, clock: Clock) -> None:
    """After a suspend, when everything is due, that order matters."""
    called: list[str] = []
    for name in ("one", "two", "three"):
        loop.every(1.0, _noting(called, name))
    turned(loop, clock, [1000.5, 1001.0, 5000.0])
    assert called == ["one", "two", "three"] * 2


def test_what_is_late_is_called_once_and_then_as_often_as_before(loop: Loop, clock: Clock) -> None:
    called: list[float] = []
    loop.every(10.0, lambda: called.append(clock.now_s))
    turned(loop, clock, [1009.8, 1095.0, 1104.8, 1105.0, 1114.0, 1116.0])
    assert called == [1095.0, 1105.0, 1116.0]


def test_what_is_nearly_due_is_called_with_what_is(loop: Loop, clock: Clock) -> None:
    """One turn for both, as often as they come: what they take does not drive them apart."""
    called: list[tuple[str, float]] = []

    def slow() -> None:
        called.append(("slow", clock.now_s))
        clock.now_s += SLACK_S / 4

    loop.every(10.0, slow)
    loop.every(10.0, lambda: called.append(("other", clock.now_s)))
    turned(loop, clock, [1010.0, 1021.0, 1032.0])
    assert [name for name, _ in called] == ["slow", "other"] * 3


def test_a_timer_that_is_asked_comes_sooner_and_then_as_ever(loop: Loop, clock: Clock) -> None:
    called: list[float] = []
    timer = loop.every(10.0, lambda: called.append(clock.now_s))
    timer.within(2.0)
    timer.within(5.0)
    turned(loop, clock, [1001.0, 1002.0, 1005.0, 1011.0, 1012.0])
    assert called == [1002.0, 1012.0]


def test_a_timer_may_ask_itself(loop: Loop, clock: Clock) -> None:
    called: list[float] = []

    def once_more() -> None:
        called.append(clock.now_s)
        if len(called) == 1:
            timer.within(1.0)

    timer = loop.every(10.0, once_more)
    turned(loop, clock, [1010.0, 1011.0, 1020.0, 1021.0])
    assert called == [1010.0, 1011.0, 1021.0]


def test_a_timer_without_interval_waits_to_be_asked(loop: Loop, clock: Clock) -> None:
    called: list[float] = []
    loop.every(3600.0, lambda: None)
    timer = loop.every(math.inf, lambda: called.append(clock.now_s))
    turned(loop, clock, [2000.0])
    assert called == []
    timer.within(0.5)
    loop._stopping = False
    turned(loop, clock, [2000.5, 3000.0])
    assert called == [2000.5]


def test_a_timer_that_takes_its_time_lets_the_others_come(loop: Loop, clock: Clock) -> None:
    called: list[str] = []

    def slow() -> None:
        called.append("slow")
        clock.now_s += 100.0

    loop.every(1.0, slow)
    loop.every(1.0, _noting(called, "other"))
    turned(loop, clock, [1001.0])
    assert called == ["slow", "other"]


def test_it_says_since_when_it_turns(loop: Loop, clock: Clock) -> None:
    """However long that takes, in a reader or in a timer."""
    seen: list[float] = []

    def slow() -> None:
        clock.now_s += 100.0
        seen.append(loop.expected_s)

    def slow_reader() -> None:
        os.eventfd_read(ready)
        slow()

    ready = os.eventfd(1)
    loop.on_readable(ready, slow_reader)
    loop.every(0.0, slow)
    assert loop.expected_s == 1000.0
    turned(loop, clock, [])
    assert seen[:2] == [1000.0, 1000.0]
    os.close(ready)


def test_it_says_when_it_will_turn(loop: Loop, clock: Clock) -> None:
    """The alarm interrupts a wait that would last an hour."""
    seen: list[float] = []
    loop.every(3600.0, lambda: None)

    def look_and_stop(*_: object) -> None:
        seen.append(loop.expected_s)
        stop()

    before = signal.signal(signal.SIGALRM, look_and_stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        loop.run()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert seen == [4600.0]


def test_all_that_is_readable_is_called_in_each_turn(loop: Loop, clock: Clock) -> None:
    """One that is always readable keeps no other waiting."""
    called: list[str] = []
    busy, other = os.eventfd(1), os.eventfd(1)
    loop.every(3600.0, lambda: None)
    loop.on_readable(busy, _noting(called, "busy"))
    loop.on_readable(other, _noting(called, "other"))
    turned(loop, clock, [1001.0, 1002.0])
    assert called.count("busy") == called.count("other") >= 3
    os.close(busy)
    os.close(other)


def test_an_error_is_not_swallowed(loop: Loop, clock: Clock) -> None:
    def fail() -> None:
        raise ValueError("half-folded")

    loop.every(0.0, fail)
    with pytest.raises(ValueError, match="half-folded"):
        loop.run()


def _noting(called: list[str], name: str) -> Callable[[], None]:
    return lambda: called.append(name)
