"""The web server, as the pipeline sees it: of TLS and passwords nothing is loaded that nobody asks
for.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.config import WebConfig
from exporter.options import HEALTHY_PATH, READY_PATH

if TYPE_CHECKING:
    from exporter.outputs.server import Server
    from exporter.outputs.wsgi import Application

_PROBES = (HEALTHY_PATH, READY_PATH)
"""Answered without a password: they say nothing, and kubelet has none."""

_log = logging.getLogger(__name__)


class Serving:
    """Who is served how, in the order of these methods; and how many were."""

    def __init__(self, config: WebConfig) -> None:
        """Before privileges are dropped: afterwards no module can be read. Raises ExporterError."""
        from exporter.outputs.allow import Allowed
        from exporter.outputs.connection import Connection
        from exporter.outputs.server import CODES, Server

        self._requests = dict.fromkeys(CODES, 0)
        self._telemetry_path = config.telemetry_path
        self._security = None
        self.readable: Sequence[Path] = ()
        """What it reads again while it runs."""
        if config.config_file is not None:
            from exporter.outputs.web_security import WebSecurity

            self._security = WebSecurity(Path(config.config_file))
            self.readable = self._security.readable
        self._make_server = partial(
            Server,
            connect=self._security.connect if self._security else Connection,
            allows=Allowed(config.allow) if config.allow else lambda remote: True,
            requests=self._requests,
        )

    def requests(self) -> tuple[tuple[str, int], ...]:
        """How often a request ended how."""
        return tuple(self._requests.items())

    def serve(self, listener: socket.socket, app: Application) -> Server:
        """Answers, once privileges are dropped."""
        security = self._security
        for path in security.unreadable() if security else ():
            _log.warning(
                "%s: the user that the exporter runs as cannot read it: what changes in it is used"
                " after a restart",
                path,
            )
        server = self._make_server(listener, security.guard(app, _PROBES) if security else app)
        host, port = listener.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        scheme = f"{security.scheme} at " if security else ""
        _log.info("listening on %s%s:%d, metrics at %s", scheme, host, port, self._telemetry_path)
        return server

    def reload(self) -> None:
        """Reads the web configuration file again. Raises ExporterError, and all stays as it is."""
        if self._security is not None:
            self._security.reload()
