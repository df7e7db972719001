"""`--web.allow`: who is answered at all."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterable

from exporter.networks import Networks

LOG_EVERY_S = 60.0

_log = logging.getLogger(__name__)


class Allowed:
    """Networks whose clients are answered; the others are told nothing, and the log who they were.

    To be called in one thread.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = Networks((network, "allowed") for network in networks)
        self._log_from_s = 0.0
        self._refused = 0

    def __call__(self, remote: str) -> bool:
        """Whether an address is in one of them."""
        # A link-local address comes with its interface.
        host = remote.partition("%")[0]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if self._networks.name_of(socket.inet_pton(family, host)) is not None:
            return True
        self._refused += 1
        now_s = time.monotonic()
        if now_s >= self._log_from_s:
            self._log_from_s = now_s + LOG_EVERY_S
            _log.warning(
                "not answered: %s is in no network of web.allow (%d connections since the last"
                " such line)",
                host,
                self._refused,
            )
            self._refused = 0
        return False
