"""What deep inspection costs bulk traffic: iperf3 with it and with `--no-deep-inspect`, in pairs.

    sudo .venv/bin/python tests/bench/inspection_cost.py
    sudo .venv/bin/python tests/bench/inspection_cost.py --pairs 40 --seconds 1 --json cost.json

Two wires between network namespaces, with an exporter at the client's end of each: one looks into
payloads, the other does not. A pair is one short run of iperf3 over either wire, right after each
other, in an order that chance decides; after half of the pairs the exporters change wires. So what
the machine does besides meets both alike. TCP with offloads carries super-packets of 64 KB; cut,
the program sees every segment.

For each run: throughput, and processor time for a gigabyte, of the processes of the run (both ends
of iperf3, and the exporter) and of the whole machine, soft interrupts and whatever else it did
included. Shown is the median of the pairs' ratios, with inspection to without, in percent above 1,
the middle half of them, and the range that the median lies in with 95 % confidence (order
statistics). Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from tests.e2e.exporter_process import Exporter
from tests.e2e.net import End, Network
from tests.e2e.traffic import listening
from tests.e2e.waiting import wait_until

_PORT = 5201
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME = 11, 12
"""Fields of /proc/PID/stat behind the program's name."""
_BUSY = (0, 1, 2, 5, 6)
"""Fields of /proc/stat: user, nice, system, interrupts, soft interrupts."""


class Run(NamedTuple):
    """What one run of iperf3 took."""

    gbit_s: float
    processes_s_per_gb: float
    machine_s_per_gb: float


class Pair(NamedTuple):
    """Two runs right after each other."""

    inspecting: Run
    blind: Run


class Wire:
    """A client and a server in namespaces of their own."""

    def __init__(self, network: Network, number: int, offload: bool) -> None:
        near, far = (network.namespace(f"{role}{number}") for role in ("near", "far"))
        ends = network.wire(near, far, number, offload=offload)
        self.near: End = ends[0]
        self.far: End = ends[1]
        far.start("iperf3", "--server", "--affinity", "1")
        wait_until(lambda: listening(far, _PORT))

    def run(self, exporter: Exporter, seconds: float) -> Run:
        """One run of iperf3 from the client to the server."""
        exporter_s, machine_s = _process_s(exporter.pid), _machine_s()
        answer = json.loads(
            self.near.namespace.run(
                *("iperf3", "--client", self.far.ipv4, "--time", str(seconds), "--json"),
                *("--affinity", "0,1"),
            )
        )
        exporter_s, machine_s = _process_s(exporter.pid) - exporter_s, _machine_s() - machine_s
        took_s = answer["end"]["sum_received"]["seconds"]
        carried = answer["end"]["sum_received"]["bytes"]
        share = answer["end"]["cpu_utilization_percent"]
        iperf_s = (share["host_total"] + share["remote_total"]) / 100 * took_s
        return Run(
            carried * 8 / took_s / 1e9,
            (iperf_s + exporter_s) / carried * 1e9,
            machine_s / carried * 1e9,
        )


def _process_s(pid: int) -> float:
    """Processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_UTIME - 1]) + int(fields[_STIME - 1])) / _TICKS_PER_S


def _machine_s() -> float:
    """Processor time that all of the machine has taken."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    return sum(int(fields[each]) for each in _BUSY) / _TICKS_PER_S


@contextmanager
def exporters(inspecting: Wire, blind: Wire) -> Iterator[tuple[Exporter, Exporter]]:
    """One that looks into payloads and one that does not, each at the client's end of a wire."""
    flags = ("--interface", "eth0")
    with (
        Exporter(inspecting.near.namespace, *flags) as looking,
        Exporter(blind.near.namespace, *flags, "--no-deep-inspect") as counting,
    ):
        yield looking, counting


def measure(offload: bool, pairs: int, seconds: float) -> list[Pair]:
    """All pairs of one kind of traffic."""
    network = Network(f"ayaflow-bench-{os.getpid()}")
    found = []
    try:
        wires = [Wire(network, number, offload) for number in (1, 2)]
        for inspecting, blind in (wires, wires[::-1]):
            with exporters(inspecting, blind) as (looking, counting):
                runs = {True: (inspecting, looking), False: (blind, counting)}
                for wire, exporter in runs.values():
                    wire.run(exporter, seconds)  # warms up; not counted
                for _ in range(math.ceil(pairs / 2)):
                    order = random.sample([True, False], 2)
                    took = {which: runs[which][0].run(runs[which][1], seconds) for which in order}
                    found.append(Pair(took[True], took[False]))
                    print(f"  {found[-1]}", file=sys.stderr, flush=True)
    finally:
        network.close()
    return found


def above(pairs: Sequence[Pair], field: int) -> list[float]:
    """By how many percent the run with inspection lies above the other, in each pair, sorted."""
    return sorted(100 * (each.inspecting[field] / each.blind[field] - 1) for each in pairs)


def confidence(ordered: Sequence[float]) -> tuple[float, float]:
    """The range that the median lies in with at least 95 %: the sign test, turned round."""
    count = len(ordered)
    lowest, below = 0, 0.0
    while below + math.comb(count, lowest) / 2**count <= 0.025:
        below += math.comb(count, lowest) / 2**count
        lowest += 1
    lowest = max(0, lowest - 1)
    return ordered[lowest], ordered[count - 1 - lowest]


def table(kind: str, pairs: Sequence[Pair]) -> list[str]:
    """Rows of Markdown."""
    rows = []
    names = ("throughput, Gbit/s", "processes, CPU s/GB", "machine, CPU s/GB")
    for field, name in enumerate(names):
        ordered = above(pairs, field)
        quarters, sure = quantiles(ordered, n=4), confidence(ordered)
        cells = [
            kind,
            name,
            f"{median(each.inspecting[field] for each in pairs):.3f}",
            f"{median(each.blind[field] for each in pairs):.3f}",
            f"{median(ordered):+.2f} %",
            f"{quarters[0]:+.1f} … {quarters[2]:+.1f} %",
            f"{sure[0]:+.2f} … {sure[1]:+.2f} %",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def main() -> int:
    """Exit status: 0."""
    parser = argparse.ArgumentParser(description="What deep inspection costs bulk traffic.")
    parser.add_argument("--pairs", type=int, default=24, help="of each kind (default: 24)")
    parser.add_argument("--seconds", type=float, default=2, help="of a run (default: 2)")
    parser.add_argument("--json", type=Path, help="all runs go there")
    options = parser.parse_args()
    found = {
        kind: measure(offload, options.pairs, options.seconds)
        for kind, offload in (("offloads", True), ("cut", False))
    }
    print("| TCP | what | with | without | with above without | middle half | median, 95 % |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for kind, pairs in found.items():
        print("\n".join(table(kind, pairs)))
    if options.json:
        options.json.write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
