"""Why nothing can be pinned: one sentence that names which part of the system forbids it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from exporter.capture import bpffs

ALL_CAPABILITIES = "CapEff:\t000001ffffffffff\n"


class Root:
    """What /proc and /sys say."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.put("proc/self/status", ALL_CAPABILITIES)

    def put(self, name: str, text: str) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def explain(self, number: int) -> str:
        return bpffs.explain(OSError(number, os.strerror(number)), self.path)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


@pytest.mark.parametrize("name", ["", "a", "a/b/c"])
def test_another_file_system(tmp_path: Path, name: str) -> None:
    said = bpffs.why_not(tmp_path / name)
    assert said.startswith(f"{tmp_path} is on no BPF file system (magic number 0x")


def test_sysfs_where_nothing_is_mounted() -> None:
    said = bpffs.why_not(Path("/sys/kernel/nothing/ayaflow"))
    assert said.startswith("no BPF file system is mounted at /sys/kernel: mount -t bpf bpf")


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    assert "No such file" in bpffs.why_not(tmp_path / "link" / "ayaflow")


@pytest.mark.parametrize("attribute", ["proc/self/attr/apparmor/current", "proc/self/attr/current"])
def test_apparmor(root: Root, attribute: str) -> None:
    root.put(attribute, "cri-containerd.apparmor.d (enforce)\n")
    assert root.explain(errno.EACCES).startswith("AppArmor forbids it to the profile cri-con")


def test_selinux(root: Root) -> None:
    root.put("proc/self/attr/current", "system_u:system_r:container_t:s0:c1,c2\0")
    root.put("sys/fs/selinux/enforce", "1")
    assert root.explain(errno.EACCES).startswith(
        "SELinux forbids it to system_u:system_r:container_t:s0:c1,c2: use the type spc_t"
    )


def test_a_security_module_that_only_complains_is_not_blamed(root: Root) -> None:
    root.put("proc/self/attr/apparmor/current", "profile (complain)\n")
    root.put("sys/fs/selinux/enforce", "0")
    assert root.explain(errno.EACCES).startswith("the directory is another user's")


def test_a_capability(root: Root) -> None:
    root.put("proc/self/status", "CapEff:\t0000000000001000\n")
    assert root.explain(errno.EPERM).startswith("CAP_BPF and CAP_PERFMON is missing: ")


def test_a_mount_that_is_read_only(root: Root) -> None:
    assert root.explain(errno.EROFS).startswith("the BPF file system is mounted read-only")


def test_anything_else(root: Root) -> None:
    assert root.explain(errno.ENOSPC) == (
        "the BPF file system refuses it (No space left on device)"
    )
