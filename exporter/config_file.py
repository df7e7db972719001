"""The configuration file: which options it gives. What they mean is for the options to say.

All that is wrong is found in one reading, so that a user mends it in one go.
"""

from __future__ import annotations

import yaml

from exporter.given import ConfigError, Given
from exporter.options import CONFIG_FILE, OPTIONS, flag_of
from exporter.values import quoted
from exporter.yaml_file import is_null, line_of, read_mapping, scalar, scalars

_OPTIONS = {option.key: option for option in OPTIONS}
_SHORTHANDS = {option.shorthand: option for option in OPTIONS if option.shorthand}
_KEYS = sorted(_OPTIONS)
_SECTIONS = {key[:end] for key in _KEYS for end in range(len(key)) if key[end] == "."}


class ConfigFile:
    """The options that a file gives, and what is wrong with it."""

    def __init__(self, path: str) -> None:
        """Reads the file. Raises ConfigError where it is no mapping of keys to values at all."""
        self.given: dict[str, Given] = {}
        """By key."""
        self.problems: list[ConfigError] = []
        self._path = path
        root = read_mapping(path)
        if root is not None:
            self._read(root, "")

    def _read(self, mapping: yaml.MappingNode, prefix: str) -> None:
        """Every option beneath one mapping. *prefix*: its own key with a dot, or empty."""
        lines: dict[str, int] = {}
        for key_node, value in mapping.value:
            try:
                self._read_key(key_node, value, prefix, lines)
            except ConfigError as problem:
                self.problems.append(problem)

    def _read_key(
        self, key_node: yaml.Node, value: yaml.Node, prefix: str, lines: dict[str, int]
    ) -> None:
        key = prefix + self._name(key_node, prefix)
        where = f"{self._path}:{line_of(key_node)}: {_shown(key)}"
        if key in lines:
            raise ConfigError(f"{where}: is given twice, first in line {lines[key]}")
        lines[key] = line_of(key_node)
        if key in _SECTIONS and isinstance(value, yaml.MappingNode):
            self._read(value, key + ".")
        elif key in _OPTIONS or key in _SHORTHANDS:
            option = _OPTIONS.get(key) or _SHORTHANDS[key]
            texts = scalars(value, where) if option.repeatable else (scalar(value, where),)
            self.given[option.key] = Given(texts, where)
        elif key not in _SECTIONS:
            raise ConfigError(f"{where}: {_unknown(key)}")
        elif not is_null(value):  # a section whose every line is commented out is as good as none
            below = ", ".join(_below(key + "."))
            raise ConfigError(f"{where}: must be a mapping, of {below}")

    def _name(self, node: yaml.Node, prefix: str) -> str:
        where = f"{self._path}:{line_of(node)}"
        if not isinstance(node, yaml.ScalarNode):
            raise ConfigError(f"{where}: a key must be a word, not a list or a mapping")
        name: str = node.value
        if "." in name:
            first, _, rest = name.partition(".")
            raise ConfigError(
                f"{where}: {_shown(prefix + name)}: a dot is a level of its own, so write"
                f" {_shown(first)}: {{{_shown(rest)}: …}}"
            )
        return name


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
