"""The serving process's end of the helper: the one process that keeps its privileges.

The serving process has none, so interfaces that appear later, or come back, and filters that must
go at the end are the helper's. It does nothing but attach and detach, and holds no map and no link.

The protocol, over a socket pair: one message `NUMBER OPERATION WORDS` (see helper_main), one answer
`NUMBER ok WORDS` or `NUMBER error SENTENCE`, with descriptors of links beside it. The number tells
it from the late answer to a question that was given up.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from exporter.capture.attach import CLSACT, PINNED, Attached
from exporter.capture.bpf import close_all
from exporter.errors import ExporterError

_MESSAGE_BYTES = 4096
_ANSWER_TIMEOUT_S = 10.0
_GONE = "the helper that attaches interfaces is gone"

_log = logging.getLogger(__name__)


class Helper:
    """Attaches and detaches; raises ExporterError where that fails, or where the helper is gone."""

    def __init__(self) -> None:
        """Starts the helper process, while privileges are there to give it."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_ANSWER_TIMEOUT_S)
        self._asked = 0
        self._has_filters = False
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    "-c",
                    f"import sys; sys.path.append({str(Path(__file__).resolve().parents[2])!r})\n"
                    f"from exporter import lean; lean.keep_out()\n"
                    f"from exporter.capture.helper_main import main\n"
                    f"main({theirs.fileno()})",
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def give_programs(self, ingress_fd: int, egress_fd: int, links: Path | None = None) -> None:
        """Hands over the programs to attach; to be called once, before anything else.

        *links*: as of Attacher.
        """
        self._ask(f"programs {links or ''}", give=(ingress_fd, egress_fd))

    def attach(self, ifindex: int, mode: str, kind: str) -> Attached:
        """As Attacher.attach."""
        words, descriptors = self._ask(f"attach {ifindex} {mode} {kind}")
        pinned = words[1:] == [PINNED]
        self._has_filters |= words[0] == CLSACT and not pinned
        return Attached(words[0], tuple(descriptors), pinned)

    def detach(self, ifindex: int) -> None:
        """As Attacher.detach."""
        self._ask(f"detach {ifindex}")

    def tidy(self, attached: Iterable[int]) -> None:
        """As Attacher.tidy: once, when all interfaces of the start are attached."""
        self._ask(f"tidy {' '.join(map(str, attached))}")

    def programs_before(self, ifindex: int) -> tuple[int, int]:
        """As Attacher.programs_before."""
        words, _ = self._ask(f"query {ifindex}")
        return int(words[0]), int(words[1])

    def close(self) -> None:
        """Ends the helper, which takes clsact filters off first that are not to stay."""
        if self._has_filters and self._process.poll() is not None:
            _log.warning(
                "%s, so the clsact filters stay: ayaflow-exporter detach removes them", _GONE
            )
        self._socket.close()
        try:
            self._process.wait(_ANSWER_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _ask(self, message: str, give: Sequence[int] = ()) -> tuple[list[str], list[int]]:
        self._asked += 1
        try:
            socket.send_fds(self._socket, [f"{self._asked} {message}".encode()], give)
            number = ""
            while number != str(self._asked):
                reply, descriptors, _, _ = socket.recv_fds(self._socket, _MESSAGE_BYTES, 2)
                if not reply:
                    raise ExporterError(f"{_GONE}: restart the exporter")
                number, _, answer = reply.decode().partition(" ")
                if number != str(self._asked):
                    close_all(descriptors)
        except TimeoutError as error:
            raise ExporterError(
                f"the helper that attaches interfaces has not answered in {_ANSWER_TIMEOUT_S:.0f} s"
            ) from error
        except OSError as error:
            raise ExporterError(f"{_GONE} ({error.strerror}): restart the exporter") from error
        verdict, _, rest = answer.partition(" ")
        if verdict != "ok":
            close_all(descriptors)
            raise ExporterError(rest)
        return rest.split(), descriptors
