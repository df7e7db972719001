"""Answers that were worked out before, for as long as they are asked for: a cache of two halves.

What is asked for lives in the young half. When that is full it becomes the old half, and what was
in the old one is forgotten. So the entries that are used stay, and no entry is ever searched for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Remembered(Generic[Key, Value]):
    """The values of a pure function; at most twice *half* of them are held."""

    def __init__(self, work_out: Callable[[Key], Value], half: int) -> None:
        self._work_out = work_out
        self._half = half
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}

    def __call__(self, key: Key) -> Value:
        """The value for *key*; raises what the function raises."""
        try:
            return self._young[key]
        except KeyError:
            pass
        try:
            value = self._old[key]
        except KeyError:
            value = self._work_out(key)
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = value
        return value

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())
