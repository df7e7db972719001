"""Puts the two programs on a device and takes them off again; needs CAP_BPF and CAP_NET_ADMIN."""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from exporter import advice
from exporter.capture import bpf, clsact, netlink
from exporter.errors import ExporterError

TCX = "tcx"
CLSACT = "clsact"
AUTO = "auto"

_TCX_TYPES = (bpf.TCX_INGRESS, bpf.TCX_EGRESS)
_NO_TCX = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class Attached:
    """How a device came to be watched."""

    mode: str
    """TCX or CLSACT."""
    link_fds: tuple[int, ...]
    """Of tcx: the programs are detached when these are closed. Empty for clsact."""


class Privileged(Protocol):
    """Who attaches, as Attacher does: the helper process. Raises ExporterError."""

    def attach(self, ifindex: int, mode: str, kind: str) -> Attached: ...
    def detach(self, ifindex: int) -> None: ...
    def programs_before(self, ifindex: int) -> tuple[int, int]: ...


class Attacher:
    """Attaches the two programs, and remembers what clsact it must tidy up."""

    def __init__(self, program_fds: tuple[int, int]) -> None:
        self._program_fds = program_fds
        self._program_ids = tuple(bpf.program_id(fd) for fd in program_fds)
        self._netlink = netlink.Netlink()
        self._clsact: dict[int, bool] = {}

    def attach(self, ifindex: int, mode: str, kind: str) -> Attached:
        """Attaches both directions. *mode*: AUTO, TCX or CLSACT; *kind*: as in netlink.Link.

        Raises ExporterError where the kernel does not let it, with what to do.
        """
        try:
            if mode != CLSACT:
                try:
                    return self._attach_tcx(ifindex)
                except OSError as error:
                    if mode == TCX or error.errno not in _NO_TCX:
                        raise
            if mode == AUTO and kind in ("veth", "netkit"):
                raise ExporterError(
                    f"this kernel has no tcx, and clsact on a {kind} device keeps CNI plugins from"
                    " setting it up: give --attach clsact if you want it all the same"
                )
            self._clsact[ifindex] = clsact.attach(self._netlink, ifindex, self._program_fds)
            return Attached(CLSACT, ())
        except OSError as error:
            raise ExporterError(_explain(error, mode)) from error

    def _attach_tcx(self, ifindex: int) -> Attached:
        """Both links or none: the kernel drops the first when its descriptor is closed."""
        links: list[int] = []
        try:
            for program_fd, attach_type in zip(self._program_fds, _TCX_TYPES, strict=True):
                links.append(bpf.link_create_tcx(program_fd, ifindex, attach_type))
        except OSError:
            bpf.close_all(links)
            raise
        return Attached(TCX, tuple(links))

    def detach(self, ifindex: int) -> None:
        """Takes our clsact filters off a device, and the qdisc if we made it and it is empty."""
        made = self._clsact.pop(ifindex, None)
        if made is None:
            return
        try:
            clsact.detach(self._netlink, ifindex, self._program_ids)
            if made:
                clsact.remove_qdisc_if_empty(self._netlink, ifindex)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def detach_all(self) -> None:
        """As `detach`, for every device, whatever the kernel answers of another."""
        for ifindex in list(self._clsact):
            with suppress(OSError):
                self.detach(ifindex)

    def programs_before(self, ifindex: int) -> tuple[int, int]:
        """How many programs see a packet before ours, (ingress, egress); -1 where it is not there.

        Raises OSError.
        """
        return (self._before(ifindex, 0), self._before(ifindex, 1))

    def _before(self, ifindex: int, direction: int) -> int:
        ours = self._program_ids[direction]
        try:
            chain = bpf.query_tcx(ifindex, _TCX_TYPES[direction])
        except OSError as error:
            if error.errno not in _NO_TCX:
                raise
            chain = []
        if ours in chain:
            return chain.index(ours)
        before = len(chain)
        for found in clsact.filters(self._netlink, ifindex, clsact.PARENTS[direction]):
            if found.program_id == ours:
                return before
            before += 1
        return -1


def _explain(error: OSError, mode: str) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return advice.explain_bpf_error(error.errno)
    if error.errno == errno.ENODEV:
        return "the interface vanished while it was being attached"
    if mode == TCX and error.errno in _NO_TCX:
        return "this kernel has no tcx, which came with Linux 6.6: use --attach auto or clsact"
    if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
        return (
            f"the kernel offers no clsact here ({error.strerror}): it needs the modules sch_ingress"
            " and cls_bpf"
        )
    return f"the kernel refuses to attach a program ({error.strerror})"


def detach_all() -> list[str]:
    """Removes every filter that an exporter left behind, and says what it removed."""
    said: list[str] = []
    request = netlink.Netlink()
    try:
        for link in netlink.links():
            removed = clsact.detach(request, link.ifindex)
            if removed:
                qdisc = clsact.remove_qdisc_if_empty(request, link.ifindex)
                said.append(
                    f"{link.name}: removed {removed} filters"
                    + (" and the empty clsact qdisc" if qdisc else "")
                )
    except OSError as error:
        raise ExporterError(_explain(error, CLSACT)) from error
    finally:
        request.close()
    return said
