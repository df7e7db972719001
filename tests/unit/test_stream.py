"""The beginning of a TCP stream, from segments in any order."""

from __future__ import annotations

import random
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.names.stream import BYTES_MAX, SEGMENTS_MAX, Stream

DATA = bytes(range(256)) * 4
STARTS = [0, 1000, (1 << 31) - 100, (1 << 31) + 5, (1 << 32) - 300, (1 << 32) - 1]
"""Sequence numbers of the first byte: also such as wrap within DATA."""


def stream(*segments: tuple[int, bytes]) -> Stream:
    made = Stream()
    for sequence, data in segments:
        assert made.add(sequence % (1 << 32), data)
    return made


def beginnings(*segments: tuple[int, bytes]) -> list[bytes]:
    return list(stream(*segments).beginnings())


def test_nothing_begins_with_nothing() -> None:
    assert beginnings() == []
    assert Stream().held == 0


@pytest.mark.parametrize("start", STARTS)
def test_segments_in_any_order_make_one_beginning(start: int) -> None:
    cuts = [0, 100, 101, 700, 1024]
    segments = [(start + a, DATA[a:b]) for a, b in pairwise(cuts)]
    for order in permutations(segments):
        assert beginnings(*order) == [DATA[cut:] for cut in cuts[:-1]]


@pytest.mark.parametrize("start", STARTS)
def test_a_beginning_ends_at_the_first_gap(start: int) -> None:
    first, second = (start, DATA[:100]), (start + 101, DATA[101:200])
    assert beginnings(second, first) == [DATA[:100], DATA[101:200]]


@pytest.mark.parametrize("start", STARTS)
def test_repeated_and_overlapping_segments_add_each_byte_once(start: int) -> None:
    first, *_ = beginnings(
        (start, DATA[:100]),
        (start, DATA[:100]),
        (start + 50, DATA[50:150]),
        (start + 60, DATA[60:70]),
        (start + 150, DATA[150:151]),
    )
    assert first == DATA[:151]


def test_of_two_that_disagree_the_one_that_begins_or_came_first_counts() -> None:
    assert beginnings((2, b"bbbb"), (0, b"aaaa"))[0] == b"aaaabb"
    assert beginnings((0, b"aaaa"), (0, b"bbbb"))[0] == b"aaaa"
    assert beginnings((0, b"bbbb"), (0, b"aaaa"))[0] == b"bbbb"
    assert beginnings((0, b"aaaa"), (2, b"bbbb"))[0] == b"aaaabb"
    assert beginnings((0, b"aaaa"), (0, b"bbbbbb"))[0] == b"aaaabb"


def test_what_is_held_is_told_and_bounded() -> None:
    it = Stream()
    assert it.add(0, bytes(BYTES_MAX - 10))
    assert not it.add(BYTES_MAX - 10, bytes(11))
    assert it.add(BYTES_MAX - 10, bytes(10))
    assert not it.add(BYTES_MAX, b"x")
    assert it.held == BYTES_MAX


def test_the_number_of_segments_is_bounded() -> None:
    it = Stream()
    assert all(it.add(number, b"x") for number in range(SEGMENTS_MAX))
    assert not it.add(SEGMENTS_MAX, b"x")
    assert it.held == SEGMENTS_MAX


@pytest.mark.parametrize("start", STARTS)
def test_what_was_read_is_dropped_and_what_follows_stays_in_its_place(start: int) -> None:
    it = stream((start + 100, DATA[100:200]), (start, DATA[:100]), (start + 300, DATA[300:310]))
    it.drop(150)
    assert it.held == 60
    assert list(it.beginnings()) == [DATA[150:200], DATA[300:310]]
    assert it.add((start + 200) % (1 << 32), DATA[200:300])
    assert next(it.beginnings()) == DATA[150:310]
    it.drop(160)
    assert (it.held, list(it.beginnings())) == (0, [])


@given(st.integers(0, (1 << 32) - 1), st.randoms(use_true_random=False))
def test_any_cut_in_any_order_gives_the_bytes_back(start: int, rng: random.Random) -> None:
    cuts = sorted({0, len(DATA), *(rng.randrange(len(DATA)) for _ in range(10))})
    segments = []
    for a, b in pairwise(cuts):
        begin, end = max(0, a - rng.randrange(50)), min(len(DATA), b + rng.randrange(50))
        segments.append(((start + begin) % (1 << 32), DATA[begin:end]))
    rng.shuffle(segments)
    assert beginnings(*segments)[0] == DATA
