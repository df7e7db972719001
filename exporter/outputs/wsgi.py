"""One request through a WSGI application (PEP 3333), without a socket in sight.

The seam between the server and what it serves: whatever asks for credentials, or turns addresses
away, is a WSGI application around the other.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any

from exporter.outputs.http_message import Request, Response, text_response

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

_log = logging.getLogger(__name__)


def call(app: Application, request: Request, remote: str) -> Response:
    """The application's answer; if it fails, status 500 and one line in the log. Never raises."""
    try:
        return _call(app, make_environ(request, remote))
    except Exception as error:
        _log.error(
            "%s %r failed: %s: %s", request.method, request.path, type(error).__name__, error
        )
        _log.debug("its traceback", exc_info=True)
        return text_response(
            "500 Internal Server Error", "This failed; the exporter's log says why."
        )


def make_environ(request: Request, remote: str) -> Environ:
    """The request as WSGI has it; `remote` is the peer's address.

    Headers with an underscore are left out: they could pass for their namesakes with a hyphen.
    """
    environ: Environ = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        # PEP 3333 wants these two; where the request was meant for, HTTP_HOST says.
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": remote,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for header, value in request.headers.items():
        if "_" not in header:
            environ["HTTP_" + header.upper().replace("-", "_")] = value
    return environ


def _call(app: Application, environ: Environ) -> Response:
    status = ""
    headers: tuple[tuple[str, str], ...] = ()

    def start_response(
        new_status: str, new_headers: list[tuple[str, str]], exc_info: object = None
    ) -> Callable[[bytes], None]:
        nonlocal status, headers
        status, headers = new_status, tuple(new_headers)
        return written.append

    written: list[bytes] = []
    chunks = app(environ, start_response)
    try:
        written.extend(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    if not status:
        raise RuntimeError("the application started no response")
    return Response(status, headers, b"".join(written))
