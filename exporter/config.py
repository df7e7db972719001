"""What the exporter is told: flags over configuration file over defaults, as one frozen tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.errors import ExporterError
from exporter.given import ConfigError, Given, UsageError
from exporter.options import CONFIG_FILE, OPTIONS, Option


@dataclass(frozen=True, slots=True)
class WebConfig:
    """Where the metrics are served."""

    listen_address: str
    """`HOST:PORT`; `exporter.values.split_address` takes it apart."""
    telemetry_path: str
    config_file: str | None
    """With TLS, users and headers, as other Prometheus exporters have it."""
    allow: tuple[str, ...]
    """Networks of those who are answered; empty: everybody."""


@dataclass(frozen=True, slots=True)
class FlowsConfig:
    """Of the flow table."""

    max: int
    idle_timeout_s: float
    """Of UDP and other flows; TCP flows get five times as long."""


@dataclass(frozen=True, slots=True)
class RingConfig:
    """Bytes of the rings: a power of two, a page at least."""

    size: int
    """Of the ring of flow events."""
    payloads: int


@dataclass(frozen=True, slots=True)
class NamesConfig:
    """Where names come from."""

    deep_inspect: bool
    interface: tuple[str, ...]
    """Names and globs of interfaces that are listened to for DNS alone."""
    grace_s: float


@dataclass(frozen=True, slots=True)
class DomainsConfig:
    """Which names are shown."""

    mode: str
    """full, registrable or off."""
    max: int
    idle_s: float
    hide: tuple[str, ...]
    """Regular expressions."""
    expected: tuple[str, ...]
    """Names and suffixes; empty: nothing is unexpected."""


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Added labels."""

    labels: tuple[str, ...]
    scopes: tuple[tuple[str, str], ...]
    """Networks and the names for them."""


@dataclass(frozen=True, slots=True)
class HistoryConfig:
    """What is kept, and where."""

    path: str | None
    """None: in memory."""
    interval_s: float
    retention_s: float
    max_bytes: int


@dataclass(frozen=True, slots=True)
class OtlpConfig:
    """Where metrics are pushed. What is empty or None is as the OTEL_* variables say."""

    endpoint: str
    """A URL, or `none`."""
    protocol: str | None
    headers: tuple[tuple[str, str], ...]
    compression: str | None
    timeout_s: float | None
    """Of one request."""
    certificate: str
    client_certificate: str
    client_key: str


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Of the log on standard error."""

    level: str
    """debug, info, warning or error."""
    format: str
    """logfmt or json."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that a user can set."""

    interface: tuple[str, ...]
    """Names and globs; empty for the interfaces of the default routes."""
    interface_exclude: tuple[str, ...]
    interface_static: bool
    attach: str
    """auto, tcx or clsact."""
    pin_path: Path | None
    """Where maps and links are pinned; None: nowhere."""
    user: str
    """A name or a number."""
    web: WebConfig
    flows: FlowsConfig
    ring: RingConfig
    names: NamesConfig
    domains: DomainsConfig
    metrics: MetricsConfig
    history: HistoryConfig
    otlp: OtlpConfig
    log: LogConfig


def load(flags: Mapping[str, Given]) -> Config:
    """The configuration of a start with these flags. Raises as `read` does."""
    return assemble(read(flags))


def read(flags: Mapping[str, Given]) -> dict[str, Any]:
    """The value of every option, by key, as these flags and the file that they name have it.

    Raises ConfigError for the file, UsageError for a flag; one line of it for each problem.
    """
    problems: list[ExporterError] = []
    from_file: dict[str, Given] = {}
    if CONFIG_FILE in flags:
        from exporter.config_file import ConfigFile  # here: yaml costs memory

        file = ConfigFile(flags[CONFIG_FILE].texts[0])
        from_file = file.given
        problems += file.problems
    values: dict[str, Any] = {}
    for option in OPTIONS:
        default = option.default if isinstance(option.default, tuple) else (option.default,)
        values[option.key] = _value(option, Given(default, option.key), ExporterError)
        for given, error in ((from_file, ConfigError), (flags, UsageError)):
            if option.key in given:
                try:
                    values[option.key] = _value(option, given[option.key], error)
                except ExporterError as problem:
                    problems.append(problem)
    if problems:
        raise type(problems[0])("\n".join(map(str, problems)))
    return values


def _value(option: Option, given: Given, error: type[ExporterError]) -> object:
    try:
        parsed = tuple(option.parse(text) for text in given.texts)
    except ValueError as wrong:
        raise error(f"{given.where}: {wrong}") from None
    return parsed if option.repeatable else parsed[0]


def assemble(values: Mapping[str, Any]) -> Config:
    """The tree of such values."""
    return Config(
        interface=values["interface.name"],
        interface_exclude=values["interface.exclude"],
        interface_static=values["interface.static"],
        attach=values["attach"],
        pin_path=values["pin.path"],
        user=values["user"],
        web=WebConfig(
            values["web.listen_address"],
            values["web.telemetry_path"],
            _path(values["web.config.file"]),
            values["web.allow"],
        ),
        flows=FlowsConfig(values["flows.max"], values["flows.idle_timeout"]),
        ring=RingConfig(values["ring.size"], values["ring.payloads"]),
        names=NamesConfig(values["deep_inspect"], values["names.interface"], values["names.grace"]),
        domains=DomainsConfig(
            values["domains.mode"],
            values["domains.max"],
            values["domains.idle"],
            values["domains.hide"],
            values["domains.expected"],
        ),
        metrics=MetricsConfig(values["metrics.labels"], values["metrics.scopes"]),
        history=HistoryConfig(
            _path(values["history.path"]),
            values["history.interval"],
            values["history.retention"],
            values["history.max_size"],
        ),
        otlp=OtlpConfig(
            values["otlp.endpoint"],
            values["otlp.protocol"],
            tuple(header for headers in values["otlp.headers"] for header in headers),
            values["otlp.compression"],
            values["otlp.timeout"],
            values["otlp.certificate"],
            values["otlp.client_certificate"],
            values["otlp.client_key"],
        ),
        log=LogConfig(values["log.level"], values["log.format"]),
    )


def _path(text: str) -> str | None:
    return None if text == "none" else text
