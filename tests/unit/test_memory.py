"""Columns of zeros, and searching them."""

from __future__ import annotations

import mmap
from pathlib import Path

from exporter.memory import positions, zero_bytes, zeros

PAGES = 2048
RESIDENT_PAGES = 1
"""The field of /proc/self/statm."""


def resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[RESIDENT_PAGES])


def test_zeros_take_memory_as_they_are_written_and_not_as_they_are_read() -> None:
    column = zeros("Q", PAGES * mmap.PAGESIZE // 8)
    before = resident_pages()
    assert not any(column[at] for at in range(0, len(column), mmap.PAGESIZE // 8))
    assert resident_pages() - before < PAGES // 10
    for page in range(0, PAGES, 2):
        column[page * mmap.PAGESIZE // 8] = 1
    assert PAGES // 2 <= resident_pages() - before < PAGES


def test_a_column_may_be_empty() -> None:
    assert len(zero_bytes(0)) == 1


def test_positions_are_found_though_the_column_changes() -> None:
    column = zero_bytes(100)
    for position in (0, 7, 8, 99):
        column[position] = 3
    found = []
    for position in positions(b"\x03", column):
        column[position] = 0
        found.append(position)
    assert found == [0, 7, 8, 99]
    assert not list(positions(b"\x03", column))
