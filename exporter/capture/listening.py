"""The interfaces that are listened to for DNS, and counted nowhere.

They are followed as those that are counted, but have no slot of the totals. One that is counted is
not listened to besides: its own program hears DNS, and a second one would count each packet twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.capture.device import Device, link_type_of
from exporter.capture.device_slots import DeviceSlots, SharedSlot
from exporter.capture.interfaces import Interfaces, Privileged
from exporter.capture.netlink import Link
from exporter.capture.selection import Selection
from exporter.capture.totals import DeviceTable, Totals


class Listening(Interfaces):
    """Interfaces that are only listened to."""

    _verb = "listened to"

    def __init__(
        self,
        selection: Selection,
        mode: str,
        privileged: Privileged,
        table: DeviceTable,
        totals: Totals,
        counted: Interfaces,
    ) -> None:
        """As Interfaces; *counted*: those that are counted, which come first."""
        super().__init__(selection, mode, privileged, table, totals)
        self._counted = counted
        counted.before_attach(self._yield_to_counting)

    def _yield_to_counting(self, name: str) -> None:
        device = self.devices.pop(name, None)
        if device is not None and device.attached is not None:
            self._take_off(name, device.ifindex, device.attached)

    def _check(self, name: str) -> None:
        if name not in self._counted.devices:
            super()._check(name)

    def _wants(self, link: Link) -> bool:
        return link.name not in self._counted.devices and super()._wants(link)

    def _make_slots(self, totals: Totals) -> DeviceSlots:
        return SharedSlot(totals)

    def _register(self, device: Device, link: Link) -> None:
        self._table.put(link.ifindex, device.slot, link_type_of(link), listen_only=True)

    def _look_at_stacking(self, links: Sequence[Link]) -> None:
        pass
