"""Every kind of frame is counted, in both directions, under the key that its headers say."""

from __future__ import annotations

import pytest

from exporter.capture.records import (
    FLOW_EGRESS,
    FLOW_INGRESS,
    FLOW_LIVE,
    LINK_OTHER,
)
from tests.kernel.harness import DEVICE_SLOT, FRAME_MIN, FlowKey, Kernel
from tests.kernel.packets import (
    EXTENSIONS,
    NO_NEXT_HEADER,
    PORTS,
    WITH_PORTS,
    ether,
    extension,
    ports_and_more,
    v4,
    v6,
)
from tests.kernel.shapes import Shape, all_shapes

each_shape = pytest.mark.parametrize("shape", all_shapes(), ids=lambda shape: shape.name)


def _expect(kernel: Kernel, key: FlowKey | None, direction: int, length: int) -> None:
    """Asserts that one frame was counted under *key*, or as non-IP where that is None."""
    totals = kernel.totals(direction)
    assert (totals.packets, totals.bytes) == (1, length)
    if key is None:
        assert (totals.non_ip_packets, totals.non_ip_bytes) == (1, length)
        assert kernel.flows() == []
        return
    entry = kernel.only_flow()
    assert entry.key == key
    assert entry.counts == (1, length)
    assert entry.state == FLOW_LIVE
    assert (entry.flow.direction, entry.flow.device_slot) == (direction, DEVICE_SLOT)


@each_shape
@pytest.mark.parametrize("direction", [FLOW_INGRESS, FLOW_EGRESS], ids=["ingress", "egress"])
def test_a_whole_frame_is_counted_under_its_key(
    kernel: Kernel, shape: Shape, direction: int
) -> None:
    kernel.set_link_type(shape.link_type)
    kernel.run(shape.frame, direction)
    _expect(kernel, shape.key(), direction, len(shape.frame))


@each_shape
def test_a_frame_cut_at_any_length_is_counted_as_far_as_it_can_be_read(
    kernel: Kernel, shape: Shape
) -> None:
    for length in range(FRAME_MIN, len(shape.frame) + 1):
        kernel.reset()
        kernel.set_link_type(shape.link_type)
        kernel.run(shape.frame[:length])
        _expect(kernel, shape.key(length), FLOW_INGRESS, length)


@each_shape
def test_a_device_of_another_link_type_is_counted_and_not_parsed(
    kernel: Kernel, shape: Shape
) -> None:
    kernel.set_link_type(LINK_OTHER)
    kernel.run(shape.frame)
    _expect(kernel, None, FLOW_INGRESS, len(shape.frame))


def test_every_protocol_number_of_ipv4_is_its_own_flow(kernel: Kernel) -> None:
    for protocol in range(256):
        kernel.reset()
        kernel.run(bytes(ether() / v4(proto=protocol) / ports_and_more()))
        key = kernel.only_flow().key
        ports = PORTS if protocol in WITH_PORTS else (0, 0)
        assert (key.protocol, key.source_port, key.destination_port) == (protocol, *ports)


def test_every_next_header_of_ipv6_is_its_own_flow_or_an_extension(kernel: Kernel) -> None:
    for protocol in range(256):
        kernel.reset()
        if protocol in EXTENSIONS:
            expected = (NO_NEXT_HEADER, 0, 0)
            frame = bytes(ether() / v6(nh=protocol)) + extension(protocol, NO_NEXT_HEADER)
        else:
            expected = (protocol, *(PORTS if protocol in WITH_PORTS else (0, 0)))
            frame = bytes(ether() / v6(nh=protocol) / ports_and_more())
        kernel.run(frame)
        key = kernel.only_flow().key
        assert (key.protocol, key.source_port, key.destination_port) == expected


def test_every_ethertype_that_is_not_known_counts_as_non_ip(kernel: Kernel) -> None:
    known = {0x0800, 0x86DD, 0x8100, 0x88A8, 0x9100, 0x8864, 0x8847}
    packet = bytes(v4() / ports_and_more())
    for ethertype in set(range(0, 0x10000, 7)) | {value ^ 1 for value in known}:
        if ethertype not in known:
            kernel.run(bytes(ether(type=ethertype)) + packet)
    totals = kernel.totals()
    assert totals.non_ip_packets == totals.packets
    assert totals.packets > 0xFFFF / 7 - len(known)
    assert kernel.flows() == []
