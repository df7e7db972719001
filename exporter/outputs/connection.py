"""One client of the web server: its socket, what it is waited for and how long, its bytes.

    READING ──► ANSWERING ──► WRITING ──► READING (kept alive)
       └── refused ──────────────┘ └────► LINGERING ──► closed

Nothing here waits: the server calls what its loop finds ready. Limits has every bound, and why.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of everything the network may take."""

    connections: int = 256
    """Far more than scrapers and probes, and few of the 1,024 descriptors a process may have."""
    requests: int = 64
    """Answered at once, each in a thread: a burst of scrapers. More are told 503 without one."""
    unsent_bytes: int = 16 << 20
    """Answers that clients have yet to read: 20 scrapes of 10,000 samples, not compressed. One that
    is larger by itself may still go."""
    head_s: float = 10.0
    """From the first byte of a request, or the connection, to its last."""
    idle_s: float = 90.0
    """A kept connection without a request: longer than the usual scrape intervals, 15 s to 60 s."""
    write_s: float = 30.0
    """To read an answer, so that a slow link can have a large one."""
    linger_s: float = 2.0
    """To read the last answer. Closing at once, with bytes of the client unread, would reset the
    connection, and could destroy the answer (RFC 9112, 9.6)."""
    close_s: float = 1.0
    """For what is being answered when the server is closed."""


class State(Enum):
    """What a connection is waited for."""

    READING = "a request, or the rest of one"
    ANSWERING = "the application; the only state without a deadline, since it has a thread"
    WRITING = "the client, to take its answer"
    LINGERING = "the client, to close its end"


class Connection:
    """State and buffers of one client; the server's loop owns it and changes `watched`."""

    __slots__ = (
        "_sock",
        "_unsent",
        "buffer",
        "deadline",
        "head_only",
        "keep",
        "remote",
        "since",
        "state",
        "unsent_bytes",
        "watched",
    )

    def __init__(self, sock: socket.socket, remote: str) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._unsent = memoryview(b"")
        self.unsent_bytes = 0
        """The memory that its answer takes: all of it, until the last byte is sent."""
        self.remote = remote
        self.buffer = bytearray()
        """What came and was not taken yet."""
        self.keep = False
        """Whether another request may follow the one at hand."""
        self.head_only = False
        self.state = State.READING
        self.since = self.deadline = 0.0
        """When the state began and must end, by the monotonic clock."""
        self.watched = 0
        """The events that the loop waits for."""

    def fileno(self) -> int:
        """For the selector."""
        return self._sock.fileno()

    @property
    def blocked_on(self) -> int:
        """The event that the last call waits for, if it is not the one that its kind of call waits
        for anyway; else 0.
        """
        return 0

    def enter(self, state: State, seconds: float = 0.0) -> None:
        """A new state, which may last so long."""
        self.state = state
        self.since = time.monotonic()
        self.deadline = self.since + seconds

    def receive(self, most: int) -> bytes | None:
        """What came, b"" at the end, None if nothing did after all. Raises OSError."""
        try:
            return self._sock.recv(most)
        except BlockingIOError:
            return None

    def queue(self, message: bytes) -> None:
        """Have these bytes sent by `flush`."""
        self._unsent = memoryview(message)
        self.unsent_bytes = len(message)

    def flush(self) -> bool:
        """Send what can be sent; whether that was all. Raises OSError."""
        while self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except BlockingIOError:
                return False
            self._unsent = self._unsent[sent:]
        self.queue(b"")
        return True

    def finish(self) -> None:
        """Tell the client that nothing more will come. Raises OSError."""
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let it go, whatever was to be sent."""
        self.queue(b"")
        self._sock.close()
