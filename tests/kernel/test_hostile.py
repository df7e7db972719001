"""Frames that nobody sends in good faith: never an error, always counted, under the right key."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from exporter.capture.records import (
    FLOW_EGRESS,
    FLOW_INGRESS,
    LINK_ETHERNET,
    LINK_IP,
)
from tests.kernel.harness import FRAME_MIN, FlowKey, Kernel, WireCounts
from tests.kernel.packets import EXTENSIONS
from tests.kernel.reference import read
from tests.kernel.shapes import all_shapes

FRAMES = 200_000
ROUNDS = 40
ETHERTYPES = (0x0800, 0x86DD, 0x8100, 0x88A8, 0x9100, 0x8864, 0x8847)
TELLING_BYTES = (0, 1, 4, 5, 6, 17, 0x45, 0x4F, 0x60, 0x7F, 0x80, 0xFE, 0xFF, *EXTENSIONS)
HEADERS_LEN = 120
"""What a mutation should hit."""

_LEFT_OUT = ("v6-very-long-extension", "tcp-all-flags", "tcp-options")
"""SYN and FIN in turn take a new entry each time, and 16 of them all the room that a key has."""


def _noise(rng: random.Random) -> bytes:
    """Random bytes, mostly behind an Ethernet type that lets the parser go on."""
    frame = bytearray(rng.randbytes(rng.randrange(FRAME_MIN, 200)))
    if rng.random() < 0.8:
        frame[12:14] = rng.choice(ETHERTYPES).to_bytes(2, "big")
    if len(frame) > 14 and rng.random() < 0.8:
        frame[14] = rng.choice((0x45, 0x46, 0x4F, 0x60))
    return bytes(frame)


def _mutated(rng: random.Random, frames: list[bytes]) -> bytes:
    """A good frame with some bytes changed, cut, put in twice, or the tail of another one."""
    frame = bytearray(rng.choice(frames))
    for _ in range(rng.randrange(5)):
        at = rng.randrange(min(len(frame), HEADERS_LEN))
        kind = rng.randrange(5)
        if kind == 0:
            frame[at] = rng.choice(TELLING_BYTES)
        elif kind == 1:
            frame[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del frame[at : at + rng.randrange(1, 9)]
        elif kind == 3:
            frame[at:at] = frame[at : at + rng.choice((4, 8, 14, 20, 40))]
        else:
            frame[at:] = rng.choice(frames)[at:]
        if len(frame) < FRAME_MIN:
            break
    return bytes(frame[: rng.randrange(FRAME_MIN, 300)]).ljust(FRAME_MIN, b"\x00")


def hostile_frames(seed: int, count: int) -> Iterator[bytes]:
    """*count* frames, always the same for a seed."""
    rng = random.Random(seed)
    frames = [shape.frame for shape in all_shapes() if not shape.name.startswith(_LEFT_OUT)]
    for _ in range(count):
        yield _noise(rng) if rng.random() < 0.25 else _mutated(rng, frames)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_hostile_frames_are_counted_as_a_second_reader_reads_them(
    full_table: Kernel, seed: int
) -> None:
    link_type = LINK_ETHERNET if seed < ROUNDS - 5 else LINK_IP
    direction = FLOW_EGRESS if seed % 2 else FLOW_INGRESS
    full_table.set_link_type(link_type)
    expected: dict[FlowKey, WireCounts] = {}
    non_ip = nothing = WireCounts(0, 0)
    for frame in hostile_frames(seed, FRAMES // ROUNDS):
        full_table.run(frame, direction)
        reading = read(frame, link_type)
        if reading is None:
            non_ip = non_ip.plus(1, len(frame))
        else:
            expected[reading.key] = expected.get(reading.key, nothing).plus(1, len(frame))
    totals = full_table.totals(direction)
    assert (totals.non_ip_packets, totals.non_ip_bytes) == non_ip
    assert totals.overflow_packets == 0
    assert full_table.sums_by_key(direction) == expected


def test_hostile_super_packets_are_counted_somewhere(tiny_table: Kernel) -> None:
    """With any segment size and count, and a table that is always full: the identity holds."""
    rng = random.Random(99)
    for frame in hostile_frames(99, FRAMES // 10):
        size, count = rng.choice((0, 1, 100, 65535)), rng.choice((0, 1, 2, 45, 65535))
        if len(frame) >= 54:  # what is shorter cannot be test-run as a super-packet everywhere
            tiny_table.run(frame, gso_size=size, gso_segs=count)
    totals = tiny_table.totals()
    assert totals.packets >= tiny_table.sent[FLOW_INGRESS].packets
    tiny_table.sent[FLOW_INGRESS] = WireCounts(totals.packets, totals.bytes)
