"""The kernel program and its variants, loaded side by side with their maps in reach.

A variant is bpf/flow_monitor.c with one part of it replaced by a file of tests/bench/layouts, and
loaded by the exporter's own loader. So all that is not replaced is the same, and stays the same.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from exporter.capture import bpf, loader
from exporter.capture.loader import LoaderSettings, Programs
from exporter.capture.records import (
    DEVICE_TOTALS,
    FLOW_EGRESS,
    FLOW_ENTRY,
    FLOW_INGRESS,
    LINK_ETHERNET,
    ZERO_TOTALS,
    DeviceTotals,
    plus,
)
from exporter.capture.ring import FlowEventRing
from exporter.capture.totals import DeviceTable, Totals
from tests.e2e.net import End

LAYOUTS = Path(__file__).resolve().parents[1] / "layouts"

_TABLE = ("/* Adds to the flow's entry", "/* Whether more of its payload is wanted")
_PROGRAM = ("int monitor(", "")

_ENABLE_STATS = 32
_STATS_RUN_TIME = 0

_INFO_BYTES = 208
_INFO_RUNS = 192

_HOOKS = {FLOW_INGRESS: bpf.TCX_INGRESS, FLOW_EGRESS: bpf.TCX_EGRESS}

_DEVICE_SLOT = 1
_DEVICE_SLOTS = 256
_LINE_WORDS = FLOW_ENTRY.size // 8
_HEAD_WORD = 0
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to count, and where in its table the counters are, as 64-bit words of an entry."""

    name: str
    says: str
    replaced: tuple[str, str] | None = None
    """The part of the program from one line to before another that layouts/NAME.c replaces; the
    other is empty for the program's end."""
    entry_lines: int = 1
    """Cache lines of an entry."""
    packet_words: tuple[int, ...] = ()
    byte_words: tuple[int, ...] = ()
    inspects: bool = False
    """Looks into payloads for names."""


EMPTY = Variant("empty", "an empty program", _PROGRAM)
OURS = Variant("ours", "the exporter's: a line for each direction", None, 1, (6,), (7,))
INSPECTING = replace(
    OURS, name="inspecting", says="the same with payload inspection", inspects=True
)
PER_PACKET = Variant("per_packet", "an event for each packet, and no table", _PROGRAM)
NO_TABLE = Variant("no_table", "parsing and totals alone", _TABLE)
VARIANTS = (
    EMPTY,
    PER_PACKET,
    NO_TABLE,
    OURS,
    INSPECTING,
    Variant("two_lines", "two lines for both directions", _TABLE, 2, (6, 8), (7, 9)),
    Variant("digest", "a line for both directions, by digest", _TABLE, 1, (4, 6), (5, 7)),
)


class RunTime(NamedTuple):
    """How often a program ran and how long that took, since it was loaded."""

    ns: int
    times: int


@contextmanager
def statistics() -> Iterator[None]:
    """While this lasts, the kernel times every run of every BPF program."""
    descriptor = bpf.bpf(_ENABLE_STATS, struct.pack("=I", _STATS_RUN_TIME))
    try:
        yield
    finally:
        os.close(descriptor)


def source_text(variant: Variant) -> str:
    """The whole source of a variant. Raises ValueError where the program has no such part."""
    text = (loader.source_dir() / "flow_monitor.c").read_text()
    if variant.replaced is None:
        return text
    begin, end = variant.replaced
    first = text.index(begin)
    rest = text[text.index(end) :] if end else ""
    return text[:first] + (LAYOUTS / f"{variant.name}.c").read_text() + "\n" + rest


def _load(variant: Variant, settings: LoaderSettings) -> Programs:
    original = loader.source_dir()
    with tempfile.TemporaryDirectory(prefix="ayaflow-bench-") as folder:
        for entry in (*original.iterdir(), *LAYOUTS.glob("*.h")):
            if entry.name != "flow_monitor.c":
                Path(folder, entry.name).symlink_to(entry)
        Path(folder, "flow_monitor.c").write_text(source_text(variant))
        with mock.patch.object(loader, "source_dir", return_value=Path(folder)):
            return loader.load_programs(settings)


def _program_info(fd: int) -> bytes:
    """`struct bpf_prog_info` of include/uapi/linux/bpf.h, up to run_cnt."""
    info = ctypes.create_string_buffer(_INFO_BYTES)
    attributes = struct.pack("=IIQ", fd, _INFO_BYTES, ctypes.addressof(info))
    bpf.bpf(bpf.OBJ_GET_INFO_BY_FD, attributes)
    return info.raw


class Monitor:
    """One loaded variant. Device slot 1 of its totals is the one device that is watched."""

    def __init__(self, variant: Variant, entries: int, ring_bytes: int) -> None:
        """*entries*: of the flow table, a power of two. Raises ExporterError."""
        cpus = _possible_cpus()
        self.variant = variant
        settings = LoaderSettings(
            entries * variant.entry_lines,
            _DEVICE_SLOTS,
            cpus,
            ring_bytes,
            ring_bytes if variant.inspects else 0,
        )
        self._programs = _load(variant, settings)
        self._table_bytes = settings.flow_slots * FLOW_ENTRY.size
        self._totals = Totals(self._programs.totals_fd, _DEVICE_SLOTS, cpus)
        self._totals_bytes = _DEVICE_SLOTS * cpus * 2 * DEVICE_TOTALS.size
        self._devices = DeviceTable(self._programs.devices_fd)
        self._ring = FlowEventRing(self._programs.flow_events_fd, ring_bytes)

    def program_fd(self, direction: int) -> int:
        """Descriptor of one of the two programs."""
        programs = self._programs
        return programs.ingress_fd if direction == FLOW_INGRESS else programs.egress_fd

    @property
    def events_fd(self) -> int:
        """Descriptor of the ring of events."""
        return self._programs.flow_events_fd

    def events_wait(self) -> bool:
        """Whether the ring has events that nobody has read."""
        with mmap.mmap(self.events_fd, 2 * mmap.PAGESIZE, prot=mmap.PROT_READ) as positions:
            consumer, producer = (
                struct.unpack_from("=Q", positions, page * mmap.PAGESIZE) for page in (0, 1)
            )
        return bool(consumer != producer)

    def register(self, ifindex: int) -> None:
        """Makes it the device that is counted."""
        self._devices.put(ifindex, _DEVICE_SLOT, LINK_ETHERNET)

    @contextmanager
    def attached(self, end: End) -> Iterator[None]:
        """While this lasts, both programs are first in the device's tcx chains."""
        ifindex = end.namespace.ifindex(end.device)
        self.register(ifindex)
        links = end.namespace.inside(
            lambda: [
                bpf.link_create_tcx(self.program_fd(direction), ifindex, hook)
                for direction, hook in _HOOKS.items()
            ]
        )
        try:
            yield
        finally:
            bpf.close_all(links)

    def reset(self) -> None:
        """Empties the table, the totals and the ring; not while the programs are attached."""
        self._ring.drain()
        for fd, size in (
            (self._programs.flows_fd, self._table_bytes),
            (self._programs.totals_fd, self._totals_bytes),
        ):
            with mmap.mmap(fd, size) as mapped:
                for first in range(0, size, _CHUNK_BYTES):
                    mapped[first : first + _CHUNK_BYTES] = bytes(min(_CHUNK_BYTES, size - first))

    def close(self) -> None:
        """Lets go of programs and maps, except what is still mapped."""
        for name, descriptor in asdict(self._programs).items():
            if name.endswith("_fd") and descriptor is not None:
                os.close(descriptor)

    def runs(self, direction: int) -> RunTime:
        """Of one program, since it was loaded, while statistics() lasted."""
        return RunTime(*struct.unpack_from("=QQ", self._info(direction), _INFO_RUNS))

    def _info(self, direction: int) -> bytes:
        return _program_info(self.program_fd(direction))

    def totals(self) -> DeviceTotals:
        """Of both directions."""
        total = ZERO_TOTALS
        for direction in (FLOW_INGRESS, FLOW_EGRESS):
            total = plus(total, self._totals.read(_DEVICE_SLOT, direction))
        return total

    def flow_sums(self) -> tuple[int, int]:
        """Packets and bytes of all entries of the flow table, both directions."""
        with self._columns() as column:
            return (
                sum(sum(column(word)) for word in self.variant.packet_words),
                sum(sum(column(word)) for word in self.variant.byte_words),
            )

    def entries(self) -> int:
        """How many entries of the flow table are in use."""
        with self._columns() as column:
            return sum(map(bool, column(_HEAD_WORD)))

    @contextmanager
    def _columns(self) -> Iterator[Callable[[int], list[int]]]:
        """A function that answers one word of every entry."""
        step = self.variant.entry_lines * _LINE_WORDS
        with (
            mmap.mmap(self._programs.flows_fd, self._table_bytes, prot=mmap.PROT_READ) as mapped,
            memoryview(mapped) as raw,
            raw.cast("Q") as words,
        ):
            yield lambda word: words[word::step].tolist()


def _possible_cpus() -> int:
    ranges = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(ranges.replace("-", ",").split(",")[-1]) + 1
