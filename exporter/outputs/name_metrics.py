"""The families that say how names are learnt, which of them are shown, and how DNS fares."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric

from exporter.counts.snapshot import DIRECTIONS, DNS_LOOKUP_BOUNDS_S, Snapshot
from exporter.outputs.families import MakeCounter


def name_families(snapshot: Snapshot, counter: MakeCounter) -> Iterator[Metric]:
    """All of them, in a fixed order."""
    yield from _budget(snapshot, counter)
    yield from _names(snapshot, counter)
    yield from _dns(snapshot, counter)


def _budget(s: Snapshot, counter: MakeCounter) -> Iterator[Metric]:
    by_direction = ("direction",)
    evicted = list(zip(DIRECTIONS, s.evicted, strict=True))
    yield counter(
        "ayaflow_evicted_packets",
        "Packets that series had counted which have left the budget.",
        by_direction,
        (((direction,), count.packets, s.created_s) for direction, count in evicted),
    )
    yield counter(
        "ayaflow_evicted_bytes",
        "Bytes that series had counted which have left the budget.",
        by_direction,
        (((direction,), count.bytes, s.created_s) for direction, count in evicted),
        unit="bytes",
    )
    yield counter(
        "ayaflow_domains_evicted",
        "Times that a domain lost its series, to a heavier one or because it was idle.",
        (),
        [((), s.domains_evicted, s.created_s)],
    )
    yield counter(
        "ayaflow_unexpected_bytes",
        "Bytes of domains outside of domains.expected; 0 without that setting.",
        by_direction,
        (
            ((direction,), count, s.created_s)
            for direction, count in zip(DIRECTIONS, s.unexpected_bytes, strict=True)
        ),
        unit="bytes",
    )


def _names(s: Snapshot, counter: MakeCounter) -> Iterator[Metric]:
    yield counter(
        "ayaflow_attributed_bytes",
        "Bytes by how their domain was known; none is the blind spot.",
        ("direction", "source"),
        (((each.direction, each.source), each.bytes, s.created_s) for each in s.attributed),
        unit="bytes",
    )
    yield counter(
        "ayaflow_domains_resolved",
        "Names learned from payloads.",
        ("source",),
        (((source,), count, s.created_s) for source, count in s.names_learned),
    )
    yield counter(
        "ayaflow_deep_inspect_packets",
        "Payloads read.",
        ("protocol",),
        (((each.protocol,), each.packets, s.created_s) for each in s.inspected),
    )
    yield counter(
        "ayaflow_parse_errors",
        "Messages in payloads that were broken, or named what is no host name.",
        ("protocol",),
        (((each.protocol,), each.errors, s.created_s) for each in s.inspected),
    )


def _dns(s: Snapshot, counter: MakeCounter) -> Iterator[Metric]:
    dns, created_s = s.dns, s.created_s
    if dns is None:
        return
    yield counter(
        "ayaflow_dns_queries",
        "DNS queries by question type.",
        ("qtype",),
        (((qtype,), count, created_s) for qtype, count in dns.queries),
    )
    yield counter(
        "ayaflow_dns_responses",
        "First responses to DNS queries, by response code.",
        ("rcode",),
        (((rcode,), count, created_s) for rcode, count in dns.responses),
    )
    yield counter(
        "ayaflow_dns_timeouts",
        "DNS queries without a response in 5 seconds.",
        (),
        [((), dns.timeouts, created_s)],
    )
    bounds = [*map(str, DNS_LOOKUP_BOUNDS_S), "+Inf"]
    below = [*accumulate(dns.lookups), sum(dns.lookups)]
    lookups = HistogramMetricFamily(
        "ayaflow_dns_lookup_duration_seconds",
        "From a DNS query to its first response.",
        unit="seconds",
    )
    lookups.add_metric((), list(zip(bounds, below, strict=True)), dns.lookups_sum_s)
    yield lookups
