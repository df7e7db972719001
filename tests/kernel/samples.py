"""Payloads that the kernel program sends or does not, and how many of them."""

from __future__ import annotations

import struct

import pytest

from tests import dns_messages
from tests.hellos import in_records, named, post_quantum_key_share
from tests.initials import crypto, initial

QUERY = dns_messages.message([dns_messages.question("a.test")], flags=dns_messages.QUERY_FLAGS)
ANSWER = dns_messages.message([dns_messages.question("a.test")])
HELLO = in_records(named(b"a.test"))
LARGE_HELLO = in_records(named(b"a.test", post_quantum_key_share(), padded_to=4000))
LONGEST_HELLO = in_records(named(b"a.test", padded_to=1 << 14))
REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
INITIAL = initial(crypto(0, named(b"a.test")))
NOISE = bytes(range(0x80, 0xC0)) * 16
"""Begins like nothing that is known."""

BUDGET = 36
"""INSPECTED_PACKETS_MAX of bpf/flow_events.h."""
UNKNOWN_PACKETS = 3
"""UNKNOWN_PACKETS_MAX of bpf/payload.h."""

either_family = pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])


def framed(message: bytes) -> bytes:
    """As DNS goes over TCP."""
    return struct.pack("!H", len(message)) + message
