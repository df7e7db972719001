"""Which device a packet is counted for."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from exporter.capture.records import (
    DEVICE_BUCKETS,
    DEVICE_PROBES,
    FLOW_EGRESS,
    FLOW_INGRESS,
    LINK_ETHERNET,
    LINK_IP,
)
from exporter.errors import ExporterError
from tests.kernel.harness import DEVICE_SLOT, DEVICE_SLOTS, LOOPBACK_IFINDEX, Kernel
from tests.kernel.namespace import add_veth, namespace_thread
from tests.kernel.packets import ether, udp, v4

FRAME = bytes(ether() / v4() / udp())
RAW = bytes(v4() / udp())

COLLIDING = [20 + n * DEVICE_BUCKETS for n in range(DEVICE_PROBES)]
"""Interface indexes that all look in the same places of the device table."""


@pytest.fixture(scope="module")
def namespace() -> Iterator[ThreadPoolExecutor]:
    """A namespace with a device for each of COLLIDING."""
    with namespace_thread() as thread:
        for first, second in zip(COLLIDING[::2], COLLIDING[1::2], strict=True):
            ends = (f"device{first}", f"device{second}")
            thread.submit(add_veth, ends, (first, second)).result()
        yield thread


def test_a_device_that_is_not_registered_is_counted_in_slot_0_and_not_parsed(
    kernel: Kernel,
) -> None:
    kernel.devices.remove(LOOPBACK_IFINDEX)
    kernel.run(FRAME)
    totals = kernel.totals(FLOW_INGRESS, slot=0)
    assert (totals.packets, totals.non_ip_packets, totals.non_ip_bytes) == (1, 1, len(FRAME))
    assert kernel.totals(FLOW_INGRESS, DEVICE_SLOT).packets == 0
    assert kernel.flows() == []


def test_directions_have_totals_of_their_own(kernel: Kernel) -> None:
    for direction, times in ((FLOW_INGRESS, 3), (FLOW_EGRESS, 5)):
        for _ in range(times):
            kernel.run(FRAME, direction)
    assert kernel.totals(FLOW_INGRESS).packets == 3
    assert kernel.totals(FLOW_EGRESS).packets == 5


def test_the_last_slot_of_the_totals_is_as_good_as_any(kernel: Kernel) -> None:
    kernel.devices.put(LOOPBACK_IFINDEX, DEVICE_SLOTS - 1, LINK_ETHERNET)
    kernel.run(FRAME, FLOW_EGRESS)
    assert kernel.totals(FLOW_EGRESS, DEVICE_SLOTS - 1).packets == 1
    assert kernel.only_flow().flow.device_slot == DEVICE_SLOTS - 1


def test_devices_are_told_apart_however_their_indexes_collide(
    kernel: Kernel, namespace: ThreadPoolExecutor
) -> None:
    """Seven of them, since slot 0 is for the unknown; each is the same connection to its own."""
    indexes = COLLIDING[: DEVICE_SLOTS - 1]
    for slot, ifindex in enumerate(indexes, 1):
        kernel.devices.put(ifindex, slot, LINK_ETHERNET)
    for times, ifindex in enumerate(indexes, 1):
        for _ in range(times):
            namespace.submit(kernel.run, FRAME, ifindex=ifindex).result()
    counted = {entry.flow.device_slot: entry.counts.packets for entry in kernel.flows()}
    assert counted == {slot: slot for slot in range(1, DEVICE_SLOTS)}
    for slot in range(1, DEVICE_SLOTS):
        assert kernel.totals(FLOW_INGRESS, slot).packets == slot


def test_a_device_is_found_behind_one_that_has_gone(
    kernel: Kernel, namespace: ThreadPoolExecutor
) -> None:
    for slot, ifindex in enumerate(COLLIDING[:3], 1):
        kernel.devices.put(ifindex, slot, LINK_ETHERNET)
    kernel.devices.remove(COLLIDING[1])
    for ifindex in COLLIDING[:3]:
        namespace.submit(kernel.run, FRAME, ifindex=ifindex).result()
    assert [kernel.totals(FLOW_INGRESS, slot).packets for slot in range(4)] == [1, 1, 0, 1]


def test_each_device_has_its_own_link_type(kernel: Kernel, namespace: ThreadPoolExecutor) -> None:
    ethernet, raw = COLLIDING[:2]
    kernel.devices.put(ethernet, 1, LINK_ETHERNET)
    kernel.devices.put(raw, 2, LINK_IP)
    namespace.submit(kernel.run, FRAME, ifindex=ethernet).result()
    namespace.submit(kernel.run, RAW, ifindex=raw).result()
    first, second = kernel.flows()
    assert first.key == second.key
    assert {first.counts.bytes, second.counts.bytes} == {len(FRAME), len(RAW)}


def test_one_device_too_many_for_its_places_is_refused_in_a_sentence(kernel: Kernel) -> None:
    for slot, ifindex in enumerate(COLLIDING):
        kernel.devices.put(ifindex, slot, LINK_ETHERNET)
    with pytest.raises(ExporterError, match="no place for the interface"):
        kernel.devices.put(20 + DEVICE_PROBES * DEVICE_BUCKETS, 1, LINK_ETHERNET)
