"""One immutable picture of every count, taken at one moment; outputs see the rows that it makes.

Counts are in wire units: packets as they pass the wire, bytes with the L2 header. They are
cumulative since `created_s` (seconds since the epoch) of their series, and never decrease.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from exporter.names.attribution import Inspected
from exporter.names.dns_health import BOUNDS_S, DnsHealthCounts
from exporter.own_process import ProcessUsage

DIRECTIONS = ("ingress", "egress")
"""As seen from the interface; in the order of `enum flow_direction` in bpf/flow_events.h."""

DNS_LOOKUP_BOUNDS_S = BOUNDS_S
"""Upper bounds of DnsHealthCounts.lookups."""


class Count(NamedTuple):
    """Packets and bytes."""

    packets: int = 0
    bytes: int = 0


class DomainCounts(NamedTuple):
    """One domain in one direction."""

    direction: str
    domain: str
    labels: tuple[str, ...]
    """Values of the added labels, in the order of Snapshot.label_names."""
    packets: int
    bytes: int
    active_connections: int
    created_s: float


@dataclass(frozen=True, slots=True)
class AttributedBytes:
    """Bytes of one direction whose domain was known in one way."""

    direction: str
    source: str
    """tls, quic, http, dns, dns_node or none."""
    bytes: int


@dataclass(frozen=True, slots=True)
class DeviceCounts:
    """What the kernel program counted on one device in one direction, and what its driver did."""

    device: str
    direction: str
    packets: int
    bytes: int
    overflow_packets: int
    driver_packets: int
    created_s: float


@dataclass(frozen=True, slots=True)
class Attachment:
    """Where the programs are, or should be."""

    device: str
    direction: str
    mode: str
    """`tcx`, `clsact`, or `none` where the device could not be attached."""
    attached: bool
    programs_before: int
    """How many other programs see a packet before ours and could hide it."""


@dataclass(frozen=True, slots=True)
class OtlpCounts:
    """How pushing goes."""

    exports: tuple[tuple[str, int], ...]
    """Requests that are over, by how they ended: accepted, partial or dropped."""
    failures: tuple[tuple[str, int], ...]
    """Tries that failed, and intervals that were given up, by reason."""
    backlog_s: float
    """How old the oldest interval is that waits to be pushed; 0 where none does."""


@dataclass(frozen=True, slots=True)
class Reloads:
    """How the configuration was read last."""

    succeeded: bool = True
    succeeded_at_s: float = 0.0
    """When it was used last, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is counted. Pairs are (ingress, egress)."""

    folded_at_s: float
    """When the counts were read from the kernel, in seconds since the epoch."""
    created_s: float
    """When counting began, in seconds since the epoch."""
    label_names: tuple[str, ...]
    domains: tuple[DomainCounts, ...]
    devices: tuple[DeviceCounts, ...]
    attachments: tuple[Attachment, ...]
    pending: tuple[Count, Count]
    unaccounted: tuple[Count, Count]
    evicted: tuple[Count, Count]
    """What series that left had counted."""
    domains_evicted: int
    unexpected_bytes: tuple[int, int]
    """0 where nothing says what is expected."""
    attributed: tuple[AttributedBytes, ...]
    names_learned: tuple[tuple[str, int], ...]
    """By source: dns, tls, quic, http."""
    inspected: tuple[Inspected, ...]
    """Empty where payloads are not inspected."""
    dns: DnsHealthCounts | None
    """None where DNS is not listened to."""
    dropped_events: tuple[tuple[str, int], ...]
    """By ring: flow, payload."""
    flow_table_entries: int
    flow_table_limit: int
    kernel_memory_bytes: int
    stacked_interfaces: int
    process: ProcessUsage
    history_errors: tuple[tuple[str, int], ...] = ()
    """Times that its file could not be used, by reason."""
    http_requests: tuple[tuple[str, int], ...] = ()
    """By the code of the response."""
    reloads: Reloads = Reloads()
    otlp: OtlpCounts | None = None
    """None where nothing is pushed."""
