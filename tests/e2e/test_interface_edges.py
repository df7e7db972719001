"""Interfaces that do what interfaces seldom do."""

from __future__ import annotations

import json

import pytest

from tests.e2e.exporter_process import Exporter
from tests.e2e.kernel_objects import attached_objects
from tests.e2e.metrics import check_driver, check_identity
from tests.e2e.net import End, Namespace, Network, command
from tests.e2e.traffic import Flood
from tests.e2e.waiting import wait_until


@pytest.fixture
def host(network: Network) -> Namespace:
    return network.namespace("host")


@pytest.fixture
def peer(network: Network) -> Namespace:
    return network.namespace("peer")


def _wait_attached(exporter: Exporter, device: str, attached: bool) -> None:
    def check() -> None:
        samples = exporter.scrape().samples("ayaflow_attached", device=device)
        assert [sample.value for sample in samples] == [attached, attached]

    wait_until(check, 3)


@pytest.mark.parametrize("mode", ["tcx", "clsact"])
def test_one_that_moves_to_another_namespace_and_back(
    network: Network, host: Namespace, peer: Namespace, flood: Flood, mode: str
) -> None:
    sender, _ = network.wire(peer, host, 1, ("p1", "up1"))
    elsewhere = network.namespace("elsewhere")
    with Exporter(host, "--interface", "up*", "--attach", mode) as exporter:
        flood.send(sender, "--flows", "10", "--count", "100")
        host.ip(f"link set up1 netns {elsewhere.name}")
        elsewhere.ip("link set up1 up")
        _wait_attached(exporter, "up1", False)
        assert not attached_objects(elsewhere).programs
        flood.send(sender, "--flows", "10", "--count", "1000")
        elsewhere.ip(f"link set up1 netns {host.name}")
        host.ip("link set up1 up")
        _wait_attached(exporter, "up1", True)
        flood.send(sender, "--flows", "10", "--count", "50")
        metrics = exporter.scrape()
        assert metrics.counted("up1").rx_packets == 150
        check_identity(metrics)
        check_driver(metrics)


def test_one_that_is_down_counts_when_it_comes_up(
    network: Network, host: Namespace, peer: Namespace, flood: Flood
) -> None:
    sender, _ = network.wire(peer, host, 1, ("p1", "up1"))
    host.ip("link set up1 down")
    with Exporter(host, "--interface", "up1") as exporter:
        assert exporter.scrape().sum("ayaflow_attached") == 2
        host.ip("link set up1 up")
        flood.send(sender, "--flows", "10", "--count", "100")
        metrics = exporter.scrape()
        assert metrics.counted("up1").rx_packets == 100
        check_identity(metrics)


def test_names_that_need_escaping(host: Namespace) -> None:
    names = {'a"b', "c\\d", "e{f}", "g=h", "ü€", "-x"}
    for number, name in enumerate(sorted(names)):
        command(
            *("ip", "-n", host.name, "link", "add", "name", name),
            *("type", "veth", "peer", "name", f"lo{number}"),
        )
    flags = ("--interface", "*", "--interface.exclude", "lo*")
    with Exporter(host, *flags, "--log.format", "json") as exporter:
        metrics = exporter.scrape()
        assert metrics.label_values("ayaflow_attached", "device") == names
        assert metrics.sum("ayaflow_attached") == 2 * len(names)
        for line in exporter.stderr.splitlines():
            assert json.loads(line)["msg"]


@pytest.mark.slow
def test_indexes_that_collide_in_the_device_table(
    host: Namespace, peer: Namespace, flood: Flood
) -> None:
    """The ninth finds no place: it is not counted, which is said once and shown."""
    devices = [f"up{number}" for number in range(9)]
    for number, device in enumerate(devices):
        host.ip(
            f"link add {device} index {1000 + 1024 * number} type veth"
            f" peer name p{number} netns {peer.name}"
        )
        host.ip(f"link set {device} up")
        peer.ip(f"link set p{number} up")
    with Exporter(host, "--interface", "up*") as exporter:
        for number in range(9):
            flood.send(End(peer, f"p{number}", "", ""), "--flows", "10", "--count", "100")
        metrics = exporter.scrape()
        check_identity(metrics)
        assert metrics.sum("ayaflow_interface_packets_total") == 800
        assert metrics.sum("ayaflow_attached") == 16
        said = [line for line in exporter.log.splitlines() if "is not counted" in line]
        assert len(said) == 1, said
        # One that leaves makes room.
        host.ip("link delete up0")
        wait_until(lambda: exporter.scrape().sum("ayaflow_attached") == 16, 15)
        flood.send(End(peer, "p8", "", ""), "--flows", "10", "--count", "100")
        metrics = exporter.scrape()
        assert metrics.counted("up8").rx_packets == 100
        check_identity(metrics)


def test_one_that_comes_and_goes_while_it_is_flooded(
    network: Network, host: Namespace, peer: Namespace, flood: Flood
) -> None:
    steady, _ = network.wire(peer, host, 1, ("p1", "up1"))
    with Exporter(host, "--interface", "up*", "--flows.idle-timeout", "1s") as exporter:
        background = flood.start(steady, "--flows", "1000", "--seconds", "4")
        while background.poll() is None:
            network.wire(peer, host, 2, ("p2", "up2"))
            passing = flood.start(End(peer, "p2", "", ""), "--flows", "1000", "--seconds", "9")
            wait_until(lambda: exporter.scrape().counted("up2").rx_packets > 0)
            host.ip("link delete up2")
            passing.wait(10)  # its device is gone
            assert passing.returncode == 1
        sent = flood.sent(background)

        def at_rest() -> None:
            metrics = exporter.scrape()
            check_identity(metrics)
            check_driver(metrics)
            assert metrics.counted("up1").rx_packets == sent.packets

        wait_until(at_rest)
        assert exporter.log.count("up2 is gone") > 3
