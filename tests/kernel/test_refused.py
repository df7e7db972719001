"""Where a verifier refuses the program: payloads are given up; a second refusal is explained."""

from __future__ import annotations

import os
from typing import Any

import pytest

from exporter.capture.loader import source_dir
from tests.unit.child import answer_of

CHILD = """
import contextlib, json, os, sys
from exporter.capture import loader
from exporter.errors import ExporterError

refusals, source = json.loads(sys.argv[1])
os.environ["BCC_KERNEL_SOURCE"] = source + "/shim"
load_both = loader.load_both
tried = []

def refusing(instructions):
    tried.append(len(instructions))
    if len(tried) > refusals:
        return load_both(instructions)
    return load_both(instructions.replace(bytes((0x95, 0, 0, 0, 0, 0, 0, 0)), bytes(8)))

loader.load_both = refusing
settings = loader.LoaderSettings(1024, 2, os.cpu_count(), 4096, 4096)
with contextlib.redirect_stdout(sys.stderr):
    try:
        found = len(loader._load(settings, loader.Path(source), "")[1])
    except ExporterError as error:
        found = str(error)
print(json.dumps([found, len(tried)]))
"""


def load(refusals: int) -> Any:
    """How many descriptors there are, or the error; and how often it was tried."""
    return answer_of(CHILD, [refusals, str(source_dir())])


@pytest.mark.parametrize(("refusals", "descriptors"), [(0, 9), (1, 8)])
def test_payloads_are_given_up_where_the_program_is_refused(
    refusals: int, descriptors: int
) -> None:
    assert os.geteuid() == 0
    assert load(refusals) == [descriptors, refusals + 1]


def test_the_last_refusal_is_one_sentence_with_the_verifiers_reason() -> None:
    error, tried = load(2)
    assert tried == 2
    assert "the kernel program cannot be loaded (monitor_ingress: Invalid argument: " in error
    assert "processed" not in error
    assert error.count("\n") == 0
