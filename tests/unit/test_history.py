"""The history: what it keeps, what it gives back, and what a bad disk does to it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.clock import Now
from exporter.counts.history import History
from exporter.counts.history_store import open_history
from exporter.counts.replay import Interval
from exporter.counts.rows import DOMAIN, Row

HOUR_S = 3600.0
ROOM = 64 << 20


def domain(name: str, packets: int, created_s: float = 1.0) -> Row:
    return Row(DOMAIN, ("ingress", name), (packets, packets * 100, 0), created_s)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


class Opened:
    """A history that is closed after the test; again from its file with `again`."""

    def __init__(self, path: Path, retention_s: float = HOUR_S, room: int = ROOM) -> None:
        self.path, self.retention_s, self.room = path, retention_s, room
        self.history: History = open_history(path, retention_s, room)

    def again(self) -> History:
        self.history.close()
        self.history = open_history(self.path, self.retention_s, self.room)
        return self.history

    def intervals(self) -> list[Interval]:
        return list(self.history.replay(0))


@pytest.fixture
def it(path: Path) -> Iterator[Opened]:
    opened = Opened(path)
    yield opened
    opened.history.close()


def test_what_was_recorded_is_there_after_a_restart(it: Opened) -> None:
    assert it.history.record([domain("a", 1), domain("b", 2)], {"x": [1, 2]})
    again = it.again()
    assert sorted(again.restored_rows) == [domain("a", 1), domain("b", 2)]
    assert again.state("x") == [1, 2]
    assert again.state("y") is None


def test_what_was_recorded_is_there_without_a_close(it: Opened, path: Path) -> None:
    it.history.record([domain("a", 1)], {})
    it.history.record([domain("a", 5)], {})
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT first FROM series").fetchall() == [(5,)]
    other.close()


def test_of_many_series_none_is_missed(it: Opened) -> None:
    def many(salt: int) -> list[Row]:
        return [
            Row("family", (str(n),), tuple(range(salt + n, salt + n + n % 5)), 1.0)
            for n in range(523)
        ]

    for salt in (0, 7):
        it.history.record(many(salt), {}, Now(100 + salt, 10 + salt))
    assert [sorted(each.rows) for each in it.intervals()] == [sorted(many(0)), sorted(many(7))]
    assert sorted(it.again().restored_rows) == sorted(many(7))


def test_a_series_that_is_told_no_longer_has_ended(it: Opened) -> None:
    it.history.record([domain("a", 1), domain("b", 2)], {}, Now(100, 10))
    it.history.record([domain("b", 3)], {}, Now(110, 20))
    assert [len(each.rows) for each in it.intervals()] == [2, 1]
    assert it.again().restored_rows == [domain("b", 3)]


def test_a_series_that_comes_back_is_another_one(it: Opened) -> None:
    it.history.record([domain("a", 7)], {}, Now(100, 10))
    it.history.record([], {}, Now(110, 20))
    it.history.record([domain("a", 1, created_s=115.0)], {}, Now(120, 30))
    rows = [each.rows for each in it.intervals()]
    assert rows == [(domain("a", 7),), (), (domain("a", 1, created_s=115.0),)]


def test_intervals_are_complete_though_only_changes_are_kept(it: Opened, path: Path) -> None:
    for n in range(4):
        it.history.record([domain("idle", 9), domain("busy", n)], {}, Now(100 + n, n))
    assert [dict(each.rows[i][1:3] for i in range(2)) for each in it.intervals()] == [
        {("ingress", "idle"): (9, 900, 0), ("ingress", "busy"): (n, n * 100, 0)} for n in range(4)
    ]
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT count(*) FROM history").fetchone() == (5,)
    other.close()


def test_a_replay_begins_after_any_interval_and_goes_on_with_new_ones(it: Opened) -> None:
    for n in range(5):
        it.history.record([domain("a", n), domain("idle", 1)], {}, Now(100 + n, n))
    replay = it.history.replay(3)
    assert [each.id for each in replay] == [4, 5]
    assert replay.next() is None
    it.history.record([domain("a", 9), domain("idle", 1)], {}, Now(200, 50))
    last = replay.next()
    assert last is not None
    assert (last.id, last.wall_s, len(last.rows)) == (6, 200, 2)


def test_old_intervals_go_and_the_oldest_that_stays_is_complete(path: Path) -> None:
    it = Opened(path, retention_s=50.0)
    for n in range(30):
        it.history.record([domain("idle", 1), domain("a", n)], {}, Now(1000 + 10 * n, 10 * n))
    intervals = it.intervals()
    assert [each.wall_s for each in intervals] == [1240, 1250, 1260, 1270, 1280, 1290]
    assert all(len(each.rows) == 2 for each in intervals)
    it.history.close()


def test_a_series_that_ended_before_the_oldest_interval_leaves_the_file(path: Path) -> None:
    it = Opened(path, retention_s=50.0)
    for n in range(30):
        rows = [domain("a", n)] + ([domain("gone", 1)] if n < 3 else [])
        it.history.record(rows, {}, Now(1000 + 10 * n, 10 * n))
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT count(*) FROM series").fetchone() == (1,)
    other.close()
    it.history.close()


def test_the_file_stays_within_its_bound(path: Path) -> None:
    room = 4 << 20
    it = Opened(path, room=room)
    for n in range(120):
        rows = [domain(f"name-{k}.example.com", n * 1000 + k) for k in range(2000)]
        it.history.record(rows, {}, Now(1000 + 10 * n, n))
        used = sum(each.stat().st_size for each in path.parent.iterdir())
        assert used <= room, f"{used} bytes after {n} intervals"
    kept = it.intervals()
    assert len(kept) > 10
    assert all(len(each.rows) == 2000 for each in kept)
    it.history.close()


def test_times_need_not_go_forward(it: Opened) -> None:
    for n, wall_s in enumerate((5000.0, 1400.0, 9000.0)):
        it.history.record([domain("a", n)], {}, Now(wall_s, n))
    assert [each.wall_s for each in it.intervals()] == [5000.0, 1400.0, 9000.0]
    assert it.again().restored_rows == [domain("a", 2)]


def test_without_a_file_the_last_interval_alone_is_kept_and_nothing_is_wrong() -> None:
    history = History()
    for n in (1, 2):
        assert not history.record([domain("a", n)], {"x": 1}, Now(n, n))
    assert [(each.id, each.rows) for each in history.replay(0)] == [(2, (domain("a", 2),))]
    assert history.state("x") is None
    assert not any(history.errors.values())


def test_a_file_that_another_exporter_has_is_left_alone(it: Opened, path: Path) -> None:
    it.history.record([domain("a", 1)], {})
    second = open_history(path, HOUR_S, ROOM)
    assert second.errors["locked"] == 1
    assert second.restored_rows == []
    second.record([domain("z", 1)], {})
    second.close()
    assert it.again().restored_rows == [domain("a", 1)]


def test_a_locked_file_gets_later_what_it_missed(it: Opened, path: Path) -> None:
    it.history.record([domain("a", 1)], {}, Now(100, 1))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert not it.history.record([domain("a", 2)], {"x": 1}, Now(110, 2))
    assert not it.history.record([domain("a", 3)], {"x": 2}, Now(120, 3))
    assert it.history.errors["locked"] == 2
    assert [each.rows[0].values[0] for each in it.intervals()] == [1, 2, 3]
    other.execute("ROLLBACK")
    other.close()
    assert it.history.record([domain("a", 4)], {"x": 3}, Now(130, 4))
    assert [each.rows[0].values[0] for each in it.intervals()] == [1, 2, 3, 4]
    again = it.again()
    assert [each.wall_s for each in it.intervals()] == [100, 110, 120, 130]
    assert again.state("x") == 3


def test_a_corrupt_file_is_kept_and_a_new_one_begun(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)
    it = Opened(path)
    assert it.history.errors["corrupt"] == 1
    assert it.history.record([domain("a", 1)], {})
    assert path.with_name("history.db.corrupt-1").read_bytes().startswith(b"no database")
    assert it.again().restored_rows == [domain("a", 1)]
    it.history.close()


LEAF_OF_INDEX = 10
"""The first byte of a page that has rows of a table without row ids (SQLite's file format, 1.6)."""


def spoil(path: Path, is_spoilt: Callable[[int, bytes], bool]) -> int:
    """Overwrites pages of a file, and says how many."""
    content = path.read_bytes()
    pages = [content[at : at + 4096] for at in range(0, len(content), 4096)]
    spoilt = [is_spoilt(number, page) for number, page in enumerate(pages)]
    path.write_bytes(
        b"".join(b"\xff" * 4096 if bad else page for bad, page in zip(spoilt, pages, strict=True))
    )
    return sum(spoilt)


def test_a_file_with_broken_pages_begins_anew(path: Path) -> None:
    it = Opened(path)
    it.history.record([domain(f"{n}.example.com", n) for n in range(3000)], {}, Now(1, 1))
    it.history.close()
    assert spoil(path, lambda number, _: number > 5)
    again = Opened(path)
    assert again.history.errors["corrupt"] == 1
    assert again.history.restored_rows == []
    assert again.history.record([domain("a", 1)], {})
    again.history.close()


def test_what_can_no_longer_be_read_is_an_error_and_no_crash(it: Opened, path: Path) -> None:
    for n in range(50):
        it.history.record([domain(f"{k}.example.com", n) for k in range(200)], {}, Now(n, n))
    it.history.close()
    assert spoil(path, lambda number, page: number > 5 and page[0] == LEAF_OF_INDEX) > 10
    it.history = open_history(path, HOUR_S, ROOM)
    assert len(it.history.restored_rows) in (0, 200)
    for interval in it.history.replay(0):
        assert interval.rows
        break
    it.history.replay(49)
    assert it.history.errors["corrupt"] > 0


def test_the_first_interval_since_a_time_is_of_this_boot(it: Opened, path: Path) -> None:
    for n in range(5):
        it.history.record([domain("a", n)], {}, Now(100 + n, 10.0 * n))
    assert it.history.first_since(15.0) == 3
    assert it.history.first_since(99.0) is None
    it.history.close()
    with sqlite3.connect(path) as other:
        other.execute("UPDATE intervals SET boot_id = 'another'")
    other.close()
    it.history = open_history(path, HOUR_S, ROOM)
    assert it.history.first_since(15.0) is None


def test_a_newer_schema_is_left_as_it_is(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    it = Opened(path)
    assert it.history.errors["schema"] == 1
    it.history.record([domain("a", 1)], {}, Now(1, 1))
    it.history.close()
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_a_complaint(tmp_path: Path) -> None:
    it = Opened(tmp_path / "missing" / "history.db")
    assert sum(it.history.errors.values()) == 1
    assert not it.history.record([domain("a", 1)], {}, Now(1, 1))
    it.history.close()


def test_a_full_disk_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    assert os.geteuid() == 0, "it mounts a small tmpfs: run it as root"
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    try:
        it = Opened(disk / "history.db")
        assert it.history.record([domain("a", 1)], {}, Now(100, 1))
        filler = disk / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(2 << 20))
        n = 1
        while not it.history.errors["full"]:
            n += 1
            rows = [domain(f"{n}-{k}.example.com", n) for k in range(500)]
            it.history.record([domain("a", n), *rows], {}, Now(100 + n, n))
            assert n < 100, it.history.errors
        filler.unlink()
        assert it.history.record([domain("a", n + 1)], {}, Now(100 + n + 1, n + 1))
        assert [each.id for each in it.intervals()] == list(range(1, n + 2))
        assert it.again().restored_rows == [domain("a", n + 1)]
        it.history.close()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_files_are_private(it: Opened, path: Path) -> None:
    it.history.record([domain("a", 1)], {})
    for each in path.parent.iterdir():
        assert each.stat().st_mode & 0o077 == 0, each
