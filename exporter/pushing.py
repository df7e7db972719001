"""Pushing by OTLP, as the pipeline sees it: nothing of it is loaded where it is not asked for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.config import Config
from exporter.counts.history import History
from exporter.counts.outbox import Outbox
from exporter.counts.snapshot import OtlpCounts

if TYPE_CHECKING:
    from exporter.outputs.metrics import BuildInfo
    from exporter.outputs.otlp import Prepared

LAST_PUSH_S = 5.0
"""How long a stop waits for a collector at most."""

_DOCUMENT = "otlp"

_log = logging.getLogger(__name__)


def prepare(config: Config, environment: Mapping[str, str]) -> Pushing:
    """What can be done before anything is counted. Raises ExporterError."""
    if not config.otlp.endpoint and not any(name.startswith("OTEL_") for name in environment):
        return Pushing()
    from exporter.outputs.otlp_settings import settings

    found = settings(config.otlp, environment)
    if found is None:
        return Pushing()
    from exporter.outputs import otlp

    return OtlpPushing(otlp.prepare(found), environment)


class Pushing:
    """A push of the history, in the order of these methods; this one pushes nothing."""

    interval_s: float | None = None
    """What the OTEL_* variables say of the interval; None where they don't."""
    fd: int | None = None
    """Readable when `serve` is to be called."""
    readable: Sequence[Path] = ()
    """What it reads once it runs."""

    def open(self, history: History, build: BuildInfo) -> None:
        """Before privileges are given up."""

    def start(self) -> None:
        """Once privileges are given up, which each thread has for itself."""

    def counts(self) -> OtlpCounts | None:
        """How it goes."""
        return None

    def serve(self) -> None:
        """Hands over intervals; to be called when one has ended, too."""

    def close(self) -> None:
        """Pushes the last interval, or gives up after a while."""


class OtlpPushing(Pushing):
    """By OTLP."""

    def __init__(self, prepared: Prepared, environment: Mapping[str, str]) -> None:
        self.interval_s = prepared.settings.interval_s
        self._prepared = prepared
        self._environment = environment

    def open(self, history: History, build: BuildInfo) -> None:
        """As Pushing."""
        from exporter.outputs.otlp import readable_paths
        from exporter.outputs.otlp_resource import resource_attributes

        settings = self._prepared.settings
        attributes = resource_attributes(build, self._environment, settings.resource_attributes)
        self._outbox = Outbox(history, _DOCUMENT)
        self._sender = self._prepared.sender(self._outbox, attributes)
        self.readable = readable_paths(settings)
        self.fd = self._outbox.fd
        _log.info("pushing to %s by OTLP (%s)", settings.url, settings.protocol)

    def counts(self) -> OtlpCounts:
        """As Pushing."""
        return self._sender.counts()

    def start(self) -> None:
        """As Pushing."""
        self._sender.start()

    def serve(self) -> None:
        """As Pushing."""
        self._outbox.serve()

    def close(self) -> None:
        """As Pushing."""
        self._sender.close(LAST_PUSH_S)
