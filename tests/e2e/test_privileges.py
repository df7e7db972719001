"""The serving process: what it may do, what it has mapped, how much memory it takes."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.capture import privileges
from tests.e2e.exporter_process import ROOT, Audit, Exporter
from tests.e2e.net import End, Network
from tests.e2e.traffic import Flood

_IDLE_MIB = 32
_LOADED_MIB = 38
_HISTORY_MIB = 2
"""Of SQLite, most of it code."""
_LOADED_FLOWS = 10_000


@pytest.fixture
def ends(network: Network) -> tuple[End, End]:
    return network.wire(network.namespace("peer"), network.namespace("host"))


def _status(pid: int) -> dict[str, str]:
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (row.partition(":") for row in rows)}


def _check_powerless(pid: int, user: int = 65534) -> None:
    status = _status(pid)
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, f"{kind} {status[kind]}"
    assert status["Uid"].split() == [str(user)] * 4
    assert status["Gid"].split() == [str(user)] * 4
    assert status["Groups"] == ""
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


@pytest.mark.parametrize("mode", ["tcx", "clsact"])
def test_it_has_no_capability_and_is_not_root(ends: tuple[End, End], mode: str) -> None:
    with Exporter(ends[1].namespace, "--interface", "eth0", "--attach", mode) as exporter:
        _check_powerless(exporter.pid)
        for thread in Path(f"/proc/{exporter.pid}/task").iterdir():
            _check_powerless(int(thread.name))


def test_it_becomes_the_user_that_was_asked_for(ends: tuple[End, End]) -> None:
    with Exporter(ends[1].namespace, "--interface", "eth0", "--user", "12345") as exporter:
        _check_powerless(exporter.pid, 12345)


def test_it_holds_no_program_and_maps_no_compiler(ends: tuple[End, End]) -> None:
    with Exporter(ends[1].namespace, "--interface", "eth0") as exporter:
        for pid in exporter.pids():
            lines = Path(f"/proc/{pid}/maps").read_text().lower().splitlines()
            files = {line.split(maxsplit=5)[5] for line in lines if len(line.split()) > 5}
            for library in ("bcc", "llvm", "clang", "pyroute2"):
                assert not [file for file in files if library in file], f"{library} is mapped"
        links = [os.readlink(fd) for fd in Path(f"/proc/{exporter.pid}/fd").iterdir()]
        assert not [link for link in links if "bpf-prog" in link]
        # Open files: standard input, output and error, and nothing of the machine's.
        files = {link for link in links if link.startswith("/") and "memfd:std" not in link}
        assert files <= {"/dev/null"}, files


def test_only_the_server_and_its_helper_stay(ends: tuple[End, End]) -> None:
    with Exporter(ends[1].namespace, "--interface", "eth0") as exporter:
        helper = [pid for pid in exporter.pids() if pid != exporter.pid]
        assert len(helper) == 1
        maps = [os.readlink(fd) for fd in Path(f"/proc/{helper[0]}/fd").iterdir()]
        assert not [link for link in maps if "bpf-map" in link or "bpf_link" in link]


def test_the_server_goes_on_without_its_helper(ends: tuple[End, End], flood: Flood) -> None:
    peer, host = ends
    with Exporter(host.namespace, "--interface", "eth0") as exporter:
        audit = Audit(exporter, host)
        (helper,) = (pid for pid in exporter.pids() if pid != exporter.pid)
        os.kill(helper, signal.SIGKILL)
        flood.send(peer, "--flows", "10", "--count", "1000")
        host.namespace.ip("link add other0 type veth peer name other1")
        audit.verify()


@pytest.mark.parametrize("history_mib", [0, _HISTORY_MIB], ids=["alone", "with a history"])
def test_memory(
    ends: tuple[End, End],
    flood: Flood,
    figure: Callable[[str], None],
    tmp_path: Path,
    history_mib: int,
) -> None:
    peer, host = ends
    flags = ("--history.path", str(tmp_path / "history.db")) if history_mib else ()
    with Exporter(host.namespace, "--interface", "eth0", *flags) as exporter:
        audit = Audit(exporter, host)
        for _ in range(3):
            exporter.scrape()
        idle = exporter.memory_mb()
        flood.send(peer, "--flows", str(_LOADED_FLOWS), "--count", "100000")
        audit.verify()
        for _ in range(3):
            flood.send(peer, "--flows", str(_LOADED_FLOWS), "--count", "100000")
            metrics = exporter.scrape()
        assert metrics.value("ayaflow_flow_table_entries") >= _LOADED_FLOWS - 100
        loaded = exporter.memory_mb()
        figure(f"RSS {idle:.1f} MiB idle, {loaded:.1f} MiB with {_LOADED_FLOWS:,} flows")
    # In MiB, as the kernel counts memory.
    assert idle <= _IDLE_MIB + history_mib
    assert loaded <= _LOADED_MIB


def test_it_runs_from_a_folder_that_only_root_can_enter(
    ends: tuple[End, End], flood: Flood, tmp_path: Path
) -> None:
    peer, host = ends
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for part in ("exporter", "bpf"):
        shutil.copytree(ROOT / part, home / part)
    with Exporter(host.namespace, "--interface", "eth0", root=home) as exporter:
        audit = Audit(exporter, host)
        flood.send(peer, "--flows", "10", "--count", "1000")
        audit.verify()
        for accept in ("application/openmetrics-text", "text/plain", "*/*"):
            answer = exporter.get(headers={"Accept": accept, "Accept-Encoding": "gzip"})
            assert answer.status == 200
        network = host.namespace
        network.ip("link add eth1 type veth peer name eth2")
        assert exporter.get("/nothing").status == 404


def test_what_is_given_up_cannot_be_had_again() -> None:
    """In a child: the very function that the server calls; then it tries."""
    child = os.fork()
    if child == 0:
        os._exit(_failures_without_privileges())
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "a bit for each thing that still worked"


def _failures_without_privileges() -> int:
    kept = privileges.give_up(65534, 65534, [Path("/proc/self")])

    def works(action: Callable[[], object]) -> bool:
        try:
            action()
        except OSError:
            return False
        return True

    forbidden: tuple[Callable[[], object], ...] = (
        lambda: os.setuid(0),
        lambda: os.open("/etc/shadow", os.O_RDONLY),
        lambda: os.open("/etc/passwd", os.O_RDONLY),
        lambda: os.listdir("/"),
        lambda: os.open("/tmp", os.O_TMPFILE | os.O_WRONLY),
        lambda: os.execv("/bin/false", ["false"]),  # its exit code says that it ran,
    )
    allowed = Path("/proc/self/stat").exists() and works(lambda: open("/proc/self/stat").close())
    bits = [bool(kept), not allowed, *map(works, forbidden)]
    return sum(1 << place for place, failed in enumerate(bits) if failed)
