"""Requests over HTTP against servers that take them, refuse them, and speak nonsense."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from exporter.errors import ExporterError
from exporter.outputs.otlp_http import HttpTransport, retry_after
from exporter.outputs.otlp_outcome import Outcome
from exporter.outputs.otlp_settings import OtlpSettings, settings
from tests.authority import Authority
from tests.e2e.otlp_receiver import Answer, Receiver
from tests.unit.loading import load_flags

REQUEST = ExportMetricsServiceRequest()
REQUEST.resource_metrics.add().scope_metrics.add().metrics.add(name="a" * 5000)
LONG_S = 20.0


def pushing_to(url: str, *words: str) -> OtlpSettings:
    found = settings(load_flags(f"--otlp.endpoint={url}", *words).otlp, {})
    assert found is not None
    return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    started.start()
    yield started
    started.stop()


@pytest.fixture
def transport(receiver: Receiver) -> Iterator[HttpTransport]:
    made = HttpTransport(pushing_to(receiver.http_url))
    yield made
    made.close()


def test_a_request_is_taken_and_the_connection_is_kept(
    receiver: Receiver, transport: HttpTransport
) -> None:
    assert transport.send(REQUEST, LONG_S) == Outcome()
    first = transport._connection
    assert transport.send(REQUEST, LONG_S) == Outcome()
    assert transport._connection is first
    assert receiver.requests == [REQUEST, REQUEST]
    assert receiver.headers[0]["content-type"] == "application/x-protobuf"
    assert receiver.headers[0]["user-agent"].startswith("ayaflow-exporter/")


def test_gzip_and_headers(receiver: Receiver) -> None:
    words = ("--otlp.compression=gzip", "--otlp.headers=api-key=a%20b", "--otlp.headers=X-A=1")
    transport = HttpTransport(pushing_to(receiver.http_url, *words))
    assert transport.send(REQUEST, LONG_S).taken
    transport.close()
    assert receiver.requests == [REQUEST]
    headers = receiver.headers[0]
    assert (headers["content-encoding"], headers["api-key"], headers["x-a"]) == ("gzip", "a b", "1")
    assert int(headers["content-length"]) < 200


def test_a_receiver_that_started_again_gets_a_new_connection(
    receiver: Receiver, transport: HttpTransport
) -> None:
    assert transport.send(REQUEST, LONG_S).taken
    receiver.stop()
    assert transport.send(REQUEST, LONG_S).reason == "connection"
    receiver.start()
    assert transport.send(REQUEST, LONG_S).taken


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_be_tried_again(receiver: Receiver, transport: HttpTransport, status: int) -> None:
    receiver.answers = [Answer(status, (("Retry-After", "7"),)), Answer(status)]
    assert transport.send(REQUEST, LONG_S) == Outcome("unavailable", f"HTTP {status}", True, 7.0)
    assert transport.send(REQUEST, LONG_S) == Outcome("unavailable", f"HTTP {status}", True, None)


@pytest.mark.parametrize("status", [300, 400, 401, 404, 408, 413, 500, 501, 505])
def test_what_may_not_be_tried_again(
    receiver: Receiver, transport: HttpTransport, status: int
) -> None:
    why = Status(message="it is\nbad").SerializeToString()
    receiver.answers = [Answer(status, (("Retry-After", "7"),), why)]
    assert transport.send(REQUEST, LONG_S) == Outcome("rejected", f"HTTP {status}: it is bad")


def test_partial_success(receiver: Receiver, transport: HttpTransport) -> None:
    partial = ExportMetricsPartialSuccess(rejected_data_points=3, error_message="too old")
    body = ExportMetricsServiceResponse(partial_success=partial).SerializeToString()
    receiver.answers = [Answer(200, body=body, take=True)]
    outcome = transport.send(REQUEST, LONG_S)
    assert outcome == Outcome("partial", "too old", rejected_points=3)
    assert outcome.taken


def test_a_success_whose_body_is_nonsense_is_a_success(
    receiver: Receiver, transport: HttpTransport
) -> None:
    receiver.answers = [Answer(200, body=b"\xff" * 1000, take=True)]
    assert transport.send(REQUEST, LONG_S) == Outcome()


def test_nobody_listens() -> None:
    transport = HttpTransport(pushing_to(Receiver().http_url))
    outcome = transport.send(REQUEST, LONG_S)
    assert (outcome.reason, outcome.detail, outcome.retry) == (
        "connection",
        "Connection refused",
        True,
    )


class Raw:
    """A server that writes what it is told to each connection, whatever comes."""

    def __init__(self, *answers: bytes, close: bool = True) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self._answers, self._close = answers, close
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection:
            connection.recv(65536)
            try:
                for answer in self._answers:
                    connection.sendall(answer)
            except OSError:
                return
            if not self._close:
                self._over.wait()

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        self._server.close()


RawServer = Callable[..., Raw]


@pytest.fixture
def raw() -> Iterator[RawServer]:
    started: list[Raw] = []

    def start(*answers: bytes, close: bool = True) -> Raw:
        started.append(Raw(*answers, close=close))
        return started[-1]

    yield start
    for each in started:
        each.end()


def send(url: str, timeout_s: float = LONG_S) -> Outcome:
    transport = HttpTransport(pushing_to(url))
    try:
        return transport.send(REQUEST, timeout_s)
    finally:
        transport.close()


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"content-length: 0\r\n\r\n",
        OK + b"\r\n",
        OK + b"content-length: 200000000\r\n\r\n" + bytes(100_000),
        OK + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\nFFFFFF;a=b\r\n" + bytes(100_000),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200\r\n\r\nabc",
        b"HTTP/1.1 204 No Content\nX: y\n\n",
    ],
)
def test_answers_in_every_form(raw: RawServer, answer: bytes) -> None:
    assert send(raw(answer).url) == Outcome()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 2",
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\r\n",
        b"SSH-2.0-x\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"content-length: -1\r\n\r\n",
        OK + b"content-length: 10\r\n\r\nabc",
        OK + b"transfer-encoding: chunked\r\n\r\nxyz\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\nabc\r\n",
        OK + b"a: b\r\n" * 100_000,
        b"x" * 1_000_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
    ],
)
def test_nonsense_is_tried_again_later(raw: RawServer, answer: bytes) -> None:
    outcome = send(raw(answer).url)
    assert (outcome.reason, outcome.retry) == ("connection", True)
    assert outcome.detail


@pytest.mark.parametrize("answer", [b"", OK, OK + b"content-length: 5\r\n\r\nab"])
def test_an_answer_that_does_not_end_is_not_waited_for(raw: RawServer, answer: bytes) -> None:
    outcome = send(raw(answer, close=False).url, timeout_s=0.2)
    assert (outcome.reason, outcome.retry) == ("timeout", True)


def test_another_thread_can_end_it(raw: RawServer) -> None:
    transport = HttpTransport(pushing_to(raw(b"", close=False).url))
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(transport.send(REQUEST, LONG_S)))
    thread.start()
    while thread.is_alive():
        transport.abort()
        thread.join(0.02)
    transport.close()
    assert [outcome.retry for outcome in outcomes] == [True]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("999999999", 900.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 60.0),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
        ("Sun, 31 Feb 1994 08:00:00 GMT", None),
        ("Sun, 06 Nim 1994 08:00:00 GMT", None),
        ("-1", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after(text, 784111777.0 - 60) == seconds


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(authority: Authority) -> Iterator[Receiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign("localhost"))
    context.load_verify_locations(authority.cert)
    context.verify_mode = ssl.CERT_REQUIRED
    started = Receiver(context)
    started.start()
    yield started
    started.stop()


def test_tls_with_certificates_of_both_sides(authority: Authority, secure: Receiver) -> None:
    cert, key = authority.sign("client")
    files = (f"certificate={authority.cert}", f"client_certificate={cert}", f"client_key={key}")
    words = [f"--otlp.{each}" for each in files]
    transport = HttpTransport(pushing_to(secure.http_url, *words))
    assert transport.send(REQUEST, LONG_S) == Outcome()
    assert transport.send(REQUEST, LONG_S) == Outcome()
    transport.close()


def test_a_collector_that_nobody_vouches_for_gets_nothing(
    authority: Authority, secure: Receiver
) -> None:
    outcome = send(secure.http_url)
    assert (outcome.reason, outcome.retry) == ("connection", True)
    assert "CERTIFICATE_VERIFY_FAILED" in outcome.detail or "certificate" in outcome.detail
    assert secure.tries == 0


@pytest.mark.parametrize(
    "words",
    [
        ["--otlp.certificate=/none.pem"],
        ["--otlp.certificate=/etc/hostname"],
        ["--otlp.client_certificate=/etc/hostname", "--otlp.client_key=/etc/hostname"],
    ],
)
def test_a_file_that_is_no_certificate_is_one_sentence(words: list[str]) -> None:
    with pytest.raises(ExporterError, match=r"^otlp\.(client_)?certificate: ") as caught:
        HttpTransport(pushing_to("https://c:4318", *words))
    assert "\n" not in str(caught.value)


def test_a_deadline_is_one_for_everything(raw: RawServer) -> None:
    """A server that dribbles does not get a new time-out for each byte."""
    server = raw(*[b"H"] * 3, close=False)
    began = time.monotonic()
    assert send(server.url, timeout_s=0.3).reason == "timeout"
    assert time.monotonic() - began < LONG_S
