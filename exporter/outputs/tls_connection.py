"""A client that speaks TLS: the same connection to the server's loop, encrypted to the client.

The handshake is part of reading the first request, with its deadline. ssl is imported with this
module, which takes 4 MB: only where TLS is asked for.
"""

from __future__ import annotations

import selectors
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from exporter.errors import ExporterError
from exporter.outputs.connection import Connection
from exporter.outputs.web_config import IF_GIVEN, REQUIRED, Tls

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}

_NO_TLS = (
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    b"This is an HTTPS server: the URL must begin with https://\n"
)


def connector(tls: Tls) -> Callable[[socket.socket, str], Connection]:
    """What makes connections as the settings ask for, with the files as they are now.

    Raises ExporterError.
    """
    context = _context(tls)
    return lambda sock, remote: TlsConnection(sock, remote, context, tls.client_sans)


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.maximum_version = _VERSIONS[tls.max_version]
    context.set_alpn_protocols(["http/1.1"])
    if tls.suites:
        context.set_ciphers(":".join(tls.suites))
    for path in tls.files:
        try:
            path.read_bytes()
        except OSError as error:
            raise ExporterError(f"{path}: the file cannot be read: {error.strerror}") from None
    try:
        # The password: with none at all, OpenSSL would ask the terminal for one.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except (ssl.SSLError, OSError, ValueError):
        raise ExporterError(
            f"{tls.certificate} and {tls.key} must be a PEM certificate and its key, without a"
            " password"
        ) from None
    if tls.client_ca is not None:
        try:
            context.load_verify_locations(tls.client_ca)
        except (ssl.SSLError, OSError):
            raise ExporterError(f"{tls.client_ca} has no PEM certificates") from None
    if tls.client_auth == IF_GIVEN:
        context.verify_mode = ssl.CERT_OPTIONAL
    elif tls.client_auth == REQUIRED:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class TlsConnection(Connection):
    """One client of an HTTPS server."""

    __slots__ = ("_blocked_on", "_client_sans", "_is_greeted", "_tls")

    def __init__(
        self,
        sock: socket.socket,
        remote: str,
        context: ssl.SSLContext,
        client_sans: tuple[str, ...],
    ) -> None:
        """*client_sans*: as of Tls. Raises OSError where the client is gone already."""
        sock.setblocking(False)
        self._tls = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        super().__init__(self._tls, remote)
        self._client_sans = client_sans
        self._is_greeted = False
        self._blocked_on = 0

    @property
    def blocked_on(self) -> int:
        """As Connection."""
        return self._blocked_on

    def receive(self, most: int) -> bytes | None:
        """As Connection; up to a record of 16 KB more, since nobody wakes the loop for its rest."""
        self._blocked_on = 0
        try:
            if not self._is_greeted:
                self._tls.do_handshake()
                self._is_greeted = True
                self._check_names()
            received = self._tls.recv(most)
            if pending := self._tls.pending():
                received += self._tls.recv(pending)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLWantWriteError:
            self._blocked_on = selectors.EVENT_WRITE
            return None
        except ssl.SSLEOFError:
            return b""
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                self._explain()
            raise
        return received

    def _explain(self) -> None:
        """Tells who speaks HTTP what is spoken here."""
        socket.socket.send(self._tls, _NO_TLS)
        with suppress(BlockingIOError):  # what is left unread would take the answer away
            socket.socket.recv(self._tls, 1 << 16)

    def _check_names(self) -> None:
        certificate = self._tls.getpeercert()
        if not certificate or not self._client_sans:
            return
        names = {str(name[1]) for name in certificate.get("subjectAltName", ())}
        if names.isdisjoint(self._client_sans):
            raise ConnectionAbortedError("the client's certificate has none of the names")

    def flush(self) -> bool:
        """As Connection."""
        self._blocked_on = 0
        try:
            return super().flush()
        except ssl.SSLWantWriteError:
            return False
        except ssl.SSLWantReadError:
            self._blocked_on = selectors.EVENT_READ
            return False

    def finish(self) -> None:
        """As Connection, with TLS' own farewell."""
        with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self._tls.unwrap()
        super().finish()
