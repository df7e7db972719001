"""Two programs of the one that is compiled, one for each direction, and verifiers' view of them."""

from __future__ import annotations

import errno
import os
import struct
import threading
from typing import NoReturn

from exporter.capture import bpf
from exporter.capture.records import FLOW_EGRESS, FLOW_INGRESS
from exporter.errors import ExporterError

_DIRECTION_PLACE = struct.pack("=I", 0x41594146)
"""As in bpf/flow_monitor.c."""

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
    its direction put in its place. To compile it twice takes half as long again.
    """
    before, place, after = instructions.partition(_DIRECTION_PLACE)
    if not place or len(before) % 8 != 4 or _DIRECTION_PLACE in after:
        raise ExporterError("the compiled kernel program has no place for its direction")
    return [
        (name, before + struct.pack("=i", direction) + after)
        for name, direction in (("monitor_ingress", FLOW_INGRESS), ("monitor_egress", FLOW_EGRESS))
    ]


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

    ingress, egress = programs_of(instructions)
    beside = threading.Thread(target=load, args=egress)
    try:
        beside.start()
    except RuntimeError:  # the system allows no more threads
        load(*egress)
        load(*ingress)
    else:
        load(*ingress)
        beside.join()
    if failed:
        bpf.close_all(loaded.values())
        _refuse(
            [
                (*program, failed[program[0]])
                for program in (ingress, egress)
                if program[0] in failed
            ]
        )
    return [loaded[name] for name, _ in (ingress, egress)]


def _refuse(failed: list[tuple[str, bytes, OSError]]) -> NoReturn:
    """What the verifier says of one is of no interest where another could not be loaded at all."""
    for _, _, error in failed:
        if error.errno not in _OF_THE_VERIFIER:
            raise error
    name, of_one, error = failed[0]
    raise RefusedError(name, of_one, error.errno or 0) from error
