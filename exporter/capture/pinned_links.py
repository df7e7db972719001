"""tcx links that outlive the process: one for each interface and direction, pinned by its index."""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from pathlib import Path

from exporter.capture import bpf, bpffs

_DIRECTIONS = {"ingress": bpf.TCX_INGRESS, "egress": bpf.TCX_EGRESS}
_NAME = re.compile(r"([1-9][0-9]*)_(ingress|egress)")
_NO_DEVICE = (errno.ENOLINK, errno.ENODEV)


class PinnedLinks:
    """The pins `IFINDEX_ingress` and `IFINDEX_egress` in one directory. Raises OSError."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def attach(self, ifindex: int, program_fds: tuple[int, int]) -> None:
        """Both directions or none. Where a link is there its program is replaced at once: so each
        packet is counted, and none twice.
        """
        bpffs.make_directory(self._directory)
        try:
            for program_fd, direction in zip(program_fds, _DIRECTIONS, strict=True):
                if not self._replace(ifindex, direction, program_fd):
                    self._create(ifindex, direction, program_fd)
        except OSError:
            with suppress(OSError):
                self.detach(ifindex)
            raise

    def _path(self, ifindex: int, direction: str) -> Path:
        return self._directory / f"{ifindex}_{direction}"

    def _replace(self, ifindex: int, direction: str, program_fd: int) -> bool:
        path = self._path(ifindex, direction)
        try:
            link = bpf.get_pinned(path)
        except FileNotFoundError:
            return False
        try:
            if _is_on(link, ifindex, _DIRECTIONS[direction]):
                bpf.link_update(link, program_fd)
                return True
        except OSError as error:
            if error.errno not in _NO_DEVICE:
                raise
        finally:
            os.close(link)
        _remove(path)
        return False

    def _create(self, ifindex: int, direction: str, program_fd: int) -> None:
        link = bpf.link_create_tcx(program_fd, ifindex, _DIRECTIONS[direction])
        try:
            bpf.pin(link, self._path(ifindex, direction))
        finally:
            os.close(link)

    def detach(self, ifindex: int) -> int:
        """Takes both programs off an interface that may be gone, and returns how many pins were
        there.
        """
        removed = 0
        for direction in _DIRECTIONS:
            with suppress(FileNotFoundError):
                _remove(self._path(ifindex, direction))
                removed += 1
        return removed

    def ifindexes(self) -> list[int]:
        """The interfaces that have a pin, or had one when they were there."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        return sorted({int(match[1]) for name in names if (match := _NAME.fullmatch(name))})

    def any_here(self) -> bool:
        """Whether one of them is on an interface of this network namespace."""
        for ifindex in self.ifindexes():
            for direction, attach_type in _DIRECTIONS.items():
                with suppress(OSError):
                    link = bpf.get_pinned(self._path(ifindex, direction))
                    try:
                        if _is_on(link, ifindex, attach_type):
                            return True
                    finally:
                        os.close(link)
        return False


def _remove(path: Path) -> None:
    """Detaches and unpins: by the unpinning alone the kernel detaches some time later. Raises
    FileNotFoundError where there is no pin.
    """
    link = bpf.get_pinned(path)
    try:
        with suppress(OSError):  # the device is gone, and the link is off already
            bpf.link_detach(link)
    finally:
        os.close(link)
    path.unlink()


def _is_on(link: int, ifindex: int, attach_type: int) -> bool:
    """Whether a link is on the interface that has this index here and now: the one that it was made
    for may be gone, or be in another network namespace.
    """
    info = bpf.link_info(link)
    if (info.type, info.ifindex, info.attach_type) != (bpf.LINK_TYPE_TCX, ifindex, attach_type):
        return False
    return info.program_id in bpf.query_tcx(ifindex, attach_type)
