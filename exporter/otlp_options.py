"""The options of OTLP, named like the OTEL_EXPORTER_OTLP_* variables over which they win."""

from __future__ import annotations

from exporter import values
from exporter.option import Option


def _otlp(parser: str) -> values.Parser:
    """One of OTLP's parsers, or "" for what the OTEL_* variables say."""

    def parse(text: str) -> object:
        from exporter.outputs import otlp_values

        return getattr(otlp_values, parser)(text) if text else ""

    return parse


def _or_variable(parse: values.Parser) -> values.Parser:
    """The same, but "" is allowed: then the OTEL_* variable says, or its default."""
    return lambda text: parse(text) if text else None


OTLP_OPTIONS = (
    Option(
        key="otlp.endpoint",
        parse=_otlp("endpoint"),
        default="",
        metavar="URL",
        help="Push the metrics to this collector by OTLP, /v1/metrics appended; none: push to no"
        " one. Without it, OTEL_EXPORTER_OTLP_ENDPOINT counts, and so for each of these.",
    ),
    Option(
        key="otlp.protocol",
        parse=_or_variable(values.choice("http/protobuf", "grpc")),
        default="",
        metavar="http/protobuf|grpc",
        help="How to push; http/protobuf unless OTEL_EXPORTER_OTLP_PROTOCOL says otherwise.",
    ),
    Option(
        key="otlp.headers",
        parse=_otlp("headers"),
        default=(),
        metavar="NAME=VALUE",
        help="Send this header with each request, the value percent-encoded. May be given several"
        " times. Secrets belong in the file or in OTEL_EXPORTER_OTLP_HEADERS, where no other"
        " user sees them.",
    ),
    Option(
        key="otlp.compression",
        parse=_or_variable(values.choice("gzip", "none")),
        default="",
        metavar="gzip|none",
        help="Whether to compress; none unless OTEL_EXPORTER_OTLP_COMPRESSION says otherwise.",
    ),
    Option(
        key="otlp.timeout",
        parse=_or_variable(values.duration("100ms", "10m")),
        default="",
        metavar="DURATION",
        help="For one request; 10s unless OTEL_EXPORTER_OTLP_TIMEOUT says otherwise.",
    ),
    Option(
        key="otlp.certificate",
        parse=str,
        default="",
        metavar="FILE",
        help="The PEM file of authorities that may vouch for the collector, instead of the"
        " system's.",
    ),
    Option(
        key="otlp.client_certificate",
        parse=str,
        default="",
        metavar="FILE",
        help="The PEM file of the certificate to show to the collector.",
    ),
    Option(
        key="otlp.client_key",
        parse=str,
        default="",
        metavar="FILE",
        help="The PEM file of that certificate's key.",
    ),
)
