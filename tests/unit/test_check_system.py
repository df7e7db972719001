"""What check-system says of kernels, capabilities and sandboxes that are not at hand."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from exporter import advice, check_system
from exporter.capture.netlink import Link
from exporter.check_system import FAIL, OK, WARN
from exporter.errors import ExporterError
from exporter.system import System

ALL_CAPABILITIES = (1 << 41) - 1
Out = pytest.CaptureFixture[str]


def link(name: str, kind: str = "", lower: int = 0, hardware_type: int = 1) -> Link:
    return Link(2, name, hardware_type, kind, 0, lower, 0, 0)


LOOPBACK = link("lo", hardware_type=772)


class Fake(System):
    """A machine where all is well, until a test says otherwise."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.release, self.machine = "6.12.1-amd64", "x86_64"
        self.bcc: Path | None = root / "bcc"
        self.load_error = ""
        self.map_error = self.tcx = 0
        self.landlock = 6
        self.namespaces = {"self": "net:[1]", "1": "net:[1]"}
        self.interfaces = [LOOPBACK, link("eth0")]
        self.put("/bcc/libbcc.py", "")
        self.put_status()
        self.put("/proc/self/uid_map", "         0          0 4294967295\n")
        self.put("/proc/self/mountinfo", "30 24 0:26 / /sys/fs/bpf rw - bpf bpf rw\n")
        self.put("/proc/sys/kernel/unprivileged_bpf_disabled", "2\n")
        self.put("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
        self.put("/sys/kernel/security/lsm", "lockdown,capability,landlock,apparmor")
        self.put("/proc/self/attr/current", "unconfined\n")

    def put(self, path: str, text: str) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def put_status(self, *lacking: str, seccomp: int = 0, also: int = 0) -> None:
        held = ALL_CAPABILITIES & ~(1 << advice.CAPABILITIES["CAP_SYS_ADMIN"])
        for name in lacking:
            held &= ~(1 << advice.CAPABILITIES[name])
        self.put(
            "/proc/self/status", f"Name:\tx\nCapEff:\t{held | also:016x}\nSeccomp:\t{seccomp}\n"
        )

    def network_namespace(self, process: str) -> str:
        return self.namespaces[process]

    def links(self) -> list[Link]:
        return self.interfaces

    def bcc_folder(self) -> Path | None:
        return self.bcc

    def load_programs(self) -> str:
        if self.load_error:
            raise ExporterError(self.load_error)
        return "0.26.0"

    def mmapable_map_error(self) -> int:
        return self.map_error

    def tcx_error(self) -> int:
        return self.tcx

    def landlock_version(self) -> int:
        return self.landlock


@pytest.fixture
def system(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


@pytest.mark.parametrize("check", check_system.CHECKS, ids=lambda check: check.__name__)
def test_where_all_is_well_every_check_is_ok(system: Fake, check: object) -> None:
    assert callable(check)
    finding = check(system)
    assert finding.level == OK, finding
    assert str(finding) == f"ok   {finding.name}: {finding.text}"


@pytest.mark.parametrize(
    ("release", "machine", "level"),
    [
        ("5.10.0-32-amd64", "x86_64", FAIL),
        ("5.14.21", "x86_64", FAIL),
        ("5.15.0-100-generic", "x86_64", WARN),
        ("5.15.0-100-generic", "aarch64", FAIL),
        ("5.18.0", "aarch64", WARN),
        ("6.0.9", "x86_64", WARN),
        ("6.1.0-18-amd64", "x86_64", OK),
        ("10.2-rc1", "aarch64", OK),
        ("strange", "x86_64", FAIL),
    ],
)
def test_the_kernel_is_held_against_the_floor_and_what_is_tested(
    system: Fake, release: str, machine: str, level: str
) -> None:
    system.release, system.machine = release, machine
    finding = check_system.kernel(system)
    assert finding.level == level
    assert release in finding.text


def test_bcc_may_be_missing_or_something_else(system: Fake) -> None:
    system.bcc = None
    assert check_system.bcc(system).level == FAIL
    system.bcc = system.root / "site-packages" / "bcc"
    finding = check_system.bcc(system)
    assert finding.level == FAIL
    assert "is not BCC" in finding.text
    assert "python3-bpfcc" in finding.text


@pytest.mark.parametrize("name", advice.NEEDED)
def test_a_missing_capability_is_named_with_what_follows(system: Fake, name: str) -> None:
    system.put_status(name)
    finding = check_system.capabilities(system)
    assert finding.level == FAIL
    assert f"without {name} {advice.NEEDED[name]}: run it as root" in finding.text


@pytest.mark.parametrize("name", advice.GIVING_UP)
def test_what_cannot_be_given_up_is_only_a_warning(system: Fake, name: str) -> None:
    system.put_status(name)
    finding = check_system.giving_up(system)
    assert finding.level == WARN
    assert f"without {name} {advice.GIVING_UP[name]}" in finding.text
    assert check_system.capabilities(system).level == OK


def test_sys_admin_stands_for_bpf_and_perfmon_but_not_for_net_admin(system: Fake) -> None:
    system.put_status(*advice.NEEDED, also=1 << advice.CAPABILITIES["CAP_SYS_ADMIN"])
    finding = check_system.capabilities(system)
    assert "CAP_NET_ADMIN" in finding.text
    assert "CAP_BPF" not in finding.text
    assert "CAP_PERFMON" not in finding.text


def test_the_capabilities_of_a_user_namespace_are_worth_nothing(system: Fake) -> None:
    system.put("/proc/self/uid_map", "0 100000 65536\n")
    finding = check_system.capabilities(system)
    assert finding.level == FAIL
    assert "user namespace" in finding.text


def test_a_program_that_does_not_load_says_why(system: Fake) -> None:
    system.load_error = "the kernel refuses the program: do this"
    finding = check_system.programs(system)
    assert str(finding) == "FAIL programs: the kernel refuses the program: do this"


def test_programs_are_not_tried_where_bpf_is_refused(system: Fake) -> None:
    system.map_error, system.load_error = errno.EPERM, "no sentence of ours"
    finding = check_system.programs(system)
    assert (finding.level, "bpf(2) is refused" in finding.text) == (FAIL, True)


@pytest.mark.parametrize(
    ("release", "error", "files", "level", "text"),
    [
        ("6.6.0", 0, {}, OK, "tcx"),
        ("6.6.0", errno.EPERM, {}, OK, "tcx, by the kernel's version"),
        ("6.1.0", errno.EINVAL, {}, WARN, "modprobe sch_ingress cls_bpf"),
        ("6.1.0", errno.EPERM, {}, WARN, "modprobe sch_ingress cls_bpf"),
        (
            "6.1.0",
            errno.EINVAL,
            {"/sys/module/sch_ingress/x": "", "/sys/module/cls_bpf/x": ""},
            OK,
            "clsact",
        ),
        (
            "6.1.0",
            errno.EINVAL,
            {
                "/lib/modules/6.1.0/modules.builtin": "kernel/net/sched/cls_bpf.ko\n",
                "/lib/modules/6.1.0/modules.dep": "kernel/net/sched/sch_ingress.ko.zst:\n",
            },
            OK,
            "clsact",
        ),
        (
            "6.1.0",
            errno.EINVAL,
            {"/lib/modules/6.1.0/modules.builtin": "kernel/net/sched/cls_bpf.ko\n"},
            FAIL,
            "neither tcx",
        ),
    ],
)
def test_it_attaches_by_tcx_or_else_by_clsact(
    system: Fake, release: str, error: int, files: dict[str, str], level: str, text: str
) -> None:
    system.release, system.tcx = release, error
    for path, content in files.items():
        system.put(path, content)
    finding = check_system.attaching(system)
    assert (finding.level, text in finding.text) == (level, True), finding


@pytest.mark.parametrize(
    ("lacking", "seccomp", "uid_map", "error", "text"),
    [
        (["CAP_BPF"], 2, "", errno.EPERM, "not permitted without CAP_BPF"),
        (["CAP_BPF", "CAP_PERFMON"], 0, "", errno.EACCES, "CAP_BPF and CAP_PERFMON"),
        (list(advice.NEEDED), 0, "", errno.EPERM, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"),
        ([], 2, "", errno.EPERM, "containerd 1.6.10, Docker 23"),
        ([], 0, "0 1000 1", errno.EPERM, "user namespace"),
        ([], 0, "", errno.EPERM, "a security module"),
        ([], 0, "", errno.ENOSYS, "CONFIG_BPF_SYSCALL"),
        ([], 0, "", errno.ENOMEM, "lower --flows.max"),
        ([], 0, "", errno.E2BIG, "CAP_PERFMON"),
        ([], 0, "", errno.EINVAL, "5.15 or later"),
        ([], 0, "", errno.EBUSY, "Device or resource busy"),
    ],
)
def test_why_the_kernel_refuses_bpf(
    system: Fake, lacking: list[str], seccomp: int, uid_map: str, error: int, text: str
) -> None:
    system.put_status(*lacking, seccomp=seccomp)
    system.put("/proc/self/uid_map", uid_map)
    system.map_error = error
    finding = check_system.maps(system)
    assert finding.level == FAIL
    assert text in finding.text
    assert "\n" not in finding.text


def test_bpf_may_be_refused_where_there_is_no_proc(tmp_path: Path) -> None:
    assert "not permitted without" in advice.explain_bpf_error(errno.EPERM, str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("mountinfo", "level"),
    [
        ("", WARN),
        ("30 24 0:26 / /sys/fs/bpf rw,relatime shared:9 - bpf bpf rw,mode=700\n", OK),
        ("30 24 0:26 / /sys/fs/bpf rw - tmpfs none rw\n", WARN),
        (
            "30 24 0:26 / /sys/fs/bpf rw - bpf bpf rw\n31 30 0:9 / /sys/fs/bpf rw - tmpfs x rw\n",
            WARN,
        ),
        ("30 24 0:26 / /sys/fs/bpf/other rw - bpf bpf rw\n", WARN),
    ],
)
def test_pins_need_a_bpf_file_system(system: Fake, mountinfo: str, level: str) -> None:
    system.put("/proc/self/mountinfo", mountinfo)
    assert check_system.bpffs(system).level == level


@pytest.mark.parametrize(
    ("seccomp", "error", "lacking", "level", "text"),
    [
        (0, errno.EPERM, [], OK, "no filter"),
        (2, 0, [], OK, "a filter that allows bpf(2)"),
        (2, errno.EPERM, [], FAIL, "update the container runtime"),
        (2, errno.ENOSYS, [], FAIL, "update the container runtime"),
        (2, errno.EPERM, ["CAP_BPF"], WARN, "when no capability is missing"),
    ],
)
def test_a_seccomp_filter_is_blamed_only_for_what_it_does(
    system: Fake, seccomp: int, error: int, lacking: list[str], level: str, text: str
) -> None:
    system.put_status(*lacking, seccomp=seccomp)
    system.map_error = error
    finding = check_system.seccomp(system)
    assert (finding.level, text in finding.text) == (level, True), finding


@pytest.mark.parametrize(
    ("label", "level", "text"),
    [
        ("", OK, "apparmor"),
        ("unconfined\n", OK, "this process: unconfined"),
        ("docker-default (enforce)\n", WARN, "AppArmor confines this process as docker-default"),
        ("docker-default (complain)\n", OK, "complain"),
        ("system_u:system_r:container_t:s0:c1,c2\0", WARN, "spc_t"),
        ("system_u:system_r:spc_t:s0\0", OK, "spc_t"),
    ],
)
def test_security_modules_are_named_with_the_way_out(
    system: Fake, label: str, level: str, text: str
) -> None:
    system.put("/proc/self/attr/current", label)
    finding = check_system.security_modules(system)
    assert (finding.level, text in finding.text) == (level, True), finding


@pytest.mark.parametrize(
    ("text", "shown"), [("none integrity [confidentiality]", "confidentiality"), ("", "not there")]
)
def test_lockdown_is_a_fact_and_never_in_the_way(system: Fake, text: str, shown: str) -> None:
    system.put("/sys/kernel/security/lockdown", text)
    finding = check_system.lockdown(system)
    assert finding.level == OK
    assert finding.text.startswith(shown)


@pytest.mark.parametrize(
    ("release", "setting", "level"),
    [("5.15.0", "2", WARN), ("5.15.0", "0", OK), ("5.19.0", "1", OK), ("6.1.0", "", OK)],
)
def test_old_kernels_keep_maps_from_those_without_capability(
    system: Fake, release: str, setting: str, level: str
) -> None:
    system.release = release
    system.put("/proc/sys/kernel/unprivileged_bpf_disabled", setting)
    assert check_system.unprivileged_bpf(system).level == level


@pytest.mark.parametrize(
    ("mine", "first", "links", "level"),
    [
        ("net:[1]", "net:[1]", [LOOPBACK, link("eth0"), link("veth1", "veth", 7)], OK),
        ("net:[1]", "", [LOOPBACK, link("eth0")], OK),
        ("", "", [LOOPBACK], OK),
        ("net:[2]", "net:[1]", [LOOPBACK, link("eth0")], WARN),
        ("net:[2]", "net:[2]", [LOOPBACK, link("eth0", "veth")], WARN),
        ("net:[2]", "", [LOOPBACK, link("eth0", "macvlan"), link("net1", "ipvlan")], WARN),
        ("net:[1]", "net:[1]", [LOOPBACK, link("a", "veth", 3), link("b", "veth", 2)], OK),
    ],
)
def test_a_container_without_the_hosts_network_is_warned_of(
    system: Fake, mine: str, first: str, links: list[Link], level: str
) -> None:
    system.namespaces = {"self": mine, "1": first}
    system.interfaces = links
    finding = check_system.network_namespace(system)
    assert finding.level == level
    assert ("hostNetwork" in finding.text) == (level == WARN)


def test_a_kernel_without_landlock_is_a_warning(system: Fake) -> None:
    system.landlock = 0
    assert check_system.landlock(system).level == WARN


@pytest.mark.parametrize(("release", "code"), [("6.12.1", 0), ("5.4.0", 1)])
def test_every_check_is_a_line_and_a_failed_one_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, system: Fake, capsys: Out, release: str, code: int
) -> None:
    system.release = release
    monkeypatch.setattr(check_system, "System", lambda: system)
    assert check_system.main() == code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(check_system.CHECKS)
    assert all(line.startswith(("ok   ", "warn ", "FAIL ")) for line in lines)


def test_this_machine_answers_every_question() -> None:
    system = System()
    assert system.read("/proc/self/status")
    assert system.read("/no/such/file") == ""
    assert system.exists("/proc/self")
    assert system.network_namespace("self").startswith("net:[")
    assert system.network_namespace("no such process") == ""
    assert any(each.hardware_type == 772 for each in system.links())
    assert system.mmapable_map_error() in (0, errno.EPERM)
    assert system.tcx_error() in (0, errno.EPERM, errno.EINVAL)
    assert 0 <= system.landlock_version() < 100


def test_bcc_is_looked_for_and_not_imported() -> None:
    import sys

    before = set(sys.modules)
    System().bcc_folder()
    assert not {name for name in set(sys.modules) - before if name.split(".")[0] == "bcc"}
