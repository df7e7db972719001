"""Puts the two programs on a device and takes them off again; needs CAP_BPF and CAP_NET_ADMIN.

It is what the helper consists of, so what it rarely needs is imported where it is: `pathlib` and
`typing` alone would be a third of that process.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from exporter import advice
from exporter.capture import bpf, clsact, netlink
from exporter.errors import ExporterError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from exporter.capture.pinned_links import PinnedLinks

TCX = "tcx"
CLSACT = "clsact"
AUTO = "auto"
PINNED = "pinned"
"""What the helper says of links that stay."""

_TCX_TYPES = (bpf.TCX_INGRESS, bpf.TCX_EGRESS)
_NO_TCX = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class Attached:
    """How a device came to be watched."""

    mode: str
    """TCX or CLSACT."""
    link_fds: tuple[int, ...]
    """Of tcx without pins: the programs are detached when these are closed. Else empty."""
    pinned: bool = False
    """Whether the programs stay when the exporter ends."""


class Attacher:
    """Attaches the two programs, and remembers what clsact it must tidy up."""

    def __init__(self, program_fds: tuple[int, int], links: str = "") -> None:
        """*links*: the directory to pin links in; with one, what is attached stays at the end."""
        self._links = _pinned_links(links) if links else None
        self._program_fds = program_fds
        self._program_ids = tuple(bpf.program_id(fd) for fd in program_fds)
        self._netlink = netlink.Netlink()
        self._clsact: set[int] = set()

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
            return self._attach_clsact(ifindex)
        except OSError as error:
            raise ExporterError(_explain(error, mode)) from error

    def _attach_tcx(self, ifindex: int) -> Attached:
        """Both links or none: the kernel drops the first when its descriptor is closed."""
        if clsact.has_ours(
            self._netlink, ifindex
        ):  # of a start with other flags: or they count too
            clsact.detach(self._netlink, ifindex)
        if self._links is not None:
            self._links.attach(ifindex, self._program_fds)
            return Attached(TCX, (), pinned=True)
        links: list[int] = []
        try:
            for program_fd, attach_type in zip(self._program_fds, _TCX_TYPES, strict=True):
                links.append(bpf.link_create_tcx(program_fd, ifindex, attach_type))
        except OSError:
            bpf.close_all(links)
            raise
        return Attached(TCX, tuple(links))

    def _attach_clsact(self, ifindex: int) -> Attached:
        if self._links is not None:
            self._links.detach(ifindex)
        self._clsact.add(ifindex)
        clsact.attach(self._netlink, ifindex, self._program_fds)
        return Attached(CLSACT, (), pinned=self._links is not None)

    def detach(self, ifindex: int) -> None:
        """Takes our clsact filters and pinned links off a device, which may be gone."""
        if self._links is not None:
            self._links.detach(ifindex)
        if ifindex not in self._clsact:
            return
        self._clsact.remove(ifindex)
        try:
            clsact.detach(self._netlink, ifindex, self._program_ids)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def tidy(self, attached: Collection[int]) -> None:
        """Takes what earlier starts left off every interface that is not in *attached*.

        Raises OSError.
        """
        if self._links is not None:
            for ifindex in self._links.ifindexes():
                if ifindex not in attached:
                    self._links.detach(ifindex)
        for link in netlink.links():
            if link.ifindex not in attached:
                clsact.detach(self._netlink, link.ifindex)

    def end(self) -> None:
        """Takes every clsact filter off, whatever the kernel answers of another, unless it is to
        stay.
        """
        if self._links is not None:
            return
        for ifindex in sorted(self._clsact):
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


def _pinned_links(directory: str) -> PinnedLinks:
    from pathlib import Path

    from exporter.capture.pinned_links import PinnedLinks

    return PinnedLinks(Path(directory))


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


def has_filters() -> bool:
    """Whether an exporter left a filter on an interface of this namespace. Raises OSError."""
    request = netlink.Netlink()
    try:
        return any(clsact.has_ours(request, link.ifindex) for link in netlink.links())
    finally:
        request.close()


def remove_filters() -> list[str]:
    """Removes every filter that an exporter left in this network namespace, and says what it
    removed. Raises OSError.
    """
    said: list[str] = []
    request = netlink.Netlink()
    try:
        for link in netlink.links():
            removed = clsact.detach(request, link.ifindex)
            if removed:
                said.append(f"{link.name}: removed {removed} filters; the clsact qdisc stays")
    finally:
        request.close()
    return said


def device_name(ifindex: int) -> str:
    """The name of an interface that may be gone, or be in another network namespace."""
    with suppress(OSError):
        return socket.if_indextoname(ifindex)
    return f"an interface that had the index {ifindex}"
