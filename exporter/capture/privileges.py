"""Gives up every privilege for good: user id, capabilities, and the files that are not its own.

Each step needs a privilege of its own (CAP_SETPCAP, CAP_SETGID, CAP_SETUID); where one is missing,
that step is skipped, and what could not be given up is returned as a sentence for the log. To be
called before any thread is started: capabilities and Landlock rules belong to a thread.

Sources: capabilities(7), prctl(2), landlock(7), include/uapi/linux/{capability,landlock}.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import pwd
import stat
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from exporter.capture import seccomp
from exporter.errors import ExporterError

_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_LAST_CAPABILITY = 63
_CAPABILITY_VERSION_3 = 0x20080522

_KEEP_USER = (1 << 32) - 1
"""The user id -1, which means no change to setresuid(2)."""

_CAPSET = {"x86_64": 126}.get(platform.machine(), 91)
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_VERSION = 1
_LANDLOCK_RULE_PATH_BENEATH = 1

_READ_ACCESS = 1 << 2 | 1 << 3  # READ_FILE, READ_DIR
_FILE_READ_ACCESS = 1 << 2
_CHANGE_ACCESS = 1 << 1 | _READ_ACCESS | 1 << 5 | 1 << 8 | 1 << 14
"""WRITE_FILE, reading, REMOVE_FILE, MAKE_REG, TRUNCATE."""
_FILESYSTEM_ACCESS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
"""All access rights of each version of Landlock; from version 5 on there are 16."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def find_user(user: str) -> tuple[int, int]:
    """The user and group id of a name, or of a number, which needs no entry in /etc/passwd.

    Raises ExporterError where there is no such user, and for root.
    """
    no_user = ExporterError(f"--user {user}: no such user; give a name or a number")
    if user.isdecimal():
        if int(user) >= _KEEP_USER:
            raise no_user
        ids = (int(user), int(user))
    else:
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            raise no_user from None
        ids = (entry.pw_uid, entry.pw_gid)
    if ids[0] == 0:
        raise ExporterError("--user must not be root: the server is to run without privileges")
    return ids


def give_folder(folder: Path, file_name: str, user_id: int, group_id: int) -> None:
    """Makes a folder for that user's files, whose names begin with *file_name*, if it is not there.

    One that is there is given to the user only where root has it and nothing else is in it. No link
    in it is followed, and no file that has another name besides is given. Raises OSError.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return
    names = os.listdir(folder)
    if all(name.startswith(file_name) for name in names):
        for path in (folder, *map(folder.joinpath, names)):
            with suppress(FileNotFoundError):
                _give(path, user_id, group_id)


def _give(path: Path, user_id: int, group_id: int) -> None:
    # By O_PATH: another descriptor that is closed would take SQLite's locks with it (fcntl(2)).
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        is_file = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
        if found.st_uid == 0 and (is_file or stat.S_ISDIR(found.st_mode)):
            os.chown(f"/proc/self/fd/{descriptor}", user_id, group_id)
    finally:
        os.close(descriptor)


@contextmanager
def acting_as(user_id: int, group_id: int) -> Iterator[None]:
    """Where root calls this, what is done meanwhile is done as that user, if CAP_SETUID allows."""
    before = os.geteuid(), os.getegid()
    if before[0] == 0:
        with suppress(PermissionError):
            os.setegid(group_id)
            os.seteuid(user_id)
    try:
        yield
    finally:
        os.seteuid(before[0])
        os.setegid(before[1])


def give_up(
    user_id: int, group_id: int, readable: Iterable[Path], writable: Iterable[Path] = ()
) -> list[str]:
    """Becomes that user without capabilities, who can read *readable*, change files in *writable*,
    use no other file, and make no system call that only an attacker needs.

    Returns a sentence for each thing that could not be given up.
    """
    with suppress(
        OSError
    ):  # only glibc wants it, and aborts where a thread ends and it is not there
        ctypes.CDLL("libgcc_s.so.1")
    kept: list[str] = []
    if not _drop_bounding_set():
        kept.append("the capability bounding set is kept: dropping it needs CAP_SETPCAP")
    if os.getuid() == 0 or os.geteuid() == 0:
        try:
            os.setgroups([])
            os.setresgid(group_id, group_id, group_id)
            os.setresuid(user_id, user_id, user_id)
        except PermissionError:
            kept.append(
                "the server keeps running as root, though without capabilities: becoming user"
                f" {user_id} needs CAP_SETUID and CAP_SETGID"
            )
    _drop_capabilities()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    kept += _restrict_files(readable, writable)
    return [*kept, *filter(None, (seccomp.deny(),))]


def _prctl(option: int, value: int = 0) -> int:
    return int(_libc.prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3))


def _drop_bounding_set() -> bool:
    """Says whether the bounding set is empty now."""
    for capability in range(_LAST_CAPABILITY + 1):
        if _prctl(_PR_CAPBSET_READ, capability) == 1:
            _prctl(_PR_CAPBSET_DROP, capability)
    return all(_prctl(_PR_CAPBSET_READ, each) != 1 for each in range(_LAST_CAPABILITY + 1))


def _drop_capabilities() -> None:
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    if _libc.syscall(_CAPSET, header, ctypes.create_string_buffer(24)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _restrict_files(readable: Iterable[Path], writable: Iterable[Path]) -> list[str]:
    version = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    if version < 1:
        return ["this kernel has no Landlock: the server can read every file that its user can"]
    handled = _FILESYSTEM_ACCESS.get(version, (1 << 16) - 1)
    attributes = ctypes.create_string_buffer(struct.pack("=Q", handled), 8)
    rules = _libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, 8, 0)
    if rules < 0:
        return [f"Landlock refuses a rule set ({os.strerror(ctypes.get_errno())})"]
    try:
        for path in readable:
            with suppress(FileNotFoundError, PermissionError):
                _allow(rules, path, _READ_ACCESS if path.is_dir() else _FILE_READ_ACCESS)
        for path in writable:
            with suppress(FileNotFoundError, PermissionError):
                _allow(rules, path, _CHANGE_ACCESS & handled)
        if _libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0) != 0:
            return [f"Landlock refuses its rules ({os.strerror(ctypes.get_errno())})"]
    finally:
        os.close(rules)
    return []


def _allow(rules: int, path: Path, access: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = ctypes.create_string_buffer(struct.pack("=Qi", access, descriptor), 12)
        if _libc.syscall(_LANDLOCK_ADD_RULE, rules, _LANDLOCK_RULE_PATH_BENEATH, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), f"landlock rule for {path}")
    finally:
        os.close(descriptor)
