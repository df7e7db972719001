"""What connections stated of themselves, for flows of theirs that open later.

The flow of the answers opens after the statement; a flow that was silent for too long opens again
in the middle of its connection. A connection between the same ports after it is another one and
has nothing of it: a flow that opens a connection, as a SYN does, ends the statement if the flow
that made it has ended, or was let go so long ago that no connection lives on silently.

Slots are of the flow table; times in seconds of CLOCK_BOOTTIME.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from exporter.capture.records import FLOW_ENDED, FLOW_OPENER, PROTOCOL_TCP, Flow, Payload
from exporter.memory import zeros

CONNECTIONS_MAX = 4_096
"""Connections whose statement is remembered."""

BYTES_MAX = 1 << 19
"""Of their names, as Python strings: an ordinary name each, and half as much again."""

SILENT_TCP_S = 2 * 3600.0 + 75 * 9
"""Keepalive finds out in that time whether the other side still is (tcp(7), as Linux has it)."""

SILENT_UDP_S = 600.0
"""No implementation of QUIC lets a connection idle for longer: most end it after 30 s (RFC 9000,
10.1)."""

_STR_BYTES = 49


class Directory(Protocol):
    """Who looks up flows by slot: the flow table."""

    slots: int

    def flows(self, slots: Iterable[int]) -> list[Flow]: ...


@dataclass(slots=True)
class Statement:
    """What one connection stated last."""

    name: str
    source: str
    slot: int
    """Of the flow that made it, or that was the first to open again when that was gone."""
    until_s: float | None = None
    """When that has left the table: how long a flow may still open its connection again."""
    has_ended: bool = False
    """Whether one of these flows had ended."""


class Statements:
    """The latest statements of a bounded number of connections."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._by_connection: dict[bytes, Statement] = {}
        self._has_stated = zeros("B", directory.slots)
        """Whether the flow in this slot is the one of a statement."""
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._by_connection)

    def add(self, connection: bytes, name: str, source: str, slot: int) -> None:
        """The connection's flow in *slot* stated a name; what it stated before counts no more."""
        self._forget(connection)
        self._by_connection[connection] = Statement(name, source, slot)
        self._bytes += _STR_BYTES + len(name)
        if slot < self._directory.slots:
            self._has_stated[slot] = 1
        while len(self) > CONNECTIONS_MAX or self._bytes > BYTES_MAX:
            self._forget(next(iter(self._by_connection)))

    def of(self, flow: Flow, opened_s: float) -> Statement | None:
        """What the connection of a flow that opens stated before."""
        if not self._by_connection:
            return None
        connection = connection_of(flow)
        statement = self._by_connection.get(connection)
        if statement is None:
            return None
        if flow.flags & FLOW_OPENER and self._is_over(statement, flow, opened_s):
            self._forget(connection)
            return None
        if statement.until_s is not None:
            statement.slot, statement.until_s = flow.slot, None
            self._has_stated[flow.slot] = 1
        return statement

    def _is_over(self, statement: Statement, flow: Flow, opened_s: float) -> bool:
        """Whether an earlier connection made the statement than the one that *flow* opens."""
        if statement.has_ended:
            return True
        if statement.until_s is not None:
            return opened_s > statement.until_s
        if statement.slot == flow.slot or statement.slot >= self._directory.slots:
            return False  # made by this very flow, of which the statement was heard first
        before = self._directory.flows((statement.slot,))
        return any(each.flags & FLOW_ENDED and is_same(each, flow) for each in before)

    def closed(self, slot: int, now_s: float) -> None:
        """The flow in *slot*, which is still there, leaves the table."""
        if not self._has_stated[slot]:
            return
        self._has_stated[slot] = 0
        for flow in self._directory.flows((slot,)):
            statement = self._by_connection.get(connection_of(flow))
            if statement is not None and statement.slot == slot:
                is_tcp = flow.protocol == PROTOCOL_TCP
                statement.until_s = now_s + (SILENT_TCP_S if is_tcp else SILENT_UDP_S)
                statement.has_ended |= bool(flow.flags & FLOW_ENDED)

    def _forget(self, connection: bytes) -> None:
        statement = self._by_connection.pop(connection, None)
        if statement is not None:
            self._bytes -= _STR_BYTES + len(statement.name)


def is_same(one: Flow | Payload, other: Flow | Payload) -> bool:
    """Whether both are of one connection, or of two between the same ports."""
    return connection_of(one) == connection_of(other)


def connection_of(flow: Flow | Payload) -> bytes:
    """The same for both directions."""
    source = flow.source + flow.source_port.to_bytes(2, "big")
    destination = flow.destination + flow.destination_port.to_bytes(2, "big")
    ends = source + destination if source < destination else destination + source
    return ends + flow.protocol.to_bytes(1, "big") + flow.device_slot.to_bytes(2, "big")
