"""One exporter in each network namespace: the lock that it holds while it runs."""

from __future__ import annotations

import socket

from exporter.errors import ExporterError

_NAME = "\0ayaflow-exporter"
"""An abstract socket: one in each network namespace, and gone with the process however it ends."""


def hold() -> socket.socket:
    """The lock, held until this is closed. Raises ExporterError where an exporter holds it."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        held.bind(_NAME)
    except OSError as error:
        held.close()
        raise ExporterError(
            "another ayaflow-exporter counts in this network namespace already: stop it first"
        ) from error
    return held
