"""The file of the history: opened, begun anew where it is corrupt, and its schema."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple

SCHEMA_VERSION = 1
"""Of `PRAGMA user_version`. A change adds a statement list to _MIGRATIONS."""

VALUES = ("first", "second", "third", "fourth")
"""The columns of a row's values."""

_COLUMNS = ", ".join(VALUES)

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        f"CREATE TABLE series (id INTEGER PRIMARY KEY, family TEXT, labels TEXT, created_s REAL,"
        f" {_COLUMNS}, ended INTEGER)",
        "CREATE TABLE intervals (id INTEGER PRIMARY KEY, wall_s REAL, boot_s REAL, boot_id TEXT)",
        f"CREATE TABLE history (interval INTEGER, series INTEGER, {_COLUMNS},"
        " PRIMARY KEY (interval, series)) WITHOUT ROWID",
        "CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT)",
    ),
)
"""What makes each version out of the one before it."""

BUSY_TIMEOUT_S = 0.1
"""How long another process' lock is waited for: it holds up the counting."""

PAGE_BYTES = 4096
_ROWS_AT_ONCE = 50
"""That a statement writes: half the time of a statement for each. More gain little, and SQLite has
bounds."""
_MAKE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_WAL_PAGES = 256
"""The write-ahead log is moved into the file when it has so many."""


class Opened(NamedTuple):
    """A connection to the file, and what is held while it is used."""

    connection: sqlite3.Connection
    lock_fd: int
    set_aside: Path | None = None
    """What a corrupt file was renamed to."""


class NewerSchemaError(Exception):
    """A later version of the exporter has written the file."""


ERRORS = (OSError, sqlite3.Error, NewerSchemaError)
"""What `open_file` raises."""


def reason_of(error: Exception) -> str:
    """Why SQLite, or the system, refuses: a value of the label `reason`."""
    if isinstance(error, NewerSchemaError):
        return "schema"
    if isinstance(error, BlockingIOError):
        return "locked"
    text = str(error).lower()
    for word, reason in (
        ("full", "full"),
        ("no space", "full"),
        ("readonly", "read_only"),
        ("read-only", "read_only"),
        ("permission denied", "read_only"),
        ("locked", "locked"),
        ("busy", "locked"),
        ("malformed", "corrupt"),
        ("not a database", "corrupt"),
    ):
        if word in text:
            return reason
    return "io"


def open_file(path: Path) -> Opened:
    """Opens the file, or makes it. Raises ERRORS where it cannot be used."""
    lock_fd = _lock(path)
    try:
        try:
            return Opened(_open(path), lock_fd)
        except sqlite3.DatabaseError as error:
            if reason_of(error) != "corrupt":
                raise
            kept = _set_aside(path)
            return Opened(_open(path), lock_fd, kept)
    except ERRORS:
        os.close(lock_fd)
        raise


def explain(error: Exception) -> str:
    """What `open_file` raised, for people."""
    if isinstance(error, BlockingIOError):
        return "another exporter has it"
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _lock(path: Path) -> int:
    """Held while this process lives. Raises BlockingIOError where another one holds it."""
    lock_path = path.with_name(path.name + ".lock")
    fd = os.open(lock_path, _MAKE, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _open(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, _MAKE, 0o600))
    return _prepare(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None))


def _prepare(connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        version = _version(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_PAGES * PAGE_BYTES}")
        connection.execute("PRAGMA cache_size = -512")
        _migrate(connection, version)
        _check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection) -> int:
    """Of its schema. Raises NewerSchemaError, before anything is changed."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"it has schema {version}, of a later version of the exporter; this one knows"
            f" {SCHEMA_VERSION}: update the exporter, or give another --history.path"
        )
    return int(version)


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    if version == SCHEMA_VERSION:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for statements in _MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _check(connection: sqlite3.Connection) -> None:
    """Raises where what a start needs cannot be read: `quick_check` would read all 64 MB."""
    for query in ("* FROM series", "* FROM intervals", "* FROM state", "* FROM history LIMIT 1"):
        for _ in connection.execute(f"SELECT {query}"):
            pass


def insert(
    connection: sqlite3.Connection, into: str, rows: Sequence[tuple[object, ...]], then: str = ""
) -> None:
    """Many rows of as many values each, by the words of SQL before and after them."""
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[begin : begin + _ROWS_AT_ONCE]
        row = f"({', '.join('?' * len(some[0]))})"
        connection.execute(
            f"{into} {', '.join([row] * len(some))} {then}", list(chain.from_iterable(some))
        )


def _set_aside(path: Path) -> Path:
    number = 1
    while (kept := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    path.rename(kept)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).unlink()
    return kept
