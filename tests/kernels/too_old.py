"""On a kernel that is too old: run by the kernel matrix, in a guest with Debian 11's."""

from __future__ import annotations

import os
import subprocess
import sys


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "exporter", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_check_system_says_first_that_the_kernel_is_too_old() -> None:
    done = _run("check-system")
    kernel = os.uname()
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == (
        f"FAIL kernel: {kernel.release} on {kernel.machine} is too old: 5.15 or later is needed"
    )
    assert "Traceback" not in done.stderr


def test_a_start_says_so_in_one_sentence() -> None:
    done = _run("run", "--interface", "lo")
    assert done.returncode == 1
    assert done.stdout == ""
    kernel = os.uname()
    assert done.stderr == (
        f"ayaflow-exporter: the kernel {kernel.release} on {kernel.machine} is too old:"
        " 5.15 or later is needed\n"
    )
