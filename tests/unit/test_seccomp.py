"""The filter: of what it denies nothing works, not even for root, and the rest is as before."""

from __future__ import annotations

import errno
import os
import platform
import subprocess

import pytest

from exporter.capture import bpf, seccomp
from tests.unit.child import answer_of

MACHINE = platform.machine()

CHILD = """
import ctypes, json, os, subprocess, sys, threading
from exporter.capture import bpf, seccomp

libc = ctypes.CDLL(None, use_errno=True)
filtered, calls = json.loads(sys.argv[1])

def errno_of(number, *arguments):
    ctypes.set_errno(0)
    libc.syscall(number, *map(ctypes.c_long, arguments))
    return ctypes.get_errno()

def look():
    return [errno_of(*call) for call in calls]

if filtered:
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert seccomp.deny() is None
seen = []
thread = threading.Thread(target=lambda: seen.append(look()))
thread.start()
thread.join()
print(json.dumps([look(), seen[0]]))
"""


def errnos(calls: list[list[int]], *, filtered: bool) -> list[int]:
    """Of each call, as root makes it; a thread that is started later gets the same."""
    main, thread = answer_of(CHILD, [filtered, calls])
    assert main == thread
    return list(main)


def test_everything_that_is_denied_is_refused() -> None:
    calls = [[number, 0, 0, 0, 0, 0] for number in seccomp.denied(MACHINE).values()]
    assert len(calls) > 40
    assert set(errnos(calls, filtered=True)) == {errno.EPERM}


@pytest.mark.skipif(os.geteuid() != 0, reason="make test runs as root, who may do what is denied")
def test_it_is_the_filter_that_refuses() -> None:
    numbers = seccomp.denied(MACHINE)
    harmless = [
        [numbers["unshare"], 0],
        [numbers["personality"], 0xFFFFFFFF],
        [numbers["pidfd_getfd"], -1, 0, 0],
        [numbers["execve"], 0, 0, 0],
        [numbers["setns"], -1, 0],
        [numbers["process_vm_readv"], os.getpid(), 0, 0, 0, 0, 0],
    ]
    assert errno.EPERM not in errnos(harmless, filtered=False)
    assert set(errnos(harmless, filtered=True)) == {errno.EPERM}


def test_of_bpf_only_what_maps_need_is_left() -> None:
    number = dict(zip(("x86_64", "aarch64"), seccomp._BPF, strict=True))[MACHINE]
    allowed = {
        bpf.MAP_LOOKUP_ELEM,
        bpf.MAP_UPDATE_ELEM,
        bpf.OBJ_GET_INFO_BY_FD,
        bpf.PROG_QUERY,
        bpf.LINK_DETACH,
    }
    commands = [command for command in range(40) if command not in allowed]
    assert set(errnos([[number, each, 0, 0] for each in commands], filtered=True)) == {errno.EPERM}
    # No attributes: EINVAL or EFAULT, by the kernel's own judgement.
    left = errnos([[number, each, 0, 0] for each in sorted(allowed)], filtered=True)
    assert errno.EPERM not in left


def test_a_machine_without_a_table_runs_without_a_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    said = seccomp.deny()
    assert said is not None
    assert "no seccomp filter for riscv64" in said


def test_names_and_numbers_are_each_there_once() -> None:
    for machine in ("x86_64", "aarch64"):
        numbers = list(seccomp.denied(machine).values())
        assert len(numbers) == len(set(numbers))


@pytest.mark.skipif(MACHINE != "x86_64", reason="the header is of this machine")
def test_the_numbers_are_those_of_the_header() -> None:
    header = subprocess.run(
        ["cc", "-dM", "-E", "-include", "sys/syscall.h", "-x", "c", "/dev/null"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    known = {
        line.split()[1].removeprefix("__NR_"): int(line.split()[2])
        for line in header.splitlines()
        if line.startswith("#define __NR_") and line.split()[2].isdigit()
    }
    for name, number in seccomp.denied("x86_64").items():
        assert known.get(name, number) == number, name
