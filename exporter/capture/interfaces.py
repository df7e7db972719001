"""The interfaces that are counted: as they appear, are renamed, vanish and come back.

What vanishes and comes back counts on. An hour after it vanished, its totals move to the device
`removed`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from exporter.capture import netlink
from exporter.capture.attach import Attached
from exporter.capture.bpf import close_all
from exporter.capture.device import Device, link_type_of
from exporter.capture.device_slots import DeviceSlots
from exporter.capture.netlink import Link
from exporter.capture.records import DeviceTotals
from exporter.capture.selection import Selection, Stacking
from exporter.capture.totals import DeviceTable, Totals
from exporter.errors import ExporterError

KEEP_VANISHED_S = 3600.0
RETRY_S = 10.0

_log = logging.getLogger(__name__)


class Privileged(Protocol):
    """Who attaches, as Attacher does: the helper process. Raises ExporterError."""

    def attach(self, ifindex: int, mode: str, kind: str) -> Attached: ...
    def detach(self, ifindex: int) -> None: ...
    def programs_before(self, ifindex: int) -> tuple[int, int]: ...


class Interfaces:
    """Follows the kernel's list of interfaces, and attaches and registers what is wanted."""

    _verb = "counted"

    def __init__(
        self,
        selection: Selection,
        mode: str,
        privileged: Privileged,
        table: DeviceTable,
        totals: Totals,
    ) -> None:
        """*mode*: as in Attacher.attach."""
        self.slots = self._make_slots(totals)
        self.devices = self.slots.devices
        self.stacking = Stacking()
        self.static = False
        """Whether nothing may be attached any more."""
        self._selection = selection
        self._mode = mode
        self._privileged = privileged
        self._table = table
        self._totals = totals
        self._before_attach: list[Callable[[str], None]] = []
        self._without_slot: set[str] = set()
        self._cannot_ask = False

    def _make_slots(self, totals: Totals) -> DeviceSlots:
        return DeviceSlots(totals)

    def before_attach(self, tell: Callable[[str], None]) -> None:
        """Lets *tell* know the name of an interface that is about to be attached."""
        self._before_attach.append(tell)

    def start(self, wall_s: float, now_s: float) -> None:
        """Attaches what is wanted. Raises ExporterError where a named interface can't be had.

        *wall_s*: seconds since the epoch; *now_s*: monotonic.
        """
        try:
            links = self._look()
        except OSError as error:
            raise ExporterError(
                f"the interfaces cannot be listed ({error}): allow netlink sockets, which"
                " a sandbox may deny"
            ) from error
        self._selection.check(links)
        self._follow(links, wall_s, now_s)
        for name in sorted(self._selection.names):
            self._check(name)

    def refresh(self, wall_s: float, now_s: float) -> None:
        """Looks anew, and attaches and lets go. Arguments as of `start`."""
        try:
            links = self._look()
        except OSError as error:
            _log.warning("interfaces cannot be listed, and stay as they were: %s", error)
            return
        self._follow(links, wall_s, now_s)

    def _check(self, name: str) -> None:
        device = self.devices.get(name)
        if device is None:
            raise ExporterError(f"--interface {name}: {self._too_many()}")
        if device.attached is None:
            raise ExporterError(f"{name}: {device.complaint}")

    def freeze(self) -> bool:
        """Attaches nothing from now on. Says whether the helper may end, with nothing to tidy."""
        self.static = True
        attached = [device.attached for device in self.devices.values() if device.attached]
        return all(each.link_fds or each.pinned for each in attached)

    def _look(self) -> list[Link]:
        links = netlink.links()
        if self._selection.follows_default_routes:
            self._selection.see_default_routes(links, netlink.default_route_interfaces())
        return links

    def totals_of(self, device: Device, direction: int) -> DeviceTotals:
        """What was counted on a device."""
        return self.slots.totals_of(device, direction)

    def see_drivers(self) -> None:
        """Reads what the drivers of attached devices count."""
        with suppress(OSError):  # the next look complains of that
            for link in netlink.links():
                device = self.devices.get(link.name)
                if device and device.attached and device.ifindex == link.ifindex:
                    device.see_driver((link.rx_packets, link.tx_packets))

    def see_programs_before(self) -> None:
        """Asks who else watches the devices."""
        for device in self.devices.values():
            if device.attached is None or self.static:
                continue
            try:
                before = self._privileged.programs_before(device.ifindex)
            except ExporterError as error:
                if not self._cannot_ask:
                    _log.warning("%s: who else is attached cannot be told: %s", device.name, error)
                self._cannot_ask = True
                return  # the others may wait: each question can take as long as the helper has
            if min(before) < 0:
                _log.warning("%s: somebody took its programs off", device.name)
                self._take_off(device.name, device.ifindex, device.attached)
                device.attached = None  # the next look attaches it again
                continue
            if any(now > then for now, then in zip(before, device.programs_before, strict=True)):
                _log.warning(
                    "%s: %d programs on ingress and %d on egress see packets before this one; what"
                    " they drop, redirect or accept for good is not counted",
                    device.name,
                    *before,
                )
            device.programs_before = before
        self._cannot_ask = False

    def _follow(self, links: Sequence[Link], wall_s: float, now_s: float) -> None:
        by_index = {link.ifindex: link for link in links}
        renamed: list[tuple[str, Link, Attached | None]] = []
        for device in list(self.devices.values()):
            link = by_index.get(device.ifindex)
            if device.ifindex and link is None:
                self._let_go(device, now_s)
            elif link is not None and link.name != device.name:
                renamed.append((device.name, link, device.attached))
                device.vanish(now_s)
        # All old names are free by now: two interfaces may have swapped theirs.
        for old_name, link, attached in renamed:
            self._rename(old_name, link, attached, wall_s)
        for link in links:
            if self._wants(link):
                self._want(link, wall_s, now_s)
        for device in list(self.devices.values()):
            if device.ifindex == 0 and now_s - device.vanished_at_s > KEEP_VANISHED_S:
                self.slots.forget(device)
        self._without_slot &= {link.name for link in links}
        self._look_at_stacking(links)

    def _look_at_stacking(self, links: Sequence[Link]) -> None:
        counted = {each.ifindex for each in self.devices.values() if each.attached is not None}
        self.stacking.look(counted, links)

    def _wants(self, link: Link) -> bool:
        return self._selection.wants(link)

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
                _log.warning("%s is not %s: %s", link.name, self._verb, error)

    def _device(self, name: str, wall_s: float) -> Device | None:
        """The device of that name, old or new; None where there are too many."""
        device = self.devices.get(name) or self.slots.take(name, wall_s)
        if device is None:
            if name not in self._without_slot:
                _log.error("%s is not counted: %s", name, self._too_many())
            self._without_slot.add(name)
        return device

    def _attach(self, device: Device, link: Link) -> None:
        """Registers the device first, so that its first packet finds its slot."""
        for tell in self._before_attach:
            tell(link.name)
        self._register(device, link)
        try:
            device.attached = self._privileged.attach(link.ifindex, self._mode, link.kind)
        except ExporterError:
            self._table.remove(link.ifindex)
            raise
        device.complaint = ""
        self._begin_driver(device, link)
        _log.info("%s is %s (%s)", device.name, self._verb, device.attached.mode)

    def _register(self, device: Device, link: Link) -> None:
        self._table.put(link.ifindex, device.slot, link_type_of(link))

    @staticmethod
    def _begin_driver(device: Device, link: Link) -> None:
        """The driver is asked last: it must not have counted what the program did not."""
        with suppress(OSError):  # gone again: the next look finds that out
            link = netlink.link(link.ifindex)
        device.rebase_driver((link.rx_packets, link.tx_packets))

    def _rename(self, old_name: str, link: Link, attached: Attached | None, wall_s: float) -> None:
        """The programs stay where they are if the new name is wanted too; only the slot changes."""
        device = self._device(link.name, wall_s) if self._wants(link) else None
        _log.info("%s is called %s now", old_name, link.name)
        if device is not None and attached is not None:
            device.ifindex, device.attached = link.ifindex, attached
            self._register(device, link)
            self._begin_driver(device, link)
            return
        if attached is not None:
            self._take_off(link.name, link.ifindex, attached)
        self._table.remove(link.ifindex)

    def _take_off(self, name: str, ifindex: int, attached: Attached) -> None:
        close_all(attached.link_fds)
        if not attached.link_fds:
            try:
                self._privileged.detach(ifindex)
            except ExporterError as error:
                _log.warning("%s: the programs stay where they are: %s", name, error)

    def _let_go(self, device: Device, now_s: float) -> None:
        if device.attached is not None:
            _log.info("%s is gone", device.name)
            if device.attached.pinned and not self.static:
                self._take_off(device.name, device.ifindex, device.attached)
            close_all(device.attached.link_fds)
        self._table.remove(device.ifindex)
        device.vanish(now_s)

    def _too_many(self) -> str:
        return f"no more than {self._totals.device_slots - 1} can be; name fewer"

    def close(self) -> None:
        """Lets go of every link, which detaches what is not clsact and has no pin."""
        for device in self.devices.values():
            if device.attached is not None:
                close_all(device.attached.link_fds)
                device.attached = None
