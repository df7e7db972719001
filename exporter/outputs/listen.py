"""The listening socket, made early, while a low port can still be had; or one sentence why not."""

from __future__ import annotations

import errno
import re
import socket

from exporter.errors import ExporterError

_ADDRESS = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*)):([0-9]{1,5})\Z")

_BACKLOG = 1024
"""Connections that the kernel keeps until they are accepted. A flood fills a short queue, and then
a scraper's SYN is dropped, which costs it a second."""

_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


def bind(listen_address: str) -> socket.socket:
    """A socket that listens on HOST:PORT; port 0 takes a free one.

    Without a host it takes IPv4 and IPv6, and IPv4 alone where the kernel has no IPv6.
    Raises ExporterError.
    """
    host, port = parse_listen_address(listen_address)
    try:
        if host:
            return _listen(*_resolve(listen_address, host, port))
        try:
            return _listen(socket.AF_INET6, ("::", port))
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
            return _listen(socket.AF_INET, ("0.0.0.0", port))
    except OSError as error:
        raise ExporterError(
            f"cannot listen on {listen_address}: {_what_to_do(error)} with --web.listen-address"
        ) from error


def parse_listen_address(listen_address: str) -> tuple[str, int]:
    """Host (empty for every address) and port; raises ExporterError where it is neither."""
    parts = _ADDRESS.match(listen_address)
    if parts is None or int(parts[3]) > 65535:
        raise ExporterError(
            f"{listen_address!r} is no address to listen on: give --web.listen-address as "
            "HOST:PORT, such as :10517, 127.0.0.1:10517 or [::1]:10517"
        )
    return parts[1] or parts[2] or "", int(parts[3])


def _resolve(listen_address: str, host: str, port: int) -> tuple[int, tuple[object, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ExporterError(
            f"cannot listen on {listen_address}: {host!r} is no address and resolves to none; "
            "choose another with --web.listen-address"
        ) from error
    family, _, _, _, address = found[0]
    return family, address


def _listen(family: int, address: tuple[object, ...]) -> socket.socket:
    """Bound and listening at once: two sockets that are only bound may share a port."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # its connections inherit it
        if family == socket.AF_INET6 and address[0] == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _what_to_do(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program uses this port; stop it, or choose another port"
    if error.errno == errno.EACCES:
        return "ports below 1024 need CAP_NET_BIND_SERVICE; grant it, or choose a higher port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "no interface has this address; choose one that this machine has"
    return f"{error.strerror}; choose another address"
