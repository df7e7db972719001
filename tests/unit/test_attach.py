"""Which way a device is attached, and what is said where it cannot be; without a kernel."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.capture import bpf, clsact
from exporter.capture.attach import Attached, Attacher
from exporter.errors import ExporterError

IFINDEX = 7
INGRESS, EGRESS = bpf.TCX_INGRESS, bpf.TCX_EGRESS


class Kernel:
    """What bpf(2) and clsact answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tcx_error: dict[int, int] = {}
        """By attach type: errno."""
        self.clsact_error = 0
        self.detach_error: dict[int, int] = {}
        """By ifindex: errno."""
        self.chains: dict[int, list[int]] = {INGRESS: [], EGRESS: []}
        self.filters: dict[int, list[int]] = {parent: [] for parent in clsact.PARENTS}
        self.done: list[str] = []
        self.pipes: list[int] = []
        monkeypatch.setattr(bpf, "program_id", lambda fd: fd + 100)
        monkeypatch.setattr(bpf, "link_create_tcx", self._link)
        monkeypatch.setattr(bpf, "query_tcx", self._query)
        monkeypatch.setattr(clsact, "attach", self._attach)
        monkeypatch.setattr(clsact, "detach", self._detach)
        monkeypatch.setattr(clsact, "filters", self._filters)

    def _link(self, program_fd: int, ifindex: int, attach_type: int) -> int:
        _raise(self.tcx_error.get(attach_type, 0))
        read, write = os.pipe()
        self.pipes.append(read)
        self.done.append(f"link {program_fd} {ifindex} {attach_type}")
        return write

    def _query(self, ifindex: int, attach_type: int) -> list[int]:
        _raise(self.tcx_error.get(attach_type, 0))
        return self.chains[attach_type]

    def _attach(self, _: object, ifindex: int, program_fds: tuple[int, int]) -> None:
        _raise(self.clsact_error)
        self.done.append(f"clsact {ifindex} {program_fds}")

    def _detach(self, _: object, ifindex: int, ids: tuple[int, ...]) -> int:
        _raise(self.detach_error.get(ifindex, 0))
        self.done.append(f"detach {ifindex} {ids}")
        return 2

    def _filters(self, _: object, ifindex: int, parent: int) -> list[clsact.Filter]:
        return [clsact.Filter(1, 1, "bpf", program, "") for program in self.filters[parent]]


def _raise(number: int) -> None:
    if number:
        raise OSError(number, os.strerror(number))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    made = Kernel(monkeypatch)
    yield made
    bpf.close_all(made.pipes)


@pytest.fixture
def attacher(kernel: Kernel) -> Iterator[Attacher]:
    made = Attacher((10, 11))
    yield made
    made._netlink.close()


NO_TCX = [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS]


@pytest.mark.parametrize("mode", ["auto", "tcx"])
def test_tcx_where_the_kernel_has_it(kernel: Kernel, attacher: Attacher, mode: str) -> None:
    attached = attacher.attach(IFINDEX, mode, "")
    assert (attached.mode, len(attached.link_fds)) == ("tcx", 2)
    assert kernel.done == [f"link 10 7 {INGRESS}", f"link 11 7 {EGRESS}"]
    bpf.close_all(attached.link_fds)


@pytest.mark.parametrize("number", NO_TCX)
def test_auto_is_clsact_where_there_is_no_tcx(
    kernel: Kernel, attacher: Attacher, number: int
) -> None:
    kernel.tcx_error[INGRESS] = number
    assert attacher.attach(IFINDEX, "auto", "") == Attached("clsact", ())
    assert kernel.done == ["clsact 7 (10, 11)"]


def test_clsact_is_taken_without_a_look_at_tcx_if_it_is_asked_for(
    kernel: Kernel, attacher: Attacher
) -> None:
    assert attacher.attach(IFINDEX, "clsact", "veth").mode == "clsact"
    assert kernel.done == ["clsact 7 (10, 11)"]


@pytest.mark.parametrize("kind", ["veth", "netkit"])
def test_auto_leaves_the_devices_of_pods_alone_without_tcx(
    kernel: Kernel, attacher: Attacher, kind: str
) -> None:
    kernel.tcx_error[INGRESS] = errno.EINVAL
    with pytest.raises(ExporterError, match=rf"clsact on a {kind} device .*: give --attach clsact"):
        attacher.attach(IFINDEX, "auto", kind)
    assert kernel.done == []


def test_half_a_tcx_attachment_is_let_go(kernel: Kernel, attacher: Attacher) -> None:
    kernel.tcx_error[EGRESS] = errno.ENOMEM
    with pytest.raises(ExporterError, match="refuses to attach a program"):
        attacher.attach(IFINDEX, "auto", "")
    assert os.read(kernel.pipes[0], 1) == b"", "the link is closed"


@pytest.mark.parametrize(
    ("mode", "tcx", "by_clsact", "sentence"),
    [
        ("tcx", errno.EINVAL, 0, "this kernel has no tcx, which came with Linux 6.6: use --attach"),
        ("auto", errno.ENODEV, 0, "the interface vanished while it was being attached"),
        ("auto", errno.EPERM, 0, "is not permitted"),
        ("clsact", 0, errno.ENODEV, "the interface vanished while it was being attached"),
        ("clsact", 0, errno.ENOENT, "the kernel offers no clsact here .* modules sch_ingress"),
        ("clsact", 0, errno.EOPNOTSUPP, "the kernel offers no clsact here .* modules sch_ingress"),
        ("auto", errno.EINVAL, errno.EPERM, "is not permitted"),
        ("clsact", 0, errno.ENOMEM, "the kernel refuses to attach a program"),
    ],
)
def test_what_cannot_be_attached_is_one_sentence(
    kernel: Kernel, attacher: Attacher, mode: str, tcx: int, by_clsact: int, sentence: str
) -> None:
    kernel.tcx_error[INGRESS] = tcx
    kernel.clsact_error = by_clsact
    with pytest.raises(ExporterError, match=sentence):
        attacher.attach(IFINDEX, mode, "")


def test_filters_are_taken_off_once(kernel: Kernel, attacher: Attacher) -> None:
    attacher.attach(IFINDEX, "clsact", "")
    attacher.detach(IFINDEX)
    attacher.detach(IFINDEX)
    assert kernel.done[1:] == ["detach 7 (110, 111)"]


def test_what_was_not_attached_here_is_not_detached(kernel: Kernel, attacher: Attacher) -> None:
    attacher.detach(IFINDEX)
    assert kernel.done == []


def test_an_interface_that_is_gone_needs_no_detaching(kernel: Kernel, attacher: Attacher) -> None:
    kernel.detach_error[IFINDEX] = errno.ENODEV
    attacher.attach(IFINDEX, "clsact", "")
    attacher.detach(IFINDEX)


def test_at_the_end_each_one_is_detached_whatever_becomes_of_another(
    kernel: Kernel, attacher: Attacher
) -> None:
    for ifindex in (7, 8, 9):
        attacher.attach(ifindex, "clsact", "")
    kernel.detach_error[8] = errno.ENOENT
    kernel.done.clear()
    attacher.end()
    assert [each for each in kernel.done if each.startswith("detach")] == [
        "detach 7 (110, 111)",
        "detach 9 (110, 111)",
    ]


def test_with_pins_filters_stay_at_the_end(kernel: Kernel, tmp_path: Path) -> None:
    attacher = Attacher((10, 11), str(tmp_path))
    assert attacher.attach(IFINDEX, "clsact", "") == Attached("clsact", (), pinned=True)
    attacher.end()
    attacher._netlink.close()
    assert kernel.done == ["clsact 7 (10, 11)"]


@pytest.mark.parametrize(
    ("chain", "filters", "before"),
    [
        ([110], [], 0),
        ([55, 56, 110, 57], [58], 2),
        ([], [110], 0),
        ([55], [56, 57, 110, 58], 3),
        ([], [], -1),
        ([55], [56], -1),
    ],
    ids=["first", "tcx", "clsact", "both", "nobody", "others"],
)
def test_who_sees_packets_before_ours(
    kernel: Kernel, attacher: Attacher, chain: list[int], filters: list[int], before: int
) -> None:
    kernel.chains[INGRESS] = chain
    kernel.filters[clsact.PARENTS[0]] = filters
    kernel.chains[EGRESS] = [111]
    assert attacher.programs_before(IFINDEX) == (before, 0)


@pytest.mark.parametrize("number", NO_TCX)
def test_without_tcx_filters_alone_are_looked_at(
    kernel: Kernel, attacher: Attacher, number: int
) -> None:
    kernel.tcx_error = {INGRESS: number, EGRESS: number}
    kernel.filters = dict(zip(clsact.PARENTS, ([1, 110], [111]), strict=True))
    assert attacher.programs_before(IFINDEX) == (1, 0)
