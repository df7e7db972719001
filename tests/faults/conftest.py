"""How long, and in which order: `--seconds` and `--seed`, where this folder is named to pytest."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.e2e.conftest import _tools, flood, network

__all__ = ["_tools", "flood", "network"]

SECONDS = 600.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seconds", type=float, default=SECONDS, help="of mixed faults, about")
    parser.addoption("--seed", type=int, default=None, help="of all that is left to chance")


@pytest.fixture
def rng(request: pytest.FixtureRequest, figure: Callable[[str], None]) -> random.Random:
    """Its seed is said, so that a run can be had again."""
    given: int | None = request.config.getoption("--seed", None)
    seed = random.SystemRandom().randrange(1 << 32) if given is None else given
    figure(f"--seed {seed}")
    print(f"--seed {seed}")
    return random.Random(seed)


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--seconds", SECONDS))
