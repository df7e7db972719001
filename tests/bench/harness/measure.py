"""One measurement: traffic over one program, what that took, and whether all was counted."""

from __future__ import annotations

import itertools
import time
from contextlib import ExitStack
from dataclasses import dataclass

from exporter.capture import bpf
from exporter.capture.records import FLOW_EGRESS, FLOW_INGRESS
from tests.bench.harness.event_reader import reading
from tests.bench.harness.lab import FRAME_BYTES, Lab, Load
from tests.bench.harness.machine import cpu_s
from tests.bench.harness.programs import EMPTY, PER_PACKET, Monitor, RunTime

_SLICE_RUNS = 1000
"""A slice with fewer says nothing."""

_SETTLE_S = 2.0
_TEST_RUNS = 1_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """What one program took for one kind of traffic."""

    ns: float
    """For a packet: the median of slices of 20 ms, or the mean where nobody got to look so often.
    NaN without bpf statistics."""
    packets: int
    overflow: int
    """Packets that found no room in the table."""
    dropped_events: int
    """Events for which the ring had no room."""
    reader_s: float
    """CPU time of the reader of events, where there is one."""


def mean_ns(runs: RunTime) -> float:
    """Of one run; 0 where there was none."""
    return runs.ns / runs.times if runs.times else 0.0


def all_runs(monitor: Monitor) -> RunTime:
    """Of both directions."""
    runs = [monitor.runs(direction) for direction in (FLOW_INGRESS, FLOW_EGRESS)]
    return RunTime(sum(each.ns for each in runs), sum(each.times for each in runs))


def slices(samples: list[RunTime]) -> list[float]:
    """Nanoseconds a run between one sample and the next."""
    steps = (
        RunTime(now.ns - was.ns, now.times - was.times) for was, now in itertools.pairwise(samples)
    )
    return [mean_ns(step) for step in steps if step.times >= _SLICE_RUNS]


def measure(monitor: Monitor, lab: Lab, load: Load, seconds: float) -> Cost:
    """One kind of traffic over one program, whose flows are in the table before it is timed.

    Raises RuntimeError where a packet was not counted.
    """
    monitor.reset()
    driver = lab.near.statistics()
    with ExitStack() as at_end:
        at_end.enter_context(monitor.attached(lab.near))
        readers = []
        if monitor.variant == PER_PACKET:
            readers.append(at_end.enter_context(reading(monitor.events_fd)))
        sent = lab.send(load, load.flows)
        reader_s = cpu_s(readers)
        began, samples = monitor.totals(), [all_runs(monitor)]
        timed = lab.send_for(load, seconds, lambda: samples.append(all_runs(monitor)))
        packets = (sent + timed) * (2 if load.replies else 1)
        settle(monitor, packets, bool(readers))
        samples.append(all_runs(monitor))
        reader_s = cpu_s(readers) - reader_s
    seen = lab.near.statistics() - driver
    if seen.rx_packets + seen.tx_packets != packets:
        raise RuntimeError(f"{packets} packets were sent, the driver has {seen}")
    overflow = check(monitor, packets, FRAME_BYTES[load.ip_version])
    sliced = sorted(slices(samples) or slices([samples[0], samples[-1]]))
    return Cost(
        ns=sliced[len(sliced) // 2] if sliced else float("nan"),
        packets=timed * (2 if load.replies else 1),
        overflow=overflow,
        dropped_events=monitor.totals().dropped_events - began.dropped_events,
        reader_s=reader_s,
    )


def settle(monitor: Monitor, packets: int, is_read: bool) -> None:
    """Waits until the last packets under way are counted, and the reader has read their events."""
    until_s = time.monotonic() + _SETTLE_S
    while monitor.variant != EMPTY and time.monotonic() < until_s:
        if monitor.totals().packets >= packets and not (is_read and monitor.events_wait()):
            return
        time.sleep(0.01)


def check(monitor: Monitor, packets: int, frame_bytes: int) -> int:
    """Compares totals and table with what was sent; how many packets overflowed."""
    if monitor.variant == EMPTY:
        return 0
    totals = monitor.totals()
    if (totals.packets, totals.bytes) != (packets, packets * frame_bytes):
        raise RuntimeError(f"{monitor.variant.name}: {packets} packets sent, counted {totals}")
    if not monitor.variant.packet_words and not totals.overflow_packets:
        return 0
    flow_packets, flow_bytes = monitor.flow_sums()
    accounted = (flow_packets + totals.overflow_packets, flow_bytes + totals.overflow_bytes)
    if accounted != (totals.packets, totals.bytes):
        raise RuntimeError(f"{monitor.variant.name}: flows + overflow are {accounted}: {totals}")
    return totals.overflow_packets


def test_run_ns(monitor: Monitor, frame: bytes) -> float:
    """Nanoseconds a run of the ingress program by BPF_PROG_TEST_RUN: one frame over and over."""
    program = monitor.program_fd(FLOW_INGRESS)
    return bpf.program_test_run(program, frame, repeat=_TEST_RUNS).duration_ns
