"""One measurement: traffic over one program, what that took, and whether all was counted."""

from __future__ import annotations

import time
from dataclasses import dataclass

from exporter.capture.records import FLOW_EGRESS, FLOW_INGRESS
from tests.bench.harness.machine import OtherCpus, is_idle, wait_until_idle
from tests.bench.harness.programs import EMPTY, Monitor, RunTime
from tests.bench.harness.wire import FRAME_BYTES, Load, Wire

_SLICE_RUNS = 1000
"""A slice with fewer says nothing."""

_SETTLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Point:
    """One kind of traffic."""

    name: str
    says: str
    load: Load
    new: bool = False
    """Every packet is the first of its flow."""


POINTS = (
    Point("1", "one flow", Load(1)),
    Point("1000", "1,000 flows", Load(1000)),
    Point("50000", "50,000 flows", Load(50_000)),
    Point("new", "50,000 flows of one packet each, with their events", Load(50_000), new=True),
    Point("full", "400,000 flows: the table is full", Load(400_000)),
    Point("both-1", "one connection, both directions", Load(1, replies=True)),
    Point("both-1000", "500 connections, both directions", Load(500, replies=True)),
    Point("both-50000", "25,000 connections, both directions", Load(25_000, replies=True)),
    Point("ipv6-1", "one flow over IPv6", Load(1, 6)),
    Point("ipv6-1000", "1,000 flows over IPv6", Load(1000, 6)),
    Point("ipv6-50000", "50,000 flows over IPv6", Load(50_000, 6)),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one program took at one point, in nanoseconds for a packet."""

    ns: float
    """Median of slices of 20 ms."""
    quiet_ns: float
    """A tenth of the slices took less."""
    mean_ns: float
    ingress_ns: float
    """Of all runs, like mean_ns; so is egress_ns, which is 0 without replies."""
    egress_ns: float
    packets: int
    packets_per_s: float
    overflow: float
    """Share of the packets that found no room in the table."""
    others_busy: float
    """Share of the time that the busiest other CPU had something to do."""


def mean_ns(runs: RunTime) -> float:
    """Of one run; 0 where there was none."""
    return runs.ns / runs.times if runs.times else 0.0


def each_runs(monitor: Monitor) -> list[RunTime]:
    """Of the ingress and of the egress program."""
    return [monitor.runs(direction) for direction in (FLOW_INGRESS, FLOW_EGRESS)]


def both(runs: list[RunTime]) -> RunTime:
    """Of the two together."""
    return RunTime(sum(each.ns for each in runs), sum(each.times for each in runs))


def since(now: list[RunTime], before: list[RunTime]) -> list[RunTime]:
    """What came between."""
    return [RunTime(n.ns - b.ns, n.times - b.times) for n, b in zip(now, before, strict=True)]


def slices(samples: list[RunTime]) -> list[float]:
    """Nanoseconds a run between one sample and the next."""
    steps = since(samples[1:], samples[:-1])
    return [mean_ns(step) for step in steps if step.times >= _SLICE_RUNS]


def quantile(values: list[float], share: float) -> float:
    """The value that *share* of them are below."""
    return sorted(values)[int(len(values) * share)]


def measure(monitor: Monitor, wire: Wire, point: Point, seconds: float) -> Cost:
    """Runs one point over one program. Raises RuntimeError where a packet was not counted."""
    monitor.reset()
    sent = 0
    driver = wire.driver_packets()
    loaded = each_runs(monitor)
    with monitor.attached(wire.ifindex):
        if not point.new:
            sent = wire.send(point.load, point.load.flows)
        warm = each_runs(monitor)
        samples = [both(warm)]
        began_s = time.monotonic()
        others = OtherCpus(wire.cpu)
        if point.new:
            sent += wire.send(point.load, point.load.flows)
        else:
            sent += wire.send_for(
                point.load, seconds, lambda: samples.append(both(each_runs(monitor)))
            )
        took_s = time.monotonic() - began_s
        others_busy = others.busy_share()
        packets = sent * (2 if point.load.replies else 1)
        settle(monitor, both(loaded).times + packets)
        done = each_runs(monitor)
    seen = [now - before for now, before in zip(wire.driver_packets(), driver, strict=True)]
    ran = since(done, loaded)
    if [runs.times for runs in ran] != seen or sum(seen) != packets:
        raise RuntimeError(f"{packets} packets, {seen} at the driver, {ran} at the programs")
    overflow = check(monitor, packets, FRAME_BYTES[point.load.ip_version])
    timed = since(done, warm)
    sliced = slices(samples) or [mean_ns(both(timed))]
    return Cost(
        ns=quantile(sliced, 0.5),
        quiet_ns=quantile(sliced, 0.1),
        mean_ns=mean_ns(both(timed)),
        ingress_ns=mean_ns(timed[0]),
        egress_ns=mean_ns(timed[1]),
        packets=both(timed).times,
        packets_per_s=both(timed).times / took_s,
        overflow=overflow / packets,
        others_busy=others_busy,
    )


def measure_idle(
    monitor: Monitor, wire: Wire, point: Point, seconds: float, patience_s: float
) -> Cost:
    """The same while the other CPUs are idle: waits for that, and tries again, up to a time."""
    until_s = time.monotonic() + patience_s
    while True:
        wait_until_idle(until_s)
        cost = measure(monitor, wire, point, seconds)
        if is_idle(cost.others_busy) or time.monotonic() >= until_s:
            return cost


def settle(monitor: Monitor, runs: int) -> None:
    """Waits until the programs have seen the last packets that are under way."""
    until_s = time.monotonic() + _SETTLE_S
    while both(each_runs(monitor)).times < runs and time.monotonic() < until_s:
        time.sleep(0.01)


def check(monitor: Monitor, packets: int, frame_bytes: int) -> int:
    """Compares totals and table with what was sent; how many packets overflowed."""
    if monitor.variant == EMPTY:
        return 0
    totals = monitor.totals()
    if (totals.packets, totals.bytes) != (packets, packets * frame_bytes):
        raise RuntimeError(f"{monitor.variant.name}: {packets} packets sent, counted {totals}")
    flow_packets, flow_bytes = monitor.flow_sums()
    accounted = (flow_packets + totals.overflow_packets, flow_bytes + totals.overflow_bytes)
    if accounted != (totals.packets, totals.bytes):
        raise RuntimeError(f"{monitor.variant.name}: flows + overflow are {accounted}: {totals}")
    return totals.overflow_packets
