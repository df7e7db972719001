"""What rtnetlink tells of interfaces: recorded, cut short, random, and of this machine."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.capture import netlink
from exporter.capture.netlink import Link, LinkEvents, Netlink, attribute, attributes, parse_link
from tests.unit.recorded_links import LINKS

NEWLINK = 16
ERROR = 2
DONE = 3
NOTHING = 1
"""NLMSG_NOOP, which the kernel does not answer."""
DUMP_INTERRUPTED = 0x10

IFNAME = 3
LINK = 5
MASTER = 10
LINKINFO = 18
STATS64 = 23
LINK_NETNSID = 37


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lo", Link(1, "lo", 772, "", 0, 0, 22, 22)),
        ("e1", Link(2, "e1", 1, "veth", 4, 3, 0, 0)),
        ("br0", Link(4, "br0", 1, "bridge", 0, 0, 0, 0)),
        ("v0", Link(9, "v0", 1, "veth", 0, 0, 0, 0)),
        ("t0", Link(7, "t0", 65534, "tun", 0, 0, 0, 0)),
    ],
)
def test_recorded_interfaces(name: str, expected: Link) -> None:
    assert parse_link(LINKS[name]) == expected


def ifinfo(ifindex: int = 5, hardware_type: int = 1) -> bytes:
    return struct.pack("=BxHiII", 0, hardware_type, ifindex, 0, 0)


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=i", value))


def test_an_interface_of_few_words() -> None:
    assert parse_link(ifinfo()) == Link(5, "", 1, "", 0, 0, 0, 0)


def test_names_end_at_their_zero_and_may_be_no_text() -> None:
    payload = ifinfo() + attribute(IFNAME, b"et\xffh\0\0")
    assert parse_link(payload).name == "et�h"


def test_a_vlan_is_stacked_on_its_device() -> None:
    kind = attribute(LINKINFO, attribute(1, b"vlan\0") + attribute(2, b"\1\2\3\4"))
    assert parse_link(ifinfo() + number(LINK, 3) + kind) == Link(5, "", 1, "vlan", 0, 3, 0, 0)


def test_a_device_is_not_stacked_on_itself() -> None:
    assert parse_link(ifinfo() + number(LINK, 5)).lower == 0


def test_a_peer_in_another_namespace_is_none_of_ours() -> None:
    assert parse_link(ifinfo() + number(LINK, 3) + number(LINK_NETNSID, 0)).lower == 0


def test_packets_are_counted_in_64_bits() -> None:
    counted = attribute(STATS64, struct.pack("=3Q", (1 << 63) + 1, 1 << 40, 7))
    link = parse_link(ifinfo() + counted)
    assert (link.rx_packets, link.tx_packets) == ((1 << 63) + 1, 1 << 40)


@pytest.mark.parametrize("name", LINKS)
def test_an_answer_cut_short_anywhere_is_an_interface_or_no_answer(name: str) -> None:
    for size in range(len(LINKS[name])):
        try:
            assert parse_link(LINKS[name][:size]).ifindex == parse_link(LINKS[name]).ifindex
        except struct.error:
            continue


@given(st.binary(max_size=300))
def test_random_bytes_are_an_interface_or_no_answer(payload: bytes) -> None:
    with contextlib.suppress(struct.error):
        parse_link(payload)


@given(st.sampled_from(sorted(LINKS)), st.integers(16, 1900), st.integers(0, 255))
def test_a_wrong_byte_is_an_interface_or_no_answer(name: str, at: int, byte: int) -> None:
    payload = bytearray(LINKS[name])
    payload[at % len(payload)] = byte
    with contextlib.suppress(struct.error):
        parse_link(bytes(payload))


@given(st.binary(max_size=300), st.integers(0, 40))
def test_a_run_of_attributes_always_ends(payload: bytes, offset: int) -> None:
    found = list(attributes(payload, offset))
    assert 4 * len(found) <= max(0, len(payload) - offset)


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=20)), max_size=8))
def test_attributes_are_read_as_they_were_written(pairs: list[tuple[int, bytes]]) -> None:
    payload = b"".join(attribute(kind, value) for kind, value in pairs)
    assert len(payload) % 4 == 0
    assert list(attributes(payload, 0)) == pairs


@pytest.mark.parametrize("flag", [0x8000, 0x4000], ids=["nested", "byte order"])
def test_the_flags_of_an_attribute_are_not_its_type(flag: int) -> None:
    assert list(attributes(attribute(flag | 7, b"1234"), 0)) == [(7, b"1234")]


class ScriptedSocket:
    """The kernel's end: gives its answers one after the other, and remembers what was asked."""

    def __init__(self, *answers: bytes | OSError) -> None:
        self.asked: list[int] = []
        self._answers = list(answers)

    def send(self, message: bytes) -> None:
        self.asked.append(struct.unpack_from("=IHHII", message)[3])

    def recv(self, _: int) -> bytes:
        answer = self._answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer


def message(kind: int, sequence: int, payload: bytes, flags: int = 0) -> bytes:
    padding = bytes(-len(payload) % 4)
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, sequence, 0) + payload + padding


def done(sequence: int, flags: int = 0) -> bytes:
    return message(DONE, sequence, bytes(4), flags)


def answered_by(*answers: bytes | OSError) -> tuple[Netlink, ScriptedSocket]:
    request = Netlink()
    request.close()
    scripted = ScriptedSocket(*answers)
    request._socket = cast(socket.socket, scripted)
    return request, scripted


def test_a_dump_comes_in_many_messages_and_datagrams() -> None:
    request, _ = answered_by(
        message(NEWLINK, 1, b"one!") + message(NEWLINK, 1, b"three"),
        message(NEWLINK, 1, b"four"),
        done(1),
    )
    assert request.dump(18, b"") == [b"one!", b"three", b"four"]


def test_answers_to_an_earlier_question_are_left_out() -> None:
    request, _ = answered_by(
        done(1), message(NEWLINK, 1, b"old.") + done(1), message(NEWLINK, 2, b"new.") + done(2)
    )
    assert request.dump(18, b"") == []
    assert request.dump(18, b"") == [b"new."]


def test_what_the_kernel_refuses_is_an_error() -> None:
    request, _ = answered_by(message(ERROR, 1, struct.pack("=i", -errno.ENODEV)))
    with pytest.raises(OSError, match="No such device") as refused:
        request.request(18, b"")
    assert refused.value.errno == errno.ENODEV


def test_an_acknowledgement_is_no_error() -> None:
    request, _ = answered_by(message(ERROR, 1, struct.pack("=i", 0)))
    assert request.request(18, b"") == []


@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_dump_that_was_interrupted_is_made_again(where: int) -> None:
    """The kernel says that interfaces came or went meanwhile: one that is there may be missing."""
    flags = [DUMP_INTERRUPTED if where == n else 0 for n in range(3)]
    request, scripted = answered_by(
        message(NEWLINK, 1, b"a", flags[0]),
        message(NEWLINK, 1, b"b", flags[1]) + done(1, flags[2]),
        message(NEWLINK, 2, b"a") + message(NEWLINK, 2, b"x") + message(NEWLINK, 2, b"b"),
        done(2),
    )
    assert request.dump(18, b"") == [b"a", b"x", b"b"]
    assert scripted.asked == [1, 2]


def test_a_dump_that_is_interrupted_each_time_is_taken_as_it_is_in_the_end() -> None:
    def interrupted(sequence: int) -> bytes:
        return message(NEWLINK, sequence, b"a", DUMP_INTERRUPTED) + done(sequence)

    request, scripted = answered_by(*(interrupted(sequence) for sequence in range(1, 100)))
    assert request.dump(18, b"") == [b"a"]
    assert 1 < len(scripted.asked) < 20


def test_an_answer_that_never_comes_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The helper would outlive the server, whose end it could not see."""
    monkeypatch.setattr(netlink, "_ANSWER_TIMEOUT_S", 0.05)
    request = Netlink()
    with pytest.raises(TimeoutError):
        request.request(NOTHING, b"", 0)
    request.close()


def drained(*answers: bytes | OSError) -> bool:
    events = LinkEvents()
    events.close()
    events._socket = cast(socket.socket, ScriptedSocket(*answers))
    return events.drain()


@pytest.mark.parametrize(
    ("answers", "seen"),
    [
        ([BlockingIOError()], False),
        ([b"news", BlockingIOError()], True),
        ([b"news", b"news", BlockingIOError()], True),
        ([OSError(errno.ENOBUFS, "overrun"), BlockingIOError()], True),
    ],
    ids=["nothing", "one", "two", "overrun"],
)
def test_news_are_taken_all_at_once(answers: Sequence[bytes | OSError], seen: bool) -> None:
    assert drained(*answers) is seen


def test_a_socket_that_is_broken_is_not_asked_for_ever() -> None:
    with pytest.raises(OSError, match="broken"):
        drained(OSError(errno.EBADF, "broken"), OSError(errno.EBADF, "broken"), BlockingIOError())


def test_the_interfaces_of_this_machine() -> None:
    assert [(link.ifindex, link.name) for link in netlink.links()] == socket.if_nameindex()
    first = netlink.links()[0]
    one = netlink.link(first.ifindex)
    assert (one.ifindex, one.name, one.hardware_type) == first_words(first)


def first_words(link: Link) -> tuple[int, str, int]:
    return (link.ifindex, link.name, link.hardware_type)


def test_an_interface_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError, match="No such device") as refused:
        netlink.link(2_000_000_000)
    assert refused.value.errno == errno.ENODEV


def test_asking_leaves_no_descriptor_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    netlink.links()
    netlink.default_route_interfaces()
    with pytest.raises(OSError, match="No such device"):
        netlink.link(2_000_000_000)
    assert len(os.listdir("/proc/self/fd")) == before


def route(*parts: bytes, destination_len: int = 0, table: int = 254, kind: int = 1) -> bytes:
    header = struct.pack("=BBBBBBBBI", 2, destination_len, 0, 0, table, 0, 0, kind, 0)
    return header + b"".join(parts)


def hop(ifindex: int, size: int = 8) -> bytes:
    return struct.pack("=HBBi", size, 0, 0, ifindex) + bytes(max(0, size - 8))


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (route(number(4, 3)), [3]),
        (route(attribute(9, hop(3) + hop(5, 16) + hop(7))), [3, 5, 7]),
        (route(number(4, 3), destination_len=24), []),
        (route(number(4, 3), table=255), []),
        (route(number(4, 3), kind=6), []),
        (route(), []),
        (route(attribute(9, hop(3, 0) + hop(5, 1))), [3, 5]),
        (route(attribute(9, hop(3) + b"\x08\0")), [3]),
    ],
    ids=["one", "several", "no default", "local", "blackhole", "bare", "no size", "cut short"],
)
def test_default_routes(payload: bytes, expected: list[int]) -> None:
    assert netlink._default_route(payload) == expected
