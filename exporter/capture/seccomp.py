"""What the server may no longer ask of the kernel: a seccomp filter of calls that it never needs.

It is a list of what is denied, not of what is allowed: a library that comes to use another system
call must not end the counting. Denied is what who has taken the process over would want next:
other programs, other processes, namespaces and mounts, modules, keys, clocks, and of bpf(2) all but
what maps and links that are held already need.

Sources: seccomp(2), include/uapi/linux/{seccomp,filter,audit}.h, and the tables of system calls of
x86-64 (arch/x86/entry/syscalls/syscall_64.tbl) and of arm64 (include/uapi/asm-generic/unistd.h).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator

from exporter.capture import bpf

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM

_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in struct seccomp_data; of the argument its low half."""

_X32 = 0x40000000
"""Numbers from here on are of another way to call an x86-64 kernel."""

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_DENIED = {
    # By name: the number on x86-64, and on arm64, where it is 0 if there is none.
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "mknod": (133, 0),
    "mknodat": (259, 33),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "personality": (135, 92),
    "ioperm": (173, 0),
    "iopl": (172, 0),
    "modify_ldt": (154, 0),
}
_BPF = (321, 280)
_BPF_ALLOWED = (
    bpf.MAP_LOOKUP_ELEM,
    bpf.MAP_UPDATE_ELEM,
    bpf.OBJ_GET_INFO_BY_FD,
    bpf.PROG_QUERY,
    bpf.LINK_DETACH,
)

_libc = ctypes.CDLL(None, use_errno=True)


def deny() -> str | None:
    """Installs the filter for this thread and those that it starts; needs no_new_privs.

    Returns None, or a sentence that says why it is not there.
    """
    machine = platform.machine()
    if machine not in _AUDIT_ARCH:
        return f"there is no seccomp filter for {machine}: the server can make any system call"
    program = b"".join(_filter(machine))
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(
        struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    )
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0) != 0:
        why = os.strerror(ctypes.get_errno())
        return f"the kernel takes no seccomp filter ({why}): the server can make any system call"
    return None


def denied(machine: str) -> dict[str, int]:
    """The numbers of the calls that are denied on a machine, by name."""
    column = list(_AUDIT_ARCH).index(machine)
    return {name: numbers[column] for name, numbers in _DENIED.items() if numbers[column]}


def _filter(machine: str) -> Iterator[bytes]:
    """The instructions; jumps are relative, so what is denied ends where it stands."""
    refuse, allow = _instruction(_RETURN, _REFUSE), _instruction(_RETURN, _ALLOW)
    yield _instruction(_LOAD_WORD, _ARCH)
    yield _instruction(_JUMP_EQUAL, _AUDIT_ARCH[machine], 1, 0)
    yield refuse
    yield _instruction(_LOAD_WORD, _NUMBER)
    yield _instruction(_JUMP_AT_LEAST, _X32, 0, 1)
    yield refuse
    for number in denied(machine).values():
        yield _instruction(_JUMP_EQUAL, number, 0, 1)
        yield refuse
    yield _instruction(_JUMP_EQUAL, _BPF[list(_AUDIT_ARCH).index(machine)], 1, 0)
    yield allow
    yield _instruction(_LOAD_WORD, _FIRST_ARGUMENT)
    for command in _BPF_ALLOWED:
        yield _instruction(_JUMP_EQUAL, command, 0, 1)
        yield allow
    yield refuse


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
