"""The counting: moves what the kernel has counted into the fold, and draws snapshots of it.

Everything here runs in one thread, so nothing needs a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from exporter import own_process
from exporter.capture.closing import Closing
from exporter.capture.device_slots import REMOVED, DeviceSlots
from exporter.capture.records import FLOW_EVENT_NEW, ZERO_TOTALS, DeviceTotals, decode_flow
from exporter.clock import Now
from exporter.counts.fold import Fold
from exporter.counts.snapshot import DIRECTIONS, Attachment, Count, DeviceCounts, Snapshot
from exporter.kernel import Kernel
from exporter.names.attribution import Attribution, Verdict

_BOTH = range(len(DIRECTIONS))
_NOTHING = Count()


class Counting:
    """Events, sweeps, closings and snapshots, each when the loop says so."""

    def __init__(
        self,
        kernel: Kernel,
        closing: Closing,
        attribution: Attribution,
        fold: Fold,
        created_s: float,
    ) -> None:
        """*created_s*: when counting began, in seconds since the epoch."""
        self._kernel = kernel
        self._closing = closing
        self._attribution = attribution
        self._fold = fold
        self._created_s = created_s
        self._folded_at_s = created_s
        self._folded_totals: dict[tuple[int, int], DeviceTotals] = {}
        self._unaccounted = (_NOTHING, _NOTHING)

    @property
    def slots(self) -> DeviceSlots:
        """What was counted on which device."""
        return self._kernel.interfaces.slots

    def reconcile(self, now: Now) -> None:
        """What the fold does not explain after all is unknown, or was counted on no known device:
        for a start over maps whose last counts were not committed.
        """
        self.sweep(now)
        for direction, gap in enumerate(self._unaccounted):
            self._fold.add_unnamed(direction, max(0, gap.packets), max(0, gap.bytes))
            self.slots.explain(direction, max(0, -gap.packets), max(0, -gap.bytes))

    def look(self, now: Now) -> bool:
        """What is done before anything else: idle flows go, events are taken in, and what was
        pending for long enough is decided. Whether it is worth looking again soon: something came,
        or waits for a name.
        """
        self.close_idle(now)
        came = self.drain(now)
        self.decide_due(now)
        return came or self._attribution.is_waiting

    def drain(self, now: Now) -> bool:
        """Takes in the events of new and ended flows, then what payloads say of them. Whether there
        were any.
        """
        table, fold, attribution = self._kernel.table, self._fold, self._attribution
        events = self._kernel.ring.drain()
        for event in events:
            boot_ns, kind, slot, head, source, destination, ports, _, _, _ = event
            if kind != FLOW_EVENT_NEW:
                table.ended(slot)
                fold.ended(slot, now)
            elif table.announced(slot, head):
                flow = decode_flow(slot, head, source, destination, ports)
                fold.opened(flow)
                verdict = attribution.opened(flow, boot_ns / 1e9)
                if verdict is not None:
                    self._decide((verdict,), now)
        payloads = [] if self._kernel.payloads is None else self._kernel.payloads.drain()
        for payload in payloads:
            self._decide(attribution.read(payload), now)
        return bool(events or payloads)

    def decide_due(self, now: Now) -> None:
        """Decides on flows that have been pending for long enough."""
        self._decide(self._attribution.due(now.boot_s), now)

    def _decide(self, verdicts: Iterable[Verdict], now: Now) -> None:
        table = self._kernel.table
        for verdict in verdicts:
            if table.is_known(verdict.slot):
                self._fold.decide(verdict, table.folded(verdict.slot), now)

    def sweep(self, now: Now) -> bool:
        """Folds all that the kernel has counted; costs next to nothing where it counted nothing.
        Whether it counted anything.

        The totals are read before and after the flows. What was counted before the first reading
        must be explained, and no more than the second reading says. If known flows do not explain
        it, the whole table is looked at. What is missing then is unaccounted for, as it is when a
        run of the program was stopped between its totals and its flow.
        """
        before = self._read_totals()
        has_counted = before != self._folded_totals
        if has_counted:
            self.drain(now)
            self._sweep_table(now, only_known=not self._was_event_lost(before))
            for (slot, direction), totals in before.items():
                self._fold.add_without_flow(slot, direction, totals)
            self._folded_totals = before
        self._unaccounted = self._audit(before, self._read_totals())
        if self._unaccounted != (_NOTHING, _NOTHING):
            self._sweep_table(now, only_known=False)
            self._unaccounted = self._audit(before, self._read_totals())
        self._folded_at_s = now.wall_s
        return has_counted

    def _was_event_lost(self, totals: dict[tuple[int, int], DeviceTotals]) -> bool:
        """Whether there may be a flow that no event has announced: the ring was full since the last
        sweep, or this is the first, maybe of the table of another process.
        """
        known = self._folded_totals
        return not known or any(
            each.dropped_events != known.get(key, ZERO_TOTALS).dropped_events
            for key, each in totals.items()
        )

    def _sweep_table(self, now: Now, *, only_known: bool) -> None:
        for part in self._kernel.table.sweep(only_known=only_known):
            for flow in part.opened:
                self._fold.opened(flow)
            self._fold.add(part.changes, now)
            for flow in part.opened:
                verdict = self._attribution.opened(flow, now.boot_s)
                if verdict is not None:
                    self._decide((verdict,), now)
        self._fold.swept(now)

    def _read_totals(self) -> dict[tuple[int, int], DeviceTotals]:
        read = self._kernel.totals.read
        return {
            (slot, direction): read(slot, direction)
            for slot in self._kernel.interfaces.slots.used()
            for direction in _BOTH
        }

    def _audit(
        self,
        before: dict[tuple[int, int], DeviceTotals],
        after: dict[tuple[int, int], DeviceTotals],
    ) -> tuple[Count, Count]:
        ingress, egress = (
            _gap(_sum(before, direction), self._explained(direction), _sum(after, direction))
            for direction in _BOTH
        )
        return ingress, egress

    def _explained(self, direction: int) -> Count:
        explained = self._fold.explained(direction)
        carried = self.slots.carried(direction)
        return Count(explained.packets - carried.packets, explained.bytes - carried.bytes)

    def close_idle(self, now: Now) -> None:
        """Lets flows go that have been silent for too long."""
        self._closing.close_idle(now.boot_s)

    def settle(self, now: Now, commit: Callable[[Now], object] = lambda _: None) -> None:
        """Folds the last counts of flows whose grace period is over, and frees their slots, once
        *commit* has been called.
        """
        self.drain(now)
        for changes in self._closing.settle():
            self._fold.add(changes, now)
            for change in changes:
                self._decide(self._attribution.closed(change.slot, now.boot_s), now)
                self._fold.gone(change.slot, now)
        if self._closing.needs_commit:
            commit(now)
        self._closing.settled()

    @property
    def released_flows(self) -> int:
        """How many flows have left the table."""
        return self._closing.released

    def snapshot(self, now: Now) -> Snapshot:
        """All counts as of now."""
        kernel, fold = self._kernel, self._fold
        kernel.interfaces.see_drivers()
        self.sweep(now)
        totals = self._read_totals().values()
        return Snapshot(
            folded_at_s=self._folded_at_s,
            created_s=self._created_s,
            label_names=fold.label_names,
            domains=fold.domains(),
            devices=tuple(self._devices()),
            attachments=tuple(self._attachments()),
            pending=(fold.pending(0), fold.pending(1)),
            unaccounted=self._unaccounted,
            evicted=(fold.evicted(0), fold.evicted(1)),
            domains_evicted=fold.domains_evicted,
            unexpected_bytes=(fold.unexpected_bytes(0), fold.unexpected_bytes(1)),
            attributed=fold.attributed(),
            names_learned=self._attribution.learned(),
            inspected=self._attribution.inspected(),
            dns=self._attribution.dns_health(now.boot_s),
            dropped_events=(
                ("flow", sum(each.dropped_events for each in totals)),
                ("payload", sum(each.dropped_payloads for each in totals)),
            ),
            flow_table_entries=kernel.table.entries,
            flow_table_limit=kernel.flows_max,
            kernel_memory_bytes=kernel.memory_bytes,
            stacked_interfaces=kernel.interfaces.stacking.count,
            process=own_process.usage(),
        )

    def _devices(self) -> Iterator[DeviceCounts]:
        interfaces = self._kernel.interfaces
        for direction in _BOTH:
            for device in interfaces.devices.values():
                yield _device_counts(
                    device.name,
                    direction,
                    interfaces.totals_of(device, direction),
                    device.driver_packets(direction),
                    device.created_s,
                )
            removed = interfaces.slots.totals_of_removed(direction)
            if removed.packets:
                yield _device_counts(REMOVED, direction, removed, 0, self._created_s)

    def _attachments(self) -> Iterator[Attachment]:
        devices = [
            device
            for interfaces in self._kernel.all_interfaces()
            for device in interfaces.devices.values()
        ]
        for device in devices:
            for direction in _BOTH:
                yield Attachment(
                    device.name,
                    DIRECTIONS[direction],
                    device.attached.mode if device.attached else "none",
                    device.attached is not None,
                    device.programs_before[direction],
                )


def _device_counts(
    name: str, direction: int, totals: DeviceTotals, driver_packets: int, created_s: float
) -> DeviceCounts:
    return DeviceCounts(
        name,
        DIRECTIONS[direction],
        totals.packets,
        totals.bytes,
        totals.overflow_packets,
        driver_packets,
        created_s,
    )


def _sum(totals: dict[tuple[int, int], DeviceTotals], direction: int) -> Count:
    mine = [each for (_, its), each in totals.items() if its == direction]
    return Count(sum(each.packets for each in mine), sum(each.bytes for each in mine))


def _gap(low: Count, explained: Count, high: Count) -> Count:
    """How far *explained* lies outside of [low, high]: positive if too little is, negative if too
    much.
    """

    def outside(least: int, value: int, most: int) -> int:
        return max(0, least - value) + min(0, most - value)

    return Count(
        outside(low.packets, explained.packets, high.packets),
        outside(low.bytes, explained.bytes, high.bytes),
    )
