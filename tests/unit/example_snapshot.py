"""A snapshot with something in every field, for the tests of what is made of one."""

from __future__ import annotations

from exporter.counts.snapshot import Attachment, Count, DeviceCounts, DomainCounts, Snapshot
from exporter.outputs.metrics import BuildInfo

BUILD = BuildInfo(version="1.2.3", revision="0123abc", bcc="0.26.0", kernel="6.1.0-49-amd64")

SNAPSHOT = Snapshot(
    folded_at_s=1_800_000_100.25,
    created_s=1_800_000_000.5,
    domains=(
        DomainCounts("ingress", "example.org", 12, 3_400, 1, 1_800_000_050.125),
        DomainCounts(
            "ingress", "unknown", 9_007_199_254_740_991, 123_456_789_012, 0, 1_800_000_000.5
        ),
        DomainCounts("egress", "example.org", 7, 800, 2, 1_800_000_050.125),
        DomainCounts("egress", "unknown", 0, 0, 0, 1_800_000_000.5),
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
    dropped_events=6,
    flow_table_entries=4_711,
    flow_table_limit=50_000,
    kernel_memory_bytes=9_699_328,
    stacked_interfaces=1,
)
