"""Every capture of the corpus, through the kernel program and what reads its payloads: the names.

The whole way from frames to names is compared with tshark's truth, name by name with the client,
the server and its port, as often as it is there. Of names that are not in the truth there is none.
Each capture runs as it is, and once more without the packets that open connections, as the
exporter sees those that were there before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NamedTuple

import pytest

from exporter.capture.records import FLOW_EGRESS, FLOW_INGRESS, Payload
from exporter.names.aes import Aes
from exporter.names.attribution import HTTP, QUIC, TLS
from exporter.names.hostname import is_ip_literal
from exporter.names.inspection import Finding, Inspection
from tests.corpus import Capture, read_corpus
from tests.kernel.conftest import Figures
from tests.kernel.corpus_replay import replay
from tests.kernel.harness import Kernel
from tests.unit import test_dns_corpus as dns_corpus
from tests.unit import test_hello_corpus as hello_corpus


class Named(NamedTuple):
    """A name that a client stated to a server, in one capture."""

    capture: str
    name: str
    client: str
    server: str
    server_port: int


TUNNEL_ENDS = ("174.3.73.24", "184.105.255.26")
GTP_ENDS = ("10.134.25.76", "10.132.15.176")
RDP_ENDS = ("192.168.122.181", "192.168.122.2")

ENCAPSULATED = hello_corpus.ENCAPSULATED
NOT_READ = {
    TLS: {
        Named("6in4tunnel.pcap", "mail.tomasu.net", *TUNNEL_ENDS, 443): ENCAPSULATED,
        Named("6in4tunnel.pcap", "www.facebook.com", *TUNNEL_ENDS, 443): ENCAPSULATED,
        Named("rdp2.pcap", "win-8qso0d3okbi.hardening.com", *RDP_ENDS, 3389): hello_corpus.RDP,
    },
    QUIC: {},
    HTTP: {
        Named("6in4tunnel.pcap", "mail.tomasu.net", *TUNNEL_ENDS, 80): ENCAPSULATED,
        Named("false_positives.pcapng", "wludo.superkinglabs.com", *GTP_ENDS, 443): ENCAPSULATED,
    },
}
"""What the truth has and is not found, each with its reason."""

TRUTHS = {TLS: "tls_sni", QUIC: "quic_sni", HTTP: "http_hosts"}
AT_LEAST = {TLS: 135, QUIC: 72, HTTP: 79}
"""Names found, as often as they are there, so that the comparisons show what they claim."""


@dataclass
class Names:
    """What was read of all captures."""

    stated: dict[str, Counter[Named]] = field(
        default_factory=lambda: {source: Counter() for source in TRUTHS}
    )
    dns: dict[str, set[dns_corpus.Row]] = field(default_factory=dict)
    payloads: int = 0

    def take(self, capture: str, payload: Payload, inspection: Inspection) -> None:
        """What one payload says."""
        self.payloads += 1
        for seen in inspection.read(payload):
            if not isinstance(seen, Finding):
                self.dns[capture] |= set(dns_corpus.rows(seen.message))
            elif seen.name is not None:
                client, server = ip_address(payload.source), ip_address(payload.destination)
                ends = (str(client), str(server), payload.destination_port)
                name = Named(capture, seen.name, *ends)
                self.stated[seen.source][name] += 1


def read_names(kernel: Kernel, *, without_syn: bool) -> Names:
    """All captures through the kernel program, and what it sends through the inspection."""
    names, aes = Names(), Aes()
    for capture in read_corpus():
        inspection = Inspection(aes)
        names.dns[capture.name] = set()
        for _ in replay(kernel, capture, without_syn=without_syn):
            for payload in kernel.payloads():
                names.take(capture.name, payload, inspection)
        kernel.check()
        for direction in (FLOW_INGRESS, FLOW_EGRESS):
            assert kernel.all_totals(direction).dropped_payloads == 0
    return names


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "without-syn"])
def names(full_kernel: Kernel, request: pytest.FixtureRequest) -> Names:
    return read_names(full_kernel, without_syn=request.param)


def in_truth(source: str) -> Counter[Named]:
    """Names and how many times each is stated; of HTTP, by the first request of a stream."""
    found: Counter[Named] = Counter()
    for capture in read_corpus():
        for name, count in _truth_of(capture, source):
            if not is_ip_literal(name.name.encode()):
                found[name] += count
    return found


def _truth_of(capture: Capture, source: str) -> Iterator[tuple[Named, int]]:
    for row in capture.truth[TRUTHS[source]]:
        ends = (row["client"], row["server"], row["server_port"])
        if source == HTTP:
            name, count = row["host"].partition(":")[0], row["first_request"]
        elif source == TLS:
            name, count = row["sni"], row["count"]
        else:
            # Where tshark shows the name and no whole ClientHello, that is one.
            name, count = row["sni"], max(row["client_hellos"], 1)
        yield Named(capture.name, name.lower(), *ends), count


@pytest.mark.parametrize("source", TRUTHS)
def test_every_name_is_found_as_often_as_it_is_there(
    names: Names, source: str, figures: Figures
) -> None:
    required = in_truth(source)
    missed = required - names.stated[source]
    assert set(missed) == set(NOT_READ[source])
    found = required.total() - missed.total()
    figures[f"corpus: {source} names found"] = f"{found} of {required.total()}"
    assert found >= AT_LEAST[source]


@pytest.mark.parametrize("source", TRUTHS)
def test_no_name_is_found_that_is_not_there(names: Names, source: str) -> None:
    also_seen = {
        (capture.name, name)
        for capture in read_corpus()
        for name in (capture.truth.get("also_seen") or {}).get(source, ())
    } | hello_corpus.seen_by_others()
    lost = {each[:4] for each in hello_corpus.lost_by_tshark()}
    wrong = {
        name
        for name in names.stated[source].keys() - in_truth(source).keys()
        if (name.capture, name.name) not in also_seen and name[:4] not in lost
    }
    assert wrong == set()


def test_all_of_dns_is_found_and_no_more(names: Names, figures: Figures) -> None:
    misses: dict[str, set[dns_corpus.Row]] = {}
    found = 0
    for capture in read_corpus():
        truth = dns_corpus.expected(capture)
        assert names.dns[capture.name] <= truth, capture.name
        found += len(names.dns[capture.name])
        if missed := truth - names.dns[capture.name]:
            misses[capture.name] = missed
    for name in dns_corpus.TUNNELLED:
        assert {row[0] for row in misses.pop(name)} == {"star.c10r.facebook.com"}
    assert misses == dns_corpus.MISSES
    figures["corpus: DNS names and answers found"] = found
    assert found == 857


def test_few_packets_are_sent_for_it(names: Names, figures: Figures) -> None:
    frames = sum(capture.truth["frames"] for capture in read_corpus())
    figures["corpus: payloads sent, of frames"] = (names.payloads, frames)
    assert names.payloads < frames / 5
