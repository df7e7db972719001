"""What the kernel really loaded: which helpers it calls, and what it cost the verifier to accept.

Under kernel lockdown no program may read memory by bpf_probe_read*, so none of it may be loaded.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import struct
import subprocess
import sys

import pytest

from exporter.advice import kernel_version
from exporter.capture import bpf
from exporter.capture.directions import programs_of
from exporter.capture.loader import compiler_flags, source_dir
from tests.kernel.conftest import Figures
from tests.kernel.harness import Kernel

PROGRAMS = ("monitor_ingress", "monitor_egress")

HELPERS = {
    1: "bpf_map_lookup_elem",
    8: "bpf_get_smp_processor_id",
    26: "bpf_skb_load_bytes",
    39: "bpf_skb_pull_data",
    125: "bpf_ktime_get_boot_ns",
    130: "bpf_ringbuf_output",
    131: "bpf_ringbuf_reserve",
    132: "bpf_ringbuf_submit",
    134: "bpf_ringbuf_query",
}
"""All that the program may call, by number (include/uapi/linux/bpf.h). The kernel puts
instructions of its own in the place of the first two."""

KERNEL_NAMES = ("percpu_array_map_lookup_elem",)
"""How the kernel itself calls a helper, where the names differ: before Linux 6.10
bpf_map_lookup_elem, where it does not put instructions in its place."""

PROBE_READS_AND_PRINTS = (4, 6, 45, 112, 113, 114, 115, 177)
"""bpf_probe_read*, bpf_trace_printk and bpf_trace_vprintk."""

INSTRUCTIONS_BOUND = 2_000
"""Of each program, as the kernel keeps it: about 1,760."""

VERIFIED_BOUND = 150_000 if kernel_version(os.uname().release) >= (6, 6) else 350_000
"""Instructions that the verifier walks for each program: about 102,000 on Linux 6.18,
259,000 on 6.1, which prunes less. Every kernel gives up at 1,000,000."""

_CALL = 0x85
_PROBE_MEM = 0x20
_LOAD = 0x01
_CLASS_MASK, _MODE_MASK = 0x07, 0xE0

_DUMP = """
import sys
from bcc import BPF
program = BPF(src_file=sys.argv[1], cflags=sys.argv[2:])
print(program.dump_func("monitor").hex())
"""

# struct bpf_prog_info: xlated_prog_len, nr_map_ids, verified_insns (Linux 5.16).
_INFO = struct.Struct("=20xI192xI")


@pytest.fixture(scope="module")
def source_instructions(small_kernel: Kernel) -> dict[str, bytes]:
    """The instructions of each program as they are given to the kernel."""
    source = source_dir()
    flags = compiler_flags(small_kernel.settings, source)
    answer = subprocess.run(
        [sys.executable, "-c", _DUMP, source / "flow_monitor.c", *flags],
        env={**os.environ, "BCC_KERNEL_SOURCE": str(source / "shim")},
        capture_output=True,
        check=True,
        text=True,
    )
    return dict(programs_of(bytes.fromhex(answer.stdout)))


@pytest.fixture
def loaded(kernel: Kernel) -> dict[str, int]:
    """The descriptor of each loaded program."""
    return {
        "monitor_ingress": kernel.programs.ingress_fd,
        "monitor_egress": kernel.programs.egress_fd,
    }


def _called(instructions: bytes) -> set[int]:
    """The numbers of the helpers that are called."""
    calls = set()
    for code, registers, _, immediate in struct.iter_unpack("=BBhi", instructions):
        if code == _CALL:
            assert registers >> 4 == 0, "a call that is not of a helper"
            calls.add(immediate)
    return calls


@pytest.mark.parametrize("name", PROGRAMS)
def test_only_the_helpers_that_are_meant_are_called(
    source_instructions: dict[str, bytes], name: str
) -> None:
    called = _called(source_instructions[name])
    assert not called & set(PROBE_READS_AND_PRINTS)
    assert called <= HELPERS.keys()


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_loaded_program_calls_no_other_function_of_the_kernel(
    loaded: dict[str, int], name: str
) -> None:
    """The same, of what the kernel has made of the program, by the names of its own functions."""
    dump = _bpftool("prog", "dump", "xlated", "id", str(bpf.program_id(loaded[name])))
    called = {match[1] for match in re.finditer(r"\bcall (\S+?)#", dump)}
    assert len(re.findall(r"\(85\) call", dump)) == len(re.findall(r"\bcall [a-z_]\w+#", dump))
    assert called
    assert called <= {*HELPERS.values(), *KERNEL_NAMES}


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_load_may_fault(loaded: dict[str, int], name: str) -> None:
    """A load through a pointer that need not be valid is bpf_probe_read by another name."""
    opcodes = json.loads(
        _bpftool("-j", "prog", "dump", "xlated", "id", str(bpf.program_id(loaded[name])), "opcodes")
    )
    codes = [int(line["opcodes"]["code"], 16) for line in opcodes if "opcodes" in line]
    assert len(codes) > 1000
    assert not [
        code for code in codes if code & _CLASS_MASK == _LOAD and code & _MODE_MASK == _PROBE_MEM
    ]


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_program_is_small_and_easy_to_verify(
    loaded: dict[str, int], name: str, figures: Figures
) -> None:
    info = ctypes.create_string_buffer(_INFO.size)
    attributes = struct.pack("=IIQ", loaded[name], len(info), ctypes.addressof(info))
    bpf.bpf(bpf.OBJ_GET_INFO_BY_FD, attributes)
    xlated_bytes, verified = _INFO.unpack(info)
    figures[f"{name}: instructions loaded, walked by the verifier"] = (xlated_bytes // 8, verified)
    assert 0 < xlated_bytes // 8 <= INSTRUCTIONS_BOUND
    assert 0 < verified <= VERIFIED_BOUND


def _bpftool(*arguments: str) -> str:
    return subprocess.run(
        ["bpftool", *arguments], capture_output=True, check=True, text=True
    ).stdout
