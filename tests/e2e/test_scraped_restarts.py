"""A real Prometheus scrapes the exporter over restarts, and its `increase()` is what was sent."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.exporter_process import PORT, Exporter
from tests.e2e.net import End, Network
from tests.e2e.parts import PROMETHEUS_3
from tests.e2e.prometheus_server import CREATED_TIMESTAMPS, Prometheus, check_increase, scrape
from tests.e2e.traffic import Flood
from tests.e2e.waiting import wait_until

SCRAPE_S = 0.5
DOMAIN = '{direction="ingress",domain="unknown"}'
DEVICE = '{direction="ingress",device="eth0"}'


@pytest.fixture
def ends(network: Network) -> tuple[End, End]:
    """(peer, host) on a wire without offloads; the exporter counts on the host's end."""
    return network.wire(network.namespace("peer"), network.namespace("host"))


@pytest.mark.parts
@pytest.mark.parametrize("flags", [(), CREATED_TIMESTAMPS], ids=["plain", "created-timestamps"])
def test_increase_over_stops_and_kills_is_what_was_sent(
    flags: tuple[str, ...], ends: tuple[End, End], flood: Flood, tmp_path: Path
) -> None:
    peer, host = ends
    configuration = scrape(f"127.0.0.1:{PORT}", SCRAPE_S)
    folder = tmp_path / "prometheus"
    packets = wire_bytes = 0
    since_s = time.time()

    def shown() -> bool:
        return bool(prometheus.query(f"ayaflow_packets_total{DOMAIN} == {packets}"))

    with Prometheus(
        PROMETHEUS_3, folder, configuration, *flags, namespace=host.namespace
    ) as prometheus:
        for end in ("stopped", "killed", "stopped", "killed", "seen"):
            with Exporter(
                *(host.namespace, "--interface", "eth0"),
                *("--history.path", str(tmp_path / "history.db")),
            ) as exporter:
                wait_until(shown, timeout_s=30)
                for flows in ("100", "3000"):
                    sent = flood.send(peer, "--flows", flows, "--count", "7000")
                    packets += sent.packets
                    wire_bytes += sent.bytes
                if end == "stopped":  # nobody has seen yet what was counted
                    continue
                wait_until(shown, timeout_s=30)
                if end == "killed":
                    exporter.kill()
                    continue
                now_s = time.time()
                for stem, labels in (("", DOMAIN), ("interface_", DEVICE)):
                    for unit, truth in (("packets", packets), ("bytes", wire_bytes)):
                        series = f"ayaflow_{stem}{unit}_total{labels}"
                        check_increase(prometheus, series, truth, since_s - 5, now_s)
        assert prometheus.value("min_over_time(up[5m])") == 0, "no restart was noticed"
