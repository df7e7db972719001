"""Headers of the PROXY protocol before a client's own bytes."""

from __future__ import annotations

import pytest

from exporter.capture.records import PROTOCOL_TCP, Payload
from exporter.names.aes import Aes
from exporter.names.inspection import Finding, Inspection
from exporter.names.proxy_protocol import header_len
from tests.hellos import in_records, named

HELLO = in_records(named(b"a.test"))
REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
HEADERS = {
    "v1": b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
    "v1-longest": b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n",
    "v2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
    "v2-local": b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    "v2-with-more": b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x01\x24" + bytes(36 + 256),
}

each_header = pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)


@each_header
def test_a_header_is_as_long_as_it_says_once_it_is_whole(header: bytes) -> None:
    for length in range(len(header)):
        assert header_len(header[:length]) == 0
    for more in (b"", HELLO, bytes(300)):
        assert header_len(header + more) == len(header)


@pytest.mark.parametrize("stream", [b"", b"P", HELLO, REQUEST, b"PROXY" + b"Y" * 200 + b"\r\n"])
def test_what_else_a_stream_begins_with_is_no_header(stream: bytes) -> None:
    assert header_len(stream) == 0


def test_a_line_that_is_too_long_is_no_header() -> None:
    assert header_len(b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n") == 0


def found(segments: list[bytes]) -> list[str | None]:
    """The names that a client's segments state."""
    inspection, names, sequence = Inspection(Aes()), [], 0
    for data in segments:
        payload = Payload(0, 1, 1, PROTOCOL_TCP, bytes(4), bytes(4), 1, 443, sequence, 0, data)
        names += [seen.name for seen in inspection.read(payload) if isinstance(seen, Finding)]
        sequence += len(data)
    assert sum(inspection.errors.values()) == 0
    return names


@each_header
@pytest.mark.parametrize("message", [HELLO, REQUEST], ids=["tls", "http"])
def test_the_name_behind_it_is_found_however_it_is_cut(header: bytes, message: bytes) -> None:
    stream = header + message
    assert found([stream]) == ["a.test"]
    for at in (1, 6, 15, 16, len(header) - 1, len(header), len(header) + 1, len(header) + 20):
        assert found([stream[:at], stream[at:]]) == ["a.test"]
