"""Giving up privileges: in a process of its own each time, which tries what it may still do."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exporter.capture import privileges
from exporter.capture.privileges import find_user
from exporter.errors import ExporterError
from exporter.system import System
from tests.unit.child import answer_of

ROOT = Path(__file__).resolve().parents[2]
SETGID, SETUID, SETPCAP = 6, 7, 8
NOBODY = 65534

as_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root has privileges to give up; make test runs as root"
)

CHILD = """
import ctypes, json, os, socket, struct, sys, threading
from pathlib import Path
from exporter.capture import privileges

before, readable = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)

def without(capability):
    "Lets go of one capability, as a container may have been started."
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0), 8)
    data = ctypes.create_string_buffer(24)
    assert libc.syscall(privileges._CAPSET - 1, header, data) == 0
    words = list(struct.unpack("=6I", data.raw))
    place = capability // 32 * 3
    words[place] &= ~(1 << capability % 32)
    words[place + 1] &= ~(1 << capability % 32)
    assert libc.syscall(privileges._CAPSET, header, struct.pack("=6I", *words)) == 0

def tries(act):
    try:
        act()
        return "done"
    except OSError as error:
        return type(error).__name__

def look():
    lines = Path("/proc/thread-self/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return {
        "status": {name: value.split() for name, value in status.items()},
        "/etc/shadow": tries(lambda: open("/etc/shadow")),
        "/etc/hostname": tries(lambda: open("/etc/hostname")),
        "/proc/self/stat": tries(lambda: open("/proc/self/stat")),
        "/proc/stat": tries(lambda: open("/proc/stat")),
        "/proc/1/stat": tries(lambda: open("/proc/1/stat")),
        "list /": tries(lambda: os.listdir("/")),
        "write": tries(lambda: os.close(os.open("/tmp", os.O_TMPFILE | os.O_RDWR))),
        "run": tries(lambda: os.posix_spawn("/bin/true", ["true"], {})),
        "be root": tries(lambda: os.setuid(0)),
        "raw socket": tries(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
    }

if os.getuid() == 0:
    os.setgroups([0, 4, 27])
for step in before:
    if step == "user":
        os.setgroups([4321])
        os.setresgid(1234, 1234, 1234)
        os.setresuid(1234, 1234, 1234)
    else:
        without(step)
said = privileges.give_up(65534, 65533, [Path(name) for name in readable])
threads = []
thread = threading.Thread(target=lambda: threads.append(look()))
main = look()
thread.start()
thread.join()
print(json.dumps({"said": said, "main": main, "thread": threads[0]}))
"""

HAS_LANDLOCK = System().landlock_version() > 0
NO_LANDLOCK = (
    [] if HAS_LANDLOCK else ["this kernel has no Landlock: the server can read every file that its"]
)
EMPTY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
READABLE = ("/proc/self", "/proc/stat")


def give_up(*before: int | str, readable: tuple[str, ...] = READABLE) -> dict[str, Any]:
    """What a process said and could do, that had been through *before*: capabilities that it lacks,
    or `user` for another user than root.
    """
    answer: dict[str, Any] = answer_of(CHILD, [before, readable])
    return answer


def ids(status: dict[str, list[str]]) -> tuple[list[str], list[str], list[str]]:
    return status["Uid"], status["Gid"], status["Groups"]


@as_root
def test_nothing_is_left_of_root() -> None:
    answer = give_up()
    assert [said[:60] for said in answer["said"]] == [said[:60] for said in NO_LANDLOCK]
    for view in (answer["main"], answer["thread"]):
        for name in EMPTY_SETS:
            assert int(view["status"][name][0], 16) == 0, name
        assert ids(view["status"]) == (["65534"] * 4, ["65533"] * 4, [])
        assert view["status"]["NoNewPrivs"] == ["1"]
        assert view["be root"] == view["raw socket"] == "PermissionError"
        assert view["/etc/shadow"] == "PermissionError"


@as_root
@pytest.mark.skipif(not HAS_LANDLOCK, reason="the kernel has no Landlock")
def test_no_file_can_be_read_but_what_was_named() -> None:
    answer = give_up()
    for view in (answer["main"], answer["thread"]):
        assert view["/proc/self/stat"] == view["/proc/stat"] == "done"
        for denied in ("/etc/hostname", "/proc/1/stat", "list /", "write", "run"):
            assert view[denied] == "PermissionError", denied


ENDS_BESIDE_A_THREAD = """
import threading, time
from pathlib import Path
from exporter.capture import privileges

def work():
    while True:
        time.sleep(0.00001)

privileges.give_up(65534, 65534, [Path("/proc/self")])
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.05)
"""


@as_root
def test_threads_can_still_end() -> None:
    """What the C library loads for that is loaded before: without it, it aborts the process."""
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", ENDS_BESIDE_A_THREAD], cwd=ROOT, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")


@as_root
@pytest.mark.skipif(not HAS_LANDLOCK, reason="the kernel has no Landlock")
def test_a_file_to_be_read_may_be_missing() -> None:
    answer = give_up(readable=("/no/such/file", "/etc/hostname", "/proc/self"))
    assert answer["said"] == []
    assert answer["main"]["/etc/hostname"] == "done"
    assert answer["main"]["/proc/stat"] == "PermissionError"


@as_root
def test_without_cap_setpcap_the_bounding_set_stays_and_it_says_so() -> None:
    answer = give_up(SETPCAP)
    assert any("bounding set is kept: dropping it needs CAP_SETPCAP" in it for it in answer["said"])
    status = answer["main"]["status"]
    assert int(status["CapBnd"][0], 16) != 0
    for name in EMPTY_SETS:
        assert name == "CapBnd" or int(status[name][0], 16) == 0, name
    assert ids(status)[0] == ["65534"] * 4


@as_root
@pytest.mark.parametrize("lacking", [[SETUID], [SETGID], [SETUID, SETGID]])
def test_without_cap_setuid_or_setgid_it_stays_root_without_capabilities_and_says_so(
    lacking: list[int],
) -> None:
    answer = give_up(*lacking)
    assert any("keeps running as root, though without cap" in it for it in answer["said"])
    status = answer["main"]["status"]
    assert status["Uid"] == ["0"] * 4
    for name in EMPTY_SETS:
        assert int(status[name][0], 16) == 0, name
    assert status["NoNewPrivs"] == ["1"]
    assert answer["main"]["raw socket"] == "PermissionError"
    if HAS_LANDLOCK:
        assert answer["main"]["/etc/shadow"] == "PermissionError"


@as_root
def test_another_user_than_root_stays_that_user() -> None:
    answer = give_up("user")
    assert any("bounding set is kept" in it for it in answer["said"])
    status = answer["main"]["status"]
    assert ids(status) == (["1234"] * 4, ["1234"] * 4, ["4321"])
    assert status["NoNewPrivs"] == ["1"]
    if HAS_LANDLOCK:
        assert answer["main"]["/etc/hostname"] == "PermissionError"


@pytest.mark.parametrize(
    ("user", "expected"),
    [("65534", (65534, 65534)), ("1", (1, 1)), ("4294967294", (4294967294, 4294967294))],
)
def test_a_number_is_a_user_whether_it_has_a_name_or_not(
    user: str, expected: tuple[int, int]
) -> None:
    assert find_user(user) == expected


def test_a_name_is_looked_up() -> None:
    assert find_user("daemon") == (1, 1)


@pytest.mark.parametrize("user", ["0", "00", "root"])
def test_root_is_refused(user: str) -> None:
    with pytest.raises(ExporterError, match="must not be root"):
        find_user(user)


@pytest.mark.parametrize("user", ["no-such-user", "4294967295", "4294967296", "9" * 200])
def test_what_is_no_user_is_a_sentence(user: str) -> None:
    """The kernel takes 4294967295, which is -1, for "stay who you are": root."""
    with pytest.raises(
        ExporterError, match=f"--user {user}: no such user; give a name or a number"
    ):
        find_user(user)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert os.geteuid() == 0, "it gives files to another user: run it as root"
    return tmp_path / "history"


def owners(folder: Path) -> dict[str, int]:
    return {each.name: each.lstat().st_uid for each in folder.iterdir()}


def test_a_folder_is_made_and_given_with_its_files(folder: Path) -> None:
    privileges.give_folder(folder, "history.db", NOBODY, NOBODY)
    assert folder.stat().st_uid == NOBODY
    (folder / "history.db").touch()
    (folder / "history.db-wal").touch()
    privileges.give_folder(folder, "history.db", NOBODY, NOBODY)
    assert owners(folder) == {"history.db": NOBODY, "history.db-wal": NOBODY}


def test_a_folder_with_other_files_is_left_as_it_is(folder: Path) -> None:
    folder.mkdir()
    (folder / "history.db").touch()
    (folder / "another").touch()
    privileges.give_folder(folder, "history.db", NOBODY, NOBODY)
    assert owners(folder) == {"history.db": 0, "another": 0}
    assert folder.stat().st_uid == 0


def test_no_link_gives_away_a_file_from_elsewhere(folder: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.touch()
    folder.mkdir()
    (folder / "history.db").symlink_to(precious)
    (folder / "history.db-wal").hardlink_to(precious)
    privileges.give_folder(folder, "history.db", NOBODY, NOBODY)
    assert precious.stat().st_uid == 0


def test_files_that_sqlite_has_locked_stay_locked(folder: Path) -> None:
    privileges.give_folder(folder, "history.db", NOBODY, NOBODY)
    first = sqlite3.connect(folder / "history.db", isolation_level=None)
    first.execute("CREATE TABLE t (a)")
    first.execute("BEGIN IMMEDIATE")
    privileges.give_folder(folder, "history.db", NOBODY, NOBODY)
    tried = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sqlite3, sys\n"
            "sqlite3.connect(sys.argv[1], timeout=0.1).execute('INSERT INTO t VALUES (1)')",
            folder / "history.db",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    first.close()
    assert "database is locked" in tried.stderr


def test_what_is_made_while_acting_as_a_user_is_theirs(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    entered = os.open(folder, os.O_RDONLY)
    try:
        with privileges.acting_as(NOBODY, NOBODY):
            os.close(os.open("theirs", os.O_CREAT | os.O_WRONLY, dir_fd=entered))
    finally:
        os.close(entered)
    assert (os.geteuid(), os.getegid()) == (0, 0)
    assert owners(folder) == {"theirs": NOBODY}
