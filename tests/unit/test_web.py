"""The pages, as an application: no socket, and PEP 3333 checked on every call."""

from __future__ import annotations

import gzip
import logging
import re
from collections.abc import Callable
from wsgiref.validate import validator

import pytest

from exporter.counts.rows import Shown
from exporter.outputs import wsgi
from exporter.outputs.http_message import Request, Response
from exporter.outputs.web import Web, accepts_gzip, choose_content_type, wait_s
from tests.unit.example_snapshot import BUILD, SHOWN

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


class Site:
    """A Web with its two callables to set, and what it was asked for."""

    def __init__(self, telemetry_path: str = "/metrics") -> None:
        self.waited: list[float] = []
        self.not_ready: str | None = None
        self.take: Callable[[], Shown] = lambda: SHOWN
        web = Web(self._take_snapshot, lambda: self.not_ready, BUILD, telemetry_path)
        self._app: wsgi.Application = validator(web)

    def _take_snapshot(self, timeout_s: float) -> Shown:
        self.waited.append(timeout_s)
        return self.take()

    def get(self, path: str, method: str = "GET", **headers: str) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return wsgi.call(self._app, Request(method, path, "", named, True), "192.0.2.1")


@pytest.fixture
def site() -> Site:
    return Site()


def test_the_landing_page_links_every_page_and_nothing_elsewhere(site: Site) -> None:
    landing = site.get("/")
    links = re.findall(r'href="([^"]*)"', landing.body.decode())
    assert links == ["metrics", "-/healthy", "-/ready"]
    assert {site.get("/" + link).status for link in links} == {"200 OK"}
    assert b"Version 1.2.3" in landing.body
    assert b"://" not in landing.body


def test_the_telemetry_path_is_an_option() -> None:
    site = Site("/a&b")
    assert site.get("/a&b").body.startswith(b"# HELP ayaflow_")
    assert site.get("/metrics").status == "404 Not Found"
    assert b'href="a&amp;b"' in site.get("/").body


def test_metrics_at_the_root_replace_the_landing_page() -> None:
    assert Site("/").get("/").body.startswith(b"# HELP ayaflow_")


def test_ready_says_why_it_is_not(site: Site) -> None:
    assert site.get("/-/ready") == Response(
        "200 OK", (("Content-Type", "text/plain; charset=utf-8"),), b"ready\n"
    )
    site.not_ready = "eth0 is gone"
    unready = site.get("/-/ready")
    assert (unready.status, unready.body) == (
        "503 Service Unavailable",
        b"not ready: eth0 is gone\n",
    )
    assert site.get("/-/healthy").status == "200 OK"


@pytest.mark.parametrize("path", ["/nothing", "//", "/metrics/", "", "/-/", "/\xc3\xa9\r\n"])
def test_other_paths_are_not_found(site: Site, path: str) -> None:
    assert site.get(path).status == "404 Not Found"
    assert site.get(path, "POST").status == "404 Not Found"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready"])
def test_other_methods_are_not_allowed(site: Site, path: str, method: str) -> None:
    refused = site.get(path, method)
    assert refused.status == "405 Method Not Allowed"
    assert ("Allow", "GET, HEAD") in refused.headers
    assert site.waited == []


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        (PROMETHEUS_2, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
        ("application/openmetrics-text", OPENMETRICS),
        ("Application/OpenMetrics-Text; Version=1.0.0", OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1", TEXT),
        ("application/openmetrics-text;version=2.0.0", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.7", TEXT),
        ("text/plain;q=0.5,application/openmetrics-text;q=0.7", OPENMETRICS),
        ("application/openmetrics-text;q=much", TEXT),
        ("application/openmetrics-text;version=x;q=nan,;;,=,;q", TEXT),
    ],
)
def test_the_preferred_format_is_chosen(accept: str, content_type: str) -> None:
    assert choose_content_type(accept) == content_type


@pytest.mark.parametrize(
    ("accept", "first", "last"),
    [("", b"# TYPE ayaflow_packets_total", b"\n"), (PROMETHEUS_3, b"# TYPE ayaflow_p", b"# EOF\n")],
)
def test_a_scrape_has_the_format_that_it_names(
    site: Site, accept: str, first: bytes, last: bytes
) -> None:
    scrape = site.get("/metrics", accept=accept)
    assert scrape.status == "200 OK"
    assert ("Content-Type", choose_content_type(accept)) in scrape.headers
    assert scrape.body.splitlines()[1].startswith(first)
    assert scrape.body.endswith(last)
    labels = 'direction="ingress",domain="example.org",role="client",scope="internet"'
    assert f"ayaflow_bytes_total{{{labels}}} 3400\n".encode() in scrape.body


@pytest.mark.parametrize(
    ("accept_encoding", "wanted"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, GZip;q=0.5", True),
        ("gzip;q=0", False),
        ("identity", False),
        ("gzip;q=x", False),
    ],
)
def test_gzip_for_who_wants_it(site: Site, accept_encoding: str, wanted: bool) -> None:
    assert accepts_gzip(accept_encoding) is wanted
    scrape = site.get("/metrics", accept_encoding=accept_encoding)
    assert (("Content-Encoding", "gzip") in scrape.headers) is wanted
    body = gzip.decompress(scrape.body) if wanted else scrape.body
    assert body.startswith(b"# HELP ayaflow_packets_total")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 9.5),
        ("15", 14.5),
        ("2.5", 2.0),
        ("0.3", 0.1),
        ("1e9", 60.0),
        ("0", 9.5),
        ("-3", 9.5),
        ("inf", 9.5),
        ("nan", 9.5),
        ("ten", 9.5),
        ("1" * 5000, 9.5),
    ],
)
def test_a_scrape_waits_as_long_as_it_says(site: Site, header: str, seconds: float) -> None:
    assert wait_s(header) == pytest.approx(seconds)
    site.get("/metrics", x_prometheus_scrape_timeout_seconds=header)
    assert site.waited == [wait_s(header)]


def test_a_failure_is_status_500_and_one_line_in_the_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Shown:
        raise ValueError("no snapshot")

    site.take = fail
    with caplog.at_level(logging.INFO):
        failed = site.get("/metrics")
    assert failed.status == "500 Internal Server Error"
    assert b"snapshot" not in failed.body
    assert caplog.messages == ["GET '/metrics' failed: ValueError: no snapshot"]


def test_headers_with_an_underscore_do_not_pass_for_others() -> None:
    environ = wsgi.make_environ(
        Request("GET", "/", "", {"x_real": "forged", "x-real": "true"}, True), "192.0.2.1"
    )
    assert environ["HTTP_X_REAL"] == "true"
    assert environ["REMOTE_ADDR"] == "192.0.2.1"
