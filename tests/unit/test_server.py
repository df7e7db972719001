"""The server over real sockets: kept connections, slow, silent, greedy and broken clients, floods.

Every test also demands that nothing was written to standard error, nothing logged as a warning, and
that no descriptor is left.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from exporter.outputs import server
from exporter.outputs.connection import Limits
from exporter.outputs.http_message import HEAD_MAX
from exporter.outputs.listen import bind
from exporter.outputs.server import CODES, NO_RESPONSE, Server
from exporter.outputs.web import Web
from tests.unit.example_snapshot import BUILD, SHOWN
from tests.unit.serving import (
    GET,
    HOLD,
    HOST,
    PATIENCE_S,
    SLOW,
    Served,
    is_closed,
    read_all,
    read_response,
    wait_until,
)

Start = Callable[..., Served]


@pytest.fixture
def start(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[Start]:
    """Starts servers: of the test application, or with `web=True` of the exporter's pages."""
    descriptors = len(os.listdir("/proc/self/fd"))
    with ExitStack() as clients, ExitStack() as servers:

        def start_one(limits: Limits | None = None, *, web: bool = False) -> Served:
            listener = bind(":0")
            served = Served(listener.getsockname()[1], clients)
            app = Web(lambda timeout_s: SHOWN, lambda: None, BUILD) if web else served.app
            served.server = Server(listener, app, limits)
            servers.callback(served.server.close)
            servers.callback(served.hold.set)
            return served

        yield start_one
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert capfd.readouterr().err == ""
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("path", "first_line"),
    [
        ("/", b"<!DOCTYPE html>"),
        ("/-/healthy", b"healthy"),
        ("/-/ready", b"ready"),
        ("/metrics", b"# HELP ayaflow_packets_total Packets of each domain"),
    ],
)
def test_every_page_and_its_head(start: Start, path: str, first_line: bytes) -> None:
    served = start(web=True)
    with closing(http.client.HTTPConnection(HOST, served.port, timeout=PATIENCE_S)) as client:
        client.request("GET", path)
        got = client.getresponse()
        body = got.read()
        client.request("HEAD", path)
        head = client.getresponse()
        assert (got.status, head.status) == (200, 200)
        assert got.getheader("Content-Length") == str(len(body))
        assert head.getheader("Content-Type") == got.getheader("Content-Type")
        assert head.read() == b""
    assert body.splitlines()[0].startswith(first_line)


def test_the_server_header_tells_no_version(start: Start) -> None:
    head = start(web=True).exchange(b"GET / HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")[0]
    assert b"\r\nServer: ayaflow-exporter\r\n" in head
    assert b"python" not in head.lower()


def test_a_method_with_a_body_is_refused_and_its_body_is_no_request(start: Start) -> None:
    post = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
    answer = start(web=True).exchange(post % (len(GET), GET))
    assert answer.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
    assert b"\r\nAllow: GET, HEAD\r\n" in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_a_kept_connection_serves_one_request_after_the_other(start: Start) -> None:
    client = start(web=True).connect()
    for _ in range(100):
        client.sendall(GET)
        assert read_response(client) == (200, b"healthy\n")


def test_requests_sent_at_once_are_answered_in_order(start: Start) -> None:
    close = b"GET /-/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answers = start(web=True).exchange(GET + GET + close + GET)
    bodies = [part.rpartition(b"\r\n\r\n")[2] for part in answers.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"healthy\n", b"healthy\n", b"ready\n"]


def test_http_1_0_is_answered_and_closed(start: Start) -> None:
    assert start(web=True).exchange(b"GET /-/healthy HTTP/1.0\n\n").endswith(b"\r\n\r\nhealthy\n")


@pytest.mark.parametrize("sent", [b"", SLOW])
def test_who_does_not_complete_a_request_in_time_is_closed(start: Start, sent: bytes) -> None:
    assert start(Limits(head_s=0.1)).exchange(sent) == b""


def test_a_kept_connection_without_requests_is_closed(start: Start) -> None:
    client = start(Limits(idle_s=0.1)).connect(GET)
    assert read_response(client) == (200, HOST.encode())
    assert client.recv(1) == b""


def test_a_request_may_come_in_pieces(start: Start) -> None:
    client = start().connect()
    for byte in GET:
        client.send(bytes([byte]))
    assert read_response(client) == (200, HOST.encode())


def test_an_oversized_head_is_told_so_although_more_of_it_comes(start: Start) -> None:
    answer = start().exchange(SLOW + b"a" * 200_000)
    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert answer.endswith(b"more than 8192 bytes.\n")


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00", b"\0" * 100, b"GET\r\n\r\n", b"\r\n"])
def test_garbage_is_told_so_at_once(start: Start, sent: bytes) -> None:
    assert start().exchange(sent).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_clients_that_break_off_anywhere_leave_nothing(start: Start) -> None:
    served = start(web=True)
    scrape = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    for i in range(len(scrape) + 1):
        with socket.create_connection((HOST, served.port), timeout=PATIENCE_S) as client:
            client.sendall(scrape[:i])
            if i % 2:  # with a reset
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert served.get("/metrics")[0] == 200


def test_every_request_is_counted_by_its_end(start: Start) -> None:
    served = start(web=True)
    requests = served.server.requests
    assert requests == dict.fromkeys(CODES, 0)

    def is_counted(code: str) -> bool:
        return requests[code] == 1

    for sent, code in (
        (GET, "200"),
        (b"GET /none HTTP/1.0\r\n\r\n", "404"),
        (b"POST / HTTP/1.0\r\n\r\n", "405"),
        (b"junk\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * HEAD_MAX, "431"),
        (b"GET / HT", NO_RESPONSE),
    ):
        client = served.connect()
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        read_all(client)
        wait_until(partial(is_counted, code))
    served.connect().close()  # asks nothing
    assert sum(requests.values()) == 6


def test_every_status_has_its_code() -> None:
    sources = Path(server.__file__).parent.glob("*.py")
    statuses = re.findall(r'"([1-5]\d\d) [A-Z]', "".join(each.read_text() for each in sources))
    assert {*statuses, NO_RESPONSE} == set(CODES)


def test_fifty_scrapes_at_once_are_all_served(start: Start) -> None:
    served = start(web=True)
    together = threading.Barrier(50)

    def scrape(_: int) -> int:
        together.wait(PATIENCE_S)
        return served.get("/metrics")[0]

    with ThreadPoolExecutor(50) as clients:
        assert list(clients.map(scrape, range(50))) == [200] * 50


def test_more_requests_than_the_limit_are_told_so_at_once(start: Start) -> None:
    served = start(Limits(requests=2))
    waiting = [served.connect(HOLD) for _ in range(2)]
    for _ in waiting:
        assert served.held.acquire(timeout=PATIENCE_S)
    refused = served.exchange(GET)
    assert refused.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nRetry-After: 1\r\n" in refused
    served.hold.set()
    assert [read_response(client) for client in waiting] == [(200, HOST.encode())] * 2
    assert served.get()[0] == 200


def test_slow_clients_give_way_and_a_normal_one_is_served(start: Start) -> None:
    served = start(Limits(connections=20))
    slow = [served.connect(SLOW) for _ in range(100)]
    assert served.get() == (200, HOST.encode())
    assert is_closed(slow[0])
    slow[-1].sendall(b"\r\n\r\n")
    assert read_response(slow[-1]) == (200, HOST.encode())


def test_five_hundred_slow_clients_do_not_hinder_a_scrape(start: Start) -> None:
    served = start(web=True)
    for _ in range(500):
        served.connect(SLOW)
    assert served.get("/metrics")[0] == 200
    threads = [t.name for t in threading.enumerate() if t.name.startswith("web")]
    assert len(threads) <= 2  # the loop, and the scrape's if it is not quite gone


def test_answers_that_nobody_reads_are_bounded(start: Start) -> None:
    size = 8 << 20  # more than socket buffers take
    served = start(Limits(unsent_bytes=2 * size + 1000))
    greedy = [served.connect(b"GET /?%d HTTP/1.1\r\nHost: x\r\n\r\n" % size) for _ in range(4)]
    for client in greedy:
        client.recv(1, socket.MSG_PEEK)  # its answer has begun
    assert served.get() == (200, HOST.encode())
    complete = 0
    for client in greedy:
        with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
            complete += len(read_response(client)[1]) == size
    assert complete == 2


def test_one_answer_may_be_larger_than_the_bound(start: Start) -> None:
    size = 8 << 20
    client = start(Limits(unsent_bytes=1)).connect(b"GET /?%d HTTP/1.0\r\n\r\n" % size)
    assert len(read_response(client)[1]) == size


def test_who_does_not_read_the_answer_in_time_is_closed(start: Start) -> None:
    served = start(Limits(write_s=0.1))
    client = served.connect(b"GET /?%d HTTP/1.1\r\nHost: x\r\n\r\n" % (8 << 20))
    client.recv(1, socket.MSG_PEEK)  # the answer has begun
    descriptors = len(os.listdir("/proc/self/fd"))
    wait_until(lambda: len(os.listdir("/proc/self/fd")) < descriptors)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        read_response(client)


@pytest.mark.parametrize(("host", "remote"), [("127.0.0.1", b"127.0.0.1"), ("::1", b"::1")])
def test_the_application_sees_the_address_of_its_client(
    start: Start, host: str, remote: bytes
) -> None:
    with socket.create_connection((host, start().port), timeout=PATIENCE_S) as client:
        client.sendall(GET)
        assert read_response(client) == (200, remote)


def test_closing_finishes_the_answer_at_hand_and_frees_the_port(start: Start) -> None:
    served = start(Limits(close_s=PATIENCE_S))
    idle = served.connect(GET)
    read_response(idle)
    answering = served.connect(HOLD)
    assert served.held.acquire(timeout=PATIENCE_S)
    closer = threading.Thread(target=served.server.close)
    closer.start()
    wait_until(lambda: refuses_connections(served.port))
    served.hold.set()
    closer.join()
    answer = read_all(answering)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    assert idle.recv(1) == b""
    bind(f":{served.port}").close()


def test_closing_does_not_wait_long_for_an_answer(start: Start) -> None:
    served = start(Limits(close_s=0.1))
    client = served.connect(HOLD)
    assert served.held.acquire(timeout=PATIENCE_S)
    served.server.close()
    assert client.recv(1) == b""


def refuses_connections(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=PATIENCE_S).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass  # it was in the queue of the listener while that was closed
    return False
