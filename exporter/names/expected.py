"""`domains.expected`: the names that this node is supposed to talk to.

example.com       that name
*.example.com     every name below it
.example.com      both
"""

from __future__ import annotations

from collections.abc import Iterable

from exporter.names.cursor import ParseError
from exporter.names.hostname import parse_host_name
from exporter.values import quoted


class Expected:
    """A set of names and suffixes."""

    def __init__(self, entries: Iterable[str]) -> None:
        """Raises ValueError with the end of a sentence about the entry that is none."""
        self._names: set[str] = set()
        self._suffixes: set[str] = set()
        for entry in entries:
            prefix, name = split_entry(entry)
            if prefix != "*.":
                self._names.add(name)
            if prefix:
                self._suffixes.add(name)

    def __contains__(self, name: str) -> bool:
        """Whether a host name, in lower case and without a trailing dot, is expected."""
        if name in self._names:
            return True
        if not self._suffixes:
            return False
        dot = name.find(".")
        while dot >= 0:
            if name[dot + 1 :] in self._suffixes:
                return True
            dot = name.find(".", dot + 1)
        return False


def split_entry(text: str) -> tuple[str, str]:
    """``""``, `"."` or `"*."`, and the name behind it, as it is on the wire.

    A name in other letters than ASCII becomes its `xn--` form. Raises ValueError with the end of a
    sentence: what the text must be.
    """
    prefix = next(prefix for prefix in ("*.", ".", "") if text.startswith(prefix))
    name = text[len(prefix) :]
    try:
        return prefix, parse_host_name(name.encode("ascii" if name.isascii() else "idna"))
    except (ParseError, UnicodeError):
        raise ValueError(
            f"must be a name such as example.com, *.example.com or .example.com, not {quoted(text)}"
        ) from None
