"""Starts the exporter in an interpreter that loads nothing of its own accord.

Python runs what `.pth` files and sitecustomize of the machine say before any program, and takes in
PYTHON* variables and the user's own packages. In a process that starts as root that is nothing to
want, and what it loads stays: up to 5 MB. So this replaces the process, with the same id, by an
interpreter with `-I -S`, and hands over where it would have looked for modules.
"""

from __future__ import annotations

import os
import sys

_NAME = "ayaflow-exporter"
"""An option of no effect: what somebody looks for in a list of processes."""

_PATHS = "AYAFLOW_EXPORTER_MODULES"
"""The prefix of the environment and the folders of modules, by colons; only between the two."""


def main() -> int:
    """The command line, isolated if it runs for long; returns the exit code."""
    if _PATHS not in os.environ and _runs(sys.argv[1:]):
        paths = os.pathsep.join((sys.prefix, *filter(None, sys.path)))
        words = [sys.executable, "-I", "-S", "-X", _NAME, __file__, *sys.argv[1:]]
        os.execve(sys.executable, words, {**os.environ, _PATHS: paths})
    from exporter import cli

    return cli.main()


def _runs(words: list[str]) -> bool:
    return not words or words[0] == "run" or words[0].startswith("-")


def _take_over() -> None:
    """In the new interpreter: what the old one said of modules."""
    sys.prefix, *folders = os.environ.pop(_PATHS).split(os.pathsep)
    sys.exec_prefix = sys.prefix
    sys.path[:] = folders
    from exporter import lean

    lean.keep_out()


if __name__ == "__main__":
    if _PATHS in os.environ:
        _take_over()
    from exporter import cli

    sys.exit(cli.main())
