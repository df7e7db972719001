"""The interfaces that are counted: as they appear, are renamed, vanish and come back.

A device keeps its slot of the totals under its name: what vanishes and comes back counts on. An
hour after it vanished, its totals move to the device `removed`, and its slot is free again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from exporter.capture import netlink
from exporter.capture.attach import Attached
from exporter.capture.bpf import close_all
from exporter.capture.device import Device, link_type_of
from exporter.capture.netlink import Link
from exporter.capture.records import ZERO_TOTALS, DeviceTotals, minus, plus
from exporter.capture.selection import Selection, stacked
from exporter.capture.totals import DeviceTable, Totals
from exporter.errors import ExporterError

REMOVED = "removed"
"""The device that the totals of forgotten devices are shown under."""
UNREGISTERED_SLOT = 0
KEEP_VANISHED_S = 3600.0
RETRY_S = 10.0

_log = logging.getLogger(__name__)


class Privileged(Protocol):
    """Who attaches: the helper process."""

    def attach(self, ifindex: int, mode: str, kind: str) -> Attached: ...
    def detach(self, ifindex: int) -> None: ...
    def programs_before(self, ifindex: int) -> tuple[int, int]: ...


class Interfaces:
    """Follows the kernel's list of interfaces, and attaches and registers what is wanted."""

    def __init__(
        self,
        selection: Selection,
        mode: str,
        privileged: Privileged,
        table: DeviceTable,
        totals: Totals,
    ) -> None:
        """*mode*: as in Attacher.attach."""
        self.devices: dict[str, Device] = {}
        self.stacked = 0
        """How many counted interfaces see the packets of another one."""
        self.static = False
        """Whether nothing may be attached any more."""
        self._selection = selection
        self._mode = mode
        self._privileged = privileged
        self._table = table
        self._totals = totals
        self._free_slots = list(range(totals.device_slots - 1, UNREGISTERED_SLOT, -1))
        self._removed = [ZERO_TOTALS, ZERO_TOTALS]
        self._warned_stacked: frozenset[str] = frozenset()

    def start(self, wall_s: float, now_s: float) -> None:
        """Attaches what is wanted. Raises ExporterError where a named interface can't be had.

        *wall_s*: seconds since the epoch; *now_s*: monotonic.
        """
        links = self._look()
        self._selection.check(links)
        self._follow(links, wall_s, now_s)
        for name in self._selection.names:
            if self.devices[name].attached is None:
                raise ExporterError(f"{name}: {self.devices[name].complaint}")

    def refresh(self, wall_s: float, now_s: float) -> None:
        """Looks anew, and attaches and lets go. Arguments as of `start`."""
        self._follow(self._look(), wall_s, now_s)

    def _look(self) -> list[Link]:
        links = netlink.links()
        if self._selection.follows_default_routes:
            self._selection.see_default_routes(links, netlink.default_route_interfaces())
        return links

    def totals_of(self, device: Device, direction: int) -> DeviceTotals:
        """What was counted on a device."""
        return minus(self._totals.read(device.slot, direction), device.base[direction])

    def totals_of_removed(self, direction: int) -> DeviceTotals:
        """What was counted on devices that are forgotten, or not known yet."""
        return plus(self._totals.read(UNREGISTERED_SLOT, direction), self._removed[direction])

    def slots(self) -> list[int]:
        """The slots of the totals that may count."""
        return [UNREGISTERED_SLOT, *(device.slot for device in self.devices.values())]

    def see_drivers(self) -> None:
        """Reads what the drivers count."""
        for link in netlink.links():
            device = self.devices.get(link.name)
            if device is not None and device.ifindex == link.ifindex:
                device.driver_now = (link.rx_packets, link.tx_packets)

    def see_programs_before(self) -> None:
        """Asks who else watches the devices."""
        for device in self.devices.values():
            if device.attached is None or self.static:
                continue
            try:
                before = self._privileged.programs_before(device.ifindex)
            except ExporterError as error:
                _log.warning("%s: who else is attached cannot be told: %s", device.name, error)
                continue
            if before > device.programs_before:
                _log.warning(
                    "%s: %d programs on ingress and %d on egress see packets before this one; what"
                    " they drop, redirect or accept for good is not counted",
                    device.name,
                    *before,
                )
            device.programs_before = before

    def _follow(self, links: Sequence[Link], wall_s: float, now_s: float) -> None:
        by_index = {link.ifindex: link for link in links}
        for device in list(self.devices.values()):
            link = by_index.get(device.ifindex)
            if device.ifindex and link is None:
                self._let_go(device, now_s)
            elif link is not None and link.name != device.name:
                self._rename(device, link, wall_s, now_s)
        for link in links:
            if self._selection.wants(link):
                self._want(link, wall_s, now_s)
        for device in list(self.devices.values()):
            if device.ifindex == 0 and now_s - device.vanished_at_s > KEEP_VANISHED_S:
                self._forget(device)
        self._warn_of_stacked(links)

    def _want(self, link: Link, wall_s: float, now_s: float) -> None:
        device = self._device(link.name, wall_s)
        if device is None or device.attached is not None or self.static:
            return
        if device.ifindex == link.ifindex and now_s < device.retry_at_s:
            return
        device.ifindex = link.ifindex
        try:
            self._attach(device, link)
        except ExporterError as error:
            device.retry_at_s = now_s + RETRY_S
            if device.complaint != str(error):
                device.complaint = str(error)
                _log.warning("%s is not counted: %s", link.name, error)

    def _device(self, name: str, wall_s: float) -> Device | None:
        """The device of that name, old or new; None where there are too many."""
        device = self.devices.get(name)
        if device is None:
            if not self._free_slots:
                _log.error(
                    "%s is not counted: %d interfaces are, and no more can be",
                    name,
                    len(self.devices),
                )
                return None
            slot = self._free_slots.pop()
            base = (self._totals.read(slot, 0), self._totals.read(slot, 1))
            device = self.devices[name] = Device(name, slot, base, wall_s)
        return device

    def _attach(self, device: Device, link: Link) -> None:
        """Registers the device first, so that its first packet finds its slot."""
        self._register(device, link)
        try:
            device.attached = self._privileged.attach(link.ifindex, self._mode, link.kind)
        except ExporterError:
            self._table.remove(link.ifindex)
            raise
        device.complaint = ""
        with suppress(OSError):  # gone again: the next look finds that out
            link = netlink.link(link.ifindex)
        device.rebase_driver((link.rx_packets, link.tx_packets))
        _log.info("%s is counted (%s)", device.name, device.attached.mode)

    def _register(self, device: Device, link: Link) -> None:
        self._table.put(link.ifindex, device.slot, link_type_of(link))

    def _rename(self, device: Device, link: Link, wall_s: float, now_s: float) -> None:
        """The programs stay where they are if the new name is wanted too; only the slot changes."""
        renamed = self._device(link.name, wall_s) if self._selection.wants(link) else None
        if renamed is None or device.attached is None:
            if device.attached is not None and not device.attached.link_fds:
                self._privileged.detach(device.ifindex)
            self._let_go(device, now_s)
            return
        _log.info("%s is called %s now", device.name, renamed.name)
        renamed.ifindex, renamed.attached = device.ifindex, device.attached
        self._register(renamed, link)
        renamed.rebase_driver((link.rx_packets, link.tx_packets))
        device.attached = None
        self._vanish(device, now_s)

    def _let_go(self, device: Device, now_s: float) -> None:
        if device.attached is not None:
            _log.info("%s is gone", device.name)
            close_all(device.attached.link_fds)
            device.attached = None
        self._table.remove(device.ifindex)
        self._vanish(device, now_s)

    @staticmethod
    def _vanish(device: Device, now_s: float) -> None:
        device.rebase_driver((0, 0))
        device.ifindex = 0
        device.vanished_at_s = now_s
        device.programs_before = (0, 0)

    def _forget(self, device: Device) -> None:
        for direction in range(2):
            self._removed[direction] = plus(
                self._removed[direction], self.totals_of(device, direction)
            )
        self._free_slots.append(device.slot)
        del self.devices[device.name]

    def _warn_of_stacked(self, links: Sequence[Link]) -> None:
        counted = {each.ifindex for each in self.devices.values() if each.attached is not None}
        found = stacked(counted, links)
        self.stacked = len(found)
        names = frozenset(link.name for link in links if link.ifindex in found)
        if names - self._warned_stacked:
            _log.warning(
                "%s see the same packets, which are then counted more than once: count one of them",
                " and ".join(sorted(names)),
            )
        self._warned_stacked |= names

    def close(self) -> None:
        """Lets go of every link, which detaches what is not clsact."""
        for device in self.devices.values():
            if device.attached is not None:
                close_all(device.attached.link_fds)
                device.attached = None
