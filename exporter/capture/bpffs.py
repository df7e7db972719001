"""The BPF file system: whether pins can be there, and in one sentence why they cannot."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from pathlib import Path

from exporter import advice

BPFFS_MAGIC = 0xCAFE4A11
_SYSFS_MAGIC = 0x62656572
_DIRECTORY_MODE = 0o700

_libc = ctypes.CDLL(None, use_errno=True)


def why_not(directory: Path, root: Path = Path("/")) -> str:
    """Why nothing can be pinned in *directory*, which need not exist; empty where it is in a BPF
    file system. *root*: where to look for /proc and /sys, for tests.
    """
    parent = directory
    while not os.path.lexists(parent):
        parent = parent.parent
    try:
        magic = _magic(parent)
    except OSError as error:
        return explain(error, root)
    if magic == BPFFS_MAGIC:
        return ""
    if magic == _SYSFS_MAGIC:
        return (
            f"no BPF file system is mounted at {parent}: mount -t bpf bpf /sys/fs/bpf, or mount the"
            " node's into the container (hostPath, mountPropagation HostToContainer)"
        )
    return (
        f"{parent} is on no BPF file system (magic number {magic:#x}, not {BPFFS_MAGIC:#x}): choose"
        " a directory under /sys/fs/bpf"
    )


def _magic(path: Path) -> int:
    """f_type of statfs(2). Raises OSError."""
    answer = ctypes.create_string_buffer(512)
    if _libc.statfs(os.fsencode(path), answer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(struct.unpack_from("@L", answer)[0]) & 0xFFFFFFFF


def explain(error: OSError, root: Path = Path("/")) -> str:
    """Which part of the system keeps this process from pinning."""
    if error.errno == errno.EROFS:
        return "the BPF file system is mounted read-only: mount it read-write"
    if error.errno not in (errno.EACCES, errno.EPERM):
        return f"the BPF file system refuses it ({error.strerror})"
    label = _read(root, "proc/self/attr/apparmor/current") or _read(root, "proc/self/attr/current")
    if label.endswith("(enforce)"):
        return (
            f"AppArmor forbids it to the profile {label}: use the profile Unconfined"
            " (securityContext.appArmorProfile)"
        )
    if _read(root, "sys/fs/selinux/enforce") == "1":
        return (
            f"SELinux forbids it to {label or 'this process'}: use the type spc_t"
            " (seLinuxOptions.type)"
        )
    lacking = advice.missing(_read(root, "proc/self/status"), advice.NEEDED)
    if lacking:
        return f"{' and '.join(lacking)} is missing: {advice.RUN_AS_ROOT}"
    return f"the directory is another user's ({error.strerror}): run it as root"


def _read(root: Path, name: str) -> str:
    try:
        return (root / name).read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""


def make_directory(path: Path) -> None:
    """Makes a directory for root alone, and those above it. Raises OSError."""
    for each in reversed((path, *path.parents)):
        if not each.exists():
            each.mkdir(_DIRECTORY_MODE, exist_ok=True)


def lock(directory: Path) -> int:
    """A descriptor that keeps every other process from locking *directory*.

    Raises BlockingIOError where another process holds it.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def remove_directory(directory: Path, first: str = "") -> None:
    """Unpins all that is in a directory, *first* before the rest, and removes it. No error where
    something has gone meanwhile.
    """
    if first:
        (directory / first).unlink(missing_ok=True)
    try:
        for entry in list(directory.iterdir()):
            entry.unlink(missing_ok=True)
        directory.rmdir()
    except FileNotFoundError:
        return
