"""OTLP over gRPC, by the official stub of the metrics service.

Imported where gRPC is chosen alone: grpcio takes some 10 MB. Its own retries are off, since here
the history is the queue.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import grpc
import grpc._channel  # which a channel would import when no file can be read any more
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub

from exporter.outputs.otlp_outcome import Outcome, bounded_retry_after, one_line, taken
from exporter.outputs.otlp_settings import OtlpSettings
from exporter.outputs.otlp_tls import check_files, client_context, read_file, system_bundle
from exporter.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )

RETRYABLE = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""RESOURCE_EXHAUSTED as well, but only where the collector says when to come back."""

_DETAILS = "grpc-status-details-bin"
_OPTIONS = (
    ("grpc.enable_retries", 0),
    ("grpc.primary_user_agent", f"ayaflow-exporter/{VERSION}"),
    # Below our own back-off, so that each try of ours is one of the channel's, too.
    ("grpc.initial_reconnect_backoff_ms", 400),
    ("grpc.min_reconnect_backoff_ms", 400),
    ("grpc.max_reconnect_backoff_ms", 400),
)


class GrpcTransport:
    """As Transport says. Reads the TLS files at once. Raises ExporterError where it cannot.

    The channel, and with it the threads of gRPC, comes with the first request.
    """

    def __init__(self, settings: OtlpSettings) -> None:
        self._target = f"dns:///{settings.endpoint.authority}"
        self._credentials = _credentials(settings) if settings.endpoint.secure else None
        self._metadata = settings.headers
        self._compression = (
            grpc.Compression.Gzip if settings.gzip else grpc.Compression.NoCompression
        )
        self._channel: grpc.Channel | None = None
        self._stub: MetricsServiceStub | None = None

    def send(self, request: ExportMetricsServiceRequest, timeout_s: float) -> Outcome:
        """As Transport says."""
        try:
            return taken(self._opened().Export(request, timeout=timeout_s, metadata=self._metadata))
        except grpc.RpcError as error:
            return outcome_of(error)
        except ValueError:  # the channel was closed by `abort`
            return Outcome("connection", "the push was ended", retry=True)

    def abort(self) -> None:
        """As Transport says."""
        self.close()

    def close(self) -> None:
        """As Transport says."""
        channel, self._channel, self._stub = self._channel, None, None
        if channel is not None:
            channel.close()

    def _opened(self) -> MetricsServiceStub:
        stub = self._stub
        if stub is None:
            self._channel = (
                grpc.insecure_channel(self._target, _OPTIONS, self._compression)
                if self._credentials is None
                else grpc.secure_channel(
                    self._target, self._credentials, _OPTIONS, self._compression
                )
            )
            stub = self._stub = _stub(self._channel)
        return stub


def _stub(channel: grpc.Channel) -> MetricsServiceStub:
    return MetricsServiceStub(channel)  # type: ignore[no-untyped-call]


def _credentials(settings: OtlpSettings) -> grpc.ChannelCredentials:
    check_files(settings)
    client_context(settings)  # gRPC itself says nothing of a broken file until much later
    return grpc.ssl_channel_credentials(
        read_file(settings, "certificate") or system_bundle(),
        read_file(settings, "client_key"),
        read_file(settings, "client_certificate"),
    )


def outcome_of(error: grpc.RpcError) -> Outcome:
    """What a failed call means (OTLP specification, "Failures" of OTLP/gRPC)."""
    code = error.code()
    detail = f"gRPC {code.name}: {one_line(error.details() or '')}".removesuffix(": ")
    wait_s = _retry_after(error)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Outcome("timeout", detail, retry=True, retry_after_s=wait_s)
    if code in RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and wait_s is not None):
        return Outcome("unavailable", detail, retry=True, retry_after_s=wait_s)
    return Outcome("rejected", detail)


def _retry_after(error: grpc.RpcError) -> float | None:
    """Seconds of a RetryInfo in the status details."""
    metadata = cast("Iterable[tuple[str, bytes]]", error.trailing_metadata() or ())
    for key, value in metadata:
        if key != _DETAILS:
            continue
        try:
            for detail in Status.FromString(value).details:
                info = RetryInfo()
                if detail.Unpack(info):
                    delay = info.retry_delay
                    return bounded_retry_after(delay.seconds + delay.nanos / 1e9)
        except DecodeError:
            return None
    return None
