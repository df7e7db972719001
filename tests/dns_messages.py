"""DNS messages for tests, byte for byte: also such as no library would make."""

from __future__ import annotations

import struct
from collections.abc import Sequence

QUERY_FLAGS = 0x0100
RESPONSE_FLAGS = 0x8180
TRUNCATED = 0x0200

HEADER_LEN = 12
AT_QUESTION = HEADER_LEN
"""Where the name of the first question lies."""

MESSAGE_MAX = 65535


def wire(name: str | bytes) -> bytes:
    """A name without pointers; of one that ends in a dot, the dot is the root."""
    raw = name.encode() if isinstance(name, str) else name
    labels = [label for label in raw.split(b".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def pointer(to: int) -> bytes:
    """A pointer to this offset of the message."""
    return struct.pack(">H", 0xC000 | to)


def question(name: str | bytes, qtype: int = 1, qclass: int = 1) -> bytes:
    """A name as text, and what is asked of it."""
    return wire(name) + struct.pack(">HH", qtype, qclass)


def record(owner: bytes, rtype: int, data: bytes, ttl: int = 60, rclass: int = 1) -> bytes:
    """*owner* as it is sent."""
    return owner + struct.pack(">HHIH", rtype, rclass, ttl, len(data)) + data


def service(target: bytes, *parameters: tuple[int, bytes], priority: int = 1) -> bytes:
    """The data of an HTTPS or SVCB record; *target* as it is sent."""
    return (
        struct.pack(">H", priority)
        + target
        + b"".join(struct.pack(">HH", key, len(value)) + value for key, value in parameters)
    )


def message(
    questions: Sequence[bytes] = (),
    *sections: Sequence[bytes],
    flags: int = RESPONSE_FLAGS,
    message_id: int = 0x1234,
) -> bytes:
    """Sections: answers, authority, additional."""
    parts = [questions, *sections, *[()] * (3 - len(sections))]
    header = struct.pack(">6H", message_id, flags, *map(len, parts))
    return header + b"".join(b"".join(part) for part in parts)


def filled(head: bytes, unit: bytes) -> bytes:
    """A message as long as the protocol allows, of a head and as many units as fit; its counts
    claim more of them.
    """
    return head[:6] + b"\xff\xff" + head[8:] + unit * ((MESSAGE_MAX - len(head)) // len(unit))


def costly_messages() -> dict[str, bytes]:
    """64 KB each of what takes the most reads, by what it is made of."""
    head = message([question("a.bc")])
    here = pointer(AT_QUESTION)
    longest = wire(b".".join([b"a"] * 126))
    hints = [(4, bytes(range(4))), (6, bytes(range(16)))]
    steps = [(key, b"") for key in (0, 1, 2, 3, 5)]
    chain = b"".join(pointer(HEADER_LEN + 11 + 2 * max(at - 1, 0)) for at in range(8000))
    return {
        "questions": b"\0\0\0\0\xff\xff" + bytes(6) + question("") * 13104,
        "addresses": filled(head, record(here, 1, bytes(4))),
        "labels before a pointer": filled(head, record(b"\x03abc" + here, 1, bytes(4))),
        "records without data": filled(head, record(b"\0", 16, b"")),
        "long owners": filled(head, record(longest, 1, bytes(4))),
        "long targets": filled(head, record(longest, 5, longest)),
        "labels before a long tail": filled(
            message([question(b".".join([b"a"] * 120))]),
            record(b"\x01b" + here, 5, b"\x01c" + here),
        ),
        "hints": filled(head, record(here, 65, service(b"\0", *hints))),
        "parameters": filled(head, record(here, 65, service(b"\0", *steps))),
        "a chain of pointers": filled(
            message((), [record(b"\0", 16, chain)]),
            record(pointer(HEADER_LEN + 11 + 250), 1, b"1234"),
        ),
        "zeros": bytes(MESSAGE_MAX),
        "ones": b"\xff" * MESSAGE_MAX,
        "pointers": (b"\0\0\x81\x80\xff\xff\xff\xff\0\0\0\0" + here * 40000)[:MESSAGE_MAX],
    }
