"""Compiles and loads the kernel program in a short-lived child, the only code that imports bcc.

bcc brings LLVM with it, 61 MB of memory that the exporter itself then never pays for. The child
hands the descriptors of programs and maps to its parent and ends. It needs no kernel headers: what
bcc would include lies in bpf/shim.
"""

from __future__ import annotations

import errno
import importlib.util
import logging
import mmap
import os
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from exporter import advice
from exporter.capture import bpf
from exporter.capture.directions import RefusedError, load_both, with_maps
from exporter.capture.layout import new_hash_keys, read_map
from exporter.errors import ExporterError

LOAD_TIMEOUT_S = 300.0
"""What a machine with a tenth of a CPU needs less than, though it may have to load twice."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoaderSettings:
    """The sizes that are fixed when the program is compiled."""

    flow_slots: int
    """Of the flow table; a power of two, 64 at least."""
    device_slots: int
    cpus: int
    """Possible CPUs: the highest number that a CPU can have, plus one."""
    ring_bytes: int
    """Of the ring of flow events; a power of two, a page at least."""
    payload_ring_bytes: int = 0
    """Of the ring of payloads; 0: they are not inspected, and the program has no code for it."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Descriptors of the loaded programs and their maps, and who made them."""

    ingress_fd: int
    egress_fd: int
    flows_fd: int
    totals_fd: int
    devices_fd: int
    flow_events_fd: int
    grace_fd: int
    grace_inner_fd: int
    bcc_version: str
    payloads_fd: int | None = None
    """None where payloads are not inspected, or the verifier refuses to let it."""

    def close(self) -> None:
        """Lets go of all of them."""
        every = (getattr(self, field.name) for field in fields(self))
        bpf.close_all(each for each in every if isinstance(each, int))

    def map_fds(self) -> list[int]:
        """Of the maps that take memory worth counting."""
        maps = [self.flows_fd, self.totals_fd, self.devices_fd, self.flow_events_fd]
        return maps if self.payloads_fd is None else [*maps, self.payloads_fd]


_MAPS = ("flows", "totals", "devices", "flow_events", "grace", "grace_inner")
_PAYLOAD_MAP = "payloads"
_DESCRIPTORS_MAX = 2 + len(_MAPS) + 1


def _maps(settings: LoaderSettings) -> tuple[str, ...]:
    return (*_MAPS, _PAYLOAD_MAP) if settings.payload_ring_bytes else _MAPS


def _descriptor_names(settings: LoaderSettings) -> list[str]:
    """The fields of Programs that the child sends, in its order."""
    return [f"{name}_fd" for name in ("ingress", "egress", *_maps(settings))]


def source_dir() -> Path:
    """Where the kernel program's source is: beside the package, or where a wheel puts it.

    Raises ExporterError where it is in neither place.
    """
    for base in (Path(__file__).resolve().parents[2], Path(sys.prefix) / "share/ayaflow-exporter"):
        if (base / "bpf" / "flow_monitor.c").is_file():
            return base / "bpf"
    raise ExporterError("the kernel program's source, bpf/flow_monitor.c, is missing: reinstall")


def _bcc_path() -> str:
    """The folder that bcc is imported from. Raises ExporterError without it."""
    spec = importlib.util.find_spec("bcc")
    if spec is None or not spec.submodule_search_locations:
        raise ExporterError(f"the Python module bcc is missing: {advice.NO_BCC}")
    folder = Path(next(iter(spec.submodule_search_locations)))
    if not (folder / "libbcc.py").is_file():
        raise ExporterError(f"{folder} is not BCC: pip uninstall bcc; {advice.NO_BCC}")
    return str(folder.parent)


def check_permission() -> None:
    """Raises ExporterError where the kernel does not let this process use bpf(2), and says why."""
    try:
        os.close(bpf.map_create_array(8, 1, bpf.MAP_FLAG_MMAPABLE))
    except OSError as error:
        raise ExporterError(advice.explain_bpf_error(error.errno or 0)) from error


class Loader:
    """A child that is compiling; `result()` waits for it."""

    def __init__(self, settings: LoaderSettings, pinned: Path | None = None) -> None:
        """*pinned*: the directory of the maps to use; without one the child makes its own."""
        self._names = _descriptor_names(settings)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = os.memfd_create("bcc-log", os.MFD_CLOEXEC)
        source = source_dir()
        paths = [str(Path(__file__).resolve().parents[2]), _bcc_path()]
        with theirs:
            self._child = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    "-c",
                    f"import sys; sys.path += {paths!r}\n"
                    f"from exporter import lean; lean.keep_out()\n"
                    f"from exporter.capture.loader import child_main\n"
                    f"child_main({theirs.fileno()}, {str(source)!r}, {str(pinned or '')!r})",
                    *(f"{name}={value}" for name, value in asdict(settings).items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "BCC_KERNEL_SOURCE": str(source / "shim")},
            )

    def result(self) -> Programs:
        """The loaded programs. Raises ExporterError with what to do where they can't be had."""
        self._socket.settimeout(LOAD_TIMEOUT_S)
        try:
            message, descriptors, _, _ = socket.recv_fds(self._socket, 65536, _DESCRIPTORS_MAX)
        except TimeoutError:
            self._child.kill()
            raise ExporterError(
                f"the kernel program was not compiled within {LOAD_TIMEOUT_S:.0f} s: is the machine"
                " out of memory or CPU time?"
            ) from None
        finally:
            self._socket.close()
        self._child.wait()
        verdict, _, words = message.decode().partition(" ")
        if verdict == "ok" and len(descriptors) == len(self._names) - 1:
            self._names.remove(f"{_PAYLOAD_MAP}_fd")
            _log.warning(
                "names: this kernel's verifier refuses to inspect payloads, so none is learnt"
            )
        if verdict != "ok" or len(descriptors) != len(self._names):
            bpf.close_all(descriptors)
            raise ExporterError(words if verdict == "error" else self._last_words())
        os.close(self._log)
        named = dict(zip(self._names, descriptors, strict=True))
        return Programs(**named, bcc_version=words)

    def _last_words(self) -> str:
        lines = os.pread(self._log, 1 << 20, 0).decode(errors="replace").strip().splitlines()
        os.close(self._log)
        return f"the loader ended without an answer: {lines[-1] if lines else 'no output'}"


def load_programs(settings: LoaderSettings, pinned: Path | None = None) -> Programs:
    """Compiles and loads, and waits for it. Arguments as of Loader."""
    return Loader(settings, pinned).result()


def compiler_flags(settings: LoaderSettings, source: Path, pinned: str = "") -> list[str]:
    """What bcc is to define: the sizes, and the secret keys of the hash, new for new maps."""
    keys = _pinned_hash_keys(pinned) if pinned else new_hash_keys()
    return [
        f"-I{source}",
        "-g0",  # types and lines for debuggers take as long as a tenth of all
        "-Werror=implicit-function-declaration",
        f"-DFLOW_SLOTS={settings.flow_slots}",
        f"-DFLOW_SLOTS_LOG2={settings.flow_slots.bit_length() - 1}",
        f"-DDEVICE_SLOTS={settings.device_slots}",
        f"-DCPUS={settings.cpus}",
        f"-DPAGE_SIZE={mmap.PAGESIZE}",
        f"-DFLOW_EVENT_PAGES={settings.ring_bytes // mmap.PAGESIZE}",
        *(
            [f"-DPAYLOAD_PAGES={settings.payload_ring_bytes // mmap.PAGESIZE}"]
            * bool(settings.payload_ring_bytes)
        ),
        *([f'-DPIN_PATH="{pinned}"'] * bool(pinned)),
        *(f"-DHASH_KEY_{n}={key}{'ULL' if key >> 32 else 'U'}" for n, key in enumerate(keys)),
    ]


def _pinned_hash_keys(pinned: str) -> tuple[int, ...]:
    """The keys with which flows were put where they are."""
    try:
        fd = bpf.get_pinned(f"{pinned}/layout")
    except OSError as error:
        raise ExporterError(f"the maps in {pinned} have gone ({error.strerror})") from error
    layout = read_map(fd)
    os.close(fd)
    if layout is None:
        raise ExporterError(f"the maps in {pinned} are not this version's: start again")
    return layout.hash_keys


def child_main(socket_fd: int, source: str, pinned: str) -> None:
    """The child. Its one answer is `ok VERSION`, with the descriptors, or `error SENTENCE`."""
    channel = socket.socket(fileno=socket_fd)
    settings = {
        name: int(value) for name, _, value in (word.partition("=") for word in sys.argv[1:])
    }
    try:
        version, descriptors = _load(LoaderSettings(**settings), Path(source), pinned)
    except ExporterError as error:
        channel.send(f"error {error}".encode())
    else:
        socket.send_fds(channel, [f"ok {version}".encode()], descriptors)
    sys.stdout.flush()
    os._exit(0)  # what LLVM and Python would tidy up first takes 30 ms


def _load(settings: LoaderSettings, source: Path, pinned: str) -> tuple[str, list[int]]:
    try:
        return _load_once(settings, source, pinned)
    except RefusedError as refused:
        if not settings.payload_ring_bytes:
            raise ExporterError(_explain(refused.sentence())) from refused
    # Verifiers differ in what they follow; better to count without names than not at all.
    return _load(replace(settings, payload_ring_bytes=0), source, pinned)


def _load_once(settings: LoaderSettings, source: Path, pinned: str) -> tuple[str, list[int]]:
    try:
        import bcc
        from bcc import BPF
    except ImportError as error:
        raise ExporterError(f"bcc cannot be imported ({error}): {advice.NO_BCC}") from error
    flags = compiler_flags(settings, source, pinned)
    try:
        program = BPF(src_file=str(source / "flow_monitor.c"), cflags=flags)
        instructions = program.dump_func("monitor")
    except Exception as error:  # bcc raises the bare Exception
        raise ExporterError(_explain(str(error))) from error
    try:
        loaded = load_both(with_maps(instructions, lambda name: program[name].map_fd))
    except OSError as error:
        raise ExporterError(_explain(f"bpf(2): {error.strerror}")) from error
    descriptors = [*loaded, *(program[name].map_fd for name in _maps(settings))]
    return str(bcc.__version__), descriptors


def _explain(error: str) -> str:
    """bcc says neither which privilege it lacks nor that the kernel is too old."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    if advice.missing(status, advice.NEEDED):
        return advice.explain_bpf_error(errno.EPERM)
    kernel = os.uname()
    too_old = advice.kernel_too_old(kernel.release, kernel.machine)
    if too_old:
        return f"the kernel {too_old}"
    return f"the kernel program cannot be loaded ({error}); ayaflow-exporter check-system says why"
