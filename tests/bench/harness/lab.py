"""A wire between two network namespaces: the exporter at the near end, who sends at the far one."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.bench.harness.figures import Figures
from tests.bench.harness.machine import SENDING_CPU
from tests.e2e.exporter_process import Exporter
from tests.e2e.metrics import check_identity
from tests.e2e.net import Network
from tests.e2e.traffic import Flood

SETTLE_S = 3.5
"""A flow waits 2 s for its name: then nothing is left to do for those that opened."""

SCRAPE_INTERVAL_S = 15.0

FRAME_BYTES = {4: 60, 6: 80}
"""By IP version: Ethernet, IP and UDP headers and 18 bytes."""

_SERVER = ("198.51.100.1", 9)
_SAMPLE_S = 0.02
_NAMES_A_SECOND = 4000
_HERE = Path(__file__).parent
_NAME_FLOOD = _HERE.parents[1] / "e2e" / "name_flood.c"


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: packets of 60 bytes, or 80 of IPv6, round-robin over *flows*."""

    flows: int
    ip_version: int = 4
    replies: bool = False
    """Each packet is answered, so that both directions of a connection are busy."""
    pps: int = 0
    """A second; 0: as fast as it can."""


class Lab:
    """One wire, and what is measured on it. Names of namespaces are this process's own."""

    def __init__(self, folder: Path, figures: Figures, seconds: float, number: int = 1) -> None:
        """*seconds*: of traffic for one value of the agent's CPU time."""
        self.folder, self.figures, self.seconds = folder, figures, seconds
        self._network = Network(f"ayaflow-bench-{os.getpid()}")
        near, far = (self._network.namespace(f"{role}{number}") for role in ("near", "far"))
        self.near, self.far = self._network.wire(near, far, number)
        for scope in ("all", "default"):
            self.near.namespace.sysctl(f"net.ipv4.conf.{scope}.rp_filter", 0)
        self.near.namespace.ip(f"address add {_SERVER[0]}/32 dev {self.near.device}")
        # Packets go all the way up, to a socket that is full: nobody is woken, nothing is answered.
        self._sink = self.near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        self._sink.bind(_SERVER)
        self._sender = _compiled(_HERE / "sender.c", folder)
        self._names = Flood(_compiled(_NAME_FLOOD, folder))

        self.start_s = 0.0

    def close(self) -> None:
        self._sink.close()
        self._network.close()

    def send(self, load: Load, count: int) -> int:
        """Sends *count* packets; answers how many went each way."""
        return _sent(self._start(load, "--count", str(count)))

    def send_for(
        self, load: Load, seconds: float, sample: Callable[[], None] = lambda: None
    ) -> int:
        """The same for a time; calls *sample* fifty times a second meanwhile."""
        sending = self._start(load, "--seconds", str(seconds))
        while True:
            try:
                sending.wait(_SAMPLE_S)
            except subprocess.TimeoutExpired:
                sample()
            else:
                return _sent(sending)

    def _start(self, load: Load, *until: str) -> subprocess.Popen[str]:
        words = [str(self._sender), "--device", self.far.device, "--to", self.near.mac, *until]
        words += ["--flows", str(load.flows), "--cpu", str(SENDING_CPU), "--pps", str(load.pps)]
        if load.ip_version == 6:
            words += ["--ipv6"]
        if load.replies:
            words += ["--reply-device", self.near.device]
            words += ["--reply-namespace", f"/run/netns/{self.near.namespace.name}"]
        return self.far.namespace.start(*words)

    def name_domains(self, count: int) -> None:
        """Has so many domains seen, each with a packet, and waits until they are counted."""
        self.send_names(count)
        time.sleep(SETTLE_S)

    def send_names(self, count: int) -> None:
        """A connection from and to each of so many domains; later ones are packets of the same."""
        words = ("--kind", "tls", "--count", str(count), "--rate", str(_NAMES_A_SECOND))
        for end in (self.near, self.far):
            self._names.send(end, *words)

    @contextmanager
    def exporter(self, *flags: str) -> Iterator[Exporter]:
        """One with defaults and an empty history; checked at the end: what it shows is what the
        interface counted. `start_s` is how long it took to the first scrape."""
        with self.started(self.new_exporter(*flags)) as exporter:
            yield exporter
            check_identity(exporter.scrape())

    def new_exporter(self, *flags: str, kind: type[Exporter] = Exporter) -> Exporter:
        """One that is not yet started."""
        for left in self.folder.glob("history.db*"):
            left.unlink()
        history = ("--history.path", str(self.folder / "history.db"))
        usual = ("--interface", self.near.device, "--names.grace", "2s")
        return kind(self.near.namespace, *usual, *history, *flags)

    @contextmanager
    def started(self, exporter: Exporter) -> Iterator[Exporter]:
        """Starts it, waits for its first scrape, and ends it."""
        began = time.monotonic()
        exporter.start()
        try:
            while exporter.running.poll() is None:
                with suppress(OSError):
                    if exporter.get().status == 200:
                        break
                time.sleep(0.005)
            self.start_s = time.monotonic() - began
            yield exporter
            exporter.stop()
        finally:
            exporter.close()


def _sent(sending: subprocess.Popen[str]) -> int:
    output, _ = sending.communicate()
    if sending.returncode:
        raise RuntimeError(f"the sender failed with {sending.returncode}: {output}")
    return int(output)


def _compiled(source: Path, folder: Path) -> Path:
    program = folder / source.stem
    if not program.exists():
        command = ["cc", "-O2", "-std=gnu11", "-o", str(program), str(source)]
        subprocess.run(command, check=True)
    return program
