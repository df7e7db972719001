"""Two programs of one, loaded side by side: what is said where one of them fails, or both."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable

import pytest

from exporter.capture import bpf, directions
from exporter.capture.directions import RefusedError, load_both, programs_of, with_maps
from exporter.errors import ExporterError

PLACE = bytes([directions._MOVE, 1, 0, 0]) + directions._DIRECTION_PLACE
INSTRUCTIONS = PLACE + bytes(8)


def load_64(register: int, low: bytes, high: bytes, kind: int = 0) -> bytes:
    """The instruction that loads 64 bits."""
    return bytes([0x18, kind << 4 | register, 0, 0]) + low + bytes(4) + high


class Kernel:
    """Answers for each program, the first one last."""

    def __init__(self, *answers: int | OSError) -> None:
        names = [name for name, _ in programs_of(INSTRUCTIONS)]
        self.answers = dict(zip(names, answers, strict=True))
        self.closed: list[int] = []

    def load(self, name: str, instructions: bytes) -> int:
        answer = self.answers[name]
        if name == "monitor_ingress":
            time.sleep(0.05)
        if isinstance(answer, OSError):
            raise answer
        return answer


Boot = Callable[..., Kernel]


@pytest.fixture
def boot(monkeypatch: pytest.MonkeyPatch) -> Boot:
    def begin(*answers: int | OSError) -> Kernel:
        kernel = Kernel(*answers)
        monkeypatch.setattr(bpf, "program_load", kernel.load)
        monkeypatch.setattr(bpf, "close_all", kernel.closed.extend)
        return kernel

    return begin


def test_every_place_has_the_direction_and_no_other_constant_is_taken_for_one() -> None:
    same_constant = bytes([0x07, 1, 0, 0]) + directions._DIRECTION_PLACE  # one that is added
    programs = dict(programs_of(PLACE + same_constant + PLACE))
    for name, direction in (("monitor_ingress", 0), ("monitor_egress", 1)):
        told = PLACE[:4] + bytes([direction, 0, 0, 0])
        assert programs[name] == told + same_constant + told


def test_a_program_without_a_place_is_refused() -> None:
    with pytest.raises(ExporterError, match="no place"):
        programs_of(bytes(16))


@pytest.mark.parametrize("place", directions._MAP_PLACES)
def test_only_the_place_of_a_map_loads_it_or_its_value(place: bytes) -> None:
    low, high = place[:4], place[4:]
    name, kind = directions._MAP_PLACES[place]
    others = (
        load_64(2, low, bytes(4))
        + load_64(2, bytes(4), high)
        + load_64(2, high, low)
        + load_64(2, bytes(4), low)
        + bytes([0x07, 1, 0, 0, *low, 0x07, 1, 0, 0, *high])
    )
    told = with_maps(others + load_64(3, low, high) + others + low, {name: 1 << 30}.__getitem__)
    in_place = load_64(3, (1 << 30).to_bytes(4, sys.byteorder), bytes(4), kind=kind >> 4)
    assert told == others + in_place + others + low


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def test_descriptors_come_in_the_order_of_directions(boot: Boot) -> None:
    boot(3, 4)
    assert load_both(INSTRUCTIONS) == [3, 4]


def test_of_two_refusals_the_first_program_s_is_told(boot: Boot) -> None:
    boot(error(errno.EINVAL), error(errno.EACCES))
    with pytest.raises(RefusedError, match="monitor_ingress"):
        load_both(INSTRUCTIONS)


@pytest.mark.parametrize("refused_first", [True, False])
def test_what_no_verifier_says_comes_first(boot: Boot, refused_first: bool) -> None:
    answers = [error(errno.EINVAL), error(errno.ENOMEM)]
    boot(*(answers if refused_first else reversed(answers)))
    with pytest.raises(OSError, match="memory"):
        load_both(INSTRUCTIONS)


def test_the_one_that_is_loaded_is_let_go_of(boot: Boot) -> None:
    kernel = boot(3, error(errno.EINVAL))
    with pytest.raises(RefusedError, match="monitor_egress"):
        load_both(INSTRUCTIONS)
    assert kernel.closed == [3]


def test_without_threads_they_are_loaded_one_after_the_other(
    boot: Boot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    boot(3, 4)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert load_both(INSTRUCTIONS) == [3, 4]
