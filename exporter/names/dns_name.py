"""Names in DNS messages: labels, then the root or a pointer to where the rest was said before.

Who follows pointers blindly never ends. Here each goes further back than the labels before it, what
one points at is read once, and a message has a budget of labels.
"""

from __future__ import annotations

from typing import NamedTuple

from exporter.names.cursor import Cursor, ParseError
from exporter.names.hostname import maybe_host_name

WIRE_NAME_MAX = 255
"""Bytes of a name, with the length of each label and the root: RFC 1035, 2.3.4."""
POINTERS_MAX = 126
"""Pointers that lead to a label: each useful one follows a label, and no name has more of them."""
LABELS_MAX = 4096
"""Labels of all names of a message, and pointers; a name that is said again is one pointer. That is
four times the answers that RECORDS_MAX lets in, and bounds the time that 64 KB of names take."""

_LABEL_MAX = 63
_POINTER = 0xC0


class LimitError(ParseError):
    """The message is well-formed as far as it was read, and has more than is read of one."""


class Name(NamedTuple):
    """A name as it was sent, and as text."""

    labels: tuple[bytes, ...]
    text: str | None
    """As a host name; None where it is none: the root, `*.example.com`, a label with a dot."""
    wire_len: int
    """Bytes that it takes without pointers."""


ROOT = Name((), None, 1)


class NameReader:
    """Reads the names of one message, through its cursor."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._pointed_at: dict[int, Name] = {}
        self._labels_left = LABELS_MAX

    def read_name(self, pointers: int = 0) -> Name:
        """The name at the cursor, which is left behind it; so many *pointers* led there.

        RFC 1035, 4.1.4. Raises ParseError where it is malformed, LimitError beyond LABELS_MAX.
        """
        cursor = self._cursor
        start = cursor.position
        labels: list[bytes] = []
        wire_len = 0
        while 0 < (length := cursor.u8()) <= _LABEL_MAX:
            labels.append(cursor.take(length))
            wire_len += 1 + length
            if wire_len >= WIRE_NAME_MAX:
                raise ParseError(f"a name of more than {WIRE_NAME_MAX} bytes")
        self._spend(len(labels) + 1)
        if length == 0:
            tail = ROOT
        elif length >= _POINTER:
            tail = self._follow((length - _POINTER) << 8 | cursor.u8(), start, pointers)
        else:
            # RFC 6891, 5: the extended label types are not in use.
            raise ParseError(f"a label of type {length >> 6}")
        return self._join(labels, wire_len, tail) if labels else tail

    def _follow(self, target: int, start: int, pointers: int) -> Name:
        if target >= start:
            raise ParseError(f"a pointer from {start} to {target}, which is not before it")
        name = self._pointed_at.get(target)
        if name is None:
            if pointers >= POINTERS_MAX:
                raise ParseError(f"more than {POINTERS_MAX} pointers")
            after = self._cursor.position
            self._cursor.seek(target)
            name = self._pointed_at[target] = self.read_name(pointers + 1)
            self._cursor.seek(after)
        return name

    def _join(self, labels: list[bytes], wire_len: int, tail: Name) -> Name:
        wire_len += tail.wire_len
        if wire_len > WIRE_NAME_MAX:
            raise ParseError(f"a name of more than {WIRE_NAME_MAX} bytes")
        self._spend(len(tail.labels))
        every = (*labels, *tail.labels)
        joined = b".".join(every)
        # A dot within a label would make two of it.
        text = None if joined.count(b".") >= len(every) else maybe_host_name(joined)
        return Name(every, text, wire_len)

    def _spend(self, labels: int) -> None:
        self._labels_left -= labels
        if self._labels_left < 0:
            raise LimitError(f"more than {LABELS_MAX} labels")
