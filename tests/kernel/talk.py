"""Conversations of payloads with the kernel program: who says what, and what is sent of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from exporter.capture.records import FLOW_EGRESS, FLOW_INGRESS, Payload
from tests.kernel.harness import Kernel, WireCounts
from tests.kernel.packets import V4, V6, ether

CLIENT_PORT = 50000
FIRST_SEQUENCE = 0xFFFFFF00
"""So that the sequence numbers wrap within the first packets."""


class Talk:
    """A client behind the device, whose packets leave by egress, and a server."""

    def __init__(self, kernel: Kernel, port: int, family: int = 4) -> None:
        self.kernel = kernel
        self._port = port
        self._header: type[Packet] = IP if family == 4 else IPv6
        self._ends = V4 if family == 4 else V6

    def _run(self, header: type[Packet], payload: bytes, from_client: bool, **more: Any) -> None:
        source, destination = self._ends if from_client else self._ends[::-1]
        ports = (CLIENT_PORT, self._port) if from_client else (self._port, CLIENT_PORT)
        gso_size = more.pop("gso_size", 0)
        ip = self._header(src=source, dst=destination)
        headers = ether() / ip / header(sport=ports[0], dport=ports[1], **more)
        frame = bytes(headers / Raw(payload))
        repeated = (-(-len(payload) // gso_size) - 1 if gso_size else 0) * len(bytes(headers))
        wire = WireCounts(1 + repeated // len(bytes(headers)), len(frame) + repeated)
        direction = FLOW_EGRESS if from_client else FLOW_INGRESS
        self.kernel.run(frame, direction, gso_size=gso_size, wire=wire)

    def tcp(
        self, payload: bytes, at: int = 0, *, flags: str = "A", from_client: bool = True
    ) -> None:
        """A segment; *at* is the place of its first byte in the stream."""
        sequence = (FIRST_SEQUENCE + at) & 0xFFFFFFFF
        self._run(TCP, payload, from_client, seq=sequence, flags=flags)

    def open(self) -> None:
        """The handshake."""
        self.tcp(b"", -1, flags="S")
        self.tcp(b"", -1, flags="SA", from_client=False)
        self.tcp(b"")

    def segments(self, stream: bytes, length: int, start: int = 0) -> None:
        """A client's bytes in segments of a length."""
        for at in range(0, len(stream), length):
            self.tcp(stream[at : at + length], start + at)

    def udp(self, payload: bytes, *, from_client: bool = True, gso_size: int = 0) -> None:
        """A datagram; with *gso_size* a super-packet."""
        self._run(UDP, payload, from_client, gso_size=gso_size)

    def sent(self) -> list[bytes]:
        """The payloads that were sent since the last look."""
        return [payload.data for payload in self.kernel.payloads()]


def stream_of(payloads: list[Payload]) -> bytes:
    """The bytes in the order of their sequence numbers, which must leave no gap."""
    return b"".join(data for _, data in sorted(_placed(payloads)))


def _placed(payloads: list[Payload]) -> Iterator[tuple[int, bytes]]:
    for payload in payloads:
        yield (payload.sequence - FIRST_SEQUENCE) & 0xFFFFFFFF, payload.data
