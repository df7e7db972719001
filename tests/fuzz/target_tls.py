"""ClientHellos over TCP: streams in records, and bare messages."""

from __future__ import annotations

import contextlib

from exporter.names.cursor import ParseError
from exporter.names.tls import (
    bytes_wanted,
    looks_like_client_hello,
    maybe_client_hello,
    parse_client_hello,
)
from tests import hellos
from tests.corpus import read_corpus
from tests.streams import read_streams


def seeds() -> list[bytes]:
    odd = hellos.named(b"a.example", hellos.extension(hellos.ECH, bytes(9)), padded_to=300)
    streams = [
        stream.data()[:4096] for capture in read_corpus() for stream in read_streams(capture.path)
    ]
    return [*filter(looks_like_client_hello, streams), odd, hellos.in_records(odd, 3)]


def one_input(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        hello = maybe_client_hello(data)
        assert looks_like_client_hello(data[:6])
        assert (hello is None) == (bytes_wanted(data) > len(data))
    with contextlib.suppress(ParseError):
        parse_client_hello(data)
