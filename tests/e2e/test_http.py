"""The real process over HTTP: formats, methods, and answers under load and at the end."""

from __future__ import annotations

import gzip
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.e2e.exporter_process import Audit, Exporter
from tests.e2e.metrics import Metrics, check_identity
from tests.e2e.net import End, Network
from tests.e2e.traffic import Flood

_SCRAPE_S = 15.0
"""Much more than it takes; the machine may be busy with other things."""


@pytest.fixture
def ends(network: Network) -> tuple[End, End]:
    return network.wire(network.namespace("peer"), network.namespace("host"))


@pytest.fixture
def exporter(ends: tuple[End, End]) -> Iterator[Exporter]:
    with Exporter(ends[1].namespace, "--interface", "eth0") as running:
        yield running


def test_the_text_format_is_the_default(exporter: Exporter) -> None:
    answer = exporter.get()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert "_created" not in answer.body.decode()


def test_openmetrics_on_request(exporter: Exporter) -> None:
    asked = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5"
    answer = exporter.get(headers={"Accept": asked})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    text = answer.body.decode()
    assert text.endswith("# EOF\n")
    families = {
        family.name: family
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    }
    domains = families["ayaflow_bytes"].samples
    created = [sample.value for sample in domains if sample.name == "ayaflow_bytes_created"]
    assert created
    assert all(abs(value - time.time()) < 60 for value in created)


def test_gzip_on_request(exporter: Exporter) -> None:
    answer = exporter.get(headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    check_identity(Metrics(gzip.decompress(answer.body).decode()))
    assert "Content-Encoding" not in exporter.get().headers


def test_pages_and_methods(exporter: Exporter) -> None:
    assert exporter.get("/-/healthy").status == 200
    assert exporter.get("/-/ready").status == 200
    assert b"metrics" in exporter.get("/").body
    assert exporter.get("/nothing").status == 404
    for path in ("/", "/metrics", "/-/healthy"):
        head = exporter.get(path, method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert int(head.headers["Content-Length"]) > 0
        for method in ("POST", "PUT", "DELETE"):
            refused = exporter.get(path, method=method)
            assert refused.status == 405
            assert "GET" in refused.headers["Allow"]


def test_another_path(ends: tuple[End, End]) -> None:
    flags = ("--interface", "eth0", "--web.telemetry-path", "/counts")
    with Exporter(ends[1].namespace, *flags) as exporter:
        assert exporter.get("/counts").status == 200
        assert exporter.get("/metrics").status == 404


def test_curl_agrees(exporter: Exporter) -> None:
    curl = ("curl", "--silent", "--fail", "--compressed", "http://127.0.0.1:10517/metrics")
    check_identity(Metrics(exporter.namespace.run(*curl)))


def test_a_scrape_shows_the_counts_as_of_the_scrape(
    ends: tuple[End, End], exporter: Exporter, flood: Flood
) -> None:
    for packets in range(1, 30):
        flood.send(ends[0], "--flows", "5", "--count", "1")
        metrics = exporter.scrape()
        check_identity(metrics)
        assert metrics.sum("ayaflow_packets_total", direction="ingress") == packets


def test_scrapes_under_full_load_are_in_time_and_never_go_back(
    ends: tuple[End, End], exporter: Exporter, flood: Flood, figure: Callable[[str], None]
) -> None:
    peer, host = ends
    audit = Audit(exporter, host)
    senders = (
        flood.start(peer, "--flows", "50000", "--seconds", "8"),
        flood.start(host, "--flows", "20000", "--seconds", "8", "--source", "198.19.0.0"),
    )
    took: list[float] = []
    last: dict[tuple[str, str], float] = {}
    while any(sender.poll() is None for sender in senders):
        begun = time.monotonic()
        metrics = exporter.scrape()
        took.append(time.monotonic() - begun)
        for sample in metrics.samples("ayaflow_bytes_total"):
            key = (sample.labels["direction"], sample.labels["domain"])
            assert sample.value >= last.get(key, 0)
            last[key] = sample.value
        time.sleep(0.1)
    for sender in senders:
        flood.sent(sender)
    audit.verify()
    figure(
        f"{len(took)} scrapes, median {sorted(took)[len(took) // 2]:.3f} s, max {max(took):.3f} s"
    )
    assert max(took) < _SCRAPE_S


def test_sigterm_while_scrapes_go_on(
    ends: tuple[End, End], exporter: Exporter, flood: Flood
) -> None:
    """Each scrape is answered whole or refused; the exit is clean."""
    sender = flood.start(ends[0], "--flows", "10000", "--seconds", "3")
    broken: list[str] = []
    ended = threading.Event()

    def scrape_on() -> None:
        while not ended.is_set():
            try:
                answer = exporter.get()
                Metrics(answer.body.decode())
            except OSError:
                continue
            except Exception as error:
                broken.append(repr(error))

    scrapers = [threading.Thread(target=scrape_on) for _ in range(4)]
    for scraper in scrapers:
        scraper.start()
    try:
        time.sleep(1)  # in the middle of it
        begun = time.monotonic()
        exporter.stop(signal.SIGTERM)
        assert time.monotonic() - begun < 10
    finally:
        ended.set()
        for scraper in scrapers:
            scraper.join()
    flood.sent(sender)
    assert not broken, broken


def test_a_client_that_is_slow_or_leaves_holds_nobody_up(exporter: Exporter) -> None:
    import socket

    idle = []
    try:
        for number in range(50):
            plug = exporter.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
            plug.settimeout(5)
            plug.connect(("127.0.0.1", 10517))
            if number % 2:
                plug.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
            idle.append(plug)
        for _ in range(5):
            assert exporter.get(timeout_s=3).status == 200
    finally:
        for plug in idle:
            plug.close()
    assert exporter.get(timeout_s=3).status == 200
