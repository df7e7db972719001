"""Host names and addresses as text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from exporter.names.hostname import is_ip_literal, maybe_host_name

_LABELS = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


def seeds() -> Iterable[bytes]:
    """One of each kind."""
    return [b"www.Example.com.", b"192.0.2.1", b"[2001:db8::1%25eth0]", b"a" * 254, b"\xff.\0"]


def one_input(data: bytes) -> None:
    """Nothing but a host name becomes a label, and an address is none."""
    name = maybe_host_name(data)
    if is_ip_literal(data):
        assert name is None
    if name is not None:
        assert len(name) <= 253
        assert _LABELS.fullmatch(name)
