"""What the kernel program costs for a packet, beside an empty program and two other table layouts.

    sudo .venv/bin/python tests/bench/kernel_cost.py --json kernel_cost.json
    sudo .venv/bin/python tests/bench/kernel_cost.py --points 1,1000 --programs ours --patience 60

Sends small UDP packets over a veth pair at full rate from one CPU, which is also where they are
received, and lets the kernel time every run of the attached programs (bpf statistics; what they
take themselves is what the empty program shows). One after the other, each program sees the same
traffic; then comes the next round. A figure is the median of slices of 20 ms. The table shows the
median of the rounds, their range in brackets, and of all but the empty program how much more they
take than it did in the same round.

Before a point is measured, its flows are in the table. After it, the totals must be what the
device's driver counted, and flows and overflow must add up to the totals, to the packet and the
byte, or this fails. Nothing that is timed is asserted.

CPUs share caches: what else the machine does moves every figure, most at 1,000 flows. The table
says how busy the other CPUs were; --patience waits for a moment when they are not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from exporter.capture.flow_table import slots_for
from exporter.errors import ExporterError
from tests.bench.harness.measure import POINTS, Cost, measure_idle
from tests.bench.harness.programs import EMPTY, VARIANTS, Monitor, statistics
from tests.bench.harness.wire import Wire

FLOWS_MAX = 50_000
"""The exporter's default, by which each table is sized: a flow may have one direction alone."""

RING_BYTES = 1 << 23
"""Room for an event of each of them: nothing reads it here."""

Costs = dict[str, dict[str, list[Cost]]]
"""By point and program: one for each round."""


def run_round(wire: Wire, options: argparse.Namespace, costs: Costs) -> dict[str, Any]:
    """Loads all programs afresh and adds one cost to each; answers how large the programs are."""
    entries = slots_for(FLOWS_MAX)
    with ExitStack() as at_end:
        monitors = []
        for variant in options.programs:
            monitors.append(Monitor(variant, entries, RING_BYTES))
            at_end.callback(monitors[-1].close)
        for point in options.points:
            for monitor in monitors:
                cost = measure_idle(monitor, wire, point, options.seconds, options.patience)
                costs.setdefault(point.name, {}).setdefault(monitor.variant.name, []).append(cost)
            latest = {name: f"{found[-1].ns:.0f}" for name, found in costs[point.name].items()}
            print(f"  {point.name}: {latest}", file=sys.stderr, flush=True)
        return {monitor.variant.name: monitor.sizes()._asdict() for monitor in monitors}


def above_empty(costs: dict[str, list[Cost]], name: str) -> list[float]:
    """What a program takes more than the empty one, in each round."""
    pairs = zip(costs[name], costs[EMPTY.name], strict=True)
    return [cost.ns - empty.ns for cost, empty in pairs]


def table(costs: Costs, options: argparse.Namespace) -> list[str]:
    """Markdown: nanoseconds a packet, of the empty program as they are, of others above it."""
    names = [variant.name for variant in options.programs]
    rows = [["traffic", *(name if name == EMPTY.name else f"{name} +" for name in names)]]
    rows[0].append("others busy")
    rows.append(["---"] * len(rows[0]))
    for point in options.points:
        found = costs[point.name]
        row = [point.name]
        for name in names:
            values = above_empty(found, name)
            if name == EMPTY.name:
                values = [cost.ns for cost in found[name]]
            row.append(f"{median(values):.0f} ({min(values):.0f} to {max(values):.0f})")
        busy = median(cost.others_busy for name in names for cost in found[name])
        rows.append([*row, f"{busy:.0%}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        for row in rows
    ]


def as_json(costs: Costs, sizes: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was measured."""
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "entries": slots_for(FLOWS_MAX),
        "programs": {
            variant.name: {"says": variant.says, **sizes[variant.name]}
            for variant in options.programs
        },
        "points": {
            point.name: {
                "says": point.says,
                "programs": {
                    name: {
                        "ns": median(cost.ns for cost in found),
                        "above_empty_ns": median(above_empty(costs[point.name], name)),
                        "rounds": [asdict(cost) for cost in found],
                    }
                    for name, found in costs[point.name].items()
                },
            }
            for point in options.points
        },
    }


def chosen(text: str, known: Iterable[Any]) -> list[Any]:
    """The ones of *known* whose names are in a list with commas."""
    by_name = {each.name: each for each in known}
    unknown = [name for name in text.split(",") if name not in by_name]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]}: choose among {', '.join(by_name)}")
    return [each for name, each in by_name.items() if name in text.split(",")]


def parse_options() -> argparse.Namespace:
    """The command line."""
    listed = [f"  {each.name:<12}{each.says}" for each in (*VARIANTS, *POINTS)]
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="programs and points:\n" + "\n".join(listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="for each point (1.5)")
    parser.add_argument(
        "--patience", type=float, default=0, metavar="S", help="seconds to wait for an idle machine"
    )
    parser.add_argument("--cpu", type=int, default=0, help="that sends and receives (0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument(
        "--programs", type=lambda text: chosen(text, VARIANTS), default=list(VARIANTS)
    )
    parser.add_argument("--points", type=lambda text: chosen(text, POINTS), default=list(POINTS))
    options = parser.parse_args()
    if EMPTY not in options.programs:
        options.programs.insert(0, EMPTY)
    return options


def main() -> None:
    """Measures, prints the table, and writes the JSON."""
    options = parse_options()
    others = os.sched_getaffinity(0) - {options.cpu}
    if others:
        os.sched_setaffinity(0, others)
    costs: Costs = {}
    sizes: dict[str, Any] = {}
    try:
        wire = Wire(options.cpu)
        with statistics():
            for number in range(options.rounds):
                print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
                sizes = run_round(wire, options, costs)
        wire.close()
    except (ExporterError, OSError, RuntimeError) as error:
        sys.exit(f"kernel_cost: {error}")
    print("\n".join(table(costs, options)))
    if options.json:
        options.json.write_text(json.dumps(as_json(costs, sizes, options), indent=1) + "\n")


if __name__ == "__main__":
    main()
