"""Starts that pin, as the exporter makes them, one after the other over the same traffic."""

from __future__ import annotations

import mmap
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from scapy.layers.inet import UDP

from exporter.capture import bpf
from exporter.capture.attach import Attached, Attacher
from exporter.capture.directions import programs_of
from exporter.capture.generations import Generation
from exporter.capture.layout import TableSizes
from exporter.capture.loader import LoaderSettings, load_programs, source_dir
from exporter.capture.pins import Pins, prepare
from exporter.capture.records import DEVICE_TOTALS, LINK_ETHERNET, DeviceTotals
from exporter.capture.totals import DeviceTable
from tests.kernel.harness import possible_cpus
from tests.kernel.namespace import add_veth, namespace_thread
from tests.kernel.packets import PAYLOAD, ether, v4

T = TypeVar("T")

DEVICE_SLOT = 1
RECORDED_BYTES = 3 * mmap.PAGESIZE
SHAPE = (2, 4096, 21)
FLOWS = 50


def settings(flow_slots: int = 1024, ring: int = 1 << 16, payloads: int = 0) -> LoaderSettings:
    return LoaderSettings(flow_slots, 8, possible_cpus(), ring, payloads)


def prepared(base: Path, wanted: LoaderSettings | None = None) -> Pins:
    made = prepare(base, wanted or settings(), RECORDED_BYTES, SHAPE)
    assert made is not None
    return made


class Wire:
    """A veth pair in a namespace of its own, and a thread that sends into one end of it."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor = namespace_thread()
        self._sending = threading.Event()
        self._stop = threading.Event()
        self.sent = [0, 0]
        """Packets and bytes."""
        self._sender = threading.Thread(target=self._send)
        self.inside(lambda: add_veth(("wire0", "wire1")))
        self.ifindex: int = self.inside(lambda: socket.if_nametoindex("wire0"))
        self._socket: socket.socket = self.inside(_packet_socket)

    def inside(self, function: Callable[[], T]) -> T:
        """Calls it in the namespace."""
        return self._thread.submit(function).result()

    def start(self) -> None:
        """Sends as fast as one thread can, until `stop`."""
        self._sender.start()
        assert self._sending.wait(20)

    def let_pass(self) -> None:
        """Waits until some more has been sent."""
        self._sending.clear()
        for _ in range(2):  # what is being sent now may have begun before
            assert self._sending.wait(20)
            self._sending.clear()

    def stop(self) -> None:
        self._stop.set()
        self._sender.join()

    def send(self, count: int) -> None:
        for number in range(count):
            frame = _FRAMES[number % FLOWS]
            self._socket.send(frame)
            self.sent[0] += 1
            self.sent[1] += len(frame)

    def _send(self) -> None:
        while not self._stop.is_set():
            self.send(FLOWS)
            self._sending.set()

    def replace(self) -> None:
        """Deletes the pair, and makes another one with the same indexes."""
        self._socket.close()

        def again() -> socket.socket:
            other = socket.if_nametoindex("wire1")
            subprocess.run(["ip", "link", "del", "wire0"], check=True)
            add_veth(("wire0", "wire1"), (self.ifindex, other))
            return _packet_socket()

        self._socket = self.inside(again)

    def close(self) -> None:
        if self._sender.is_alive():
            self.stop()
        self._socket.close()
        self._thread.shutdown()


def _packet_socket() -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.bind(("wire0", 0))
    return made


_FRAMES = [bytes(ether() / v4() / UDP(sport=2000 + n, dport=9) / PAYLOAD) for n in range(FLOWS)]


@dataclass
class Start:
    """One start: maps, programs, and what attaches them. It keeps no link."""

    wire: Wire
    pins: Pins
    attacher: Attacher
    opened: list[int] = field(default_factory=list)

    @classmethod
    def over(cls, wire: Wire, base: Path, wanted: LoaderSettings | None = None) -> Start:
        """Everything but attaching."""
        wanted = wanted or settings()
        pins = prepared(base, wanted)
        programs = load_programs(wanted, pins.directory)
        given = (programs.ingress_fd, programs.egress_fd)
        attacher = wire.inside(lambda: Attacher(given, str(pins.links_directory)))
        DeviceTable(programs.devices_fd).put(wire.ifindex, DEVICE_SLOT, LINK_ETHERNET)
        opened = [*given, *programs.map_fds(), programs.grace_fd, programs.grace_inner_fd]
        return cls(wire, pins, attacher, opened)

    def attach(self, mode: str = "tcx") -> Attached:
        return self.wire.inside(lambda: self.attacher.attach(self.wire.ifindex, mode, "veth"))

    def end(self) -> None:
        """As the processes end: the helper by its own will, descriptors by the kernel's."""
        self.attacher.end()
        self.attacher._netlink.close()
        bpf.close_all(self.opened)
        self.pins.close()


def totals(generation: Generation) -> DeviceTotals:
    """Of the test's device on egress, over all CPUs, as the layout says."""
    sizes: TableSizes = generation.layout.sizes
    cells = sizes.device_slots * sizes.cpus * 2
    size = -(-cells * sizes.totals_cell_size // mmap.PAGESIZE) * mmap.PAGESIZE
    with mmap.mmap(generation.totals_fd, size, prot=mmap.PROT_READ) as mapped:
        found = [
            DEVICE_TOTALS.unpack_from(
                mapped, ((DEVICE_SLOT * sizes.cpus + cpu) * 2 + 1) * sizes.totals_cell_size
            )
            for cpu in range(sizes.cpus)
        ]
    return DeviceTotals(*(sum(column) for column in zip(*found, strict=True)))


def flows(generation: Generation) -> list[tuple[int, int]]:
    """Packets and bytes of each entry that is not free, as the layout says."""
    sizes = generation.layout.sizes
    size = sizes.flow_slots * sizes.flow_entry_size
    with (
        mmap.mmap(generation.flows_fd, size, prot=mmap.PROT_READ) as mapped,
        memoryview(mapped) as raw,
        raw.cast("Q") as words,
    ):
        return [
            (words[first + sizes.packets_word], words[first + sizes.bytes_word])
            for first in range(0, len(words), sizes.flow_entry_size // 8)
            if words[first + sizes.head_word] & sizes.state_mask != sizes.state_free
        ]


def counted(*generations: Generation) -> list[int]:
    """Packets and bytes of totals, which must be those of the flows as well."""
    sums = [0, 0]
    for generation in generations:
        found = totals(generation)
        entries = flows(generation)
        assert [found.packets - found.overflow_packets, found.bytes - found.overflow_bytes] == [
            sum(packets for packets, _ in entries),
            sum(size for _, size in entries),
        ]
        sums[0] += found.packets
        sums[1] += found.bytes
    return sums


_DUMP = """
import sys
from bcc import BPF
program = BPF(src_file=sys.argv[1], cflags=sys.argv[2:])
print(program.dump_func("monitor").hex())
"""
_LOAD_WORD, _OF_A_MAP = 0x18, 1


def instructions(flags: list[str]) -> list[list[tuple[int, int, int, int]]]:
    """Of both programs, as they are given to the kernel, with no map's descriptor in them."""
    source = source_dir()
    answer = subprocess.run(
        [sys.executable, "-c", _DUMP, source / "flow_monitor.c", *flags],
        env={**os.environ, "BCC_KERNEL_SOURCE": str(source / "shim")},
        capture_output=True,
        check=True,
        text=True,
    )
    return [
        [
            (code, registers, offset, 0)
            if code == _LOAD_WORD and registers >> 4 == _OF_A_MAP
            else (code, registers, offset, immediate)
            for code, registers, offset, immediate in struct.iter_unpack("=BBhi", program)
        ]
        for _, program in programs_of(bytes.fromhex(answer.stdout))
    ]


def tree(base: Path) -> set[str]:
    """Every file and directory below, by its path."""
    return {str(each.relative_to(base)) for each in base.rglob("*")}


def open_descriptors() -> set[str]:
    """What this process holds of the kernel's BPF objects."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(f"{each.name} {os.readlink(each)}")
    return {each for each in found if "bpf" in each}
