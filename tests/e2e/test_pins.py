"""Maps and programs that stay: what passes while no exporter runs is counted, and nothing twice."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from tests.e2e.exporter_process import Audit, Exporter
from tests.e2e.metrics import Metrics, check_identity
from tests.e2e.net import End, Network
from tests.e2e.test_restart import check_not_less
from tests.e2e.traffic import Flood, listening
from tests.e2e.waiting import wait_until
from tests.hellos import in_records, named
from tests.kernel.bpf_mount import mounted

STAYS = "the programs stay and go on counting"
KILL_EVERY_S = 5.0


@pytest.fixture
def ends(network: Network) -> tuple[End, End]:
    """(peer, host) on a wire without offloads; the exporter counts on the host's end."""
    return network.wire(network.namespace("peer"), network.namespace("host"))


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "bpf") as directory:
        yield directory / "ayaflow"


class Host:
    """Exporters, one after the other, over the same pins, history and wire."""

    def __init__(self, end: End, pins: Path, folder: Path) -> None:
        self._end = end
        self._flags = (
            *("--interface", "eth0", "--pin.path", str(pins)),
            *("--history.path", str(folder / "history.db"), "--history.interval", "1s"),
        )
        self._pins = pins
        self._before = end.statistics()

    def start(self, *flags: str) -> Exporter:
        running = Exporter(self._end.namespace, *self._flags, *flags)
        running.start()
        try:
            running.wait_ready()
        except BaseException:
            print(running.log)
            running.close()
            raise
        return running

    @staticmethod
    def stop(running: Exporter) -> None:
        """As its user does; the programs stay, on purpose."""
        running.running.terminate()
        running.wait_ended(0)
        assert STAYS in running.log.splitlines()[-1]
        running.close()

    @staticmethod
    def kill(running: Exporter) -> None:
        running.kill()
        running.check_words()
        running.close()

    def check_totals(self, running: Exporter) -> Metrics:
        """To the byte what the driver has counted from before the first exporter on; at rest."""
        audit = Audit(running, self._end)

        def check() -> Metrics:
            metrics, [(counted, now)] = audit.reading()
            driver = now - self._before
            assert counted == driver, f"{counted} is not the driver's {driver}"
            check_identity(metrics)
            return metrics

        return wait_until(check, timeout_s=20)

    def detach(self) -> str:
        command = (sys.executable, "-m", "exporter", "detach", "--pin.path", str(self._pins))
        return self._end.namespace.run(*command)


def test_what_passes_while_no_exporter_runs_is_counted(
    ends: tuple[End, End], flood: Flood, pins: Path, tmp_path: Path
) -> None:
    peer, end = ends
    host = Host(end, pins, tmp_path)
    first = host.start()
    flood.send(peer, "--flows", "100", "--count", "20000")
    before = host.check_totals(first)
    host.stop(first)
    flood.send(peer, "--flows", "150", "--count", "30000")
    second = host.start()
    after = host.check_totals(second)
    check_not_less(before, after)
    assert after.sum("ayaflow_packets_total", direction="ingress") == 50_000
    host.stop(second)
    assert "removed the pinned maps" in host.detach()
    assert not pins.exists()


@pytest.mark.parametrize("flags", [("--flows.max", "3000"), ("--pin.path", "none")])
def test_another_size_or_none_takes_the_counts_over(
    ends: tuple[End, End], flood: Flood, pins: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    peer, end = ends
    host = Host(end, pins, tmp_path)
    first = host.start()
    flood.send(peer, "--flows", "100", "--count", "20000")
    before = host.check_totals(first)
    host.stop(first)
    flood.send(peer, "--flows", "100", "--count", "3000")
    second = host.start(*flags)
    flood.send(peer, "--flows", "100", "--count", "5000")
    after = host.check_totals(second)
    check_not_less(before, after)
    assert after.sum("ayaflow_packets_total", direction="ingress") == 28_000
    if "none" in flags:
        second.stop()
        second.close()
        assert not pins.exists()
    else:
        host.stop(second)
        assert [each.name for each in pins.iterdir() if each.name.isdecimal()] == ["2"]
        host.detach()


def test_a_connection_keeps_its_name_over_a_kill(
    ends: tuple[End, End], pins: Path, tmp_path: Path
) -> None:
    peer, end = ends
    host = Host(end, pins, tmp_path)
    running = host.start()
    sent = {"direction": "ingress", "domain": "named.example.com"}
    with Stream(peer, end) as stream:
        stream.send(in_records(named(b"named.example.com")))

        def is_named() -> int:
            wire_bytes = running.scrape().sum("ayaflow_bytes_total", **sent)
            assert wire_bytes
            return wire_bytes

        before = wait_until(is_named)
        host.kill(running)
        stream.send(bytes(1 << 20))
        running = host.start()
        assert running.scrape().sum("ayaflow_bytes_total", **sent) > before + (1 << 20)
        stream.send(bytes(1 << 20))
        after = host.check_totals(running)
        assert after.sum("ayaflow_bytes_total", **sent) > before + (2 << 20)
        assert after.sum("ayaflow_attributed_bytes_total", direction="ingress", source="tls") == (
            after.sum("ayaflow_bytes_total", **sent)
        )
    host.stop(running)
    host.detach()


class Stream:
    """A connection from the peer to the host, which reads everything."""

    def __init__(self, peer: End, end: End) -> None:
        listener = end.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind((end.ipv4, 0))
        listener.listen(1)
        self._client = peer.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._client.connect(listener.getsockname())
        self._server, _ = listener.accept()
        listener.close()

    def send(self, data: bytes) -> None:
        thread = threading.Thread(target=self._client.sendall, args=(data,))
        thread.start()
        left = len(data)
        while left:
            left -= len(self._server.recv(1 << 16))
        thread.join()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._server.close()


def kills(
    host: Host,
    seconds: float,
    *flags: str,
    every_s: float = KILL_EVERY_S,
) -> Metrics:
    """Kills again and again; what was scraped never goes back. Returns the last scrape."""
    shown: Metrics | None = None
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        running = host.start(*flags)
        until_s = time.monotonic() + every_s
        while time.monotonic() < until_s:
            metrics = running.scrape()
            if shown is not None:
                check_not_less(shown, metrics)
            shown = metrics
            time.sleep(0.2)
        host.kill(running)
    assert shown is not None
    return shown


def flooded(options: tuple[str, ...]) -> Callable[[End, End, Flood, float], Popen[str]]:
    def start(peer: End, _: End, flood: Flood, seconds: float) -> Popen[str]:
        count = int(options[-1]) * int(seconds)
        return flood.start(peer, *options, "--count", str(count))

    return start


def iperf3(peer: End, end: End, _: Flood, seconds: float) -> Popen[str]:
    end.namespace.start("iperf3", "--server", "--one-off")
    wait_until(lambda: listening(end.namespace, 5201))
    return peer.namespace.start("iperf3", "--client", end.ipv4, "--time", str(int(seconds)))


@pytest.mark.parametrize(
    ("seconds", "every_s"),
    [
        pytest.param(2.0, 1.0, id="short"),
        pytest.param(120.0, KILL_EVERY_S, id="two-minutes", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    ("traffic", "flags"),
    [
        pytest.param(iperf3, (), id="iperf3"),
        pytest.param(
            flooded(("--flows", "200000", "--pps", "20000")),
            ("--flows.idle-timeout", "1s"),
            id="deleted-all-the-time",
        ),
    ],
)
def test_kills_lose_nothing_and_take_nothing_back(
    ends: tuple[End, End],
    flood: Flood,
    pins: Path,
    tmp_path: Path,
    traffic: Callable[[End, End, Flood, float], Popen[str]],
    flags: tuple[str, ...],
    seconds: float,
    every_s: float,
    figure: Callable[[str], None],
) -> None:
    peer, end = ends
    host = Host(end, pins, tmp_path)
    host.stop(host.start(*flags))
    sending = traffic(peer, end, flood, seconds + 4)
    shown = kills(host, seconds, *flags, every_s=every_s)
    last = host.start(*flags)
    sending.wait(seconds + 60)
    check_not_less(shown, last.scrape())
    total = host.check_totals(last).sum("ayaflow_packets_total")
    figure(f"{total:,} packets, killed every {every_s} s for {seconds:.0f} s: exact")
    host.stop(last)
    host.detach()
