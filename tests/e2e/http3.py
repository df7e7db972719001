"""An HTTP/3 server and client (aioquic), each a process of its own inside a namespace.

python -m tests.e2e.http3 serve ADDRESS,... PORT CERT KEY
python -m tests.e2e.http3 get ADDRESS PORT NAME BYTES [VERSION] [ALPN-BYTES]
"""

from __future__ import annotations

import asyncio
import ssl
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent
from aioquic.quic.packet import QuicProtocolVersion

_TIMEOUT_S = 10.0
_VERSIONS = {1: QuicProtocolVersion.VERSION_1, 2: QuicProtocolVersion.VERSION_2}


class _Server(QuicConnectionProtocol):
    """Answers each request with as many bytes as its path says."""

    _http: H3Connection | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            self._http = H3Connection(self._quic)
        if self._http is None:
            return
        for seen in self._http.handle_event(event):
            if isinstance(seen, HeadersReceived):
                size = int(dict(seen.headers)[b":path"].lstrip(b"/"))
                self._http.send_headers(seen.stream_id, [(b":status", b"200")])
                self._http.send_data(seen.stream_id, bytes(size), end_stream=True)
                self.transmit()


class _Client(QuicConnectionProtocol):
    """Asks once."""

    received = 0
    ended: asyncio.Event
    _http: H3Connection

    async def get(self, name: str, size: int) -> None:
        self.ended = asyncio.Event()
        self._http = H3Connection(self._quic)
        stream = self._quic.get_next_available_stream_id()
        headers = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", name.encode()),
            (b":path", b"/%d" % size),
        ]
        self._http.send_headers(stream, headers, end_stream=True)
        self.transmit()
        await asyncio.wait_for(self.ended.wait(), _TIMEOUT_S)

    def quic_event_received(self, event: QuicEvent) -> None:
        if not hasattr(self, "_http"):
            return
        for seen in self._http.handle_event(event):
            if isinstance(seen, DataReceived):
                self.received += len(seen.data)
                if seen.stream_ended:
                    self.ended.set()


async def _serve(addresses: str, port: int, cert: str, key: str) -> None:
    settings = QuicConfiguration(
        is_client=False, alpn_protocols=["h3"], supported_versions=list(_VERSIONS.values())
    )
    settings.load_cert_chain(cert, key)
    # A socket for each: answers come from the address that was asked.
    for address in addresses.split(","):
        await serve(address, port, configuration=settings, create_protocol=_Server)
    print("serving", flush=True)
    await asyncio.Event().wait()


async def _get(
    address: str, port: int, name: str, size: int, version: int = 1, alpn_len: int = 0
) -> None:
    settings = QuicConfiguration(
        is_client=True,
        alpn_protocols=[*(f"{number:0>100}" for number in range(alpn_len // 101)), "h3"],
        original_version=_VERSIONS[version],
        supported_versions=[_VERSIONS[version]],
        server_name=name,
        verify_mode=ssl.CERT_NONE,
    )
    async with connect(
        address, port, configuration=settings, create_protocol=_Client
    ) as connection:
        assert isinstance(connection, _Client)
        await connection.get(name, size)
        assert connection.received == size, f"{connection.received} bytes of {size}"


if __name__ == "__main__":
    _, what, address, port, *rest = sys.argv
    if what == "serve":
        asyncio.run(_serve(address, int(port), *rest))
    else:
        asyncio.run(_get(address, int(port), rest[0], *map(int, rest[1:])))
