"""Every ClientHello of the corpus, over TCP and QUIC, against what tshark says is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from exporter.names.aes import Aes
from exporter.names.cursor import ParseError
from exporter.names.hostname import is_ip_literal
from exporter.names.quic import InitialReader, looks_like_initial
from exporter.names.tls import (
    ClientHello,
    bytes_wanted,
    looks_like_client_hello,
    maybe_client_hello,
)
from tests.corpus import Capture, read_corpus
from tests.streams import Ends, Stream, read_datagrams, read_streams


class Named(NamedTuple):
    """One server name between two addresses in one capture."""

    capture: str
    name: str
    client: str
    server: str


ENCAPSULATED = "inside another IP header: the flow is the tunnel's, and so are its bytes"
RDP = "inside UDP of RDP (MS-RDPEUDP): neither TCP nor QUIC, and no server to ask for by name"
PROXY = "after a line of the PROXY protocol: the stream does not begin with TLS"
CONNECT = "after HTTP CONNECT: read once the caller passes over the request (tested below)"
SOCKS = "after SOCKS: the stream does not begin with TLS"

NOT_READ = {
    Named("6in4tunnel.pcap", "mail.tomasu.net", "174.3.73.24", "184.105.255.26"): ENCAPSULATED,
    Named("6in4tunnel.pcap", "www.facebook.com", "174.3.73.24", "184.105.255.26"): ENCAPSULATED,
    Named("haproxy.pcap", "aaaaaaaaaaaaaaaa.xx", "1.1.1.1", "2.2.2.2"): PROXY,
    Named("http_connect.pcap", "apache.org", "192.168.1.103", "192.168.1.146"): CONNECT,
    Named("http_connect__split2.pcap", "apache.org", "192.168.1.103", "192.168.1.146"): CONNECT,
    Named("rdp2.pcap", "win-8qso0d3okbi.hardening.com", "192.168.122.181", "192.168.122.2"): RDP,
    Named("tls_heur__vmess-tcp.pcapng", "www.youtube.com", "127.0.0.1", "127.0.0.1"): SOCKS,
}
"""What the truth has and no parser finds where a stream begins, each with its reason."""


class Found(NamedTuple):
    """What the parsers say of the corpus, by name; and how often a hello named nobody."""

    names: Counter[Named]
    nameless: Counter[tuple[str, str, str]]


def in_truth(kind: str) -> Counter[Named]:
    """Names and how many ClientHellos have them; addresses as names are left out: see below."""
    return Counter(
        {
            name: count
            for capture in read_corpus()
            for name, count in truth_of(capture, kind).items()
            if not is_ip_literal(name.name.encode())
        }
    )


def truth_of(capture: Capture, kind: str) -> Counter[Named]:
    names: Counter[Named] = Counter()
    for row in capture.truth[kind]:
        # Where tshark shows the name and no whole ClientHello, that is one.
        count = row["count"] if "count" in row else max(row["client_hellos"], 1)
        names[named(capture, row["sni"], row["client"], row["server"])] += count
    return names


def named(capture: Capture, name: str, client: str, server: str) -> Named:
    return Named(capture.name, name.lower(), client, server)


@cache
def found_in_tcp() -> Found:
    return collected(
        (capture, stream.ends, hello)
        for capture in read_corpus()
        for stream in read_streams(capture.path)
        if (hello := read_stream(stream)) is not None
    )


@cache
def found_in_quic() -> Found:
    return collected(
        (capture, ends, hello) for capture in read_corpus() for ends, hello in read_quic(capture)
    )


def collected(hellos: Iterable[tuple[Capture, Ends, ClientHello]]) -> Found:
    found = Found(Counter(), Counter())
    for capture, ends, hello in hellos:
        if hello.server_name is None:
            found.nameless[capture.name, ends.source, ends.destination] += 1
        else:
            found.names[named(capture, hello.server_name, ends.source, ends.destination)] += 1
    return found


def read_stream(stream: Stream) -> ClientHello | None:
    """Segment by segment as it comes, parsed when what is wanted is there."""
    have = b""
    for piece in stream.pieces():
        have += piece
        if not looks_like_client_hello(have[:6]):
            return None
        if not bytes_wanted(have):
            hello = maybe_client_hello(have)
            assert hello is not None
            assert maybe_client_hello(stream.data()) == hello
            return hello
        assert maybe_client_hello(have) is None
    return None


def read_quic(capture: Capture) -> Iterator[tuple[Ends, ClientHello]]:
    """The first ClientHello of each flow's direction that begins with an Initial."""
    aes = Aes()
    readers: dict[Ends, InitialReader] = {}
    done: set[Ends] = set()
    for datagram in read_datagrams(capture.path):
        ends = datagram.ends
        if ends in done or (ends not in readers and not looks_like_initial(datagram.payload)):
            continue
        reader = readers.setdefault(ends, InitialReader(aes))
        try:
            hello = reader.feed(datagram.payload)
        except ParseError:
            assert datagram.cut or capture.name.startswith("fuzz-")
            done.add(ends)
            continue
        if hello is not None:
            done.add(ends)
            yield ends, hello


def test_every_name_over_tcp_is_read_as_often_as_it_is_there() -> None:
    required = in_truth("tls_sni")
    missed = required - found_in_tcp().names
    assert set(missed) == set(NOT_READ)
    assert sum(required.values()) - sum(missed.values()) >= 130


def test_every_name_over_quic_is_read_as_often_as_it_is_there() -> None:
    required = in_truth("quic_sni")
    assert required - found_in_quic().names == Counter()
    assert sum(required.values()) >= 70


def test_no_name_is_read_that_is_not_there() -> None:
    allowed = set(in_truth("tls_sni") | in_truth("quic_sni")) | lost_by_tshark()
    seen = seen_by_others()
    for name in found_in_tcp().names | found_in_quic().names:
        assert name in allowed or (name.capture, name.name) in seen


def lost_by_tshark() -> set[Named]:
    """Names that were there before the capture was derived from another."""
    return {
        named(capture, name, client, server)
        for capture in read_corpus()
        for name, client, server in capture.truth.get("lost_by_tshark") or []
    }


def seen_by_others() -> set[tuple[str, str]]:
    """Capture and name, where another reader than tshark saw it, there or in what it comes from."""
    seen: dict[str, set[str]] = {}
    for capture in read_corpus():
        seen[capture.name] = set((capture.truth.get("also_seen") or {}).get("tls", {}))
        seen[capture.name] |= seen.get(capture.truth.get("derived_from", ""), set())
    return {(capture, name) for capture, names in seen.items() for name in names}


def test_an_address_in_place_of_a_name_is_none() -> None:
    expected = {"tls_sni": found_in_tcp().nameless, "quic_sni": found_in_quic().nameless}
    addresses = 0
    for capture in read_corpus():
        for kind, nameless in expected.items():
            for name, count in truth_of(capture, kind).items():
                tunnelled = any(row.get("tunnel") for row in capture.truth[kind])
                if is_ip_literal(name.name.encode()) and not tunnelled:
                    assert nameless[name.capture, name.client, name.server] >= count
                    addresses += count
    assert addresses >= 5


def test_most_hellos_of_several_segments_are_there_to_be_read() -> None:
    """So that the tests above show what they claim."""
    rows = [row for capture in read_corpus() for row in capture.truth["tls_sni"]]
    assert sum(row.get("multi_segment", 0) for row in rows) >= 18
    assert sum(row.get("multi_segment", 0) for row in rows if row.get("needs_ooo")) >= 6


def test_after_a_connect_request_the_inner_name_is_read() -> None:
    names = set()
    for capture in read_corpus():
        for stream in read_streams(capture.path):
            head, blank_line, tunnelled = stream.data().partition(b"\r\n\r\n")
            if head.startswith(b"CONNECT ") and blank_line:
                hello = maybe_client_hello(tunnelled)
                if hello is not None and hello.server_name is not None:
                    ends = stream.ends
                    names.add(named(capture, hello.server_name, ends.source, ends.destination))
    assert {name for name, reason in NOT_READ.items() if reason is CONNECT} <= names
