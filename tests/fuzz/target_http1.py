"""First requests of HTTP/1."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from exporter.names.cursor import ParseError
from exporter.names.hostname import maybe_host_name
from exporter.names.http1 import looks_like_request, maybe_request
from tests.corpus import http_streams


def seeds() -> Iterable[bytes]:
    """Streams of the corpus, up to the end of the first head or so."""
    return http_streams(600)


def one_input(data: bytes) -> None:
    """A host is a host name, and half of the stream says the same or asks for more."""
    looks_like_request(data)
    with contextlib.suppress(ParseError):
        request = maybe_request(data)
        if request is None:
            return
        assert request.host is None or maybe_host_name(request.host.encode()) == request.host
        assert request.authority is None or request.authority.isascii()
        half = maybe_request(data[: len(data) // 2])
        assert half is None or half.method == request.method
