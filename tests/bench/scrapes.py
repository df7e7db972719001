"""How long a start takes to its first scrape, and what a scrape takes, by how much it has to show.

A scrape is asked for with gzip over a connection that stays, as Prometheus does; time is from the
request to the last byte. Either nothing has changed since the one before, or every domain has: then
the sweep of the flow table and the commit of all their series are in it, too.
"""

from __future__ import annotations

import http.client
import socket
import time
from contextlib import closing
from statistics import median

from exporter.loop import POLL_S
from tests.bench.harness.figures import Beside
from tests.bench.harness.lab import Lab
from tests.bench.harness.machine import cpu_s, every_cpu
from tests.e2e.exporter_process import PORT, Exporter

DOMAINS = {100: "", 200: "", 1_000: "≤ 20"}
"""For 1,000 samples, the default of domains.max, for 10,000 samples; the time asked for, in ms."""

_SCRAPES = 7
_LOOK_S = 2 * POLL_S
"""In so long every ring is read, however little is in it."""
_WORKING = 0.01
"""Of a CPU: it is not idle."""


def run(lab: Lab) -> None:
    """One exporter, with more and more domains that have traffic both ways."""
    with every_cpu(), lab.exporter("--domains.max", str(max(DOMAINS))) as exporter:
        lab.figures.note("start to first scrape", "s", lab.start_s, "≤ 0.8")
        for domains, asked in DOMAINS.items():
            lab.name_domains(domains)
            what = f"{domains:,} domains"
            note_size(lab, exporter, what)
            note_scrapes(lab, exporter, f"{what}, nothing changed", asked)
            note_scrapes(lab, exporter, f"{what}, all changed", asked, domains)


def note_size(lab: Lab, exporter: Exporter, what: str) -> None:
    """Of what a scrape answers."""
    text = exporter.scrape().text
    compressed = exporter.get(headers={"Accept-Encoding": "gzip"}).body
    samples = sum(not line.startswith("#") for line in text.splitlines())
    lab.figures.note(f"samples of a scrape, {what}", "samples", samples)
    beside = Beside("of text", len(text) / 1e3)
    lab.figures.note(f"size of a scrape, {what}", "kB gzipped", len(compressed) / 1e3, "", beside)


def note_scrapes(
    lab: Lab, exporter: Exporter, what: str, asked: str, changing_domains: int = 0
) -> None:
    """One value, from a series of scrapes; before each so many domains get a packet."""
    took_s, took_cpu_s = [], []
    with closing(connection(lab)) as client:
        for _ in range(_SCRAPES):
            if changing_domains:
                lab.send_names(changing_domains)
                wait_idle(exporter)
            cpu, began = cpu_s(exporter.pids()), time.perf_counter()
            client.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
            client.getresponse().read()
            took_s.append(time.perf_counter() - began)
            took_cpu_s.append(cpu_s(exporter.pids()) - cpu)
    cpu_beside = Beside("of CPU time", median(took_cpu_s) * 1e3)
    lab.figures.note(f"time of a scrape, {what}", "ms", median(took_s) * 1e3, asked, cpu_beside)


def wait_idle(exporter: Exporter) -> None:
    """Until what was sent is read from the rings, and the names are learnt."""
    now = cpu_s(exporter.pids())
    while True:
        before = now
        time.sleep(_LOOK_S)
        now = cpu_s(exporter.pids())
        if now - before < _WORKING * _LOOK_S:
            return


def connection(lab: Lab) -> http.client.HTTPConnection:
    """To the exporter, from inside its namespace."""
    client = http.client.HTTPConnection("127.0.0.1", PORT)
    client.sock = lab.near.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.sock.connect(("127.0.0.1", PORT))
    return client
