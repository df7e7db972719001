"""The PROXY protocol: what a load balancer may send before a client's own bytes.

Its header says whose connection it passes on; nothing of it is taken over here, it is only passed.
Source: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt, 2.1 and 2.2.
"""

from __future__ import annotations

_LINE_START = b"PROXY "
_LINE_MAX = 107
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_LEN = 16
"""Of the binary header: the signature, version and command, family, and the length that follows."""


def header_len(stream: bytes) -> int:
    """Bytes of the header that a stream begins with; 0 where there is none, or not all of it."""
    if stream.startswith(_LINE_START):
        return stream.find(b"\r\n", 0, _LINE_MAX) + 2 if b"\r\n" in stream[:_LINE_MAX] else 0
    if stream.startswith(_SIGNATURE) and len(stream) >= _FIXED_LEN:
        length = _FIXED_LEN + int.from_bytes(stream[_FIXED_LEN - 2 : _FIXED_LEN], "big")
        return length if length <= len(stream) else 0
    return 0
