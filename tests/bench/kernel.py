"""What the kernel program takes of a packet, above an empty program in the same round.

The kernel times every run of the attached programs (bpf statistics) while small packets arrive at
full rate. A value is the median of slices of 20 ms, less that of the empty program: what the kernel
takes to call a program and to time it. Every packet must be counted, to the byte, or this fails.

Beside it stands a program that sends an event for each packet, which a callback of BCC reads.
"""

from __future__ import annotations

from contextlib import ExitStack, closing

from exporter.capture.flow_table import slots_for
from tests.bench.harness.figures import Beside
from tests.bench.harness.lab import Lab, Load
from tests.bench.harness.measure import measure, test_run_ns
from tests.bench.harness.programs import (
    EMPTY,
    INSPECTING,
    OURS,
    PER_PACKET,
    VARIANTS,
    Monitor,
    Variant,
    statistics,
)
from tests.kernel.packets import ether, udp, v4

FLOWS_MAX = 50_000
"""The exporter's default, by which each table is sized: a flow may have one direction alone."""

RING_BYTES = 1 << 23
"""Room for an event of each of them, and of some 100,000 packets."""

MEASURE_S = 1.0
ASKED = {1: "≤ 45", 1_000: "≤ 75", 50_000: "≤ 225"}
"""By flows."""

_ABOVE = "ns a packet above an empty program"
_LOOPBACK_IFINDEX = 1
"""The device of test runs."""

_LAYOUT_LOADS = {
    "1 flow": Load(1),
    "1,000 flows": Load(1000),
    "50,000 flows": Load(50_000),
    "25,000 connections, both directions": Load(25_000, replies=True),
    "50,000 flows over IPv6": Load(50_000, 6),
    "400,000 flows, the table is full": Load(400_000),
}


def flows_text(flows: int) -> str:
    return f"{flows:,} flow{'s' * (flows != 1)}"


def on_name(text: str) -> str:
    """The figure of the program as it is by default."""
    return f"names on, {text}"


def new_monitor(variant: Variant) -> Monitor:
    """With a table of the exporter's default size."""
    return Monitor(variant, slots_for(FLOWS_MAX), RING_BYTES)


def run(lab: Lab) -> None:
    """Payloads inspected and not, for one hot flow and many."""
    note = lab.figures.note
    with ExitStack() as at_end:
        monitors = {
            variant: at_end.enter_context(closing(new_monitor(variant)))
            for variant in (EMPTY, PER_PACKET, OURS, INSPECTING)
        }
        note_test_run(lab, monitors[EMPTY], monitors[INSPECTING])
        at_end.enter_context(statistics())
        for flows, asked in ASKED.items():
            text = flows_text(flows)
            cost = {
                variant: measure(monitor, lab, Load(flows), MEASURE_S)
                for variant, monitor in monitors.items()
            }
            empty_ns = cost[EMPTY].ns
            note(f"empty program, {text}", "ns a packet", empty_ns)
            beside = Beside("an event a packet", cost[PER_PACKET].ns - empty_ns)
            above = cost[INSPECTING].ns - empty_ns
            note(on_name(text), _ABOVE, above, asked, beside)
            note(f"names off, {text}", _ABOVE, cost[OURS].ns - empty_ns)
            untold = cost[INSPECTING].overflow / cost[INSPECTING].packets
            note(f"no room in the table, {text}", "% of packets", 100 * untold)


def note_test_run(lab: Lab, empty: Monitor, inspecting: Monitor) -> None:
    """The same frame over and over: nothing has to come from memory."""
    frame = bytes(ether() / v4() / udp() / bytes(18))
    took_ns = {}
    for monitor in (empty, inspecting):
        monitor.reset()
        monitor.register(_LOOPBACK_IFINDEX)
        took_ns[monitor] = test_run_ns(monitor, frame)
    above = took_ns[inspecting] - took_ns[empty]
    beside = Beside("an empty program", took_ns[empty])
    lab.figures.note("test run, names on, 1 flow", _ABOVE, above, beside=beside)


def run_layouts(lab: Lab) -> None:
    """The table layouts that ours was chosen from, without payload inspection."""
    with ExitStack() as at_end:
        monitors = {
            variant: at_end.enter_context(closing(new_monitor(variant)))
            for variant in VARIANTS
            if variant not in (PER_PACKET, INSPECTING)
        }
        at_end.enter_context(statistics())
        for name, load in _LAYOUT_LOADS.items():
            ns = {
                variant: measure(monitor, lab, load, MEASURE_S).ns
                for variant, monitor in monitors.items()
            }
            for variant in monitors:
                if variant != EMPTY:
                    above = ns[variant] - ns[EMPTY]
                    lab.figures.note(f"{variant.says}, {name}", _ABOVE, above)
