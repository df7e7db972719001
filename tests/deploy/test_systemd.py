"""The systemd unit, by systemd's own check."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

UNIT = Path(__file__).resolve().parents[2] / "systemd" / "ayaflow-exporter.service"
NEEDED = {"BPF", "PERFMON", "NET_ADMIN", "SETUID", "SETGID", "SETPCAP", "CHOWN"}


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    assert analyze, "systemd-analyze is missing: make test-setup installs systemd"
    unit = tmp_path / UNIT.name
    # There is no such program here, and that is all that may be wrong.
    unit.write_text(
        UNIT.read_text().replace("/opt/ayaflow/.venv/bin/ayaflow-exporter", "/bin/true")
    )
    done = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert said == []
    assert done.returncode == 0, done.stderr


def test_it_has_the_capabilities_that_are_needed_and_no_other() -> None:
    (line,) = (
        each for each in UNIT.read_text().splitlines() if each.startswith("CapabilityBoundingSet=")
    )
    assert {each.removeprefix("CAP_") for each in line.partition("=")[2].split()} == NEEDED
