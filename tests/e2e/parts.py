"""The real parts that tests talk to: which there are, and how one of them is run and ended.

`make test-setup` brings Prometheus 2. `make parts` builds Prometheus 3 and the Collector: the tests
with these have the marker `parts`, and `make test-parts` runs them.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pytest

from tests.e2e.net import Namespace
from tests.e2e.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PARTS = ROOT / ".cache" / "parts"
COLLECTOR = PARTS / "otelcol"

_READY_S = 30.0
_STOP_S = 30.0
_HTTP_S = 30.0


@dataclass(frozen=True, slots=True)
class Release:
    """A Prometheus, with the promtool of the same version."""

    name: str
    folder: Path

    @property
    def prometheus(self) -> Path:
        return self.folder / "prometheus"

    @property
    def promtool(self) -> Path:
        return self.folder / "promtool"


PROMETHEUS_2 = Release("Prometheus 2.42", ROOT / ".cache" / "prometheus" / "usr" / "bin")
PROMETHEUS_3 = Release("Prometheus 3.7", PARTS)

RELEASES = (
    pytest.param(PROMETHEUS_2, id="prometheus-2"),
    pytest.param(PROMETHEUS_3, id="prometheus-3", marks=pytest.mark.parts),
)
"""Every Prometheus, as the parameters of a test."""


def http_get(
    namespace: Namespace | None, port: int, path: str, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Asks a server on the loopback, of a namespace or of the host: the status and the body.

    Raises OSError where nobody answers.
    """
    address = ("127.0.0.1", port)
    connection = http.client.HTTPConnection(*address, timeout=_HTTP_S)
    try:
        connection.sock = _tcp_socket(namespace)
        connection.sock.settimeout(_HTTP_S)
        connection.sock.connect(address)
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP: {error!r}") from error
    finally:
        connection.close()


def free_ports(count: int, namespace: Namespace | None = None) -> list[int]:
    """Ports of the loopback that nobody has."""
    with ExitStack() as plugs:
        ports = []
        for _ in range(count):
            plug = plugs.enter_context(_tcp_socket(namespace))
            plug.bind(("127.0.0.1", 0))
            ports.append(int(plug.getsockname()[1]))
        return ports


def _tcp_socket(namespace: Namespace | None) -> socket.socket:
    if namespace is None:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    return namespace.socket(socket.AF_INET, socket.SOCK_STREAM)


class Server:
    """A server of somebody else's, in a namespace or on the host. As a context: ready when entered,
    ended when left. It can be started again after an end.
    """

    def __init__(self, namespace: Namespace | None, command: Sequence[str], log: Path) -> None:
        self.namespace = namespace
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was not started"
        return self._process.pid

    def is_ready(self) -> bool:
        """Whether it answers. May raise OSError."""
        raise NotImplementedError

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        program = Path(self._command[0])
        assert program.is_file(), f"{program} is missing: make test-parts makes it"
        wrapped = self._command if self.namespace is None else self.namespace.wrap(*self._command)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                wrapped, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_until(self._answers, _READY_S)
        except BaseException:
            self.kill()
            raise

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"it ended: {self.log}"
        try:
            return self.is_ready()
        except OSError:
            return False

    def stop(self) -> None:
        """Ends it as its users do, and checks that it ended well."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"it does not end:\n{self.log}") from None
        assert code == 0, f"exit code {code}:\n{self.log}"

    def kill(self) -> None:
        """Ends it as a crash would."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.wait()

    def freeze(self) -> None:
        """Stops it without an end: connections stay, and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.stop()
        else:
            print(self.log[-10_000:])
            self.kill()
