"""The one process that keeps its privileges, and does nothing but attach and detach.

The serving process has none, so interfaces that appear later, or come back, and filters that must
go at the end are this helper's. It reads only what the serving process sends it over a socket
pair: an operation and an interface's index. When that socket ends, however the server died, it
takes its clsact filters off and ends too. It keeps no map and no link.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exporter.capture.attach import Attached, Attacher
from exporter.capture.bpf import close_all
from exporter.errors import ExporterError

_MESSAGE_BYTES = 65536
_ANSWER_TIMEOUT_S = 10.0


class Helper:
    """The serving process's end."""

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
                    f"from exporter.capture.helper import helper_main\n"
                    f"helper_main({theirs.fileno()})",
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def give_programs(self, ingress_fd: int, egress_fd: int) -> None:
        """Hands over the programs to attach; to be called once, before anything else."""
        self._ask({"operation": "programs"}, [ingress_fd, egress_fd])

    def attach(self, ifindex: int, mode: str, kind: str) -> Attached:
        """As Attacher.attach."""
        answer, descriptors = self._ask(
            {"operation": "attach", "ifindex": ifindex, "mode": mode, "kind": kind}
        )
        return Attached(answer["mode"], tuple(descriptors))

    def detach(self, ifindex: int) -> None:
        """As Attacher.detach."""
        self._ask({"operation": "detach", "ifindex": ifindex})

    def programs_before(self, ifindex: int) -> tuple[int, int]:
        """As Attacher.programs_before; raises ExporterError where it can't be told."""
        answer, _ = self._ask({"operation": "query", "ifindex": ifindex})
        ingress, egress = answer["before"]
        return ingress, egress

    def close(self) -> None:
        """Ends the helper, which takes clsact filters off first, and waits for that."""
        self._socket.close()
        try:
            self._process.wait(_ANSWER_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _ask(self, message: dict[str, Any], give: Sequence[int] = ()) -> tuple[Any, list[int]]:
        try:
            socket.send_fds(self._socket, [json.dumps(message).encode()], give)
            reply, descriptors, _, _ = socket.recv_fds(self._socket, _MESSAGE_BYTES, 2)
        except OSError as error:
            raise ExporterError(f"the helper that attaches interfaces is gone ({error})") from error
        if not reply:
            raise ExporterError("the helper that attaches interfaces is gone: restart the exporter")
        answer = json.loads(reply)
        if "error" in answer:
            close_all(descriptors)
            raise ExporterError(answer["error"])
        return answer, descriptors


def helper_main(socket_fd: int) -> None:
    """The helper's end: one answer for each message, until the socket ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    channel = socket.socket(fileno=socket_fd)
    attacher: Attacher | None = None
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, _MESSAGE_BYTES, 2)
        if not message:
            break
        request = json.loads(message)
        answer: dict[str, Any] = {}
        give: tuple[int, ...] = ()
        try:
            if attacher is None:
                attacher = Attacher((descriptors[0], descriptors[1]))
            else:
                answer, give = _serve(attacher, request)
        except (ExporterError, OSError) as error:
            answer = {"error": str(error)}
        try:
            socket.send_fds(channel, [json.dumps(answer).encode()], give)
        except OSError:
            break
        close_all(give)
    if attacher is not None:
        attacher.detach_all()
    os._exit(0)


def _serve(attacher: Attacher, request: dict[str, Any]) -> tuple[dict[str, Any], tuple[int, ...]]:
    ifindex = int(request["ifindex"])
    operation = request["operation"]
    if operation == "attach":
        attached = attacher.attach(ifindex, request["mode"], request["kind"])
        return {"mode": attached.mode}, attached.link_fds
    if operation == "detach":
        attacher.detach(ifindex)
        return {}, ()
    if operation == "query":
        return {"before": attacher.programs_before(ifindex)}, ()
    raise ExporterError(f"the helper knows no operation {operation}")
