"""clsact filters: only ours are replaced and deleted, and the qdisc stays."""

from __future__ import annotations

import errno
import struct
from typing import cast

import pytest

from exporter.capture import clsact
from exporter.capture.netlink import Netlink, attribute, attributes
from exporter.errors import ExporterError

IFINDEX = 7
INGRESS, EGRESS = clsact.PARENTS
PROGRAMS = (10, 11)
"""Descriptors; the kernel's id of the program is a hundred more."""
IDS = (110, 111)

_TCMSG = struct.Struct("=BxxxiIII")
_NEWQDISC, _GETQDISC = 36, 38
_NEWTFILTER, _DELTFILTER, _GETTFILTER = 44, 45, 46
_KIND, _OPTIONS = 1, 2
_FD, _NAME, _ID = 6, 7, 11


class Tc:
    """What the kernel keeps for one device, and answers as it does."""

    def __init__(self) -> None:
        self.qdisc = ""
        self.filters: dict[tuple[int, int, int], tuple[int, str]] = {}
        """(parent, priority, handle): (program id, name)."""
        self.refuse: dict[tuple[int, int], int] = {}
        """(kind of message, parent): errno."""

    def request(self, kind: int, body: bytes, flags: int = 4) -> list[tuple[int, bytes]]:
        _, ifindex, handle, parent, info = _TCMSG.unpack_from(body)
        assert ifindex == IFINDEX
        given = dict(attributes(body, _TCMSG.size))
        if (kind, parent) in self.refuse:
            raise OSError(self.refuse[kind, parent], "refused")
        if kind == _NEWQDISC:
            if self.qdisc:
                raise OSError(errno.EEXIST, "File exists")
            self.qdisc = given[_KIND].rstrip(b"\0").decode()
        elif kind == _GETQDISC:
            return [(_NEWQDISC, _TCMSG.pack(0, ifindex, 0, 0, 0) + _text(_KIND, self.qdisc))]
        elif kind == _NEWTFILTER:
            options = dict(attributes(given[_OPTIONS], 0))
            program = int.from_bytes(options[_FD], "little") + 100
            name = options[_NAME].rstrip(b"\0").decode()
            self.filters[parent, info >> 16, handle] = (program, name)
        elif kind == _DELTFILTER:
            del self.filters[parent, info >> 16, handle]
        return []

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        assert kind == _GETTFILTER
        _, ifindex, _, wanted, _ = _TCMSG.unpack_from(body)
        if not self.qdisc:
            raise OSError(errno.EINVAL, "Invalid argument")
        listed = []
        for (parent, priority, handle), (program, name) in sorted(self.filters.items()):
            if parent == wanted:
                head = _TCMSG.pack(0, ifindex, handle, parent, priority << 16 | 0x0300)
                options = attribute(_ID, struct.pack("=I", program)) + _text(_NAME, name)
                # As the kernel has it: each priority is told of first, with no handle.
                listed.append(_TCMSG.pack(0, ifindex, 0, parent, priority << 16 | 0x0300))
                listed.append(head + _text(_KIND, "bpf") + attribute(_OPTIONS, options))
        return listed

    def put(self, parent: int, priority: int, handle: int, program: int, name: str) -> None:
        self.filters[parent, priority, handle] = (program, name)


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


OURS = {
    (INGRESS, clsact.PRIORITY, clsact.HANDLE): (110, "ayaflow_ingress"),
    (EGRESS, clsact.PRIORITY, clsact.HANDLE): (111, "ayaflow_egress"),
}


@pytest.fixture
def tc() -> Tc:
    return Tc()


def attach(tc: Tc) -> None:
    clsact.attach(cast(Netlink, tc), IFINDEX, PROGRAMS)


def detach(tc: Tc, ids: tuple[int, ...] | None = None) -> int:
    return clsact.detach(cast(Netlink, tc), IFINDEX, ids)


def has_ours(tc: Tc) -> bool:
    return clsact.has_ours(cast(Netlink, tc), IFINDEX)


def test_both_programs_are_put_and_taken_away_again(tc: Tc) -> None:
    assert not has_ours(tc)
    attach(tc)
    assert (tc.qdisc, tc.filters) == ("clsact", OURS)
    assert has_ours(tc)
    assert detach(tc, IDS) == 2
    assert not has_ours(tc)


def test_the_qdisc_stays_with_what_somebody_put_there_meanwhile(tc: Tc) -> None:
    """The kernel would delete it with all its filters, however few they were a moment ago."""
    attach(tc)
    tc.put(EGRESS, 3, 1, 55, "other")
    detach(tc, IDS)
    assert (tc.qdisc, list(tc.filters)) == ("clsact", [(EGRESS, 3, 1)])


def test_the_filters_are_listed_in_their_order(tc: Tc) -> None:
    attach(tc)
    tc.put(INGRESS, 3, 1, 55, "other")
    found = clsact.filters(cast(Netlink, tc), IFINDEX, INGRESS)
    assert found == [
        clsact.Filter(3, 1, "bpf", 55, "other"),
        clsact.Filter(clsact.PRIORITY, clsact.HANDLE, "bpf", 110, "ayaflow_ingress"),
    ]
    assert [clsact.is_ours(each) for each in found] == [False, True]


def test_filters_of_an_exporter_that_was_killed_are_replaced(tc: Tc) -> None:
    attach(tc)
    tc.filters = {key: (program + 900, name) for key, (program, name) in tc.filters.items()}
    attach(tc)
    assert tc.filters == OURS


def test_a_filter_of_another_program_is_not_deleted(tc: Tc) -> None:
    """Another exporter has replaced it: it is that one's now."""
    attach(tc)
    assert detach(tc, (998, 999)) == 0
    assert tc.filters == OURS
    assert detach(tc) == 2


@pytest.mark.parametrize(
    ("priority", "handle", "name"),
    [
        (clsact.PRIORITY, 1, "ayaflow_ingress"),
        (1, clsact.HANDLE, "ayaflow_ingress"),
        (clsact.PRIORITY, clsact.HANDLE, "other"),
    ],
)
def test_what_only_looks_like_ours_is_not_deleted(
    tc: Tc, priority: int, handle: int, name: str
) -> None:
    tc.qdisc = "clsact"
    tc.put(INGRESS, priority, handle, 110, name)
    assert detach(tc) == 0
    assert len(tc.filters) == 1


def test_an_ingress_qdisc_in_its_place_is_a_sentence_and_stays(tc: Tc) -> None:
    """The kernel would hang the egress filter there too: on ingress."""
    tc.qdisc = "ingress"
    with pytest.raises(
        ExporterError, match=r"a qdisc of the kind ingress is where clsact would be"
    ):
        attach(tc)
    assert (tc.qdisc, tc.filters) == ("ingress", {})


def test_where_the_second_filter_is_refused_the_first_one_goes_too(tc: Tc) -> None:
    tc.refuse[_NEWTFILTER, EGRESS] = errno.ENOMEM
    with pytest.raises(OSError, match="refused") as refused:
        attach(tc)
    assert refused.value.errno == errno.ENOMEM
    assert tc.filters == {}


def test_a_device_without_clsact_has_no_filters(tc: Tc) -> None:
    assert detach(tc) == 0
    assert clsact.filters(cast(Netlink, tc), IFINDEX, INGRESS) == []
