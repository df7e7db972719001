"""A short run of each fuzzing target: by coverage where atheris is installed, by chance elsewhere.

`make test-setup` installs atheris where there is a build of it for this Python.
"""

from __future__ import annotations

import importlib.util
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import blind, target_hostname
from tests.fuzz.__main__ import NAMES, ROOT
from tests.fuzz.blind import attack, mutated

HAS_ATHERIS = importlib.util.find_spec("atheris") is not None
SECONDS = 1
EXECUTIONS_MIN = 100
COVERED_MIN = 10
"""Edges of a parser; without instrumentation there is not one."""
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """All of them at once: each waits for its clock more than for a processor."""
    folder = tmp_path_factory.mktemp("fuzz")
    runs = {name: Run(name, folder) for name in NAMES}
    yield runs
    for run in runs.values():
        run.process.kill()
        run.process.wait()


class Run:
    """A target's run, on its way."""

    def __init__(self, name: str, folder: Path) -> None:
        self._output = folder / f"{name}.log"
        words = ["--seconds", str(SECONDS), "--folder", str(folder), name]
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz", *words, *([] if HAS_ATHERIS else ["--blind"])],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def output(self) -> str:
        """What it said, when it has found nothing."""
        code = self.process.wait(TIMEOUT_S)
        said = self._output.read_text(errors="replace")
        assert code == 0, said
        return said


@pytest.mark.parametrize("name", NAMES)
def test_a_short_run_finds_nothing(name: str, started: dict[str, Run]) -> None:
    said = started[name].output()
    (executions,) = re.findall(r"number_of_executed_units: (\d+)", said)
    assert int(executions) > EXECUTIONS_MIN
    if HAS_ATHERIS:
        assert max(map(int, re.findall(r"cov: (\d+)", said))) > COVERED_MIN


def test_what_fails_is_told_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The targets' own checks are in force: one of them is broken on purpose."""
    monkeypatch.setattr(target_hostname, "is_ip_literal", lambda raw: True)
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    (seeds / "one").write_bytes(b"www.example.org")
    flags = ("-max_total_time=5", f"-artifact_prefix={tmp_path}/hostname-")
    assert blind.main(["hostname", str(seeds), *flags]) == 1
    assert "AssertionError" in capsys.readouterr().err
    assert (tmp_path / "hostname-crash-blind").read_bytes() == b"www.example.org"


def test_chance_finds_what_is_near_the_seeds() -> None:
    def fails_on_a_long_label(data: bytes) -> None:
        assert data[:1] < b"\x40"

    tried, failed = attack(fails_on_a_long_label, [b"\x03www", b"\x01a"], seconds=60)
    assert failed is not None
    assert failed[0] >= 0x40
    assert tried > 2


def test_mutations_keep_to_the_longest_input() -> None:
    rng = random.Random(1)
    made = [mutated(rng, [b"", bytes(100)], 50) for _ in range(1000)]
    assert max(map(len, made)) == 50
    assert len(set(made)) > 100
