"""A snapshot with something in every field, for the tests of what is made of one."""

from __future__ import annotations

from exporter.counts.history import REASONS
from exporter.counts.rows import DOMAIN, Rates, Shown, rows_of
from exporter.counts.snapshot import (
    Attachment,
    AttributedBytes,
    Count,
    DeviceCounts,
    DomainCounts,
    Reloads,
    Snapshot,
)
from exporter.names.attribution import SOURCES, Inspected
from exporter.names.dns_health import BOUNDS_S, QTYPES, RCODES, DnsHealthCounts
from exporter.outputs.metrics import BuildInfo
from exporter.outputs.server import CODES
from exporter.own_process import ProcessUsage

BUILD = BuildInfo(version="1.2.3", revision="0123abc", bcc="0.26.0", kernel="6.1.0-49-amd64")

DNS = DnsHealthCounts(
    queries=tuple((label, 100 + n) for n, label in enumerate((*QTYPES.values(), "other"))),
    responses=tuple((label, 200 + n) for n, label in enumerate((*RCODES.values(), "other"))),
    timeouts=31,
    outstanding=32,
    unwatched=33,
    unmatched=34,
    lookups=tuple(range(1, len(BOUNDS_S) + 1)),
    lookups_sum_s=12.75,
)

SNAPSHOT = Snapshot(
    folded_at_s=1_800_000_100.25,
    created_s=1_800_000_000.5,
    label_names=("role", "scope"),
    domains=(
        DomainCounts(
            "ingress", "example.org", ("client", "internet"), 12, 3_400, 1, 1_800_000_050.125
        ),
        DomainCounts(
            "ingress",
            "unknown",
            ("unknown", "unknown"),
            9_007_199_254_740_991,
            123_456_789_012,
            0,
            1_800_000_000.5,
        ),
        DomainCounts("egress", "example.org", ("client", "office"), 7, 800, 2, 1_800_000_050.125),
        DomainCounts("egress", "unknown", ("unknown", "unknown"), 0, 0, 0, 1_800_000_000.5),
    ),
    devices=(
        DeviceCounts("eth0", "ingress", 5_000_000, 7_000_000_000, 3, 4_999_999, 1_800_000_000.5),
        DeviceCounts("eth0", "egress", 8, 900, 0, 8, 1_800_000_000.5),
        DeviceCounts('wg"0\\', "ingress", 1, 60, 0, 1, 1_800_000_060.75),
        DeviceCounts('wg"0\\', "egress", 0, 0, 0, 0, 1_800_000_060.75),
    ),
    attachments=(
        Attachment("eth0", "ingress", "tcx", attached=True, programs_before=0),
        Attachment("eth0", "egress", "tcx", attached=True, programs_before=2),
        Attachment('wg"0\\', "ingress", "none", attached=False, programs_before=0),
        Attachment('wg"0\\', "egress", "none", attached=False, programs_before=0),
    ),
    pending=(Count(packets=4, bytes=560), Count(packets=1, bytes=100)),
    unaccounted=(Count(), Count()),
    evicted=(Count(packets=21, bytes=2_200), Count(packets=23, bytes=2_400)),
    domains_evicted=5,
    unexpected_bytes=(1_300, 1_400),
    attributed=tuple(
        AttributedBytes(direction, source, 1_000 * n + at)
        for n, direction in enumerate(("ingress", "egress"), 1)
        for at, source in enumerate(SOURCES)
    ),
    names_learned=(("dns", 41), ("tls", 42), ("quic", 43), ("http", 44)),
    inspected=(
        Inspected("dns", 51, 61),
        Inspected("tls", 52, 62),
        Inspected("quic", 53, 63),
        Inspected("http", 54, 64),
    ),
    dns=DNS,
    dropped_events=(("flow", 6), ("payload", 7)),
    flow_table_entries=4_711,
    flow_table_limit=50_000,
    kernel_memory_bytes=9_699_328,
    stacked_interfaces=1,
    process=ProcessUsage(cpu_s=12.25, resident_bytes=25_165_824, started_s=1_800_000_001.5),
    history_errors=tuple((reason, n) for n, reason in enumerate(REASONS, 71)),
    http_requests=tuple((code, n) for n, code in enumerate(CODES, 81)),
    reloads=Reloads(succeeded=False, succeeded_at_s=1_800_000_007.5),
)

RATES: Rates = {
    ("ingress", "example.org", "client", "internet"): (0.1, 28.25),
    ("ingress", "unknown", "unknown", "unknown"): (1_000_000.0, 125_000_000.5),
    ("egress", "example.org", "client", "office"): (0.05, 6.5),
    ("egress", "unknown", "unknown", "unknown"): (0.0, 0.0),
}


def shown(snapshot: Snapshot) -> Shown:
    """What a scrape has of it."""
    rows = rows_of(snapshot)
    rates = {row.labels: RATES.get(row.labels, (0.0, 0.0)) for row in rows if row.family == DOMAIN}
    return Shown(snapshot.folded_at_s, rows, rates)


SHOWN = shown(SNAPSHOT)
