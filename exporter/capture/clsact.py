"""tc filters of the classic kind, for kernels without tcx: by rtnetlink, no tc program needed.

A filter of ours has a priority and a handle of its own, so that nothing else is ever replaced or
deleted by mistake, and it is deleted only after the kernel has said that its program is ours. The
clsact qdisc stays, empty and next to free: the kernel deletes it with whatever filters it has, and
somebody may have put one there since they were listed.

Message layouts: include/uapi/linux/{rtnetlink,pkt_sched,pkt_cls}.h.
"""

from __future__ import annotations

import errno
import struct
from contextlib import suppress
from dataclasses import dataclass

from exporter.capture.netlink import NLM_F_CREATE, NLM_F_EXCL, Netlink, attribute, attributes
from exporter.errors import ExporterError

PRIORITY = 7
"""Early, so that few filters can hide packets from ours; not 1, which others take."""
HANDLE = 0xA7F10
PROGRAM_NAME_PREFIX = "ayaflow_"

_RTM_NEWQDISC = 36
_RTM_GETQDISC = 38
_RTM_NEWTFILTER = 44
_RTM_DELTFILTER = 45
_RTM_GETTFILTER = 46
_NLM_F_ACK = 0x4
_NLM_F_ECHO = 0x8

_TCMSG = struct.Struct("=BxxxiIII")
_CLSACT_PARENT = 0xFFFFFFF1
_CLSACT_HANDLE = 0xFFFF0000
PARENTS = (0xFFFFFFF2, 0xFFFFFFF3)
"""Where the filters of each direction hang: ingress, egress."""
_ETH_P_ALL = 0x0300  # in network byte order

_TCA_KIND = 1
_TCA_OPTIONS = 2
_TCA_BPF_FD = 6
_TCA_BPF_NAME = 7
_TCA_BPF_FLAGS = 8
_TCA_BPF_ID = 11
_DIRECT_ACTION = 1


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter in a chain, as the kernel lists it."""

    priority: int
    handle: int
    kind: str
    program_id: int
    """0 where it is not a BPF program."""
    name: str


def attach(netlink: Netlink, ifindex: int, program_fds: tuple[int, int]) -> None:
    """Puts both programs on a device, in place of our own filters if they are there.

    Raises OSError as the kernel answers, and ExporterError where an older qdisc has the place of
    clsact: the kernel would take the egress filter for it, on ingress.
    """
    _add_qdisc(netlink, ifindex)
    try:
        for parent, program_fd, direction in zip(
            PARENTS, program_fds, ("ingress", "egress"), strict=True
        ):
            options = (
                attribute(_TCA_BPF_FD, struct.pack("=I", program_fd))
                + attribute(_TCA_BPF_NAME, f"{PROGRAM_NAME_PREFIX}{direction}\0".encode())
                + attribute(_TCA_BPF_FLAGS, struct.pack("=I", _DIRECT_ACTION))
            )
            netlink.request(
                _RTM_NEWTFILTER,
                _our_filter(ifindex, parent)
                + attribute(_TCA_KIND, b"bpf\0")
                + attribute(_TCA_OPTIONS, options),
                NLM_F_CREATE | _NLM_F_ACK,
            )
    except OSError:
        with suppress(OSError):
            detach(netlink, ifindex)
        raise


def detach(netlink: Netlink, ifindex: int, program_ids: tuple[int, ...] | None = None) -> int:
    """Deletes our filters, or those of *program_ids* alone, and returns how many."""
    removed = 0
    for parent in PARENTS:
        for found in filters(netlink, ifindex, parent):
            if not is_ours(found) or (program_ids and found.program_id not in program_ids):
                continue
            netlink.request(
                _RTM_DELTFILTER, _our_filter(ifindex, parent) + attribute(_TCA_KIND, b"bpf\0")
            )
            removed += 1
    return removed


def is_ours(found: Filter) -> bool:
    """Whether this exporter, or an earlier one, made the filter."""
    return (
        found.priority == PRIORITY
        and found.handle == HANDLE
        and found.name.startswith(PROGRAM_NAME_PREFIX)
    )


def filters(netlink: Netlink, ifindex: int, parent: int) -> list[Filter]:
    """The filters of one direction, in the order in which they see packets; none without clsact."""
    try:
        dumped = netlink.dump(_RTM_GETTFILTER, _TCMSG.pack(0, ifindex, 0, parent, 0))
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENODEV):
            return []
        raise
    found = [_parse_filter(payload) for payload in dumped]
    return [each for each in found if each.handle]


def has_ours(netlink: Netlink, ifindex: int) -> bool:
    """Whether a filter of ours is on a device."""
    return any(is_ours(found) for parent in PARENTS for found in filters(netlink, ifindex, parent))


def _add_qdisc(netlink: Netlink, ifindex: int) -> None:
    try:
        netlink.request(
            _RTM_NEWQDISC,
            _qdisc(ifindex) + attribute(_TCA_KIND, b"clsact\0"),
            NLM_F_CREATE | NLM_F_EXCL | _NLM_F_ACK,
        )
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    else:
        return
    (answer, *_) = netlink.request(_RTM_GETQDISC, _qdisc(ifindex), _NLM_F_ECHO)
    kind = _text(dict(attributes(answer[1], _TCMSG.size)).get(_TCA_KIND, b""))
    if kind != "clsact":
        raise ExporterError(
            f"a qdisc of the kind {kind} is where clsact would be: use tcx (Linux 6.6), or replace"
            f" it (tc qdisc del dev NAME {kind})"
        )


def _qdisc(ifindex: int) -> bytes:
    return _TCMSG.pack(0, ifindex, _CLSACT_HANDLE, _CLSACT_PARENT, 0)


def _our_filter(ifindex: int, parent: int) -> bytes:
    return _TCMSG.pack(0, ifindex, HANDLE, parent, PRIORITY << 16 | _ETH_P_ALL)


def _parse_filter(payload: bytes) -> Filter:
    _, _, handle, _, info = _TCMSG.unpack_from(payload)
    kind = name = ""
    program_id = 0
    for tca, value in attributes(payload, _TCMSG.size):
        if tca == _TCA_KIND:
            kind = _text(value)
        elif tca == _TCA_OPTIONS and kind == "bpf":
            for option, content in attributes(value, 0):
                if option == _TCA_BPF_ID:
                    program_id = struct.unpack("=I", content)[0]
                elif option == _TCA_BPF_NAME:
                    name = _text(content)
    return Filter(info >> 16, handle, kind, program_id, name)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
