"""What an option is."""

from __future__ import annotations

from dataclasses import dataclass

from exporter import values


@dataclass(frozen=True, slots=True)
class Option:
    """One option."""

    key: str
    """As in the configuration file, with a dot for each level."""
    parse: values.Parser
    default: str | tuple[str, ...]
    """As a user would write it; several for an option that may be given several times."""
    metavar: str
    """Empty for a switch."""
    help: str
    shorthand: str = ""

    @property
    def repeatable(self) -> bool:
        """Whether it is a list in the file, and a flag that may be given several times."""
        return isinstance(self.default, tuple)

    @property
    def flag(self) -> str:
        """As on the command line."""
        return flag_of(self.shorthand or self.key)


def flag_of(key: str) -> str:
    """The flag of a key."""
    return "--" + key.replace("_", "-")
