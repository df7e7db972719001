"""What the exporter costs those who send: iperf3 and small packets, with it and without.

Three wires: no exporter at the end of one, one with `--no-deep-inspect` at another, and one as it
is by default; they change places from round to round, since no two wires are quite alike. Runs on
the three come right after each other, in an order that chance decides. TCP with offloads carries
super-packets of 64 KB; cut, the program sees every segment. Small packets are sent at full rate
from one CPU, which is also where they are received.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from tests.bench.harness.figures import Beside
from tests.bench.harness.lab import Lab, Load
from tests.e2e.traffic import listening
from tests.e2e.waiting import wait_until

_PORT = 5201
_TURNS = 3
"""Runs of each kind in a round."""
_RUN_S = 1
_NAMES_ON, _NAMES_OFF, _WITHOUT = "names on", "names off", "no agent"
_FLAGS = {_NAMES_ON: (), _NAMES_OFF: ("--no-deep-inspect",)}

_rounds = itertools.count()


def run(lab: Lab) -> None:
    """One round; the wires have the next places."""
    shift = next(_rounds) % (len(_FLAGS) + 1)
    with ExitStack() as at_end:
        labs = [Lab(lab.folder, lab.figures, lab.seconds, number) for number in (2, 3, 4)]
        for each in labs:
            at_end.callback(each.close)
            each.far.namespace.start("iperf3", "--server", "--affinity", "1")
            wait_until(partial(listening, each.far.namespace, _PORT))
        kinds = (_NAMES_ON, _NAMES_OFF, _WITHOUT)
        placed = dict(zip(kinds, labs[shift:] + labs[:shift], strict=True))
        for kind, flags in _FLAGS.items():
            at_end.enter_context(placed[kind].exporter(*flags))
        for offload in (False, True):
            for each in labs:
                each.near.offload(offload)
                each.far.offload(offload)
            what = f"iperf3, offloads {'on' if offload else 'off'}"
            note_pairs(lab, placed, what, "Gbit/s", gbit_s, "" if offload else "≥ -3")
        note_pairs(lab, placed, "small packets", "thousand a second", kpps, "≥ -5")


def note_pairs(
    lab: Lab,
    placed: dict[str, Lab],
    what: str,
    unit: str,
    measure: Callable[[Lab], float],
    asked: str,
) -> None:
    """Each kind in turn, and how far those with the exporter are above the one without."""
    for _ in range(_TURNS):
        order = random.sample(sorted(placed), len(placed))
        took = {kind: measure(placed[kind]) for kind in order}
        without = Beside(_WITHOUT, took[_WITHOUT])
        for kind in _FLAGS:
            above = 100 * (took[kind] / took[_WITHOUT] - 1)
            lab.figures.note(f"{what}, {kind}", unit, took[kind], beside=without)
            lab.figures.note(f"{what}, {kind}, against none", "%", above, asked)


def gbit_s(lab: Lab) -> float:
    """Payload of one connection from the end that is counted."""
    words = ("iperf3", "--client", lab.far.ipv4, "--time", str(_RUN_S), "--json")
    answer = json.loads(lab.near.namespace.run(*words, "--affinity", "0,1"))
    return float(answer["end"]["sum_received"]["bits_per_second"]) / 1e9


def kpps(lab: Lab) -> float:
    """Packets of one flow to the end that is counted."""
    return lab.send_for(Load(1), _RUN_S) / _RUN_S / 1e3
