"""The table's protocol against a simulated kernel, whose runs are interrupted anywhere.

A run of the program may be stopped between any two of its memory accesses, for as long as a grace
period does not wait for it; meanwhile the exporter does what it does, in any order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from exporter.capture.closing import Closing
from exporter.capture.flow_table import FlowTable
from exporter.capture.grace import GracePeriods
from exporter.capture.records import ZERO_TOTALS, DeviceTotals, Flow
from exporter.capture.windows import Window, Windows
from exporter.clock import Now
from exporter.counting import Counting
from exporter.counts.budget import Budget
from exporter.counts.fold import Fold
from exporter.counts.snapshot import DIRECTIONS, Count
from exporter.kernel import Kernel
from exporter.names.attribution import TLS, Unattributed, Verdict
from exporter.names.domains import UNKNOWN
from exporter.names.scope import AddedLabels, Scopes
from tests.unit.kernel_side import ACK, FIN, RST, SYN, TCP, UDP, FlowSlots, Packet, Program, Ring

SLOTS = 64
IDLE_S = 1.0
TURNS = 2_000


class Grace:
    """As GracePeriods: over when every run that had begun by then has ended."""

    def __init__(self, runs: list[Iterator[None]]) -> None:
        self._runs = runs
        self._waits_for: list[Iterator[None]] = []
        self.running = False

    def start(self) -> None:
        assert not self.running
        self.running = True
        self._waits_for = list(self._runs)

    @property
    def is_over(self) -> bool:
        return self.running and not any(run in self._runs for run in self._waits_for)

    def finished(self) -> bool:
        over = self.is_over
        self.running = self.running and not over
        return over


class InterruptedWindows(Windows):
    """Lets the kernel run on whenever the exporter has just mapped a window, or let go of one."""

    interrupt: Callable[[], None]

    @contextmanager
    def map(self, window: Window) -> Iterator[tuple[memoryview, memoryview]]:
        with super().map(window) as mapped:
            self.interrupt()
            yield mapped
        self.interrupt()


class InterruptedTable(FlowTable):
    """A table with such windows."""

    def __init__(self, fd: int, slots: int, idle_timeout_s: float, now_s: float) -> None:
        super().__init__(fd, slots, idle_timeout_s, now_s)
        self._windows = InterruptedWindows(fd, slots)

    @property
    def interrupt(self) -> Callable[[], None]:
        assert isinstance(self._windows, InterruptedWindows)
        return self._windows.interrupt

    @interrupt.setter
    def interrupt(self, call: Callable[[], None]) -> None:
        assert isinstance(self._windows, InterruptedWindows)
        self._windows.interrupt = call


class Interfaces:
    """As many as the simulated kernel has: one, in slot 1."""

    devices: dict[str, object]
    stacking: Any

    def __init__(self, program: Program) -> None:
        self.devices = {}
        self.stacking = SimpleNamespace(count=0)
        self.slots = self
        self._program = program

    def used(self) -> list[int]:
        return [0, 1]

    def carried(self, _: int) -> DeviceTotals:
        return ZERO_TOTALS

    def see_drivers(self) -> None:
        pass

    def totals_of_removed(self, direction: int) -> Any:
        return self._program.read(0, direction)


class Names(Unattributed):
    """Gives each flow its key as its domain, so that a packet in the wrong flow is noticed: some at
    once, others at any time until they are gone.
    """

    def __init__(self, random: random.Random) -> None:
        self.pending: dict[int, Flow] = {}
        self._random = random

    def opened(self, flow: Flow, opened_s: float) -> Verdict | None:
        assert flow.slot not in self.pending
        if self._random.randrange(2):
            self.pending[flow.slot] = flow
            return None
        return self._verdict(flow)

    def due(self, now_s: float) -> list[Verdict]:
        return [
            verdict
            for slot in list(self.pending)
            if self._random.randrange(2)
            for verdict in self.closed(slot, now_s)
        ]

    def closed(self, slot: int, now_s: float) -> list[Verdict]:
        return [self._verdict(self.pending.pop(slot))] if slot in self.pending else []

    @staticmethod
    def _verdict(flow: Flow) -> Verdict:
        return Verdict(flow.slot, (flow.source[:1] + flow.destination[:1]).hex(), TLS)


class Machine:
    """One kernel with its exporter, and a random order of events."""

    def __init__(self, seed: int, *, keys: int, probes: int, ring_room: int) -> None:
        self.random = random.Random(seed)
        self.now_s = 1000.0
        self.slots = FlowSlots(SLOTS)
        self.ring = Ring(ring_room)
        self.program = Program(self.slots, self.ring, probes)
        self.runs: list[Iterator[None]] = []
        self.grace = Grace(self.runs)
        self.keys = [bytes((n, 128 + n)) for n in range(keys)]
        self.table = InterruptedTable(self.slots.fd, SLOTS, IDLE_S, self.now_s)
        self.table.interrupt = self.step
        self.closing = Closing(self.table, cast(GracePeriods, self.grace))
        budget = Budget(1000, 1e9, 0.0)
        self.fold = Fold(SLOTS, budget, AddedLabels((), Scopes()), 0.0)
        self.names = Names(self.random)
        kernel: Any = Kernel(
            ring=cast(Any, self.ring),
            payloads=None,
            table=self.table,
            totals=cast(Any, self.program),
            interfaces=cast(Any, Interfaces(self.program)),
            listening=None,
            flows_max=SLOTS,
            memory_bytes=0,
        )
        self.counting = Counting(kernel, self.closing, self.names, self.fold, 0.0)

    @property
    def now(self) -> Now:
        return Now(0.0, self.now_s)

    def close(self) -> None:
        self.slots.close()

    def begin(self) -> None:
        direction = self.random.randrange(2)
        key = self.random.choice(self.keys)
        packet = Packet(
            key if direction else key[::-1],
            direction,
            self.random.randrange(1, 4),
            self.random.randrange(60, 5000),
            self.random.choice([0, ACK, ACK, SYN, SYN | ACK, FIN | ACK, RST]),
            TCP,
        )
        if key[0] % 3 == 0:
            packet = packet._replace(tcp_flags=0, protocol=UDP)
        self.runs.append(self.program.run(packet))

    def step(self) -> None:
        """Some run goes on for a memory access, most often the first of them, or one to its end."""
        if self.runs:
            newest = len(self.runs) - 1
            self._advance(self.runs[min(newest, int(self.random.expovariate(1.0)))])
            if self.runs and not self.random.randrange(8):
                run = self.random.choice(self.runs)
                while run in self.runs:
                    self._advance(run)

    def _advance(self, run: Iterator[None]) -> None:
        if next(run, self) is self:
            self.runs.remove(run)

    def finish_runs(self) -> None:
        while self.runs:
            self._advance(self.runs[0])

    def turn(self) -> None:
        """One thing that may happen at any time, in the kernel or in the exporter's loop."""
        weights: dict[Callable[[], None], int] = {
            self.begin: 3,
            self.step: 18,
            self.drain: 1,
            self.decide_due: 1,
            self.sweep: 3,
            self.close_idle: 4,
            self.settle: 6,
        }
        self.random.choices(list(weights), list(weights.values()))[0]()

    def drain(self) -> None:
        self.counting.drain(self.now)

    def decide_due(self) -> None:
        self.counting.decide_due(self.now)

    def sweep(self) -> None:
        self.counting.sweep(self.now)

    def close_idle(self) -> None:
        self.now_s += self.random.choice([0.0, 0.02, 0.3, 2.0, 6.0])
        self.counting.close_idle(self.now)

    def settle(self) -> None:
        """The loop calls it when the grace period's descriptor is readable."""
        if self.grace.is_over:
            self.counting.settle(self.now)

    def close_all(self) -> None:
        """Time passes and nothing comes any more."""
        self.drain()
        self.sweep()
        for _ in range(200):
            self.now_s += IDLE_S
            self.counting.close_idle(self.now)
            self.settle()

    def folded(self) -> dict[tuple[int, str], Count]:
        """The series that hold anything, as `Program.sums` has them."""
        return {
            (DIRECTIONS.index(each.direction), each.domain.replace(UNKNOWN, "")): Count(
                each.packets, each.bytes
            )
            for each in self.fold.domains()
            if each.packets
        }


def machine(seed: int) -> Machine:
    return Machine(
        seed,
        keys=[4, 12, 50][seed % 3],
        probes=[SLOTS, 6][seed % 2],
        ring_room=[1000, 5][seed % 5 % 2],
    )


@pytest.mark.parametrize("seed", range(100))
def test_whatever_the_order_no_packet_is_lost_and_in_the_end_nothing_is_left(seed: int) -> None:
    with closing(machine(seed)) as it:
        for _ in range(TURNS):
            it.turn()
        it.finish_runs()
        it.close_all()
        assert it.folded() == it.program.sums
        assert len(it.program.sums) > 2
        assert it.closing.released > 10
        assert it.slots.is_clear()
        assert it.table.entries == 0
        assert not it.names.pending
        assert [it.fold.pending(0), it.fold.pending(1)] == [Count(), Count()]
        assert not any(domain.active_connections for domain in it.fold.domains())


@pytest.mark.parametrize("seed", range(30))
def test_at_rest_every_byte_is_explained(seed: int) -> None:
    with closing(machine(seed)) as it:
        for _ in range(40):
            for _ in range(TURNS // 40):
                it.turn()
            it.finish_runs()
            assert it.counting.snapshot(it.now).unaccounted == (Count(), Count())
            assert it.table.entries <= SLOTS
