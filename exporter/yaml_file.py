"""A YAML file as a tree of nodes, so that every error knows its line.

Nothing is built from the file but texts: a scalar is taken as it is spelled, so `no` stays a name
where a name is asked for.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from exporter.given import ConfigError
from exporter.values import quoted

FILE_MAX = 1 << 20
"""Bytes. A configuration has a few dozen lines; what is larger is another file by mistake."""

_TAG = "tag:yaml.org,2002:"
_SCALARS = {_TAG + name for name in ("str", "int", "float", "bool", "timestamp")}
_NULL = _TAG + "null"


def read_mapping(path: str) -> yaml.MappingNode | None:
    """The mapping that the file is; None where it is empty. Raises ConfigError."""
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
    if root is None or is_null(root):
        return None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path}:{line_of(root)}: the file must be a mapping of keys to values")
    return root


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


def is_null(node: yaml.Node) -> bool:
    """Whether nothing is there: `~`, `null`, or nothing at all."""
    return bool(node.tag == _NULL)


def scalar(node: yaml.Node, where: str) -> str:
    """The text of one value. *where* begins the sentence of the ConfigError that this raises."""
    if not isinstance(node, yaml.ScalarNode):
        kind = "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
        raise ConfigError(f"{where}: must be a single value, not {kind}")
    if is_null(node):
        raise ConfigError(f"{where}: has no value")
    if node.tag not in _SCALARS:
        raise ConfigError(f"{where}: must be a plain value, without the tag {quoted(node.tag)}")
    text: str = node.value
    return text


def scalars(node: yaml.Node, where: str) -> tuple[str, ...]:
    """The texts of a list, or of a single value. Raises ConfigError."""
    if isinstance(node, yaml.ScalarNode):
        return (scalar(node, where),)
    if not isinstance(node, yaml.SequenceNode):
        raise ConfigError(f"{where}: must be a list of values, not a mapping")
    if not all(isinstance(item, yaml.ScalarNode) for item in node.value):
        raise ConfigError(
            f"{where}: must be a list of single values, without lists or mappings in it"
        )
    return tuple(scalar(item, where) for item in node.value)


def line_of(node: yaml.Node) -> int:
    """From 1."""
    return int(node.start_mark.line) + 1


def _one_line(error: yaml.MarkedYAMLError) -> str:
    return " ".join(" ".join(part for part in (error.context, error.problem) if part).split())
