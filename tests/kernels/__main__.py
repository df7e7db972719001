"""The kernel matrix: a guest for each row, booted one after the other by `boot`; prints a table.

`make test-kernels`. Arguments: the rows to run, by their suites (`bookworm`); none: all. The exit
code is 1 if a row fails. What each guest printed is left in the folder of the cache.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_CACHE = _HERE.parents[1] / ".cache/kernels"
_LIMIT_S = 3600
_PATIENCE = 20
"""How many times as long as on a real machine what tests wait for may take."""

_TAKEOVER = "test_a_start_that_takes_over_loses_and_repeats_nothing"
_EXACT = "test_sigterm_leaves_nothing"

_LEFT_OUT = {
    "test_corpus.py": "what captures hold is parsed the same by every kernel",
    "test_corpus_bytes.py": "the same",
    "test_corpus_names.py": "the same",
    "test_pins.py": "100 loads take an hour; the one of its tests that all others build on is run",
    "test_refused.py": "verifiers that refuse are made up there; here are real ones",
}
"""Files of tests/kernel that are not run in guests, and why."""


def _counting(mode: str) -> str:
    """The tests of a kernel that the exporter runs on, attached by *mode*."""
    files = sorted(each.name for each in (_HERE.parent / "kernel").glob("test_*.py"))
    return " ".join(
        [
            *(f"tests/kernel/{name}" for name in files if name not in _LEFT_OUT),
            f"'tests/kernel/test_pins.py::{_TAKEOVER}[{mode}]'",
            f"'tests/e2e/test_attach.py::{_EXACT}[{mode}]'",
        ]
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One guest, and what is to pass there."""

    suite: str
    """Of Debian, whose kernel it is."""
    mode: str
    """How the exporter attaches; empty where the kernel is too old for it."""
    tests: str
    """As pytest takes them."""
    architecture: str = "amd64"
    parameters: str = ""
    """Of the kernel."""


_ROWS = (
    Row("bullseye", "", "tests/kernels/too_old.py"),
    Row("bookworm", "clsact", _counting("clsact")),
    Row("trixie", "tcx", _counting("tcx")),
    Row("trixie", "tcx", "tests/kernels/locked_down.py", parameters="lockdown=confidentiality"),
    Row("trixie-backports", "tcx", _counting("tcx")),
    Row("trixie", "tcx", _counting("tcx"), architecture="arm64"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a row."""

    release: str
    counts: str
    seconds: float
    passed: bool


def _run(row: Row) -> Outcome:
    pytest = "python3 -m pytest -q --color no --durations 15"
    command = f"uname -r; AYAFLOW_TEST_PATIENCE={_PATIENCE} {pytest} {row.tests}"
    boot = [str(_HERE / "boot"), str(_CACHE), row.suite, row.architecture, command, row.parameters]
    name = "-".join(filter(None, (row.suite, row.architecture, row.parameters.replace("=", "-"))))
    log = _CACHE / f"{name}.log"
    _CACHE.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("wb") as output:
        done = subprocess.run(
            ["timeout", str(_LIMIT_S), *boot], stdout=output, stderr=output, check=False
        )
    seconds = time.monotonic() - started
    said = log.read_text(errors="replace")
    if done.returncode != 0:
        print(f"{said}\n{log}: exit code {done.returncode}", file=sys.stderr)
    release = re.search(r"^\d+\.\d+\S*$", said, re.M)
    counts = re.search(r"^=* ?(\d+ (?:passed|failed).*?) in ", said, re.M)
    return Outcome(
        release[0] if release else f"{row.suite}'s",
        counts[1] if counts else "none",
        seconds,
        done.returncode == 0 and counts is not None,
    )


def main(wanted: list[str]) -> int:
    """Runs the rows, and prints each when it is done."""
    print(
        "| kernel | architecture | attached by | tests | seconds |\n| --- | --- | --- | --- | --- |"
    )
    failed = False
    for row in _ROWS:
        if wanted and row.suite not in wanted:
            continue
        outcome = _run(row)
        failed |= not outcome.passed
        kernel = " ".join(filter(None, (outcome.release, row.parameters)))
        counts = outcome.counts if outcome.passed else f"FAILED: {outcome.counts}"
        print(
            f"| {kernel} | {row.architecture} | {row.mode or 'refused'} | {counts}"
            f" | {outcome.seconds:.0f} |",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
