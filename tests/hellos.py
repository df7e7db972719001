"""ClientHellos for tests: made from parts, cut into records, and got from OpenSSL."""

from __future__ import annotations

import contextlib
import socket
import subprocess

from exporter.names.cursor import ParseError
from exporter.names.tls import bytes_wanted

SERVER_NAME = 0
PADDING = 21
KEY_SHARE = 51
ECH = 0xFE0D
X25519MLKEM768 = 0x11EC

_CONNECT_TIMEOUT_S = 10.0


def prefixed(body: bytes, length_bytes: int) -> bytes:
    """A vector: its length in so many bytes, and itself (RFC 8446 3.4)."""
    return len(body).to_bytes(length_bytes, "big") + body


def extension(kind: int, body: bytes) -> bytes:
    return kind.to_bytes(2, "big") + prefixed(body, 2)


def server_name(*names: bytes, name_type: int = 0) -> bytes:
    """The server_name extension (RFC 6066 3) with these names."""
    names_list = b"".join(bytes([name_type]) + prefixed(name, 2) for name in names)
    return extension(SERVER_NAME, prefixed(names_list, 2))


def post_quantum_key_share() -> bytes:
    """A key share as large as X25519MLKEM768's: 1,184 bytes and 32."""
    share = X25519MLKEM768.to_bytes(2, "big") + prefixed(b"\xa5" * 1216, 2)
    return extension(KEY_SHARE, prefixed(share, 2))


def client_hello(*extensions: bytes, padded_to: int = 0) -> bytes:
    """The handshake message, with a padding extension (RFC 7685) up to a length if need be."""
    body = b"".join(extensions)
    fixed = b"\x03\x03" + bytes(range(32)) + prefixed(bytes(32), 1)
    fixed += prefixed(b"\x13\x01\x13\x02", 2) + prefixed(b"\0", 1)
    missing = padded_to - (4 + len(fixed) + 2 + len(body))
    if missing > 0:
        body += extension(PADDING, bytes(missing - 4))
    return b"\x01" + prefixed(fixed + prefixed(body, 2), 3)


def named(name: bytes, *more: bytes, padded_to: int = 0) -> bytes:
    """A ClientHello for a server of that name."""
    return client_hello(server_name(name), *more, padded_to=padded_to)


def in_records(message: bytes, fragment_len: int = 1 << 14) -> bytes:
    """Records of TLS 1.0 with fragments of so many bytes, the last one shorter."""
    pieces = (message[at : at + fragment_len] for at in range(0, len(message), fragment_len))
    return b"".join(b"\x16\x03\x01" + prefixed(piece, 2) for piece in pieces)


def from_openssl(*arguments: str) -> bytes:
    """The first bytes that `openssl s_client` sends to a server that only listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_CONNECT_TIMEOUT_S)
        port = listener.getsockname()[1]
        client = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(_CONNECT_TIMEOUT_S)
                return _read_hello(connection)
        finally:
            client.kill()
            client.wait()


def _read_hello(connection: socket.socket) -> bytes:
    stream = b""
    with contextlib.suppress(ParseError):  # which the test is to find
        while bytes_wanted(stream):
            received = connection.recv(65536)
            if not received:
                break
            stream += received
    return stream
