"""Scrapers that mean no good: they take their time, say nothing, say nonsense, or do not listen."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle

from tests.e2e.exporter_process import PORT
from tests.e2e.net import Namespace

_ADDRESS = ("127.0.0.1", PORT)
_HEAD = b"GET /metrics HTTP/1.1\r\nHost: node\r\n"
_CONNECT_S = 10.0
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends a reset."""


def _silent(plug: socket.socket, rng: random.Random) -> None:
    """Says nothing at all."""


def _half(plug: socket.socket, rng: random.Random) -> None:
    plug.send(_HEAD[: rng.randrange(1, len(_HEAD))])


def _huge_header(plug: socket.socket, rng: random.Random) -> None:
    plug.send(_HEAD + b"X: " + rng.randbytes(1) * 100_000)


def _garbage(plug: socket.socket, rng: random.Random) -> None:
    plug.send(rng.randbytes(rng.randrange(1, 4096)))


def _deaf(plug: socket.socket, rng: random.Random) -> None:
    """Asks a hundred times and reads no answer."""
    plug.send((_HEAD + b"\r\n") * 100)


def _rude(plug: socket.socket, rng: random.Random) -> None:
    """Hangs up as it asks."""
    plug.send(_HEAD + b"\r\n")
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    plug.close()


KINDS: tuple[Callable[[socket.socket, random.Random], None], ...] = (
    *(_silent, _half, _huge_header, _garbage, _deaf, _rude),
)


def _connect(
    kind: Callable[[socket.socket, random.Random], None], rng: random.Random
) -> socket.socket:
    plug = socket.socket()
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plug.settimeout(_CONNECT_S)
    plug.connect(_ADDRESS)
    plug.setblocking(False)
    with suppress(OSError):
        kind(plug, rng)
    return plug


@contextmanager
def crowd(namespace: Namespace, size: int, rng: random.Random) -> Iterator[list[socket.socket]]:
    """So many of them, of all kinds."""

    def connect() -> list[socket.socket]:
        kinds = cycle(KINDS)
        return [_connect(next(kinds), rng) for _ in range(size)]

    plugs = namespace.inside(connect)
    try:
        yield plugs
    finally:
        for plug in plugs:
            plug.close()


def dribble(plugs: list[socket.socket], seconds: float) -> None:
    """Whoever still can says one more byte from time to time, and never comes to an end."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for plug in plugs:
            with suppress(OSError):
                plug.send(b"x")
        time.sleep(0.1)
