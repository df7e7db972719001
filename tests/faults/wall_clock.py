"""A wall clock that can be stepped under a live process, since no namespace has one of its own."""

from __future__ import annotations

import mmap
import struct
import subprocess
from pathlib import Path


class WallClock:
    """Of the processes that are started with `environment`. As a context, it can be used."""

    def __init__(self, folder: Path) -> None:
        library = folder / "wall_clock.so"
        source = Path(__file__).with_suffix(".c")
        flags = ("-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-std=gnu11")
        subprocess.run(["cc", *flags, "-o", str(library), str(source)], check=True)
        file = folder / "wall_clock"
        file.write_bytes(bytes(8))
        with file.open("r+b") as opened:
            self._step = mmap.mmap(opened.fileno(), 8)
        self.environment = (f"LD_PRELOAD={library}", f"WALL_CLOCK={file}")

    def step(self, seconds: int) -> None:
        """From now on the clock differs so much from the machine's."""
        struct.pack_into("q", self._step, 0, seconds * 1_000_000_000)

    def __enter__(self) -> WallClock:
        return self

    def __exit__(self, *_: object) -> None:
        self._step.close()
