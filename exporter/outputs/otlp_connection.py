"""A connection to a collector over HTTP/1.1: bytes out, one response in, all before a deadline.

The other side is not trusted: heads and bodies are bounded, and everything that is no HTTP raises
BadAnswerError. Source: RFC 9112.
"""

from __future__ import annotations

import re
import select
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from exporter.outputs.otlp_values import Endpoint

if TYPE_CHECKING:
    import ssl

HEAD_MAX = 32 << 10
"""Bytes of a response's status line and header."""

BODY_MAX = 64 << 10
"""Bytes of a body that are read: an OTLP answer has some hundreds."""

_INTERIM_MAX = 10
_READ = 16 << 10
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: .*)?")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")


class BadAnswerError(Exception):
    """What came is no HTTP/1 response."""


class Response(NamedTuple):
    """One response."""

    status: int
    headers: dict[str, str]
    """Names in lower case; of a repeated one the last value."""
    body: bytes
    """At most BODY_MAX bytes."""
    keep_alive: bool


class Connection:
    """One connection. Raises OSError (TimeoutError at the deadline) and BadAnswerError.

    A deadline is a reading of time.monotonic().
    """

    def __init__(self, endpoint: Endpoint, tls: ssl.SSLContext | None, deadline_s: float) -> None:
        self._buffer = b""
        self._socket = _connect(endpoint, deadline_s)
        try:
            if tls is not None:
                self._socket.settimeout(_remaining(deadline_s))
                # Bytes: of a str, the codec idna would be loaded.
                name = endpoint.host.encode("ascii")
                self._socket = tls.wrap_socket(self._socket, server_hostname=name)
        except BaseException:
            self.close()
            raise

    @property
    def stale(self) -> bool:
        """Whether the other side has closed it, or speaks without being asked."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(self._buffer or poll.poll(0))

    def exchange(self, request: bytes, deadline_s: float) -> Response:
        """Sends a request, and reads its response."""
        self._socket.settimeout(_remaining(deadline_s))
        self._socket.sendall(request)
        for _ in range(_INTERIM_MAX):
            version, status, headers = self._head(deadline_s)
            if status >= 200:
                break
        else:
            raise BadAnswerError("only interim responses")
        body, complete = self._body(status, headers, deadline_s)
        close = headers.get("connection", "keep-alive" if version else "close").lower()
        return Response(status, headers, body, complete and "close" not in close)

    def abort(self) -> None:
        """Ends an `exchange` of another thread."""
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes it; without TLS's farewell, since nothing comes after a whole response."""
        self._socket.close()

    def _head(self, deadline_s: float) -> tuple[int, int, dict[str, str]]:
        status_line = self._line(deadline_s, HEAD_MAX)
        match = _STATUS_LINE.fullmatch(status_line)
        if match is None:
            raise BadAnswerError("the answer is not HTTP/1.1; is this a port for gRPC?")
        headers: dict[str, str] = {}
        room = HEAD_MAX - len(status_line)
        while line := self._line(deadline_s, room):
            room -= len(line) + 2
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon:
                raise BadAnswerError("a header line has no colon")
            headers[name.strip().lower()] = value.strip()
        return int(match[1]), int(match[2]), headers

    def _body(self, status: int, headers: dict[str, str], deadline_s: float) -> tuple[bytes, bool]:
        """The body, and whether it ended before BODY_MAX, and not with the connection."""
        if status in (204, 304):
            return b"", True
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks(deadline_s)
        length = headers.get("content-length")
        if length is not None:
            if not re.fullmatch(r"[0-9]{1,18}", length):
                raise BadAnswerError("the content-length is no number")
            wanted = min(int(length), BODY_MAX)
            return self._exactly(wanted, deadline_s), wanted == int(length)
        while len(self._buffer) < BODY_MAX and self._fill(deadline_s):
            pass
        body, self._buffer = self._buffer[:BODY_MAX], b""
        return body, False

    def _chunks(self, deadline_s: float) -> tuple[bytes, bool]:
        body = b""
        while True:
            match = _CHUNK_SIZE.fullmatch(self._line(deadline_s, 1024))
            if match is None:
                raise BadAnswerError("a chunk has no size")
            size = int(match[1], 16)
            if size == 0:
                room = HEAD_MAX
                while line := self._line(deadline_s, room):
                    room -= len(line) + 2
                return body, True
            if len(body) + size > BODY_MAX:
                return body + self._exactly(BODY_MAX - len(body), deadline_s), False
            body += self._exactly(size, deadline_s)
            if self._line(deadline_s, 2):
                raise BadAnswerError("a chunk is longer than it says")

    def _line(self, deadline_s: float, longest: int) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > longest:
                raise BadAnswerError("the head of the answer is too long")
            if not self._fill(deadline_s):
                raise ConnectionResetError("the connection was closed before the answer")
        if end > longest:
            raise BadAnswerError("the head of the answer is too long")
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line.removesuffix(b"\r")

    def _exactly(self, length: int, deadline_s: float) -> bytes:
        while len(self._buffer) < length:
            if not self._fill(deadline_s):
                raise ConnectionResetError("the connection was closed within the answer")
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    def _fill(self, deadline_s: float) -> bool:
        self._socket.settimeout(_remaining(deadline_s))
        received = self._socket.recv(_READ)
        self._buffer += received
        return bool(received)


def _connect(endpoint: Endpoint, deadline_s: float) -> socket.socket:
    """To the first address that answers; each gets its share of the time that is left."""
    host = endpoint.host.encode("ascii")
    found = socket.getaddrinfo(host, endpoint.port, type=socket.SOCK_STREAM)
    failed: OSError = OSError("the host has no address")
    for tried, (family, kind, protocol, _, address) in enumerate(found):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_remaining(deadline_s) / (len(found) - tried))
            connection.connect(address)
            return connection
        except OSError as error:
            connection.close()
            failed = error
    raise failed


def _remaining(deadline_s: float) -> float:
    left = deadline_s - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
