"""Runs one target after the other, each in a process of its own, as the fuzzer wants it."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".cache" / "fuzz"
NAMES = sorted(path.stem.removeprefix("target_") for path in HERE.glob("target_*.py"))

INPUT_MAX = 65536
"""Bytes: no message that the exporter reads is longer."""
INPUT_SECONDS_MAX = 5


def main() -> int:
    """Exit status: how many targets failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("names", nargs="*", metavar="NAME", help=" ".join(NAMES))
    parser.add_argument("--seconds", type=int, default=600, help="for each (default: 600)")
    parser.add_argument("--folder", type=Path, default=CACHE, help="what was found is kept there")
    parser.add_argument("--blind", action="store_true", help="without atheris: chance alone")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no such target: {' '.join(sorted(unknown))}")
    if not options.blind and not importlib.util.find_spec("atheris"):
        parser.error("atheris is missing: pip install -e '.[fuzz]', or try --blind")
    return sum(
        not _passes(name, options.seconds, options.folder, options.blind)
        for name in options.names or NAMES
    )


def _passes(name: str, seconds: int, folder: Path, blind: bool) -> bool:
    corpus = folder / name
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in importlib.import_module(f"tests.fuzz.target_{name}").seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    module = "tests.fuzz.blind" if blind else "tests.fuzz.one"
    command = [sys.executable, "-m", module, name, str(corpus)]
    command += [f"-max_total_time={seconds}", f"-max_len={INPUT_MAX}"]
    command += [f"-timeout={INPUT_SECONDS_MAX}", f"-artifact_prefix={folder}/{name}-"]
    command += ["-print_final_stats=1"]
    print(f"== {name}: {seconds} s", flush=True)
    return subprocess.run(command, cwd=ROOT).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
