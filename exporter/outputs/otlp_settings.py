"""Where OTLP is pushed to and how: the flags and the file first, then the OTEL_* variables.

Of the variables those for metrics (OTEL_EXPORTER_OTLP_METRICS_*) win over those for all signals.
An empty variable is as good as none. What the flags and the file leave open comes from them.

Source: https://opentelemetry.io/docs/specs/otel/protocol/exporter and
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from exporter.errors import ExporterError
from exporter.outputs import otlp_values
from exporter.outputs.otlp_values import GRPC, HTTP, Endpoint
from exporter.values import choice, quoted, switch

METRICS_PATH = "v1/metrics"
TIMEOUT_S = 10.0
INTERVAL_S = (1.0, 3600.0)
"""Bounds of the interval, as of history.interval."""
_PREFIX = "OTEL_EXPORTER_OTLP_"
_TEMPORALITY = _PREFIX + "METRICS_TEMPORALITY_PREFERENCE"
_DEFAULT_ENDPOINT = {HTTP: "http://localhost:4318", GRPC: "http://localhost:4317"}
_T = TypeVar("_T")

_log = logging.getLogger(__name__)


class OtlpOptions(Protocol):
    """What flags and file say; None or empty where they leave it to the variables."""

    @property
    def endpoint(self) -> str: ...
    @property
    def protocol(self) -> str | None: ...
    @property
    def headers(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def compression(self) -> str | None: ...
    @property
    def timeout_s(self) -> float | None: ...
    @property
    def certificate(self) -> str: ...
    @property
    def client_certificate(self) -> str: ...
    @property
    def client_key(self) -> str: ...


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """Everything that a sender has to know."""

    protocol: str
    """http/protobuf or grpc."""
    endpoint: Endpoint
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""
    gzip: bool
    timeout_s: float
    """Of one request."""
    certificate: Path | None
    """PEM file of the authorities to trust; None for those of the system."""
    client_certificate: Path | None
    client_key: Path | None
    resource_attributes: tuple[tuple[str, str], ...]
    """What OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say."""
    interval_s: float | None
    """What OTEL_METRIC_EXPORT_INTERVAL says; None where it says nothing."""

    @property
    def url(self) -> str:
        """For the log."""
        scheme = "https" if self.endpoint.secure else "http"
        return f"{scheme}://{self.endpoint.authority}{self.endpoint.path}"


def settings(options: OtlpOptions, environment: Mapping[str, str]) -> OtlpSettings | None:
    """What the options and the variables say together; None where OTLP is not asked for.

    It is where there is an endpoint, or where OTEL_METRICS_EXPORTER is otlp. Raises ExporterError.
    """
    variables = _Variables(environment)
    if not _wanted(options, variables):
        return None
    _say_what_is_not_offered(variables)
    protocol = options.protocol or variables.get("PROTOCOL", _protocol) or HTTP
    files = {
        name: Path(text) if text else None
        for name in ("certificate", "client_certificate", "client_key")
        for text in [getattr(options, name) or variables.get(name.upper(), str)]
    }
    if (files["client_certificate"] is None) != (files["client_key"] is None):
        raise ExporterError(
            "otlp.client_certificate and otlp.client_key belong together: give both or neither"
        )
    compression = options.compression or variables.get("COMPRESSION", _compression)
    return OtlpSettings(
        protocol=protocol,
        endpoint=_endpoint(options, variables, protocol),
        headers=options.headers or variables.get("HEADERS", otlp_values.headers) or (),
        gzip=compression == "gzip",
        timeout_s=options.timeout_s
        or variables.get("TIMEOUT", otlp_values.milliseconds)
        or TIMEOUT_S,
        resource_attributes=_resource_attributes(variables),
        interval_s=variables.exactly("OTEL_METRIC_EXPORT_INTERVAL", _interval),
        **files,
    )


class _Variables:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def get(self, name: str, parse: Callable[[str], _T]) -> _T | None:
        """That of the metrics, or that of all signals; *name* without prefix."""
        for full in (f"{_PREFIX}METRICS_{name}", f"{_PREFIX}{name}"):
            found = self.exactly(full, parse)
            if found is not None:
                return found
        return None

    def exactly(self, name: str, parse: Callable[[str], _T]) -> _T | None:
        text = self._environment.get(name, "").strip()
        if not text:
            return None
        try:
            return parse(text)
        except ValueError as wrong:
            raise ExporterError(f"{name}: {wrong}") from None


def _wanted(options: OtlpOptions, variables: _Variables) -> bool:
    if options.endpoint:
        chosen = options.endpoint != "none"
    else:
        exporters = variables.exactly("OTEL_METRICS_EXPORTER", str)
        names = {name.strip() for name in exporters.split(",")} if exporters else set()
        chosen = "otlp" in names or (not names and variables.get("ENDPOINT", str) is not None)
    # Anything but "true" is false, the specification says.
    disabled = variables.exactly("OTEL_SDK_DISABLED", str)
    if chosen and disabled is not None and disabled.lower() == "true":
        _log.warning("OTEL_SDK_DISABLED is true, so nothing is pushed by OTLP")
        return False
    return chosen


def _protocol(text: str) -> str:
    if text == "http/json":
        raise ValueError("must be http/protobuf or grpc; http/json is not offered")
    return str(choice(HTTP, GRPC)(text))


def _compression(text: str) -> str:
    return str(choice("gzip", "none")(text))


def _interval(text: str) -> float:
    interval_s = otlp_values.milliseconds(text)
    if not INTERVAL_S[0] <= interval_s <= INTERVAL_S[1]:
        low, high = (round(bound * 1000) for bound in INTERVAL_S)
        raise ValueError(f"must be from {low} to {high} milliseconds, not {quoted(text)}")
    return interval_s


def _endpoint(options: OtlpOptions, variables: _Variables, protocol: str) -> Endpoint:
    def split(text: str) -> Endpoint:
        return otlp_values.split_endpoint(text, protocol)

    if options.endpoint:
        try:
            return _with_path(split(options.endpoint), protocol)
        except ValueError as wrong:
            raise ExporterError(f"otlp.endpoint: {wrong}") from None
    exact = variables.exactly(f"{_PREFIX}METRICS_ENDPOINT", split)
    if exact is not None:
        return _secured(exact._replace(path=exact.path or "/"), variables, protocol)
    base = variables.exactly(f"{_PREFIX}ENDPOINT", split) or split(_DEFAULT_ENDPOINT[protocol])
    return _secured(_with_path(base, protocol), variables, protocol)


def _with_path(base: Endpoint, protocol: str) -> Endpoint:
    """A base URL is that of all signals: `/v1/metrics` comes to what path it has."""
    if protocol == GRPC:
        return base
    path, question, query = base.path.partition("?")
    return base._replace(path=f"{path.rstrip('/')}/{METRICS_PATH}{question}{query}")


def _secured(found: Endpoint, variables: _Variables, protocol: str) -> Endpoint:
    """gRPC without a scheme is as OTEL_EXPORTER_OTLP_INSECURE says, and secure by default."""
    text = variables.get("ENDPOINT", str)
    if protocol != GRPC or text is None or "://" in text:
        return found
    return found._replace(secure=not variables.get("INSECURE", switch))


def _resource_attributes(variables: _Variables) -> tuple[tuple[str, str], ...]:
    found = variables.exactly("OTEL_RESOURCE_ATTRIBUTES", otlp_values.attributes) or {}
    name = variables.exactly("OTEL_SERVICE_NAME", str)
    if name is not None:
        found["service.name"] = name
    return tuple(found.items())


def _say_what_is_not_offered(variables: _Variables) -> None:
    preference = variables.exactly(_TEMPORALITY, str)
    if preference is not None and preference.lower() != "cumulative":
        _log.warning(
            "%s asks for %s, which is not offered: metrics are pushed with cumulative temporality",
            _TEMPORALITY,
            preference.lower() if preference.isascii() and preference.isalpha() else "another one",
        )
