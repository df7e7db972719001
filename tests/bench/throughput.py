"""What the exporter costs those who send: iperf3, small packets and ping, with it and without.

Five wires: no exporter at the end of one, one with `--no-deep-inspect` at another, one as it is
by default, one that was killed, whose pinned programs go on counting while nobody reads, and
programs that do nothing, which is what the kernel takes to call any; they change places from
round to round, since no two wires are quite alike. Runs on them come right after each other, in
an order that chance decides. TCP with offloads carries super-packets of 64 KB; cut, it is seen
segment by segment. Small packets are sent at full rate from one CPU, which is where they are
received, too. A ping that is lost is an error.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial

from tests.bench.harness.figures import Beside
from tests.bench.harness.lab import Lab, Load
from tests.bench.harness.programs import EMPTY
from tests.bench.kernel import new_monitor
from tests.e2e.traffic import listening
from tests.e2e.waiting import wait_until
from tests.kernel import bpf_mount

_PORT = 5201
_TURNS = 3
"""Runs of each kind in a round."""
_RUN_S = 1
_SMALL_TURNS, _SMALL_RUN_S = 15, 0.2
"""Of small packets: the shorter a run, the less the machine changes until the one beside it."""
_PINGS = 500
_KINDS = ("names on", "names off", "killed", "empty programs", "no agent")
_NAMES_ON, _NAMES_OFF, _KILLED, _EMPTY, _WITHOUT = _KINDS
_FLAGS = {_NAMES_ON: (), _NAMES_OFF: ("--no-deep-inspect",)}

_rounds = itertools.count()


def run(lab: Lab) -> None:
    """One round; the wires have the next places."""
    shift = next(_rounds) % len(_KINDS)
    with ExitStack() as at_end:
        labs = [
            Lab(lab.folder, lab.figures, lab.seconds, number)
            for number in range(2, 2 + len(_KINDS))
        ]
        for each in labs:
            at_end.callback(each.close)
            each.far.namespace.start("iperf3", "--server", "--affinity", "1")
            wait_until(partial(listening, each.far.namespace, _PORT))
        placed = dict(zip(_KINDS, labs[shift:] + labs[:shift], strict=True))
        for kind, flags in _FLAGS.items():
            at_end.enter_context(placed[kind].exporter(*flags))
        at_end.enter_context(killed(placed[_KILLED]))
        empty = at_end.enter_context(closing(new_monitor(EMPTY)))
        at_end.enter_context(empty.attached(placed[_EMPTY].near))
        for offload in (False, True):
            for each in labs:
                each.near.offload(offload)
                each.far.offload(offload)
            what = f"iperf3, offloads {'on' if offload else 'off'}"
            asked = "" if offload else "≥ -3"
            note_pairs(lab, placed, what, "Gbit/s", gbit_s, asked)
        what = "small packets"
        note_pairs(lab, placed, what, "thousand a second", kpps, "≥ -5", _SMALL_TURNS)
        for share in (50, 99):
            what = f"round trip, {share} of 100 below"
            note_pairs(lab, placed, what, "µs", partial(round_trip_us, share), "")


@contextmanager
def killed(lab: Lab) -> Iterator[None]:
    """An exporter that was, and left its programs."""
    with bpf_mount.mounted(lab.folder / "bpf") as pins:
        exporter = lab.new_exporter("--pin.path", str(pins / "ayaflow"))
        exporter.start()
        exporter.wait_ready()
        exporter.kill()
        exporter.close()
        yield


def note_pairs(
    lab: Lab,
    placed: dict[str, Lab],
    what: str,
    unit: str,
    measure: Callable[[Lab], float],
    asked: str,
    turns: int = _TURNS,
) -> None:
    """Each kind in turn, and how far the others are above the one without."""
    for _ in range(turns):
        order = random.sample(sorted(placed), len(placed))
        took = {kind: measure(placed[kind]) for kind in order}
        without = Beside(_WITHOUT, took[_WITHOUT])
        for kind in _KINDS[:-1]:
            above = 100 * (took[kind] / took[_WITHOUT] - 1)
            lab.figures.note(f"{what}, {kind}", unit, took[kind], beside=without)
            asked_of_us = "" if kind == _EMPTY else asked
            lab.figures.note(f"{what}, {kind}, against none", "%", above, asked_of_us)


def gbit_s(lab: Lab) -> float:
    """Payload of one connection from the end that is counted."""
    words = ("iperf3", "--client", lab.far.ipv4, "--time", str(_RUN_S), "--json")
    answer = json.loads(lab.near.namespace.run(*words, "--affinity", "0,1"))
    return float(answer["end"]["sum_received"]["bits_per_second"]) / 1e9


def kpps(lab: Lab) -> float:
    """Packets of one flow to the end that is counted."""
    return lab.send_for(Load(1), _SMALL_RUN_S) / _SMALL_RUN_S / 1e3


def round_trip_us(share: int, lab: Lab) -> float:
    """Below which so many of 100 pings take from the end that is counted and back."""
    ping = ("ping", "-n", "-i", "0.002", "-c", str(_PINGS), lab.far.ipv4)
    took = re.findall(r"time=([0-9.]+) ms", lab.near.namespace.run(*ping))
    if len(took) != _PINGS:
        raise RuntimeError(f"{_PINGS - len(took)} of {_PINGS} pings were lost")
    return sorted(map(float, took))[_PINGS * share // 100] * 1000
