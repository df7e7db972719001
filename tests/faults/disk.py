"""A small disk of the suite's own, which can be full."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = "16m"
_BLOCK = bytes(4096)


@contextmanager
def mounted(directory: Path) -> Iterator[Path]:
    """Mounts one at *directory*, which it makes."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(directory)]
    subprocess.run(command, check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(ballast: Path) -> None:
    """Writes a file until nothing fits on its disk any more."""
    with ballast.open("ab", buffering=0) as file:
        try:
            while True:
                os.write(file.fileno(), _BLOCK)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
