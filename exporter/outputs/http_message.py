"""HTTP/1.1 as far as a scrape needs it: the head of a request in, a response out. No I/O.

Rules, by RFC 9110 and RFC 9112:
- No endpoint takes a body. A request that announces one is answered, and its connection closed, so
  that the body can never be taken for the next request.
- What is not plainly a request is refused: folded headers, blanks before a colon, control
  characters, a missing or repeated Host. A bare LF ends a line as CRLF does, as people type it.
- One bound holds for the whole head, HEAD_MAX.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

GZIP_WINDOW = 31
"""Window bits that make zlib write gzip."""

HEAD_MAX = 8192
"""Bytes of a request line with its headers. Prometheus sends 500; a browser with the cookies of
every other program on the host, or a proxy's token, some thousands. It bounds what a connection
that never completes its request can hold."""

_LINE_END = re.compile(rb"\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110, 5.6.2
_REQUEST_LINE = re.compile(rf"({_TOKEN}) ([!-~]+) HTTP/1\.([0-9])\Z")
_HEADER = re.compile(rf"({_TOKEN}):([\t -~\x80-\xff]*)\Z")
_SCHEME_AND_AUTHORITY = re.compile(r"https?://[^/?]*", re.IGNORECASE)
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TOKEN_START = re.compile(_TOKEN.encode())


class BadRequestError(Exception):
    """What was sent is no request that can be answered; `response` says why."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.response = text_response(status, why)


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request. Header names are in lower case, repeated ones joined by commas."""

    method: str
    path: str
    """Percent-decoded, its bytes as latin-1, as WSGI has it; empty where the target is no path."""
    query: str
    headers: dict[str, str]
    keep_alive: bool
    """Whether the connection may be used for another request after this one."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer. `status` is the code and its phrase."""

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def text_response(status: str, sentence: str, *headers: tuple[str, str]) -> Response:
    """A short answer for people."""
    return Response(
        status,
        (("Content-Type", "text/plain; charset=utf-8"), *headers),
        f"{sentence}\n".encode(),
    )


def maybe_request(buffer: bytearray) -> Request | None:
    """Take one request off the front of the buffer; None while its head is not complete.

    Raises BadRequestError, after which nothing more can be read from that connection.
    """
    if not buffer:
        return None
    if not _TOKEN_START.match(buffer):  # also a TLS ClientHello, whose sender waits for an answer
        raise BadRequestError("400 Bad Request", "This is not an HTTP request.")
    end = _HEAD_END.search(buffer, 0, HEAD_MAX)
    if end is None:
        if len(buffer) >= HEAD_MAX:
            raise BadRequestError(
                "431 Request Header Fields Too Large",
                f"The request line and headers have more than {HEAD_MAX} bytes.",
            )
        return None
    lines = _LINE_END.split(buffer[: end.start()])
    del buffer[: end.end()]
    return _parse_head([line.decode("latin-1") for line in lines])


def _parse_head(lines: list[str]) -> Request:
    request_line = _REQUEST_LINE.match(lines[0])
    if request_line is None:
        raise BadRequestError("400 Bad Request", "The request line is malformed.")
    method, target, minor_version = request_line.groups()
    headers: dict[str, str] = {}
    for line in lines[1:]:
        header = _HEADER.match(line)
        if header is None:
            raise BadRequestError("400 Bad Request", "A header is malformed.")
        name, value = header[1].lower(), header[2].strip(" \t")
        if name == "host" and name in headers:
            raise BadRequestError("400 Bad Request", "The Host header is repeated.")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    is_1_0 = minor_version == "0"
    if "host" not in headers and not is_1_0:  # RFC 9112, 3.2
        raise BadRequestError("400 Bad Request", "The Host header is missing.")
    path, query = _path_and_query(target)
    return Request(
        method=method,
        path=unquote_to_bytes(path).decode("latin-1"),
        query=query,
        headers=headers,
        keep_alive=not is_1_0 and not _has_body(headers) and not _wants_close(headers),
    )


def _path_and_query(target: str) -> tuple[str, str]:
    """Of the forms of a target (RFC 9112, 3.2), origin-form and absolute-form have a path."""
    path, _, query = _SCHEME_AND_AUTHORITY.sub("", target, count=1).partition("?")
    if path == "" and target != path:
        path = "/"
    return (path, query) if path.startswith("/") else ("", "")


def _has_body(headers: dict[str, str]) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _wants_close(headers: dict[str, str]) -> bool:
    options = headers.get("connection", "").lower().split(",")
    return any(option.strip() == "close" for option in options)


def http_date(at_s: float) -> str:
    """A moment, in seconds since the epoch, as in RFC 9110, 5.6.7, whatever the locale."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(at_s)
    return (
        f"{_WEEKDAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04}"
        f" {hour:02}:{minute:02}:{second:02} GMT"
    )


def encode(response: Response, *, date: str, head_only: bool, keep_alive: bool) -> bytes:
    """A response as it is sent; `head_only` answers HEAD, with the length that GET would have."""
    lines = [
        f"HTTP/1.1 {response.status}",
        f"Date: {date}",
        "Server: ayaflow-exporter",
        *(f"{name}: {value}" for name, value in response.headers),
        f"Content-Length: {len(response.body)}",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
        "",
        "",
    ]
    head = "\r\n".join(lines).encode("latin-1")
    return head if head_only else head + response.body
