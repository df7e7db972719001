"""A collector to push to: one made from the official protobuf services, or the real one.

Both speak http/protobuf and gRPC, can be stopped and started on the same ports, and say which
points they took. The real one forwards what it took to one of the first kind.
"""

from __future__ import annotations

import gzip
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, NumberDataPoint

from tests.e2e.waiting import wait_until

COLLECTOR = Path(".cache/parts/otelcol")
"""The real one, where it was built."""


class Point(NamedTuple):
    """One point that was taken."""

    name: str
    attributes: tuple[tuple[str, str], ...]
    start_ns: int
    time_ns: int
    value: int | float
    """A histogram's count."""


class Answer(NamedTuple):
    """What a request over HTTP is to be answered."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    take: bool = False
    """Whether the points are taken all the same."""


class Sink(Protocol):
    """What can be pushed to."""

    what: str
    http_url: str
    grpc_url: str

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def points(self) -> list[Point]: ...


def points_of(request: ExportMetricsServiceRequest) -> Iterator[Point]:
    """All points of a request, in order."""
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                assert kind is not None, metric
                for point in getattr(metric, kind).data_points:
                    yield _point(metric.name, point)


def _point(name: str, point: NumberDataPoint | HistogramDataPoint) -> Point:
    attributes = tuple(sorted((a.key, a.value.string_value) for a in point.attributes))
    if isinstance(point, HistogramDataPoint):
        value: int | float = point.count
    else:
        value = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
    return Point(name, attributes, point.start_time_unix_nano, point.time_unix_nano, value)


class Receiver:
    """Made from the official protobuf services."""

    what = "a receiver made from the official protobuf services"

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """Not yet started; its ports are its own from now on."""
        self.http_port, self.grpc_port = free_port(), free_port()
        self.http_url = f"{'https' if tls else 'http'}://localhost:{self.http_port}"
        self.grpc_url = f"http://localhost:{self.grpc_port}"
        self.requests: list[ExportMetricsServiceRequest] = []
        """Those that were taken."""
        self.headers: list[dict[str, str]] = []
        self.answers: list[Answer] = []
        """For the next requests over HTTP; without any, they are taken."""
        self.errors: list[tuple[grpc.StatusCode, bytes]] = []
        """For the next requests over gRPC: a code, and status details or nothing."""
        self.tries = 0
        self._tls = tls
        self._http: ThreadingHTTPServer | None = None
        self._grpc: grpc.Server | None = None

    def start(self) -> None:
        """Listens."""
        handler = type("Handler", (_Handler,), {"receiver": self})
        self._http = _Server(("127.0.0.1", self.http_port), handler)
        if self._tls is not None:
            self._http.socket = self._tls.wrap_socket(self._http.socket, server_side=True)
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        self._grpc = grpc.server(ThreadPoolExecutor(2), options=(("grpc.so_reuseport", 0),))
        add_MetricsServiceServicer_to_server(_Service(self), self._grpc)  # type: ignore[no-untyped-call]
        self._grpc.add_insecure_port(f"127.0.0.1:{self.grpc_port}")
        self._grpc.start()

    def stop(self) -> None:
        """Listens no more, and closes all connections; what was taken is kept."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None
        if self._grpc is not None:
            self._grpc.stop(0).wait()
            self._grpc = None

    def points(self) -> list[Point]:
        """Those of all requests that were taken, in order."""
        return [point for request in self.requests for point in points_of(request)]


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for them

    def __init__(self, *arguments: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no news."""


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        receiver = self.receiver
        receiver.tries += 1
        body = self.rfile.read(int(self.headers["content-length"]))
        receiver.headers.append({key.lower(): value for key, value in self.headers.items()})
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        answer = receiver.answers.pop(0) if receiver.answers else Answer(take=True)
        if self.path != "/v1/metrics":
            answer = Answer(404)
        if answer.take:
            receiver.requests.append(ExportMetricsServiceRequest.FromString(body))
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Service(MetricsServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(  # noqa: N802
        self, request: ExportMetricsServiceRequest, context: grpc.ServicerContext
    ) -> ExportMetricsServiceResponse:
        receiver = self._receiver
        receiver.tries += 1
        receiver.headers.append({str(k): str(v) for k, v in context.invocation_metadata()})
        if receiver.errors:
            code, details = receiver.errors.pop(0)
            if details:
                context.set_trailing_metadata((("grpc-status-details-bin", details),))
            context.abort(code, "as the test wants it")
        receiver.requests.append(request)
        return ExportMetricsServiceResponse()


class Collector:
    """The real OpenTelemetry Collector; `prometheus_url` is what its Prometheus exporter shows."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.what = f"a real OpenTelemetry Collector ({binary.name})"
        self._behind = Receiver()
        self._behind.start()
        http, rpc, shown = free_port(), free_port(), free_port()
        self.http_url = f"http://localhost:{http}"
        self.grpc_url = f"http://localhost:{rpc}"
        self.prometheus_url = f"http://localhost:{shown}/metrics"
        self._ports: Sequence[int] = (http, rpc, shown)
        self._binary = binary
        self._settings = folder / "otelcol.yaml"
        self._settings.write_text(
            _COLLECTOR.format(http=http, grpc=rpc, shown=shown, behind=self._behind.http_url)
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        log = self._settings.with_suffix(".log")
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [self._binary, "--config", self._settings], stdout=out, stderr=out
            )
        wait_until(lambda: all(map(_listens, self._ports)), timeout_s=30)

    def stop(self) -> None:
        """Ends it, once it has forwarded what it took."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def close(self) -> None:
        """Ends it and what is behind it."""
        self.stop()
        self._behind.stop()

    def points(self) -> list[Point]:
        """Those that it forwarded, in order."""
        return self._behind.points()


_COLLECTOR = """
receivers:
  otlp:
    protocols:
      http: {{endpoint: "localhost:{http}"}}
      grpc: {{endpoint: "localhost:{grpc}"}}
exporters:
  prometheus: {{endpoint: "localhost:{shown}"}}
  otlp_http: {{endpoint: "{behind}", sending_queue: {{num_consumers: 1}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    metrics: {{receivers: [otlp], exporters: [prometheus, otlp_http]}}
"""


def collector_binary() -> Path | None:
    """The real one, if there is one."""
    found = shutil.which("otelcol")
    if COLLECTOR.is_file():
        return COLLECTOR.absolute()
    return None if found is None else Path(found)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("localhost", port), timeout=1).close()
    except OSError:
        return False
    return True


def repeated(points: Iterable[Point]) -> list[Point]:
    """Points that came more than once, by name, attributes and time."""
    seen: set[tuple[object, ...]] = set()
    again = []
    for point in points:
        key = (point.name, point.attributes, point.time_ns)
        if key in seen:
            again.append(point)
        seen.add(key)
    return again
