"""Interfaces that come, go, come back and change their names while the exporter runs."""

from __future__ import annotations

import pytest

from tests.e2e.exporter_process import Audit, Exporter
from tests.e2e.metrics import DIRECTIONS, check_driver, check_identity
from tests.e2e.net import End, Namespace, Network
from tests.e2e.traffic import Flood
from tests.e2e.waiting import wait_until

_SOON_S = 1.0
"""Within this an interface that matches is attached."""
_SLACK_S = 1.0
"""Of a busy machine."""


@pytest.fixture
def host(network: Network) -> Namespace:
    return network.namespace("host")


@pytest.fixture
def peer(network: Network) -> Namespace:
    return network.namespace("peer")


def _attached(exporter: Exporter) -> set[str]:
    samples = exporter.scrape().samples("ayaflow_attached")
    by_device: dict[str, set[float]] = {}
    for sample in samples:
        by_device.setdefault(sample.labels["device"], set()).add(sample.value)
    assert all(len(values) == 1 for values in by_device.values()), by_device
    return {device for device, values in by_device.items() if values == {1}}


def _expect_attached(exporter: Exporter, *devices: str) -> None:
    """Soon, and truly: the programs are there by the kernel's word."""

    def check() -> None:
        assert _attached(exporter) == set(devices)

    wait_until(check, _SOON_S + _SLACK_S)
    in_kernel = exporter.objects().programs
    assert set(in_kernel) == {(each, direction) for each in devices for direction in DIRECTIONS}
    assert all(len(ids) == 1 for ids in in_kernel.values()), in_kernel


def _count(exporter: Exporter, flood: Flood, sender: End, receiver: End, packets: int) -> int:
    """Sends packets, and returns what the receiving device has counted in all."""
    before = exporter.scrape().counted(receiver.device).rx_packets
    flood.send(sender, "--flows", "10", "--count", str(packets))

    def all_counted() -> int:
        metrics = exporter.scrape()
        counted = metrics.counted(receiver.device).rx_packets
        assert counted == before + packets
        check_identity(metrics)
        check_driver(metrics)
        return counted

    return wait_until(all_counted)


def test_a_glob_takes_what_matches_and_leaves_out_what_is_excluded(
    network: Network, host: Namespace, peer: Namespace
) -> None:
    for number, device in enumerate(("up0", "up1", "upx", "other0", "veth9"), start=1):
        network.wire(peer, host, number, (f"p{number}", device))
    with Exporter(host, "--interface", "up*", "--interface.exclude", "*x") as exporter:
        _expect_attached(exporter, "up0", "up1")
    with Exporter(host, "--interface", "*") as exporter:
        _expect_attached(exporter, "up0", "up1", "upx", "other0")
    with Exporter(host, "--interface", "*0", "--interface", "veth9") as exporter:
        _expect_attached(exporter, "up0", "other0", "veth9")


@pytest.mark.parametrize("mode", ["tcx", "clsact"])
def test_one_that_appears_later_is_attached_within_a_second(
    network: Network, host: Namespace, peer: Namespace, flood: Flood, mode: str
) -> None:
    network.wire(peer, host, 1, ("p1", "up1"))
    with Exporter(host, "--interface", "up*", "--attach", mode) as exporter:
        _expect_attached(exporter, "up1")
        sender, receiver = network.wire(peer, host, 2, ("p2", "up2"))
        _expect_attached(exporter, "up1", "up2")
        assert _count(exporter, flood, sender, receiver, 500) == 500
        Audit(exporter, receiver).verify()


@pytest.mark.parametrize("mode", ["tcx", "clsact"])
@pytest.mark.parametrize("pattern", ["up1", "up*"])
def test_one_that_is_deleted_and_made_anew_counts_on(
    network: Network, host: Namespace, peer: Namespace, flood: Flood, pattern: str, mode: str
) -> None:
    sender, receiver = network.wire(peer, host, 1, ("p1", "up1"))
    with Exporter(host, "--interface", pattern, "--attach", mode) as exporter:
        total = 0
        for round_ in range(1, 4):
            _expect_attached(exporter, "up1")
            total += 100 * round_
            assert _count(exporter, flood, sender, receiver, 100 * round_) == total
            host.ip("link delete up1")
            _expect_attached(exporter)
            assert exporter.scrape().counted("up1").rx_packets == total, "totals stay"
            check_identity(exporter.scrape())
            assert exporter.get("/-/ready").status == 503
            sender, receiver = network.wire(peer, host, 1, ("p1", "up1"))
        _expect_attached(exporter, "up1")
        assert exporter.get("/-/ready").status == 200


def test_one_that_is_renamed_within_what_matches_counts_on_under_its_new_name(
    network: Network, host: Namespace, peer: Namespace, flood: Flood
) -> None:
    sender, receiver = network.wire(peer, host, 1, ("p1", "up1"))
    with Exporter(host, "--interface", "up*") as exporter:
        _count(exporter, flood, sender, receiver, 100)
        _rename(host, "up1", "up7")
        _expect_attached(exporter, "up7")
        renamed = End(host, "up7", receiver.ipv4, receiver.ipv6)
        _count(exporter, flood, sender, renamed, 50)
        metrics = exporter.scrape()
        counted = [metrics.counted(device).rx_packets for device in ("up1", "up7")]
        assert sum(counted) == 150, counted
        check_identity(metrics)
        check_driver(metrics)


def test_one_that_is_renamed_out_of_what_matches_is_let_go_and_taken_again(
    network: Network, host: Namespace, peer: Namespace, flood: Flood
) -> None:
    sender, receiver = network.wire(peer, host, 1, ("p1", "up1"))
    with Exporter(host, "--interface", "up*") as exporter:
        _count(exporter, flood, sender, receiver, 100)
        _rename(host, "up1", "down1")
        _expect_attached(exporter)
        flood.send(sender, "--flows", "10", "--count", "1000")
        assert exporter.scrape().sum("ayaflow_interface_packets_total") == 100
        _rename(host, "down1", "up1")
        _expect_attached(exporter, "up1")
        assert _count(exporter, flood, sender, receiver, 50) == 150


def _rename(namespace: Namespace, old: str, new: str) -> None:
    namespace.ip(f"link set {old} down")
    namespace.ip(f"link set {old} name {new}")
    namespace.ip(f"link set {new} up")


def test_names_that_are_exchanged(
    network: Network, host: Namespace, peer: Namespace, flood: Flood
) -> None:
    """The ring of names that udev makes when it sorts interfaces."""
    first, _ = network.wire(peer, host, 1, ("p1", "up1"))
    second, _ = network.wire(peer, host, 2, ("p2", "up2"))
    with Exporter(host, "--interface", "up*") as exporter:
        for old, new in (("up1", "tmp"), ("up2", "up1"), ("tmp", "up2")):
            _rename(host, old, new)
        _expect_attached(exporter, "up1", "up2")
        up1, up2 = (End(host, name, "", "") for name in ("up1", "up2"))
        audit = Audit(exporter, up1, up2)
        flood.send(first, "--flows", "10", "--count", "100")
        flood.send(second, "--flows", "10", "--count", "30")
        metrics = audit.verify()
        assert metrics.counted("up2").rx_packets == 100
        assert metrics.counted("up1").rx_packets == 30


def test_many_that_come_and_go_at_once(
    network: Network, host: Namespace, peer: Namespace, flood: Flood
) -> None:
    sender, receiver = network.wire(peer, host, 1, ("p1", "up1"))
    names = [f"up{number}" for number in range(100, 120)]
    with Exporter(host, "--interface", "up*") as exporter:
        for _ in range(2):
            for name in names:
                host.ip(f"link add {name} type veth peer name x{name}")
            wait_until(lambda: _attached(exporter) == {"up1", *names}, 10)
            for name in names:
                host.ip(f"link delete {name}")
            wait_until(lambda: _attached(exporter) == {"up1"}, 10)
        assert _count(exporter, flood, sender, receiver, 100) == 100
        check_identity(exporter.scrape())


def test_static_attaches_once_and_keeps_no_helper(
    network: Network, host: Namespace, peer: Namespace
) -> None:
    network.wire(peer, host, 1, ("p1", "up1"))
    network.wire(peer, host, 2, ("p2", "up2"))
    with Exporter(host, "--interface", "up*", "--interface.static") as exporter:
        assert exporter.pids() == [exporter.pid]
        network.wire(peer, host, 3, ("p3", "up3"))
        _expect_attached(exporter, "up1", "up2")
        host.ip("link delete up1")
        _expect_attached(exporter, "up2")


def test_a_default_route_that_moves_is_followed(
    network: Network, host: Namespace, peer: Namespace
) -> None:
    first, _ = network.wire(peer, host, 1, ("p1", "eth0"))
    second, _ = network.wire(peer, host, 2, ("p2", "eth1"))
    host.ip(f"route add default via {first.ipv4}")
    host.ip(f"route add default via {second.ipv4} metric 200")
    with Exporter(host) as exporter:
        _expect_attached(exporter, "eth0", "eth1")
