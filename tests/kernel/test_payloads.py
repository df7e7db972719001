"""Where the payload of a frame lies, and what is said of it."""

from __future__ import annotations

import time

import pytest
from scapy.layers.inet import TCP, UDP, IPOption
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Dot1Q
from scapy.packet import Packet, Raw

from exporter.capture.records import (
    FLOW_EGRESS,
    LINK_ETHERNET,
    LINK_IP,
)
from tests.kernel.harness import DEVICE_SLOT, Kernel
from tests.kernel.packets import ether, v4, v6
from tests.kernel.samples import (
    ANSWER,
    HELLO,
    INITIAL,
    LARGE_HELLO,
    NOISE,
    QUERY,
)
from tests.kernel.talk import CLIENT_PORT, FIRST_SEQUENCE, Talk


def test_a_record_says_whose_payload_it_is(kernel: Kernel) -> None:
    talk = Talk(kernel, 8443)
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    talk.tcp(HELLO, 5)
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    (payload,) = kernel.payloads()
    flow = kernel.only_flow().flow
    assert before <= payload.boot_ns <= after
    assert (payload.slot, payload.device_slot, payload.protocol) == (flow.slot, DEVICE_SLOT, 6)
    assert (payload.source, payload.destination) == (flow.source, flow.destination)
    assert (payload.source_port, payload.destination_port) == (CLIENT_PORT, 8443)
    assert payload.sequence == FIRST_SEQUENCE + 5
    assert payload.segment_len == 0
    assert payload.data == HELLO


@pytest.mark.parametrize("cut", [0, 1, 5, 9, 1000])
def test_a_payload_in_fragments_of_the_socket_buffer_is_read(kernel: Kernel, cut: int) -> None:
    """As a local process sends it over a device with offloads: only headers are linear, or some."""
    payload = (LARGE_HELLO + NOISE)[:4096]
    headers = ether() / v4() / TCP(sport=1, dport=443)
    frame = bytes(headers / Raw(payload))
    kernel.run(frame, FLOW_EGRESS, linear_len=len(bytes(headers)) + cut)
    (sent,) = kernel.payloads()
    assert sent.data.startswith(LARGE_HELLO)
    assert kernel.only_flow().counts == (1, len(frame))


PADDING = bytes(64)

HEADERS: dict[str, Packet] = {
    "v4": ether() / v4(),
    "v4-options": ether() / v4(options=[IPOption(b"\x01" * 12)]),
    "v6": ether() / v6(),
    "v6-extensions": ether() / v6() / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt(),
    "vlan-v4": ether() / Dot1Q(vlan=7) / v4(),
    "raw-v4": v4(),
    "raw-v6": v6(),
}

each_header = pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)


def _set_link_type(kernel: Kernel, headers: Packet) -> None:
    kernel.set_link_type(LINK_ETHERNET if headers.name == "Ethernet" else LINK_IP)


@each_header
def test_the_payload_begins_where_the_headers_end(kernel: Kernel, headers: Packet) -> None:
    _set_link_type(kernel, headers)
    kernel.run(bytes(headers / TCP(sport=1, dport=2, options=[("NOP", None)] * 8) / Raw(HELLO)))
    kernel.run(bytes(headers / UDP(sport=1, dport=2) / Raw(INITIAL)))
    assert [payload.data for payload in kernel.payloads()] == [HELLO, INITIAL]


@each_header
def test_padding_is_no_payload(kernel: Kernel, headers: Packet) -> None:
    _set_link_type(kernel, headers)
    kernel.run(bytes(headers / TCP(sport=1, dport=53, flags="A")) + PADDING)
    kernel.run(bytes(headers / UDP(sport=1, dport=53) / Raw(QUERY)) + PADDING)
    assert [payload.data for payload in kernel.payloads()] == [QUERY]
    inspected = [entry.inspection for entry in kernel.flows()]
    assert inspected == [0, 0]


@pytest.mark.parametrize("stated", [0, 20, 27, 28, 100, 65535])
def test_the_length_that_ip_states_bounds_the_payload(kernel: Kernel, stated: int) -> None:
    """It may be left 0, and be more than there is."""
    kernel.run(bytes(ether() / v4(len=stated) / UDP(sport=1, dport=53) / Raw(INITIAL)))
    payload_len = max(0, stated - 28) if stated else len(INITIAL)
    expected = [INITIAL[:payload_len]] if payload_len else []
    assert [payload.data for payload in kernel.payloads()] == expected


@pytest.mark.parametrize("stated", [0, 7, 8, 100, 65535])
def test_the_length_that_ipv6_states_does_too(kernel: Kernel, stated: int) -> None:
    kernel.run(bytes(ether() / v6(plen=stated) / UDP(sport=1, dport=53) / Raw(INITIAL)))
    payload_len = max(0, stated - 8) if stated else len(INITIAL)
    expected = [INITIAL[:payload_len]] if payload_len else []
    assert [payload.data for payload in kernel.payloads()] == expected


def test_a_first_fragment_has_a_payload_and_a_later_one_has_none(kernel: Kernel) -> None:
    whole = bytes(UDP(sport=1, dport=53) / Raw(ANSWER * 40))
    for at in range(0, len(whole), 800):
        part = whole[at : at + 800]
        more = "MF" if at + 800 < len(whole) else 0
        kernel.run(bytes(ether() / v4(frag=at // 8, flags=more, proto=17) / Raw(part)))
    assert [payload.data for payload in kernel.payloads()] == [whole[8:800]]


@pytest.mark.parametrize("data_offset", [0, 4, 15])
def test_a_tcp_header_that_lies_about_its_length_does_no_harm(
    kernel: Kernel, data_offset: int
) -> None:
    for size in range(60):
        headers = ether() / v4() / TCP(sport=1, dport=53, dataofs=data_offset)
        kernel.run(bytes(headers / Raw(bytes(size))))
    for payload in kernel.payloads():
        assert payload.data == bytes(len(payload.data))
