"""The web configuration file at work: read before privileges are dropped, and when it changes.

The file, certificates and keys are looked at with each new connection, by their metadata alone. If
what is new cannot be used, the old goes on, and the log says so once.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

from exporter.errors import ExporterError
from exporter.outputs import web_config
from exporter.outputs.connection import Connection
from exporter.outputs.guard import Guard
from exporter.outputs.web_config import WebSettings
from exporter.outputs.wsgi import Application

_log = logging.getLogger(__name__)


class WebSecurity:
    """TLS, users and headers as the file has them."""

    def __init__(self, path: Path) -> None:
        """Reads everything, and loads the modules that it takes. Raises ExporterError."""
        self._path = path
        self._settings = web_config.read(path)
        self._can_tls = self._settings.tls is not None
        self._can_ask = bool(self._settings.users)
        self._guard: Guard | None = None
        self._use(self._settings)

    @property
    def scheme(self) -> str:
        """Of the URLs that are served."""
        return "https" if self._settings.tls else "http"

    @property
    def readable(self) -> list[Path]:
        """The folders of all its files, as they are named and where links lead: files in them are
        replaced.
        """
        return [
            folder
            for path in self._files()
            for folder in dict.fromkeys((path.absolute().parent, path.resolve().parent))
        ]

    def unreadable(self) -> list[Path]:
        """Which of its files this process cannot read again."""
        return [path for path in self._files() if not os.access(path, os.R_OK)]

    def guard(self, app: Application, open_paths: tuple[str, ...]) -> Guard:
        """The application with what the file adds to it. *open_paths*: as of Guard."""
        self._guard = Guard(app, open_paths)
        self._tell_guard()
        return self._guard

    def connect(self, sock: socket.socket, remote: str) -> Connection:
        """A client has come. Raises OSError where it is gone already. In one thread; `reload` may
        be called in another.
        """
        stamps = self._stamps()
        if stamps != self._seen:
            try:
                self.reload()
            except ExporterError as error:
                for sentence in str(error).split("\n"):
                    _log.error("%s; what was there before is used", sentence)
            else:
                _log.info("read again: %s", self._path)
        return self._connect(sock, remote)

    def reload(self) -> None:
        """Reads everything again. Raises ExporterError, and leaves all as it was."""
        self._seen = self._stamps()
        settings = web_config.read(self._path)
        if (settings.tls and not self._can_tls) or (settings.users and not self._can_ask):
            raise ExporterError(
                f"{self._path}: TLS and passwords can be changed while the exporter runs, but"
                " not begun with: restart it"
            )
        self._use(settings)

    def _use(self, settings: WebSettings) -> None:
        connect: Callable[[socket.socket, str], Connection] = Connection
        accepts: Callable[[str], bool] | None = None
        if settings.tls is not None:
            from exporter.outputs import tls_connection  # here: ssl costs memory

            try:
                connect = tls_connection.connector(settings.tls)
            except ExporterError as error:
                raise ExporterError(f"{self._path}: {error}") from None
        if settings.users:
            from exporter.outputs.passwords import Passwords  # here: so does bcrypt

            accepts = Passwords(dict(settings.users)).accept
        self._connect, self._accepts, self._settings = connect, accepts, settings
        self._seen = self._stamps()
        self._tell_guard()

    def _tell_guard(self) -> None:
        if self._guard is not None:
            self._guard.accepts = self._accepts
            self._guard.headers = self._settings.headers

    def _files(self) -> tuple[Path, ...]:
        tls = self._settings.tls
        return (self._path, *(tls.files if tls else ()))

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._files()]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
