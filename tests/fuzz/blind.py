"""One target without coverage, where there is no atheris for this Python: mutations by chance.

    python -m tests.fuzz.blind NAME FOLDER -max_total_time=2

Takes the flags of libFuzzer that it knows and prints the one figure that it has as libFuzzer does.
"""

from __future__ import annotations

import importlib
import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

_MUTATIONS_MAX = 4
_SPAN_MAX = 64
_EDGES = (0x00, 0x01, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFE, 0xFF)


def mutated(rng: random.Random, seeds: Sequence[bytes], length_max: int) -> bytes:
    """One of the seeds, changed in a few places."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, _MUTATIONS_MAX)):
        at = rng.randrange(len(data) + 1)
        end = at + rng.randint(0, _SPAN_MAX)
        kind = rng.randrange(6)
        if kind == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            data[at : at + 1] = bytes([rng.choice(_EDGES)])
        elif kind == 2:
            del data[at:end]
        elif kind == 3:
            data[at:at] = data[at:end]
        elif kind == 4:
            other = rng.choice(seeds)
            start = rng.randrange(len(other) + 1)
            data[at:end] = other[start : start + rng.randint(0, _SPAN_MAX)]
        else:
            del data[at:]
    return bytes(data[:length_max])


def attack(
    one_input: Callable[[bytes], None],
    seeds: Sequence[bytes],
    seconds: float,
    length_max: int = 1 << 16,
) -> tuple[int, bytes | None]:
    """Tries the seeds, then mutations of them until the time is up.

    Returns how many inputs were tried, and the one that failed, after saying how.
    """
    rng = random.Random()
    until_s = time.monotonic() + seconds
    tried = 0
    while tried < len(seeds) or time.monotonic() < until_s:
        data = seeds[tried] if tried < len(seeds) else mutated(rng, seeds, length_max)
        tried += 1
        try:
            one_input(data)
        except Exception:
            traceback.print_exc()
            return tried, data
    return tried, None


def main(words: Sequence[str]) -> int:
    """Exit status."""
    name, folder, *flags = words
    options = dict(flag.lstrip("-").split("=", 1) for flag in flags)
    target = importlib.import_module(f"tests.fuzz.target_{name}")
    seeds = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    seconds, length_max = float(options["max_total_time"]), int(options.get("max_len", 1 << 16))
    tried, failed = attack(target.one_input, seeds, seconds, length_max)
    print(f"stat::number_of_executed_units: {tried}")
    if failed is None:
        return 0
    left = Path(options.get("artifact_prefix", "") + "crash-blind")
    left.write_bytes(failed)
    print(f"the input that failed is in {left}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
