"""A BPF file system of the tests' own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mounted(directory: Path, options: str = "rw") -> Iterator[Path]:
    """Mounts one at *directory*, which it makes."""
    directory.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "bpf", "-o", options, "bpf", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
