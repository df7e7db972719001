"""What a user gave for an option, before anybody understood it, and the errors about that."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.errors import ExporterError


@dataclass(frozen=True, slots=True)
class Given:
    """The texts for one option."""

    texts: tuple[str, ...]
    """One, or for a list as many as it has; none for what is not text."""
    where: str
    """`FILE:LINE: key` or the flag: what an error about it begins with."""


class UsageError(ExporterError):
    """A command line that cannot be understood: `--flag: what is wrong`."""


class ConfigError(ExporterError):
    """A configuration file that cannot be used: `FILE:LINE: key: what is wrong`."""
