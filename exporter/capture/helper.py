"""The serving process's end of the helper: the one process that keeps its privileges.

The serving process has none, so interfaces that appear later, or come back, and filters that must
go at the end are the helper's. It does nothing but attach and detach, and holds no map and no link.

The protocol, over a socket pair: one message `OPERATION IFINDEX MODE KIND`, one answer `ok WORDS`
or `error SENTENCE`, with descriptors of links beside it.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from exporter.capture.attach import Attached
from exporter.capture.bpf import close_all
from exporter.errors import ExporterError

_MESSAGE_BYTES = 4096
_ANSWER_TIMEOUT_S = 10.0


class Helper:
    """Attaches and detaches; raises ExporterError where that fails, or where the helper is gone."""

    def __init__(self) -> None:
        """Starts the helper process, while privileges are there to give it."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_ANSWER_TIMEOUT_S)
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    "-c",
                    f"import sys; sys.path.append({str(Path(__file__).resolve().parents[2])!r})\n"
                    f"from exporter.capture.helper_main import main\n"
                    f"main({theirs.fileno()})",
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def give_programs(self, ingress_fd: int, egress_fd: int) -> None:
        """Hands over the programs to attach; to be called once, before anything else."""
        self._ask("programs", give=(ingress_fd, egress_fd))

    def attach(self, ifindex: int, mode: str, kind: str) -> Attached:
        """As Attacher.attach."""
        words, descriptors = self._ask(f"attach {ifindex} {mode} {kind}")
        return Attached(words[0], tuple(descriptors))

    def detach(self, ifindex: int) -> None:
        """As Attacher.detach."""
        self._ask(f"detach {ifindex}")

    def programs_before(self, ifindex: int) -> tuple[int, int]:
        """As Attacher.programs_before."""
        words, _ = self._ask(f"query {ifindex}")
        return int(words[0]), int(words[1])

    def close(self) -> None:
        """Ends the helper, which takes clsact filters off first, and waits for that."""
        self._socket.close()
        try:
            self._process.wait(_ANSWER_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _ask(self, message: str, give: Sequence[int] = ()) -> tuple[list[str], list[int]]:
        try:
            socket.send_fds(self._socket, [message.encode()], give)
            reply, descriptors, _, _ = socket.recv_fds(self._socket, _MESSAGE_BYTES, 2)
        except OSError as error:
            raise ExporterError(f"the helper that attaches interfaces is gone ({error})") from error
        verdict, _, rest = reply.decode().partition(" ")
        if verdict != "ok":
            close_all(descriptors)
            raise ExporterError(
                rest or "the helper that attaches interfaces is gone: restart the exporter"
            )
        return rest.split(), descriptors
