"""Where outputs ask for snapshots: each gets one that was begun after it asked."""

from __future__ import annotations

import select
import threading
import time

import pytest

from exporter.counts.desk import SnapshotDesk
from exporter.counts.rows import Shown
from tests.unit.example_snapshot import SHOWN

LONG_S = 20.0
"""Far longer than anything here takes; who waits for so long has been forgotten."""


def numbered(number: int) -> Shown:
    return SHOWN._replace(folded_at_s=float(number))


class Asker:
    """Someone who takes a snapshot, in a thread of his own."""

    def __init__(self, desk: SnapshotDesk, timeout_s: float = LONG_S) -> None:
        self._desk = desk
        self._timeout_s = timeout_s
        self._answer: Shown | None = None
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        self._answer = self._desk.take(self._timeout_s)

    @property
    def waits(self) -> bool:
        self._thread.join(0.02)
        return self._thread.is_alive()

    def answer(self) -> int:
        self._thread.join(LONG_S)
        assert self._answer is not None, "nobody answered"
        return int(self._answer.folded_at_s)


def is_asked(desk: SnapshotDesk, timeout_s: float = 0.0) -> bool:
    return bool(select.select([desk.fd], [], [], timeout_s)[0])


@pytest.fixture
def desk() -> SnapshotDesk:
    return SnapshotDesk(numbered(0))


def test_nobody_asks_at_first(desk: SnapshotDesk) -> None:
    assert not is_asked(desk)


def test_who_asks_gets_the_snapshot_that_is_begun_then(desk: SnapshotDesk) -> None:
    asker = Asker(desk)
    assert is_asked(desk, LONG_S)
    desk.begin()
    assert not is_asked(desk)
    assert asker.waits
    desk.serve(numbered(1))
    assert asker.answer() == 1


def test_many_who_ask_share_one(desk: SnapshotDesk) -> None:
    askers = [Asker(desk) for _ in range(10)]
    assert all(asker.waits for asker in askers)
    desk.begin()
    desk.serve(numbered(1))
    assert [asker.answer() for asker in askers] == [1] * 10
    assert not is_asked(desk)


def test_who_asks_while_one_is_being_made_gets_the_next(desk: SnapshotDesk) -> None:
    early = Asker(desk)
    assert is_asked(desk, LONG_S)
    desk.begin()
    late = Asker(desk)
    assert is_asked(desk, LONG_S)
    desk.serve(numbered(1))
    assert early.answer() == 1
    assert late.waits
    assert is_asked(desk)
    desk.begin()
    desk.serve(numbered(2))
    assert late.answer() == 2


def test_who_cannot_wait_gets_the_latest(desk: SnapshotDesk) -> None:
    started_s = time.monotonic()
    assert Asker(desk, timeout_s=0.05).answer() == 0
    assert time.monotonic() - started_s >= 0.05
    desk.begin()
    desk.serve(numbered(1))
    assert Asker(desk, timeout_s=0.0).answer() == 1


def test_nobody_is_forgotten_however_they_meet(desk: SnapshotDesk) -> None:
    """Several threads ask again and again; who is not woken would wait for ever."""
    answers: list[list[int]] = [[] for _ in range(4)]

    def ask(mine: list[int]) -> None:
        for _ in range(100):
            mine.append(int(desk.take(LONG_S).folded_at_s))

    askers = [threading.Thread(target=ask, args=(mine,), daemon=True) for mine in answers]
    for asker in askers:
        asker.start()
    served = 0
    while any(asker.is_alive() for asker in askers):
        if is_asked(desk, 0.05):
            desk.begin()
            served += 1
            desk.serve(numbered(served))
    for mine in answers:
        assert len(mine) == 100
        assert mine == sorted(set(mine)), "each one was begun after it was asked for"


def test_at_the_end_all_who_wait_and_all_who_come_get_the_last_one(desk: SnapshotDesk) -> None:
    asker = Asker(desk)
    assert asker.waits
    desk.close(numbered(9))
    assert asker.answer() == 9
    assert Asker(desk).answer() == 9
