"""Starts the real exporter in a namespace, talks to it, ends it, and looks at what it leaves."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.e2e.kernel_objects import KernelObjects, attached_objects
from tests.e2e.metrics import Metrics, check_driver, check_identity
from tests.e2e.net import End, Namespace, Statistics
from tests.e2e.waiting import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parents[2]
PORT = 10517
_READY_S = 15.0
_STOP_S = 15.0
_HTTP_S = 10.0


@dataclass(frozen=True, slots=True)
class Response:
    """An answer over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes


def let_everybody_in(folder: Path) -> None:
    """Opens pytest's temporary folder to the user that the exporter becomes."""
    for each in (folder, *folder.parents):
        if each == Path(tempfile.gettempdir()):
            break
        each.chmod(each.stat().st_mode | 0o055)


def exporter_command(*flags: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "exporter", *flags)


class Exporter:
    """One run of the exporter. As a context: ready when entered, ended and checked when left."""

    def __init__(
        self, namespace: Namespace, *flags: str, port: int = PORT, root: Path = ROOT
    ) -> None:
        """*root*: the folder that has the package `exporter`."""
        self.namespace = namespace
        self._root = root
        self._address = ("127.0.0.1", port)
        # Most tests are of the counts: they need not wait 2 s for names that never come.
        self._flags = (
            *("--web.listen-address", f"127.0.0.1:{port}"),
            *("--names.grace", "0s"),
            *("--history.path", "none"),
            *flags,
        )
        self._stdout = os.memfd_create("stdout")
        self._stderr = os.memfd_create("stderr")
        self.process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def command(self, *flags: str) -> tuple[str, ...]:
        """What is started."""
        return exporter_command(*flags)

    def start(self) -> None:
        """Starts it and returns at once."""
        self.process = subprocess.Popen(
            self.namespace.wrap(*self.command(*self._flags)),
            cwd=self._root,
            stdin=subprocess.DEVNULL,
            stdout=self._stdout,
            stderr=self._stderr,
            start_new_session=True,
        )

    def wait_ready(self, timeout_s: float = _READY_S) -> None:
        def ready() -> bool:
            assert self.running.poll() is None, f"it ended: {self.stderr}"
            try:
                return self.get("/-/ready").status == 200
            except OSError:
                return False

        wait_until(ready, timeout_s, poll_s=0.02)

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "it was not started"
        return self.process

    @property
    def pid(self) -> int:
        """Of the serving process."""
        return self.running.pid

    @property
    def stdout(self) -> str:
        return _contents(self._stdout)

    @property
    def stderr(self) -> str:
        return _contents(self._stderr)

    @property
    def log(self) -> str:
        return self.stdout + self.stderr

    def pids(self) -> list[int]:
        """All its processes that are alive: it has a session of its own."""
        return [pid for pid in self.namespace.pids() if _session(pid) == self.pid]

    def get(
        self,
        path: str = "/metrics",
        method: str = "GET",
        headers: dict[str, str] | None = None,
        timeout_s: float = _HTTP_S * PATIENCE,
    ) -> Response:
        """Asks from inside the namespace. Raises OSError where nobody answers."""
        plug = self.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection = http.client.HTTPConnection(*self._address)
        connection.sock = plug
        try:
            plug.settimeout(timeout_s)
            plug.connect(self._address)
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return Response(answer.status, dict(answer.headers), answer.read())
        except http.client.HTTPException as error:
            raise OSError(f"no HTTP: {error!r}") from error
        finally:
            connection.close()

    def scrape(self) -> Metrics:
        answer = self.get()
        assert answer.status == 200, answer
        return Metrics(answer.body.decode())

    def objects(self) -> KernelObjects:
        """What it has in the kernel now."""
        return attached_objects(self.namespace)

    def memory_mb(self) -> float:
        """VmRSS of the serving process, in MiB as the kernel's kB give it."""
        return status_field(self.pid, "VmRSS") / 1024

    def stop(self, number: int = signal.SIGTERM, expect: int = 0) -> None:
        """Ends it, and checks its exit code, its words, and that it left nothing behind."""
        objects = self.objects()
        assert objects.programs, "no program of it is attached"
        self.running.send_signal(number)
        self.wait_ended(expect)
        wait_until(lambda: objects.check_gone(self.namespace))

    def wait_ended(self, expect: int) -> None:
        """Waits for the end of all its processes."""
        self._ended = True
        code = self.running.wait(_STOP_S * PATIENCE)
        assert code == expect, f"exit code {code}:\n{self.log}"
        self.check_words()
        wait_until(lambda: not self.pids(), _STOP_S)

    def check_words(self) -> None:
        for word in ("Traceback", "Warning:", "Exception ignored"):
            assert word not in self.log, self.log

    def kill(self) -> None:
        """Ends all of it at once, whatever state it is in: none sees another end, and tidies up."""
        self._ended = True
        pids = self.pids()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        self.running.wait()

    def close(self) -> None:
        if self.process is not None and (self.process.poll() is None or self.pids()):
            self.kill()
        os.close(self._stdout)
        os.close(self._stderr)

    def __enter__(self) -> Exporter:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            print(self.log)
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None and not self._ended:
                assert self.running.poll() is None, f"it ended by itself:\n{self.log}"
                self.stop()
        finally:
            print(self.log)
            self.close()


class Audit:
    """Compares what the exporter counts with what drivers count, from one moment on."""

    def __init__(self, exporter: Exporter, *ends: End) -> None:
        self._exporter = exporter
        self._ends = ends
        self._before = self.reading()[1]

    def reading(self) -> tuple[Metrics, list[tuple[Statistics, Statistics]]]:
        """A scrape at rest, and for each device what was counted and what its driver says."""

        def at_rest() -> tuple[Metrics, list[tuple[Statistics, Statistics]]]:
            before = [end.statistics() for end in self._ends]
            metrics = self._exporter.scrape()
            after = [end.statistics() for end in self._ends]
            assert before == after, "traffic does not come to rest"
            counted = [metrics.counted(end.device) for end in self._ends]
            return metrics, list(zip(counted, after, strict=True))

        return wait_until(at_rest, timeout_s=20)

    def verify(self) -> Metrics:
        """To the byte and the packet: devices as their drivers, and the identity."""

        def check() -> Metrics:
            metrics, now = self.reading()
            for end, was, at in zip(self._ends, self._before, now, strict=True):
                counted, driver = at[0] - was[0], at[1] - was[1]
                assert counted == driver, f"{end.device}: {counted} is not the driver's {driver}"
            check_identity(metrics)
            check_driver(metrics)
            assert metrics.sum("ayaflow_pending_packets") == 0, "flows still wait for their names"
            return metrics

        return wait_until(check, timeout_s=10)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def status_field(pid: int, name: str) -> int:
    """A number of /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise AssertionError(f"/proc/{pid}/status has no {name}")


def _contents(fd: int) -> str:
    return os.pread(fd, 1 << 24, 0).decode(errors="replace")
