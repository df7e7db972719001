"""Fixtures of the end-to-end tests. A tool that is missing fails them: a skip would hide it."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.net import Network
from tests.e2e.traffic import Flood

TOOLS = (
    *("bpftool", "cc", "curl", "dnsmasq", "ethtool", "ip", "iperf3", "nft", "nginx", "openssl"),
    *("setpriv", "sysctl", "tc"),
)

_numbers = itertools.count()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes minutes; run with -m slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests run only when they are asked for."""
    if "slow" in config.option.markexpr:
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope="session", autouse=True)
def _tools() -> None:
    assert os.geteuid() == 0, "the end-to-end tests make network namespaces: run them as root"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    assert not missing, f"install {', '.join(missing)}: make test-setup does"


@pytest.fixture
def network(_tools: None) -> Iterator[Network]:
    """Namespaces that are this test's own, deleted after it."""
    made = Network(f"ayaflow-{os.getpid()}-{next(_numbers)}")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def flood(_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Flood:
    """The packet generator, compiled."""
    return Flood(_compiled("flood", tmp_path_factory))


@pytest.fixture(scope="session")
def name_flood(_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Flood:
    """The generator of names, compiled."""
    return Flood(_compiled("name_flood", tmp_path_factory))


def _compiled(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = Path(__file__).parent / f"{name}.c"
    program = tmp_path_factory.mktemp(name) / name
    subprocess.run(
        ["cc", "-O2", "-Wall", "-Werror", "-std=gnu11", "-o", str(program), str(source)], check=True
    )
    return program
