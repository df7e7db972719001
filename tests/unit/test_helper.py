"""The helper process and the server's end of it: one answer for each question, whatever it is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.capture.attach import Attached
from exporter.capture.bpf import close_all
from exporter.capture.helper import Helper
from exporter.errors import ExporterError

ROOT = Path(__file__).resolve().parents[2]
LONG_S = 20.0

SCRIPT = """
import os, sys
from exporter.capture import helper_main
from exporter.capture.attach import Attached
from exporter.errors import ExporterError

class Attacher:
    def __init__(self, program_fds, links):
        self.pinned = bool(links)
        names = [os.read(fd, 100).decode() for fd in program_fds]
        self.say("programs", *([links] * self.pinned), *names)

    def say(self, *words):
        print(*words, flush=True)

    def attach(self, ifindex, mode, kind):
        self.say("attach", ifindex, mode, repr(kind))
        if ifindex == 13:
            raise ExporterError("it brings bad luck")
        if ifindex == 14:
            raise OSError(19, "No such device")
        if self.pinned:
            return Attached("tcx", (), True)
        return Attached("clsact", ()) if mode == "clsact" else Attached("tcx", os.pipe())

    def detach(self, ifindex):
        self.say("detach", ifindex)

    def programs_before(self, ifindex):
        self.say("open", len(os.listdir("/proc/self/fd")))
        return 2, -1

    def tidy(self, attached):
        self.say("tidy", *sorted(attached))

    def end(self):
        self.say("end")

helper_main.Attacher = Attacher
helper_main.main(int(sys.argv[1]))
"""
"""The real main(), with an attacher that says what it is asked for."""


class RunningHelper:
    """The helper process, and the server's end of its socket."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(LONG_S)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={"PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def give_programs(self, links: str = "") -> None:
        pipes = [os.pipe(), os.pipe()]
        for (_, write), name in zip(pipes, ("ingress", "egress"), strict=True):
            os.write(write, name.encode())
        assert self.ask(f"1 programs {links}", *(read for read, _ in pipes)) == ("1 ok ", [])
        close_all(fd for pipe in pipes for fd in pipe)

    def ask(self, message: str, *descriptors: int) -> tuple[str, list[int]]:
        socket.send_fds(self.socket, [message.encode()], descriptors)
        answer, received, _, _ = socket.recv_fds(self.socket, 4096, 8)
        return answer.decode(), received

    def end(self) -> list[str]:
        """What it has said when it has ended by itself."""
        self.socket.close()
        output, _ = self.process.communicate(timeout=LONG_S)
        assert self.process.returncode == 0, output
        return output.splitlines()


@pytest.fixture
def running() -> Iterator[RunningHelper]:
    made = RunningHelper()
    made.give_programs()
    yield made
    made.socket.close()
    if made.process.poll() is None:
        made.process.kill()
    made.process.communicate(timeout=LONG_S)


def test_it_attaches_and_hands_over_the_links(running: RunningHelper) -> None:
    answer, descriptors = running.ask("2 attach 7 auto veth")
    assert answer == "2 ok tcx"
    assert len(descriptors) == 2
    close_all(descriptors)
    assert running.ask("3 attach 8 clsact ") == ("3 ok clsact", [])
    assert running.ask("4 query 7") == ("4 ok 2 -1", [])
    assert running.ask("5 detach 8") == ("5 ok ", [])
    said = [line for line in running.end() if not line.startswith("open")]
    assert said == [
        "programs ingress egress",
        "attach 7 auto 'veth'",
        "attach 8 clsact ''",
        "detach 8",
        "end",
    ]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("2 attach 13 auto veth", "2 error it brings bad luck"),
        ("2 attach 14 auto veth", "2 error [Errno 19] No such device"),
        ("2 dance 7", "2 error the helper knows no operation dance"),
        ("2 attach", "2 error "),
        ("2 attach seven auto veth", "2 error "),
        ("2", "2 error "),
        ("\N{SNOWMAN}", "\N{SNOWMAN} error "),
    ],
)
def test_what_it_cannot_do_is_an_answer_too(
    running: RunningHelper, question: str, answer: str
) -> None:
    assert running.ask(question)[0].startswith(answer)
    assert running.ask("3 query 7") == ("3 ok 2 -1", [])
    assert running.end()[-1] == "end"


def test_with_a_directory_for_pins_no_link_is_handed_over() -> None:
    pinning = RunningHelper()
    pinning.give_programs("/sys/fs/bpf/a")
    assert pinning.ask("2 attach 7 auto ") == ("2 ok tcx pinned", [])
    assert pinning.ask("3 tidy 9 7 8") == ("3 ok ", [])
    assert pinning.ask("4 tidy ") == ("4 ok ", [])
    assert pinning.end() == [
        "programs /sys/fs/bpf/a ingress egress",
        "attach 7 auto ''",
        "tidy 7 8 9",
        "tidy",
        "end",
    ]


def test_bytes_that_are_no_text_are_answered(running: RunningHelper) -> None:
    running.socket.send(b"\xff\xfe 2 attach")
    assert b"error" in running.socket.recv(4096)
    assert running.end()[-1] == "end"


def test_it_keeps_no_descriptor_after_an_answer(running: RunningHelper) -> None:
    for number in range(2, 10):
        _, descriptors = running.ask(f"{number} attach 7 tcx ")
        close_all(descriptors)
        stray = os.pipe()
        running.ask(f"{number} query 7", *stray)
        close_all(stray)
    opened = {line for line in running.end() if line.startswith("open")}
    assert len(opened) == 1, opened


def test_a_message_without_programs_is_no_beginning() -> None:
    fresh = RunningHelper()
    assert fresh.ask("1 attach 7 auto veth")[0].startswith("1 error ")
    fresh.give_programs()
    assert fresh.end() == ["programs ingress egress", "end"]


def test_where_the_server_ends_before_it_gave_the_programs_it_ends_too() -> None:
    assert RunningHelper().end() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_to_all_of_the_group_leave_it_to_its_work(
    running: RunningHelper, number: signal.Signals
) -> None:
    """The server's last flows are still to come, and then its filters must go."""
    running.process.send_signal(number)
    assert running.ask("2 query 7") == ("2 ok 2 -1", [])
    assert running.end()[-1] == "end"


Answers = Callable[[socket.socket, str], object]


@pytest.fixture
def served_by(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answers], Helper]]:
    """A Helper that is answered by a function in a thread, instead of a process."""
    sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def make(answer: Answers) -> Helper:
        class Process:
            """As Popen: has the helper's end of the socket, and never ends by itself."""

            def __init__(self, _: object, *, pass_fds: list[int], **__: object) -> None:
                self.socket = socket.socket(fileno=os.dup(pass_fds[0]))
                sockets.append(self.socket)
                threads.append(threading.Thread(target=self._serve, daemon=True))
                threads[-1].start()

            def _serve(self) -> None:
                while message := self.socket.recv(4096):
                    answer(self.socket, message.decode())

            def poll(self) -> None:
                return None

        with monkeypatch.context() as patched:
            patched.setattr(subprocess, "Popen", Process)
            made = Helper()
        sockets.append(made._socket)
        made._socket.settimeout(LONG_S)
        return made

    yield make
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(LONG_S)
    for each in sockets:
        each.close()


def test_questions_and_answers(served_by: Callable[[Answers], Helper]) -> None:
    asked: list[str] = []

    def answer(channel: socket.socket, message: str) -> None:
        asked.append(message)
        number = message.split()[0]
        channel.send(f"{number} ok {'clsact' if 'attach' in message else '3 -1'}".encode())

    it = served_by(answer)
    assert it.attach(7, "auto", "veth") == Attached("clsact", ())
    assert it.programs_before(7) == (3, -1)
    it.detach(7)
    it.tidy([7, 8])
    assert asked == ["1 attach 7 auto veth", "2 query 7", "3 detach 7", "4 tidy 7 8"]


def test_what_is_pinned_comes_without_links(served_by: Callable[[Answers], Helper]) -> None:
    it = served_by(lambda channel, _: channel.send(b"1 ok clsact pinned"))
    assert it.attach(7, "clsact", "") == Attached("clsact", (), pinned=True)
    assert not it._has_filters, "nothing must be taken off at the end"


def test_links_come_with_the_answer(served_by: Callable[[Answers], Helper]) -> None:
    read, write = os.pipe()
    it = served_by(
        lambda channel, _: socket.send_fds(channel, [b"1 ok tcx"], [write, write]) and None
    )
    attached = it.attach(7, "auto", "")
    assert (attached.mode, len(attached.link_fds)) == ("tcx", 2)
    os.write(attached.link_fds[1], b"!")
    assert os.read(read, 1) == b"!"
    close_all([read, write, *attached.link_fds])


def test_an_error_is_the_sentence_that_the_helper_gave(
    served_by: Callable[[Answers], Helper],
) -> None:
    it = served_by(lambda channel, _: channel.send(b"1 error the kernel has no tcx"))
    with pytest.raises(ExporterError, match=r"^the kernel has no tcx$"):
        it.attach(7, "tcx", "")


def test_a_late_answer_is_not_taken_for_the_next_one(
    served_by: Callable[[Answers], Helper],
) -> None:
    """Its links are closed, which takes the programs off again."""
    read, write = os.pipe()

    def answer(channel: socket.socket, message: str) -> None:
        if message.startswith("2"):
            socket.send_fds(channel, [b"1 ok tcx"], [write, write])
            os.close(write)
            channel.send(b"2 ok 0 0")

    it = served_by(answer)
    it._socket.settimeout(0.05)
    with pytest.raises(ExporterError, match="has not answered in"):
        it.attach(7, "auto", "")
    it._socket.settimeout(LONG_S)
    assert it.programs_before(7) == (0, 0)
    assert os.read(read, 1) == b"", "nobody holds the link any more"
    os.close(read)


def test_a_helper_that_is_gone_is_one_sentence(served_by: Callable[[Answers], Helper]) -> None:
    it = served_by(lambda channel, _: channel.shutdown(socket.SHUT_RDWR))
    for _ in range(2):
        with pytest.raises(ExporterError, match=r"the helper .* is gone.*: restart the exporter"):
            it.programs_before(7)
    it._socket.close()
    with pytest.raises(ExporterError, match="is gone"):
        it.programs_before(7)


def test_the_real_helper_starts_and_ends() -> None:
    it = Helper()
    it.close()
    assert it._process.returncode == 0
    it.close()
