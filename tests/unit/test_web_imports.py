"""The process that serves is shut in after its start: it can no longer open what it imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SERVE_EVERYTHING = """
import socket, sys
from exporter.outputs.listen import bind
from exporter.outputs.server import Server
from exporter.outputs.web import Web
from tests.unit.example_snapshot import BUILD, SHOWN

listener = bind("127.0.0.1:0")
port = listener.getsockname()[1]
server = Server(listener, Web(lambda timeout_s: SHOWN, lambda: None, BUILD))
OPENMETRICS_IN_GZIP = "Accept: application/openmetrics-text\\r\\nAccept-Encoding: gzip\\r\\n"
before = set(sys.modules)
for path in ("/", "/metrics", "/-/healthy", "/-/ready", "/none", "/%e9", "*"):
    for method in ("GET", "HEAD", "POST"):
        for headers in ("", OPENMETRICS_IN_GZIP):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(f"{method} {path} HTTP/1.0\\r\\n{headers}\\r\\n".encode())
                while client.recv(65536):
                    pass
server.close()
print(sorted(set(sys.modules) - before))
"""


def test_nothing_is_imported_once_it_serves() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVE_EVERYTHING],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
