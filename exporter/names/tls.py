"""The server name in a TLS ClientHello (RFC 8446 4.1.2), from records or from the bare message.

The flow: a client's TCP bytes -> records (RFC 8446 5.1) -> the handshake message that their
fragments make up -> `ClientHello`. QUIC carries the same message without records.

Rules:
- The caller says where TLS begins; from there on the first thing must be a ClientHello, in records
  of SSL 3.0 or later. The hello of SSL 2.0 (RFC 5246 E.2) has no room for a name and is refused.
- Nothing is believed before the message is complete, and what follows it is not looked at.
- With an encrypted ClientHello the outer name is the name: it is what the packets say.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from exporter.names.cursor import Cursor, ParseError
from exporter.names.hostname import is_ip_literal, parse_host_name

HANDSHAKE_MAX = 16 * 1024
"""Bytes of a ClientHello with its header. Those with post-quantum keys have 2 KB, with a session
ticket and padding 4 KB: four times that is room enough, and as much as one record can hold."""

RECORDS_MAX = 1024
"""Records that a ClientHello may take. A client may cut it into fragments of any size, and some do
to hide from readers: one of 1 KB into single bytes, the longest one into 16 bytes each."""

_RECORD_HANDSHAKE = 22
_RECORD_HEADER = struct.Struct("!BBBH")
"""Content type, major and minor version, length."""
_FRAGMENT_MAX = 1 << 14
_MAJOR_VERSION = 3
"""First byte of each version from SSL 3.0 to TLS 1.3 (RFC 8446 appendix D)."""

_MESSAGE_CLIENT_HELLO = 1
_MESSAGE_HEADER_LEN = 4
_RANDOM_LEN = 32
_SESSION_ID_MAX = 32

_EXTENSION_HEADER = struct.Struct("!HH")
_EXTENSION_SERVER_NAME = 0
_EXTENSION_ECH = 0xFE0D

_NAME_HEADER = struct.Struct("!BH")
_NAME_HOST = 0


class ClientHello(NamedTuple):
    """What a client's first message says of whom it wants to talk to."""

    server_name: str | None
    """In lower case; None if there is none, or an address instead."""
    has_ech: bool
    """An encrypted ClientHello is in it (or GREASE that looks the same): the name is the outer."""


def looks_like_client_hello(start: bytes) -> bool:
    """Whether a stream that starts so can start with a ClientHello, as far as its bytes go."""
    return start[:2] == b"\x16\x03"[: len(start)] and start[5:6] in (b"", b"\x01")


def maybe_client_hello(stream: bytes) -> ClientHello | None:
    """The ClientHello that a client's TCP bytes start with; None: more bytes are needed.

    Raises ParseError if they start with something else, or it is too long.
    """
    message, _ = _gather(stream)
    return None if message is None else parse_client_hello(message)


def bytes_wanted(stream: bytes) -> int:
    """How long the stream must at least be before `maybe_client_hello` can answer; 0: it can now.

    Who waits for as many parses a stream of any shape a few dozen times at most. Raises ParseError.
    """
    return _gather(stream)[1]


def parse_client_hello(message: bytes) -> ClientHello:
    """A whole handshake message. Raises ParseError if it is not a ClientHello, or not whole."""
    cursor = Cursor(message)
    if client_hello_len(message) != len(message):
        raise ParseError("a ClientHello that is longer or shorter than it says")
    cursor.skip(_MESSAGE_HEADER_LEN)
    return _read_client_hello(cursor)


def client_hello_len(start: bytes | bytearray) -> int:
    """Length of a message, header included, that starts so; until it says, that of its header.

    Raises ParseError if it is no ClientHello, or longer than HANDSHAKE_MAX.
    """
    if start and start[0] != _MESSAGE_CLIENT_HELLO:
        raise ParseError(f"handshake message {start[0]}, not a ClientHello")
    if len(start) < _MESSAGE_HEADER_LEN:
        return _MESSAGE_HEADER_LEN
    length = _MESSAGE_HEADER_LEN + int.from_bytes(start[1:_MESSAGE_HEADER_LEN], "big")
    if length > HANDSHAKE_MAX:
        raise ParseError(f"a ClientHello of {length} bytes")
    return length


def _gather(stream: bytes) -> tuple[bytes | None, int]:
    """The message in the records and 0; or None and the least length of a stream that has it."""
    cursor = Cursor(stream)
    message = bytearray()
    for _ in range(RECORDS_MAX):
        missing = client_hello_len(message) - len(message)
        if cursor.remaining < _RECORD_HEADER.size:
            wanted = cursor.position + _RECORD_HEADER.size + missing
            _check_record_start(cursor.rest())
            return None, wanted
        length = _read_record_header(cursor)
        fragment = cursor.take(min(length, cursor.remaining))
        message += fragment
        whole_len = client_hello_len(message)
        missing = whole_len - len(message)
        if missing <= 0:
            return bytes(message[:whole_len]), 0
        outstanding = length - len(fragment)
        if outstanding >= missing:
            return None, cursor.position + missing
        if outstanding:
            return None, cursor.position + missing + _RECORD_HEADER.size
    raise ParseError(f"a ClientHello in more than {RECORDS_MAX} records")


def _read_record_header(cursor: Cursor) -> int:
    """The length of the fragment that follows (RFC 8446 5.1)."""
    content_type, major, _, length = cursor.unpack(_RECORD_HEADER)
    _check_record_start(bytes((content_type, major)))
    if not 0 < length <= _FRAGMENT_MAX:
        raise ParseError(f"a handshake record of {length} bytes")
    return int(length)


def _check_record_start(start: bytes) -> None:
    """Content type and major version, as far as they are there."""
    if start and start[0] != _RECORD_HANDSHAKE:
        raise ParseError(f"content type {start[0]}, not a handshake record")
    if start[1:] and start[1] != _MAJOR_VERSION:
        raise ParseError("not a record of TLS")


def _read_client_hello(cursor: Cursor) -> ClientHello:
    if cursor.u8() != _MAJOR_VERSION:
        raise ParseError("not a ClientHello of TLS")
    cursor.skip(1 + _RANDOM_LEN)
    session_id_len = cursor.u8()
    if session_id_len > _SESSION_ID_MAX:
        raise ParseError(f"a session id of {session_id_len} bytes")
    cursor.skip(session_id_len)
    cipher_suites_len = cursor.u16()
    if cipher_suites_len < 2 or cipher_suites_len % 2:
        raise ParseError(f"cipher suites in {cipher_suites_len} bytes")
    cursor.skip(cipher_suites_len)
    cursor.skip(cursor.u8())  # compression methods
    if not cursor.remaining:  # extensions may be absent as a whole (RFC 5246 7.4.1.2)
        return ClientHello(None, has_ech=False)
    with cursor.block(cursor.u16()):
        hello = _read_extensions(cursor)
    if cursor.remaining:
        raise ParseError(f"{cursor.remaining} bytes after the extensions")
    return hello


def _read_extensions(cursor: Cursor) -> ClientHello:
    names: list[str | None] = []
    has_ech = False
    while cursor.remaining:
        extension, length = cursor.unpack(_EXTENSION_HEADER)
        if extension == _EXTENSION_SERVER_NAME:
            with cursor.block(length):
                names.append(_read_server_name(cursor))
        else:
            has_ech = has_ech or extension == _EXTENSION_ECH
            cursor.skip(length)
    if len(names) > 1:  # RFC 8446 4.2: one of each type
        raise ParseError("two server_name extensions")
    return ClientHello(names[0] if names else None, has_ech)


def _read_server_name(cursor: Cursor) -> str | None:
    """The host name of a ServerNameList (RFC 6066 3); None where it is empty, or an address."""
    if not cursor.remaining:  # the form of a server's answer
        return None
    hosts: list[bytes] = []
    with cursor.block(cursor.u16()):
        while cursor.remaining:
            name_type, length = cursor.unpack(_NAME_HEADER)  # so whatever the type
            name = cursor.take(length)
            if name_type == _NAME_HOST:
                hosts.append(name)
    if len(hosts) > 1:
        raise ParseError("two host names in a ClientHello")
    if not hosts or not hosts[0] or is_ip_literal(hosts[0]):
        return None
    return parse_host_name(hosts[0])
