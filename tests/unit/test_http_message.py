"""Request heads: whole, byte by byte, cut off everywhere, with bytes after them, and hostile."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.outputs.http_message import (
    HEAD_MAX,
    BadRequestError,
    Request,
    Response,
    encode,
    http_date,
    maybe_request,
)

SCRAPE = (
    b"GET /metrics?x=1 HTTP/1.1\r\nHost: node:10517\r\nAccept: text/plain\r\n"
    b"accept:\t*/*;q=0.1 \r\nX-Empty:\r\n\r\n"
)
PARSED = Request(
    method="GET",
    path="/metrics",
    query="x=1",
    headers={"host": "node:10517", "accept": "text/plain, */*;q=0.1", "x-empty": ""},
    keep_alive=True,
)


def parse(head: bytes) -> Request:
    request = maybe_request(bytearray(head))
    assert request is not None
    return request


def test_a_request_is_taken_off_and_what_follows_stays() -> None:
    buffer = bytearray(SCRAPE + b"GET /next")
    assert maybe_request(buffer) == PARSED
    assert buffer == b"GET /next"


def test_byte_by_byte_it_is_the_same_request_and_never_early() -> None:
    buffer = bytearray()
    for byte in SCRAPE[:-1]:
        buffer.append(byte)
        assert maybe_request(buffer) is None
    buffer.append(SCRAPE[-1])
    assert maybe_request(buffer) == PARSED


def test_bare_line_feeds_end_lines_too() -> None:
    assert maybe_request(bytearray(SCRAPE.replace(b"\r\n", b"\n"))) == PARSED


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", ""),
        (b"/a%20b%C3%A9?q=%20", "/a b\xc3\xa9", "q=%20"),
        (b"//two", "//two", ""),
        (b"http://node:1/metrics?a", "/metrics", "a"),
        (b"HTTPS://node", "/", ""),
        (b"http://node?a", "/", "a"),
        (b"*", "", ""),
        (b"node:443", "", ""),
    ],
)
def test_targets(target: bytes, path: str, query: str) -> None:
    request = parse(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
    assert (request.path, request.query) == (path, query)


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: foo, Close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", True),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", False),
    ],
)
def test_a_connection_is_kept_unless_it_must_close_or_a_body_follows(
    head: bytes, keep_alive: bool
) -> None:
    assert parse(head).keep_alive is keep_alive


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS ClientHello
        b"\r\n",
        b" GET / HTTP/1.1\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(junk: bytes) -> None:
    with pytest.raises(BadRequestError) as refused:
        maybe_request(bytearray(junk))
    assert refused.value.response.status == "400 Bad Request"


def test_a_head_may_have_8192_bytes_and_no_more() -> None:
    start = b"GET / HTTP/1.1\r\nHost: x\r\nA: "
    fits = start + b"b" * (HEAD_MAX - len(start) - 4) + b"\r\n\r\n"
    assert parse(fits).headers["a"].startswith("b")
    too_long = fits.replace(b"b\r\n\r\n", b"bb\r\n\r\n")
    for sent in (too_long, too_long[:HEAD_MAX]):
        with pytest.raises(BadRequestError) as refused:
            maybe_request(bytearray(sent))
        assert refused.value.response.status == "431 Request Header Fields Too Large"


@pytest.mark.parametrize("filler", [b" ", b"\t", b"a", b"a,", b"\x80"])
def test_no_header_takes_long_to_refuse(filler: bytes) -> None:
    start = b"GET / HTTP/1.1\r\nHost: x\r\nA:"
    head = bytearray(start + (filler * HEAD_MAX)[: HEAD_MAX - len(start) - 5] + b"\x00\r\n\r\n")
    before = time.process_time()
    with pytest.raises(BadRequestError):
        maybe_request(head)
    assert time.process_time() - before < 0.1  # quadratic, it would be seconds


@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda b: b"GET / HTTP/1.1\r\n" + b))
def test_any_bytes_give_a_request_or_a_refusal_or_a_wait(data: bytes) -> None:
    buffer = bytearray(data)
    try:
        request = maybe_request(buffer)
    except BadRequestError as error:
        status = error.response.status
    else:
        status = "400" if (request is None) == (bytes(buffer) == data) else "taken wrongly"
    assert status.startswith("4")


def test_a_response_to_head_differs_by_its_body_alone() -> None:
    response = Response("200 OK", (("Content-Type", "text/plain"),), b"body")
    whole = encode(response, date="now", head_only=False, keep_alive=True)
    head = encode(response, date="now", head_only=True, keep_alive=True)
    assert whole == head + b"body"
    assert head == (
        b"HTTP/1.1 200 OK\r\nDate: now\r\nServer: ayaflow-exporter\r\nContent-Type: text/plain\r\n"
        b"Content-Length: 4\r\nConnection: keep-alive\r\n\r\n"
    )


@pytest.mark.parametrize("at_s", [0, 784111777, 951782400, 1_795_937_000, 4_102_444_799.9])
def test_dates_are_those_of_the_mail_package(at_s: float) -> None:
    assert http_date(at_s) == formatdate(int(at_s), usegmt=True)
