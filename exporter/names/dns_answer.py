"""What an answer taught its client: the addresses that stand for the name it asked for."""

from __future__ import annotations

import re
from typing import NamedTuple

from exporter.names.dns import CNAME, HTTPS, QUERY, SVCB, Message

_NO_ERROR = 0
_SERVICE_PREFIX = re.compile(r"\A(?:_[0-9]{1,5}\.)?_[a-z0-9-]+\.(?=.)")


class Resolution(NamedTuple):
    """A name and where it led."""

    name: str
    """The host name that was asked for, not what a CNAME made of it."""
    addresses: tuple[tuple[bytes, int], ...]
    """Addresses of 4 or 16 bytes, each with the smallest TTL on the way to it, in seconds."""


def maybe_resolution(message: Message) -> Resolution | None:
    """The name that a response answers and its addresses; None where it names no address.

    Those of the A, AAAA, HTTPS and SVCB records in the answer section whose owner is the name, or
    what CNAMEs there make of it, in any order (RFC 1034, 3.6.2). Who asks for the service of
    `_8443._https.example.com` means example.com (RFC 9460, 2.3).
    """
    if not message.is_response or message.opcode != QUERY or message.rcode != _NO_ERROR:
        return None
    # RFC 9619: a query has one question.
    name = message.questions[0].name if len(message.questions) == 1 else None
    if name is None:
        return None
    ttls = _aliases(name, message)
    addresses = {
        address: min(record.ttl, ttls[record.owner])
        for record in message.answers
        if record.owner in ttls
        for address in record.addresses
    }
    if not addresses:
        return None
    if message.questions[0].qtype in (HTTPS, SVCB):
        name = _SERVICE_PREFIX.sub("", name)
    return Resolution(name, tuple(addresses.items()))


def _aliases(name: str, message: Message) -> dict[str | None, int]:
    """The name and those that it leads to, each with the smallest TTL on the way."""
    cnames = {
        record.owner: record for record in message.answers if record.rtype == CNAME and record.owner
    }
    ttls: dict[str | None, int] = {}
    here: str | None = name
    ttl = 0xFFFFFFFF
    while here is not None and here not in ttls:
        ttls[here] = ttl
        cname = cnames.get(here)
        if cname is None:
            break
        here, ttl = cname.target, min(ttl, cname.ttl)
    return ttls
