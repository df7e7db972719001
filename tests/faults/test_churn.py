"""A day's flows in minutes: each packet opens a flow, and memory stays as it is."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from tests.e2e.exporter_process import Audit, Exporter
from tests.e2e.net import Network
from tests.e2e.traffic import Flood

FLOWS = 20_000_000
PPS = 100_000
"""More than can pass through the table: what finds no room is counted without an entry."""
WARM = 0.25
"""By then all of the table was used, many times."""
RSS_RATIO = 1.05
_RELEASED = re.compile(r"stopped; (\d+) flows have come and gone")


@pytest.mark.faults
def test_memory_is_flat_under_the_flows_of_a_day(
    network: Network, flood: Flood, figure: Callable[[str], None]
) -> None:
    peer, host = network.wire(network.namespace("peer"), network.namespace("host"))
    flags = ("--interface", "eth0", "--flows.idle-timeout", "300ms")
    with Exporter(host.namespace, *flags) as exporter:
        audit = Audit(exporter, host)
        rate = ("--pps", str(PPS), "--count", str(FLOWS))
        sender = flood.start(peer, "--source", "16.0.0.0", *rate)
        warm_mb = highest_mb = 0.0
        while sender.poll() is None:
            seen = exporter.scrape().counted("eth0").rx_packets
            highest_mb = max(highest_mb, exporter.memory_mb())
            if seen < WARM * FLOWS:
                warm_mb = highest_mb
            time.sleep(0.2)
        sent = flood.sent(sender)
        metrics = audit.verify()
        assert metrics.sum("ayaflow_packets_total", direction="ingress") == sent.flows == FLOWS
        last_mb = exporter.memory_mb()
        exporter.stop()
        released = _RELEASED.search(exporter.log)
        assert released, exporter.log
        figure(
            f"{FLOWS:,} flows in {sent.seconds:.0f} s, {int(released[1]):,} of them through the"
            f" table; RSS at most {warm_mb:.1f} MiB in the first quarter, {highest_mb:.1f} in all,"
            f" {last_mb:.1f} at the end"
        )
        assert highest_mb <= RSS_RATIO * warm_mb
