"""What pushing by OTLP over http takes: memory, and CPU time and bytes of a push.

A collector in the same namespace takes whatever comes. Memory is as in `agent`, with a push at each
interval of the history. A push is measured once a second, with as many domains as the default lets
have series; the commit before it is in its CPU time.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.bench.agent import DOMAINS, note_memory, open_flows
from tests.bench.harness.lab import Lab
from tests.bench.harness.machine import cpu_s
from tests.bench.kernel import flows_text
from tests.e2e.exporter_process import Exporter
from tests.e2e.net import End

DOMAINS_MAX = 200
"""The default of domains.max."""

_INTERVAL_MS = 1000
_PUSHING_S = 5.0
_ASKED_MEMORY = {1_000: "≤ 44", 50_000: ""}
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Pushing(Exporter):
    """Pushes more often than its flags can say."""

    def command(self, *flags: str) -> tuple[str, ...]:
        return ("env", f"OTEL_METRIC_EXPORT_INTERVAL={_INTERVAL_MS}", *super().command(*flags))


class Collector:
    """Takes requests over http and counts them."""

    def __init__(self, end: End) -> None:
        self.requests = 0
        self.bytes = 0
        """Of bodies."""
        self._listener = end.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        """One connection after the other, until it is closed."""
        with suppress(OSError):
            while True:
                plug, _ = self._listener.accept()
                with plug, plug.makefile("rb") as reader:
                    while reader.readline():
                        headers = http.client.parse_headers(reader)
                        self.bytes += len(reader.read(int(headers["Content-Length"])))
                        self.requests += 1
                        plug.sendall(_ANSWER)

    def close(self) -> None:
        self._listener.close()


@contextmanager
def collector(end: End) -> Iterator[Collector]:
    """A collector inside of a namespace."""
    made = Collector(end)
    threading.Thread(target=made.serve, daemon=True).start()
    yield made
    made.close()


def run(lab: Lab) -> None:
    """Memory first, then pushes as they are and compressed."""
    with collector(lab.near) as taken, lab.exporter("--otlp.endpoint", taken.url) as exporter:
        lab.name_domains(DOMAINS)
        for flows, asked in _ASKED_MEMORY.items():
            open_flows(lab, flows)
            what = f"{flows_text(flows)}, {DOMAINS} domains, OTLP over http"
            note_memory(lab, exporter, what, asked)
    for compression in ("none", "gzip"):
        with collector(lab.near) as taken:
            flags = ("--otlp.endpoint", taken.url, "--otlp.compression", compression)
            with lab.started(lab.new_exporter(*flags, kind=Pushing)) as exporter:
                note_pushes(lab, exporter, taken, compression)


def note_pushes(lab: Lab, exporter: Exporter, taken: Collector, compression: str) -> None:
    """Every series is in each."""
    lab.name_domains(DOMAINS_MAX)
    requests, size, cpu = taken.requests, taken.bytes, cpu_s(exporter.pids())
    time.sleep(_PUSHING_S)
    pushes = taken.requests - requests
    what = f"of a push, {DOMAINS_MAX} domains, compression {compression}"
    lab.figures.note(f"bytes {what}", "kB", (taken.bytes - size) / pushes / 1e3)
    lab.figures.note(f"CPU {what}", "ms", (cpu_s(exporter.pids()) - cpu) / pushes * 1e3)
