"""What `check-system` can ask of the machine. Tests put a class with other answers in its place."""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
import os
from pathlib import Path

from exporter.capture import bpf, loader, netlink

_SYS_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_VERSION = 1

_LOOPBACK_IFINDEX = 1

_ARPHRD_LOOPBACK = 772
_CONTAINER_KINDS = {"veth", "macvlan", "ipvlan", "netkit"}


class System:
    """This machine. Files are read beneath *root*."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        kernel = os.uname()
        self.release = kernel.release
        self.machine = kernel.machine

    def read(self, path: str) -> str:
        """A file of /proc or /sys, empty where it cannot be read."""
        try:
            return (self.root / path.lstrip("/")).read_text(errors="replace")
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return (self.root / path.lstrip("/")).exists()

    def network_namespace(self, process: str) -> str:
        """Of a process id, or of `self`; empty where it may not be told."""
        try:
            return os.readlink(self.root / "proc" / process / "ns/net")
        except OSError:
            return ""

    def foreign_network(self) -> str | None:
        """What to do where these are not the machine's interfaces but a container's; else None."""
        mine, first = self.network_namespace("self"), self.network_namespace("1")
        links = [link for link in self.links() if link.hardware_type != _ARPHRD_LOOPBACK]
        in_container = bool(links) and all(
            link.kind in _CONTAINER_KINDS and not link.lower for link in links
        )
        if not in_container and (not mine or not first or mine == first):
            return None
        names = ", ".join(sorted(link.name for link in links)) or "none"
        return (
            f"this is not the machine's, so only its own interfaces can be counted ({names}): give"
            " the container the host's network (hostNetwork: true, --network host)"
        )

    def links(self) -> list[netlink.Link]:
        """The interfaces of this network namespace."""
        return netlink.links()

    def bcc_folder(self) -> Path | None:
        """The folder of the package bcc, which is not imported: LLVM would come with it."""
        spec = importlib.util.find_spec("bcc")
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(next(iter(spec.submodule_search_locations)))

    def load_programs(self) -> str:
        """Compiles and loads both programs, lets go of them, and returns bcc's version.

        Raises ExporterError.
        """
        programs = loader.load_programs(
            loader.LoaderSettings(
                flow_slots=1024,
                device_slots=2,
                cpus=os.cpu_count() or 1,
                ring_bytes=mmap.PAGESIZE,
                payload_ring_bytes=mmap.PAGESIZE,
            )
        )
        programs.close()
        return programs.bcc_version

    def mmapable_map_error(self) -> int:
        """The errno of making a map and mapping it into memory; 0 where that works."""
        try:
            fd = bpf.map_create_array(8, 1, bpf.MAP_FLAG_MMAPABLE)
        except OSError as error:
            return error.errno or 0
        try:
            mmap.mmap(fd, mmap.PAGESIZE).close()
        except OSError as error:
            return error.errno or 0
        finally:
            os.close(fd)
        return 0

    def tcx_error(self) -> int:
        """The errno of asking for the programs of a tcx chain; 0 where the kernel has tcx."""
        try:
            bpf.query_tcx(_LOOPBACK_IFINDEX, bpf.TCX_INGRESS)
        except OSError as error:
            return error.errno or 0
        return 0

    def landlock_version(self) -> int:
        """Of the kernel's Landlock; 0 where there is none, or it is switched off."""
        libc = ctypes.CDLL(None, use_errno=True)
        version = libc.syscall(
            ctypes.c_long(_SYS_LANDLOCK_CREATE_RULESET), None, ctypes.c_size_t(0), _LANDLOCK_VERSION
        )
        return max(int(version), 0)
