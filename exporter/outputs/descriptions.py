"""The list of metrics, in the order in which /metrics shows them."""

from __future__ import annotations

from typing import Literal, NamedTuple

RATES = "rates"
"""Not a row's family: worked out from the history."""
LOOKUPS = "lookups"
"""The histogram that `dns_lookups` and `dns` make."""
FOLDED_AT = "folded_at"

Unit = Literal["", "bytes", "seconds"]


class Entry(NamedTuple):
    """A metric, and where its values come from."""

    kind: Literal["counter", "gauge", "histogram"]
    source: str
    """A family of exporter.counts.rows, or one of the words above."""
    value: int
    """Which of the row's values."""
    name: str
    """Without `_total`."""
    labels: tuple[str, ...]
    """The first labels of the row."""
    otlp_unit: str
    help: str

    @property
    def unit(self) -> Unit:
        """As OpenMetrics means it: the end of the name."""
        last = self.name.rpartition("_")[2]
        if last == "bytes":
            return "bytes"
        return "seconds" if last == "seconds" else ""

    @property
    def has_added_labels(self) -> bool:
        """Whether metrics.labels adds to its labels."""
        return self.source in ("domain", RATES)


_DOMAIN = ("direction", "domain")
_DEVICE = ("device", "direction")
_DIRECTION = ("direction",)

ENTRIES = (
    Entry(
        *("counter", "domain", 0, "ayaflow_packets", _DOMAIN, "{packet}"),
        "Packets of each domain as they pass the wire: a super-packet counts as its segments.",
    ),
    Entry(
        *("counter", "domain", 1, "ayaflow_bytes", _DOMAIN, "By"),
        "Bytes of each domain on the wire, with the L2 header.",
    ),
    Entry(
        *("gauge", "domain", 2, "ayaflow_active_connections", _DOMAIN, "{connection}"),
        "Flows seen within the idle timeout and not closed. "
        "The direction says who opened them: egress is this node.",
    ),
    Entry(
        *("gauge", RATES, 0, "ayaflow_packets_per_second", _DOMAIN, "{packet/s}"),
        "Packets of each domain a second, as the mean over the last minute.",
    ),
    Entry(
        *("gauge", RATES, 1, "ayaflow_bytes_per_second", _DOMAIN, "{By/s}"),
        "Bytes of each domain a second, as the mean over the last minute.",
    ),
    Entry(
        *("counter", "interface", 0, "ayaflow_interface_packets", _DEVICE, "{packet}"),
        "Packets that the kernel program counted on the wire: exact, whatever their flows.",
    ),
    Entry(
        *("counter", "interface", 1, "ayaflow_interface_bytes", _DEVICE, "By"),
        "Bytes that the kernel program counted on the wire, with the L2 header: exact.",
    ),
    Entry(
        *("counter", "interface", 2, "ayaflow_interface_driver_packets", _DEVICE, "{packet}"),
        "Packets that the driver counted while attached, super-packets as one: more than "
        "ayaflow_interface_packets_total is traffic that no tc program sees.",
    ),
    Entry(
        *("counter", "interface", 3, "ayaflow_flow_table_overflow_packets", _DEVICE, "{packet}"),
        "Packets of flows that found no room in the flow table: counted as domain unknown.",
    ),
    Entry(
        *("gauge", "attached", 0, "ayaflow_attached", (*_DEVICE, "mode"), ""),
        "1 where the programs count, 0 where an interface is not being counted.",
    ),
    Entry(
        *("gauge", "attached", 1, "ayaflow_programs_before", _DEVICE, "{program}"),
        "Programs of others that see a packet before ours, and could hide it.",
    ),
    Entry(
        *("gauge", "unfolded", 1, "ayaflow_pending_bytes", _DIRECTION, "By"),
        "Bytes seen, but held until their domain is known.",
    ),
    Entry(
        *("gauge", "unfolded", 0, "ayaflow_pending_packets", _DIRECTION, "{packet}"),
        "Packets seen, but held until their domain is known.",
    ),
    Entry(
        *("gauge", "unfolded", 3, "ayaflow_unaccounted_bytes", _DIRECTION, "By"),
        "Bytes that no domain explains: 0 at rest.",
    ),
    Entry(
        *("gauge", "unfolded", 2, "ayaflow_unaccounted_packets", _DIRECTION, "{packet}"),
        "Packets that no domain explains: 0 at rest.",
    ),
    Entry(
        *("counter", "direction", 0, "ayaflow_evicted_packets", _DIRECTION, "{packet}"),
        "Packets that series had counted which have left the budget.",
    ),
    Entry(
        *("counter", "direction", 1, "ayaflow_evicted_bytes", _DIRECTION, "By"),
        "Bytes that series had counted which have left the budget.",
    ),
    Entry(
        *("counter", "exporter", 0, "ayaflow_domains_evicted", (), "{domain}"),
        "Times that a domain lost its series: to a heavier one, because it was idle, or by new "
        "settings.",
    ),
    Entry(
        *("counter", "direction", 2, "ayaflow_unexpected_bytes", _DIRECTION, "By"),
        "Bytes of domains outside of domains.expected; 0 without that setting.",
    ),
    Entry(
        *("counter", "attributed", 0, "ayaflow_attributed_bytes", ("direction", "source"), "By"),
        "Bytes by how their domain was known; none is the blind spot.",
    ),
    Entry(
        *("counter", "names", 0, "ayaflow_domains_resolved", ("source",), "{name}"),
        "Names learned from payloads.",
    ),
    Entry(
        *("counter", "inspected", 0, "ayaflow_deep_inspect_packets", ("protocol",), "{packet}"),
        "Payloads read.",
    ),
    Entry(
        *("counter", "inspected", 1, "ayaflow_parse_errors", ("protocol",), "{error}"),
        "Messages in payloads that were broken, or named what is no host name.",
    ),
    Entry(
        *("counter", "dns_queries", 0, "ayaflow_dns_queries", ("qtype",), "{query}"),
        "DNS queries by question type.",
    ),
    Entry(
        *("counter", "dns_responses", 0, "ayaflow_dns_responses", ("rcode",), "{response}"),
        "First responses to DNS queries, by response code.",
    ),
    Entry(
        *("counter", "dns", 0, "ayaflow_dns_timeouts", (), "{query}"),
        "DNS queries without a response in 5 seconds.",
    ),
    Entry(
        *("histogram", LOOKUPS, 0, "ayaflow_dns_lookup_duration_seconds", (), "s"),
        "From a DNS query to its first response.",
    ),
    Entry(
        *("counter", "ring", 0, "ayaflow_ring_dropped_events", ("ring",), "{event}"),
        "Events that found their ring full: the next sweep finds the flow, and no count is "
        "lost, but a name in a payload may be.",
    ),
    Entry(
        *("counter", "history_errors", 0, "ayaflow_history_errors", ("reason",), "{error}"),
        "Times that the history could not be used as it should: 0 at rest.",
    ),
    Entry(
        *("counter", "http_requests", 0, "ayaflow_http_requests", ("code",), "{request}"),
        "HTTP requests by the code of their response; none: left or timed out before it was whole.",
    ),
    Entry(
        *("counter", "otlp_exports", 0, "ayaflow_otlp_exports", ("result",), "{request}"),
        "OTLP requests by how they ended: accepted, partial (some points rejected) or dropped.",
    ),
    Entry(
        *("counter", "otlp_failures", 0, "ayaflow_otlp_export_failures", ("reason",), "{failure}"),
        "Tries to push that failed, most of them repeated; expired: intervals that were given up.",
    ),
    Entry(
        *("gauge", "otlp", 0, "ayaflow_otlp_backlog_seconds", (), "s"),
        "How old the oldest interval is that waits to be pushed.",
    ),
    Entry(
        *("gauge", "resources", 0, "ayaflow_flow_table_entries", (), "{flow}"),
        "Flows in the flow table.",
    ),
    Entry(
        *("gauge", "resources", 1, "ayaflow_flow_table_limit", (), "{flow}"),
        "Flows that the flow table is made for (flows.max).",
    ),
    Entry(
        *("gauge", "resources", 2, "ayaflow_kernel_memory_bytes", (), "By"),
        "Kernel memory of the maps and rings.",
    ),
    Entry(
        *("gauge", FOLDED_AT, 0, "ayaflow_last_fold_timestamp_seconds", (), "s"),
        "When these counts were read from the kernel, since the epoch.",
    ),
    Entry(
        *("gauge", "config", 0, "ayaflow_config_last_reload_successful", (), ""),
        "1 where the configuration in use is the one that was read last, 0 where that was wrong.",
    ),
    Entry(
        *("gauge", "config", 1, "ayaflow_config_last_reload_success_timestamp_seconds", (), "s"),
        "When the configuration in use was read, since the epoch.",
    ),
    Entry(
        *("gauge", "resources", 3, "ayaflow_stacked_interfaces", (), "{interface}"),
        "Counted interfaces that lie on top of another counted one: packets count twice there.",
    ),
    Entry(
        *("counter", "process", 0, "process_cpu_seconds", (), "s"),
        "Total user and system CPU time spent in seconds.",
    ),
    Entry(
        *("gauge", "process", 1, "process_resident_memory_bytes", (), "By"),
        "Resident memory size in bytes.",
    ),
)
