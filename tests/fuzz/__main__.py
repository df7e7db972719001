"""Runs one target after the other, each in a process of its own, as the fuzzer wants it."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "fuzz"

INPUT_MAX = 65536
"""Bytes: no message that the exporter reads is longer."""
INPUT_SECONDS_MAX = 5


def main() -> int:
    """Exit status: how many targets failed."""
    names = sorted(path.stem.removeprefix("target_") for path in HERE.glob("target_*.py"))
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("names", nargs="*", metavar="NAME", help=" ".join(names))
    parser.add_argument("--seconds", type=int, default=600, help="for each (default: 600)")
    options = parser.parse_args()
    unknown = set(options.names) - set(names)
    if unknown:
        parser.error(f"no such target: {' '.join(sorted(unknown))}")
    return sum(not _passes(name, options.seconds) for name in options.names or names)


def _passes(name: str, seconds: int) -> bool:
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    for seed in importlib.import_module(f"tests.fuzz.target_{name}").seeds():
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    command = [sys.executable, "-m", "tests.fuzz.one", name, str(folder)]
    command += [f"-max_total_time={seconds}", f"-max_len={INPUT_MAX}"]
    command += [f"-timeout={INPUT_SECONDS_MAX}", f"-artifact_prefix={CACHE}/{name}-"]
    command += ["-print_final_stats=1"]
    print(f"== {name}: {seconds} s", flush=True)
    return subprocess.run(command, cwd=HERE.parents[1]).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
