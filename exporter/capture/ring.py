"""Reads the ring buffers of events, mapped into memory: one batch of records for each look.

Layout of a BPF ring buffer (kernel/bpf/ringbuf.c): a page with the consumer's position, a page with
the producer's, then the data. Before each record lies an 8-byte header; bit 31 says that the kernel
is still writing it. The kernel offers the data twice in a row, so that no record wraps; mapped so
they would count as twice the memory, and a record that wraps is put together here instead.

A reader must see a record no older than the position that announces it. x86 never reorders loads;
on other processors a barrier stands between the steps.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
from collections.abc import Callable
from typing import Any

from exporter.capture.records import FLOW_EVENT, Payload, decode_payload

_BUSY = 1 << 31
_LENGTH_MASK = (1 << 30) - 1
_HEADER_BYTES = 8
_FLOW_RECORD = struct.Struct("=8x" + FLOW_EVENT.format[1:])

PAYLOADS_PER_LOOK = 2048
"""Bounds the memory of a look, and the time until the next thing is done; the rest waits."""

_MEMBARRIER = {"aarch64": 283, "riscv64": 283, "ppc64le": 365, "s390x": 356}
_MEMBARRIER_PRIVATE_EXPEDITED = 8
_MEMBARRIER_REGISTER_PRIVATE_EXPEDITED = 16


def _make_barrier() -> Callable[[], object]:
    """A full memory barrier, by membarrier(2); nothing where loads are never reordered."""
    number = _MEMBARRIER.get(platform.machine())
    if number is None:
        return lambda: None
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(number, _MEMBARRIER_REGISTER_PRIVATE_EXPEDITED, 0, 0)
    return lambda: libc.syscall(number, _MEMBARRIER_PRIVATE_EXPEDITED, 0, 0)


class _Ring:
    """A mapped ring. `fd` is for epoll: readable when the kernel wakes its reader."""

    def __init__(self, fd: int, size: int) -> None:
        """*size*: of the data, in bytes, as the map was made."""
        self.fd = fd
        self._mask = size - 1
        self._consumer_map = mmap.mmap(fd, mmap.PAGESIZE)
        self._producer_map = mmap.mmap(
            fd, mmap.PAGESIZE + size, prot=mmap.PROT_READ, offset=mmap.PAGESIZE
        )
        self._consumer = memoryview(self._consumer_map).cast("Q")
        self._producer = memoryview(self._producer_map).cast("Q")
        self._data = memoryview(self._producer_map)[mmap.PAGESIZE :]
        self._headers = self._data.cast("Q")
        self._barrier = _make_barrier()

    def _bytes(self, position: int, length: int) -> bytes:
        """So many bytes from a position on."""
        start = position & self._mask
        end = start + length
        if end <= len(self._data):
            return bytes(self._data[start:end])
        return bytes(self._data[start:]) + bytes(self._data[: end - len(self._data)])

    def _header(self, position: int) -> int:
        return self._headers[(position & self._mask) // _HEADER_BYTES]


class FlowEventRing(_Ring):
    """The ring of `struct flow_event`s, all of one size."""

    def drain(self) -> list[tuple[Any, ...]]:
        """All complete records, oldest first, as the fields of FLOW_EVENT."""
        position, end = self._consumer[0], self._producer[0]
        self._barrier()
        ready = position
        while ready < end and not self._header(ready) & _BUSY:
            ready += _FLOW_RECORD.size
        if ready == position:
            return []
        self._barrier()
        records = list(_FLOW_RECORD.iter_unpack(self._bytes(position, ready - position)))
        self._barrier()
        self._consumer[0] = ready
        return records


class PayloadRing(_Ring):
    """The ring of `struct payload_event`s, each with the bytes that follow it."""

    def drain(self) -> list[Payload]:
        """Complete records, oldest first; PAYLOADS_PER_LOOK at most."""
        position, end = self._consumer[0], self._producer[0]
        if position == end:
            return []
        self._barrier()
        found: list[tuple[int, int]] = []
        while position < end and len(found) < PAYLOADS_PER_LOOK:
            header = self._header(position)
            if header & _BUSY:
                break
            length = header & _LENGTH_MASK
            found.append((position + _HEADER_BYTES, length))
            position += _HEADER_BYTES + (length + 7 & ~7)
        self._barrier()
        payloads = [decode_payload(self._bytes(at, length)) for at, length in found]
        self._barrier()
        self._consumer[0] = position
        return payloads
