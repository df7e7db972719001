"""A veth pair in a network namespace of this process's own, and the sender of small packets on it.

The namespace has no name: it goes with the process and all that is in it, however the process
ends. Both ends of the pair are in it: frames are sent below the network stack, no route is asked.
"""

from __future__ import annotations

import ctypes
import socket
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exporter.capture import netlink

SENDING = "bench-out"
RECEIVING = "bench-in"

FRAME_BYTES = {4: 60, 6: 80}
"""By IP version: Ethernet, IP and UDP headers and 18 bytes."""

_CLONE_NEWNET = 0x40000000
_SERVER = ("198.51.100.1", 9)
_SAMPLE_S = 0.02
_SOURCE = Path(__file__).with_name("sender.c")


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: round-robin over *flows*, to a number of packets or for a time."""

    flows: int
    ip_version: int = 4
    replies: bool = False
    """Each packet is answered, so that both directions of a connection are busy."""


class Wire:
    """The pair. Makes and enters its namespace, for the whole process. Raises OSError."""

    def __init__(self, cpu: int) -> None:
        """*cpu*: where packets are sent, and so received too."""
        self.cpu = cpu
        self._folder = tempfile.TemporaryDirectory(prefix="ayaflow-bench-")
        self._sender = f"{self._folder.name}/sender"
        _run("cc", "-O2", "-o", self._sender, str(_SOURCE))
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "cannot make a network namespace: run as root")
        for setting in ("ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6"):
            Path("/proc/sys/net", setting).write_text("1")
        for scope in ("all", "default"):
            Path(f"/proc/sys/net/ipv4/conf/{scope}/rp_filter").write_text("0")
        _run(*f"ip link add {SENDING} type veth peer name {RECEIVING}".split())
        for device in (SENDING, RECEIVING):
            _run("ethtool", "-K", device, "gro", "off")
            _run(*f"ip link set {device} arp off up".split())
        _run(*f"ip address add {_SERVER[0]}/32 dev {RECEIVING}".split())
        self.ifindex = socket.if_nametoindex(RECEIVING)
        self._mac = _mac(RECEIVING)
        # Packets go all the way up, to a socket that is full: nobody is woken, nothing is answered.
        self._sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        self._sink.bind(_SERVER)

    def driver_packets(self) -> tuple[int, int]:
        """What the receiving device's driver has counted, received and sent."""
        link = netlink.link(self.ifindex)
        return link.rx_packets, link.tx_packets

    def send(self, load: Load, count: int) -> int:
        """Sends *count* packets and returns how many went each way."""
        return self._finish(self._start(load, "--count", str(count)))

    def send_for(self, load: Load, seconds: float, sample: Callable[[], None]) -> int:
        """The same for a time; calls *sample* fifty times a second meanwhile."""
        sending = self._start(load, "--seconds", str(seconds))
        while True:
            try:
                sending.wait(_SAMPLE_S)
            except subprocess.TimeoutExpired:
                sample()
            else:
                return self._finish(sending)

    def _start(self, load: Load, *until: str) -> subprocess.Popen[str]:
        words = [self._sender, "--device", SENDING, "--to", self._mac, *until]
        words += ["--flows", str(load.flows), "--cpu", str(self.cpu)]
        if load.ip_version == 6:
            words += ["--ipv6"]
        if load.replies:
            words += ["--reply-device", RECEIVING]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    @staticmethod
    def _finish(sending: subprocess.Popen[str]) -> int:
        output, _ = sending.communicate()
        if sending.returncode:
            raise RuntimeError(f"the sender failed with {sending.returncode}")
        return int(output)

    def close(self) -> None:
        """Removes the pair; what else there is goes with the process."""
        self._sink.close()
        _run("ip", "link", "delete", SENDING)
        self._folder.cleanup()


def _mac(device: str) -> str:
    for line in _run("ip", "-oneline", "link", "show", "dev", device).split("link/ether ")[1:]:
        return line.split()[0]
    raise RuntimeError(f"{device} has no Ethernet address")


def _run(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout
