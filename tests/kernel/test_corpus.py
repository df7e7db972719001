"""Every capture of the corpus, through the kernel program: its counts agree with tshark's.

Each frame runs at the length that it was captured with. What that lacks of its length on the
wire, by a short snapshot, a pseudo link header taken off or the limit of a test run, is added
here to its flow.
Fragments, which the truth keeps apart from flows, run as if on a device of their own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from exporter.capture.records import FLOW_INGRESS, LINK_ETHERNET, LINK_IP
from tests.captures import DLT_EN10MB, CapturedPacket, NoCorpusError, corpus_dir, read_capture
from tests.kernel.conftest import Figures
from tests.kernel.harness import (
    DEVICE_SLOT,
    FRAME_MAX,
    FRAME_MIN,
    LOOPBACK_IFINDEX,
    FlowKey,
    Kernel,
    WireCounts,
)
from tests.kernel.reference import Reading, read

IP = ("ipv4", "ipv6", "non_ip")
FRAGMENT_SLOT = DEVICE_SLOT + 1
NOTHING = WireCounts(0, 0)
L4 = {(4, 6): "tcp", (6, 6): "tcp", (4, 17): "udp", (6, 17): "udp", (4, 1): "icmp"}
L4 |= {(6, 58): "icmpv6", (4, 132): "sctp", (6, 132): "sctp"}

DISAGREEMENTS: dict[str, dict[str, tuple[int, int]]] = {
    # Broken on purpose. Of eleven frames that their Ethernet type calls IPv4, ten have no version
    # that exists: tshark counts them as IPv4, here they are non-IP. One has version 6, and is
    # read as IPv6 here.
    "fuzz-2020-02-16-11740.pcap": {
        "ipv4": (-11, -5603),
        "ipv6": (1, 206),
        "non_ip": (10, 5397),
        "other": (1, 206),
    },
    # Its one frame has a pseudo link header that names no protocol. Without that header, which no
    # device has, what follows looks like IPv6.
    "fuzz-2021-10-13.pcap": {
        "ipv6": (1, 524501),
        "non_ip": (-1, -524501),
        "tcp": (1, 524501),
    },
}
"""Where the truth is not what is counted here, by capture: frames and bytes more than it says."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each capture, or one that says where the corpus is looked for."""
    if "capture" in metafunc.fixturenames:
        try:
            corpus = corpus_dir()
        except NoCorpusError as missing:
            metafunc.parametrize("capture", [missing], ids=["missing"])
            return
        captures = sorted(corpus.glob("pcap/*")) + sorted(corpus.glob("derived/pcap/*"))
        metafunc.parametrize("capture", captures, ids=lambda path: path.name)


@dataclass
class Replay:
    """What the kernel program made of a capture, completed to lengths on the wire."""

    flows: dict[FlowKey, WireCounts] = field(default_factory=dict)
    fragments: dict[FlowKey, WireCounts] = field(default_factory=dict)
    non_ip: WireCounts = NOTHING
    run: WireCounts = NOTHING
    """As the frames were run."""
    cut: int = 0
    """Frames longer than a test run takes."""

    def complete(self, reading: Reading | None, lacking: int) -> None:
        """Adds the bytes that a frame was run without."""
        if reading is None:
            self.non_ip = self.non_ip.plus(0, lacking)
        else:
            flows = self.fragments if reading.fragment else self.flows
            flows[reading.key] = flows[reading.key].plus(0, lacking)

    @cached_property
    def all_flows(self) -> list[tuple[FlowKey, WireCounts]]:
        """With fragments."""
        return [*self.flows.items(), *self.fragments.items()]

    def family(self, family: int) -> WireCounts:
        """All of one version of IP."""
        return _total(counts for key, counts in self.all_flows if key.family == family)

    def l4(self, name: str) -> WireCounts:
        """All of one transport, as the truth files call it."""
        return _total(
            counts
            for key, counts in self.all_flows
            if L4.get((key.family, key.protocol), "other") == name
        )


def _total(counts: Any) -> WireCounts:
    total = NOTHING
    for each in counts:
        total = total.plus(*each)
    return total


def replay(kernel: Kernel, packets: list[CapturedPacket]) -> Replay:
    """Runs all packets of a capture."""
    lacking: list[tuple[Reading | None, int]] = []
    result = Replay()
    for packet in packets:
        link_type = LINK_ETHERNET if packet.linktype == DLT_EN10MB else LINK_IP
        whole = packet.ip_or_ethernet()
        frame = whole[:FRAME_MAX]
        assert len(frame) >= FRAME_MIN, "too short for a test run"
        result.cut += len(frame) < len(whole)
        reading = read(frame, link_type)
        fragment = reading is not None and reading.fragment
        kernel.devices.put(LOOPBACK_IFINDEX, FRAGMENT_SLOT if fragment else DEVICE_SLOT, link_type)
        kernel.run(frame)
        lacking.append((reading, packet.original_len - len(frame)))
    totals = kernel.all_totals(FLOW_INGRESS)
    assert totals.overflow_packets == 0
    result.run = WireCounts(totals.packets, totals.bytes)
    result.non_ip = WireCounts(totals.non_ip_packets, totals.non_ip_bytes)
    for entry in kernel.flows():
        flows = result.fragments if entry.flow.device_slot == FRAGMENT_SLOT else result.flows
        flows[entry.key] = flows.get(entry.key, NOTHING).plus(*entry.counts)
    for each in lacking:
        result.complete(*each)
    return result


def _true_flows(rows: list[list[Any]]) -> dict[FlowKey, WireCounts]:
    """The rows of a truth file by the key that each direction has here."""
    flows: dict[FlowKey, WireCounts] = {}
    for protocol, source, sport, destination, dport, *counts in rows:
        here, there = ip_address(source), ip_address(destination)
        ends = (here.packed, there.packed, sport or 0, dport or 0)
        back = (there.packed, here.packed, dport or 0, sport or 0)
        for end, (frames, size) in ((ends, counts[:2]), (back, counts[2:4])):
            key = FlowKey(here.version, protocol, *end)
            if frames:
                flows[key] = flows.get(key, NOTHING).plus(frames, size)
    return flows


def _true_fragments(rows: list[list[Any]]) -> dict[FlowKey, WireCounts]:
    return _true_flows(
        [[p, src, 0, dst, 0, frames, size, 0, 0] for p, src, dst, frames, size in rows]
    )


def _without_ports(flows: dict[FlowKey, WireCounts]) -> dict[FlowKey, WireCounts]:
    sums: dict[FlowKey, WireCounts] = {}
    for key, counts in flows.items():
        bare = key._replace(source_port=0, destination_port=0)
        sums[bare] = sums.get(bare, NOTHING).plus(*counts)
    return sums


def test_a_capture_is_counted_as_the_truth_says(
    full_table: Kernel, capture: Path | NoCorpusError, figures: Figures
) -> None:
    if isinstance(capture, NoCorpusError):
        raise capture
    truth = json.loads((capture.parents[1] / "truth" / f"{capture.name}.json").read_text())
    result = replay(full_table, read_capture(capture))
    if result.cut:
        figures[f"{capture.name}: frames cut to {FRAME_MAX} bytes"] = result.cut
    counted = {
        "ipv4": result.family(4),
        "ipv6": result.family(6),
        "non_ip": result.non_ip,
        **{name: result.l4(name) for name in truth["l4"]},
    }
    true = {name: (truth[f"{name}_frames"], truth[f"{name}_bytes"]) for name in IP} | truth["l4"]
    more = DISAGREEMENTS.get(capture.name, {})
    assert counted == {
        name: WireCounts(*counts).plus(*more.get(name, (0, 0))) for name, counts in true.items()
    }
    assert result.run.packets == truth["frames"]
    assert _total(counted[name] for name in IP).bytes == truth["bytes"]
    assert _without_ports(result.fragments) == _true_fragments(truth["fragment_flows"])
    if truth["flows"] is not None:
        true_flows = _true_flows(truth["flows"])
        assert {key: result.flows.get(key) for key in true_flows} == true_flows
        assert len(result.flows) - len(true_flows) == (1 if more else 0)
