"""The first bytes of one direction of a TCP connection, put together from segments in any order.

Segments may be lost, repeated, overlap or come out of order. Where two disagree, the one that
begins first counts, and of two that begin together the one that came first. What a stream may hold
is bounded: it is only the beginning that is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

BYTES_MAX = 24 * 1024
"""A ClientHello of 16 KB in its records, and a request before it (CONNECT)."""

SEGMENTS_MAX = 64
"""As many as the kernel program lets through of one flow, in chunks."""

_SEGMENT_COST = 200
_STREAM_COST = 800
"""Bytes of memory that holding them takes, besides what they hold."""

_MODULUS = 1 << 32
_HALF = 1 << 31


class Stream:
    """Segments of one direction, kept in the order of their sequence numbers."""

    __slots__ = ("_base", "_segments", "held")

    def __init__(self) -> None:
        self._base = 0
        self._segments: list[tuple[int, bytes]] = []
        self.held = 0
        """Bytes that the stream holds."""

    def add(self, sequence: int, data: bytes) -> bool:
        """Takes a segment, whose first byte has this sequence number; False if it has no room."""
        if not self._segments:
            self._base = sequence
        position = (sequence - self._base + _HALF) % _MODULUS - _HALF
        if self.held + len(data) > BYTES_MAX or len(self._segments) >= SEGMENTS_MAX:
            return False
        self._segments.append((position, data))
        self._segments.sort(key=lambda segment: segment[0])
        self.held += len(data)
        return True

    @property
    def cost(self) -> int:
        """Bytes of memory that it takes to hold the stream."""
        return _STREAM_COST + _SEGMENT_COST * len(self._segments) + self.held

    def drop(self, length: int) -> None:
        """Lets go of so many bytes, from the first on, which were read."""
        end = self._segments[0][0] + length
        self._segments = [
            (max(position, end), data[max(end - position, 0) :])
            for position, data in self._segments
            if position + len(data) > end
        ]
        self.held = sum(len(data) for _, data in self._segments)

    def beginnings(self) -> Iterator[bytes]:
        """For each segment, first to last, all the bytes that follow from its first without a gap.

        A message that is looked for begins with a segment, not always with the first: it may follow
        other messages, and the first to come may not be the first of the connection.
        """
        for index, (start, _) in enumerate(self._segments):
            gathered = bytearray()
            for position, data in self._segments[index:]:
                missing = start + len(gathered) - position
                if missing < 0:
                    break
                gathered += data[missing:]
            yield bytes(gathered)
