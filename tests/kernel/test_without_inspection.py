"""The program that is compiled without the inspection of payloads counts the same, and reads none.

All other tests here run the program with it.
"""

from __future__ import annotations

import pytest

from exporter.capture.records import FLOW_INGRESS
from tests.kernel.harness import Kernel
from tests.kernel.packets import ether, udp, v4
from tests.kernel.shapes import Shape, all_shapes


@pytest.mark.parametrize("shape", all_shapes(), ids=lambda shape: shape.name)
def test_it_counts_the_same(uninspecting: Kernel, kernel: Kernel, shape: Shape) -> None:
    for each in (uninspecting, kernel):
        each.set_link_type(shape.link_type)
        for _ in range(3):
            each.run(shape.frame)
    assert uninspecting.sums_by_key() == kernel.sums_by_key()
    assert uninspecting.totals() == kernel.totals()
    told = [
        [(event.type, event.flow.key) for event in each.events()] for each in (uninspecting, kernel)
    ]
    assert told[0] == told[1]


def test_it_has_no_ring_of_payloads_and_notes_nothing_of_them(uninspecting: Kernel) -> None:
    uninspecting.run(bytes(ether() / v4() / udp()), FLOW_INGRESS)
    assert uninspecting.programs.payloads_fd is None
    assert uninspecting.only_flow().inspection == 0
