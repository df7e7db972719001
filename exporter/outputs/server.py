"""The HTTP server: one thread for the bytes of all connections, one more for each request at hand.

Only an answer may take its time (a scrape waits for its snapshot), so only that has a thread.
Whoever sends or reads slowly costs a descriptor and a few kilobytes, and where there are too many
of those, the one that has waited longest gives way: never a normal scrape, which is through in
milliseconds.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Container
from functools import partial

from exporter.outputs import wsgi
from exporter.outputs.connection import Connection, Limits, State
from exporter.outputs.http_message import (
    BadRequestError,
    Request,
    Response,
    encode,
    http_date,
    maybe_request,
    text_response,
)

_RECEIVE = 4096
_TOO_MANY = text_response(
    "503 Service Unavailable", "Too many requests are being answered.", ("Retry-After", "1")
)
NO_RESPONSE = "none"
CODES = ("200", "400", "401", "404", "405", "431", "500", "503", NO_RESPONSE)
"""How a request can end: the label `code`. Without a response where its sender left, or took too
long, before all of it was there."""
_CLOSABLE = frozenset(State) - {State.ANSWERING}
"""A connection that is being answered belongs to its thread, too."""

_log = logging.getLogger(__name__)


class Server:
    """Answers requests on a listening socket, which it takes, in daemon threads until `close()`."""

    def __init__(
        self,
        listener: socket.socket,
        app: wsgi.Application,
        limits: Limits | None = None,
        connect: Callable[[socket.socket, str], Connection] = Connection,
        allows: Callable[[str], bool] = lambda remote: True,
        requests: dict[str, int] | None = None,
    ) -> None:
        """*connect* takes a client's socket and address; *allows* says whether to answer one;
        *requests*: where they are counted, by their CODES.
        """
        self._listener = listener
        self._app = app
        self._connect = connect
        self._allows = allows
        self._limits = limits or Limits()
        self.requests = dict.fromkeys(CODES, 0) if requests is None else requests
        self._connections: set[Connection] = set()
        self._answering = 0
        self._answers: deque[tuple[Connection, Response]] = deque()
        self._close_by: float | None = None
        self._woken, self._waker = socket.socketpair()
        for sock in (listener, self._woken, self._waker):
            sock.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._take_answers)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, finish what is being answered (in Limits.close_s), close the rest.

        From any thread; again does no harm.
        """
        self._close_by = time.monotonic() + self._limits.close_s
        self._wake()
        self._thread.join()

    def _run(self) -> None:
        while self._close_by is None:
            self._turn()
        self._selector.unregister(self._listener)
        self._listener.close()
        while self._is_busy() and time.monotonic() < self._close_by:
            self._turn()
        for connection in list(self._connections):
            self._drop(connection)
        self._selector.close()
        self._woken.close()
        self._waker.close()

    def _is_busy(self) -> bool:
        return any(c.state in (State.ANSWERING, State.WRITING) for c in self._connections)

    def _turn(self) -> None:
        """Wait for sockets or the next deadline, and do what is due."""
        deadlines = [c.deadline for c in self._waiting()]
        if self._close_by is not None:
            deadlines.append(self._close_by)
        timeout = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        for key, _ in self._selector.select(timeout):
            key.data()
        now = time.monotonic()
        for connection in self._waiting():
            if connection.deadline <= now:
                self._drop(connection)

    def _waiting(self, states: Container[State] = _CLOSABLE) -> list[Connection]:
        return [c for c in self._connections if c.state in states]

    def _accept(self) -> None:
        for _ in range(self._limits.connections):
            try:
                sock, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # no descriptor is left, as a rule: let one go, and do not spin
                self._drop_longest(self._waiting())
                time.sleep(0.01)
                return
            # A socket for both families shows IPv4 peers in the notation of IPv6.
            self._admit(sock, address[0].removeprefix("::ffff:"))

    def _admit(self, sock: socket.socket, remote: str) -> None:
        try:
            connection = self._connect(sock, remote) if self._allows(remote) else None
        except OSError:  # the client is gone
            connection = None
        except Exception as error:
            _log.error("a connection failed: %s: %s", type(error).__name__, error)
            connection = None
        if connection is None:
            sock.close()
            return
        if len(self._connections) >= self._limits.connections:
            self._drop_longest(self._waiting())
        self._connections.add(connection)
        connection.enter(State.READING, self._limits.head_s)
        self._watch(connection, selectors.EVENT_READ)

    def _guarded(self, connection: Connection, step: Callable[[], None]) -> None:
        """No client, and no fault in serving one, ends the loop."""
        try:
            step()
        except OSError:  # the client is gone
            self._drop(connection)
        except Exception as error:
            _log.error("a connection failed: %s: %s", type(error).__name__, error)
            self._drop(connection)

    def _serve(self, connection: Connection) -> None:
        """Its socket has something, or room for something."""
        if connection.state is State.WRITING:
            self._write(connection)
            return
        received = connection.receive(_RECEIVE)
        self._watch(connection, connection.blocked_on or selectors.EVENT_READ)
        if received == b"":
            self._drop(connection)
        elif received and connection.state is State.READING:
            if not connection.buffer:
                connection.enter(State.READING, self._limits.head_s)
            connection.buffer += received
            self._advance(connection)

    def _advance(self, connection: Connection) -> None:
        """Have the next request answered, if all of it is there."""
        try:
            request = maybe_request(connection.buffer)
        except BadRequestError as error:
            self._refuse(connection, error.response)
            return
        if request is None:
            return
        connection.head_only = request.method == "HEAD"
        connection.keep = request.keep_alive
        if self._answering >= self._limits.requests:
            self._refuse(connection, _TOO_MANY)
            return
        try:
            threading.Thread(
                target=self._answer, args=(connection, request), name="web-answer", daemon=True
            ).start()
        except RuntimeError:  # the system allows no more threads
            self._refuse(connection, _TOO_MANY)
            return
        self._answering += 1
        connection.enter(State.ANSWERING)
        self._watch(connection, 0)

    def _refuse(self, connection: Connection, response: Response) -> None:
        connection.keep = False
        self._send(connection, response)

    def _answer(self, connection: Connection, request: Request) -> None:
        """In a thread of its own."""
        response = wsgi.call(self._app, request, connection.remote)
        self._answers.append((connection, response))
        self._wake()

    def _wake(self) -> None:
        # Where it is full the loop wakes anyway; where it is closed nobody is left to wake.
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def _take_answers(self) -> None:
        self._woken.recv(_RECEIVE)
        while self._answers:
            connection, response = self._answers.popleft()
            self._answering -= 1
            self._guarded(connection, partial(self._send, connection, response))

    def _send(self, connection: Connection, response: Response) -> None:
        self.requests[response.status[:3]] += 1
        connection.keep = connection.keep and self._close_by is None
        connection.queue(
            encode(
                response,
                date=http_date(time.time()),
                head_only=connection.head_only,
                keep_alive=connection.keep,
            )
        )
        connection.enter(State.WRITING, self._limits.write_s)
        self._write(connection)
        while len(writing := self._waiting([State.WRITING])) > 1:
            if sum(c.unsent_bytes for c in writing) <= self._limits.unsent_bytes:
                break
            self._drop_longest(writing)

    def _write(self, connection: Connection) -> None:
        if not connection.flush():
            self._watch(connection, connection.blocked_on or selectors.EVENT_WRITE)
            return
        self._watch(connection, selectors.EVENT_READ)
        if not connection.keep:
            connection.finish()
            connection.enter(State.LINGERING, self._limits.linger_s)
        elif connection.buffer:  # the next request came early
            connection.enter(State.READING, self._limits.head_s)
            self._advance(connection)
        else:
            connection.enter(State.READING, self._limits.idle_s)

    def _watch(self, connection: Connection, events: int) -> None:
        """Have the loop wait for these events on it from now on; 0 is none."""
        if connection.watched and not events:
            self._selector.unregister(connection)
        elif events != connection.watched:
            change = self._selector.modify if connection.watched else self._selector.register
            change(
                connection,
                events,
                partial(self._guarded, connection, partial(self._serve, connection)),
            )
        connection.watched = events

    def _drop_longest(self, waiting: list[Connection]) -> None:
        if waiting:
            self._drop(min(waiting, key=lambda c: c.since))

    def _drop(self, connection: Connection) -> None:
        if connection.state is State.READING and connection.buffer:
            self.requests[NO_RESPONSE] += 1
        self._watch(connection, 0)
        self._connections.discard(connection)
        connection.close()
