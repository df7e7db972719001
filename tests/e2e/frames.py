"""Frames made by hand, as bytes, and a device to put those in that have no L2 header."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

from tests.e2e.net import Namespace

VLAN = 0x8100
QINQ = 0x88A8
IPV4 = 0x0800
ARP = 0x0806

_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000

_SENDER = "02:00:00:00:00:01"


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ethernet(to: str, ether_type: int, payload: bytes) -> bytes:
    return _mac(to) + _mac(_SENDER) + struct.pack("!H", ether_type) + payload


def tagged(frame: bytes, ether_type: int, vlan: int) -> bytes:
    """The frame with one more VLAN tag, outermost."""
    return frame[:12] + struct.pack("!HH", ether_type, vlan) + frame[12:]


def ipv4(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(payload),
        0,
        0,
        64,
        protocol,
        0,
        socket.inet_aton(source),
        socket.inet_aton(destination),
    )
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def udp(source: str, destination: str, port: int, payload: bytes) -> bytes:
    """An IPv4 datagram without a UDP checksum."""
    header = struct.pack("!HHHH", 40000, port, 8 + len(payload), 0)
    return ipv4(source, destination, socket.IPPROTO_UDP, header + payload)


def checksum(header: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def open_tun(namespace: Namespace, name: str) -> int:
    """A new tun device and its descriptor: what is written comes in, what leaves can be read."""

    def work() -> int:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
        return fd

    return namespace.inside(work)
