"""Pushing by OTLP, put together: what to do before privileges are given up, and the sender after.

    prepared = prepare(settings)        # imports, reads TLS files; or ExporterError
    sender = prepared.sender(outbox, attributes)
    readable_paths(settings)            # for Landlock
    …privileges are given up…
    sender.start(); outbox.serve() at each interval; sender.close(timeout_s)

Only imported where OTLP is configured: everything that is heavy comes with `prepare`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.counts.outbox import Outbox
from exporter.outputs.catalogue import Columns, Family, Histogram, Metric
from exporter.outputs.otlp_encode import Encoder
from exporter.outputs.otlp_outcome import Transport
from exporter.outputs.otlp_sender import OtlpSender
from exporter.outputs.otlp_settings import OtlpSettings
from exporter.outputs.otlp_shown import ShownIntervals
from exporter.outputs.otlp_values import GRPC

_NAME_FILES = ("resolv.conf", "hosts", "nsswitch.conf", "host.conf", "gai.conf", "services")
"""In /etc: what glibc reads to find an address."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that could be done before privileges are given up."""

    settings: OtlpSettings
    transport: Transport

    def sender(self, outbox: Outbox, attributes: Mapping[str, str]) -> OtlpSender:
        """The thread, not yet started. *attributes*: of the resource."""
        encoder = Encoder(attributes)
        for request in encoder.requests(_one_of_each_kind(), 1.0):
            request.SerializeToString()  # what is imported late is imported now
        timeout_s = self.settings.timeout_s
        return OtlpSender(outbox, ShownIntervals(), encoder, self.transport, timeout_s)


def prepare(settings: OtlpSettings) -> Prepared:
    """Imports what pushing needs, and reads the TLS files. Raises ExporterError."""
    import opentelemetry.exporter.otlp.proto.common.metrics_encoder  # 0.2 s
    import opentelemetry.sdk.metrics.export  # noqa: F401

    transport: Transport
    if settings.protocol == GRPC:
        from exporter.outputs.otlp_grpc import GrpcTransport

        transport = GrpcTransport(settings)
    else:
        from exporter.outputs.otlp_http import HttpTransport

        transport = HttpTransport(settings)
    return Prepared(settings, transport)


def readable_paths(settings: OtlpSettings) -> list[Path]:
    """What must stay readable: to find the collector's address, and authorities it may have."""
    paths = [Path("/etc") / name for name in _NAME_FILES]
    if settings.protocol == GRPC:
        paths.append(Path("/dev/urandom"))  # without it the library ends the process
    # Where a link leads to, as resolv.conf mostly does: the folder, since such files are replaced.
    paths += [path.resolve().parent for path in paths if path.is_symlink()]
    if settings.endpoint.secure and settings.certificate is None:
        from exporter.outputs.otlp_tls import system_authorities

        paths += [path.resolve() for path in system_authorities()]
    return [path for path in dict.fromkeys(paths) if path.exists()]


def _one_of_each_kind() -> Iterable[Family]:
    one = Columns([()], [1], [0.0])
    none = Histogram((), (0,), 0.0, 0.0)
    yield Family(Metric("a", "", "counter", "", "", ()), one)
    yield Family(Metric("b", "", "gauge", "", "", ()), one)
    yield Family(Metric("c", "", "histogram", "", "", ()), Columns(), none)
