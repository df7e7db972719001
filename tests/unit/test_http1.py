"""The host of a first request, as soon as it is known, and of nothing that is no HTTP/1."""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.names import http1
from exporter.names.cursor import ParseError
from exporter.names.hostname import is_ip_literal
from exporter.names.http1 import (
    HEAD_MAX,
    METHOD_MAX,
    METHODS,
    Request,
    looks_like_request,
    maybe_request,
)
from tests.corpus import Capture, http_streams, read_corpus
from tests.reads import counted_reads
from tests.streams import read_streams

READS_MAX = HEAD_MAX + 2
"""Every byte may be a line, and then there is the end."""

GET = b"GET / HTTP/1.1\r\n"


def host_of(stream: bytes) -> str | None:
    request = maybe_request(stream)
    assert request is not None
    return request.host


WHOLE = {
    GET + b"Host: example.com\r\n\r\n": Request("GET", "example.com", False, None),
    b"POST /a?b HTTP/1.0\r\nA: b\r\nHost: Example.COM:8080\r\n": Request(
        "POST", "example.com", False, None
    ),
    b"GET / HTTP/1.0\r\nAccept: */*\r\n\r\n": Request("GET", None, False, None),
    GET + b"Host: 192.0.2.1:80\r\n": Request("GET", None, False, None),
    GET + b"Host: [2001:db8::1]:80\r\n": Request("GET", None, False, None),
    GET + b"Host: 2001:db8::1\r\n": Request("GET", None, False, None),
    GET + b"Host:\r\n\r\n": Request("GET", None, False, None),
    b"CONNECT Example.com:443 HTTP/1.1\r\n": Request(
        "CONNECT", "example.com", True, "example.com:443"
    ),
    b"CONNECT [2001:DB8::1]:443 HTTP/1.1\r\n": Request("CONNECT", None, True, "[2001:db8::1]:443"),
    b"GET http://Example.com/a HTTP/1.1\r\n": Request("GET", "example.com", False, "example.com"),
    b"GET http://example.com:81?q HTTP/1.1\r\n": Request(
        "GET", "example.com", False, "example.com:81"
    ),
    b"GET http://example.org@example.com HTTP/1.1\r\n": Request(
        "GET", "example.com", False, "example.com"
    ),
    b"OPTIONS * HTTP/1.1\r\nHost: example.com\r\n": Request("OPTIONS", "example.com", False, None),
    b"VERSION-CONTROL /a HTTP/1.1\r\nhost:example.com\r\n": Request(
        "VERSION-CONTROL", "example.com", False, None
    ),
}
"""Requests, each up to where its host is known."""


@pytest.mark.parametrize(("stream", "request_"), WHOLE.items())
def test_a_request_is_known_as_soon_as_its_host_is_and_not_before(
    stream: bytes, request_: Request
) -> None:
    # Of the first, the empty line behind is not needed.
    needed = (
        stream.removesuffix(b"\r\n") if request_.host and stream.endswith(b"\r\n\r\n") else stream
    )
    for length in range(len(needed)):
        assert maybe_request(stream[:length]) is None
    assert maybe_request(needed) == request_
    for more in (b"\r\n", b"\r\nbody\x00\xff", b"A: b\r\n"):
        assert maybe_request(stream + more) == request_
    assert maybe_request(memoryview(stream)) == request_
    assert maybe_request(stream.replace(b"\r\n", b"\n")) == request_
    assert maybe_request(b"\r\n\r\n" + stream) == request_


@pytest.mark.parametrize(
    "line",
    [
        b"Host:example.com",
        b"host: example.com",
        b"hOsT:\t example.com \t",
        b"HOST: example.com.",
        b"Host: example.com:",
        b"Host: example.com:65535",
        b"X: y\r\nHost: example.com",
        b"X-Host: other.example\r\nHost: example.com",
        b"Hosting: other.example\r\nHost: example.com",
        b"no field\r\nHost: example.com",
        b": nameless\r\nHost: example.com",
        b"X: y\r\n Host: folded.example\r\nHost: example.com",
        b" Host: before.the.first.field\r\nHost: example.com",
        b"Host:\r\n example.com",
        b"Host:\r\n\t\r\n  example.com",
        b"Host : not.a.field.name\r\nHost: example.com",
        b"Host: example.com\r\nHost: example.com",
    ],
)
def test_a_host_line_however_it_is_written(line: bytes) -> None:
    assert host_of(GET + line + b"\r\nA: b\r\n\r\n") == "example.com"


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1",
        b"GET    /   HTTP/1.1",
        b"GET\t/\tHTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET /with spaces in it HTTP/1.1",
        b"GET /HTTP/1.1 HTTP/1.0",
        b"GET /caf\xc3\xa9 HTTP/1.1",
        b"GET relative HTTP/1.1",
        b"get / HTTP/1.1",
        b"X-NEW-METHOD / HTTP/1.9",
        b"M" * METHOD_MAX + b" / HTTP/1.1",
    ],
)
def test_a_request_line_however_it_is_written(line: bytes) -> None:
    assert host_of(line + b"\r\nHost: example.com\r\n") == "example.com"


def test_hosts_that_contradict_each_other_are_none() -> None:
    both = b"Host: a.example\r\nHost: b.example\r\n"
    assert host_of(GET + both) is None
    assert host_of(GET + b"Host:\r\nHost: b.example\r\n") is None
    assert host_of(GET + b"Host: a.example\r\n") == "a.example", "what follows is not waited for"
    assert host_of(GET + b"Host: a.example\r\n\r\n" + GET + b"Host: b.example\r\n") == "a.example"


def test_the_authority_of_the_request_line_counts_and_host_does_not() -> None:
    assert host_of(b"GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n") == "a.example"
    assert host_of(b"CONNECT a.example:443 HTTP/1.1\r\nHost: b.example\r\n\r\n") == "a.example"
    assert host_of(b"GET http:///path HTTP/1.1\r\nHost: b.example\r\n\r\n") is None
    assert host_of(b"GET /http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n") == "b.example"


@pytest.mark.parametrize(
    "stream",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"\0",
        b"\xff",
        b" GET / HTTP/1.1\r\n",
        b":",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"EHLO mail.example\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"GET /\r\n",
        b"GET HTTP/1.1\r\n",
        b"GET\r\n",
        b"GET / HTTP/1\r\n",
        b"GET / HTTP/1.\r\n",
        b"GET / http/1.1\r\n",
        b"GET / HTTP/1.10\r\n",
        b"DESCRIBE rtsp://a.example/ RTSP/1.0\r\n",
        b"OPTIONS sip:a.example SIP/2.0\r\n",
        b"SOURCE /mount ICE/1.0\r\n",
        b'CONNECT {"verbose":false}\r\n',
        b"GET /\0",
        b"GET /\x1b[A",
        b"M" * (METHOD_MAX + 1),
        b"CONNECT a b:443 HTTP/1.1\r\n",
        b"CONNECT a.example:https HTTP/1.1\r\n",
        b"CONNECT /path HTTP/1.1\r\n",
        b"CONNECT \xe9.example:443 HTTP/1.1\r\n",
        b"GET http://a_b%2e.example/ HTTP/1.1\r\n",
        GET + b"Host: a b\r\n",
        GET + b"Host: a.example\x00\r\n",
        GET + b"Host: a.example\rHost: b.example\r\n",
        GET + b"Host: a.example:80:80\r\n",
        GET + b"Host: a.example:-1\r\n",
        GET + b"Host: a.example:123456\r\n",
        GET + b"Host: user@a.example\r\n",
        GET + b"Host: a.example, b.example\r\n",
        GET + b"Host: {{host}}\r\n",
        GET + b"Host: " + b"a" * 64 + b"\r\n",
        GET + b"Host: a.example\r\n and more\r\n",
        GET + "Host: münchen.example\r\n".encode(),
        GET + b"Host: ::1:x\r\n",
    ],
)
def test_what_is_not_http1_or_has_no_name_for_host_is_an_error(stream: bytes) -> None:
    with pytest.raises(ParseError) as raised:
        maybe_request(stream)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 200


def test_a_head_without_a_host_is_looked_through_to_its_limit() -> None:
    fields = b"".join(b"Field-%d: value\r\n" % number for number in range(1000))
    line = b"Host: a.example\r\n"
    before = GET + fields
    assert maybe_request(before[: HEAD_MAX - 1]) is None
    with pytest.raises(ParseError, match=str(HEAD_MAX)):
        maybe_request(before[:HEAD_MAX])
    padding = HEAD_MAX - len(GET) - len(line) - len(b"P: \r\n")
    for more, found in ((0, True), (1, False)):
        stream = GET + b"P: " + b"p" * (padding + more) + b"\r\n" + line + fields
        with contextlib.nullcontext() if found else pytest.raises(ParseError):
            assert host_of(stream) == "a.example"


@pytest.mark.parametrize(
    "start", [b"", b"\r\n", b"G", b"GET", b"GET ", b"GET /a", b"\r\nPROPFIND /"]
)
def test_what_looks_like_a_request(start: bytes) -> None:
    assert looks_like_request(start)
    assert looks_like_request(memoryview(start))


@pytest.mark.parametrize(
    "start",
    [
        b"\x16\x03\x01",
        b"HTTP/1.1 200",
        b"GETX",
        b"GE /",
        b"get /",
        b" GET",
        b"SSH-",
        b"SETUP rtsp:",
    ],
)
def test_what_does_not_look_like_a_request(start: bytes) -> None:
    assert not looks_like_request(start)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_known_method_is_seen_byte_by_byte(method: bytes) -> None:
    start = method + b" /"
    for length in range(len(start)):
        assert looks_like_request(start[: length + 1])
    assert not looks_like_request(method + b"\0")
    assert len(method) <= METHOD_MAX


COSTLY = {
    "lines": GET + b"a\n" * 40000,
    "empty lines": b"\n" * 65536,
    "hosts": GET + b"Host:\n" * 12000,
    "folds": GET + b"Host:\n" + b" a\n" * 20000,
    "blanks": b"GET " + b" " * 65536,
    "words": b"GET" + b" a" * 4000 + b"\n",
    "versions": b"GET x" + b" HTTP/1.1" * 800 + b"x\n",
    "colons": GET + b"Host: " + b":" * 8000 + b"\n",
    "dots": GET + b"Host: " + b"a." * 4000 + b"\n",
    "schemes": b"GET " + b"a" * 8000 + b" HTTP/1.1\n\n",
    "zeros": bytes(65536),
}


@pytest.mark.parametrize(("kind", "stream"), COSTLY.items())
def test_64_kb_of_anything_take_a_bounded_number_of_reads(kind: str, stream: bytes) -> None:
    with counted_reads(http1) as reads, contextlib.suppress(ParseError):
        maybe_request(stream)
    assert reads.total <= READS_MAX, kind


def read_all(stream: bytes) -> None:
    """It ends in a request, in the wish for more, or in ParseError."""
    looks_like_request(stream)
    with counted_reads(http1) as reads, contextlib.suppress(ParseError):
        request = maybe_request(stream)
        if request is not None and request.authority is not None:
            assert request.authority.isascii()
            assert request.authority.isprintable()
    assert reads.total <= READS_MAX


@given(st.binary(max_size=200))
def test_only_a_parse_error_comes_out_of_random_bytes(data: bytes) -> None:
    for start in (b"", b"GET ", b"CONNECT ", b"GET http://", GET, GET + b"Host:"):
        read_all(start + data)
        read_all(start + data + b" HTTP/1.1\r\n\r\n")


@given(st.data())
@settings(max_examples=200)
def test_only_a_parse_error_comes_out_of_mutated_requests(data: st.DataObject) -> None:
    stream = bytearray(data.draw(st.sampled_from(http_streams(400)[::5])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(stream) - 1))
        stream[at : at + 1] = data.draw(
            st.sampled_from([b"", b"\r", b"\n", b" ", b":", b"\0\xff", b"@"])
        )
    read_all(bytes(stream))


def first_requests(capture: Capture) -> Counter[tuple[str, str, str, int]]:
    """Hosts that the parser finds at the start of streams: host, client, server and port."""
    found: Counter[tuple[str, str, str, int]] = Counter()
    for stream in read_streams(capture.path):
        with contextlib.suppress(ParseError):
            request = maybe_request(stream.data())
            if request is not None and request.host is not None:
                ends = stream.ends
                found[request.host, ends.source, ends.destination, ends.destination_port] += 1
    return found


MISSES = {
    # The flow that is counted is the tunnel's: IPv6 in IPv4, and GTP in UDP.
    "6in4tunnel.pcap": {"mail.tomasu.net"},
    "false_positives.pcapng": {"wludo.superkinglabs.com"},
}
"""Hosts of first requests that the truth has and the parser has not, and why."""


def test_all_first_hosts_of_the_corpus_are_found_and_no_others() -> None:
    misses: dict[str, set[str]] = {}
    counted = 0
    for capture in read_corpus():
        truth: Counter[tuple[str, str, str, int]] = Counter()
        for row in capture.truth["http_hosts"]:
            host = row["host"].lower().partition(":")[0]
            if row["first_request"] and not is_ip_literal(host.encode()):
                ends = host, row["client"], row["server"], row["server_port"]
                truth[ends] += row["first_request"]
        found = first_requests(capture)
        assert found <= truth, capture.name
        counted += found.total()
        if missed := truth - found:
            misses[capture.name] = {row[0] for row in missed}
    assert misses == MISSES
    assert counted == 79
