"""Whose flow is it: the one question that this room answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from exporter.capture.records import Flow, Payload
from exporter.names.dns_health import DnsHealthCounts
from exporter.names.domains import UNKNOWN

if TYPE_CHECKING:
    from exporter.names.policy import Policy

TLS = "tls"
QUIC = "quic"
HTTP = "http"
DNS = "dns"
DNS_NODE = "dns_node"
NONE = "none"
SOURCES = (TLS, QUIC, HTTP, DNS, DNS_NODE, NONE)
"""How a name can be known, strongest evidence first; NONE is not at all."""


class Verdict(NamedTuple):
    """From now on the flow in *slot* belongs to *domain*."""

    slot: int
    """Of the flow table."""
    domain: str
    source: str
    """Of SOURCES."""
    is_expected: bool = True


class Inspected(NamedTuple):
    """What was read of one protocol's payloads."""

    protocol: str
    packets: int
    errors: int
    """Messages that were broken."""


class Attribution(Protocol):
    """Gives each flow its domain, when it is known or cannot be known.

    Times are in seconds of CLOCK_BOOTTIME.
    """

    def opened(self, flow: Flow, opened_s: float) -> Verdict | None:
        """What is known of a flow as it opens; None: it is pending, and gets its verdict later."""

    def read(self, payload: Payload) -> Sequence[Verdict]:
        """Takes in what a payload says, and returns the flows that are decided by it."""

    def due(self, now_s: float) -> Iterable[Verdict]:
        """The flows that have been pending for long enough."""

    @property
    def is_waiting(self) -> bool:
        """Whether flows may be pending."""

    def closed(self, slot: int, now_s: float) -> Sequence[Verdict]:
        """The verdict on a flow that is gone; none if it has one already."""

    def change_policy(self, policy: Policy) -> None:
        """What is decided from now on is decided by this policy."""

    def learned(self) -> tuple[tuple[str, int], ...]:
        """Names learned so far, by source."""

    def inspected(self) -> tuple[Inspected, ...]:
        """What was read, by protocol."""

    def dns_health(self, now_s: float) -> DnsHealthCounts | None:
        """How DNS fares; None where it is not listened to."""


class Unattributed:
    """Without payloads every flow is unknown at once."""

    def opened(self, flow: Flow, opened_s: float) -> Verdict | None:
        return Verdict(flow.slot, UNKNOWN, NONE)

    def read(self, payload: Payload) -> Sequence[Verdict]:
        return ()

    def due(self, now_s: float) -> Sequence[Verdict]:
        return ()

    @property
    def is_waiting(self) -> bool:
        return False

    def closed(self, slot: int, now_s: float) -> Sequence[Verdict]:
        return ()

    def change_policy(self, policy: Policy) -> None:
        pass

    def learned(self) -> tuple[tuple[str, int], ...]:
        return ()

    def inspected(self) -> tuple[Inspected, ...]:
        return ()

    def dns_health(self, now_s: float) -> DnsHealthCounts | None:
        return None
