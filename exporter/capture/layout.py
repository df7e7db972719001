"""What pinned maps say of themselves, so that any version can read the counts of any other.

The map `layout` has one element of 64-bit words in the machine's byte order. Their places never
change: who adds a word takes a spare one, which is zero where it was not there yet. Who changes
what a word means changes MAGIC.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from dataclasses import dataclass

from exporter.capture import bpf
from exporter.capture.records import (
    DEVICE_TOTALS,
    FLOW_BUCKET_SLOTS,
    FLOW_CLAIM,
    FLOW_CLOSING,
    FLOW_ENTRY,
    FLOW_FREE,
    FLOW_HEAD_DEVICE,
    FLOW_HEAD_DIRECTION,
    FLOW_LIVE,
    FLOW_SUPERSEDED,
    RECORD_LAYOUT_VERSION,
)

MAGIC = 0x4159_4146_4C4F_5731
"""AYAFLOW1."""

HASH_KEYS = 13
_HASH_MULTIPLIER = 6
"""The one key of 64 bits; it must be odd."""

SHAPE_MAX = 16
_FIELDS = 32
_WORDS = struct.Struct(f"={_FIELDS + HASH_KEYS + SHAPE_MAX}Q")


@dataclass(frozen=True, slots=True)
class TableSizes:
    """What fixes the tables: maps can go on being used only where all of it is the same.

    Words are of 64 bits and counted from the start of an entry or a cell; sizes are in bytes.
    """

    flow_slots: int
    device_slots: int
    cpus: int
    recorded_bytes: int
    record_layout: int = RECORD_LAYOUT_VERSION
    page_size: int = mmap.PAGESIZE
    flow_entry_size: int = FLOW_ENTRY.size
    flow_bucket_slots: int = FLOW_BUCKET_SLOTS
    head_word: int = 0
    packets_word: int = 6
    bytes_word: int = 7
    state_mask: int = 0xFF
    """Of the head."""
    direction_shift: int = FLOW_HEAD_DIRECTION
    """4 bits of the head: 0 ingress, 1 egress."""
    device_shift: int = FLOW_HEAD_DEVICE
    """16 bits of the head: the slot of the totals."""
    state_free: int = FLOW_FREE
    state_claim: int = FLOW_CLAIM
    state_live: int = FLOW_LIVE
    state_closing: int = FLOW_CLOSING
    state_superseded: int = FLOW_SUPERSEDED
    totals_cell_size: int = DEVICE_TOTALS.size
    """One for each device slot, CPU and direction, at (slot * cpus + cpu) * 2 + direction."""
    totals_words: int = DEVICE_TOTALS.size // 8
    """How many of a cell's words count: packets, bytes, overflow packets and bytes, packets and
    bytes without IP, lost events, lost payloads."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One generation of maps."""

    sizes: TableSizes
    load_id: int
    """Random, and new with each generation: it tells whose counts the maps hold."""
    hash_keys: tuple[int, ...]
    """Secret; of the flow table."""
    recorded_shape: tuple[int, ...] = ()
    """What tells how the map `recorded` is laid out, as whoever writes it has it."""

    @classmethod
    def new(cls, sizes: TableSizes, recorded_shape: tuple[int, ...] = ()) -> Layout:
        """That of a new generation."""
        return cls(sizes, _random(8) >> 1 | 1, new_hash_keys(), recorded_shape)

    def pack(self) -> bytes:
        """As the map has it."""
        shape = self.recorded_shape + (0,) * (SHAPE_MAX - len(self.recorded_shape))
        fields = (getattr(self.sizes, name) for name in _SIZE_NAMES)
        spare = (0,) * (_FIELDS - len(_SIZE_NAMES) - 3)
        words = (MAGIC, self.load_id, len(self.recorded_shape), *fields, *spare)
        return _WORDS.pack(*words, *self.hash_keys, *shape)


_SIZE_NAMES = tuple(TableSizes.__dataclass_fields__)


def new_hash_keys() -> tuple[int, ...]:
    """Secret keys for the flow table's hash."""
    keys = [_random(8 if n == _HASH_MULTIPLIER else 4) for n in range(HASH_KEYS)]
    keys[_HASH_MULTIPLIER] |= 1
    return tuple(keys)


def _random(size: int) -> int:
    return int.from_bytes(os.urandom(size), sys.byteorder)


def create_map(layout: Layout) -> int:
    """A map with what *layout* says; its descriptor. Raises OSError."""
    content = layout.pack()
    fd = bpf.map_create_array(_WORDS.size, 1, bpf.MAP_FLAG_MMAPABLE, "layout")
    with mmap.mmap(fd, _mapped(_WORDS.size)) as mapped:
        mapped[: len(content)] = content
    return fd


def read_map(fd: int) -> Layout | None:
    """What the map says; None where it says it in a way that this version does not know."""
    size = bpf.map_info(fd).value_size
    with mmap.mmap(fd, _mapped(size), prot=mmap.PROT_READ) as mapped:
        content = mapped[:size]
    words = _WORDS.unpack(content[: _WORDS.size].ljust(_WORDS.size, b"\0"))
    magic, load_id, shape, *fields = words
    if magic != MAGIC or shape > SHAPE_MAX:
        return None
    sizes = TableSizes(*fields[: len(_SIZE_NAMES)])
    keys = words[_FIELDS : _FIELDS + HASH_KEYS]
    return Layout(sizes, load_id, keys, words[_FIELDS + HASH_KEYS :][:shape])


def _mapped(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
