"""The one way that parsers read bytes from the wire: forwards, and never past the end.

A parser gets bytes and answers with what they say, with None for "need more", or with ParseError:
nothing else comes out of it. Integers are in network byte order.
"""

from __future__ import annotations

import struct
from types import TracebackType
from typing import Any


class ParseError(Exception):
    """The bytes are not what the parser reads. The one exception that parsers raise."""


class TruncatedError(ParseError):
    """The bytes ended too early: with more of them, they might parse."""


class Cursor:
    """A position in bytes, and reads from it.

    Each read raises TruncatedError if the bytes end before it does, and ParseError if a block does.
    """

    __slots__ = ("_blocks", "_data", "_end", "position", "reads")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = bytes(data)
        self._end = len(self._data)
        self._blocks = 0
        self.position = 0
        """Bytes from the start to the next read. Only reads and `seek` change it."""
        self.reads = 0
        """How many reads there were: what tests bound a parser's work by."""

    @property
    def remaining(self) -> int:
        """Bytes until the end of the innermost block, or of the data."""
        return self._end - self.position

    def u8(self) -> int:
        """One byte."""
        return self._data[self._pass(1)]

    def u16(self) -> int:
        """Two bytes."""
        at = self._pass(2)
        return self._data[at] << 8 | self._data[at + 1]

    def u24(self) -> int:
        """Three bytes."""
        at = self._pass(3)
        return int.from_bytes(self._data[at : at + 3], "big")

    def u32(self) -> int:
        """Four bytes."""
        at = self._pass(4)
        return int.from_bytes(self._data[at : at + 4], "big")

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Fields that always come together, as one read."""
        return layout.unpack_from(self._data, self._pass(layout.size))

    def take(self, length: int) -> bytes:
        """The next *length* bytes."""
        at = self._pass(length)
        return self._data[at : at + length]

    def skip(self, length: int) -> None:
        """Passes over *length* bytes."""
        self._pass(length)

    def rest(self) -> bytes:
        """What remains of the innermost block, or of the data."""
        return self.take(self.remaining)

    def maybe_line(self) -> bytes | None:
        """The bytes before the next line feed, which is passed over; None where there is none."""
        end = self._data.find(b"\n", self.position, self._end)
        self.reads += 1
        if end < 0:
            return None
        line = self._data[self.position : end]
        self.position = end + 1
        return line

    def seek(self, position: int) -> None:
        """Goes back to where a read was, or to there again. Raises ParseError past the end."""
        if not 0 <= position <= self._end:
            raise ParseError(f"no byte {position} in {self._end}")
        self.position = position

    def block(self, length: int) -> Block:
        """For `with`: the next *length* bytes are all there is, and all must be read in it.

        The cursor is what `as` gives, too. Leaving with bytes unread raises ParseError: what is
        to be ignored is passed over with `rest`.
        """
        if length < 0 or length > self.remaining:
            raise self._overrun(length)
        return Block(self, self.position + length)

    def _pass(self, length: int) -> int:
        """Moves on by *length*, and returns where that began."""
        at = self.position
        if length < 0 or length > self._end - at:
            raise self._overrun(length)
        self.position = at + length
        self.reads += 1
        return at

    def _overrun(self, length: int) -> ParseError:
        if length < 0:
            return ParseError(f"a length of {length}")
        if self._blocks:
            return ParseError(f"{length} bytes wanted, {self.remaining} left of the block")
        return TruncatedError(f"{length} bytes wanted, {self.remaining} left")


class Block:
    """Between its start and its end the cursor knows no bytes but the block's."""

    __slots__ = ("_cursor", "_end", "_outer_end")

    def __init__(self, cursor: Cursor, end: int) -> None:
        self._cursor = cursor
        self._end = end
        self._outer_end = end

    def __enter__(self) -> Cursor:
        cursor = self._cursor
        self._outer_end = cursor._end
        cursor._end = self._end
        cursor._blocks += 1
        return cursor

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        cursor = self._cursor
        unread = cursor.remaining
        cursor._end = self._outer_end
        cursor._blocks -= 1
        if unread and kind is None:
            raise ParseError(f"{unread} bytes of a block unread")
