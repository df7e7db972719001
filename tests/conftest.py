"""Tests that need the corpus: where there is none they are not run, and the summary says so aloud.

With AYAFLOW_CORPUS_REQUIRED=1, as .ci/run sets it, they fail instead.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from tests.captures import NoCorpusError

# Before anybody imports them: tests of other folders do so, too.
pytest.register_assert_rewrite(
    *(
        f"tests.e2e.{name}"
        for name in ("exporter_process", "kernel_objects", "metrics", "net", "parts", "tap")
    )
)

_NOT_RUN = "not_run"


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
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
