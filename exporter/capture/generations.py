"""Generations of pinned maps: opened where they are whole, made, and removed."""

from __future__ import annotations

import logging
import mmap
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from exporter.capture import bpf, bpffs
from exporter.capture.layout import Layout, TableSizes, create_map, read_map
from exporter.capture.loader import LoaderSettings
from exporter.capture.records import DEVICE, DEVICE_BUCKETS, ZERO_TOTALS, DeviceTotals

_LAYOUT = "layout"
_READ = (_LAYOUT, "flows", "totals", "devices", "recorded")
_PINS = frozenset({*_READ, "flow_events", "payloads"})
"""All that a generation's directory can have; one with anything else is somebody else's."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Generation:
    """The maps of one load of the program, which may be another version's.

    `layout` says how to read them. No descriptor needs a privilege to be mapped.
    """

    number: int
    layout: Layout
    flows_fd: int
    totals_fd: int
    devices_fd: int
    recorded_fd: int

    def totals(self) -> dict[tuple[int, int], DeviceTotals]:
        """What each slot counted in each direction, those that counted nothing left out."""
        sizes = self.layout.sizes
        size = sizes.device_slots * sizes.cpus * 2 * sizes.totals_cell_size
        fields = min(sizes.totals_words, len(ZERO_TOTALS))
        summed: dict[tuple[int, int], list[int]] = {}
        with mmap.mmap(self.totals_fd, size, prot=mmap.PROT_READ) as mapped:
            for n, start in enumerate(range(0, size, sizes.totals_cell_size)):
                cell = struct.unpack_from(f"={fields}Q", mapped, start)
                if any(cell):
                    where = (n // 2 // sizes.cpus, n % 2)
                    before = summed.get(where, [0] * fields)
                    summed[where] = [a + b for a, b in zip(before, cell, strict=True)]
        spare = [0] * (len(ZERO_TOTALS) - fields)
        return {where: DeviceTotals(*found, *spare) for where, found in summed.items()}

    def close(self) -> None:
        """Lets go of the descriptors; the maps stay."""
        bpf.close_all((self.flows_fd, self.totals_fd, self.devices_fd, self.recorded_fd))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the maps of this start are to be like."""

    settings: LoaderSettings
    recorded_bytes: int
    recorded_shape: tuple[int, ...] = ()

    def sizes(self) -> TableSizes:
        """What must be the same for maps to be taken over."""
        settings = self.settings
        return TableSizes(
            settings.flow_slots, settings.device_slots, settings.cpus, self.recorded_bytes
        )


def fits(layout: Layout, wanted: Wanted) -> bool:
    """Whether maps can go on being used."""
    return layout.sizes == wanted.sizes() and layout.recorded_shape == wanted.recorded_shape


def numbers(base: Path) -> list[int]:
    """Of all there are, also of those that are not whole; lowest first."""
    try:
        names = os.listdir(base)
    except FileNotFoundError:
        return []
    numbered = [name for name in names if name.isascii() and name.isdecimal()]
    return sorted(int(name) for name in numbered if _PINS.issuperset(os.listdir(base / name)))


def generations(base: Path) -> list[Generation]:
    """Those that are whole, oldest first; the others are removed. Raises OSError."""
    found = []
    for number in numbers(base):
        generation = _open(base, number)
        if generation is None:
            remove(base, number)
        else:
            found.append(generation)
    return found


def _open(base: Path, number: int) -> Generation | None:
    """None where a map is missing, or what `layout` says cannot be understood."""
    opened: list[int] = []
    directory = base / str(number)
    try:
        for name in _READ:
            opened.append(bpf.get_pinned(directory / name))
        layout = read_map(opened[0])
    except FileNotFoundError:
        bpf.close_all(opened)
        return None
    except OSError:
        bpf.close_all(opened)
        raise
    os.close(opened.pop(0))
    if layout is None:
        _log.warning(
            "%s: these maps are of a version that this one does not know: they go, and what they"
            " have counted is lost",
            directory,
        )
        bpf.close_all(opened)
        return None
    return Generation(number, layout, *opened)


def make(base: Path, number: int, wanted: Wanted) -> Generation:
    """New maps, all of them or none. Raises OSError."""
    directory = base / str(number)
    settings = wanted.settings
    layout = Layout.new(wanted.sizes(), wanted.recorded_shape)
    sizes = layout.sizes
    arrays = {
        "flows": (
            sizes.flow_entry_size * sizes.flow_bucket_slots,
            sizes.flow_slots // sizes.flow_bucket_slots,
        ),
        "totals": (sizes.totals_cell_size, sizes.device_slots * sizes.cpus * 2),
        "devices": (DEVICE_BUCKETS * DEVICE.size, 1),
        "recorded": (sizes.recorded_bytes, 1),
    }
    opened: list[int] = []
    try:
        bpffs.make_directory(directory)
        for name, (size, entries) in arrays.items():
            opened.append(bpf.map_create_array(size, entries, bpf.MAP_FLAG_MMAPABLE, name))
            bpf.pin(opened[-1], directory / name)
        renew_rings(directory, settings)
        _pin_and_close(create_map(layout), directory / _LAYOUT)
    except BaseException:
        bpf.close_all(opened)
        with suppress(OSError):
            bpffs.remove_directory(directory, first=_LAYOUT)
        raise
    return Generation(number, layout, *opened)


def renew_rings(directory: Path, settings: LoaderSettings) -> None:
    """A ring of another size is made anew: what its events told is found by a sweep."""
    rings = {"flow_events": settings.ring_bytes, "payloads": settings.payload_ring_bytes}
    for name, size in rings.items():
        path = directory / name
        if size and _entries(path) == size:
            continue
        path.unlink(missing_ok=True)
        if size:
            _pin_and_close(bpf.map_create_ring(size, name), path)


def _entries(path: Path) -> int:
    try:
        fd = bpf.get_pinned(path)
    except FileNotFoundError:
        return 0
    entries = bpf.map_info(fd).entries
    os.close(fd)
    return entries


def _pin_and_close(fd: int, path: Path) -> None:
    try:
        bpf.pin(fd, path)
    finally:
        os.close(fd)


def remove(base: Path, number: int) -> None:
    """Removes one, whole or not; descriptors of its maps stay good. Raises OSError."""
    bpffs.remove_directory(base / str(number), first=_LAYOUT)
