"""Networks in CIDR notation, and which of them holds an address."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable

from exporter.values import quoted

MAPPED = bytes(10) + b"\xff\xff"
"""What an IPv4 address begins with that is written as one of IPv6 (::ffff:a.b.c.d)."""


class Networks:
    """Which name an address has, by the longest prefix."""

    def __init__(self, networks: Iterable[tuple[str, str]]) -> None:
        """Pairs of a network (`10.0.0.0/8`) and its name.

        Raises ValueError with the end of a sentence whose subject is the list.
        """
        named: dict[tuple[int, int], dict[int, str]] = {}
        for cidr, name in networks:
            address, length = parse_network(cidr)
            width = 8 * len(address)
            prefix = int.from_bytes(address, "big") >> width - length
            if named.setdefault((width, length), {}).setdefault(prefix, name) != name:
                raise ValueError(f"must not give {cidr} two names")
        self._by_width = {
            width: [
                (width - length, named[width, length])
                for wide, length in sorted(named, reverse=True)
                if wide == width
            ]
            for width in (32, 128)
        }

    def name_of(self, address: bytes) -> str | None:
        """The name of the longest network around *address*, of 4 or 16 bytes."""
        number = int.from_bytes(address, "big")
        for shift, names in self._by_width[8 * len(address)]:
            name = names.get(number >> shift)
            if name is not None:
                return name
        return None


def parse_network(text: str) -> tuple[bytes, int]:
    """The address and the prefix length of `10.0.0.0/8`, `2001:db8::/32` or a bare address.

    Raises ValueError with the end of a sentence: what the text must be.
    """
    wrong = ValueError(f"must be a network such as 10.0.0.0/8 or fd00::/8, not {quoted(text)}")
    host, slash, digits = text.partition("/")
    try:
        address = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except (OSError, ValueError):
        raise wrong from None
    width = 8 * len(address)
    if slash and not re.fullmatch(r"[0-9]{1,3}", digits):
        raise wrong
    length = int(digits) if slash else width
    if length > width:
        raise wrong
    if address.startswith(MAPPED) and length >= 96:
        address, length, width = address[12:], length - 96, 32
    if int.from_bytes(address, "big") & (1 << width - length) - 1:
        raise ValueError(f"must be a network without host bits, not {quoted(text)}")
    return address, length
