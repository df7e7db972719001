"""Programs that somebody else attached, which decide what happens to every packet."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.capture import bpf
from tests.e2e.net import Namespace

TC_ACT_OK = 0
TC_ACT_SHOT = 2
TC_ACT_UNSPEC = -1

_PROG_LOAD = 5
_SCHED_CLS = 3
_MOV64_IMMEDIATE = 0xB7
_CALL = 0x85
_EXIT = 0x95
_REDIRECT = 23
_HOOKS = {"ingress": bpf.TCX_INGRESS, "egress": bpf.TCX_EGRESS}


def returning(verdict: int) -> bytes:
    """A program that returns *verdict*."""
    return _instruction(_MOV64_IMMEDIATE, 0, verdict) + _instruction(_EXIT)


def redirecting(ifindex: int) -> bytes:
    """A program that sends every packet out of another device: bpf_redirect(ifindex, 0)."""
    return (
        _instruction(_MOV64_IMMEDIATE, 1, ifindex)
        + _instruction(_MOV64_IMMEDIATE, 2)
        + _instruction(_CALL, 0, _REDIRECT)
        + _instruction(_EXIT)
    )


def _instruction(code: int, register: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("=BBhi", code, register, 0, immediate)


def load(instructions: bytes) -> int:
    """The descriptor of a program of the kind that tc runs."""
    program = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    return bpf.bpf(
        _PROG_LOAD,
        struct.pack(
            "=IIQQIIQII16s",
            _SCHED_CLS,
            len(instructions) // 8,
            ctypes.addressof(program),
            ctypes.addressof(licence),
            0,
            0,
            0,
            0,
            0,
            b"somebody",
        ),
    )


@contextmanager
def tcx_program(
    namespace: Namespace,
    device: str,
    direction: str,
    instructions: bytes = returning(TC_ACT_UNSPEC),
    is_first: bool = True,
) -> Iterator[int]:
    """In the chain of a device for as long as the context lasts, first or last; gives the program's
    id.
    """
    program = load(instructions)
    flags = bpf.BEFORE if is_first else 0
    attributes = struct.pack(
        "=IIIIIIQ", program, namespace.ifindex(device), _HOOKS[direction], flags, 0, 0, 0
    )
    link = namespace.inside(lambda: bpf.bpf(bpf.LINK_CREATE, attributes))
    try:
        yield bpf.program_id(program)
    finally:
        os.close(link)
        os.close(program)


@contextmanager
def clsact_program(
    namespace: Namespace, device: str, direction: str, instructions: bytes, pref: int, pin: Path
) -> Iterator[None]:
    """A filter, put there by tc, in the classic chain of a device. *pin*: a name in a BPF file
    system, by which tc finds the program.
    """
    program = load(instructions)
    bpf.pin(program, pin)
    os.close(program)
    where = f"dev {device} {direction} pref {pref}"
    try:
        namespace.tc(f"qdisc replace dev {device} clsact")
        namespace.tc(f"filter add {where} protocol all bpf direct-action object-pinned {pin}")
        yield
        namespace.tc(f"filter del {where}")
    finally:
        pin.unlink()
