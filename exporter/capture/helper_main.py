"""The helper process: attaches and detaches for the serving process, and tidies up after it.

It reads only what the serving process sends it:

    programs [DIRECTORY]        with their descriptors; pinned links go there
    attach IFINDEX MODE KIND    answered by the mode, and by `pinned` or the links' descriptors
    detach IFINDEX
    tidy IFINDEX ...            detach all others
    query IFINDEX               answered by how many programs are before ours

When their socket ends, however the server died, it takes clsact filters off that have no pins, and
ends too.
"""

from __future__ import annotations

import os
import signal
import socket

from exporter.capture.attach import PINNED, Attacher
from exporter.capture.bpf import close_all
from exporter.errors import ExporterError

_MESSAGE_BYTES = 4096


def main(socket_fd: int) -> None:
    """One answer for each message, until the socket ends; see helper.py for what they say."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the server gets them too, and its end is ours
    channel = socket.socket(fileno=socket_fd)
    attacher: Attacher | None = None
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, _MESSAGE_BYTES, 2)
        if not message:
            break
        asked, _, request = message.decode(errors="replace").partition(" ")
        words = ""
        give: tuple[int, ...] = ()
        try:
            if attacher is None:
                _, _, links = request.partition(" ")
                attacher = Attacher((descriptors[0], descriptors[1]), links)
            else:
                close_all(descriptors)
                words, give = _serve(attacher, request)
            answer = f"ok {words}"
        except (ExporterError, OSError, ValueError, IndexError) as error:
            answer = f"error {error}"
        try:
            socket.send_fds(channel, [f"{asked} {answer}".encode()], give)
        except OSError:
            break
        close_all(give)
    if attacher is not None:
        attacher.end()
    os._exit(0)


def _serve(attacher: Attacher, message: str) -> tuple[str, tuple[int, ...]]:
    operation, _, rest = message.partition(" ")
    if operation == "tidy":
        attacher.tidy({int(word) for word in rest.split()})
        return "", ()
    number, _, rest = rest.partition(" ")
    ifindex = int(number)
    if operation == "attach":
        mode, _, kind = rest.partition(" ")
        attached = attacher.attach(ifindex, mode, kind)
        return attached.mode + f" {PINNED}" * attached.pinned, attached.link_fds
    if operation == "detach":
        attacher.detach(ifindex)
        return "", ()
    if operation == "query":
        ingress, egress = attacher.programs_before(ifindex)
        return f"{ingress} {egress}", ()
    raise ExporterError(f"the helper knows no operation {operation}")
