"""Loads the kernel program, once for each table size. Without root or bcc the tests fail."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from exporter.errors import ExporterError
from tests.kernel.harness import Kernel

SMALL_TABLE = 1024
FULL_TABLE = 131_072
"""What the exporter takes for 50,000 flows."""
TINY_TABLE = 64
TINY_RING = mmap.PAGESIZE
PAYLOAD_RING = 1 << 20
TINY_PAYLOAD_RING = 2 * mmap.PAGESIZE


Figures = dict[str, object]
_FIGURES: Figures = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows what the tests measured."""
    for name, figure in _FIGURES.items():
        terminalreporter.write_line(f"{name}: {figure}")


@pytest.fixture
def figures() -> Figures:
    """Figures to show at the end of the session, by name."""
    return _FIGURES


def _load(
    flow_slots: int, ring_bytes: int = 1 << 18, payload_ring_bytes: int = PAYLOAD_RING
) -> Kernel:
    if os.geteuid() != 0:
        pytest.fail("tests/kernel load the kernel program: run them as root (make test does)")
    try:
        return Kernel(flow_slots, ring_bytes, payload_ring_bytes)
    except ExporterError as error:
        pytest.fail(str(error))


def _checked(loaded: Kernel) -> Iterator[Kernel]:
    loaded.reset()
    yield loaded
    loaded.check()


@pytest.fixture(scope="session")
def small_kernel() -> Iterator[Kernel]:
    with closing(_load(SMALL_TABLE)) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def full_kernel() -> Iterator[Kernel]:
    with closing(_load(FULL_TABLE, 1 << 20)) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def tiny_kernel() -> Iterator[Kernel]:
    with closing(_load(TINY_TABLE, TINY_RING, TINY_PAYLOAD_RING)) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def uninspecting_kernel() -> Iterator[Kernel]:
    with closing(_load(SMALL_TABLE, payload_ring_bytes=0)) as loaded:
        yield loaded


@pytest.fixture
def kernel(small_kernel: Kernel) -> Iterator[Kernel]:
    """The program with 1,024 slots. After the test all that was run must be accounted for."""
    yield from _checked(small_kernel)


@pytest.fixture
def full_table(full_kernel: Kernel) -> Iterator[Kernel]:
    """The same with the default size of the table."""
    yield from _checked(full_kernel)


@pytest.fixture
def tiny_table(tiny_kernel: Kernel) -> Iterator[Kernel]:
    """The same with one bucket of 64 slots, and rings of one page and of two."""
    yield from _checked(tiny_kernel)


@pytest.fixture
def uninspecting(uninspecting_kernel: Kernel) -> Iterator[Kernel]:
    """As `kernel`, compiled without the inspection of payloads."""
    yield from _checked(uninspecting_kernel)
