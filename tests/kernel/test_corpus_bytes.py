"""Bytes by domain: of each connection that stated its name, all packets, both ways, from the first.

The captures run through the kernel program, the flow table, the learning of names and the fold, as
in the exporter; only names by DNS are left out, since the truth does not say whose flow they name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

from exporter.capture.flow_table import FlowTable
from exporter.capture.interfaces import Interfaces
from exporter.capture.records import ZERO_TOTALS, DeviceTotals
from exporter.clock import Now, boot_s
from exporter.counting import Counting
from exporter.counts.budget import Budget
from exporter.counts.fold import Fold
from exporter.counts.snapshot import DIRECTIONS
from exporter.kernel import Kernel as Sources
from exporter.names.aes import Aes
from exporter.names.attribution import HTTP, QUIC, TLS
from exporter.names.dns_health import DnsHealth
from exporter.names.dns_names import DnsNames
from exporter.names.domains import UNKNOWN
from exporter.names.hostname import is_ip_literal
from exporter.names.inspection import Inspection
from exporter.names.learning import Learning
from exporter.names.policy import Policy
from exporter.names.scope import AddedLabels, Scopes
from tests.captures import DLT_EN10MB, read_capture
from tests.corpus import Capture, read_corpus
from tests.kernel.conftest import FULL_TABLE, Figures
from tests.kernel.corpus_replay import replay
from tests.kernel.harness import DEVICE_SLOT, Kernel
from tests.kernel.test_corpus_names import NOT_READ
from tests.unit import test_hello_corpus as hello_corpus

GRACE_S = 2.0
DRAIN_EVERY = 32
"""Frames; more payloads than the ring holds must not come between."""

KEYS = {TLS: ("tls_sni", "sni"), QUIC: ("quic_sni", "sni"), HTTP: ("http_hosts", "host")}

_Connection = tuple[str, int, str, int]
_Bytes = Counter[tuple[str, str]]
"""By direction and domain."""


class Deaf(DnsNames):
    """Knows no name by DNS."""

    def name_for(self, client: bytes, address: bytes, opened_s: float) -> str | None:
        return None

    def node_name_for(self, address: bytes, opened_s: float) -> str | None:
        return None


class OneDevice:
    """In place of the interfaces: the device of the tests."""

    @property
    def slots(self) -> OneDevice:
        return self

    def used(self) -> list[int]:
        """Of the totals."""
        return [DEVICE_SLOT]

    def carried(self, _: int) -> DeviceTotals:
        return ZERO_TOTALS


def names_of_connections(capture: Capture) -> dict[_Connection, set[str]]:
    """What each connection stated, by client, its port, server and its port."""
    names: dict[_Connection, set[str]] = {}
    for kind, field in KEYS.values():
        for row in capture.truth[kind]:
            name = row[field].lower()
            if kind == "http_hosts":
                name = name.partition(":")[0]
            for port in row["client_ports"]:
                connection = (row["client"], port, row["server"], row["server_port"])
                names.setdefault(connection, set()).add(name)
    return names


def expected_bytes(capture: Capture) -> tuple[_Bytes, set[str]]:
    """By tshark's flows, as the client is who sent first; and the names that cannot be compared.

    These are of connections that stated several, of those whose name is not read, and of those
    whose name tshark does not see.
    """
    names = names_of_connections(capture)
    unread = {each for missed in NOT_READ.values() for each in missed}
    skipped = {each.name for each in unread if each.capture == capture.name}
    skipped |= {name for seen_in, name in hello_corpus.seen_by_others() if seen_in == capture.name}
    skipped |= {name for name, _, _ in capture.truth.get("lost_by_tshark") or ()}
    expected: _Bytes = Counter()
    for _, source, sport, destination, dport, _, there, _, back, *_ in capture.truth["flows"]:
        from_first = names.get((source, sport, destination, dport), set())
        from_second = names.get((destination, dport, source, sport), set())
        stated = from_first | from_second
        if len(stated) > 1:
            skipped |= stated
        for name in stated:
            expected["egress", name] += there
            expected["ingress", name] += back
    return +expected, skipped


def folded(kernel: Kernel, capture: Capture) -> tuple[_Bytes, tuple[int, int]]:
    """By the exporter; and the packets that it has no explanation for, by direction."""
    assert kernel.payload_ring is not None
    now = Now(1000.0, boot_s())
    table = FlowTable(kernel.programs.flows_fd, FULL_TABLE, 3600.0, now.boot_s)
    fold = Fold(FULL_TABLE, Budget(1000, 3600.0, now.boot_s), AddedLabels((), Scopes()), now.wall_s)
    learning = Learning(table, Inspection(Aes()), Deaf(), DnsHealth(), Policy("full"), GRACE_S)
    sources = Sources(
        ring=kernel.ring,
        payloads=kernel.payload_ring,
        table=table,
        totals=kernel.totals_table,
        interfaces=cast(Interfaces, OneDevice()),
        listening=None,
        flows_max=FULL_TABLE,
        memory_bytes=0,
    )
    counting = Counting(sources, cast(Any, None), learning, fold, now.wall_s)
    for number, _ in enumerate(replay(kernel, capture)):
        if number % DRAIN_EVERY == 0:
            counting.drain(now)
        if number % (10 * DRAIN_EVERY) == 0:
            counting.sweep(now)
    counting.sweep(now)
    counting.decide_due(Now(2000.0, now.boot_s + 1000.0))
    bytes_by_domain: _Bytes = Counter()
    for each in fold.domains():
        bytes_by_domain[each.direction, each.domain] += each.bytes
    gaps = [
        kernel.all_totals(direction).packets - fold.explained(direction).packets
        for direction in range(len(DIRECTIONS))
    ]
    assert [fold.pending(direction).bytes for direction in range(len(DIRECTIONS))] == [0, 0]
    return bytes_by_domain, (gaps[0], gaps[1])


def comparable() -> Iterator[Capture]:
    """Captures with names whose frames run as they were: none was cut, none has a pseudo header."""
    for capture in read_corpus():
        truth = capture.truth
        if (
            any(truth[kind] for kind, _ in KEYS.values())
            and truth["flows"] is not None
            and not truth["truncated_frames"]
            and {packet.linktype for packet in read_capture(capture.path)} == {DLT_EN10MB}
        ):
            yield capture


def test_bytes_by_domain_are_those_of_the_connections_that_stated_it(
    full_kernel: Kernel, figures: Figures
) -> None:
    captures = compared = wire_bytes = 0
    for capture in comparable():
        expected, skipped = expected_bytes(capture)
        counted, gaps = folded(full_kernel, capture)
        full_kernel.check()
        assert gaps == (0, 0), capture.name
        for (direction, name), size in expected.items():
            if name in skipped or is_ip_literal(name.encode()):
                continue
            assert counted[direction, name] == size, (capture.name, direction, name)
            compared += 1
            wire_bytes += size
        domains = {name for _, name in counted}
        assert domains <= {name for _, name in expected} | {UNKNOWN} | skipped, capture.name
        captures += 1
    figures["corpus: captures, sums by domain compared, bytes"] = (captures, compared, wire_bytes)
    assert captures >= 50
    assert compared >= 150
