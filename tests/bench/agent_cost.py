"""What the whole agent costs: memory, CPU time, start-up and scrapes, of all its processes.

    sudo .venv/bin/python tests/bench/agent_cost.py
    sudo .venv/bin/python tests/bench/agent_cost.py --rounds 5 --seconds 30 --json agent.json

A wire between two network namespaces, the real exporter at one end with its history, and a packet
generator at the other. Shown is the median of the rounds.

Memory is in MB of a million bytes, as PSS (what processes share is divided among them) and, of the
server alone, as RSS. CPU time is of the server and its helper, user and system, for a million
packets that the interface counted meanwhile; the kernel program runs in the sender's time, and
kernel_cost.py has it. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.e2e.exporter_process import PORT, Exporter
from tests.e2e.net import End, Network
from tests.e2e.traffic import Flood

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SCRAPE_S = 15.0
_DOMAINS = 100
"""That have series: four each, besides the rates."""
_SETTLE_S = 6.0
"""A sweep comes every 5 s."""

Figures = dict[str, list[float]]


class Bench:
    """One wire, and what was measured on it."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.figures: Figures = defaultdict(list)
        self._folder = folder
        self._options = options
        self._network = Network(f"agent-cost-{os.getpid()}")
        self.near, self.far = self._network.wire(
            self._network.namespace("near"), self._network.namespace("far")
        )
        self._flood, self._names = (
            Flood(_compiled(name, folder)) for name in ("flood", "name_flood")
        )

    def close(self) -> None:
        self._network.close()

    @contextmanager
    def exporter(self, *flags: str) -> Iterator[Exporter]:
        """A start with an empty history, and how long that takes."""
        for left in self._folder.glob("history.db*"):
            left.unlink()
        history = ("--history.path", str(self._folder / "history.db"))
        made = Exporter(self.near.namespace, "--interface", self.near.device, *history, *flags)
        began = time.monotonic()
        made.start()
        try:
            while made.running.poll() is None:
                with suppress(OSError):
                    if made.get().status == 200:
                        break
                time.sleep(0.005)
            self.note("start to first scrape, s", time.monotonic() - began)
            yield made
            made.stop()
        finally:
            made.close()

    def note(self, name: str, value: float) -> None:
        self.figures[name].append(value)

    def memory(self, name: str, exporter: Exporter) -> None:
        """After a scrape, as it is between scrapes."""
        exporter.scrape()
        pss = sum(_pss_kb(pid) for pid in exporter.pids()) * 1024 / 1e6
        self.note(f"PSS of all processes, MB: {name}", pss)
        self.note(f"RSS of the server, MB: {name}", exporter.memory_mb() * 1048576 / 1e6)

    def send(self, flows: int, *options: str) -> None:
        self._flood.send(self.far, "--flows", str(flows), *options, timeout_s=300)

    def name_domains(self) -> None:
        """Has so many domains seen, each with traffic."""
        self._names.send(self.far, "--kind", "tls", "--count", str(_DOMAINS), "--rate", "200")
        time.sleep(1.0)

    def cpu(self, exporter: Exporter, flows: int, *rate: str, name: str) -> None:
        """Of so many seconds of traffic, with a scrape as often as Prometheus comes."""
        self.send(flows, "--count", str(4 * flows))  # a first time, which is not of the rate
        time.sleep(_SETTLE_S)
        exporter.scrape()
        seconds = str(self._options.seconds)
        ended = threading.Event()

        def scrape() -> None:
            while not ended.wait(_SCRAPE_S):
                exporter.scrape()

        scraping = threading.Thread(target=scrape)
        scraping.start()
        before, packets = _cpu_s(exporter), _packets(exporter)
        self.send(flows, "--seconds", seconds, *rate)
        exporter.scrape()
        spent, sent = _cpu_s(exporter) - before, _packets(exporter) - packets
        ended.set()
        scraping.join()
        self.note(f"CPU s for a million packets: {name}", spent / sent * 1e6)
        self.note(f"CPU s: {name}", spent)
        self.note(f"million packets: {name}", sent / 1e6)


def _compiled(name: str, folder: Path) -> Path:
    source = Path(__file__).resolve().parents[1] / "e2e" / f"{name}.c"
    subprocess.run(["cc", "-O2", "-std=gnu11", "-o", str(folder / name), str(source)], check=True)
    return folder / name


def _pss_kb(pid: int) -> int:
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("Pss:"))


def _cpu_s(exporter: Exporter) -> float:
    total = 0
    for pid in exporter.pids():
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(after_name[11]) + int(after_name[12])
    return total / _TICKS_PER_S


def _packets(exporter: Exporter) -> float:
    return exporter.scrape().sum("ayaflow_interface_packets_total")


@contextmanager
def collector(end: End) -> Iterator[str]:
    """Takes whatever is pushed inside of a namespace; its URL."""
    listener = end.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen()

    def serve() -> None:
        with suppress(OSError):
            while True:
                plug, _ = listener.accept()
                with plug, plug.makefile("rb") as reader:
                    while reader.readline():
                        headers = http.client.parse_headers(reader)
                        reader.read(int(headers.get("Content-Length", "0")))
                        plug.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


def memory_and_scrapes(bench: Bench) -> None:
    with bench.exporter() as exporter:
        bench.memory("at rest", exporter)
        bench.name_domains()
        bench.send(1000, "--count", "20000")
        time.sleep(_SETTLE_S)
        bench.memory("1,000 flows, 100 domains", exporter)
        scrapes(bench, exporter, "100 domains")
        for flows in (10_000, 50_000):
            bench.send(flows, "--count", str(4 * flows))
            time.sleep(_SETTLE_S)
            bench.memory(f"{flows:,} flows", exporter)
        bench.note("kernel memory, MB", exporter.scrape().sum("ayaflow_kernel_memory_bytes") / 1e6)


def memory_with_otlp(bench: Bench) -> None:
    with (
        collector(bench.near) as url,
        bench.exporter("--otlp.endpoint", url, "--history.interval", "2s") as exporter,
    ):
        bench.name_domains()
        bench.send(1000, "--count", "20000")
        time.sleep(2 * _SETTLE_S)
        bench.memory("1,000 flows, 100 domains, OTLP over http", exporter)


def large_scrape(bench: Bench) -> None:
    with bench.exporter("--domains.max", "1000") as exporter:
        bench._names.send(bench.far, "--kind", "tls", "--count", "1000", "--rate", "500")
        time.sleep(_SETTLE_S)
        scrapes(bench, exporter, "1,000 domains")


def scrapes(bench: Bench, exporter: Exporter, name: str) -> None:
    plug = bench.near.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    plug.connect(("127.0.0.1", PORT))
    client = http.client.HTTPConnection("127.0.0.1", PORT)
    client.sock = plug
    took = []
    for _ in range(12):
        began = time.perf_counter()
        client.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
        size = len(client.getresponse().read())
        took.append(time.perf_counter() - began)
    client.close()
    text = exporter.scrape().text
    samples = sum(not line.startswith("#") for line in text.splitlines())
    bench.note(f"scrape, ms: {name}", median(took) * 1e3)
    bench.note(f"samples: {name}", samples)
    bench.note(f"KB of text: {name}", len(text) / 1e3)
    bench.note(f"KB gzipped: {name}", size / 1e3)


def cpu(bench: Bench) -> None:
    with bench.exporter() as exporter:
        time.sleep(_SETTLE_S)
        before, began = _cpu_s(exporter), time.monotonic()
        time.sleep(bench._options.seconds)
        share = (_cpu_s(exporter) - before) / (time.monotonic() - began)
        bench.note("CPU at rest, % of a core", share * 100)
        for flows in (1, 1000, 50_000):
            bench.cpu(exporter, flows, name=f"{flows:,} flows, full rate")
        for pps in (20_000, 200_000):
            bench.cpu(exporter, 1000, "--pps", str(pps), name=f"1,000 flows, {pps:,} a second")


PARTS: dict[str, Callable[[Bench], None]] = {
    "memory": memory_and_scrapes,
    "otlp": memory_with_otlp,
    "scrape": large_scrape,
    "cpu": cpu,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0, help="of traffic (30)")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options)
        try:
            for _ in range(options.rounds):
                for part in options.parts.split(","):
                    PARTS[part](bench)
        finally:
            bench.close()
    print("| figure | median | lowest | highest |\n| --- | --- | --- | --- |")
    for name, values in bench.figures.items():
        print(f"| {name} | {median(values):.3g} | {min(values):.3g} | {max(values):.3g} |")
    if options.json:
        options.json.write_text(json.dumps(bench.figures, indent=1))


if __name__ == "__main__":
    main()
