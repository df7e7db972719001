"""Learns names from payloads, and gives each flow the best that is known of it.

Strongest evidence first: what the connection itself states (TLS, QUIC, HTTP); what its client was
told by DNS, unless it asks for others; what anybody on the node was told, while that is
unambiguous. A connection may state its name a moment after it opens, so each flow is pending for a
grace period: a statement decides at once, else DNS does when the period is over, as of the time
when the flow opened. A statement that comes later still counts, for what follows it.

Slots are of the flow table; times in seconds of CLOCK_BOOTTIME. Every table here is bounded.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from exporter.capture.records import FLOW_OPENER, PAYLOAD_NO_SLOT, Flow, Payload
from exporter.memory import zeros
from exporter.names import statements
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
from exporter.names.relays import Relays
from exporter.names.statements import Statements, connection_of

_PORT_DNS = 53

_BATCH_S = 0.05
"""How much later than the first flow of a batch another may have opened."""

_WAITING = struct.Struct("=IB16s16s")
"""A flow that is pending: its slot, the length of its addresses, who opened it, and to whom."""

_TICK_S = 2**-16
"""Precise enough to say which of two answers came before a flow, whose packets take longer."""

_TICKS_MASK = 0xFFFFFFFF
_TICKS_HALF = 1 << 31


def _ends(flow: Flow) -> tuple[bytes, bytes]:
    """The addresses of who opened the connection, and of the other side."""
    if flow.flags & FLOW_OPENER:
        return flow.source, flow.destination
    return flow.destination, flow.source


def _ticks(at_s: float) -> int:
    """Rounded up: what came before is not after it."""
    return math.ceil(at_s / _TICK_S) & _TICKS_MASK


def _seconds_between(since: int, now: int) -> float:
    """Of two moments in ticks, which may lie either way."""
    return ((now - since + _TICKS_HALF & _TICKS_MASK) - _TICKS_HALF) * _TICK_S


class _Batch:
    """Flows that opened at about the same time: they may be many, so they are bytes."""

    __slots__ = ("first_s", "flows", "latest_s")

    def __init__(self, opened_s: float) -> None:
        self.first_s = self.latest_s = opened_s
        self.flows = bytearray()


class Directory(statements.Directory, Protocol):
    """Who looks up flows by slot, and their answers: the flow table."""

    def with_peer(self, slot: int) -> list[Flow]: ...


class Learning:
    """An Attribution by what payloads say."""

    def __init__(
        self,
        directory: Directory,
        inspection: Inspection,
        dns_names: DnsNames,
        health: DnsHealth,
        policy: Policy,
        grace_s: float,
    ) -> None:
        """*grace_s*: how long a flow may wait for a statement."""
        self._learned = dict.fromkeys((DNS, TLS, QUIC, HTTP), 0)
        self._directory = directory
        self._inspection = inspection
        self._dns_names = dns_names
        self._relays = Relays()
        self._health = health
        self._policy = policy
        self._grace_s = grace_s
        self._pending_since = zeros("I", directory.slots)
        """Ticks of when the flow opened, modulo their range; 0 if it is not pending."""
        self._batches: deque[_Batch] = deque()
        """Oldest first."""
        self._waiting = 0
        """Flows in all batches, those too that were decided meanwhile."""
        self._statements = Statements(directory)

    def opened(self, flow: Flow, opened_s: float) -> Verdict | None:
        """What is known of a flow as it opens; None: it is pending, and gets its verdict later."""
        if _PORT_DNS in (flow.source_port, flow.destination_port):
            return Verdict(flow.slot, UNKNOWN, NONE)
        stated = self._statements.of(flow, opened_s)
        if stated is not None:
            return self._verdict(flow.slot, stated.name, stated.source)
        self._pending_since[flow.slot] = _ticks(opened_s) or 1
        if not self._batches or opened_s > self._batches[-1].first_s + _BATCH_S:
            self._batches.append(_Batch(opened_s))
        batch = self._batches[-1]
        client, server = _ends(flow)
        batch.flows += _WAITING.pack(flow.slot, len(client), client, server)
        self._waiting += 1
        if opened_s > batch.latest_s:
            batch.latest_s = opened_s
        return None

    def change_policy(self, policy: Policy) -> None:
        """As Attribution."""
        self._policy = policy

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
        if message.questions:
            self._see_relay(seen, client, heard_s)
        if self._health.see(message, client, client_port, server, heard_s):
            resolution = maybe_resolution(message)
            if resolution is not None:
                self._learned[DNS] += 1
                self._dns_names.learn(resolution, client, heard_s)

    def _see_relay(self, seen: DnsSeen, client: bytes, heard_s: float) -> None:
        question = seen.message.questions[0]
        asked = (question.name, question.qtype)
        if seen.payload.slot != PAYLOAD_NO_SLOT:
            if not seen.message.is_response:
                self._relays.left(asked, client, heard_s)
        elif seen.message.is_response:
            self._relays.told(asked, client)
        else:
            self._relays.heard(asked, client, heard_s)

    def _stated_by(self, finding: Finding) -> list[Verdict]:
        if finding.name is None:
            return []
        self._learned[finding.source] += 1
        connection = connection_of(finding.payload)
        slot = finding.payload.slot
        self._statements.add(connection, finding.name, finding.source, slot)
        if slot >= self._directory.slots:
            return []
        flows = self._directory.with_peer(slot)
        if not flows or connection_of(flows[0]) != connection:
            return []  # gone, and the slot is another's by now
        for flow in flows:
            self._pending_since[flow.slot] = 0
        return [self._verdict(flow.slot, finding.name, finding.source) for flow in flows]

    @property
    def is_waiting(self) -> bool:
        """Whether flows may be pending."""
        return bool(self._batches)

    def due(self, now_s: float) -> Iterator[Verdict]:
        """The flows whose grace period is over, one by one: they may be many. Where more wait than
        the table has slots, the oldest are decided before that.
        """
        now_ticks = _ticks(now_s)
        while self._batches and (
            self._batches[0].latest_s + self._grace_s <= now_s
            or self._waiting > self._directory.slots
        ):
            batch = self._batches.popleft()
            self._waiting -= len(batch.flows) // _WAITING.size
            for slot, length, client, server in _WAITING.iter_unpack(batch.flows):
                since = self._pending_since[slot]
                if not since:
                    continue
                opened_s = now_s - _seconds_between(since, now_ticks)
                if opened_s > batch.latest_s + _TICK_S:
                    continue  # the slot was given to another flow since
                if self._told(client[:length], server[:length], opened_s) is None:
                    self._pending_since[slot] = 0
                    yield Verdict(slot, UNKNOWN, NONE)
                else:
                    yield from self._by_dns(slot, now_s)

    def closed(self, slot: int, now_s: float) -> list[Verdict]:
        """The verdict on a flow that waits no longer; none if it has one already."""
        self._statements.closed(slot, now_s)
        if not self._pending_since[slot]:
            return []
        return self._by_dns(slot, now_s)

    def _opened_s(self, slot: int, now_s: float) -> float:
        """When a pending flow opened; it may be a little after *now_s*."""
        return now_s - _seconds_between(self._pending_since[slot], _ticks(now_s))

    def _by_dns(self, slot: int, now_s: float) -> list[Verdict]:
        """Decides on a pending flow, and on the one of the other direction if that is pending too,
        by what was known when the first of them opened: what was told in between is not to divide
        them.
        """
        flows = [flow for flow in self._directory.with_peer(slot) if self._pending_since[flow.slot]]
        if not flows:
            return []
        opened_s = min(self._opened_s(flow.slot, now_s) for flow in flows)
        told = self._told(*_ends(flows[0]), opened_s)
        for flow in flows:
            self._pending_since[flow.slot] = 0
        return [
            self._verdict(flow.slot, *told) if told else Verdict(flow.slot, UNKNOWN, NONE)
            for flow in flows
        ]

    def _told(self, client: bytes, server: bytes, opened_s: float) -> tuple[str, str] | None:
        """The name that DNS gave the server when a flow opened, and its source."""
        if not self._learned[DNS]:
            return None
        if not self._relays.has(client, opened_s):
            name = self._dns_names.name_for(client, server, opened_s)
            if name is not None:
                return name, DNS
        name = self._dns_names.node_name_for(server, opened_s)
        return None if name is None else (name, DNS_NODE)

    def _verdict(self, slot: int, name: str, source: str) -> Verdict:
        domain, is_expected = self._policy.judge(name)
        return Verdict(slot, domain, source, is_expected)
