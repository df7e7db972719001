"""Interfaces as they come and go, and who attaches programs to them, without a kernel.

A packet is counted as often as the programs are attached to its interface, in the slot that the
device table gives, so that a test sees what would be counted twice, or not at all.
"""

from __future__ import annotations

import dataclasses
import mmap
import os
import select

import pytest

from exporter.capture import netlink
from exporter.capture.attach import Attached
from exporter.capture.interfaces import Interfaces
from exporter.capture.listening import Listening
from exporter.capture.netlink import Link
from exporter.capture.records import DEVICE, DEVICE_BUCKETS, DEVICE_PROBES, DEVICE_TOTALS
from exporter.capture.selection import Selection
from exporter.capture.totals import DeviceTable, Totals
from exporter.errors import ExporterError

BYTES = 100
"""Of every packet here."""
HOUR_S = 3600.0
WALL_S = 1_800_000_000.0


class World:
    """The interfaces of one network namespace, the maps of the program, and the helper."""

    def __init__(self, device_slots: int) -> None:
        self.interfaces: dict[int, Link] = {}
        self.default_routes: list[int] = []
        self.mode = "tcx"
        self.refusal = ""
        """Why the helper attaches and detaches nothing; empty where it does."""
        self.before = (0, 0)
        self.during_attach = 0
        """Packets that come in while a program is being attached, or just after."""
        self.listed = 0
        self.asked: list[str] = []
        self.netlink_error: OSError | None = None
        self.heard: dict[str, int] = {}
        """Packets of interfaces that are only listened to, by name."""
        self._next_ifindex = 1
        self._totals_fd = _memory_file(device_slots * 2 * DEVICE_TOTALS.size)
        self._devices_fd = _memory_file(DEVICE_BUCKETS * DEVICE.size)
        self.totals = Totals(self._totals_fd, device_slots, cpus=1)
        self.table = DeviceTable(self._devices_fd)
        self._links: list[tuple[int, int]] = []
        """Of tcx, as (ifindex, read end): a link is a pipe's other end, which the exporter has."""
        self._clsact: set[int] = set()

    def close(self) -> None:
        for _, read in self._links:
            os.close(read)
        os.close(self._totals_fd)
        os.close(self._devices_fd)

    # What happens to interfaces.

    def add(self, name: str, *, master: int = 0, lower: int = 0, kind: str = "") -> int:
        """A new interface; its driver has counted something before. Returns its ifindex."""
        ifindex = self._next_ifindex
        self._next_ifindex += 1
        self.interfaces[ifindex] = Link(ifindex, name, 1, kind, master, lower, 1000, 2000)
        return ifindex

    def remove(self, name: str) -> None:
        ifindex = self.ifindex(name)
        del self.interfaces[ifindex]
        self._clsact.discard(ifindex)
        self._detached(ifindex)

    def rename(self, name: str, new: str) -> None:
        self._change(self.ifindex(name), name=new)

    def ifindex(self, name: str) -> int:
        (found,) = (link.ifindex for link in self.interfaces.values() if link.name == name)
        return found

    def _change(self, ifindex: int, **what: object) -> None:
        self.interfaces[ifindex] = dataclasses.replace(
            self.interfaces[ifindex],
            **what,  # type: ignore[arg-type]
        )

    def receive(self, name: str, packets: int) -> None:
        """The driver counts them, then the program, as often as it is attached."""
        ifindex = self.ifindex(name)
        self._change(ifindex, rx_packets=self.interfaces[ifindex].rx_packets + packets)
        self._count(ifindex, 0, packets)

    def send(self, name: str, packets: int) -> None:
        """The program counts them, then the driver."""
        ifindex = self.ifindex(name)
        self._count(ifindex, 1, packets)
        self._change(ifindex, tx_packets=self.interfaces[ifindex].tx_packets + packets)

    def reset_driver(self, name: str) -> None:
        """Its statistics begin anew, as after a reload of some drivers."""
        self._change(self.ifindex(name), rx_packets=0, tx_packets=0)

    def take_off(self, name: str) -> None:
        """Somebody else takes the programs off."""
        ifindex = self.ifindex(name)
        self._clsact.discard(ifindex)
        self._detached(ifindex)

    # What the kernel program does.

    def attachments(self, name: str) -> int:
        ifindex = self.ifindex(name)
        links = [read for index, read in self._links if index == ifindex and _is_held(read)]
        return len(links) // 2 + (ifindex in self._clsact)

    def links_held(self) -> int:
        """Of all interfaces, there or not."""
        return sum(_is_held(read) for _, read in self._links)

    def _detached(self, ifindex: int) -> None:
        """The links are still held, but of no interface any more."""
        self._links = [(0 if index == ifindex else index, read) for index, read in self._links]

    def _count(self, ifindex: int, direction: int, packets: int) -> None:
        counted = packets * self.attachments(self.interfaces[ifindex].name)
        slot, listen_only = self._device(ifindex)
        if listen_only:
            name = self.interfaces[ifindex].name
            self.heard[name] = self.heard.get(name, 0) + counted
            return
        place = (slot * 2 + direction) * DEVICE_TOTALS.size
        before = DEVICE_TOTALS.unpack(os.pread(self._totals_fd, DEVICE_TOTALS.size, place))
        after = (before[0] + counted, before[1] + counted * BYTES, *before[2:])
        os.pwrite(self._totals_fd, DEVICE_TOTALS.pack(*after), place)

    def slot_of(self, name: str) -> int:
        return self._device(self.ifindex(name))[0]

    def _device(self, ifindex: int) -> tuple[int, bool]:
        """Its slot, and whether it is only listened to."""
        for probe in range(DEVICE_PROBES):
            place = (ifindex + probe) % DEVICE_BUCKETS * DEVICE.size
            record = os.pread(self._devices_fd, DEVICE.size, place)
            index, slot, _, listen_only = DEVICE.unpack(record)
            if index == ifindex:
                return int(slot), bool(listen_only)
        return 0, False

    # What the helper does: as Privileged.

    def attach(self, ifindex: int, mode: str, kind: str) -> Attached:
        self.asked.append(f"attach {ifindex} {mode} {kind}")
        self._refuse(ifindex)
        if self.mode == "clsact":
            self._clsact.add(ifindex)
            attached = Attached("clsact", ())
        else:
            pipes = [os.pipe(), os.pipe()]
            self._links += [(ifindex, read) for read, _ in pipes]
            attached = Attached("tcx", tuple(write for _, write in pipes))
        self.receive(self.interfaces[ifindex].name, self.during_attach)
        return attached

    def detach(self, ifindex: int) -> None:
        self.asked.append(f"detach {ifindex}")
        self._refuse(ifindex)
        self._clsact.discard(ifindex)

    def programs_before(self, ifindex: int) -> tuple[int, int]:
        self.asked.append(f"query {ifindex}")
        self._refuse(ifindex)
        return self.before if self.attachments(self.interfaces[ifindex].name) else (-1, -1)

    def _refuse(self, ifindex: int) -> None:
        if self.refusal:
            raise ExporterError(self.refusal)
        if ifindex not in self.interfaces:
            raise ExporterError("the interface vanished")

    # What rtnetlink tells.

    def links(self) -> list[Link]:
        self.listed += 1
        if self.netlink_error:
            raise self.netlink_error
        return list(self.interfaces.values())

    def link(self, ifindex: int) -> Link:
        if ifindex not in self.interfaces:
            raise OSError(19, "No such device")
        return self.interfaces[ifindex]


class Follower:
    """Interfaces in such a world, with a clock."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *patterns: str, device_slots: int = 16
    ) -> None:
        self.world = World(device_slots)
        monkeypatch.setattr(netlink, "links", self.world.links)
        monkeypatch.setattr(netlink, "link", self.world.link)
        monkeypatch.setattr(netlink, "default_route_interfaces", lambda: self.world.default_routes)
        self.now_s = 1000.0
        self.interfaces = Interfaces(
            Selection(patterns, []), "auto", self.world, self.world.table, self.world.totals
        )
        self.listening: Listening | None = None

    def listen(self, *patterns: str) -> Listening:
        """To those as well, from the start on."""
        self.listening = Listening(
            Selection(patterns, (), "--names.interface"),
            "auto",
            self.world,
            self.world.table,
            self.world.totals,
            self.interfaces,
        )
        return self.listening

    def start(self) -> None:
        self.interfaces.start(WALL_S, self.now_s)
        if self.listening is not None:
            self.listening.start(WALL_S, self.now_s)

    def look(self, after_s: float = 0.0) -> None:
        self.now_s += after_s
        self.interfaces.refresh(WALL_S + self.now_s, self.now_s)
        if self.listening is not None:
            self.listening.refresh(WALL_S + self.now_s, self.now_s)

    def packets(self, name: str) -> tuple[int, int]:
        """What is shown for a device, ingress and egress."""
        device = self.interfaces.devices[name]
        ingress, egress = (self.interfaces.totals_of(device, n).packets for n in (0, 1))
        return ingress, egress

    def removed(self) -> tuple[int, int]:
        ingress, egress = (self.interfaces.slots.totals_of_removed(n).packets for n in (0, 1))
        return ingress, egress

    def driver(self, name: str) -> tuple[int, int]:
        self.interfaces.see_drivers()
        device = self.interfaces.devices[name]
        return device.driver_packets(0), device.driver_packets(1)

    def attached(self) -> list[str]:
        return sorted(name for name, device in self.interfaces.devices.items() if device.attached)

    def all_packets(self) -> int:
        """In all slots that may count, both directions."""
        read = self.world.totals.read
        return sum(read(slot, n).packets for slot in self.interfaces.slots.used() for n in (0, 1))


def _is_held(read: int) -> bool:
    """Whether the other end of a pipe is open."""
    poll = select.poll()
    poll.register(read, 0)
    return not poll.poll(0)


def _memory_file(size: int) -> int:
    fd = os.memfd_create("map", os.MFD_CLOEXEC)
    os.ftruncate(fd, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
    return fd
