"""What somebody can do who runs code of their own in the serving process: next to nothing.

The real exporter is started with one page more, which tries it all, in the thread of an answer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.e2e.exporter_process import ROOT, Exporter, let_everybody_in
from tests.e2e.metrics import check_identity
from tests.e2e.net import End, Namespace, Network

ATTACK = """
import ctypes, errno, json, os, signal, socket, struct, sys
sys.path.insert(0, {root!r})
from exporter import cli
from exporter.capture import bpf
from exporter.outputs.http_message import Response
from exporter.outputs.web import Web

RTM_NEWLINK, NLM_REQUEST_ACK, IFF_UP = 16, 5, 1
LOOPBACK = 1

def tries(act):
    try:
        act()
        return "done"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))

def set_down():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as plug:
        link = struct.pack("=BBHiII", 0, 0, 0, LOOPBACK, 0, IFF_UP)
        plug.send(struct.pack("=IHHII", 16 + len(link), RTM_NEWLINK, NLM_REQUEST_ACK, 1, 0) + link)
        (code,) = struct.unpack_from("=i", plug.recv(4096), 16)
        if code:
            raise OSError(-code, os.strerror(-code))

def helper():
    own = os.getpid()
    with open(f"/proc/self/task/{{own}}/children") as children:
        return int(children.read().split()[0])

def enter():
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000):
        raise OSError(ctypes.get_errno(), "")

def by_id(command):
    bpf.bpf(command, struct.pack("=III", 1, 0, 0))

def attack(environ):
    folder = {folder!r}
    found = {{
        "read /etc/shadow": tries(lambda: open("/etc/shadow")),
        "read /etc/passwd": tries(lambda: open("/etc/passwd")),
        "list /root": tries(lambda: os.listdir("/root")),
        "read another process": tries(lambda: open("/proc/1/environ")),
        "write /tmp": tries(lambda: open("/tmp/ayaflow-was-here", "w")),
        "write beside the history": tries(lambda: open(folder + "/../outside", "w")),
        "write in the history's folder": tries(lambda: open(folder + "/inside", "w")),
        "make a link there": tries(lambda: os.symlink("/etc/shadow", folder + "/link")),
        "run a program": tries(lambda: os.execv("/bin/true", ["true"])),
        "signal init": tries(lambda: os.kill(1, signal.SIGSTOP)),
        "signal the helper": tries(lambda: os.kill(helper(), signal.SIGSTOP)),
        "become root": tries(lambda: os.setuid(0)),
        "open a raw socket": tries(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)),
        "change an interface": tries(set_down),
        "load a program": tries(lambda: bpf.program_load("x", bytes.fromhex("b700000000000000"
                                                                            "9500000000000000"))),
        "make a map": tries(lambda: bpf.map_create_array(8, 1)),
        "find a program": tries(lambda: by_id(13)),
        "find a map": tries(lambda: by_id(14)),
        "find a link": tries(lambda: by_id(30)),
        "attach": tries(lambda: bpf.link_create_tcx(3, LOOPBACK, bpf.TCX_INGRESS)),
        "enter a namespace": tries(enter),
    }}
    return Response("200 OK", (), json.dumps(found).encode())

made = Web.__init__
def with_one_page_more(self, *rest):
    made(self, *rest)
    self._pages["/attack"] = attack
Web.__init__ = with_one_page_more
sys.exit(cli.main(sys.argv[1:]))
"""


class TakenOver(Exporter):
    """The exporter with the page."""

    def __init__(self, namespace: Namespace, folder: Path, *flags: str) -> None:
        super().__init__(namespace, *flags)
        self._script = ATTACK.format(root=str(ROOT), folder=str(folder))

    def command(self, *flags: str) -> tuple[str, ...]:
        return (sys.executable, "-c", self._script, *flags)


@pytest.fixture
def ends(network: Network) -> tuple[End, End]:
    return network.wire(network.namespace("peer"), network.namespace("host"))


def test_nothing_but_its_history_is_within_reach(ends: tuple[End, End], tmp_path: Path) -> None:
    folder = tmp_path / "history"
    let_everybody_in(tmp_path)
    tmp_path.chmod(0o777)
    flags = ("--interface", "eth0", "--history.path", str(folder / "history.db"))
    with TakenOver(ends[1].namespace, folder, *flags) as exporter:
        tried = json.loads(exporter.get("/attack").body)
        assert tried.pop("write in the history's folder") == "done"
        assert set(tried.values()) <= {"EPERM", "EACCES"}, tried
        assert len(tried) == 20
        check_identity(exporter.scrape())
    assert not (tmp_path / "outside").exists()
    private = {path.name: path.stat().st_mode & 0o777 for path in folder.glob("history.db*")}
    assert set(private.values()) == {0o600}, private
