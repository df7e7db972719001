"""The first request of an HTTP/1 connection, as far as it says which host it is for.

    request line ──► CONNECT, absolute form: the host is in it           RFC 9112, 3.2
              └────► header lines, until Host or the end of the head     RFC 9112, 5

The answer does not wait for the end of the head: Host comes early, and heads are long. Sloppy heads
are read as servers read them; what no server would serve has no host.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from exporter.names.cursor import Cursor, ParseError
from exporter.names.hostname import is_ip_literal, parse_host_name

HEAD_MAX = 8192
"""Bytes of a head that are looked through: what common servers accept as a whole."""
METHOD_MAX = 32
"""Characters of a method: the longest in METHODS has 17."""

METHODS = frozenset(
    # RFC 9110, 9.3; RFC 5789; draft-ietf-httpbis-safe-method-w-body.
    b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH QUERY "
    # WebDAV and what came after it: RFC 4918, 3253, 3648, 3744, 4437, 4791, 5323, 5842.
    b"PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK VERSION-CONTROL REPORT CHECKIN CHECKOUT "
    b"UNCHECKOUT MKWORKSPACE UPDATE LABEL MERGE BASELINE-CONTROL MKACTIVITY ORDERPATCH ACL "
    b"MKREDIRECTREF UPDATEREDIRECTREF MKCALENDAR SEARCH BIND REBIND UNBIND "
    # RFC 2068, 19.6.1; UPnP; caches; Exchange, Outlook Anywhere, SSTP, BITS and Configuration
    # Manager.
    b"LINK UNLINK SUBSCRIBE UNSUBSCRIBE NOTIFY PURGE POLL BCOPY BDELETE BMOVE BPROPFIND BPROPPATCH "
    b"RPC_IN_DATA RPC_OUT_DATA SSTP_DUPLEX_POST BITS_POST CCM_POST".split()
)

_BLANK = b" \t"
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}(?=[ \t]|\Z)")
_VERSION = re.compile(rb"HTTP/1\.[0-9]")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_PORT = re.compile(rb"[0-9]{0,5}")


class Request(NamedTuple):
    """The start of a request."""

    method: str
    host: str | None
    """In lower case, without the port; None where it is an address, missing, or contradictory."""
    is_connect: bool
    """The host is the far end of a tunnel, and what follows is the tunnel's."""
    authority: str | None
    """In lower case, with the port, from the request line: of CONNECT and of the absolute form."""


def looks_like_request(first: bytes | memoryview) -> bool:
    """Whether the first bytes of a stream are a method in METHODS, or as yet the start of one."""
    method, blank, _ = bytes(first[: METHOD_MAX + 1]).lstrip(b"\r\n").partition(b" ")
    if blank:
        return method in METHODS
    return any(known.startswith(method) for known in METHODS)


def maybe_request(stream: bytes | memoryview) -> Request | None:
    """The first request of a stream; None while more is needed to know its host.

    The method may be any (RFC 9110, 9.1). Raises ParseError where it is not HTTP/1, where there is
    no host and no end in HEAD_MAX bytes, and where the host is no name.
    """
    cursor = Cursor(stream[:HEAD_MAX])
    line = _maybe_request_line(cursor)
    request = None if line is None else _maybe_read(line, cursor)
    if request is None and len(stream) >= HEAD_MAX:
        raise ParseError(f"neither a host nor the end of the head in {HEAD_MAX} bytes")
    return request


def _maybe_request_line(cursor: Cursor) -> bytes | None:
    # RFC 9112, 2.2: empty lines before it are ignored, and a line feed alone ends a line.
    line: bytes | None = b""
    while line == b"":
        line = cursor.maybe_line()
        line = line and line.removesuffix(b"\r")
    start = cursor.rest().lstrip(b"\r\n") if line is None else line
    if line is None and not start:
        return None
    if _METHOD.match(start[: METHOD_MAX + 1]) is None or _CONTROL.search(start) is not None:
        raise ParseError("not the start of a request")
    return line


def _maybe_read(line: bytes, cursor: Cursor) -> Request | None:
    """The request of this request line; None while its host may still come in a header line."""
    method, target = _method_and_target(line)
    if method == "CONNECT":
        return Request(method, _host_of(target), True, target.decode("ascii").lower())
    absolute = _ABSOLUTE.match(target)
    if absolute is not None:
        # RFC 9112, 3.2.2: then Host does not count. RFC 9110, 4.2.4: nor does who asks.
        authority = absolute[1].rpartition(b"@")[2]
        return Request(method, _host_of(authority), False, authority.decode("ascii").lower())
    hosts, ended = _read_hosts(cursor)
    if not ended and not any(hosts):
        return None
    # RFC 9112, 3.2: no server may answer a request with several.
    host = _host_of(hosts[0]) if len(set(hosts)) == 1 else None
    return Request(method, host, False, None)


def _method_and_target(line: bytes) -> tuple[str, bytes]:
    # RFC 9112, 3: words may be parted by any blanks, and targets with a space in them are common.
    method, _, rest = line.replace(b"\t", b" ").partition(b" ")
    target, _, version = rest.strip().rpartition(b" ")
    if _VERSION.fullmatch(version) is None or not target:
        raise ParseError("not a request line of HTTP/1")
    return method.decode("ascii"), target.rstrip()


def _read_hosts(cursor: Cursor) -> tuple[list[bytes], bool]:
    """The values of the Host lines that are complete, and whether the head is."""
    hosts: list[bytes] = []
    in_host = False
    while (line := cursor.maybe_line()) is not None:
        line = line.removesuffix(b"\r")
        if not line:
            return hosts, True
        if line[0] in _BLANK:
            # RFC 9112, 5.2: a folded line goes on. Before the first field (2.2) it is ignored.
            if in_host:
                hosts[-1] = b" ".join((hosts[-1], line)).strip(_BLANK)
            continue
        name, colon, value = line.partition(b":")
        in_host = bool(colon) and name.lower() == b"host"
        if in_host:
            hosts.append(value.strip(_BLANK))
    return hosts, False


def _host_of(authority: bytes) -> str | None:
    """The host name of `host:port`; None where it is empty or an address (RFC 3986, 3.2)."""
    if not authority or is_ip_literal(authority):
        return None
    host, colon, port = authority.rpartition(b":")
    if not colon:
        host, port = authority, b""
    if _PORT.fullmatch(port) is None:
        raise ParseError("not a port")
    return None if not host or is_ip_literal(host) else parse_host_name(host)
