"""The truth about names: each connection's wire counts, as a packet socket beside the exporter sees
them, and whose they must be.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

from tests.e2e.exporter_process import Exporter
from tests.e2e.metrics import DIRECTIONS, UNITS, Metrics, check_identity
from tests.e2e.net import End
from tests.e2e.waiting import wait_until

UNKNOWN = ("unknown", "none")

_ETH_P_ALL = 3
_PACKET_OUTGOING = 4
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_VNET_HDR = 15
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 64 << 20
_VNET_HEADER = struct.Struct("=BBHHHH")
_L2_LEN = 14
_TCP = 6


class Connection(NamedTuple):
    """The two ends, of which one is here; all zero for what is not TCP or UDP."""

    protocol: int
    remote: str
    remote_port: int
    local_port: int


_NO_CONNECTION = Connection(0, "", 0, 0)


class Tap:
    """Counts what passes a device, by connection; super-packets as the segments they stand for."""

    def __init__(self, end: End, only: str = "") -> None:
        """*only*: the one IPv4 address whose packets it is about."""
        self.counts: dict[Connection, dict[tuple[str, str], int]] = {}
        """By (direction, unit)."""
        self._socket = end.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        if only:
            self._attach_filter(only)
        self._socket.settimeout(0.1)
        self._socket.bind((end.device, _ETH_P_ALL))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _attach_filter(self, only: str) -> None:
        """Classic BPF: IPv4, and the source or the destination is that address."""
        (wanted,) = struct.unpack(">I", socket.inet_aton(only))
        program = b"".join(
            struct.pack("HBBI", *instruction)
            for instruction in (
                (0x28, 0, 0, 12),
                (0x15, 0, 5, 0x0800),
                (0x20, 0, 0, 26),
                (0x15, 2, 0, wanted),
                (0x20, 0, 0, 30),
                (0x15, 0, 1, wanted),
                (0x06, 0, 0, 0xFFFFFFFF),
                (0x06, 0, 0, 0),
            )
        )
        held = ctypes.create_string_buffer(program, len(program))
        attached = struct.pack("HL", len(program) // 8, ctypes.addressof(held))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)

    def dropped(self) -> int:
        """Frames that it has missed since it was asked last."""
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return int(struct.unpack("II", statistics)[1])

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        while not self._stop.is_set():
            try:
                data, address = self._socket.recvfrom(1 << 17)
            except TimeoutError:
                continue
            _, gso_type, _, gso_size, *_ = _VNET_HEADER.unpack_from(data)
            self._add(
                data[_VNET_HEADER.size :], address[2] == _PACKET_OUTGOING, gso_type and gso_size
            )

    def _add(self, frame: bytes, is_egress: bool, segment_len: int) -> None:
        connection, headers_len = _parse(frame, is_egress)
        segments = 1
        if segment_len:
            segments = -(-(len(frame) - headers_len) // segment_len)
        direction = DIRECTIONS[is_egress]
        counts = self.counts.setdefault(
            connection, {(each, unit): 0 for each in DIRECTIONS for unit in UNITS}
        )
        counts[direction, "packets"] += segments
        counts[direction, "bytes"] += len(frame) + (segments - 1) * headers_len


def _parse(frame: bytes, is_egress: bool) -> tuple[Connection, int]:
    """The connection, and how long the headers are; no options of IP, no fragments."""
    kind = frame[12:14]
    if kind == b"\x08\x00":
        l4, protocol = _L2_LEN + 20, frame[_L2_LEN + 9]
        source, destination = frame[_L2_LEN + 12 : l4 - 4], frame[l4 - 4 : l4]
        family = socket.AF_INET
    elif kind == b"\x86\xdd":
        l4, protocol = _L2_LEN + 40, frame[_L2_LEN + 6]
        source, destination = frame[_L2_LEN + 8 : l4 - 16], frame[l4 - 16 : l4]
        family = socket.AF_INET6
    else:
        return _NO_CONNECTION, 0
    if protocol not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return _NO_CONNECTION, 0
    ports = struct.unpack_from(">HH", frame, l4)
    headers_len = l4 + ((frame[l4 + 12] >> 4) * 4 if protocol == _TCP else 8)
    remote, (local_port, remote_port) = (destination, ports) if is_egress else (source, ports[::-1])
    return (
        Connection(protocol, socket.inet_ntop(family, remote), remote_port, local_port),
        headers_len,
    )


@dataclass(frozen=True, slots=True)
class _Rule:
    remote: str
    remote_port: int
    local_port: int
    whose: tuple[str, str]

    def fits(self, connection: Connection) -> bool:
        return (
            self.remote == connection.remote
            and self.remote_port in (0, connection.remote_port)
            and self.local_port in (0, connection.local_port)
        )


class Truth:
    """Compares all that an exporter says of one device, by name and by source, with a tap on it.

    What no rule speaks of is unknown. As a context, from when the exporter is ready on.
    """

    def __init__(self, exporter: Exporter, end: End) -> None:
        self.exporter = exporter
        self._end = end
        self._rules: list[_Rule] = []

    def __enter__(self) -> Truth:
        def began() -> tuple[Tap, Metrics]:
            before = self.exporter.scrape().counted(self._end.device)
            tap = Tap(self._end)
            metrics = self.exporter.scrape()
            if metrics.counted(self._end.device) != before or tap.counts:
                tap.close()
                raise AssertionError("traffic does not come to rest")
            return tap, metrics

        self.tap, self._base = wait_until(began)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.tap.close()

    def belongs(
        self, remote: str, remote_port: int, domain: str, source: str, local_port: int = 0
    ) -> None:
        """Says whose a connection is; port 0 stands for all. The first rule that fits counts."""
        self._rules.append(_Rule(remote, remote_port, local_port, (domain, source)))

    def expected(self) -> dict[tuple[str, str, str, str], int]:
        """By (unit, direction, domain, source)."""
        counts: dict[tuple[str, str, str, str], int] = {}
        for connection, its in list(self.tap.counts.items()):
            fitting = (rule.whose for rule in self._rules if rule.fits(connection))
            domain, source = next(fitting, UNKNOWN)
            for (direction, unit), count in its.items():
                key = (unit, direction, domain, source)
                counts[key] = counts.get(key, 0) + count
        return counts

    def verify(self, timeout_s: float = 10.0) -> Metrics:
        """Once nothing is pending: every series, to the byte and the packet, and no other."""
        return wait_until(self._check, timeout_s)

    def _check(self) -> Metrics:
        before = self.expected()
        metrics = self.exporter.scrape()
        expected = self.expected()
        assert before == expected, "traffic does not come to rest"
        assert self.tap.dropped() == 0
        check_identity(metrics)
        for direction in DIRECTIONS:
            for unit in UNITS:
                assert metrics.value(f"ayaflow_pending_{unit}", direction=direction) == 0
                by_domain: dict[str, int] = {}
                for (its, way, domain, _), count in expected.items():
                    if (its, way) == (unit, direction) and count:
                        by_domain[domain] = by_domain.get(domain, 0) + count
                self._compare(metrics, f"ayaflow_{unit}_total", direction, "domain", by_domain)
            by_source: dict[str, int] = {}
            for (its, way, _, source), count in expected.items():
                if (its, way) == ("bytes", direction) and count:
                    by_source[source] = by_source.get(source, 0) + count
            name = "ayaflow_attributed_bytes_total"
            self._compare(metrics, name, direction, "source", by_source)
        return metrics

    def _compare(
        self, metrics: Metrics, name: str, direction: str, label: str, expected: dict[str, int]
    ) -> None:
        counted: dict[str, int] = {}
        for sample in metrics.samples(name, direction=direction):
            value = sample.labels[label]
            was = self._base.sum(name, direction=direction, **{label: value})
            counted[value] = counted.get(value, -was) + int(sample.value)
        counted = {value: count for value, count in counted.items() if count}
        wrong = {
            each: f"{counted.get(each, 0)}, not {expected.get(each, 0)}"
            for each in counted.keys() | expected.keys()
            if counted.get(each) != expected.get(each)
        }
        assert not wrong, f"{name} {direction}: {wrong}"
