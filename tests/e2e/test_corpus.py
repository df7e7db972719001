"""Replays every capture of the corpus: through a veth pair, or a tun where it has no Ethernet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.captures import DLT_EN10MB, CapturedPacket, NoCorpusError, corpus_dir, read_capture
from tests.e2e.exporter_process import Audit, Exporter
from tests.e2e.frames import open_tun
from tests.e2e.net import End, Network
from tests.e2e.traffic import send_frames

_MTU = 65535
_LARGEST_FRAME = _MTU + 14
_SMALLEST_FRAME = 14


def _captures() -> list[Path]:
    corpus = corpus_dir()
    return sorted((corpus / "pcap").iterdir()) + sorted((corpus / "derived" / "pcap").iterdir())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each capture, or one that says where the corpus is looked for."""
    if "capture" in metafunc.fixturenames:
        captures: list[Path | NoCorpusError]
        try:
            captures = [*_captures()]
        except NoCorpusError as missing:
            captures = [missing]
        metafunc.parametrize("capture", captures, ids=lambda path: getattr(path, "name", "missing"))


class Stage:
    """A namespace with a veth end and a tun device; captures come in by one of them."""

    def __init__(self, tun: int, peer: End, host: End, tun_end: End) -> None:
        self._tun = tun
        self._peer = peer
        self.ends = (host, tun_end)

    def replay(self, packets: list[CapturedPacket]) -> None:
        """Sends what can be sent: an Ethernet frame has a header, and fits the device."""
        whole = [packet for packet in packets if len(packet.ip_or_ethernet()) <= _LARGEST_FRAME]
        send_frames(
            self._peer,
            [
                packet.data
                for packet in whole
                if packet.linktype == DLT_EN10MB and len(packet.data) >= _SMALLEST_FRAME
            ],
        )
        for packet in whole:
            if packet.linktype != DLT_EN10MB:
                self._write(packet.ip_or_ethernet())

    def _write(self, packet: bytes) -> None:
        try:
            os.write(self._tun, packet)
        except OSError:  # the driver takes only what has an IP version
            assert packet[:1] == b"" or packet[0] >> 4 not in (4, 6)


@contextmanager
def _stage(network: Network) -> Iterator[Stage]:
    host_ns = network.namespace("host")
    peer, host = network.wire(network.namespace("peer"), host_ns, mtu=_MTU)
    tun = open_tun(host_ns, "tun0")
    try:
        host_ns.ip(f"link set tun0 up mtu {_MTU}")
        yield Stage(tun, peer, host, End(host_ns, "tun0", "", ""))
    finally:
        os.close(tun)


def test_the_whole_corpus_through_one_exporter(network: Network) -> None:
    flags = ("--interface", "eth0", "--interface", "tun0")
    captures = _captures()
    with _stage(network) as stage, Exporter(stage.ends[0].namespace, *flags) as exporter:
        audit = Audit(exporter, *stage.ends)
        sent = 0
        for path in captures:
            packets = read_capture(path)
            stage.replay(packets)
            sent += len(packets)
        metrics = audit.verify()
        assert metrics.sum("ayaflow_packets_total", direction="ingress") > 0.99 * sent > 30_000
        assert metrics.value("ayaflow_flow_table_entries") > 3000


@pytest.mark.corpus
def test_one_exporter_for_each_capture(network: Network, capture: Path | NoCorpusError) -> None:
    if isinstance(capture, NoCorpusError):
        raise capture
    flags = ("--interface", "eth0", "--interface", "tun0")
    with _stage(network) as stage, Exporter(stage.ends[0].namespace, *flags) as exporter:
        audit = Audit(exporter, *stage.ends)
        stage.replay(read_capture(capture))
        audit.verify()
