"""Every flag, key, metric, endpoint, alert and command in the documents exists, and the reverse."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from exporter import cli
from exporter.names.attribution import SOURCES
from exporter.options import CONFIG_FILE, HEALTHY_PATH, OPTIONS, READY_PATH, flag_of
from exporter.outputs.descriptions import ENTRIES

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]

METRICS = {
    "ayaflow_build_info",
    *(entry.name + "_total" * (entry.kind == "counter") for entry in ENTRIES),
}
FLAGS = {name for option in OPTIONS for name in (option.flag, flag_of(option.key))} | {
    *("--no-" + option.flag[2:] for option in OPTIONS if not option.metavar),
    *(flag_of(CONFIG_FILE), "--help", "--version", "--since", "--until"),
}
OTHERS_FLAGS = re.compile(
    r"--(namespace|create-namespace|build|network|read-only|cap-drop|cap-add|now)\b"
    r"|--(seconds|seed|rounds|only|page)\b"
)
"""Of helm, docker, systemctl and benches, which the documents show in use."""


def section(title: str) -> str:
    """A section of the README, without those below it."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section {title}"
    return found[1]


def first_column(text: str) -> list[str]:
    """What is in backquotes in the first column of a section's tables."""
    return [
        word
        for line in text.splitlines()
        if line.startswith("| ")
        for word in re.findall(r"`([^`]+)`", line.split(" | ")[0])
    ]


def test_the_table_of_flags_is_the_table_of_options() -> None:
    listed = [word for word in first_column(section("Configuration")) if word.startswith("--")]
    assert len(listed) == len(set(listed))
    assert set(listed) == {option.flag for option in OPTIONS} | {flag_of(CONFIG_FILE)}


def test_the_defaults_are_those_of_the_options() -> None:
    rows = {
        cells[0].strip(" |`"): cells[1].strip()
        for line in section("Configuration").splitlines()
        if line.startswith("| `--") and "`, `" not in line.split(" | ")[0]
        for cells in [line.split(" | ")]
    }
    for option in OPTIONS:
        shown = rows.get(option.flag)
        if shown is None or not shown.startswith("`"):
            continue
        default = " ".join(option.default) if option.repeatable else str(option.default)
        assert shown == f"`{default}`", option.flag


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_flag_in_the_documents_exists(document: Path) -> None:
    found = set(re.findall(r"(?<![\w-])--[a-z][a-z._-]*[a-z]", document.read_text()))
    assert {flag for flag in found if not OTHERS_FLAGS.match(flag)} <= FLAGS


def test_the_table_of_metrics_is_what_is_exported() -> None:
    names = ("ayaflow_", "process_")
    listed = [word for word in first_column(section("Metrics")) if word.startswith(names)]
    assert len(listed) == len(set(listed))
    assert set(listed) == METRICS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_metric_in_the_documents_exists(document: Path) -> None:
    found = set(re.findall(r"\bayaflow_[a-z_]+[a-z]", document.read_text()))
    assert found <= METRICS | {metric.removesuffix("_total") for metric in METRICS}


def test_labels_of_metrics_are_in_the_table() -> None:
    rows = {
        name: line.split("|")[2]
        for line in section("Metrics").splitlines()
        if line.startswith("| ")
        for name in re.findall(r"`((?:ayaflow|process)_\w+)`", line.split("|")[1])
    }
    for entry in ENTRIES:
        shown = rows[entry.name + "_total" * (entry.kind == "counter")]
        assert tuple(re.findall(r"\w+", shown)) == entry.labels, entry.name


def test_endpoints() -> None:
    assert set(first_column(section("Endpoints"))) == {"/metrics", "/", HEALTHY_PATH, READY_PATH}


def test_sources_of_names() -> None:
    assert set(first_column(section("How a flow gets its domain"))) == set(SOURCES)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_alert_and_make_target_in_the_documents_exists(document: Path) -> None:
    text = document.read_text()
    rules = yaml.safe_load((ROOT / "dashboards/rules.yaml").read_text())
    alerts = {rule.get("alert") for group in rules["groups"] for rule in group["rules"]}
    assert set(re.findall(r"\bAyaflow[A-Z]\w+", text)) <= alerts
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, re.MULTILINE))
    assert shown <= targets


def test_commands() -> None:
    for command in cli._COMMANDS:
        assert command == "run" or f"ayaflow-exporter {command}" in README
    assert set(re.findall(r"ayaflow-exporter ([a-z][a-z-]+)\b", README)) <= set(cli._COMMANDS)


def test_files_that_are_named_exist() -> None:
    for document in DOCUMENTS:
        for link in re.findall(r"\]\((?!http)([^)#]+)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def messages() -> list[str]:
    """Every text in the code, with an ellipsis for what is put in."""
    found = []
    for file in (ROOT / "exporter").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    str(part.value) if isinstance(part, ast.Constant) else "..."
                    for part in node.values
                ]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%[sd]|%\.0f", "...", node.value))
    return found


def test_every_message_in_troubleshooting_is_one_of_the_exporter() -> None:
    texts = messages()
    shown = [
        words
        for words in first_column(section("Troubleshooting, by message"))
        if not words.startswith("ayaflow") and words != "unknown"
    ]
    assert len(shown) > 10
    assert [words for words in shown if not any(words in text for text in texts)] == []
