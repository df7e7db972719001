"""Traffic: iperf3, the packet generator, and sockets that send what the kernel then segments."""

from __future__ import annotations

import json
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.net import End, Namespace
from tests.e2e.waiting import wait_until

NOBODY = "02:00:00:00:00:99"
"""An address that no end has: the packet is seen, and no stack answers it."""

_UDP_SEGMENT = 103
_LISTEN = "0A"
_IPERF_PORT = 5201


@dataclass(frozen=True, slots=True)
class Sent:
    """What the packet generator says that it sent."""

    packets: int
    bytes: int
    flows: int
    seconds: float


class Flood:
    """The compiled packet generator; its options are at the top of flood.c."""

    def __init__(self, program: Path) -> None:
        self._program = str(program)

    def start(self, end: End, *options: str, to: str = NOBODY) -> subprocess.Popen[str]:
        """Starts to send from *end*."""
        return end.namespace.start(self._program, "--device", end.device, "--to", to, *options)

    def send(self, end: End, *options: str, to: str = NOBODY, timeout_s: float = 60) -> Sent:
        """Sends from *end*, to its end."""
        return self.sent(self.start(end, *options, to=to), timeout_s)

    @staticmethod
    def sent(started: subprocess.Popen[str], timeout_s: float = 60) -> Sent:
        """Waits for the end of what was started."""
        output, _ = started.communicate(timeout=timeout_s)
        assert started.returncode == 0, output
        return Sent(**json.loads(output))


def listening(namespace: Namespace, port: int) -> bool:
    """Whether a TCP port is open in a namespace; without a connection, which would be traffic."""
    for family in ("tcp", "tcp6"):
        for row in namespace.run("cat", f"/proc/net/{family}").splitlines()[1:]:
            _, local, _, state, *_ = row.split()
            if state == _LISTEN and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


def iperf(client: Namespace, server: Namespace, address: str, *options: str) -> int:
    """Bytes of payload that one iperf3 run over TCP carried; `--reverse` turns it round."""
    serving = server.start("iperf3", "--server", "--one-off")
    wait_until(lambda: listening(server, _IPERF_PORT))
    answer = json.loads(client.run("iperf3", "--client", address, "--json", *options))
    assert "error" not in answer, answer["error"]
    serving.communicate(timeout=20)
    return int(answer["end"]["sum_received"]["bytes"])


def send_udp_segments(
    sender: Namespace, address: str, rounds: int, segments: int, size: int
) -> None:
    """Sends super-packets of UDP, which the kernel cuts into *segments* of *size* bytes."""
    with sender.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
        plug.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, size)
        for _ in range(rounds):
            plug.sendto(b"x" * (segments * size), (address, 9))


def send_frames(end: End, frames: list[bytes]) -> None:
    """Sends whole frames from a device, as they are."""
    with end.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as plug:
        plug.bind((end.device, 0))
        for frame in frames:
            plug.send(frame)
