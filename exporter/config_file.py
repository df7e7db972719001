"""The configuration file: YAML, read as a tree of nodes, so that every error knows its line.

Values are taken as they are spelled, and understood by the option alone: `no` stays a name where a
name is asked for. Nothing is built from the file but texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from exporter.given import ConfigError, Given
from exporter.options import CONFIG_FILE, OPTIONS, flag_of
from exporter.values import quoted

FILE_MAX = 1 << 20
"""Bytes. A configuration has a few dozen lines; what is larger is another file by mistake."""

_OPTIONS = {option.key: option for option in OPTIONS}
_SHORTHANDS = {option.shorthand: option for option in OPTIONS if option.shorthand}
_KEYS = sorted(_OPTIONS)
_SECTIONS = {key[:end] for key in _KEYS for end in range(len(key)) if key[end] == "."}

_TAG = "tag:yaml.org,2002:"
_SCALARS = {_TAG + name for name in ("str", "int", "float", "bool", "timestamp")}
_NULL = _TAG + "null"


def read_config_file(path: str) -> dict[str, Given]:
    """The options that the file gives, by key. Raises ConfigError, in one sentence."""
    text = _text_of(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: this is not YAML: {_one_line(error)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}:{line}: a character that YAML does not allow") from None
    except (RecursionError, yaml.YAMLError, ValueError, OverflowError):
        raise ConfigError(f"{path}:1: this is not a configuration that YAML can read") from None
    if root is None or root.tag == _NULL:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path}:{_line(root)}: the file must be a mapping of keys to values")
    return dict(_given(path, root, ""))


def _text_of(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"{path}: the file cannot be read: {reason}") from None
    if len(data) > FILE_MAX:
        raise ConfigError(f"{path}: the file is larger than {FILE_MAX} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: the file must be UTF-8 text") from None


def _given(path: str, mapping: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, Given]]:
    """Every option beneath one mapping. *prefix* is the mapping's own key with a dot, or empty."""
    lines: dict[str, int] = {}
    for key_node, value in mapping.value:
        key = prefix + _name(path, key_node, prefix)
        where = f"{path}:{_line(key_node)}: {_shown(key)}"
        if key in lines:
            raise ConfigError(f"{where}: is given twice, first in line {lines[key]}")
        lines[key] = _line(key_node)
        if key in _SECTIONS and isinstance(value, yaml.MappingNode):
            yield from _given(path, value, key + ".")
        elif key in _OPTIONS or key in _SHORTHANDS:
            option = _OPTIONS.get(key) or _SHORTHANDS[key]
            yield option.key, _texts(value, where, option.repeatable)
        elif key not in _SECTIONS:
            raise ConfigError(f"{where}: {_unknown(key)}")
        elif value.tag != _NULL:  # a section whose every line is commented out is as good as none
            below = ", ".join(_below(key + "."))
            raise ConfigError(f"{where}: must be a mapping, of {below}")


def _name(path: str, node: yaml.Node, prefix: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigError(f"{path}:{_line(node)}: a key must be a word, not a list or a mapping")
    name: str = node.value
    if "." in name:
        first, _, rest = name.partition(".")
        raise ConfigError(
            f"{path}:{_line(node)}: {_shown(prefix + name)}: a dot is a level of its own, so write"
            f" {_shown(first)}: {{{_shown(rest)}: …}}"
        )
    return name


def _texts(node: yaml.Node, where: str, repeatable: bool) -> Given:
    if isinstance(node, yaml.ScalarNode):
        return Given((_text(node, where),), where)
    if not repeatable:
        kind = "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
        raise ConfigError(f"{where}: must be a single value, not {kind}")
    if not isinstance(node, yaml.SequenceNode):
        raise ConfigError(f"{where}: must be a list of values, not a mapping")
    return Given(tuple(_text(item, where) for item in node.value), where)


def _text(node: yaml.Node, where: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigError(
            f"{where}: must be a list of single values, without lists or mappings in it"
        )
    if node.tag == _NULL:
        raise ConfigError(f"{where}: has no value")
    if node.tag not in _SCALARS:
        raise ConfigError(f"{where}: must be a plain value, without the tag {quoted(node.tag)}")
    text: str = node.value
    return text


def _unknown(key: str) -> str:
    if key == CONFIG_FILE or key + ".file" == CONFIG_FILE:
        return f"can be given only as a flag, {flag_of(CONFIG_FILE)}"
    import difflib  # here: only an error needs it

    closest = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.0)[0]
    return f"is no key of this version; the closest is {closest}"


def _below(prefix: str) -> list[str]:
    """The keys directly beneath a section."""
    return sorted({key[len(prefix) :].partition(".")[0] for key in _KEYS if key.startswith(prefix)})


def _shown(key: str) -> str:
    return quoted(key)[1:-1]


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _one_line(error: yaml.MarkedYAMLError) -> str:
    return " ".join(" ".join(part for part in (error.context, error.problem) if part).split())
