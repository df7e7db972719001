"""What may become a label: host names, from bytes that anybody on the network can send."""

from __future__ import annotations

import re
import socket

from exporter.names.cursor import ParseError

HOST_NAME_MAX = 253
"""Characters of a name without its trailing dot: what 255 bytes of RFC 1035, 2.3.4 hold."""

_SHOWN_MAX = 40

_HOST_NAME = re.compile(rb"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_OCTET = rb"0*(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
_IPV4 = re.compile(rb"(?:%b\.){3}%b\.?" % (_OCTET, _OCTET))
_ZONE = re.compile(rb"[A-Za-z0-9._~-]+")
_ADDRESS_MAX = 64
"""Characters: 45 of an address, brackets, and a zone, which is the name of an interface."""


def maybe_host_name(raw: bytes) -> str | None:
    """The name in lower case, without a trailing dot; None where it is no host name."""
    if len(raw) > HOST_NAME_MAX and (len(raw) > HOST_NAME_MAX + 1 or raw[-1:] != b"."):
        return None
    if _HOST_NAME.fullmatch(raw) is None or _IPV4.fullmatch(raw) is not None:
        return None
    return raw.decode("ascii").rstrip(".").lower()


def parse_host_name(raw: bytes) -> str:
    """The name in lower case: letters, digits, hyphens, underscores and dots.

    At most 253 characters, labels of 1 to 63, one trailing dot taken off (RFC 1035, 2.3.4).
    Raises ParseError for anything else, an address too: who may meet one asks `is_ip_literal`
    first.
    """
    name = maybe_host_name(raw)
    if name is None:
        raise ParseError(f"not a host name: {raw[:_SHOWN_MAX]!r}")
    return name


def is_ip_literal(raw: bytes) -> bool:
    """Whether it is an IP address as text, which is no name and no error.

    IPv4 in four decimal parts; IPv6 with or without brackets, with or without a zone (RFC 3986,
    3.2.2; RFC 6874).
    """
    if len(raw) > _ADDRESS_MAX:
        return False
    if b":" not in raw:
        return _IPV4.fullmatch(raw) is not None
    if raw[:1] == b"[" and raw[-1:] == b"]":
        raw = raw[1:-1]
    address, percent, zone = raw.partition(b"%")
    if percent and _ZONE.fullmatch(zone) is None:
        return False
    try:
        socket.inet_pton(socket.AF_INET6, address.decode("ascii"))
    except (OSError, ValueError):
        return False
    return True
