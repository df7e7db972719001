"""However many names there are: memory and series stay bounded, and a real domain keeps its own."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.exporter_process import Exporter
from tests.e2e.metrics import DIRECTIONS, UNITS, Metrics, check_identity
from tests.e2e.net import End, Network
from tests.e2e.services import (
    address,
    connect,
    curl,
    make_certificate,
    start_nginx,
    tls_context,
    wired,
)
from tests.e2e.tap import Tap
from tests.e2e.traffic import Flood
from tests.e2e.waiting import wait_until

pytestmark = pytest.mark.slow

_DOMAINS_MAX = 50
_GROWTH_MAX_MB = 8.0
_REAL, _AGAIN = "real.example", "again.example"
_FLAGS = (
    *("--interface", "eth0", "--names.grace", "500ms", "--flows.idle-timeout", "2s"),
    *("--domains.max", str(_DOMAINS_MAX)),
)
_RATE = 4000
"""Names a second, of which most are learnt: the tables fill."""

lengths = pytest.mark.parametrize("length", [30, 253], ids=["short", "longest"])
"""Characters of a name."""


@pytest.fixture
def ends(network: Network, tmp_path: Path) -> tuple[End, End]:
    near, far = wired(network, ipv6=False)
    start_nginx(far.namespace, tmp_path, make_certificate(tmp_path))
    return near, far


class _Talking:
    """One TLS connection that goes on until it is told to end."""

    def __init__(self, near: End) -> None:
        plug = connect(near.namespace, address(1), 443)
        self._plug = tls_context().wrap_socket(plug, server_hostname=_REAL)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._talk)
        self._thread.start()

    def _talk(self) -> None:
        """The body of an answer is zeros."""
        while not self._stop.wait(0.02):
            self._plug.sendall(f"GET /1k HTTP/1.1\r\nHost: {_REAL}\r\n\r\n".encode())
            answer = b""
            while not answer.endswith(bytes(1024)):
                received = self._plug.recv(65536)
                assert received, "nginx has closed the connection"
                answer += received

    def end(self) -> None:
        self._stop.set()
        self._thread.join()
        self._plug.close()


class _Watch:
    """Scrapes now and then, and checks what every scrape must show."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter
        self._last = exporter.scrape()
        self.scrapes = self.most_domains = 0
        self.most_mb = 0.0

    def look(self) -> Metrics:
        """No counter has gone back; there are no more series than there may be."""
        metrics = self._exporter.scrape()
        domains = metrics.label_values("ayaflow_bytes_total", "domain") - {"unknown", "other"}
        assert len(domains) <= _DOMAINS_MAX
        self.scrapes += 1
        self.most_domains = max(self.most_domains, len(domains))
        self.most_mb = max(self.most_mb, self._exporter.memory_mb())
        check_no_decrease(self._last, metrics)
        self._last = metrics
        return metrics


def check_no_decrease(before: Metrics, after: Metrics) -> None:
    """No counter has gone back. One of a domain may have left, and come back from nothing."""
    evictions = "ayaflow_domains_evicted_total"
    names = [f"ayaflow_{what}_{unit}_total" for what in ("evicted", "interface") for unit in UNITS]
    names += ["ayaflow_attributed_bytes_total", "ayaflow_domains_resolved_total", evictions]
    if after.value(evictions) == before.value(evictions):
        names += [f"ayaflow_{unit}_total" for unit in UNITS]
    for name in names:
        for sample in before.samples(name):
            assert after.value(name, **sample.labels) >= sample.value, sample


def _watch_flood(flood: subprocess.Popen[str], watch: _Watch, near: End) -> None:
    """To its end; meanwhile new connections come and go."""
    while flood.poll() is None:
        watch.look()
        curl(near.namespace, _AGAIN, address(2), f"https://{_AGAIN}/1k")
        time.sleep(0.2)  # the scrapes are not to slow the flood down


def _flood_with_names(
    ends: tuple[End, End],
    name_flood: Flood,
    figure: Callable[[str], None],
    *,
    names: int,
    paced: int,
    length: int,
) -> None:
    near, far = ends
    with Exporter(near.namespace, *_FLAGS) as exporter, closing(Tap(near, address(1))) as tap:
        watch = _Watch(exporter)
        talking = _Talking(near)
        first = 0

        def send(kind: str, count: int, *options: str) -> None:
            nonlocal first
            numbers = ("--count", str(count), "--first", str(first), "--length", str(length))
            flood = name_flood.start(far, "--kind", kind, *numbers, *options)
            first += count
            _watch_flood(flood, watch, near)
            sent = name_flood.sent(flood)
            resolved = exporter.scrape().sum("ayaflow_domains_resolved_total")
            rate = sent.flows / max(sent.seconds, 0.001)
            figure(f"{sent.flows:,} {kind} at {rate:,.0f}/s; {resolved:,} learnt so far")

        try:
            wait_until(lambda: _REAL in exporter.scrape().text)
            # A little of all first: what is loaded once is no growth.
            for kind in ("tls", "dns"):
                send(kind, 200, "--rate", "1000")
            wait_until(lambda: _resolved(exporter.scrape()) >= 300)
            before_mb = exporter.memory_mb()
            for kind in ("tls", "dns"):
                send(kind, paced // 2, "--rate", str(_RATE))
            learnt = _resolved(exporter.scrape())
            for kind in ("tls", "dns"):
                send(kind, names // 2)
        finally:
            talking.end()

        def at_rest() -> Metrics:
            metrics = watch.look()
            check_identity(metrics)
            assert metrics.sum("ayaflow_pending_bytes") == 0
            check_real(metrics, tap)
            return metrics

        metrics = wait_until(at_rest, timeout_s=30)
        assert tap.dropped() == 0
        growth_mb = watch.most_mb - before_mb
        dropped = metrics.value("ayaflow_ring_dropped_events_total", ring="payload")
        figure(f"{_resolved(metrics):,} learnt, {dropped:,} payload events dropped")
        figure(f"RSS {before_mb:.1f} MB, and {growth_mb:.2f} MB more at most")
        evicted = metrics.value("ayaflow_domains_evicted_total")
        figure(f"{watch.scrapes} scrapes; {watch.most_domains} domains at most, {evicted} left")
        assert learnt > paced // 2
        assert growth_mb < _GROWTH_MAX_MB


def _resolved(metrics: Metrics) -> int:
    return metrics.sum("ayaflow_domains_resolved_total")


def check_real(metrics: Metrics, tap: Tap) -> None:
    """The real domain has all of its one connection, and nothing else."""
    (truth,) = tap.counts.values()
    for direction in DIRECTIONS:
        for unit in UNITS:
            labels = {"direction": direction, "domain": _REAL}
            assert metrics.value(f"ayaflow_{unit}_total", **labels) == truth[direction, unit]


@lengths
def test_many_names(
    ends: tuple[End, End], name_flood: Flood, figure: Callable[[str], None], length: int
) -> None:
    _flood_with_names(ends, name_flood, figure, names=100_000, paced=20_000, length=length)


@lengths
def test_a_million_names(
    ends: tuple[End, End], name_flood: Flood, figure: Callable[[str], None], length: int
) -> None:
    _flood_with_names(ends, name_flood, figure, names=1_000_000, paced=100_000, length=length)
