"""The bpf(2) calls that the exporter makes itself, without bcc: by descriptor, a few dozen lines.

Attribute layouts are those of `union bpf_attr` in include/uapi/linux/bpf.h. Every call raises
OSError as the kernel answers; who calls it knows what to say of that.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}.get(
    os.uname().machine, 321
)

MAP_CREATE = 0
MAP_LOOKUP_ELEM = 1
MAP_UPDATE_ELEM = 2
PROG_LOAD = 5
OBJ_PIN = 6
OBJ_GET = 7
PROG_TEST_RUN = 10
OBJ_GET_INFO_BY_FD = 15
PROG_QUERY = 16
LINK_CREATE = 28
LINK_UPDATE = 29
LINK_DETACH = 34

PROG_TYPE_SCHED_CLS = 3
MAP_TYPE_ARRAY = 2
MAP_TYPE_RINGBUF = 27
MAP_FLAG_MMAPABLE = 1 << 10

LINK_TYPE_TCX = 11
TCX_INGRESS = 46
TCX_EGRESS = 47
BEFORE = 1 << 3
"""With no relative program: first in the chain."""

_QUERY_MAX = 64
_LOG_BYTES = 1 << 24

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def bpf(command: int, attributes: bytes | ctypes.Array[ctypes.c_char]) -> int:
    """Calls bpf(2) and returns its result; an array is written to by the kernel."""
    buffer = (
        ctypes.create_string_buffer(attributes, len(attributes))
        if isinstance(attributes, bytes)
        else attributes
    )
    result = int(_libc.syscall(_SYSCALL, command, buffer, ctypes.c_uint(len(buffer))))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def _pointer(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


def map_create_array(value_size: int, entries: int, flags: int = 0, name: str = "") -> int:
    """A new array map's descriptor. *name*: as tools show it, of at most 15 bytes."""
    return _map_create(MAP_TYPE_ARRAY, 4, value_size, entries, flags, name)


def map_create_ring(size: int, name: str = "") -> int:
    """A new ring buffer's descriptor. *size*: bytes, a power of two, a page at least."""
    return _map_create(MAP_TYPE_RINGBUF, 0, 0, size, 0, name)


def _map_create(
    kind: int, key_size: int, value_size: int, entries: int, flags: int, name: str
) -> int:
    attributes = struct.pack(
        "=IIIII8x16s16x", kind, key_size, value_size, entries, flags, name.encode()
    )
    return bpf(MAP_CREATE, attributes)


def pin(fd: int, path: str | os.PathLike[str]) -> None:
    """Gives a map or a link a name in a BPF file system, which keeps it alive."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    bpf(OBJ_PIN, struct.pack("=QI4x", _pointer(name), fd))


def get_pinned(path: str | os.PathLike[str]) -> int:
    """A descriptor of what is pinned there."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return bpf(OBJ_GET, struct.pack("=QII", _pointer(name), 0, 0))


def map_update(fd: int, key: bytes, value: bytes) -> None:
    """Writes one element. On a map of maps the kernel returns only after an RCU grace period."""
    keys = ctypes.create_string_buffer(key, len(key))
    values = ctypes.create_string_buffer(value, len(value))
    bpf(MAP_UPDATE_ELEM, struct.pack("=I4xQQQ", fd, _pointer(keys), _pointer(values), 0))


def program_load(
    name: str, instructions: bytes, log: ctypes.Array[ctypes.c_char] | None = None
) -> int:
    """A loaded tc program's descriptor. *name*: of at most 15 bytes; *log*: for the verifier's."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    logging = (1, len(log), _pointer(log)) if log is not None else (0, 0, 0)
    attributes = struct.pack(
        "=IIQQIIQII16sII",
        *(PROG_TYPE_SCHED_CLS, len(code) // 8, _pointer(code), _pointer(licence), *logging),
        *(0, 0, name.encode(), 0, 0),
    )
    return bpf(PROG_LOAD, attributes)


def verifier_log(name: str, instructions: bytes) -> str:
    """What the verifier says of a program that it has refused."""
    log = ctypes.create_string_buffer(_LOG_BYTES)
    try:
        os.close(program_load(name, instructions, log))
    except OSError as error:
        return log.value.decode(errors="replace").strip() or str(error.strerror)
    return "it was accepted the second time"


def link_create_tcx(program_fd: int, ifindex: int, attach_type: int) -> int:
    """Attaches a program first in a device's tcx chain; closing the descriptor detaches it."""
    return bpf(
        LINK_CREATE, struct.pack("=IIIIIIQ", program_fd, ifindex, attach_type, BEFORE, 0, 0, 0)
    )


def link_update(link_fd: int, program_fd: int) -> None:
    """Puts another program in the place of a link's, atomically.

    ENOLINK: the device is gone.
    """
    bpf(LINK_UPDATE, struct.pack("=IIII", link_fd, program_fd, 0, 0))


def link_detach(link_fd: int) -> None:
    """Takes a link's program off at once, whoever still holds the link."""
    bpf(LINK_DETACH, struct.pack("=I", link_fd))


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """Of `struct bpf_link_info`, for tcx."""

    type: int
    """LINK_TYPE_TCX; of others the rest says something else."""
    program_id: int
    ifindex: int
    """0 where the device is gone."""
    attach_type: int


def link_info(fd: int) -> LinkInfo:
    """What a link attaches to what."""
    return LinkInfo(*struct.unpack_from("=I4xI4xII", _object_info(fd, 64)))


def query_tcx(ifindex: int, attach_type: int) -> list[int]:
    """The ids of the programs in a device's tcx chain, first to last."""
    ids = ctypes.create_string_buffer(4 * _QUERY_MAX)
    attributes = ctypes.create_string_buffer(
        struct.pack(
            "=IIIIQI4xQQQQ", ifindex, attach_type, 0, 0, _pointer(ids), _QUERY_MAX, 0, 0, 0, 0
        )
    )
    bpf(PROG_QUERY, attributes)
    count = min(struct.unpack_from("=I", attributes, 24)[0], _QUERY_MAX)
    return list(struct.unpack_from(f"={count}I", ids))


def _object_info(fd: int, size: int) -> ctypes.Array[ctypes.c_char]:
    info = ctypes.create_string_buffer(size)
    bpf(OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, size, _pointer(info)))
    return info


def program_id(fd: int) -> int:
    """The kernel's id of a program."""
    return int(struct.unpack_from("=II", _object_info(fd, 64))[1])


@dataclass(frozen=True, slots=True)
class MapInfo:
    """Of `struct bpf_map_info`; sizes in bytes."""

    type: int
    id: int
    key_size: int
    value_size: int
    entries: int
    flags: int


def map_info(fd: int) -> MapInfo:
    """What kind of map a descriptor is, and its size."""
    return MapInfo(*struct.unpack_from("=IIIIII", _object_info(fd, 64)))


@dataclass(frozen=True, slots=True)
class TestRun:
    """What a program answered in a test run."""

    returned: int
    duration_ns: int
    data: bytes


def program_test_run(
    fd: int, data: bytes, context: bytes = b"", repeat: int = 1, out_size: int = 0
) -> TestRun:
    """Runs a program over *data* (14 bytes at least), with *context* as its `struct __sk_buff`."""
    source = ctypes.create_string_buffer(data, len(data))
    out = ctypes.create_string_buffer(out_size or len(data) + 256)
    given = ctypes.create_string_buffer(context, max(len(context), 1))
    attributes = ctypes.create_string_buffer(
        struct.pack(
            "=IIIIQQIIIIQQ",
            fd,
            0,
            len(data),
            len(out),
            _pointer(source),
            _pointer(out),
            repeat,
            0,
            len(context),
            0,
            _pointer(given) if context else 0,
            0,
        )
    )
    bpf(PROG_TEST_RUN, attributes)
    returned, _, out_len = struct.unpack_from("=III", attributes, 4)
    return TestRun(returned, struct.unpack_from("=I", attributes, 36)[0], out.raw[:out_len])


def close_all(descriptors: Iterable[int]) -> None:
    """Closes descriptors of programs, maps or links."""
    for descriptor in descriptors:
        os.close(descriptor)
