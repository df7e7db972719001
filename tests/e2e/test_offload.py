"""Super-packets count as what they become on the wire: a second hop without offloads shows it.

left ──── left0  router  right0 ──── right
(offloads on)  (segments when sending)  (offloads on)
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.exporter_process import Audit, Exporter
from tests.e2e.metrics import check_driver, check_identity
from tests.e2e.net import End, Namespace, Network, Statistics
from tests.e2e.traffic import iperf, send_udp_segments
from tests.e2e.waiting import wait_until

_BIG_TCP = 150_000
_L2_HEADER = 14
_LARGEST_WITHOUT = 65_536
_LARGEST_FRAME = 1_600 + _L2_HEADER
"""By the larger MTU of the router, which cuts all that it sends."""


@dataclass(frozen=True, slots=True)
class Chain:
    left: End
    left0: End
    right0: End
    right: End
    exporter: Exporter
    audit: Audit
    before: list[Statistics]
    """Of the four ends, from left to right."""

    def sent(self) -> list[Statistics]:
        """What the four ends counted since the start."""
        return [
            end.statistics() - before
            for end, before in zip(
                (self.left, self.left0, self.right0, self.right), self.before, strict=True
            )
        ]

    def verify(self) -> None:
        """What came in by one device is what went out of the other, segmented.

        A driver may drop what it has no room for, after the program counted it: of these it knows
        how many there were, and not their bytes.
        """

        def check() -> None:
            metrics, _ = self.audit.reading()
            _, left_driver, right_driver, _ = self.sent()
            left0, right0 = metrics.counted("left0"), metrics.counted("right0")
            for came, went, driver, end in (
                (left0, right0, right_driver, self.right0),
                (right0, left0, left_driver, self.left0),
            ):
                dropped = end.tx_dropped()
                assert (came.rx_packets, came.rx_bytes) == (went.tx_packets, went.tx_bytes)
                assert went.tx_packets == driver.tx_packets + dropped, f"{dropped} were dropped"
                dropped_bytes = went.tx_bytes - driver.tx_bytes
                assert dropped * _L2_HEADER <= dropped_bytes <= dropped * _LARGEST_FRAME
            check_identity(metrics)
            check_driver(metrics)

        wait_until(check)


@pytest.fixture
def chain(network: Network) -> Iterator[Chain]:
    one, router, two = (network.namespace(role, ipv6=True) for role in ("left", "router", "right"))
    left, left0 = network.wire(one, router, 1, ("eth0", "left0"), offload=True)
    # Room for the jumbo option, which the router reckons with though no segment carries it.
    right0, right = network.wire(router, two, 2, ("right0", "eth0"), mtu=1600, offload=True)
    ends = (left, left0, right0, right)
    for end, gateway in ((left, left0), (right, right0)):
        end.namespace.ip(f"route add default via {gateway.ipv4}")
        end.namespace.ip(f"-6 route add default via {gateway.ipv6}")
    left0.offload(False)
    right0.offload(False)
    _wait_for_silence(ends)
    flags = ("--interface", "left0", "--interface", "right0")
    with Exporter(left0.namespace, *flags) as exporter:
        audit = Audit(exporter, left0, right0)
        yield Chain(*ends, exporter, audit, [end.statistics() for end in ends])


def _wait_for_silence(ends: tuple[End, ...]) -> None:
    """Until the reports of multicast listeners, which no router forwards, are sent."""
    last: list[Statistics] = []

    def silent() -> bool:
        nonlocal last
        now = [end.statistics() for end in ends]
        same, last = now == last, now
        return same

    wait_until(silent, timeout_s=30, poll_s=0.3)


@pytest.mark.parametrize("options", [(), ("--reverse",)], ids=["ingress", "egress"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_tcp_segmentation(chain: Chain, family: str, options: tuple[str, ...]) -> None:
    iperf(
        chain.left.namespace,
        chain.right.namespace,
        getattr(chain.right, family),
        *("--bytes", "300M", *options),
    )
    chain.verify()
    left, left0, right0, right = chain.sent()
    super_packets = right.tx_packets if options else left.tx_packets
    assert super_packets * 5 < max(right0.tx_packets, left0.tx_packets), "nothing was segmented"


def test_udp_segmentation(chain: Chain) -> None:
    send_udp_segments(chain.left.namespace, chain.right.ipv4, rounds=2000, segments=32, size=1400)
    send_udp_segments(chain.right.namespace, chain.left.ipv4, rounds=100, segments=3, size=700)
    chain.verify()
    assert chain.sent()[0].tx_packets < 3000
    assert chain.sent()[2].tx_packets >= 64_000


def test_big_tcp_over_ipv6(chain: Chain) -> None:
    """Above 64 KiB the payload length is 0: a jumbo option has it, which never leaves the host."""
    for end in (chain.left, chain.left0, chain.right0, chain.right):
        end.namespace.ip(f"link set {end.device} gso_max_size {_BIG_TCP} gro_max_size {_BIG_TCP}")
    iperf(
        chain.left.namespace,
        chain.right.namespace,
        chain.right.ipv6,
        *("--bytes", "500M", "--length", "1M"),
    )
    chain.verify()
    left = chain.sent()[0]
    assert left.tx_bytes / left.tx_packets > _LARGEST_WITHOUT, "no packet was that big"


@pytest.mark.parametrize("inner", ["tcp", "udp"])
def test_segmentation_inside_a_vxlan_tunnel(chain: Chain, inner: str) -> None:
    """The outer headers are repeated in front of each segment, and the inner ones too."""
    ends = (chain.left, chain.right)
    for number, (end, other) in enumerate((ends, ends[::-1]), start=1):
        end.namespace.ip(
            f"link add vxlan0 type vxlan id 7 dstport 4789 local {end.ipv4} remote {other.ipv4}"
        )
        end.namespace.ip(f"address add 10.9.0.{number}/24 dev vxlan0")
        end.namespace.ip("link set vxlan0 up")
    if inner == "tcp":
        iperf(chain.left.namespace, chain.right.namespace, "10.9.0.2", "--bytes", "300M")
    else:
        _warm_up(chain.left.namespace, "10.9.0.2")
        send_udp_segments(chain.left.namespace, "10.9.0.2", rounds=1000, segments=30, size=1300)
    chain.verify()
    left, _, right0, _ = chain.sent()
    assert left.tx_packets * 5 < right0.tx_packets, "nothing was segmented"


def _warm_up(namespace: Namespace, address: str) -> None:
    """Until the address is resolved: what is sent before may be thrown away."""

    def resolved() -> bool:
        with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
            plug.sendto(b"", (address, 9))
        return "lladdr" in namespace.ip(f"neighbour show {address}")

    wait_until(resolved)


def _on(end: End, *features: str) -> None:
    end.namespace.ethtool(end.device, *(word for feature in features for word in (feature, "on")))


def test_merged_packets_count_as_they_were_received(network: Network) -> None:
    """Receive offload: the driver counts before it merges, the kernel program sees the merged."""
    peer, host = network.wire(network.namespace("peer"), network.namespace("host"))
    _on(host, "gro", "rx-udp-gro-forwarding")
    with Exporter(host.namespace, "--interface", "eth0") as exporter:
        before = host.statistics()
        iperf(peer.namespace, host.namespace, host.ipv4, "--bytes", "200M")
        metrics, _ = Audit(exporter, host).reading()
        counted, driver = metrics.counted("eth0"), host.statistics() - before
        check_identity(metrics)
        check_driver(metrics)
    assert counted.rx_packets == driver.rx_packets > 100_000
    # In this mode the driver counts what follows the L2 header.
    assert counted.rx_bytes == driver.rx_bytes + _L2_HEADER * driver.rx_packets
