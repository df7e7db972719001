"""Segments and datagrams of a few flows, in any order, as the kernel program sends their payloads.

An input is a run of them, each after five bytes: which flow, where in its stream, and how long.
QUIC is without its protection, as in target_quic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from exporter.capture.records import PROTOCOL_TCP, PROTOCOL_UDP, Payload
from exporter.names.cursor import Cursor
from exporter.names.hostname import maybe_host_name
from exporter.names.inspection import HELD_MAX, READERS_HELD_MAX, Finding, Inspection
from exporter.names.stream import BYTES_MAX
from tests import hellos
from tests.corpus import DNS_PORT, dns_payloads, http_streams
from tests.fuzz import target_quic, target_tls
from tests.fuzz.target_quic import NO_AES

_TCP, _TO_DNS, _BACK, _SUPER = 1, 2, 4, 8
"""Bits of which flow; the others are its port."""
_SEGMENT_LEN = 500
_OF_EACH = 40
_HEAD_LEN = 5

_PROXY_LINE = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
_PROXY_BINARY = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12)


def seeds() -> Iterable[bytes]:
    streams = [*target_tls.seeds()[-_OF_EACH:], *http_streams(600)[:_OF_EACH]]
    for stream in streams:
        yield from (run(cut(stream)), run(reversed(cut(stream))))
        yield from (run(cut(header + stream)) for header in (_PROXY_LINE, _PROXY_BINARY))
    for message in dns_payloads()[:_OF_EACH]:
        yield run([(_TO_DNS, 0, message)])
        framed = hellos.prefixed(message, 2)
        yield run((_TCP | _TO_DNS, at, data) for _, at, data in cut(framed))
    for datagrams in target_quic.seeds()[:_OF_EACH]:
        yield run([(0, 0, datagrams[2:])])


def cut(stream: bytes) -> list[tuple[int, int, bytes]]:
    """Segments of a TCP stream: which flow, where, and what."""
    starts = range(0, len(stream), _SEGMENT_LEN)
    return [(_TCP, at, stream[at : at + _SEGMENT_LEN]) for at in starts]


def run(segments: Iterable[tuple[int, int, bytes]]) -> bytes:
    return b"".join(
        bytes([flow]) + at.to_bytes(2, "big") + hellos.prefixed(data, 2)
        for flow, at, data in segments
    )


def payloads(data: bytes) -> Iterator[Payload]:
    """What an input says; the last one may be cut off."""
    cursor = Cursor(data)
    while cursor.remaining >= _HEAD_LEN:
        flow, at = cursor.u8(), cursor.u16()
        length = min(cursor.u16(), cursor.remaining)
        yield payload(flow, at, bytes(cursor.take(length)))


def payload(flow: int, at: int, data: bytes) -> Payload:
    ends = [(b"\x0a\0\0\1", 40_000 + (flow >> 4)), (b"\x0a\0\0\2", 443)]
    if flow & _TO_DNS:
        ends[1] = (ends[1][0], DNS_PORT)
    if flow & _BACK:
        ends.reverse()
    return Payload(
        boot_ns=0,
        slot=flow,
        device_slot=1,
        protocol=PROTOCOL_TCP if flow & _TCP else PROTOCOL_UDP,
        source=ends[0][0],
        destination=ends[1][0],
        source_port=ends[0][1],
        destination_port=ends[1][1],
        sequence=at,
        segment_len=_SEGMENT_LEN if flow & _SUPER else 0,
        data=data,
    )


def one_input(data: bytes) -> None:
    """Whatever comes is a name, a message, or an error that was counted; and memory is bounded."""
    inspection = Inspection(NO_AES)
    for each in payloads(data):
        for seen in inspection.read(each):
            if isinstance(seen, Finding) and seen.name is not None:
                assert maybe_host_name(seen.name.encode()) == seen.name
        assert all(stream.held <= BYTES_MAX for stream in inspection._streams.values())
        assert inspection._held == sum(stream.cost for stream in inspection._streams.values())
        assert inspection._held <= HELD_MAX
        assert inspection._readers_held <= READERS_HELD_MAX
    assert sum(inspection.errors.values()) <= sum(inspection.packets.values())
