"""Learns names from payloads, and gives each flow the best that is known of it.

Strongest evidence first: what the connection itself states (TLS, QUIC, HTTP); what its client was
told by DNS; what anybody on the node was told, while that is unambiguous. A connection may state
its name a moment after it opens, so each flow is pending for a grace period: a statement decides
at once, else DNS does when the period is over, as of the time when the flow opened. A statement
that comes later still counts, for what follows it.

Slots are of the flow table; times in seconds of CLOCK_BOOTTIME. Every table here is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from exporter.capture.records import FLOW_OPENER, Flow, Payload
from exporter.names.attribution import (
    DNS,
    DNS_NODE,
    HTTP,
    NONE,
    QUIC,
    TLS,
    Inspected,
    Verdict,
)
from exporter.names.dns_answer import maybe_resolution
from exporter.names.dns_health import DnsHealth, DnsHealthCounts
from exporter.names.dns_names import DnsNames
from exporter.names.domains import UNKNOWN
from exporter.names.inspection import DnsSeen, Finding, Inspection
from exporter.names.policy import Policy

PENDING_MAX = 20_000
"""Flows that wait for a statement, some 10 MB of them. In a flood of new flows DNS decides at
once.
"""

CONNECTIONS_MAX = 4_096
"""Connections whose statement is remembered for the flow of the answers, which may open later."""

_PORT_DNS = 53


class _Pending(NamedTuple):
    flow: Flow
    connection: _Connection
    until_s: float


class Learning:
    """An Attribution by what payloads say."""

    def __init__(
        self,
        inspection: Inspection,
        dns_names: DnsNames,
        health: DnsHealth,
        policy: Policy,
        grace_s: float,
    ) -> None:
        """*grace_s*: how long a flow may wait for a statement."""
        self._learned = dict.fromkeys((DNS, TLS, QUIC, HTTP), 0)
        self._health = health
        self._policy = policy
        self._inspection = inspection
        self._dns_names = dns_names
        self._grace_s = grace_s
        self._pending: OrderedDict[int, _Pending] = OrderedDict()
        self._waiting: dict[_Connection, list[int]] = {}
        self._stated: OrderedDict[_Connection, tuple[str, str]] = OrderedDict()

    def opened(self, flow: Flow, now_s: float) -> Verdict | None:
        """What is known of a flow as it opens; None: it is pending, and gets its verdict later."""
        if _PORT_DNS in (flow.source_port, flow.destination_port):
            return Verdict(flow.slot, UNKNOWN, NONE)
        connection = _connection(flow)
        stated = self._stated.get(connection)
        if stated is not None:
            return self._verdict(flow.slot, *stated)
        if len(self._pending) >= PENDING_MAX:
            return self._by_dns(flow, now_s)
        self._pending[flow.slot] = _Pending(flow, connection, now_s + self._grace_s)
        self._waiting.setdefault(connection, []).append(flow.slot)
        return None

    def learned(self) -> tuple[tuple[str, int], ...]:
        """Names learned so far, by source."""
        return tuple(self._learned.items())

    def inspected(self) -> tuple[Inspected, ...]:
        """What was read, by protocol."""
        packets, errors = self._inspection.packets, self._inspection.errors
        return tuple(Inspected(each, packets[each], errors[each]) for each in packets)

    def dns_health(self, now_s: float) -> DnsHealthCounts | None:
        """How DNS fares."""
        return self._health.snapshot(now_s)

    def read(self, payload: Payload) -> list[Verdict]:
        """Takes in what a payload says, and returns the flows that are decided by it."""
        verdicts: list[Verdict] = []
        for seen in self._inspection.read(payload):
            if isinstance(seen, Finding):
                verdicts += self._stated_by(seen)
            else:
                self._hear(seen)
        return verdicts

    def _hear(self, seen: DnsSeen) -> None:
        """Learns from the answer to a question that was heard too: nobody can slip in another."""
        payload, message = seen
        client, client_port, server = payload.source, payload.source_port, payload.destination
        if message.is_response:
            client, client_port, server = server, payload.destination_port, client
        heard_s = payload.boot_ns / 1e9
        if self._health.see(message, client, client_port, server, heard_s):
            resolution = maybe_resolution(message)
            if resolution is not None:
                self._learned[DNS] += 1
                self._dns_names.learn(resolution, client, heard_s)

    def _stated_by(self, finding: Finding) -> list[Verdict]:
        if finding.name is None:
            return []
        self._learned[finding.source] += 1
        connection = _connection(finding.payload)
        self._stated.pop(connection, None)
        self._stated[connection] = (finding.name, finding.source)
        if len(self._stated) > CONNECTIONS_MAX:
            self._stated.popitem(last=False)
        slots = {finding.payload.slot, *self._waiting.pop(connection, ())}
        for slot in slots:
            self._pending.pop(slot, None)
        return [self._verdict(slot, finding.name, finding.source) for slot in slots]

    def due(self, now_s: float) -> list[Verdict]:
        """The flows whose grace period is over."""
        verdicts: list[Verdict] = []
        while self._pending:
            slot, pending = next(iter(self._pending.items()))
            if pending.until_s > now_s:
                break
            verdicts += self.closed(slot)
        return verdicts

    def closed(self, slot: int) -> list[Verdict]:
        """The verdict on a flow that waits no longer; none if it has one already."""
        pending = self._pending.pop(slot, None)
        if pending is None:
            return []
        waiting = self._waiting.get(pending.connection)
        if waiting is not None:
            waiting.remove(slot)
            if not waiting:
                del self._waiting[pending.connection]
        return [self._by_dns(pending.flow, pending.until_s - self._grace_s)]

    def _by_dns(self, flow: Flow, opened_s: float) -> Verdict:
        client, server = flow.source, flow.destination
        if not flow.flags & FLOW_OPENER:
            client, server = server, client
        name = self._dns_names.name_for(client, server, opened_s)
        if name is not None:
            return self._verdict(flow.slot, name, DNS)
        name = self._dns_names.node_name_for(server, opened_s)
        if name is not None:
            return self._verdict(flow.slot, name, DNS_NODE)
        return Verdict(flow.slot, UNKNOWN, NONE)

    def _verdict(self, slot: int, name: str, source: str) -> Verdict:
        domain, is_expected = self._policy.judge(name)
        return Verdict(slot, domain, source, is_expected)


_Connection = tuple[int, int, tuple[bytes, int], tuple[bytes, int]]


def _connection(flow: Flow | Payload) -> _Connection:
    """The same for both directions."""
    source = (flow.source, flow.source_port)
    destination = (flow.destination, flow.destination_port)
    if source > destination:
        source, destination = destination, source
    return (flow.device_slot, flow.protocol, source, destination)
