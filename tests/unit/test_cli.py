"""The command line: which words do what, and what comes out where they cannot."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter import check_system, cli, lock, version
from exporter.capture import attach
from exporter.config import Config, assemble
from exporter.errors import ExporterError
from exporter.options import OPTIONS

Out = pytest.CaptureFixture[str]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configurations that a run was started with."""
    started: list[Config] = []
    put_pipeline(monkeypatch, lambda flags, values: started.append(assemble(values)))
    return started


def put_pipeline(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[object, dict[str, object]], None]
) -> None:
    module = types.ModuleType("exporter.pipeline")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "exporter.pipeline", module)
    monkeypatch.setattr("exporter.pipeline", module, raising=False)


@pytest.mark.parametrize("words", [[], ["run"]])
def test_run_is_the_default(runs: list[Config], words: list[str]) -> None:
    assert cli.main([*words, "--flows.max", "3"]) == 0
    assert [config.flows.max for config in runs] == [3]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["start"],
            "start: is no command; there are run, check-config, check-system, backfill, detach",
        ),
        (
            ["--flows.maxx", "1"],
            "--flows.maxx: is no flag of this version; the closest is --flows.max",
        ),
        (["--flow", "1"], "--flow: is no flag"),
        (["--flows.max"], "--flows.max: expected one argument"),
        (["--flows.max", "none"], "--flows.max: must be a whole number from 1 to 4000000"),
        (["--log.level", "debug", "detach"], "detach: is no command and no flag"),
        (["-v"], "-v: is no flag"),
        (["check-config"], "the following arguments are required: FILE"),
        (["check-config", "a", "b"], "unrecognized arguments: b"),
        (["check-system", "--all"], "unrecognized arguments: --all"),
        (["detach", "eth0"], "unrecognized arguments: eth0"),
    ],
)
def test_words_that_make_no_command_line_are_one_sentence_and_exit_2(
    runs: list[Config], capsys: Out, words: list[str], problem: str
) -> None:
    assert cli.main(words) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith(f"ayaflow-exporter: {problem}")
    assert written.err.count("\n") == 1
    assert not runs


def test_what_cannot_be_done_is_one_sentence_and_exit_1(
    monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    def fail(*_: object) -> None:
        raise ExporterError("the port is taken: choose another")

    put_pipeline(monkeypatch, fail)
    assert cli.main([]) == 1
    assert capsys.readouterr().err == "ayaflow-exporter: the port is taken: choose another\n"


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    put_pipeline(monkeypatch, interrupt)
    assert cli.main([]) == 130
    assert capsys.readouterr().err == ""


def test_help_shows_every_option(capsys: Out) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for option in OPTIONS:
        assert f"  {option.flag}" in text
        default = option.default if isinstance(option.default, str) else "".join(option.default)
        assert default in text.replace(" ", "").replace("\n", "") or not option.metavar
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("command", ["check-config", "check-system", "detach"])
def test_each_command_has_help(capsys: Out, command: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: ayaflow-exporter {command}")


def test_version_is_as_prometheus_exporters_show_it(capsys: Out) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert re.fullmatch(
        r"ayaflow-exporter, version \d+\.\d+\.\d+ \(revision: \w+\)\n"
        r"  python version:  \d+\.\d+\.\d+\n"
        r"  platform:        linux/\w+\n",
        capsys.readouterr().out,
    )


def test_check_config_says_ok(tmp_path: Path, capsys: Out) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("flows: {max: 5}\n")
    assert cli.main(["check-config", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{file}: ok"]


def test_check_config_says_file_line_and_key(tmp_path: Path, capsys: Out) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("flows:\n  max: many\n")
    assert cli.main(["check-config", str(file)]) == 1
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err == (
        f"ayaflow-exporter: {file}:2: flows.max: must be a whole number from 1 to 4000000,"
        ' not "many"\n'
    )


@pytest.mark.parametrize(
    ("removed", "shown"),
    [
        (["eth0: removed 2 filters"], "eth0: removed 2 filters\n"),
        ([], "nothing was left attached\n"),
    ],
)
def test_detach_says_what_it_removed(
    monkeypatch: pytest.MonkeyPatch, capsys: Out, tmp_path: Path, removed: list[str], shown: str
) -> None:
    asked: list[str] = []

    def remove_filters() -> list[str]:
        asked.append("filters")
        return removed

    monkeypatch.setattr(lock, "hold", contextlib.nullcontext)
    monkeypatch.setattr(attach, "remove_filters", remove_filters)
    assert cli.main(["detach", "--pin.path", str(tmp_path)]) == 0
    assert capsys.readouterr().out == shown
    assert asked == ["filters"], "a directory without pins is left alone"


def test_detach_takes_only_a_directory(capsys: Out) -> None:
    assert cli.main(["detach", "--pin.path", "x"]) == 2
    assert "--pin.path: must be none or the absolute path" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError(1, "Operation not permitted"), "detaching is not permitted"),
        (OSError(5, "Input/output error"), "detaching fails"),
    ],
)
def test_what_cannot_be_detached_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: Out, error: OSError, sentence: str
) -> None:
    def refuse() -> list[str]:
        raise error

    monkeypatch.setattr(lock, "hold", contextlib.nullcontext)
    monkeypatch.setattr(attach, "remove_filters", refuse)
    assert cli.main(["detach", "--pin.path", "none"]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 1])
def test_check_system_gives_its_exit_code(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(check_system, "main", lambda: code)
    assert cli.main(["check-system"]) == code


def test_python_m_exporter_is_the_same() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "exporter", "flows"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2
    assert answer.stderr.startswith("ayaflow-exporter: flows: is no command")


def test_a_reader_that_has_gone_is_no_traceback(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "exporter", "check-config", str(file)],
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writer)
    assert (answer.returncode, answer.stderr) == (1, b"")


def test_a_start_imports_nothing_heavy_before_it_knows_what_to_do() -> None:
    answer = subprocess.run(
        [sys.executable, "-I", "-c", "import exporter.cli, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"bcc", "ctypes", "http", "logging", "prometheus_client", "socket", "yaml"}
    assert not heavy & set(answer.stdout.split())


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put_git(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        file = folder / ".git" / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder / "exporter"


@pytest.mark.parametrize(
    "files",
    [
        {"HEAD": COMMIT},
        {"HEAD": "ref: refs/heads/main\n", "refs__heads__main": COMMIT + "\n"},
        {"HEAD": "ref: refs/heads/main\n", "packed-refs": f"# pack\n{COMMIT} refs/heads/main\n"},
    ],
)
def test_the_revision_is_read_from_a_checkout(tmp_path: Path, files: dict[str, str]) -> None:
    assert version.revision(put_git(tmp_path, **files)) == COMMIT


def test_the_revision_of_an_image_is_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "exporter").mkdir()
    (tmp_path / "exporter" / "REVISION").write_text(COMMIT + "\n")
    assert version.revision(tmp_path / "exporter") == COMMIT


@pytest.mark.parametrize("files", [{}, {"HEAD": "ref: refs/heads/gone\n"}, {"HEAD": ""}])
def test_the_revision_may_be_unknown(tmp_path: Path, files: dict[str, str]) -> None:
    assert version.revision(put_git(tmp_path, **files)) == "unknown"
