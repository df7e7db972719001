"""One snapshot as metric families, and these as the two formats that a scrape can ask for.

    Snapshot ──► SnapshotCollector ──► prometheus_client ──► text 0.0.4 or OpenMetrics 1.0.0

Names, labels and types are a promise to every dashboard and rule. Nothing is kept from one scrape
to the next: a counter is what the snapshot says, and a series that it no longer has is gone.

Start times (`_created`) are shown in OpenMetrics only. prometheus_client would add them to the text
format as gauges of their own, which look like measurements and are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from prometheus_client import (
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.counts.snapshot import DIRECTIONS, Attachment, DeviceCounts, DomainCounts, Snapshot
from exporter.outputs.families import Counters
from exporter.outputs.name_metrics import name_families

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """What runs: the labels of `ayaflow_build_info`."""

    version: str
    revision: str
    bcc: str
    kernel: str


def render(snapshot: Snapshot, build: BuildInfo, content_type: str) -> bytes:
    """The whole answer to a scrape, in the format that `content_type` names (TEXT, OPENMETRICS).

    Besides the snapshot it shows what every Python exporter does of its process, from /proc/self.
    """
    openmetrics = content_type == OPENMETRICS
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(snapshot, build, start_times=openmetrics))
    registry.register(PROCESS_COLLECTOR)
    registry.register(PLATFORM_COLLECTOR)
    if openmetrics:
        return bytes(generate_openmetrics(registry))  # type: ignore[no-untyped-call]
    return generate_latest(registry)


class SnapshotCollector:
    """A snapshot as prometheus_client's families, in a fixed order."""

    def __init__(self, snapshot: Snapshot, build: BuildInfo, *, start_times: bool) -> None:
        self._snapshot = snapshot
        self._build = build
        self._counter = Counters(start_times=start_times).family

    def collect(self) -> Iterator[Metric]:
        """Every `ayaflow_` family, the domains' first."""
        yield from self._domains(self._snapshot.domains)
        yield from self._devices(self._snapshot.devices)
        yield from self._attachments(self._snapshot.attachments)
        yield from self._not_yet_named()
        yield from name_families(self._snapshot, self._counter)
        yield from self._resources()
        yield InfoMetricFamily(
            "ayaflow_build",
            "The exporter's version and commit, and the BCC and kernel it runs on.",
            value=asdict(self._build),
        )

    def _domains(self, domains: tuple[DomainCounts, ...]) -> Iterator[Metric]:
        labels = ("direction", "domain", *self._snapshot.label_names)
        yield self._counter(
            "ayaflow_packets",
            "Packets of each domain as they pass the wire: a super-packet counts as its segments.",
            labels,
            (((d.direction, d.domain, *d.labels), d.packets, d.created_s) for d in domains),
        )
        yield self._counter(
            "ayaflow_bytes",
            "Bytes of each domain on the wire, with the L2 header.",
            labels,
            (((d.direction, d.domain, *d.labels), d.bytes, d.created_s) for d in domains),
            unit="bytes",
        )
        active = GaugeMetricFamily(
            "ayaflow_active_connections",
            "Flows seen within the idle timeout and not closed. "
            "The direction says who opened them: egress is this node.",
            labels=labels,
        )
        for d in domains:
            active.add_metric((d.direction, d.domain, *d.labels), d.active_connections)
        yield active

    def _devices(self, devices: tuple[DeviceCounts, ...]) -> Iterator[Metric]:
        labels = ("device", "direction")
        yield self._counter(
            "ayaflow_interface_packets",
            "Packets that the kernel program counted on the wire: exact, whatever their flows.",
            labels,
            (((d.device, d.direction), d.packets, d.created_s) for d in devices),
        )
        yield self._counter(
            "ayaflow_interface_bytes",
            "Bytes that the kernel program counted on the wire, with the L2 header: exact.",
            labels,
            (((d.device, d.direction), d.bytes, d.created_s) for d in devices),
            unit="bytes",
        )
        yield self._counter(
            "ayaflow_interface_driver_packets",
            "Packets that the driver counted while attached, super-packets as one: more than "
            "ayaflow_interface_packets_total is traffic that no tc program sees.",
            labels,
            (((d.device, d.direction), d.driver_packets, d.created_s) for d in devices),
        )
        yield self._counter(
            "ayaflow_flow_table_overflow_packets",
            "Packets of flows that found no room in the flow table: counted as domain unknown.",
            labels,
            (((d.device, d.direction), d.overflow_packets, d.created_s) for d in devices),
        )

    def _attachments(self, attachments: tuple[Attachment, ...]) -> Iterator[Metric]:
        attached = GaugeMetricFamily(
            "ayaflow_attached",
            "1 where the programs count, 0 where an interface is not being counted.",
            labels=("device", "direction", "mode"),
        )
        before = GaugeMetricFamily(
            "ayaflow_programs_before",
            "Programs of others that see a packet before ours, and could hide it.",
            labels=("device", "direction"),
        )
        for a in attachments:
            attached.add_metric((a.device, a.direction, a.mode), int(a.attached))
            before.add_metric((a.device, a.direction), a.programs_before)
        yield attached
        yield before

    def _not_yet_named(self) -> Iterator[Metric]:
        for stem, what, counts in (
            ("pending", "seen, but held until their domain is known", self._snapshot.pending),
            ("unaccounted", "that no domain explains: 0 at rest", self._snapshot.unaccounted),
        ):
            in_bytes = GaugeMetricFamily(
                f"ayaflow_{stem}_bytes", f"Bytes {what}.", labels=("direction",), unit="bytes"
            )
            in_packets = GaugeMetricFamily(
                f"ayaflow_{stem}_packets", f"Packets {what}.", labels=("direction",)
            )
            for direction, count in zip(DIRECTIONS, counts, strict=True):
                in_bytes.add_metric((direction,), count.bytes)
                in_packets.add_metric((direction,), count.packets)
            yield in_bytes
            yield in_packets

    def _resources(self) -> Iterator[Metric]:
        s = self._snapshot
        yield self._counter(
            "ayaflow_ring_dropped_events",
            "Events that found their ring full: the next sweep finds the flow, and no count is "
            "lost, but a name in a payload may be.",
            ("ring",),
            (((ring,), dropped, s.created_s) for ring, dropped in s.dropped_events),
        )
        yield GaugeMetricFamily(
            "ayaflow_flow_table_entries", "Flows in the flow table.", value=s.flow_table_entries
        )
        yield GaugeMetricFamily(
            "ayaflow_flow_table_limit",
            "Flows that the flow table is made for (flows.max).",
            value=s.flow_table_limit,
        )
        yield GaugeMetricFamily(
            "ayaflow_kernel_memory_bytes",
            "Kernel memory of the maps and rings.",
            value=s.kernel_memory_bytes,
            unit="bytes",
        )
        yield GaugeMetricFamily(
            "ayaflow_last_fold_timestamp_seconds",
            "When these counts were read from the kernel, since the epoch.",
            value=s.folded_at_s,
            unit="seconds",
        )
        yield GaugeMetricFamily(
            "ayaflow_stacked_interfaces",
            "Counted interfaces that lie on top of another counted one: packets count twice there.",
            value=s.stacked_interfaces,
        )
