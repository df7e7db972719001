"""Tests that need the corpus: where there is none they are not run, and the summary says so aloud.

With AYAFLOW_CORPUS_REQUIRED=1, as .ci/run sets it, they fail instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest
from hypothesis import settings

from tests.captures import NoCorpusError

# On a busy machine everything may take long.
settings.register_profile("without a deadline", deadline=None)
settings.load_profile("without a deadline")

# Before anybody imports them: tests of other folders do so, too.
pytest.register_assert_rewrite(
    *(
        f"tests.e2e.{name}"
        for name in ("exporter_process", "kernel_objects", "metrics", "net", "parts", "tap")
    ),
    *(f"tests.faults.{name}" for name in ("catalogue", "node", "watch")),
)

_NOT_RUN = "not_run"
_FIGURE = "figure"
_WITHOUT_PARTS = "without_parts"
_without_parts: set[str] = set()
"""Tests that were left out because their parts have to be built."""


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Says a figure that was measured; all of them are shown after the tests."""
    name = request.node.name
    return lambda text: request.node.user_properties.append((_FIGURE, f"{name}: {text}"))


def _unless_there_is_no_corpus(item: pytest.Item) -> Generator[None, object, object]:
    try:
        return (yield)
    except NoCorpusError as missing:
        if os.environ.get("AYAFLOW_CORPUS_REQUIRED") == "1":
            raise
        item.user_properties.append((_NOT_RUN, str(missing)))
        pytest.skip(str(missing))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Where a fixture reads the corpus."""
    return (yield from _unless_there_is_no_corpus(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Where a test reads it."""
    return (yield from _unless_there_is_no_corpus(item))


def _tell_what_was_not_run(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for all of them."""
    not_run = [
        str(text)
        for report in terminalreporter.getreports("skipped")
        for name, text in report.user_properties
        if name == _NOT_RUN
    ]
    if not_run:
        why = not_run[0]
        terminalreporter.section("THE CORPUS IS MISSING", sep="!", red=True, bold=True)
        terminalreporter.write_line(
            f"{len(not_run)} tests were NOT RUN: {why}; nothing else shows what they prove",
            red=True,
        )


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    _without_parts.update(item.nodeid for item in items if item.get_closest_marker("parts"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist tells what it knows."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_WITHOUT_PARTS] = sorted(_without_parts)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _without_parts.update(getattr(node, "workeroutput", {}).get(_WITHOUT_PARTS, ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    _tell_what_was_not_run(terminalreporter)
    figures = [
        text
        for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
        for name, text in report.user_properties
        if name == _FIGURE and report.when == "call"
    ]
    if figures:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.write_line(line)
    if _without_parts:
        terminalreporter.write_line(
            f"{len(_without_parts)} tests with a real Prometheus 3 or Collector were left out: "
            "make test-parts runs them"
        )
