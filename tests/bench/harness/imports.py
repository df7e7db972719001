"""What the interpreter takes that has imported what the exporter does, and does nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from exporter import isolated
from tests.bench.harness.lab import Lab
from tests.e2e.exporter_process import ROOT, Exporter

_PATHS = os.pathsep.join((str(ROOT), *filter(None, sys.path)))
_LOGGED = "import time:"

_IMPORT_AND_WAIT = """
import importlib, os, sys
sys.path[:] = sys.argv[1].split(os.pathsep)
for name in sys.stdin.readline().split():
    try:
        importlib.import_module(name)
    except ImportError:
        pass
from exporter.memory import give_back
give_back()
print(flush=True)
sys.stdin.readline()
"""


class Traced(Exporter):
    """Says on standard error what its serving process imports."""

    def command(self, *flags: str) -> tuple[str, ...]:
        given = f"{isolated._PATHS}={sys.prefix}{os.pathsep}{_PATHS}"
        python = (sys.executable, "-I", "-S", "-X", "importtime")
        return ("env", given, *python, isolated.__file__, *flags)


@contextmanager
def imports_alone(lab: Lab) -> Iterator[int]:
    """The id of a process that has the serving process's modules, in the order of its imports."""
    words = [sys.executable, "-I", "-S", "-c", _IMPORT_AND_WAIT, _PATHS]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, text=True, stdin=pipe, stdout=pipe) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(" ".join(_imported(lab)) + "\n")
        process.stdin.flush()
        process.stdout.readline()
        yield process.pid
        process.stdin.write("\n")


def _imported(lab: Lab) -> list[str]:
    """What a start and a scrape import."""
    traced = lab.new_exporter(kind=Traced)
    try:
        traced.start()
        traced.wait_ready()
        traced.scrape()
        log = traced.log
    finally:
        traced.close()
    rows = [row for row in log.splitlines() if row.startswith(_LOGGED)]
    return [row.rpartition("|")[2].strip() for row in rows[1:]]  # the first is a heading
