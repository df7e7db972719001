"""How many reads a parser makes: what bounds its work, whatever bytes it is given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType
from unittest import mock

from exporter.names.cursor import Cursor


class Reads:
    """The cursors that parsers made."""

    def __init__(self) -> None:
        self.cursors: list[Cursor] = []

    @property
    def total(self) -> int:
        """Reads of all of them so far."""
        return sum(cursor.reads for cursor in self.cursors)


@contextlib.contextmanager
def counted_reads(*modules: ModuleType) -> Iterator[Reads]:
    """Counts the reads of every cursor that these modules make in the `with` block."""
    reads = Reads()

    def make(data: bytes | bytearray | memoryview) -> Cursor:
        cursor = Cursor(data)
        reads.cursors.append(cursor)
        return cursor

    with contextlib.ExitStack() as stack:
        for module in modules:
            stack.enter_context(mock.patch.object(module, "Cursor", make))
        yield reads
