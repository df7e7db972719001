"""All figures in one run: rounds of every bench, one table, one JSON.

    python -m tests.bench
    python -m tests.bench --only kernel agent --rounds 5 --seconds 30 --json figures.json
    python -m tests.bench --page README.md docs/performance.md

A round is every bench once, so that what a figure is compared with is measured beside it. The table
shows medians of the rounds, how far they lie apart, and what was asked for. Nothing is asserted but
that packets are counted. Needs root, and a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.bench import agent, history, kernel, nodes, otlp, scrapes, throughput
from tests.bench.harness.figures import Beside, Figures, number
from tests.bench.harness.lab import Lab
from tests.bench.harness.machine import describe, leave_the_sending_cpu

_QUIET = 0.5
"""Load average of a machine with nothing else to do."""

_ASKED_TOGETHER = {1: "≤ 106", 1_000: "≤ 103", 50_000: "≤ 358"}
"""By flows: a twentieth of what AyaFlow took (docs/performance.md), of 50,000 flows a seventh."""


class Bench(NamedTuple):
    """One bench: what it shows, and what measures one value of each of its figures."""

    says: str
    run: Callable[[Lab], None]
    once: bool = False
    """In the first round alone."""
    is_asked: bool = False
    """Run only where it is named."""


BENCHES = {
    "kernel": Bench("nanoseconds a packet in the kernel", kernel.run),
    "agent": Bench("CPU time and memory of all processes, by load", agent.run),
    "flows": Bench("CPU time of a flow that opens and ends", agent.run_new_flows),
    "scrapes": Bench("start, time and size of a scrape", scrapes.run),
    "otlp": Bench("memory, CPU time and bytes of a push", otlp.run),
    "history": Bench("CPU time and bytes of a commit", history.run),
    "throughput": Bench("iperf3 and small packets, with and without", throughput.run),
    "nodes": Bench("what a Prometheus takes for many nodes", nodes.run, once=True),
    "layouts": Bench("other layouts of the flow table", kernel.run_layouts, is_asked=True),
}


def note_together(figures: Figures) -> None:
    """Kernel and userspace, from the medians of both."""
    for flows, asked in _ASKED_TOGETHER.items():
        text = kernel.flows_text(flows)
        above = figures.find("kernel", kernel.on_name(text))
        spent = figures.find("agent", agent.cpu_name(text))
        if above is None or spent is None:
            continue
        ours_ns = above.median + spent.median * agent.NS_A_PACKET
        theirs_ns = above.beside_median + spent.beside_median * agent.NS_A_PACKET
        beside = Beside(f"a BCC callback, {number(theirs_ns / ours_ns)} times ours", theirs_ns)
        figures.bench = "together"
        figures.note(f"kernel and userspace, {text}", "ns a packet", ours_ns, asked, beside)


def parse_options() -> argparse.Namespace:
    """The command line."""
    listed = "\n".join(f"  {name:<12}{bench.says}" for name, bench in BENCHES.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        epilog=f"benches:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual = [name for name, bench in BENCHES.items() if not bench.is_asked]
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of traffic for CPU time (10)")
    parser.add_argument(
        "--only", nargs="+", choices=BENCHES, default=usual, metavar="BENCH", help=" ".join(BENCHES)
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value there")
    parser.add_argument(
        "--page",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="put medians into its tables",
    )
    return parser.parse_args()


def main() -> None:
    """Measures, prints the table, and writes the JSON."""
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # tidies up, too
    machine, figures = describe(), Figures()
    if os.getloadavg()[0] > _QUIET:
        print("the machine has other things to do: no figure will be right", file=sys.stderr)
    leave_the_sending_cpu()
    with tempfile.TemporaryDirectory(prefix="ayaflow-bench-") as folder:
        lab = Lab(Path(folder), figures, options.seconds)
        try:
            for round_number in range(options.rounds):
                for name in options.only:
                    if BENCHES[name].once and round_number:
                        continue
                    began = time.monotonic()
                    figures.bench = name
                    BENCHES[name].run(lab)
                    took = f"{time.monotonic() - began:.0f} s"
                    print(f"round {round_number + 1}: {name}, {took}", file=sys.stderr, flush=True)
        finally:
            lab.close()
    note_together(figures)
    print("\n".join([*(f"{what}: {value}" for what, value in machine.items()), ""]))
    print("\n".join(figures.table()))
    for page in options.page:
        page.write_text(figures.refreshed(page.read_text()))
    if options.json:
        written = {"machine": machine, "rounds": options.rounds, "seconds": options.seconds}
        options.json.write_text(json.dumps({**written, "figures": figures.as_json()}, indent=1))


if __name__ == "__main__":
    main()
