"""Requests over gRPC against the official service: taken, refused, and to be tried again."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from exporter.errors import ExporterError
from exporter.outputs.otlp_grpc import GrpcTransport
from exporter.outputs.otlp_outcome import Outcome
from exporter.outputs.otlp_settings import OtlpSettings, settings
from tests.e2e.otlp_receiver import Receiver
from tests.e2e.waiting import wait_until
from tests.unit.loading import load_flags
from tests.unit.test_otlp_http import REQUEST

LONG_S = 20.0
CODES = grpc.StatusCode


def pushing_to(url: str, *words: str) -> OtlpSettings:
    flags = load_flags(f"--otlp.endpoint={url}", "--otlp.protocol=grpc", *words)
    found = settings(flags.otlp, {})
    assert found is not None
    return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    started.start()
    yield started
    started.stop()


@pytest.fixture
def transport(receiver: Receiver) -> Iterator[GrpcTransport]:
    made = GrpcTransport(pushing_to(receiver.grpc_url, "--otlp.headers=api-key=a"))
    yield made
    made.close()


def details(seconds: int, nanos: int = 0) -> bytes:
    status = Status(code=8)
    status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=seconds, nanos=nanos)))
    return bytes(status.SerializeToString())


def test_a_request_is_taken_with_its_headers(receiver: Receiver, transport: GrpcTransport) -> None:
    assert transport.send(REQUEST, LONG_S) == Outcome()
    assert receiver.requests == [REQUEST]
    assert receiver.headers[0]["api-key"] == "a"
    assert "ayaflow-exporter/" in receiver.headers[0]["user-agent"]


def test_gzip(receiver: Receiver) -> None:
    transport = GrpcTransport(pushing_to(receiver.grpc_url, "--otlp.compression=gzip"))
    assert transport.send(REQUEST, LONG_S) == Outcome()
    transport.close()
    assert receiver.requests == [REQUEST]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (CODES.CANCELLED, "unavailable"),
        (CODES.DEADLINE_EXCEEDED, "timeout"),
        (CODES.ABORTED, "unavailable"),
        (CODES.OUT_OF_RANGE, "unavailable"),
        (CODES.UNAVAILABLE, "unavailable"),
        (CODES.DATA_LOSS, "unavailable"),
    ],
)
def test_what_may_be_tried_again(
    receiver: Receiver, transport: GrpcTransport, code: grpc.StatusCode, reason: str
) -> None:
    receiver.errors = [(code, b""), (code, details(3, 500_000_000))]
    said = f"gRPC {code.name}: as the test wants it"
    assert transport.send(REQUEST, LONG_S) == Outcome(reason, said, True, None)
    assert transport.send(REQUEST, LONG_S) == Outcome(reason, said, True, 3.5)


@pytest.mark.parametrize(
    "code",
    [
        *(CODES.INVALID_ARGUMENT, CODES.UNAUTHENTICATED, CODES.PERMISSION_DENIED),
        *(CODES.UNIMPLEMENTED, CODES.INTERNAL, CODES.UNKNOWN, CODES.RESOURCE_EXHAUSTED),
    ],
)
def test_what_may_not_be_tried_again(
    receiver: Receiver, transport: GrpcTransport, code: grpc.StatusCode
) -> None:
    receiver.errors = [(code, b"")]
    said = f"gRPC {code.name}: as the test wants it"
    assert transport.send(REQUEST, LONG_S) == Outcome("rejected", said)


def test_an_exhausted_collector_that_says_when_is_tried_again_then(
    receiver: Receiver, transport: GrpcTransport
) -> None:
    receiver.errors = [(CODES.RESOURCE_EXHAUSTED, details(9))]
    outcome = transport.send(REQUEST, LONG_S)
    assert (outcome.retry, outcome.retry_after_s) == (True, 9.0)


def test_details_that_are_nonsense_say_nothing(
    receiver: Receiver, transport: GrpcTransport
) -> None:
    receiver.errors = [(CODES.RESOURCE_EXHAUSTED, b"\xff\xff\xff"), (CODES.UNAVAILABLE, b"\xff")]
    assert not transport.send(REQUEST, LONG_S).retry
    assert transport.send(REQUEST, LONG_S).retry_after_s is None


def test_a_collector_that_comes_back_is_found_again(
    receiver: Receiver, transport: GrpcTransport
) -> None:
    assert transport.send(REQUEST, LONG_S).taken
    receiver.stop()
    outcome = transport.send(REQUEST, LONG_S)
    assert (outcome.reason, outcome.retry) == ("unavailable", True)
    receiver.start()
    wait_until(lambda: transport.send(REQUEST, LONG_S).taken)


def test_a_file_that_is_no_certificate_is_one_sentence() -> None:
    with pytest.raises(ExporterError, match=r"^otlp\.certificate: "):
        GrpcTransport(pushing_to("https://c:4317", "--otlp.certificate=/etc/hostname"))
