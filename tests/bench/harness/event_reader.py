"""Reads an event for each packet by a callback of BCC, as tools made with BCC do, and counts flows.

    python -m tests.bench.harness.event_reader DESCRIPTOR

The ring's descriptor is inherited. Opened and polled as BPF.open_ring_buffer and ring_buffer_poll
of bcc do it, which work only in the process that compiled the program. Ends with SIGTERM.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]
_READY = b"ready\n"
_POLL_MS = 1000


class PacketEvent(ctypes.Structure):
    """`struct packet_event` of tests/bench/layouts/per_packet.c."""

    _fields_ = (
        ("head", ctypes.c_uint64),
        ("key", ctypes.c_uint8 * 40),
        ("packets", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
    )


@contextmanager
def reading(ring_fd: int) -> Iterator[int]:
    """A process that reads a ring while this lasts; its id."""
    reader = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.harness.event_reader", str(ring_fd)],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        pass_fds=[ring_fd],
    )
    assert reader.stdout is not None
    with reader, reader.stdout:
        if reader.stdout.readline() != _READY:
            raise RuntimeError("the reader of events did not start")
        try:
            yield reader.pid
        finally:
            reader.terminate()


def main() -> None:
    """Reads until it is ended."""
    from bcc.libbcc import _RINGBUF_CB_TYPE, lib

    event_pointer = ctypes.POINTER(PacketEvent)
    flows: dict[tuple[int, bytes], list[int]] = {}

    def count(context: object, data: int, size: int) -> int:
        event = ctypes.cast(data, event_pointer).contents
        counts = flows.setdefault((event.head, bytes(event.key)), [0, 0])
        counts[0] += event.packets
        counts[1] += event.bytes
        return 0

    callback = _RINGBUF_CB_TYPE(count)
    manager = lib.bpf_new_ringbuf(int(sys.argv[1]), callback, None)
    if not manager:
        sys.exit("the ring cannot be opened")
    os.write(sys.stdout.fileno(), _READY)
    while True:
        lib.bpf_poll_ringbuf(manager, _POLL_MS)


if __name__ == "__main__":
    main()
