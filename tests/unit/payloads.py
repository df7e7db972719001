"""Payloads for tests, as the kernel program sends them."""

from __future__ import annotations

from exporter.capture.records import PAYLOAD_NO_SLOT, PROTOCOL_TCP, PROTOCOL_UDP, Payload

CLIENT = bytes([10, 0, 0, 1])
SERVER = bytes([192, 0, 2, 7])
RESOLVER = bytes([10, 0, 0, 53])
PORT = 40_000


def tcp(
    data: bytes,
    sequence: int = 0,
    *,
    port: int = PORT,
    server_port: int = 443,
    slot: int = PAYLOAD_NO_SLOT,
    device_slot: int = 1,
    at_s: float = 1000.0,
) -> Payload:
    """A segment from the client to the server."""
    return Payload(
        int(at_s * 1e9),
        slot,
        device_slot,
        PROTOCOL_TCP,
        CLIENT,
        SERVER,
        port,
        server_port,
        sequence % (1 << 32),
        0,
        data,
    )


def udp(
    data: bytes,
    *,
    port: int = PORT,
    server: bytes = SERVER,
    server_port: int = 443,
    slot: int = PAYLOAD_NO_SLOT,
    segment_len: int = 0,
    at_s: float = 1000.0,
    client: bytes = CLIENT,
) -> Payload:
    """A datagram, or several in a super-packet, from the client to the server."""
    return Payload(
        int(at_s * 1e9),
        slot,
        1,
        PROTOCOL_UDP,
        client,
        server,
        port,
        server_port,
        0,
        segment_len,
        data,
    )


def reply(payload: Payload, data: bytes | None = None) -> Payload:
    """The other way, between the same ends."""
    return payload._replace(
        source=payload.destination,
        destination=payload.source,
        source_port=payload.destination_port,
        destination_port=payload.source_port,
        data=payload.data if data is None else data,
    )
