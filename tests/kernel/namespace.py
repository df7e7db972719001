"""A network namespace of the tests' own, entered by one thread, and live frames in it.

A test run takes only devices of the thread's namespace, and newer kernels refuse to test-run a
frame that ends within the IP header its Ethernet type announces. Such frames are really sent.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from exporter.capture.attach import AUTO, Attacher
from exporter.capture.loader import Programs
from exporter.capture.records import FLOW_EGRESS, FLOW_INGRESS

_CLONE_NEWNET = 0x40000000
MTU_MAX = 65535
"""Of a veth device: as much as IPv4 can say."""

_DEVICES = {FLOW_INGRESS: ("wire-in", "sink-in"), FLOW_EGRESS: ("wire-out", "sink-out")}

_SOL_PACKET = 263
_PACKET_VNET_HDR = 15
_VNET_HEADER = struct.Struct("=2xH6x")
"""struct virtio_net_hdr in include/uapi/linux/virtio_net.h: only hdr_len."""


def _enter_new_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot make a network namespace: run as root")


def namespace_thread() -> ThreadPoolExecutor:
    """One thread in a new network namespace, which ends with it and what was opened in it."""
    return ThreadPoolExecutor(max_workers=1, initializer=_enter_new_namespace)


def add_veth(ends: tuple[str, str], indexes: tuple[int, int] | None = None) -> None:
    """A pair of devices, up and without IPv6, which would send packets of its own accord."""
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    first, second = (("index", str(index)) for index in indexes) if indexes else ((), ())
    command = ["ip", "link", "add", ends[0], *first, "type", "veth", "peer", "name", ends[1]]
    subprocess.run([*command, *second], check=True)
    for device in ends:
        subprocess.run(["ip", "link", "set", device, "mtu", str(MTU_MAX), "up"], check=True)


class LiveWire:
    """A veth pair for each program: what is sent into it passes the program, and ends there.

    Both see frames on an egress hook: they know their direction by themselves.
    """

    def __init__(self, programs: Programs) -> None:
        self.ifindexes: dict[int, int] = {}
        self._links: list[int] = []
        self._sockets: dict[int, socket.socket] = {}
        self._described: dict[int, socket.socket] = {}
        """Those that take a header before the frame."""
        with namespace_thread() as thread:
            thread.submit(self._set_up, programs).result()

    def _set_up(self, programs: Programs) -> None:
        given = {FLOW_INGRESS: programs.ingress_fd, FLOW_EGRESS: programs.egress_fd}
        for direction, (device, sink) in _DEVICES.items():
            add_veth((device, sink))
            ifindex = socket.if_nametoindex(device)
            self.ifindexes[direction] = ifindex
            attacher = Attacher((given[direction], given[direction]))
            self._links += attacher.attach(ifindex, AUTO, "").link_fds
            attacher._netlink.close()
            sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            sender.bind((device, 0))
            self._sockets[direction] = sender
            described = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            described.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
            described.bind((device, 0))
            self._described[direction] = described

    def send(self, frame: bytes, direction: int, linear_len: int = 0) -> None:
        """Sends one frame; the program has run when this returns.

        With *linear_len*, what follows so many bytes lies in fragments of the socket buffer, if the
        frame has a page or more.
        """
        if linear_len:
            self._described[direction].send(_VNET_HEADER.pack(linear_len) + frame)
        else:
            self._sockets[direction].send(frame)

    def close(self) -> None:
        """Detaches the programs; the namespace goes with its last socket."""
        for link in self._links:
            os.close(link)
        for sender in (*self._sockets.values(), *self._described.values()):
            sender.close()
