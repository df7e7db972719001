"""Of TCP are sent: ClientHellos until they are whole, and the heads of requests."""

from __future__ import annotations

import pytest

from tests.hellos import in_records, named
from tests.kernel.harness import Kernel
from tests.kernel.samples import (
    HELLO,
    LARGE_HELLO,
    LONGEST_HELLO,
    NOISE,
    REQUEST,
    RESPONSE,
    UNKNOWN_PACKETS,
    either_family,
)
from tests.kernel.talk import Talk, stream_of


@either_family
@pytest.mark.parametrize("port", [443, 1, 8443, 65535])
def test_a_client_hello_is_sent_on_any_port(kernel: Kernel, family: int, port: int) -> None:
    talk = Talk(kernel, port, family)
    talk.open()
    talk.tcp(HELLO)
    assert talk.sent() == [HELLO]


@pytest.mark.parametrize("length", [1, 2, 5, 6, 8, 9, 100, 536, 1448])
def test_a_client_hello_is_sent_whole_whatever_its_first_segment_is(
    kernel: Kernel, length: int
) -> None:
    talk = Talk(kernel, 443)
    talk.open()
    talk.tcp(LARGE_HELLO[:length])
    talk.segments(LARGE_HELLO[length:], 1448, length)
    assert stream_of(kernel.payloads()) == LARGE_HELLO


@pytest.mark.parametrize("length", [536, 1200, 1448, 8000, 1 << 15])
@pytest.mark.parametrize("before", [0, 3])
def test_the_longest_client_hello_is_sent_whole(kernel: Kernel, length: int, before: int) -> None:
    """In segments of any size that is in use; in chunks, of a super-packet."""
    talk = Talk(kernel, 443)
    for _ in range(before):
        talk.tcp(b"EHLO me\r\n")
    talk.sent()
    talk.segments(LONGEST_HELLO, length)
    assert stream_of(kernel.payloads()) == LONGEST_HELLO


@pytest.mark.parametrize("fragment_len", [1, 2, 3, 16, 64, 1000])
def test_a_client_hello_in_many_records_is_sent_whole(kernel: Kernel, fragment_len: int) -> None:
    stream = in_records(named(b"a.test", padded_to=min(1 << 14, 1000 * fragment_len)), fragment_len)
    talk = Talk(kernel, 443)
    talk.segments(stream, 1448)
    assert stream_of(kernel.payloads()) == stream


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (0, 2, 1), (1, 2, 0), (2, 0, 1)])
def test_segments_of_a_client_hello_may_come_in_any_order(
    kernel: Kernel, order: tuple[int, ...]
) -> None:
    talk = Talk(kernel, 443)
    talk.open()
    for number in order:
        start = number * 1448
        talk.tcp(LARGE_HELLO[start : start + 1448], start)
    assert stream_of(kernel.payloads()) == LARGE_HELLO


def test_a_segment_that_is_sent_again_is_sent_again(kernel: Kernel) -> None:
    """Whoever reads may have lost the first."""
    talk = Talk(kernel, 443)
    for _ in range(2):
        talk.segments(LARGE_HELLO, 1448)
    assert len(talk.sent()) == 2 * -(-len(LARGE_HELLO) // 1448)


def test_nothing_of_what_follows_a_client_hello_is_sent(kernel: Kernel) -> None:
    talk = Talk(kernel, 443)
    talk.open()
    talk.tcp(HELLO)
    talk.tcp(NOISE, len(HELLO))
    talk.tcp(NOISE, from_client=False)
    assert talk.sent() == [HELLO]


def test_of_a_segment_only_the_client_hello_is_sent(kernel: Kernel) -> None:
    """What follows in it is early data."""
    talk = Talk(kernel, 443)
    talk.tcp(HELLO + NOISE)
    assert talk.sent() == [HELLO]


def test_a_client_hello_after_other_data_is_sent(kernel: Kernel) -> None:
    """STARTTLS, and a proxy's CONNECT."""
    talk = Talk(kernel, 25)
    talk.open()
    talk.tcp(b"220 mail.test ESMTP\r\n", from_client=False)
    for line in (b"EHLO me\r\n", b"HELP\r\n", b"NOOP\r\n", b"NOOP\r\n", b"STARTTLS\r\n"):
        talk.tcp(line)
        talk.tcp(b"250 OK\r\n", from_client=False)
    talk.sent()
    talk.segments(LARGE_HELLO, 1448)
    assert stream_of(kernel.payloads()) == LARGE_HELLO


def test_a_client_hello_is_sent_whoever_seems_to_have_opened_the_connection(
    kernel: Kernel,
) -> None:
    """The first packet that was seen of it was the server's."""
    talk = Talk(kernel, 443)
    talk.tcp(b"", from_client=False)
    talk.segments(LARGE_HELLO, 1448)
    assert stream_of(kernel.payloads()) == LARGE_HELLO


def test_a_client_hello_that_comes_with_the_syn_has_its_place(kernel: Kernel) -> None:
    """TCP Fast Open, RFC 7413: the SYN takes a number of its own."""
    talk = Talk(kernel, 443)
    talk.tcp(LARGE_HELLO[:1400], -1, flags="S")
    talk.tcp(LARGE_HELLO[1400:], 1400)
    assert stream_of(kernel.payloads()) == LARGE_HELLO


@pytest.mark.parametrize("method", [b"GET", b"POST", b"OPTIONS", b"CONNECT", b"PRI", b"ACL"])
def test_requests_are_sent_and_responses_are_not(kernel: Kernel, method: bytes) -> None:
    talk = Talk(kernel, 8080)
    request = REQUEST.replace(b"GET", method)
    for n in range(UNKNOWN_PACKETS + 2):
        talk.tcp(request, n * len(request))
        talk.tcp(RESPONSE, n * len(RESPONSE), from_client=False)
    assert talk.sent() == [request] * (UNKNOWN_PACKETS + 2)


def test_a_request_is_sent_over_several_segments(kernel: Kernel) -> None:
    head = b"GET / HTTP/1.1\r\nCookie: " + b"c" * 6000 + b"\r\nHost: a.test\r\n\r\n"
    talk = Talk(kernel, 80)
    talk.open()
    talk.segments(head, 1000)
    assert stream_of(kernel.payloads()) == head


def test_after_connect_the_inner_client_hello_is_sent(kernel: Kernel) -> None:
    talk = Talk(kernel, 3128)
    connect = b"CONNECT a.test:443 HTTP/1.1\r\n\r\n"
    talk.open()
    talk.tcp(connect)
    talk.tcp(RESPONSE, from_client=False)
    talk.segments(LARGE_HELLO, 1448, len(connect))
    assert stream_of(kernel.payloads()) == connect + LARGE_HELLO


def test_of_a_body_no_more_is_sent_than_a_head_may_have(kernel: Kernel) -> None:
    talk = Talk(kernel, 80)
    talk.open()
    talk.tcp(REQUEST)
    talk.segments(bytes(30000), 1448, len(REQUEST))
    assert sum(map(len, talk.sent())) == 8192
