"""Interfaces as the kernel tells them over rtnetlink (rtnetlink(7)), and how to ask it to change
them.

Reading needs no capability. It is always about the network namespace that the process is in, which
/sys/class/net is not. Raises OSError with the kernel's answer.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

_RTM_GETLINK = 18
_RTM_GETROUTE = 26

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
_NLM_F_DUMP_INTR = 0x10
_NLM_F_DUMP = 0x300
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

_RTMGRP_LINK = 1
_RECEIVE_BYTES = 1 << 16
_EVENT_BUFFER_BYTES = 1 << 20
"""Room for the events of some thousand interfaces that appear at once."""
_ANSWER_TIMEOUT_S = 10.0
"""The kernel answers before the question is sent: what has not come by then was lost."""
_DUMP_TRIES = 5
"""Of a dump that is interrupted each time: on a busy node one with a gap is better than none."""

_IFLA_IFNAME = 3
_IFLA_LINK = 5
_IFLA_MASTER = 10
_IFLA_LINKINFO = 18
_IFLA_STATS64 = 23
_IFLA_LINK_NETNSID = 37
_IFLA_INFO_KIND = 1

_RTA_DST = 1
_RTA_OIF = 4
_RTA_MULTIPATH = 9
_RTN_UNICAST = 1

_HEADER = struct.Struct("=IHHII")
_IFINFO = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")


@dataclass(frozen=True, slots=True)
class Link:
    """One interface."""

    ifindex: int
    name: str
    hardware_type: int
    """ARPHRD_*, of include/uapi/linux/if_arp.h."""
    kind: str
    """`veth`, `bridge`, `vlan`, ...; empty for hardware."""
    master: int
    """The ifindex of the bridge or bond that it is a port of, or 0."""
    lower: int
    """The ifindex of the interface that it is stacked on, or is the peer of, in this namespace, or
    0.
    """
    rx_packets: int
    """As the driver counts."""
    tx_packets: int


class Netlink:
    """One rtnetlink socket: asks and gets the answers of one request at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.settimeout(_ANSWER_TIMEOUT_S)
        self._socket.bind((0, 0))
        self._sequence = 0
        self._interrupted = False

    def close(self) -> None:
        self._socket.close()

    def request(self, kind: int, body: bytes, flags: int = _NLM_F_ACK) -> list[tuple[int, bytes]]:
        """Sends one message and returns what the kernel answers, as (type, body)."""
        self._sequence += 1
        self._socket.send(
            _HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST | flags, self._sequence, 0)
            + body
        )
        answers: list[tuple[int, bytes]] = []
        self._interrupted = False
        while True:
            for answer, its, sequence, payload in _messages(self._socket.recv(_RECEIVE_BYTES)):
                if sequence != self._sequence:
                    continue
                self._interrupted |= bool(its & _NLM_F_DUMP_INTR)
                if answer == _NLMSG_ERROR:
                    error = -struct.unpack_from("=i", payload)[0]
                    if error:
                        raise OSError(error, os.strerror(error))
                    return answers
                if answer == _NLMSG_DONE:
                    return answers
                answers.append((answer, payload))
                if flags & (_NLM_F_DUMP | _NLM_F_ACK) == 0:
                    return answers

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """All objects of a kind. Where some came or went meanwhile, the kernel may leave out one
        that was there all the time, and says so: then it is asked again.
        """
        for _ in range(_DUMP_TRIES):
            answers = self.request(kind, body, _NLM_F_DUMP)
            if not self._interrupted:
                break
        return [payload for _, payload in answers]


class LinkEvents:
    """Interfaces as they appear, change and go. Give `fileno()` to epoll."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            socket.NETLINK_ROUTE,
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _EVENT_BUFFER_BYTES)
        self._socket.bind((0, _RTMGRP_LINK))

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> bool:
        """Throws away what is waiting, and says whether there was anything: then look anew.

        What was lost in an overrun (ENOBUFS) counts as anything.
        """
        seen = False
        while True:
            try:
                self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return seen
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
            seen = True

    def close(self) -> None:
        self._socket.close()


def links() -> list[Link]:
    """All interfaces of this network namespace."""
    netlink = Netlink()
    try:
        return [
            parse_link(payload) for payload in netlink.dump(_RTM_GETLINK, _IFINFO.pack(*[0] * 5))
        ]
    finally:
        netlink.close()


def link(ifindex: int) -> Link:
    """One interface. Raises OSError (ENODEV) where it is not there."""
    netlink = Netlink()
    try:
        answers = netlink.request(_RTM_GETLINK, _IFINFO.pack(0, 0, ifindex, 0, 0), 0)
        return parse_link(answers[0][1])
    finally:
        netlink.close()


def default_route_interfaces() -> list[int]:
    """The ifindex of every interface that a default route of the main table leaves by."""
    netlink = Netlink()
    found: list[int] = []
    try:
        for family in (socket.AF_INET, socket.AF_INET6):
            for payload in netlink.dump(_RTM_GETROUTE, struct.pack("=BBBBBBBBI", family, *[0] * 8)):
                found += [index for index in _default_route(payload) if index not in found]
    finally:
        netlink.close()
    return found


def _default_route(payload: bytes) -> list[int]:
    _, destination_len, _, _, table, _, _, kind = struct.unpack_from("=8B", payload)
    if destination_len or table != 254 or kind != _RTN_UNICAST:
        return []
    interfaces = []
    for attribute, value in attributes(payload, 12):
        if attribute == _RTA_OIF:
            interfaces.append(struct.unpack("=i", value)[0])
        elif attribute == _RTA_MULTIPATH:
            while len(value) >= 8:
                size, _, _, ifindex = struct.unpack_from("=HBBi", value)
                interfaces.append(ifindex)
                value = value[max(size, 8) :]
    return interfaces


def parse_link(payload: bytes) -> Link:
    """A `struct ifinfomsg` with its attributes."""
    _, hardware_type, ifindex, _, _ = _IFINFO.unpack_from(payload)
    found = dict(attributes(payload, _IFINFO.size))
    information = dict(attributes(found.get(_IFLA_LINKINFO, b""), 0))
    lower = _integer(found.get(_IFLA_LINK))
    if lower == ifindex or _IFLA_LINK_NETNSID in found:
        lower = 0
    statistics = found.get(_IFLA_STATS64, bytes(16))
    rx_packets, tx_packets = struct.unpack_from("=QQ", statistics)
    return Link(
        ifindex,
        _text(found.get(_IFLA_IFNAME)),
        hardware_type,
        _text(information.get(_IFLA_INFO_KIND)),
        _integer(found.get(_IFLA_MASTER)),
        lower,
        rx_packets,
        tx_packets,
    )


def _integer(value: bytes | None) -> int:
    return int.from_bytes(value or b"", sys.byteorder, signed=True)


def _text(value: bytes | None) -> str:
    return (value or b"").rstrip(b"\0").decode(errors="replace")


def attributes(payload: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """The (type, value) pairs of a run of netlink attributes."""
    while offset + _ATTRIBUTE.size <= len(payload):
        size, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if size < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, payload[offset + _ATTRIBUTE.size : offset + size]
        offset += size + 3 & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """One netlink attribute, padded."""
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def _messages(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The (type, flags, sequence, body) of each message."""
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        size, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, offset)
        if size < _HEADER.size:
            return
        yield kind, flags, sequence, datagram[offset + _HEADER.size : offset + size]
        offset += size + 3 & ~3
