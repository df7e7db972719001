"""What the exporter answers to whom: a WSGI application with four pages, and nothing of sockets.

    /            links for people          /-/healthy   the process answers
    /metrics     a scrape                  /-/ready     attached and reading, else 503 and why

A scrape takes a new snapshot, and would rather have one some seconds old than none: it says how
long it can wait, `take_snapshot` returns within that, and `ayaflow_last_fold_timestamp_seconds`
says what came of it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator

from exporter.counts.rows import Shown
from exporter.outputs.exposition import TextsByNames
from exporter.outputs.http_message import GZIP_WINDOW, Response, text_response
from exporter.outputs.metrics import OPENMETRICS, TEXT, BuildInfo, render
from exporter.outputs.wsgi import Environ, StartResponse

try:
    from isal.isal_zlib import compressobj
except ImportError:  # a machine that it is not made for
    from zlib import compressobj  # type: ignore[assignment]

GZIP_LEVEL = 1
"""Of 10,000 samples, 0.8 MB, ISA-L makes 124 KB in 0.8 ms, and zlib 126 KB in 3.2 ms."""

SCRAPE_TIMEOUT_S = 10.0
"""Prometheus' default, for who does not say."""
SCRAPE_MARGIN_S = 0.5
"""Left of the timeout to render and send: a scrape that comes too late is lost."""
SCRAPE_WAIT_S = (0.1, 60.0)
"""Bounds of what is left: no header makes a scrape wait for ever, or not at all."""


class Web:
    """The application. `take_snapshot(timeout_s)` returns within its timeout; `not_ready()` is None
    or a sentence that says why not."""

    def __init__(
        self,
        take_snapshot: Callable[[float], Shown],
        not_ready: Callable[[], str | None],
        build: BuildInfo,
        telemetry_path: str = "/metrics",
    ) -> None:
        self._take_snapshot = take_snapshot
        self._not_ready = not_ready
        self._build = build
        # Python renders one at a time anyway; this way only one takes memory for it.
        self._rendering = threading.Lock()
        self._texts_by: TextsByNames = {}
        self._landing = _landing_page(build.version, telemetry_path)
        self._pages: dict[str, Callable[[Environ], Response]] = {
            "/": self._landing_page,
            "/-/healthy": self._healthy,
            "/-/ready": self._ready,
            telemetry_path: self._metrics,
        }

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        """PEP 3333."""
        response = self._answer(environ)
        start_response(response.status, list(response.headers))
        return [response.body]

    def _answer(self, environ: Environ) -> Response:
        page = self._pages.get(environ["PATH_INFO"])
        if page is None:
            return text_response("404 Not Found", "There is no such page; / lists them.")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return text_response(
                "405 Method Not Allowed", "Only GET and HEAD are answered.", ("Allow", "GET, HEAD")
            )
        return page(environ)

    def _metrics(self, environ: Environ) -> Response:
        shown = self._take_snapshot(wait_s(environ.get(_TIMEOUT_HEADER, "")))
        content_type = choose_content_type(environ.get("HTTP_ACCEPT", ""))
        headers = [("Content-Type", content_type), ("Vary", "Accept, Accept-Encoding")]
        with self._rendering:
            parts = render(shown, self._build, content_type, self._texts_by)
            if accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")):
                parts = gzipped(parts)
                headers.append(("Content-Encoding", "gzip"))
            body = b"".join(parts)
        return Response("200 OK", tuple(headers), body)

    def _landing_page(self, environ: Environ) -> Response:
        return Response("200 OK", _HTML_HEADERS, self._landing)

    def _healthy(self, environ: Environ) -> Response:
        return text_response("200 OK", "healthy")

    def _ready(self, environ: Environ) -> Response:
        why_not = self._not_ready()
        if why_not is None:
            return text_response("200 OK", "ready")
        return text_response("503 Service Unavailable", f"not ready: {why_not}")


_TIMEOUT_HEADER = "HTTP_X_PROMETHEUS_SCRAPE_TIMEOUT_SECONDS"


def gzipped(parts: Iterable[bytes]) -> Iterator[bytes]:
    """In the format of RFC 1952."""
    compressor = compressobj(GZIP_LEVEL, wbits=GZIP_WINDOW)
    yield from map(compressor.compress, parts)
    yield compressor.flush()


def wait_s(header: str) -> float:
    """How long a scrape can wait for its snapshot, by its timeout header; junk is ignored."""
    try:
        timeout_s = float(header)
    except ValueError:
        timeout_s = math.nan
    if not (math.isfinite(timeout_s) and timeout_s > 0):
        timeout_s = SCRAPE_TIMEOUT_S
    shortest, longest = SCRAPE_WAIT_S
    return min(max(timeout_s - SCRAPE_MARGIN_S, shortest), longest)


def choose_content_type(accept: str) -> str:
    """OpenMetrics 1.0.0 for who prefers it, else the text format; never "not acceptable"."""
    best, best_quality = TEXT, 0.0
    for kind, parameters, quality in _choices(accept):
        if kind == "application/openmetrics-text":
            if parameters.get("version", "1.0.0") != "1.0.0":
                continue
            offered = OPENMETRICS
        elif kind in ("text/plain", "text/*", "*/*"):
            offered = TEXT
        else:
            continue
        if quality > best_quality:
            best, best_quality = offered, quality
    return best


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether gzip was named, and not with quality 0."""
    return any(kind == "gzip" and q > 0 for kind, _, q in _choices(accept_encoding))


def _choices(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """The items of an Accept header (RFC 9110, 12.5): what, its parameters, its quality."""
    for item in header.lower().split(","):
        kind, *rest = (part.strip() for part in item.split(";"))
        parameters = {name: value for name, _, value in (part.partition("=") for part in rest)}
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            continue
        yield kind, parameters, quality


_HTML_HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", "default-src 'none'"),
    ("X-Content-Type-Options", "nosniff"),
)


def _escaped(text: str) -> str:
    """For HTML; the module of that name takes half a megabyte."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return text


def _landing_page(version: str, telemetry_path: str) -> bytes:
    """Links are relative, so that they also work below a proxy's path."""
    metrics = _escaped(telemetry_path.lstrip("/"))
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Ayaflow exporter</title></head>
<body>
<h1>Ayaflow exporter</h1>
<p>Packets and bytes of each domain, in each direction. Version {_escaped(version)}.</p>
<ul>
<li><a href="{metrics}">Metrics</a></li>
<li><a href="-/healthy">Health</a></li>
<li><a href="-/ready">Readiness</a></li>
</ul>
</body>
</html>
""".encode()
