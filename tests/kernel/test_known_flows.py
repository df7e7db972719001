"""What must not be taken for one more packet of a known flow, though its bytes are those of one.

Such packets have a path of their own in the program (count_plain). Here each of its conditions
fails alone, after the flow has become known, and all that is counted is what a second reader says.
The others are elsewhere: super-packets in test_offload.py, the end of a connection in
test_connections.py, tags that lie beside the frame in tests/e2e/test_frames.py.
"""

from __future__ import annotations

import pytest
from scapy.layers.inet import UDP
from scapy.packet import Raw

from exporter.capture.records import (
    FLOW_EGRESS,
    FLOW_INGRESS,
    LINK_ETHERNET,
    LINK_IP,
    LINK_OTHER,
)
from tests.kernel.harness import FlowKey, Kernel, WireCounts
from tests.kernel.packets import PORTS, ether, tcp, udp, v4
from tests.kernel.reference import read
from tests.kernel.samples import BUDGET, QUERY

DIRECTIONS = (FLOW_INGRESS, FLOW_EGRESS)
TYPE, VERSION_IHL, FRAGMENT, PROTOCOL, PORTS_AT = 12, 14, 20, 23, 34

KNOWN = {"tcp": bytes(ether() / v4() / tcp()), "udp": bytes(ether() / v4() / udp())}
NOTHING = WireCounts(0, 0)


def _with(at: int, changed: bytes) -> dict[str, bytes]:
    return {
        name: frame[:at] + changed + frame[at + len(changed) :] for name, frame in KNOWN.items()
    }


ALMOST = {
    "another Ethernet type": _with(TYPE, b"\x08\x01"),
    "a VLAN tag's type": _with(TYPE, b"\x81\x00"),
    "options where the ports were": _with(VERSION_IHL, b"\x46"),
    "a header too short": _with(VERSION_IHL, b"\x44"),
    "another IP version": _with(VERSION_IHL, b"\x65"),
    "a later fragment": _with(FRAGMENT, b"\x00\x01"),
    "the last fragment": _with(FRAGMENT, b"\x1f\xff"),
    "a protocol without ports": _with(PROTOCOL, b"\x2f"),
    "a protocol with ports": _with(PROTOCOL, b"\x84"),
    "other ports": _with(PORTS_AT, b"\x01"),
}
"""Unlike the known packet in one thing."""


def _make_known(kernel: Kernel, frame: bytes, direction: int) -> None:
    """The second packet is the first of a known flow; none is inspected once they are so many."""
    for _ in range(BUDGET + 2):
        kernel.run(frame, direction)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=["ingress", "egress"])
@pytest.mark.parametrize("protocol", KNOWN)
@pytest.mark.parametrize("what", ALMOST)
def test_what_is_unlike_it_in_one_thing_is_read_as_if_nothing_were_known(
    kernel: Kernel, what: str, protocol: str, direction: int
) -> None:
    frames = [KNOWN[protocol], ALMOST[what][protocol]]
    expected: dict[FlowKey, WireCounts] = {}
    non_ip = NOTHING
    for frame in frames:
        _make_known(kernel, frame, direction)
        counted = WireCounts(BUDGET + 2, (BUDGET + 2) * len(frame))
        reading = read(frame, LINK_ETHERNET)
        if reading is None:
            non_ip = counted
        else:
            expected[reading.key] = counted
    assert kernel.sums_by_key(direction) == expected
    totals = kernel.totals(direction)
    assert (totals.non_ip_packets, totals.non_ip_bytes) == non_ip


@pytest.mark.parametrize("link_type", [LINK_IP, LINK_OTHER], ids=["ip", "other"])
@pytest.mark.parametrize("protocol", KNOWN)
def test_a_device_that_is_not_ethernet_has_no_such_packets(
    kernel: Kernel, protocol: str, link_type: int
) -> None:
    frame = KNOWN[protocol]
    _make_known(kernel, frame, FLOW_INGRESS)
    before = kernel.only_flow().counts
    kernel.set_link_type(link_type)
    kernel.run(frame)
    assert kernel.only_flow().counts == before
    assert kernel.totals().non_ip_packets == 1


@pytest.mark.parametrize("protocol", KNOWN)
def test_a_device_that_is_only_listened_to_counts_none(kernel: Kernel, protocol: str) -> None:
    frame = KNOWN[protocol]
    _make_known(kernel, frame, FLOW_INGRESS)
    before = kernel.only_flow().counts
    kernel.set_link_type(LINK_ETHERNET, listen_only=True)
    kernel.run(frame, wire=NOTHING)
    assert kernel.only_flow().counts == before


@pytest.mark.parametrize("direction", DIRECTIONS, ids=["ingress", "egress"])
def test_dns_is_inspected_however_long_its_flow_is_known(kernel: Kernel, direction: int) -> None:
    frame = bytes(ether() / v4() / UDP(sport=PORTS[0], dport=53) / Raw(QUERY))
    _make_known(kernel, frame, direction)
    assert [payload.data for payload in kernel.payloads()] == [QUERY] * (BUDGET + 2)
    assert kernel.only_flow().counts.packets == BUDGET + 2
