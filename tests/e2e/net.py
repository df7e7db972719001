"""Network namespaces for the tests: made, wired with veth pairs, looked into, and deleted again."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

SEGMENTATION = (
    "tso",
    "gso",
    "tx-udp-segmentation",
    "tx-udp_tnl-segmentation",
    "tx-udp_tnl-csum-segmentation",
)
"""Kinds of super-packets that a device takes."""

_CLONE_NEWNET = 0x40000000
_COMMAND_TIMEOUT_S = 60.0
_libc = ctypes.CDLL(None, use_errno=True)


def command(*arguments: str, timeout_s: float = _COMMAND_TIMEOUT_S) -> str:
    """Runs a program and returns its output. Fails the test with what it said on stderr."""
    done = subprocess.run(
        arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s
    )
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr or done.stdout}"
    return done.stdout


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a driver counted, in its own units; `-` gives what was counted between two moments."""

    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0

    def __add__(self, other: Statistics) -> Statistics:
        return self - (Statistics() - other)

    def __sub__(self, other: Statistics) -> Statistics:
        return Statistics(
            self.rx_packets - other.rx_packets,
            self.rx_bytes - other.rx_bytes,
            self.tx_packets - other.tx_packets,
            self.tx_bytes - other.tx_bytes,
        )


class Namespace:
    """One network namespace."""

    def __init__(self, name: str, ipv6: bool = False) -> None:
        """Its interfaces have IPv6 only when asked, since that sends packets of its own accord."""
        self.name = name
        self._started: list[subprocess.Popen[str]] = []
        command("ip", "netns", "add", name)
        self.sysctl("net.ipv4.ip_forward", 1)
        for scope in ("all", "default"):
            self.sysctl(f"net.ipv6.conf.{scope}.disable_ipv6", int(not ipv6))
            self.sysctl(f"net.ipv6.conf.{scope}.accept_dad", 0)
            self.sysctl(f"net.ipv6.conf.{scope}.forwarding", int(ipv6))
            # Listener reports are sent twice: so the second comes at once, not after a second.
            self.sysctl(f"net.ipv6.conf.{scope}.mldv2_unsolicited_report_interval", 10)
        self.ip("link set lo up")

    def wrap(self, *arguments: str) -> tuple[str, ...]:
        """The command line that runs *arguments* in here, as the same process."""
        return ("ip", "netns", "exec", self.name, *arguments)

    def run(self, *arguments: str, timeout_s: float = _COMMAND_TIMEOUT_S) -> str:
        return command(*self.wrap(*arguments), timeout_s=timeout_s)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A program that runs beside the test, and is killed at its end."""
        started = subprocess.Popen(
            self.wrap(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(started)
        return started

    def ip(self, arguments: str) -> str:
        return command("ip", "-n", self.name, *arguments.split())

    def tc(self, arguments: str) -> str:
        return command("tc", "-n", self.name, *arguments.split())

    def sysctl(self, name: str, value: int) -> None:
        self.run("sysctl", "-qw", f"{name}={value}")

    def ethtool(self, device: str, *features: str) -> None:
        self.run("ethtool", "-K", device, *features)

    def inside(self, function: Callable[[], T]) -> T:
        """What *function* answers when called in a thread that is in here."""
        answers: list[T] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if _libc.setns(fd, _CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                finally:
                    os.close(fd)
                answers.append(function())
            except BaseException as error:  # handed to the caller
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return answers[0]

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that stays in here, whoever uses it."""
        return self.inside(lambda: socket.socket(family, kind, protocol))

    def link(self, device: str) -> dict[str, Any]:
        """What `ip -s -j link` says of a device."""
        found: list[dict[str, Any]] = json.loads(self.ip(f"-s -d -j link show dev {device}"))
        return found[0]

    def statistics(self, device: str) -> Statistics:
        """The four counters of /sys/class/net/DEVICE/statistics, of one moment."""
        counters = self.link(device)["stats64"]
        received, sent = counters["rx"], counters["tx"]
        return Statistics(received["packets"], received["bytes"], sent["packets"], sent["bytes"])

    def ifindex(self, device: str) -> int:
        return int(self.link(device)["ifindex"])

    def mac(self, device: str) -> str:
        return str(self.link(device)["address"])

    def pids(self) -> list[int]:
        """Processes that are in here."""
        return [int(pid) for pid in command("ip", "netns", "pids", self.name).split()]

    def close(self) -> None:
        for started in self._started:
            if started.poll() is None:
                started.kill()
            started.wait()
            if started.stdout:
                started.stdout.close()
        command("ip", "netns", "delete", self.name)


@dataclass(frozen=True, slots=True)
class End:
    """One end of a wire."""

    namespace: Namespace
    device: str
    ipv4: str
    ipv6: str

    @property
    def mac(self) -> str:
        return self.namespace.mac(self.device)

    def statistics(self) -> Statistics:
        return self.namespace.statistics(self.device)

    def tx_dropped(self) -> int:
        """Packets that the driver did not send, since the device was made."""
        return int(self.namespace.link(self.device)["stats64"]["tx"]["dropped"])

    def offload(self, on: bool) -> None:
        """Whether super-packets may leave here; nothing is merged when received."""
        for feature in SEGMENTATION:
            self.namespace.ethtool(self.device, feature, "on" if on else "off")
        self.namespace.ethtool(self.device, "gro", "off")


class Network:
    """The namespaces of one test, under a prefix that no other test has."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._namespaces: list[Namespace] = []

    def namespace(self, role: str, ipv6: bool = False) -> Namespace:
        made = Namespace(f"{self._prefix}-{role}", ipv6)
        self._namespaces.append(made)
        return made

    def wire(
        self,
        left: Namespace,
        right: Namespace,
        number: int = 1,
        devices: tuple[str, str] = ("eth0", "eth0"),
        mtu: int = 1500,
        offload: bool = False,
    ) -> tuple[End, End]:
        """A veth pair with addresses 10.NUMBER.0.1 and .2, fd00:NUMBER::1 and ::2."""
        ends = (
            End(left, devices[0], f"10.{number}.0.1", f"fd00:{number}::1"),
            End(right, devices[1], f"10.{number}.0.2", f"fd00:{number}::2"),
        )
        left.ip(
            f"link add {devices[0]} mtu {mtu} type veth"
            f" peer name {devices[1]} mtu {mtu} netns {right.name}"
        )
        for end in ends:
            end.offload(offload)
            end.namespace.ip(f"address add {end.ipv4}/24 dev {end.device}")
            end.namespace.ip(f"link set {end.device} up")
        for end, other in (ends, ends[::-1]):
            here, mac = end.namespace, other.mac
            here.ip(f"neighbour add {other.ipv4} lladdr {mac} dev {end.device}")
            if not self._has_ipv6(here):
                continue
            here.ip(f"address add {end.ipv6}/64 dev {end.device} nodad")
            here.ip(f"neighbour add {other.ipv6} lladdr {mac} dev {end.device}")
        return ends

    @staticmethod
    def _has_ipv6(namespace: Namespace) -> bool:
        return namespace.run("sysctl", "-n", "net.ipv6.conf.default.disable_ipv6").strip() == "0"

    def close(self) -> None:
        while self._namespaces:
            self._namespaces.pop().close()
