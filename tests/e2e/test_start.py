"""From the start to the first scrape."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.e2e.exporter_process import Audit, Exporter
from tests.e2e.metrics import check_identity
from tests.e2e.net import Network
from tests.e2e.traffic import Flood

_START_S = 5.0
"""What even a busy machine needs less than; an idle one needs a fifth of it."""


def test_it_is_ready_and_shows_the_traffic_of_its_namespace_soon_after_the_start(
    network: Network, flood: Flood, figure: Callable[[str], None]
) -> None:
    peer, host = network.wire(network.namespace("peer"), network.namespace("host"))
    host.namespace.ip(f"route add default via {peer.ipv4}")

    begun = time.monotonic()
    with Exporter(host.namespace) as exporter:
        first = exporter.scrape()
        took = time.monotonic() - begun
        figure(f"{took:.2f} s from start to the first scrape")
        assert took < _START_S
        assert first.label_values("ayaflow_interface_bytes_total", "device") == {"eth0"}
        assert first.value("ayaflow_bytes_total", direction="ingress", domain="unknown") == 0

        audit = Audit(exporter, host)
        flood.send(peer, "--flows", "10", "--count", "1000")
        flood.send(host, "--flows", "10", "--count", "500")
        metrics = audit.verify()
    assert metrics.value("ayaflow_packets_total", direction="ingress", domain="unknown") == 1000
    assert metrics.value("ayaflow_packets_total", direction="egress", domain="unknown") == 500


def test_health_metrics_are_there_from_the_start(network: Network) -> None:
    _, host = network.wire(network.namespace("peer"), network.namespace("host"))
    with Exporter(host.namespace, "--interface", "eth0") as exporter:
        metrics = exporter.scrape()
        check_identity(metrics)
        for direction in ("ingress", "egress"):
            where = {"device": "eth0", "direction": direction}
            assert metrics.value("ayaflow_attached", **where) == 1
            assert metrics.value("ayaflow_programs_before", **where) == 0
            assert metrics.value("ayaflow_flow_table_overflow_packets_total", **where) == 0
            assert metrics.value("ayaflow_interface_driver_packets_total", **where) == 0
        assert metrics.sum("ayaflow_ring_dropped_events_total") == 0
        assert metrics.value("ayaflow_flow_table_limit") == 50000
        assert metrics.value("ayaflow_kernel_memory_bytes") > 1 << 20
        assert metrics.value("ayaflow_stacked_interfaces") == 0
        assert abs(metrics.value("ayaflow_last_fold_timestamp_seconds") - time.time()) < 10
        assert metrics.value("process_resident_memory_bytes") > 1 << 20
        build = metrics.samples("ayaflow_build_info")[0].labels
        assert set(build) == {"version", "revision", "bcc", "kernel"}
        assert all(build.values())
