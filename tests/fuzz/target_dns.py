"""DNS messages, of datagrams and of streams, and what they teach."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from exporter.names.cursor import ParseError
from exporter.names.dns import maybe_message, parse_message
from exporter.names.dns_answer import maybe_resolution
from exporter.names.hostname import maybe_host_name
from tests.corpus import dns_payloads
from tests.dns_messages import costly_messages


def seeds() -> Iterable[bytes]:
    """Messages of the corpus, and the start of those that cost most."""
    yield from dns_payloads()
    for sample in costly_messages().values():
        yield sample[:1000]


def one_input(data: bytes) -> None:
    """A resolution gives addresses to a host name; a message that parses whole parses cut."""
    with contextlib.suppress(ParseError):
        maybe_message(data)
    with contextlib.suppress(ParseError):
        message = parse_message(data, partial=True)
        resolution = maybe_resolution(message)
        assert resolution is None or maybe_host_name(resolution.name.encode()) == resolution.name
    with contextlib.suppress(ParseError):
        assert parse_message(data) == parse_message(data, partial=True)
