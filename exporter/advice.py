"""Why the kernel refuses bpf(2), in one sentence that says what to do.

`check-system` and the errors of a start say the same, so the sentences are here.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable

_FLOOR = (5, 15)
_FLOOR_ARM64 = (5, 18)
"""The first whose JIT has the atomic operations."""

CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_ADMIN": 21,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
"""Bit numbers, of include/uapi/linux/capability.h."""

NEEDED = {
    "CAP_BPF": "no program and no map can be loaded",
    "CAP_NET_ADMIN": "no program can be attached to an interface",
    "CAP_PERFMON": "the verifier refuses the program's loops",
}
"""What follows where one of these is missing."""

GIVING_UP = {
    "CAP_SETUID": "the server keeps its user id",
    "CAP_SETGID": "the server keeps its groups",
    "CAP_SETPCAP": "the server keeps its bounding set",
    "CAP_CHOWN": "files cannot be made for the server's user",
}
"""What cannot be given up, where one of these is missing; it runs all the same."""

RUN_AS_ROOT = (
    "run it as root, or give it the missing ones (a unit: AmbientCapabilities=; a container:"
    " securityContext.capabilities.add or --cap-add)"
)

NO_BCC = (
    "install python3-bpfcc (Debian, Ubuntu), and use /usr/bin/python3 or a virtual environment made"
    " from it with --system-site-packages; the package bcc on PyPI is something else"
)


def kernel_version(release: str) -> tuple[int, int]:
    """The two numbers that `uname -r` begins with; zeros where it does not."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def kernel_too_old(release: str, machine: str) -> str | None:
    """What to do where the program cannot be loaded by this kernel; None where it can."""
    floor = _FLOOR_ARM64 if machine == "aarch64" else _FLOOR
    if kernel_version(release) >= floor:
        return None
    return f"{release} on {machine} is too old: {floor[0]}.{floor[1]} or later is needed"


def no_package(setting: str, package: str) -> str:
    """A setting needs a Python package that cannot be imported, or not any more."""
    return (
        f"{setting} needs the Python package {package}, which cannot be imported: install it; where"
        " the exporter runs already, restart it, since its user may not be able to read the package"
    )


SECCOMP_DENIES = (
    "a seccomp filter denies bpf(2) though the capability is there: update the container runtime"
    " (containerd 1.6.10, Docker 23 or later allow it to CAP_BPF), or use a profile that allows it"
)

USER_NAMESPACE = (
    "the capabilities count only within a user namespace (a rootless or remapped container), where"
    " the kernel allows no bpf(2): run it in the machine's own user namespace"
)


def field(status: str, name: str) -> str:
    """One field of /proc/PID/status, empty where there is none."""
    for line in status.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""


def missing(status: str, wanted: Iterable[str]) -> list[str]:
    """Which of these capabilities a /proc/PID/status has not effective.

    CAP_SYS_ADMIN has CAP_BPF and CAP_PERFMON in it, as before Linux 5.8.
    """
    effective = int(field(status, "CapEff") or "0", 16)
    held = {name for name, bit in CAPABILITIES.items() if effective >> bit & 1}
    if "CAP_SYS_ADMIN" in held:
        held |= {"CAP_BPF", "CAP_PERFMON"}
    return [name for name in wanted if name not in held]


def in_user_namespace(uid_map: str) -> bool:
    """Whether a /proc/PID/uid_map is of another user namespace than the machine's own."""
    return bool(uid_map) and uid_map.split() != ["0", "0", "4294967295"]


def explain_bpf_error(number: int, root: str = "/") -> str:
    """Why bpf(2) gave this errno to this process, as far as /proc tells. *root* is for tests."""
    if number in (errno.EPERM, errno.EACCES):
        return _explain_refusal(root)
    if number == errno.ENOSYS:
        return (
            "there is no bpf(2): the kernel is built without CONFIG_BPF_SYSCALL, or a seccomp"
            " filter hides it"
        )
    if number == errno.E2BIG:
        return "the verifier gave up on the program, as it does without CAP_PERFMON: give it that"
    if number == errno.ENOMEM:
        return "the kernel has no memory for the maps: lower --flows.max, or raise the memory limit"
    if number == errno.EINVAL:
        return "the kernel does not know what is asked of it: it must be 5.15 or later"
    return f"bpf(2) fails: {os.strerror(number)}"


def _explain_refusal(root: str) -> str:
    status = _read(root, "proc/self/status")
    lacking = missing(status, NEEDED)
    if lacking:
        *others, last = lacking
        names = f"{', '.join(others)} and {last}" if others else last
        return f"bpf(2) is not permitted without {names}: {RUN_AS_ROOT}"
    if in_user_namespace(_read(root, "proc/self/uid_map")):
        return USER_NAMESPACE
    if field(status, "Seccomp") == "2":
        return SECCOMP_DENIES
    return (
        "bpf(2) is not permitted though the capabilities are there: a security module (SELinux: use"
        " the type spc_t) or the container's runtime denies it"
    )


def _read(root: str, name: str) -> str:
    try:
        with open(os.path.join(root, name), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
