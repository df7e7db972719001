"""What a Prometheus takes for many nodes: memory for each series, by a real one that scrapes.

Some targets answer with what an exporter shows that has as many domains as the default lets it,
with counters that go on from scrape to scrape and, as in a cluster, mostly the same domains.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.bench.harness.figures import Beside
from tests.bench.harness.lab import Lab
from tests.bench.harness.machine import cpu_s, rss_mb
from tests.bench.otlp import DOMAINS_MAX
from tests.e2e.parts import PROMETHEUS_2
from tests.e2e.prometheus_server import Prometheus

NODES = 20

_SCRAPE_MS = 400
_WARM_S = 3
_SCRAPES = 125
"""As many samples as a chunk in memory has, or some more."""
_COUNTER = re.compile(r"^(ayaflow_\w+_total\{.*\}) (\d+)$", re.MULTILINE)


class Nodes(ThreadingHTTPServer):
    """Answers as so many nodes, by the path `/NUMBER`."""

    daemon_threads = True

    def __init__(self, text: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.parts = _COUNTER.split(text)
        self.began = time.monotonic()

    def text_of(self, node: int) -> bytes:
        """Each counter of each node at a pace of its own."""
        chance = random.Random(node)
        seconds = time.monotonic() - self.began
        parts = list(self.parts)
        for place in range(1, len(parts), 3):
            grown = int(parts[place + 1]) + int(seconds * chance.expovariate(1e-4))
            parts[place : place + 2] = parts[place], f" {grown}"
        return "".join(parts).encode()


class _Handler(BaseHTTPRequestHandler):
    server: Nodes
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        """Prometheus ends in the middle of scrapes."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        body = self.server.text_of(int(self.path[1:]))
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def answering(text: str) -> Iterator[int]:
    """Nodes that answer; their port."""
    with Nodes(text) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def config(port: int, nodes: int) -> dict[str, object]:
    """Scrapes so many nodes of one port."""
    jobs = [
        {
            "job_name": f"node-{node}",
            "metrics_path": f"/{node}",
            "static_configs": [
                {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": f"node-{node}:10517"}}
            ],
        }
        for node in range(nodes)
    ]
    return {"global": {"scrape_interval": f"{_SCRAPE_MS}ms"}, "scrape_configs": jobs}


def run(lab: Lab) -> None:
    """A Prometheus without nodes, and one with."""
    with lab.exporter() as exporter:
        lab.name_domains(DOMAINS_MAX)
        text = exporter.scrape().text
    with answering(text) as port:
        empty_mb, _, _ = watched(lab, port, 0)
        full_mb, series, core_s = watched(lab, port, NODES)
    note = lab.figures.note
    note(f"series of {NODES} nodes", "series", series)
    beside = Beside("without nodes", empty_mb)
    note(f"RSS of Prometheus, {NODES} nodes", "MB", full_mb, "", beside)
    note("RSS of Prometheus, for each series", "kB", (full_mb - empty_mb) / series * 1e3)
    samples = series * _SCRAPES
    note("CPU of Prometheus, for a million samples", "s", core_s / samples * 1e6)


def watched(lab: Lab, port: int, nodes: int) -> tuple[float, int, float]:
    """The most memory after some scrapes in MB, series, and CPU seconds."""
    folder = lab.folder / f"prometheus-{nodes}"
    with Prometheus(PROMETHEUS_2, folder, config(port, nodes)) as prometheus:
        time.sleep(_WARM_S)
        before, most_mb = cpu_s([prometheus.pid]), rss_mb([prometheus.pid])
        for _ in range(_SCRAPES if nodes else 1):
            time.sleep(_SCRAPE_MS / 1e3)
            most_mb = max(most_mb, rss_mb([prometheus.pid]))
        took_s = cpu_s([prometheus.pid]) - before
        return most_mb, prometheus.ask("status/tsdb")["headStats"]["numSeries"], took_s
