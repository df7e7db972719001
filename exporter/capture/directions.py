"""Two programs of the one that is compiled, one for each direction, and verifiers' view of them."""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Callable

from exporter.capture import bpf
from exporter.capture.records import FLOW_EGRESS, FLOW_INGRESS
from exporter.errors import ExporterError

_DIRECTION_PLACE = struct.pack("=I", 0x41594146)
"""As in bpf/flow_monitor.c."""
_MOVE = 0xB7
"""The instruction that has it: of a constant into a register."""
_MAP, _MAP_VALUE = 1 << 4, 2 << 4
"""BPF_PSEUDO_MAP_FD and BPF_PSEUDO_MAP_VALUE of include/uapi/linux/bpf.h, beside a register."""
_MAP_PLACES = {
    struct.pack("=II", 0x44455653, 0x53594146): ("devices", _MAP_VALUE),
    struct.pack("=II", 0x45564E54, 0x53594146): ("flow_events", _MAP),
    struct.pack("=II", 0x50594C44, 0x53594146): ("payloads", _MAP),
}
"""As in bpf/flow_monitor.c, the low half first: of which map, and what of it."""
_LOAD = 0x18
"""The instruction that has it: of 64 bits into a register. It is two long, with a half in each."""
_INSTRUCTION_BYTES, _CONSTANT_AT = 8, 4

_OF_THE_VERIFIER = (errno.E2BIG, errno.EINVAL, errno.EACCES)
_STATISTICS = ("processed ", "verification time ", "stack depth ")
"""What the verifier's last lines begin with that say nothing about what is wrong."""


class RefusedError(Exception):
    """The verifier refuses a program."""

    def __init__(self, name: str, instructions: bytes, number: int) -> None:
        super().__init__(name)
        self._name, self._instructions, self._number = name, instructions, number

    def sentence(self) -> str:
        """What is wrong, by a second verification; prints all that the verifier says."""
        log = bpf.verifier_log(self._name, self._instructions)
        print(log)
        wrong = [line for line in log.splitlines() if not line.startswith(_STATISTICS)]
        return f"{self._name}: {os.strerror(self._number)}: {wrong[-1] if wrong else 'no reason'}"


def programs_of(instructions: bytes) -> list[tuple[str, bytes]]:
    """Name and instructions of the programs for ingress and egress: the one that was compiled, with
    its direction put in its places. To compile it twice takes half as long again.
    """
    places = [
        at + _CONSTANT_AT
        for at in range(0, len(instructions), _INSTRUCTION_BYTES)
        if instructions[at] == _MOVE
        and instructions[at + _CONSTANT_AT : at + _INSTRUCTION_BYTES] == _DIRECTION_PLACE
    ]
    if not places:
        raise ExporterError("the compiled kernel program has no place for its direction")
    programs = []
    for name, direction in (("monitor_ingress", FLOW_INGRESS), ("monitor_egress", FLOW_EGRESS)):
        of_one = bytearray(instructions)
        for place in places:
            struct.pack_into("=i", of_one, place, direction)
        programs.append((name, bytes(of_one)))
    return programs


def with_maps(instructions: bytes, fd_of: Callable[[str], int]) -> bytes:
    """The same, with maps, by name, put in their places, or the address of what is in them, which
    no packet has to look up. Where one is forgotten the verifier refuses what is no address.
    """
    told = bytearray(instructions)
    for at in range(0, len(told) - _INSTRUCTION_BYTES, _INSTRUCTION_BYTES):
        low, high = at + _CONSTANT_AT, at + _INSTRUCTION_BYTES + _CONSTANT_AT
        place = _MAP_PLACES.get(bytes(told[low : low + 4] + told[high : high + 4]))
        if told[at] == _LOAD and place is not None:
            name, kind = place
            told[at + 1] |= kind
            struct.pack_into("=i", told, low, fd_of(name))
            struct.pack_into("=i", told, high, 0)
    return bytes(told)


def load_both(instructions: bytes) -> list[int]:
    """Descriptors of the loaded programs, both verified at the same time: that takes longest.

    Raises RefusedError, and OSError for any other reason.
    """
    loaded: dict[str, int] = {}
    failed: dict[str, OSError] = {}

    def load(name: str, of_one: bytes) -> None:
        try:
            loaded[name] = bpf.program_load(name, of_one)
        except OSError as error:
            failed[name] = error

    programs = dict(programs_of(instructions))
    ingress, egress = programs.items()
    beside = threading.Thread(target=load, args=egress)
    try:
        beside.start()
    except RuntimeError:  # the system allows no more threads
        load(*egress)
        load(*ingress)
    else:
        load(*ingress)
        beside.join()
    refused = [name for name in programs if name in failed]
    if not refused:
        return [loaded[name] for name in programs]
    bpf.close_all(loaded.values())
    for error in failed.values():
        if error.errno not in _OF_THE_VERIFIER:  # then what a verifier says is of no interest
            raise error
    error = failed[refused[0]]
    raise RefusedError(refused[0], programs[refused[0]], error.errno or 0) from error
