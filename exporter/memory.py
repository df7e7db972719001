"""Memory that is taken only as it is used, and given back when it is not."""

from __future__ import annotations

import ctypes
import gc
import mmap
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

_M_ARENA_MAX = -8
"""Of mallopt(3)."""


def zero_bytes(length: int) -> mmap.mmap:
    """So many zeros, of which only what is written takes memory.

    A bytearray would be written as it is made, and take all of it. Memory that could be shared with
    other processes is taken as it is read, and huge pages are taken as a whole.
    """
    column = mmap.mmap(-1, max(1, length), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel that knows no huge pages
        column.madvise(mmap.MADV_NOHUGEPAGE)
    return column


def zeros(code: str, length: int) -> memoryview[Any]:
    """So many zeros of a struct format, in such memory."""
    column: memoryview[Any] = memoryview(zero_bytes(length * struct.calcsize(code)))
    return column.cast(code)  # type: ignore[call-overload, no-any-return]


def positions(wanted: bytes, column: bytes | mmap.mmap) -> Iterator[int]:
    """Where a byte is in a column, which may change meanwhile: found by searching bytes."""
    position = column.find(wanted)
    while position >= 0:
        yield position
        position = column.find(wanted, position + 1)


def share_one_heap() -> None:
    """Threads that are started later allocate where this one does: each would take 0.1 MB or
    more."""
    with suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """What the start took and needs no longer goes back to the system: some 0.5 MB. What is left
    stays: later collections need not look at it again.
    """
    gc.collect()
    gc.freeze()
    trim()


def trim() -> None:
    """What is free on the heap goes back to the system."""
    with suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
