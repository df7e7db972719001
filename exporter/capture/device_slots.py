"""Which device has which slot of the totals, and what was counted on it.

A device keeps its slot under its name: what vanishes and comes back counts on, and so does what a
process before this one counted. When it is forgotten, its totals move to the device `removed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.capture.device import Device
from exporter.capture.records import ZERO_TOTALS, DeviceTotals, minus, plus
from exporter.capture.totals import Totals

REMOVED = "removed"
"""The device that the totals of forgotten devices are shown under."""
UNREGISTERED_SLOT = 0

_BOTH = (0, 1)


class DeviceSlots:
    """The devices by name, those that have vanished too, until they are forgotten."""

    def __init__(self, totals: Totals) -> None:
        self.devices: dict[str, Device] = {}
        self._totals = totals
        self._free = list(range(totals.device_slots - 1, UNREGISTERED_SLOT, -1))
        self._last = UNREGISTERED_SLOT
        self._removed = [ZERO_TOTALS, ZERO_TOTALS]

    def used(self) -> list[int]:
        """The slots of the totals that count, or ever did: what they hold is in the fold."""
        return list(range(UNREGISTERED_SLOT, self._last + 1))

    def take(self, name: str, wall_s: float) -> Device | None:
        """A new device; None where there are too many. The longest vanished one makes room."""
        if not self._free:
            vanished = [device for device in self.devices.values() if device.ifindex == 0]
            if not vanished:
                return None
            self.forget(min(vanished, key=lambda device: device.vanished_at_s))
        slot = self._free.pop()
        base = (ZERO_TOTALS, ZERO_TOTALS)
        if slot <= self._last:  # it was somebody else's
            base = (self._totals.read(slot, 0), self._totals.read(slot, 1))
        self._last = max(self._last, slot)
        device = self.devices[name] = Device(name, slot, base, wall_s)
        return device

    def forget(self, device: Device) -> None:
        """Its totals move to those of removed devices, and its slot is free again."""
        for direction in _BOTH:
            self._add_to_removed(direction, self.totals_of(device, direction))
        self._free.append(device.slot)
        del self.devices[device.name]

    def totals_of(self, device: Device, direction: int) -> DeviceTotals:
        """What was counted on a device."""
        return minus(self._totals.read(device.slot, direction), device.base[direction])

    def totals_of_removed(self, direction: int) -> DeviceTotals:
        """What was counted on devices that are forgotten, or not known yet."""
        return plus(self._totals.read(UNREGISTERED_SLOT, direction), self._removed[direction])

    def explain(self, direction: int, packets: int, wire_bytes: int) -> None:
        """Adds what is known to have been counted, and on no device that is known."""
        self._add_to_removed(direction, ZERO_TOTALS._replace(packets=packets, bytes=wire_bytes))

    def _add_to_removed(self, direction: int, totals: DeviceTotals) -> None:
        self._removed[direction] = plus(self._removed[direction], totals)

    def carried(self, direction: int) -> DeviceTotals:
        """What other maps than this one have counted."""
        carried = self._removed[direction]
        held = {UNREGISTERED_SLOT}
        for device in self.devices.values():
            carried = minus(carried, device.base[direction])
            held.add(device.slot)
        for slot in self.used():
            if slot not in held:  # it counts no longer, and what it did is among the removed
                carried = minus(carried, self._totals.read(slot, direction))
        return carried

    def state(self) -> dict[str, Any]:
        """What `restore` and `add_drained` take, for JSON."""
        return {
            "removed": self._removed,
            "read": [[self._totals.read(slot, each) for each in _BOTH] for slot in self.used()],
            "devices": [
                {
                    "name": device.name,
                    "slot": device.slot,
                    "base": device.base,
                    "created_s": device.created_s,
                    "driver": [device.driver_packets(each) for each in _BOTH],
                }
                for device in self.devices.values()
            ],
        }

    def restore(self, state: Mapping[str, Any], now_s: float, *, same_map: bool = False) -> None:
        """Goes on from what another process counted. Every device has vanished until it is found.

        *now_s*: monotonic. *same_map*: the totals are those that it counted with.
        """
        for direction in _BOTH:
            self._add_to_removed(direction, DeviceTotals(*state["removed"][direction]))
            if not same_map:
                unregistered = DeviceTotals(*state["read"][UNREGISTERED_SLOT][direction])
                self._add_to_removed(direction, unregistered)
        if same_map:
            self._last = len(state["read"]) - 1
        for known in state["devices"]:
            base = tuple(DeviceTotals(*each) for each in known["base"])
            if same_map:
                self._free.remove(known["slot"])
                device = Device(known["name"], known["slot"], (base[0], base[1]), 0.0)
                self.devices[device.name] = device
            else:
                read = [DeviceTotals(*each) for each in state["read"][known["slot"]]]
                counted = (minus(read[0], base[0]), minus(read[1], base[1]))
                taken = self.take(known["name"], 0.0)
                if taken is None:
                    for direction in _BOTH:
                        self._add_to_removed(direction, counted[direction])
                    continue
                device = taken
                device.base = (minus(device.base[0], counted[0]), minus(device.base[1], counted[1]))
            device.created_s = known["created_s"]
            device.driver_before = (known["driver"][0], known["driver"][1])
            device.vanished_at_s = now_s

    def add_drained(
        self, state: Mapping[str, Any], totals: Mapping[tuple[int, int], DeviceTotals]
    ) -> None:
        """Adds what the maps of a state have counted since. *totals*: by slot and direction."""
        names = {known["slot"]: known["name"] for known in state["devices"]}
        for (slot, direction), now in totals.items():
            then = state["read"][slot][direction] if slot < len(state["read"]) else ZERO_TOTALS
            counted = minus(now, DeviceTotals(*then))
            device = self.devices.get(names.get(slot, ""))
            if device is None:
                self._add_to_removed(direction, counted)
            else:
                base = list(device.base)
                base[direction] = minus(base[direction], counted)
                device.base = (base[0], base[1])


class SharedSlot(DeviceSlots):
    """The devices that are not counted: all have the slot of what is not registered."""

    def take(self, name: str, wall_s: float) -> Device | None:
        """A new device."""
        base = (ZERO_TOTALS, ZERO_TOTALS)
        device = self.devices[name] = Device(name, UNREGISTERED_SLOT, base, wall_s)
        return device

    def forget(self, device: Device) -> None:
        """Nothing was counted on it."""
        del self.devices[device.name]
