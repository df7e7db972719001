"""Under kernel lockdown, and with each setting of unprivileged bpf: run by the kernel matrix."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.exporter_process import Audit, Exporter
from tests.e2e.net import Network
from tests.e2e.traffic import Flood

_SETTING = Path("/proc/sys/kernel/unprivileged_bpf_disabled")


def test_check_system_says_the_lockdown_and_loads_all_the_same() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "exporter", "check-system"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert "ok   lockdown: confidentiality" in said
    assert [line for line in said if line.startswith("ok   programs: compiled by")]


@pytest.mark.parametrize("setting", ["0", "2", "1"])  # from 1 there is no way back
def test_it_counts_to_the_byte_whatever_is_left_to_the_unprivileged(
    network: Network,
    flood: Flood,
    setting: str,
) -> None:
    _SETTING.write_text(setting)
    peer, host = network.wire(network.namespace("peer"), network.namespace("host"))
    with Exporter(host.namespace, "--interface", "eth0") as exporter:
        audit = Audit(exporter, host)
        flood.send(peer, "--flows", "10", "--count", "1000")
        audit.verify()
