"""The added labels of a flow: how far away the other side is, what carries it, and who opened it.

Scope, the first that fits:
  1. the name of the longest of your own networks that holds the address;
  2. `local`: what never leaves the host or the link, and every group (loopback, link-local,
     unspecified, broadcast, multicast);
  3. `private`: what the IANA registries of special-purpose addresses call not globally reachable
     (RFC 1918 and 6598, unique local, documentation, benchmarks, reserved);
  4. `internet`: the rest, with what reaches an IPv4 host through a translator (NAT64, 6to4).

An IPv4-mapped address (::ffff:a.b.c.d) is the IPv4 address that it means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from exporter.capture.records import FLOW_EGRESS, FLOW_INGRESS, FLOW_OPENER, Flow
from exporter.names.remembered import Remembered
from exporter.networks import MAPPED, Networks
from exporter.values import quoted

INTERNET = "internet"
PRIVATE = "private"
LOCAL = "local"

CLIENT = "client"
SERVER = "server"

LABELS = ("role", "scope", "transport")
"""What `metrics.labels` may add."""

NETWORKS_MAX = 1024
"""Own networks: a large cluster has some hundred, and a search costs no more with more of them."""

SCOPES_MAX = 32
"""Names for them: each is multiplied with every domain, so a long list is a mistake."""

REMEMBERED_HALF = 1024
"""Addresses: most flows of a node go to far fewer, and twice as many take 300 KB at most."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")

# https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry
_WELL_KNOWN = (
    ("0.0.0.0/0", INTERNET),
    ("0.0.0.0/8", LOCAL),
    ("10.0.0.0/8", PRIVATE),
    ("100.64.0.0/10", PRIVATE),
    ("127.0.0.0/8", LOCAL),
    ("169.254.0.0/16", LOCAL),
    ("172.16.0.0/12", PRIVATE),
    ("192.0.0.0/24", PRIVATE),
    ("192.0.0.9/32", INTERNET),
    ("192.0.0.10/32", INTERNET),
    ("192.0.2.0/24", PRIVATE),
    ("192.168.0.0/16", PRIVATE),
    ("198.18.0.0/15", PRIVATE),
    ("198.51.100.0/24", PRIVATE),
    ("203.0.113.0/24", PRIVATE),
    ("224.0.0.0/4", LOCAL),
    ("240.0.0.0/4", PRIVATE),
    ("255.255.255.255/32", LOCAL),
    ("::/0", INTERNET),
    ("::/127", LOCAL),
    ("64:ff9b:1::/48", PRIVATE),
    ("100::/64", PRIVATE),
    ("2001:2::/48", PRIVATE),
    ("2001:db8::/32", PRIVATE),
    ("3fff::/20", PRIVATE),
    ("5f00::/16", PRIVATE),
    ("fc00::/7", PRIVATE),
    ("fe80::/10", LOCAL),
    ("fec0::/10", PRIVATE),
    ("ff00::/8", LOCAL),
)

_TRANSPORTS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp", 132: "sctp"}
"""By IP protocol number."""


def scope_name(text: str) -> str:
    """The name of an own network, as a label's value. Raises ValueError with what it must be."""
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"must be at most 63 letters, digits, hyphens, underscores and dots, not {quoted(text)}"
        )
    return text


class Scopes:
    """How far away an address is."""

    def __init__(self, own: Iterable[tuple[str, str]] = ()) -> None:
        """*own*: pairs of a network and the name for it; ValueError as `Networks` raises it."""
        own = tuple((cidr, scope_name(name)) for cidr, name in own)
        if len(own) > NETWORKS_MAX:
            raise ValueError(f"must have at most {NETWORKS_MAX} networks, not {len(own)}")
        names = {name for _, name in own}
        if len(names) > SCOPES_MAX:
            raise ValueError(f"must have at most {SCOPES_MAX} names, not {len(names)}")
        self._own = Networks(own)
        self._well_known = Networks(_WELL_KNOWN)
        self.of = Remembered(self._work_out, REMEMBERED_HALF)
        """The scope of an address of 4 or 16 bytes."""

    def _work_out(self, address: bytes) -> str:
        if len(address) == 16 and address.startswith(MAPPED):
            address = address[12:]
        return self._own.name_of(address) or self._well_known.name_of(address) or INTERNET


def transport_of(protocol: int) -> str:
    """`tcp`, `udp`, `sctp`, `icmp` or `other`, by IP protocol number."""
    return _TRANSPORTS.get(protocol, "other")


def role_of(flow: Flow) -> str:
    """What the node is in this connection: `client` where it opened it, `server` where the other
    side did. A node that forwards is what it would be if the connection ended in it.
    """
    is_opener = bool(flow.flags & FLOW_OPENER)
    return CLIENT if is_opener == (flow.direction == FLOW_EGRESS) else SERVER


def remote_of(flow: Flow) -> bytes:
    """The address of the other side, as seen from the interface."""
    return flow.source if flow.direction == FLOW_INGRESS else flow.destination


class AddedLabels:
    """The values of the labels that `metrics.labels` asks for, in the order of `LABELS`."""

    def __init__(self, names: Iterable[str], scopes: Scopes) -> None:
        """*names*: some of `LABELS`."""
        wanted = frozenset(names)
        self.names = tuple(name for name in LABELS if name in wanted)
        values: dict[str, Callable[[Flow], str]] = {
            "role": role_of,
            "scope": lambda flow: scopes.of(remote_of(flow)),
            "transport": lambda flow: transport_of(flow.protocol),
        }
        self._values = tuple(values[name] for name in self.names)

    def of(self, flow: Flow) -> tuple[str, ...]:
        """One value for each of `names`."""
        if not self._values:
            return ()
        return tuple([value(flow) for value in self._values])
