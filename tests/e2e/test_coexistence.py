"""Beside programs of others that let packets pass, drop or redirect them: theirs is the verdict.

Where ours comes first it counts what they do away with; where theirs comes first, what they leave.
Packets fare as they would without it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.exporter_process import Exporter
from tests.e2e.foreign import (
    TC_ACT_OK,
    TC_ACT_SHOT,
    clsact_program,
    redirecting,
    returning,
    tcx_program,
)
from tests.e2e.metrics import DIRECTIONS
from tests.e2e.net import End, Network
from tests.e2e.waiting import wait_until
from tests.kernel.bpf_mount import mounted

_SENT = 20
_PORT = 9
_OURS_IS_PREF = 7
_FATES = ("passed", "dropped", "redirected")


@dataclass(frozen=True, slots=True)
class World:
    """A node between two others; what is redirected leaves by its second device."""

    peer: End
    host: End
    host_elsewhere: End
    elsewhere: End

    def program(self, fate: str) -> bytes:
        """What decides that fate for every packet."""
        if fate == "redirected":
            return redirecting(self.host.namespace.ifindex(self.host_elsewhere.device))
        return returning(TC_ACT_OK if fate == "passed" else TC_ACT_SHOT)

    def delivered(self, direction: str) -> int:
        """Datagrams that have come to the stack at the end of that direction."""
        end = self.host if direction == "ingress" else self.peer
        names, values = (
            row.split()
            for row in end.namespace.run("cat", "/proc/net/snmp").splitlines()
            if row.startswith("Udp:")
        )
        udp = dict(zip(names[1:], map(int, values[1:]), strict=True))
        return udp["InDatagrams"] + udp["NoPorts"]

    def redirected(self) -> int:
        return self.elsewhere.statistics().rx_packets

    def send(self, direction: str) -> None:
        near, far = (self.peer, self.host) if direction == "ingress" else (self.host, self.peer)
        with near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
            for _ in range(_SENT):
                plug.sendto(b"datagram", (far.ipv4, _PORT))


@pytest.fixture
def world(network: Network) -> World:
    host = network.namespace("host")
    peer_end, host_end = network.wire(network.namespace("peer"), host)
    other_end, elsewhere = network.wire(
        host, network.namespace("elsewhere"), 2, devices=("eth1", "eth0")
    )
    for namespace in (host, peer_end.namespace):  # answers would be counted, too
        namespace.run("nft", "add table inet quiet")
        namespace.run("nft", "add chain inet quiet out { type filter hook output priority 0; }")
        namespace.run("nft", "add rule inet quiet out meta l4proto icmp drop")
    return World(peer_end, host_end, other_end, elsewhere)


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "bpf") as folder:
        yield folder


def _theirs(
    world: World, how: str, is_first: bool, direction: str, fate: str, pins: Path
) -> AbstractContextManager[object]:
    device, program = world.host.device, world.program(fate)
    if how == "tcx":
        return tcx_program(world.host.namespace, device, direction, program, is_first)
    pref = _OURS_IS_PREF + (-1 if is_first else 1)
    return clsact_program(world.host.namespace, device, direction, program, pref, pins / "theirs")


def _check(world: World, exporter: Exporter, direction: str, fate: str, is_counted: bool) -> None:
    def counted() -> int:
        return exporter.scrape().value(
            "ayaflow_interface_packets_total", device="eth0", direction=direction
        )

    before = (world.delivered(direction), world.redirected(), counted())
    world.send(direction)

    def fared() -> None:
        now = (world.delivered(direction), world.redirected(), counted())
        differences = tuple(later - earlier for later, earlier in zip(now, before, strict=True))
        assert differences == (
            _SENT * (fate == "passed"),
            _SENT * (fate == "redirected"),
            _SENT * is_counted,
        )

    wait_until(fared)


@pytest.mark.parametrize(
    ("ours", "theirs", "ours_is_first"),
    [
        ("tcx", "tcx", True),
        ("tcx", "tcx", False),
        ("tcx", "clsact", True),
        ("clsact", "tcx", False),
        ("clsact", "clsact", True),
        ("clsact", "clsact", False),
    ],
)
def test_theirs_decides_and_what_ours_sees_is_counted(
    world: World, pins: Path, ours: str, theirs: str, ours_is_first: bool
) -> None:
    with Exporter(world.host.namespace, "--interface", "eth0", "--attach", ours) as exporter:
        for direction in DIRECTIONS:
            for fate in _FATES:
                with _theirs(world, theirs, not ours_is_first, direction, fate, pins):
                    _check(world, exporter, direction, fate, ours_is_first)
            _check(world, exporter, direction, "passed", True)
