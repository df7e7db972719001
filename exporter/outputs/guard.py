"""Who may see what: asks for a password, as a WSGI application around another."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any

from exporter.outputs.http_message import text_response
from exporter.outputs.wsgi import Application, Environ, StartResponse

_DENIED = text_response(
    "401 Unauthorized",
    "A user name and a password are needed.",
    ("WWW-Authenticate", 'Basic realm="ayaflow-exporter", charset="UTF-8"'),
)


class Guard:
    """The application around another. Its attributes may be replaced at any time."""

    def __init__(self, app: Application, open_paths: Container[str] = ()) -> None:
        """*open_paths*: answered without a password, since the probes of most have none."""
        self.accepts: Callable[[str], bool] | None = None
        """Whether the Authorization header of a request is enough; None: nobody is asked."""
        self.headers: tuple[tuple[str, str], ...] = ()
        """Added to each answer."""
        self._app = app
        self._open_paths = open_paths

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""

        def start(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
            return start_response(status, [*headers, *self.headers], exc_info)

        accepts = self.accepts
        if accepts is None or environ["PATH_INFO"] in self._open_paths:
            return self._app(environ, start)
        if accepts(environ.get("HTTP_AUTHORIZATION", "")):
            return self._app(environ, start)
        start(_DENIED.status, list(_DENIED.headers))
        return [_DENIED.body]
