"""Names with pointers: read as they were meant, and no pointer leads astray."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.names.cursor import Cursor, ParseError, TruncatedError
from exporter.names.dns_name import LABELS_MAX, POINTERS_MAX, LimitError, NameReader
from tests.dns_messages import pointer, wire

LABEL_63 = b"a" * 63


def read_text(data: bytes, at: int = 0) -> str | None:
    cursor = Cursor(data)
    cursor.seek(at)
    return NameReader(cursor).read_name().text


def test_labels_up_to_the_root() -> None:
    assert read_text(wire("www.Example.COM")) == "www.example.com"
    assert read_text(wire("com")) == "com"


def test_the_root_is_no_host_name() -> None:
    assert read_text(b"\0") is None


def test_a_pointer_stands_for_the_rest_of_a_name_and_the_cursor_is_left_behind_it() -> None:
    cursor = Cursor(wire("example.com") + b"\x03www" + pointer(0) + pointer(8) + b"rest")
    names = NameReader(cursor)
    assert names.read_name().text == "example.com"
    assert names.read_name().text == "www.example.com"
    assert names.read_name().text == "com"
    assert cursor.rest() == b"rest"


def test_a_pointer_may_lead_to_a_pointer() -> None:
    data = wire("com") + b"\x07example" + pointer(0) + b"\x03www" + pointer(5) + pointer(15)
    assert read_text(data, at=len(data) - 2) == "www.example.com"


def test_a_pointer_to_the_root_ends_a_name() -> None:
    assert read_text(b"\0\x03com" + pointer(0), at=1) == "com"


def test_a_name_in_a_block_may_point_out_of_it_only_backwards() -> None:
    cursor = Cursor(wire("com") + b"\x07example" + pointer(0) + wire("org"))
    cursor.skip(5)
    with cursor.block(10):
        assert NameReader(cursor).read_name().text == "example.com"


@pytest.mark.parametrize(
    ("data", "at"),
    [
        (pointer(0), 0),
        (pointer(2) + wire("com"), 0),
        (b"\x01a" + pointer(0), 0),
        (b"\x01a" + pointer(4) + b"\x01b" + pointer(0), 0),
        (b"\x01a" + pointer(2), 0),
        (b"\x01a" + pointer(0x3FFF), 0),
        (b"\x01a\x01b" + pointer(2), 0),
        (pointer(2) + pointer(0), 2),
    ],
)
def test_a_pointer_that_does_not_point_backwards_is_an_error(data: bytes, at: int) -> None:
    with pytest.raises(ParseError, match="not before it"):
        read_text(data, at)


@pytest.mark.parametrize("first", [0x40, 0x41, 0x7F, 0x80, 0xBF])
def test_other_types_of_labels_are_errors(first: int) -> None:
    with pytest.raises(ParseError, match="type"):
        read_text(bytes([first]) + bytes(200))


def test_a_name_takes_at_most_255_bytes() -> None:
    longest = b".".join([LABEL_63] * 3 + [b"a" * 61])
    assert read_text(wire(longest)) == longest.decode()
    for labels in ([LABEL_63] * 3 + [b"a" * 62], [b"a"] * 128):
        with pytest.raises(ParseError, match="255"):
            read_text(wire(b".".join(labels)))
    too_long = wire(b".".join([LABEL_63] * 3)) + b"\x3e" + b"a" * 62 + pointer(0)
    with pytest.raises(ParseError, match="255"):
        read_text(too_long, at=3 * 64 + 1)


def test_a_name_without_an_end_is_malformed_not_merely_long() -> None:
    with pytest.raises(ParseError, match="255"):
        read_text(b"\x01a" * 2 * LABELS_MAX)


def test_a_dot_in_a_label_makes_no_two_labels_of_it() -> None:
    assert read_text(b"\x0bexample.com\0") is None
    assert read_text(b"\x03a.b\x03com\0") is None
    assert read_text(b"\x01.\0") is None


def chain(length: int) -> tuple[bytes, int]:
    """A name at 0, and so many pointers, each to the one before it; where the last is."""
    data = wire("com")
    at = 0
    for _ in range(length):
        data, at = data + pointer(at), len(data)
    return data, at


def test_a_name_has_a_limited_number_of_pointers() -> None:
    assert read_text(*chain(POINTERS_MAX)) == "com"
    with pytest.raises(ParseError, match="pointers"):
        read_text(*chain(POINTERS_MAX + 1))


def test_what_one_points_at_is_read_once() -> None:
    data = wire(b".".join([b"a"] * 120))
    here = len(data)
    cursor = Cursor(data + pointer(0) * 1000)
    cursor.seek(here)
    names = NameReader(cursor)
    assert len({names.read_name() for _ in range(1000)}) == 1
    assert cursor.reads < 2 * 1000 + 2 * 121 + 2


def test_a_message_has_a_limited_number_of_labels_also_behind_pointers() -> None:
    data = wire(b".".join([b"a"] * 120))
    here = len(data)
    cursor = Cursor(data + (b"\x01b" + pointer(0)) * LABELS_MAX)
    cursor.seek(here)
    names = NameReader(cursor)
    with pytest.raises(LimitError):
        [names.read_name() for _ in range(LABELS_MAX // 120)]


def test_a_name_that_ends_early_is_truncated() -> None:
    data = wire("example.com") + b"\x03www" + pointer(0)
    for end in range(13, len(data)):
        with pytest.raises(TruncatedError):
            read_text(data[:end], at=13)


@given(st.binary(min_size=1, max_size=300), st.integers(0, 299))
def test_only_a_parse_error_comes_out_of_random_bytes(data: bytes, at: int) -> None:
    with contextlib.suppress(ParseError):
        read_text(data, at)


@given(
    st.lists(st.sampled_from([wire("a.b"), b"\x01a", b"\x02bc", b"\0", *map(pointer, range(24))]))
)
def test_names_made_of_real_parts_end_within_the_data(parts: list[bytes]) -> None:
    data = b"".join(parts)
    cursor = Cursor(data)
    names = NameReader(cursor)
    try:
        while cursor.remaining:
            before = cursor.position
            name = names.read_name()
            assert cursor.position > before
            assert name.wire_len == 1 + sum(1 + len(label) for label in name.labels) <= 255
    except ParseError:
        pass
