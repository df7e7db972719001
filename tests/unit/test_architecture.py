"""The rules that keep the code readable: which way imports point, and how large a file may be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import exporter

PACKAGE = Path(exporter.__path__[0])
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = ("capture", "names", "counts", "outputs")
"""Data flows through them in this order; each imports only from itself and from those before it."""

LINES_MAX = 300
FUNCTION_LINES_MAX = 50

LEAVES = {
    *("advice", "clock", "errors", "given", "memory", "networks", "values", "version"),
    *("own_process", "yaml_file"),
}
"""Modules beside the rooms that a room may import: they import no room themselves."""

SHOWN = tuple(
    f"exporter.counts.{name}" for name in ("snapshot", "rows", "rates", "replay", "outbox", "past")
)
"""What outputs may see of the counts: a picture of them, or what the history has of them."""


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)


def imports(file: Path) -> set[str]:
    """Full names of what a file imports, wherever in it: of modules, or of names in modules."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import hides which way it points"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def room_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == "exporter" and len(parts) > 1 and parts[1] in ROOMS else ""


def in_rooms() -> list[Path]:
    return [file for file in FILES if room_of(module_name(file))]


def test_all_rooms_are_there() -> None:
    assert {room_of(module_name(file)) for file in in_rooms()} == set(ROOMS)


@pytest.mark.parametrize("file", in_rooms(), ids=module_name)
def test_a_room_imports_only_from_rooms_before_it(file: Path) -> None:
    room = room_of(module_name(file))
    allowed = ROOMS[: ROOMS.index(room) + 1]
    for name in imports(file):
        assert not room_of(name) or room_of(name) in allowed, f"imports {name}"


@pytest.mark.parametrize("file", in_rooms(), ids=module_name)
def test_a_room_imports_nothing_that_wires_rooms_together(file: Path) -> None:
    for name in imports(file):
        parts = name.split(".")
        if parts[0] == "exporter" and not room_of(name):
            assert parts[1] in LEAVES, f"imports {name}"


@pytest.mark.parametrize("leaf", sorted(LEAVES))
def test_a_leaf_imports_no_room(leaf: str) -> None:
    used = {name.split(".")[1] for name in imports(PACKAGE / f"{leaf}.py") if "exporter." in name}
    assert used <= LEAVES


def test_outputs_see_counts_only_as_a_snapshot_or_as_rows() -> None:
    for file in FILES:
        if room_of(module_name(file)) == "outputs":
            for name in imports(file):
                if room_of(name) in ("capture", "names", "counts"):
                    assert name.startswith(SHOWN), f"{file} imports {name}"


def test_nothing_imports_in_a_circle() -> None:
    modules = {module_name(file).removesuffix(".__init__"): file for file in FILES}
    graph = {
        name: {
            found
            for used in imports(file)
            for found in (used, used.rpartition(".")[0])
            if found in modules and found != name
        }
        for name, file in modules.items()
    }
    while graph:
        free = {name for name, used in graph.items() if not used & graph.keys()}
        assert free, f"a circle among {sorted(graph)}"
        graph = {name: used for name, used in graph.items() if name not in free}


def test_bcc_is_imported_in_the_loader_alone() -> None:
    for file in FILES:
        uses = {name for name in imports(file) if name.split(".")[0] == "bcc"}
        assert not uses or module_name(file) == "exporter.capture.loader", f"{file} imports {uses}"


def test_the_loader_imports_bcc_only_in_the_child() -> None:
    tree = ast.parse((PACKAGE / "capture" / "loader.py").read_text())
    at_start = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("bcc" in ast.unparse(node) for node in at_start)


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_a_file_is_small_and_says_what_it_owns(file: Path) -> None:
    text = file.read_text()
    tree = ast.parse(text)
    assert not text or ast.get_docstring(tree), "has no docstring"
    assert len(text.splitlines()) <= LINES_MAX
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < FUNCTION_LINES_MAX, node.name
