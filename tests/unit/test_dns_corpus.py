"""Every DNS message of the corpus, against tshark's truth; and any message, against dnspython."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import dns.message
import dns.rcode
import dns.rrset
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.names.cursor import ParseError
from exporter.names.dns import AAAA, CNAME, HTTPS, A, Message, Record, maybe_message, parse_message
from exporter.names.dns_answer import maybe_resolution
from tests.corpus import DNS_PORT, Capture, read_corpus
from tests.streams import read_datagrams, read_streams

Row = tuple[str, ...]
"""A question's name alone; or as the truth writes an answer: question, owner, type, value and
section."""

TYPES = {A: "A", AAAA: "AAAA", CNAME: "CNAME"}
SECTIONS = ("an", "ns", "ar")

MISSES: dict[str, set[Row]] = {
    # An asterisk makes no host name.
    "dns_ambiguous_names.pcap": {("*.teams.microsoft.com",)},
}
"""What the truth has and the parser has not, and why."""

TUNNELLED = {"6in4tunnel.pcap"}
"""Captures with DNS inside an IP header that another one carries. What is counted there is the
tunnel's flow, whose payload is no UDP."""


def messages(capture: Capture) -> Iterator[bytes | Message]:
    """All of a capture on the port of DNS; as bytes where they do not parse."""
    for datagram in read_datagrams(capture.path):
        if DNS_PORT in (datagram.ends.source_port, datagram.ends.destination_port):
            try:
                yield parse_message(datagram.payload, partial=datagram.cut)
            except ParseError:
                yield datagram.payload
    for stream in read_streams(capture.path):
        if DNS_PORT in (stream.ends.source_port, stream.ends.destination_port):
            data = stream.data()
            try:
                while (found := maybe_message(data)) is not None:
                    yield found[0]
                    data = data[found[1] :]
            except ParseError:
                yield data


def rows(message: Message) -> Iterator[Row]:
    for question in message.questions:
        if question.name is not None:
            yield (question.name,)
    asked = message.questions[0].name or "" if message.questions else ""
    sections = (message.answers, message.authority, message.additional)
    for section, records in zip(SECTIONS, sections, strict=True):
        for record in records:
            values = [str(ipaddress.ip_address(address)) for address in record.addresses]
            for value in values or [record.target or ""]:
                yield asked, record.owner or "", TYPES[record.rtype], value, section


def expected(capture: Capture) -> set[Row]:
    truth = capture.truth["dns"]
    found: set[Row] = {(query["name"].lower(),) for query in truth["queries"]}
    for asked, owner, kind, value, section, *_ in truth["answers"]:
        found.add((asked.lower(), owner.lower(), kind, value.lower(), section))
    return found


def test_all_names_and_answers_of_the_corpus_are_found_and_no_others() -> None:
    misses, counted = {}, 0
    for capture in read_corpus():
        parsed = list(messages(capture))
        unread = [message for message in parsed if isinstance(message, bytes)]
        assert not unread, capture.name
        found = {row for message in parsed if isinstance(message, Message) for row in rows(message)}
        truth = expected(capture)
        assert found <= truth, capture.name
        counted += len(found)
        if missed := truth - found:
            misses[capture.name] = missed
    for name in TUNNELLED:
        assert {row[0] for row in misses.pop(name)} == {"star.c10r.facebook.com"}
    assert misses == MISSES
    assert counted == 857


def test_answers_of_the_corpus_resolve_the_names_that_were_asked() -> None:
    counted = 0
    for capture in read_corpus():
        found: dict[str, set[str]] = {}
        for message in messages(capture):
            resolution = maybe_resolution(message) if isinstance(message, Message) else None
            if resolution is not None:
                addresses = found.setdefault(resolution.name, set())
                addresses |= {str(ipaddress.ip_address(raw)) for raw, _ in resolution.addresses}
        truth = {
            name.lower(): {*values.get("A", ()), *values.get("AAAA", ())}
            for name, values in capture.truth["dns"]["resolved"].items()
            if "A" in values or "AAAA" in values
        }
        if capture.name not in TUNNELLED:
            assert found == truth, capture.name
            counted += len(found)
    assert counted == 73


LABEL = st.from_regex(r"[a-z0-9_-]{1,12}", fullmatch=True)
NAME = st.lists(LABEL, min_size=1, max_size=4).map(lambda labels: ".".join([*labels, "test"]))
V4, V6 = (st.ip_addresses(v=version).map(str) for version in (4, 6))


def service_text(target: str, v4: list[str], v6: list[str]) -> str:
    hints = [f"{key}={','.join(ip)}" for key, ip in (("ipv4hint", v4), ("ipv6hint", v6)) if ip]
    return " ".join(["1", f"{target}.", "alpn=h2,h3", "port=8443", *hints])


DATA = (
    st.tuples(st.just("A"), V4)
    | st.tuples(st.just("AAAA"), V6)
    | st.tuples(st.just("CNAME"), NAME.map("{}.".format))
    | st.tuples(
        st.just("HTTPS"),
        st.builds(service_text, NAME, st.lists(V4, max_size=3), st.lists(V6, max_size=3)),
    )
    | st.tuples(st.just("MX"), NAME.map("10 {}.".format))
)
RRSETS = st.lists(
    st.builds(
        lambda owner, ttl, data: dns.rrset.from_text(f"{owner}.", ttl, "IN", *data),
        NAME,
        st.integers(0, 2**31 - 1),
        DATA,
    ),
    max_size=4,
)


def records_in(rrsets: list[dns.rrset.RRset]) -> Iterator[Record]:
    """What the parser should make of them."""
    for rrset in rrsets:
        owner, data, target, addresses = str(rrset.name)[:-1], rrset[0], None, []
        if rrset.rdtype in (A, AAAA):
            addresses = [data.address]
        elif rrset.rdtype == CNAME:
            target = str(data.target)[:-1]
        elif rrset.rdtype == HTTPS:
            target = str(data.target)[:-1]
            for hint in (data.params.get(4), data.params.get(6)):
                addresses += hint.addresses if hint else ()
        else:
            continue
        packed = tuple(ipaddress.ip_address(address).packed for address in addresses)
        yield Record(owner, rrset.rdtype, rrset.ttl, packed, target)


@given(NAME, RRSETS, RRSETS, RRSETS, st.sampled_from([0, 3, 16, 23]))
@settings(max_examples=50)
def test_what_dnspython_writes_is_what_is_read(
    name: str,
    answer: list[dns.rrset.RRset],
    authority: list[dns.rrset.RRset],
    additional: list[dns.rrset.RRset],
    rcode: int,
) -> None:
    written = dns.message.make_response(dns.message.make_query(f"{name}.", "A", use_edns=0))
    written.set_rcode(dns.rcode.Rcode.make(rcode))
    written.answer, written.authority, written.additional = answer, authority, additional
    read = parse_message(written.to_wire(max_size=65535))
    assert (read.id, read.rcode, read.complete) == (written.id, rcode, True)
    assert [question.name for question in read.questions] == [name]
    assert read.answers == tuple(records_in(answer))
    assert read.authority == tuple(records_in(authority))
    assert read.additional == tuple(records_in(additional))
