"""A server at work, and the ways to talk to it that its tests need."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from exporter.outputs import wsgi
from exporter.outputs.server import Server

HOST = "127.0.0.1"
PATIENCE_S = 10.0
"""For what must come; whoever waits for it does so at once when it does."""

GET = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
HOLD = b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nA: "


@dataclass
class Served:
    """A running server, with the ways to talk to it that a test needs."""

    port: int
    server: Server = field(init=False)
    clients: ExitStack
    hold: threading.Event = field(default_factory=threading.Event)
    """Set: answers go out. Clear: `/hold` waits for it."""
    held: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released by each request that waits at `/hold`."""

    def connect(self, sent: bytes = b"") -> socket.socket:
        client = socket.create_connection((HOST, self.port), timeout=PATIENCE_S)
        self.clients.enter_context(client)
        client.sendall(sent)
        return client

    def exchange(self, sent: bytes) -> bytes:
        """Everything that comes back until the server closes."""
        return read_all(self.connect(sent))

    def get(self, path: str = "/-/healthy") -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE_S)) as client:
            client.request("GET", path)
            response = client.getresponse()
            return response.status, response.read()

    def app(self, environ: wsgi.Environ, start_response: wsgi.StartResponse) -> list[bytes]:
        if environ["PATH_INFO"] == "/hold":
            self.held.release()
            self.hold.wait(PATIENCE_S)
        start_response("200 OK", [])
        size = environ["QUERY_STRING"]
        return [b"x" * int(size)] if size else [environ["REMOTE_ADDR"].encode()]


def read_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65536), b""))


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:  # what it had sent was not even read
        return True


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, "what must happen did not"
        time.sleep(0.005)


def read_response(client: socket.socket) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, response.read()
