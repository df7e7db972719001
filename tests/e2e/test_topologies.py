"""Where packets pass several devices, each counts what it sees, in the direction it sees it."""

from __future__ import annotations

from tests.e2e.exporter_process import Audit, Exporter
from tests.e2e.metrics import check_driver, check_identity
from tests.e2e.net import End, Network, Statistics
from tests.e2e.traffic import Flood, iperf

_L2_HEADER = 14


def test_forwarded_packets_come_in_on_one_device_and_leave_by_the_other(network: Network) -> None:
    left_ns, router, right_ns = (network.namespace(role) for role in ("left", "router", "right"))
    _, left0 = network.wire(left_ns, router, 1, ("eth0", "left0"))
    right0, right = network.wire(router, right_ns, 2, ("right0", "eth0"))
    left_ns.ip(f"route add default via {left0.ipv4}")
    right_ns.ip(f"route add default via {right0.ipv4}")
    flags = ("--interface", "left0", "--interface", "right*", "--interface.exclude", "*9")
    with Exporter(router, *flags) as exporter:
        audit = Audit(exporter, left0, right0)
        iperf(left_ns, right_ns, right.ipv4, "--bytes", "50M")
        metrics = audit.verify()
        left_counted, right_counted = metrics.counted("left0"), metrics.counted("right0")
        assert left_counted.rx_bytes == right_counted.tx_bytes > 40_000_000
        assert left_counted.tx_bytes == right_counted.rx_bytes < 5_000_000
        assert metrics.value("ayaflow_stacked_interfaces") == 0
        assert "level=warning" not in _without_namespace_warning(exporter.log)


def test_a_bridge_and_its_port(network: Network) -> None:
    one_ns, bridge, two_ns = (network.namespace(role) for role in ("one", "bridge", "two"))
    one, port1 = network.wire(one_ns, bridge, 1, ("eth0", "port1"))
    port2, two = network.wire(bridge, two_ns, 2, ("port2", "eth0"))
    bridge.ip("link add br0 type bridge mcast_snooping 0")
    for port in (port1, port2):
        bridge.ip(f"address flush dev {port.device}")
        bridge.ip(f"link set {port.device} master br0")
    bridge.ip("address add 10.3.0.1/24 dev br0")
    bridge.ip("link set br0 up")
    _join(one, "10.3.0.2", bridge.mac("br0"), "10.3.0.1", two, "10.3.0.3")
    bridge.ip(f"neighbour add 10.3.0.2 lladdr {one.mac} dev br0")
    br0 = End(bridge, "br0", "10.3.0.1", "")

    with Exporter(bridge, "--interface", "port1", "--interface", "br0") as exporter:
        audit = Audit(exporter, port1)
        before = br0.statistics()
        iperf(one_ns, two_ns, "10.3.0.3", "--bytes", "20M")
        through = audit.verify()
        assert through.counted("port1").rx_bytes > 10_000_000
        assert through.counted("br0") == Statistics(0, 0, 0, 0), (
            "bridged, not for the bridge itself"
        )

        iperf(one_ns, bridge, "10.3.0.1", "--bytes", "30M")
        metrics, _ = Audit(exporter, port1, br0).reading()
        counted, driver = metrics.counted("br0"), br0.statistics() - before
        assert counted.rx_packets == driver.rx_packets
        # A bridge counts what it receives after the L2 header is taken off.
        assert counted.rx_bytes == driver.rx_bytes + _L2_HEADER * driver.rx_packets > 20_000_000
        assert (counted.tx_packets, counted.tx_bytes) == (driver.tx_packets, driver.tx_bytes)
        audit.verify()
        assert metrics.value("ayaflow_stacked_interfaces") == 2
        warnings = _without_namespace_warning(exporter.log)
        assert warnings.count("level=warning") == 1
        assert "br0 and port1" in warnings


def _join(
    one: End, one_address: str, mac: str, bridge_address: str, two: End, two_address: str
) -> None:
    """Two neighbours in one subnet of the bridge, who know each other."""
    for end, address in ((one, one_address), (two, two_address)):
        end.namespace.ip(f"address flush dev {end.device}")
        end.namespace.ip(f"address add {address}/24 dev {end.device}")
        end.namespace.ip(f"neighbour add {bridge_address} lladdr {mac} dev {end.device}")
    one.namespace.ip(f"neighbour add {two_address} lladdr {two.mac} dev {one.device}")
    two.namespace.ip(f"neighbour add {one_address} lladdr {one.mac} dev {two.device}")


def test_a_mirror_port(network: Network, flood: Flood) -> None:
    """Copies of both directions of a device leave by another; at its end all of them come in."""
    peer_ns, switch, monitor_ns = (network.namespace(role) for role in ("peer", "switch", "mon"))
    peer, tapped = network.wire(peer_ns, switch, 1, ("eth0", "tapped"))
    mirror, monitor = network.wire(switch, monitor_ns, 2, ("mirror", "eth0"))
    switch.tc("qdisc add dev tapped clsact")
    for hook in ("ingress", "egress"):
        switch.tc(
            f"filter add dev tapped {hook} protocol all u32 match u32 0 0"
            " action mirred egress mirror dev mirror"
        )
    with (
        Exporter(switch, "--interface", "mirror") as sending,
        Exporter(monitor_ns, "--interface", "eth0") as receiving,
    ):
        audits = (Audit(sending, mirror), Audit(receiving, monitor))
        flood.send(peer, "--flows", "100", "--count", "20000")
        flood.send(tapped, "--flows", "100", "--count", "10000")
        iperf(peer_ns, switch, tapped.ipv4, "--bytes", "20M")
        sent, received = (audit.verify() for audit in audits)
        total = tapped.statistics()
        egress, ingress = sent.counted("mirror"), received.counted("eth0")
        assert (egress.tx_packets, egress.rx_packets) == (total.rx_packets + total.tx_packets, 0)
        assert (ingress.rx_bytes, ingress.tx_bytes) == (total.rx_bytes + total.tx_bytes, 0)


def test_a_macvlan(network: Network) -> None:
    peer_ns, host_ns = network.namespace("peer"), network.namespace("host")
    peer, host = network.wire(peer_ns, host_ns)
    host_ns.ip("link add mv0 link eth0 type macvlan mode bridge")
    host_ns.ip("address add 10.1.0.9/24 dev mv0")
    host_ns.ip("link set mv0 up")
    peer_ns.ip(f"neighbour add 10.1.0.9 lladdr {host_ns.mac('mv0')} dev eth0")
    host_ns.ip("route add 10.1.0.1/32 dev mv0 src 10.1.0.9")
    host_ns.ip(f"neighbour add 10.1.0.1 lladdr {peer.mac} dev mv0")
    macvlan = End(host_ns, "mv0", "10.1.0.9", "")
    with Exporter(host_ns, "--interface", "eth0", "--interface", "mv0") as exporter:
        audit = Audit(exporter, host)
        before = (macvlan.statistics(), host.statistics())
        iperf(peer_ns, host_ns, "10.1.0.9", "--bytes", "20M", "--bidir")
        audit.verify()
        metrics, _ = Audit(exporter, host, macvlan).reading()
        counted, received = metrics.counted("mv0"), macvlan.statistics() - before[0]
        sent = host.statistics() - before[1]
        assert counted.rx_bytes == received.rx_bytes > 1_000_000
        assert counted.rx_packets == received.rx_packets
        # It always takes super-packets; the device below sends what they become.
        assert (counted.tx_packets, counted.tx_bytes) == (sent.tx_packets, sent.tx_bytes)
        assert metrics.value("ayaflow_stacked_interfaces") == 2
        assert "eth0 and mv0" in exporter.log


def test_both_ends_of_a_veth_pair_are_stacked(network: Network, flood: Flood) -> None:
    host = network.namespace("host")
    near, far = network.wire(host, host, 1, ("near", "far"))
    with Exporter(host, "--interface", "near", "--interface", "far") as exporter:
        audit = Audit(exporter, near, far)
        flood.send(near, "--flows", "10", "--count", "100")
        metrics = audit.verify()
        assert metrics.sum("ayaflow_packets_total") == 200
        assert metrics.value("ayaflow_stacked_interfaces") == 2
        warnings = _without_namespace_warning(exporter.log)
        assert warnings.count("level=warning") == 1
        assert "far and near" in warnings
        check_identity(metrics)
        check_driver(metrics)


def _without_namespace_warning(log: str) -> str:
    """The log without what is said of every exporter that is not in the node's own namespace."""
    return "\n".join(line for line in log.splitlines() if "network namespace" not in line)
