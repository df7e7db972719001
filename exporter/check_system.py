"""`check-system`: each thing that the kernel, the capabilities and the sandbox must allow.

Every check is a function of a System, which is all that it can ask, and answers with one Finding.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from exporter import advice
from exporter.errors import ExporterError
from exporter.system import System

OK, WARN, FAIL = "ok", "warn", "FAIL"

_TESTED = (6, 1)
_TCX = (6, 6)
_MAPS_WITHOUT_CAPABILITY = (5, 19)

_REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found out."""

    level: str
    """OK, WARN or FAIL."""
    name: str
    text: str
    """A fact, or one sentence that says what to do."""

    def __str__(self) -> str:
        return f"{self.level:4} {self.name}: {self.text}"


def main() -> int:
    """Prints every finding; the exit code is 1 if any is a FAIL."""
    failed = False
    system = System()
    for check in CHECKS:
        finding = check(system)
        failed |= finding.level == FAIL
        print(finding, flush=True)
    return 1 if failed else 0


def kernel(system: System) -> Finding:
    """The version, against the floor and against what is tested."""
    fact = f"{system.release} on {system.machine}"
    too_old = advice.kernel_too_old(system.release, system.machine)
    if too_old:
        return Finding(FAIL, "kernel", too_old)
    if advice.kernel_version(system.release) < _TESTED:
        return Finding(
            WARN, "kernel", f"{fact} has all that is needed, but 6.1 is the oldest that is tested"
        )
    return Finding(OK, "kernel", fact)


def bcc(system: System) -> Finding:
    """Whether the package bcc is there, and is the right one."""
    folder = system.bcc_folder()
    if folder is None:
        return Finding(FAIL, "bcc", advice.NO_BCC)
    if not (folder / "libbcc.py").is_file():
        return Finding(FAIL, "bcc", f"{folder} is not BCC: pip uninstall bcc; {advice.NO_BCC}")
    return Finding(OK, "bcc", str(folder))


def capabilities(system: System) -> Finding:
    """Those without which nothing can be counted."""
    lacking = advice.missing(system.read("/proc/self/status"), advice.NEEDED)
    if lacking:
        follows = "; ".join(f"without {name} {advice.NEEDED[name]}" for name in lacking)
        return Finding(FAIL, "capabilities", f"{follows}: {advice.RUN_AS_ROOT}")
    if advice.in_user_namespace(system.read("/proc/self/uid_map")):
        return Finding(FAIL, "capabilities", advice.USER_NAMESPACE)
    return Finding(OK, "capabilities", " ".join(advice.NEEDED))


def giving_up(system: System) -> Finding:
    """Those that are needed to have none in the end."""
    lacking = advice.missing(system.read("/proc/self/status"), advice.GIVING_UP)
    if lacking:
        follows = "; ".join(f"without {name} {advice.GIVING_UP[name]}" for name in lacking)
        return Finding(WARN, "giving privileges up", f"{follows}: {advice.RUN_AS_ROOT}")
    return Finding(OK, "giving privileges up", " ".join(advice.GIVING_UP))


def programs(system: System) -> Finding:
    """Compiles and loads the real programs, without kernel headers and without BTF."""
    if system.mmapable_map_error() in _REFUSED:
        return Finding(FAIL, "programs", "cannot be loaded while bpf(2) is refused, as said above")
    start = time.monotonic()
    try:
        version = system.load_programs()
    except ExporterError as error:
        return Finding(FAIL, "programs", str(error))
    seconds = time.monotonic() - start
    return Finding(
        OK,
        "programs",
        f"compiled by bcc {version} and loaded in {seconds:.2f} s, without kernel headers or BTF",
    )


def attaching(system: System) -> Finding:
    """tcx, else what clsact needs."""
    error = system.tcx_error()
    if error == 0:
        return Finding(OK, "attaching", "tcx")
    if error in (errno.EPERM, errno.EACCES) and advice.kernel_version(system.release) >= _TCX:
        return Finding(OK, "attaching", "tcx, by the kernel's version: it may not be asked")
    found = [_module(system, name) for name in ("sch_ingress", "cls_bpf")]
    if False in found:
        return Finding(
            FAIL,
            "attaching",
            "this kernel has neither tcx, which came with 6.6, nor the modules sch_ingress and"
            " cls_bpf: install them (Ubuntu: linux-modules-extra), or use another kernel",
        )
    if None in found:
        return Finding(
            WARN,
            "attaching",
            "this kernel has no tcx, and whether it has the modules sch_ingress and cls_bpf cannot"
            " be told from here: load them on the machine (modprobe sch_ingress cls_bpf)",
        )
    return Finding(OK, "attaching", "clsact, as this kernel has no tcx")


def _module(system: System, name: str) -> bool | None:
    """Whether a module is loaded, built in or can be loaded; None where nothing can be told."""
    if system.exists(f"/sys/module/{name}"):
        return True
    folder = f"/lib/modules/{system.release}"
    lists = system.read(f"{folder}/modules.builtin") + system.read(f"{folder}/modules.dep")
    if not lists:
        return None
    return re.search(rf"/{name}\.ko", lists) is not None


def maps(system: System) -> Finding:
    """Maps that are mapped into memory, as the flow table is."""
    error = system.mmapable_map_error()
    if error:
        return Finding(FAIL, "mmapable maps", advice.explain_bpf_error(error, str(system.root)))
    return Finding(OK, "mmapable maps", "made and mapped")


def bpffs(system: System) -> Finding:
    """Where pins would be."""
    kind = ""
    for line in system.read("/proc/self/mountinfo").splitlines():
        mount, _, filesystem = line.partition(" - ")
        if mount.split()[4:5] == ["/sys/fs/bpf"]:
            kind = filesystem.split()[0]  # the last one lies on top
    if kind != "bpf":
        return Finding(
            WARN,
            "bpffs",
            "/sys/fs/bpf is no BPF file system, which only pinning needs: mount -t bpf bpf"
            " /sys/fs/bpf, or mount the node's into the container (hostPath, HostToContainer)",
        )
    return Finding(OK, "bpffs", "/sys/fs/bpf")


def lockdown(system: System) -> Finding:
    """A fact: the programs read no kernel memory, so no level of it is in the way."""
    match = re.search(r"\[(\w+)\]", system.read("/sys/kernel/security/lockdown"))
    return Finding(OK, "lockdown", match[1] if match else "not there, or not to be read from here")


def seccomp(system: System) -> Finding:
    """Whether a filter stands before bpf(2)."""
    status = system.read("/proc/self/status")
    if advice.field(status, "Seccomp") != "2":
        return Finding(OK, "seccomp", "no filter")
    denied = system.mmapable_map_error() in _REFUSED
    if denied and not advice.missing(status, advice.NEEDED):
        return Finding(FAIL, "seccomp", advice.SECCOMP_DENIES)
    if denied:
        return Finding(
            WARN, "seccomp", "there is a filter; what it denies shows when no capability is missing"
        )
    return Finding(OK, "seccomp", "a filter that allows bpf(2)")


def security_modules(system: System) -> Finding:
    """AppArmor and SELinux, and what they make of this process."""
    modules = system.read("/sys/kernel/security/lsm").strip() or "cannot be told from here"
    label = system.read("/proc/self/attr/current").strip("\0\n ")
    if ":container_t:" in label:
        return Finding(
            WARN,
            "security modules",
            f"SELinux confines this process as {label}, which may be denied bpf: use the type spc_t"
            " (seLinuxOptions.type)",
        )
    if label.endswith("(enforce)"):
        return Finding(
            WARN,
            "security modules",
            f"AppArmor confines this process as {label}, which keeps it from pinning in"
            " /sys/fs/bpf: use the profile Unconfined if you pin",
        )
    return Finding(OK, "security modules", modules + (f"; this process: {label}" if label else ""))


def unprivileged_bpf(system: System) -> Finding:
    """What the server may still do when it has no capability."""
    setting = system.read("/proc/sys/kernel/unprivileged_bpf_disabled").strip() or "unknown"
    fact = f"kernel.unprivileged_bpf_disabled is {setting}"
    if setting in ("1", "2") and advice.kernel_version(system.release) < _MAPS_WITHOUT_CAPABILITY:
        return Finding(
            WARN,
            "unprivileged bpf",
            f"{fact}, and before Linux 5.19 that keeps a server without capabilities from closing"
            " flows: use a later kernel, or set it to 0",
        )
    return Finding(OK, "unprivileged bpf", fact)


def network_namespace(system: System) -> Finding:
    """Whether these are the machine's interfaces, or a container's."""
    foreign = system.foreign_network()
    if foreign is not None:
        return Finding(WARN, "network namespace", foreign)
    mine = system.network_namespace("self")
    return Finding(OK, "network namespace", mine or "cannot be told from here")


def landlock(system: System) -> Finding:
    """What confines the server to its own files."""
    version = system.landlock_version()
    if version == 0:
        return Finding(
            WARN,
            "landlock",
            "the kernel has none, or it is not among the security modules at boot (lsm=): the"
            " server then reads what its user id may read",
        )
    return Finding(OK, "landlock", f"version {version}")


CHECKS: tuple[Callable[[System], Finding], ...] = (
    kernel,
    bcc,
    capabilities,
    giving_up,
    seccomp,
    maps,
    programs,
    attaching,
    unprivileged_bpf,
    lockdown,
    security_modules,
    bpffs,
    landlock,
    network_namespace,
)
