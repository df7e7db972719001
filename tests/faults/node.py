"""The node that all the faults happen to: the real exporter, pinned, with a history on a small
disk, pushing to a receiver, with traffic in both directions.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from tests.e2e.exporter_process import Exporter, Response, let_everybody_in, status_field
from tests.e2e.metrics import Metrics, check_driver, check_identity
from tests.e2e.net import Namespace, Network
from tests.e2e.otlp_receiver import Receiver, points_of
from tests.e2e.traffic import Flood
from tests.e2e.waiting import wait_until
from tests.faults import disk
from tests.faults.spare import Spare
from tests.faults.wall_clock import WallClock
from tests.kernel import bpf_mount

SOON_S = 60.0
"""Within this everything is as it was; much more than it takes, since the machine may be busy."""

LEVEL_READINGS = 20

FLAGS = (
    *("--interface", "eth0", "--interface", "spare*", "--names.grace", "500ms"),
    *("--flows.idle-timeout", "1s", "--history.interval", "1s", "--history.max-size", "4MiB"),
    *("--otlp.timeout", "1s"),
)


class _Clocked(Exporter):
    """With a wall clock that can be stepped."""

    def __init__(self, namespace: Namespace, clock: WallClock, *flags: str) -> None:
        super().__init__(namespace, *flags)
        self._environment = clock.environment

    def command(self, *flags: str) -> tuple[str, ...]:
        return ("env", *self._environment, *super().command(*flags))


@dataclass(frozen=True, slots=True)
class Level:
    """What all processes of the exporter take."""

    rss_mb: float
    """In MiB."""
    descriptors: int


class Node:
    """As a context: the exporter counts when entered; it has ended, and left nothing, when left."""

    def __init__(self, network: Network, folder: Path, flood: Flood) -> None:
        let_everybody_in(folder)
        self.flood = flood
        self.peer, self.end = network.wire(network.namespace("peer"), network.namespace("host"))
        self.host = self.end.namespace
        self.spare = Spare(network, self.peer.namespace, self.host)
        self.receiver = self.host.inside(Receiver)
        self.processes = 0
        self._network = network
        self._folder = folder
        self._stack = ExitStack()
        self._before = self.end.statistics()
        self._senders: list[Popen[str]] = []
        self._log: list[str] = []

    def __enter__(self) -> Node:
        with ExitStack() as stack:
            self.clock = stack.enter_context(WallClock(self._folder))
            self.disk = stack.enter_context(disk.mounted(self._folder / "disk"))
            self._pins = stack.enter_context(bpf_mount.mounted(self._folder / "bpf")) / "ayaflow"
            self.host.inside(self.receiver.start)
            stack.callback(self.receiver.stop)
            self.start()
            stack.callback(lambda: self.exporter.close())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._stack:
            if kind is None:
                self.exporter.running.terminate()
                self.exporter.wait_ended(0)
            else:
                print(self.log)

    def start(self) -> None:
        """The next exporter, ready."""
        self.exporter = _Clocked(
            self.host,
            self.clock,
            *FLAGS,
            *("--pin.path", str(self._pins), "--history.path", str(self.history)),
            *("--otlp.endpoint", self.receiver.http_url),
        )
        self.exporter.start()
        self.processes += 1
        self.exporter.wait_ready(SOON_S)

    def kill(self) -> None:
        """All of it, by SIGKILL."""
        self.exporter.kill()
        self._log.append(self.exporter.log)
        self.exporter.close()

    def stand_still(self, *, still: bool) -> None:
        """The serving process is stopped, or goes on."""
        os.kill(self.exporter.pid, signal.SIGSTOP if still else signal.SIGCONT)

    @property
    def history(self) -> Path:
        return self.disk / "history.db"

    def newest_interval(self) -> int:
        """The last interval that is on the disk."""
        with sqlite3.connect(f"file:{self.history}?mode=ro", uri=True) as reader:
            (newest,) = reader.execute("SELECT max(id) FROM intervals").fetchone()
        reader.close()
        return int(newest)

    def _pushed_packets(self) -> int:
        """By the last request, whatever its time: the clock is stepped."""
        points = points_of(self.receiver.requests[-1])
        return sum(int(point.value) for point in points if point.name == "ayaflow.packets")

    @property
    def log(self) -> str:
        """Of all processes."""
        return "".join((*self._log, self.exporter.log))

    def get(self) -> Response:
        """Of the metrics; raises OSError where nobody answers."""
        return self.exporter.get()

    def scrape(self) -> Metrics:
        return self.exporter.scrape()

    def send(self) -> None:
        """Begins with the traffic that always is: some flows that stay, and short connections."""
        steady = ("--pps", "2000", "--seconds", "100000")
        self._senders = [
            self.flood.start(self.peer, "--flows", "300", *steady),
            self.flood.start(
                self.end, "--proto", "tcp", "--repeat", "8", "--source", "198.19.0.0", *steady
            ),
        ]

    def rest(self) -> None:
        """Ends it."""
        for sender in self._senders:
            sender.kill()
            sender.wait()

    def level(self) -> Level:
        """Now."""
        pids = self.exporter.pids()
        return Level(
            sum(status_field(pid, "VmRSS") for pid in pids) / 1024,
            sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
        )

    def least_level(self) -> Level:
        """Between scrapes, which take a little for a moment."""
        readings = [self.level() for _ in range(LEVEL_READINGS)]
        return Level(
            min(each.rss_mb for each in readings), min(each.descriptors for each in readings)
        )

    def check_attached(self) -> None:
        """Soon, and the exporter is ready."""

        def is_attached() -> bool:
            ready = self.exporter.get("/-/ready").status == 200
            return ready and self.spare.is_attached(self.scrape())

        wait_until(is_attached, SOON_S)

    def check_counts(self) -> Metrics:
        """At rest: to the byte what the drivers counted from before the first exporter on, all of
        it in domains, and pushed.
        """

        def check() -> Metrics:
            metrics = self.scrape()
            counted, driver = metrics.counted("eth0"), self.end.statistics() - self._before
            assert counted == driver, f"{counted} is not the driver's {driver}"
            self.spare.check(metrics)
            check_identity(metrics)
            check_driver(metrics)
            assert metrics.sum("ayaflow_pending_packets") == 0, "flows still wait for their names"
            shown, pushed = metrics.sum("ayaflow_packets_total"), self._pushed_packets()
            assert pushed == shown, f"{pushed} were pushed of {shown}"
            return metrics

        return wait_until(check, SOON_S, poll_s=0.5)


def hold(seconds: float) -> None:
    """How long a fault lasts."""
    time.sleep(seconds)
