"""What payloads say: from the bytes that the kernel program sends to names, and to DNS messages.

For each flow it keeps no more than the beginning of a message that is not complete yet, in tables
of a fixed size: when one is full, the flow that has waited longest is forgotten, and its
connection stays without this evidence. Nothing here knows of flow tables, series or clocks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from exporter.capture.records import PROTOCOL_TCP, Payload
from exporter.names.aes import Aes
from exporter.names.attribution import DNS, HTTP, QUIC, TLS
from exporter.names.cursor import ParseError
from exporter.names.dns import Message, maybe_message, parse_message
from exporter.names.http1 import looks_like_request, maybe_request
from exporter.names.proxy_protocol import header_len
from exporter.names.quic import InitialReader
from exporter.names.stream import Stream
from exporter.names.tls import looks_like_client_hello, maybe_client_hello

HELD_MAX = 1 << 20
"""Memory for incomplete messages over TCP, of all connections together: 400 ClientHellos of which
the second segment is still to come.
"""

READERS_MAX = 512
"""Connections of QUIC whose ClientHello is incomplete; most hold some 4 KB."""

READERS_HELD_MAX = 1 << 21
"""Bytes that they hold together: one alone may hold 32 KB."""

PROTOCOLS = (DNS, TLS, QUIC, HTTP)

_PORT_DNS = 53

_Key = tuple[int, bytes, bytes, int, int]


class Finding(NamedTuple):
    """A name that a connection itself stated; or that it stated none."""

    payload: Payload
    source: str
    """TLS, QUIC or HTTP."""
    name: str | None


class DnsSeen(NamedTuple):
    """A DNS message on the wire."""

    payload: Payload
    message: Message


class Inspection:
    """Reads payloads, one after the other."""

    def __init__(self, aes: Aes) -> None:
        self.packets = dict.fromkeys(PROTOCOLS, 0)
        """Payloads read, by protocol."""
        self.errors = dict.fromkeys(PROTOCOLS, 0)
        """Messages that were broken, by protocol."""
        self._aes = aes
        self._streams: OrderedDict[_Key, Stream] = OrderedDict()
        self._held = 0
        self._readers: OrderedDict[_Key, InitialReader] = OrderedDict()
        self._readers_held = 0

    def read(self, payload: Payload) -> Iterator[Finding | DnsSeen]:
        """What one payload completes."""
        is_dns = _PORT_DNS in (payload.source_port, payload.destination_port)
        if payload.protocol == PROTOCOL_TCP:
            yield from self._read_dns_stream(payload) if is_dns else self._read_stream(payload)
            return
        for datagram in _datagrams(payload):
            yield from (
                self._read_dns(payload, datagram) if is_dns else self._read_quic(payload, datagram)
            )

    def _read_dns(self, payload: Payload, datagram: bytes) -> Iterator[DnsSeen]:
        self.packets[DNS] += 1
        try:
            yield DnsSeen(payload, parse_message(datagram, partial=True))
        except ParseError:
            self.errors[DNS] += 1

    def _read_quic(self, payload: Payload, datagram: bytes) -> Iterator[Finding]:
        self.packets[QUIC] += 1
        key = _key(payload)
        reader = self._readers.pop(key, None) or InitialReader(self._aes)
        self._readers_held -= reader.held
        try:
            hello = reader.feed(datagram)
        except ParseError:
            self.errors[QUIC] += 1
            return
        if hello is not None:
            yield Finding(payload, QUIC, hello.server_name)
            return
        self._readers[key] = reader
        self._readers_held += reader.held
        while len(self._readers) > READERS_MAX or self._readers_held > READERS_HELD_MAX:
            _, oldest = self._readers.popitem(last=False)
            self._readers_held -= oldest.held

    def _read_dns_stream(self, payload: Payload) -> Iterator[DnsSeen]:
        self.packets[DNS] += 1
        stream = self._extend(payload)
        if stream is None:
            return
        beginning = next(stream.beginnings())
        read = 0
        try:
            while (found := maybe_message(beginning[read:])) is not None:
                message, length = found
                read += length
                yield DnsSeen(payload, message)
        except ParseError:
            self.errors[DNS] += 1
            return
        stream.drop(read)
        if stream.held:
            self._keep(payload, stream)

    def _read_stream(self, payload: Payload) -> Iterator[Finding]:
        """Reads a ClientHello or a request wherever a segment begins with one, or with a header of
        the PROXY protocol before it.
        """
        stream = self._extend(payload)
        if stream is None:
            return
        counted = ""
        for start in stream.beginnings():
            beginning = start[header_len(start) :]
            if not beginning:
                continue
            if looks_like_client_hello(beginning):
                protocol, read = TLS, _server_name
            elif looks_like_request(beginning):
                protocol, read = HTTP, _host
            else:
                continue
            if protocol != counted:  # what was sent twice begins twice
                self.packets[protocol] += 1
                counted = protocol
            try:
                found = read(beginning)
            except ParseError:
                self.errors[protocol] += 1
                return
            if found is not None:
                yield Finding(payload, protocol, found.name)
                return
        self._keep(payload, stream)

    def _extend(self, payload: Payload) -> Stream | None:
        """The connection's stream with this segment, taken out of the table; None: it is full."""
        stream = self._streams.pop(_key(payload), None)
        if stream is None:
            stream = Stream()
        else:
            self._held -= stream.cost
        return stream if stream.add(payload.sequence, payload.data) else None

    def _keep(self, payload: Payload, stream: Stream) -> None:
        """Puts an incomplete stream back; those that have waited longest give way."""
        self._streams[_key(payload)] = stream
        self._held += stream.cost
        while self._held > HELD_MAX:
            _, oldest = self._streams.popitem(last=False)
            self._held -= oldest.cost


class _Name(NamedTuple):
    name: str | None


def _server_name(beginning: bytes) -> _Name | None:
    hello = maybe_client_hello(beginning)
    return None if hello is None else _Name(hello.server_name)


def _host(beginning: bytes) -> _Name | None:
    request = maybe_request(beginning)
    return None if request is None else _Name(request.host)


def _key(payload: Payload) -> _Key:
    """One direction of one connection on one device."""
    return (
        payload.device_slot,
        payload.source,
        payload.destination,
        payload.source_port,
        payload.destination_port,
    )


def _datagrams(payload: Payload) -> Iterator[bytes]:
    """The datagrams of a super-packet, or the one; none where there are no bytes."""
    length = payload.segment_len or len(payload.data) or 1
    for start in range(0, len(payload.data), length):
        yield payload.data[start : start + length]
