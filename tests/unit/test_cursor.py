"""Reads never pass the end of the data or of a block, whatever lengths the bytes claim."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.names.cursor import Cursor, ParseError, TruncatedError

DATA = bytes(range(1, 11))


def test_integers_are_in_network_order_and_reads_go_forwards() -> None:
    cursor = Cursor(DATA)
    assert cursor.u8() == 1
    assert cursor.u16() == 0x0203
    assert cursor.u24() == 0x040506
    assert cursor.u32() == 0x0708090A
    assert (cursor.position, cursor.remaining) == (10, 0)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_taken_from_whatever_holds_them(kind: type) -> None:
    cursor = Cursor(kind(DATA))
    assert cursor.take(2) == DATA[:2]
    cursor.skip(1)
    assert cursor.unpack(struct.Struct(">BH")) == (4, 0x0506)
    assert cursor.rest() == DATA[6:]
    assert type(Cursor(kind(DATA)).take(1)) is bytes


@pytest.mark.parametrize("name", ["u8", "u16", "u24", "u32"])
def test_an_integer_that_is_cut_is_truncated_and_moves_nothing(name: str) -> None:
    size = int(name[1:]) // 8
    for length in range(size):
        cursor = Cursor(DATA[:length])
        with pytest.raises(TruncatedError):
            getattr(cursor, name)()
        assert cursor.position == 0


def test_more_than_is_there_cannot_be_taken_skipped_or_unpacked() -> None:
    cursor = Cursor(DATA)
    for read in (cursor.take, cursor.skip):
        with pytest.raises(TruncatedError):
            read(11)
        with pytest.raises(ParseError):
            read(-1)
    with pytest.raises(TruncatedError):
        cursor.unpack(struct.Struct("11s"))
    assert cursor.rest() == DATA


def test_every_read_counts_as_one() -> None:
    cursor = Cursor(DATA)
    cursor.u8()
    cursor.take(3)
    with cursor.block(2):
        cursor.u16()
    cursor.maybe_line()
    assert cursor.reads == 4


def test_a_block_ends_where_it_says() -> None:
    cursor = Cursor(DATA)
    with cursor.block(3) as inner:
        assert inner is cursor
        assert inner.remaining == 3
        with pytest.raises(ParseError) as raised:
            inner.take(4)
        assert not isinstance(raised.value, TruncatedError), "more data would not help"
        inner.skip(3)
    assert cursor.remaining == 7


def test_a_block_must_be_read_to_its_end() -> None:
    cursor = Cursor(DATA)
    with pytest.raises(ParseError, match="1 bytes of a block unread"), cursor.block(3):
        cursor.u16()
    with cursor.block(2):
        cursor.rest()
    assert cursor.u8() == 5


def test_an_error_in_a_block_is_what_comes_out_of_it() -> None:
    cursor = Cursor(DATA)
    with pytest.raises(ZeroDivisionError), cursor.block(3):
        raise ZeroDivisionError
    assert cursor.remaining == 10


def test_blocks_nest_and_none_is_longer_than_what_holds_it() -> None:
    cursor = Cursor(DATA)
    with cursor.block(5):
        with cursor.block(2):
            assert cursor.u16() == 0x0102
        with pytest.raises(ParseError):
            cursor.block(4)
        assert cursor.rest() == DATA[2:5]
    with pytest.raises(TruncatedError):
        cursor.block(6)
    with pytest.raises(ParseError):
        cursor.block(-1)


def test_seeking_stays_in_the_data() -> None:
    cursor = Cursor(DATA)
    cursor.skip(4)
    cursor.seek(0)
    assert cursor.u8() == 1
    for position in (-1, 11):
        with pytest.raises(ParseError):
            cursor.seek(position)


def test_lines_end_at_a_line_feed_within_the_block() -> None:
    cursor = Cursor(b"one\r\ntwo\nthree\n")
    assert cursor.maybe_line() == b"one\r"
    with cursor.block(4):
        assert cursor.maybe_line() == b"two"
        assert cursor.maybe_line() is None
    with cursor.block(5):
        assert cursor.maybe_line() is None
        assert cursor.rest() == b"three"


@given(
    st.binary(max_size=40),
    st.lists(
        st.tuples(
            st.sampled_from(["u8", "u16", "u24", "u32", "take", "skip", "seek", "block"]),
            st.integers(-5, 50),
        )
    ),
)
def test_nothing_but_a_parse_error_comes_out_of_any_reads(
    data: bytes, reads: list[tuple[str, int]]
) -> None:
    cursor = Cursor(data)
    for name, number in reads:
        try:
            if name == "block":
                with cursor.block(number):
                    assert cursor.rest() is not None
            elif name[0] == "u":
                getattr(cursor, name)()
            else:
                getattr(cursor, name)(number)
        except ParseError:
            pass
        assert 0 <= cursor.position <= len(data)
        assert cursor.position + cursor.remaining == len(data)
