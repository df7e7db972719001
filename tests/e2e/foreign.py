"""Programs that somebody else attached: two instructions that return a verdict."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from exporter.capture import bpf
from tests.e2e.net import Namespace

TC_ACT_OK = 0
TC_ACT_UNSPEC = -1

_PROG_LOAD = 5
_SCHED_CLS = 3
_MOV64_IMMEDIATE = 0xB7
_EXIT = 0x95
_HOOKS = {"ingress": bpf.TCX_INGRESS, "egress": bpf.TCX_EGRESS}


def load(verdict: int) -> int:
    """The descriptor of a program that returns *verdict*."""
    instructions = ctypes.create_string_buffer(
        struct.pack("=BBhi", _MOV64_IMMEDIATE, 0, 0, verdict)
        + struct.pack("=BBhi", _EXIT, 0, 0, 0),
        16,
    )
    licence = ctypes.create_string_buffer(b"GPL")
    return bpf.bpf(
        _PROG_LOAD,
        struct.pack(
            "=IIQQIIQII16s",
            _SCHED_CLS,
            2,
            ctypes.addressof(instructions),
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
    namespace: Namespace, device: str, direction: str, verdict: int = TC_ACT_UNSPEC
) -> Iterator[int]:
    """First in the chain of a device for as long as the context lasts; gives the program's id."""
    program = load(verdict)
    ifindex = namespace.ifindex(device)
    link = namespace.inside(lambda: bpf.link_create_tcx(program, ifindex, _HOOKS[direction]))
    try:
        yield bpf.program_id(program)
    finally:
        os.close(link)
        os.close(program)
