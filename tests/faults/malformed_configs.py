"""Configuration files that are nearly right: a whole one, with some of it broken."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tests.unit.test_config import OTHER_VALUES

_LEFT_OUT = ("web.config.file",)
"""Names a file, which would have to be there."""

_PUT_IN = (
    *(b"\t", b"\x00", b"\xff\xfe", b"\x1b[31m", b"\xe2\x80\xa8", b"{", b"}", b"[", b"]"),
    *(b": ", b"- ", b"&a *a", b"<<: *b", b"!!python/object/apply:os.system [id]", b"!!binary aaa"),
    *(b"%YAML 9.9\n", b"\n---\n", b"\n...\n", b"|\n", b">-\n", b"'", b'"', b"@", b"`", b"#"),
    *(b"?", b"~", b"[" * 2000),
)
_VALUES = (
    *("-1", "0", "1e999", "9" * 400, "x" * 100_000, "''", "~", "[[a]]", "{a: b}", "no", "0x10"),
    *("../../etc/shadow", "http://[::1", "*", "(((((", "1s1s", "\u202eabc", "host:99999"),
    "!!set {a}",
)


def whole() -> list[bytes]:
    """The lines of a file that gives every option something else than its default."""
    tree: dict[str, object] = {}
    for key, values in OTHER_VALUES.items():
        if key not in _LEFT_OUT:
            *sections, name = key.split(".")
            node = tree
            for section in sections:
                node = node.setdefault(section, {})  # type: ignore[assignment]
            node[name] = values
    return list(_lines(tree, 0))


def _lines(tree: dict[str, object], depth: int) -> Iterator[bytes]:
    for key, value in tree.items():
        indent = "  " * depth
        if isinstance(value, dict):
            yield f"{indent}{key}:\n".encode()
            yield from _lines(value, depth + 1)
        elif isinstance(value, tuple):
            shown = ", ".join(repr(each) for each in value)
            yield f"{indent}{key}: {f'[{shown}]' if len(value) > 1 else shown}\n".encode()


def _other_byte(lines: list[bytes], at: int, rng: random.Random) -> None:
    line = bytearray(lines[at])
    line[rng.randrange(len(line))] = rng.randrange(256)
    lines[at] = bytes(line)


def _put_in(lines: list[bytes], at: int, rng: random.Random) -> None:
    place = rng.randrange(len(lines[at]))
    lines[at] = lines[at][:place] + rng.choice(_PUT_IN) + lines[at][place:]


def _other_value(lines: list[bytes], at: int, rng: random.Random) -> None:
    key, _, _ = lines[at].partition(b":")
    lines[at] = key + b": " + rng.choice(_VALUES).encode() + b"\n"


def _misspelt(lines: list[bytes], at: int, rng: random.Random) -> None:
    key, colon, value = lines[at].partition(b":")
    lines[at] = key + rng.choice((b"s", b"_", b".x", b" ", b"\xc3\xa9")) + colon + value


def _indented(lines: list[bytes], at: int, rng: random.Random) -> None:
    lines[at] = b" " * rng.randrange(1, 5) + lines[at]


def _twice(lines: list[bytes], at: int, rng: random.Random) -> None:
    lines.insert(rng.randrange(len(lines)), lines[at])


def _left_out(lines: list[bytes], at: int, rng: random.Random) -> None:
    if len(lines) > 1:
        del lines[at]


def _cut(lines: list[bytes], at: int, rng: random.Random) -> None:
    lines[at] = lines[at][: rng.randrange(1, len(lines[at]) + 1)]
    del lines[at + 1 :]


_BREAKS: tuple[Callable[[list[bytes], int, random.Random], None], ...] = (
    *(_other_byte, _put_in, _other_value, _misspelt, _indented, _twice, _left_out, _cut),
)


def broken(rng: random.Random) -> bytes:
    """A file; rarely it is a right one still."""
    lines = whole()
    for _ in range(rng.randrange(1, 4)):
        rng.choice(_BREAKS)(lines, rng.randrange(len(lines)), rng)
    return b"".join(lines)
