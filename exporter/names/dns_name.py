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
LABELS_MAX = 8192
"""Labels and pointers of a message. Enough for the longest answer that repeats one name, of 4,095
records, and for one of a thousand hosts in one domain."""

_LABEL_MAX = 63
_POINTER = 0xC0


class LabelsMaxError(ParseError):
    """The message has more labels than are read of one."""


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

        RFC 1035, 4.1.4. Raises ParseError where it is malformed, LabelsMaxError beyond LABELS_MAX.
        """
        cursor = self._cursor
        start = cursor.position
        labels: list[bytes] = []
        wire_len = 0
        while True:
            self._spend(1)
            length = cursor.u8()
            if length == 0:
                return self._join(labels, wire_len, ROOT)
            if length >= _POINTER:
                target = (length - _POINTER) << 8 | cursor.u8()
                return self._join(labels, wire_len, self._follow(target, start, pointers))
            if length > _LABEL_MAX:
                # RFC 6891, 5: the extended label types are not in use.
                raise ParseError(f"a label of type {length >> 6}")
            labels.append(cursor.take(length))
            wire_len += 1 + length
            if wire_len >= WIRE_NAME_MAX:
                raise ParseError(f"a name of more than {WIRE_NAME_MAX} bytes")

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
        if not labels:
            return tail
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
            raise LabelsMaxError(f"more than {LABELS_MAX} labels")
