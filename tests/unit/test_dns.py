"""What DNS messages say is what comes out, and nothing that they do not say."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.names import dns
from exporter.names.cursor import ParseError, TruncatedError
from exporter.names.dns import (
    AAAA,
    CNAME,
    HINTS_MAX,
    HTTPS,
    RECORDS_MAX,
    SERVICES_MAX,
    SVCB,
    A,
    Message,
    Question,
    Record,
    maybe_message,
    parse_message,
)
from exporter.names.dns_name import LABELS_MAX
from tests.corpus import dns_payloads
from tests.dns_messages import (
    AT_QUESTION,
    HEADER_LEN,
    QUERY_FLAGS,
    RESPONSE_FLAGS,
    TRUNCATED,
    costly_messages,
    message,
    pointer,
    question,
    record,
    service,
    wire,
)
from tests.reads import counted_reads

READS_MAX = 1 + 2 * (LABELS_MAX + 128) + 2 * RECORDS_MAX + 20 * SERVICES_MAX
"""Of a label two, also of a name that goes beyond the limit; of a record two, and of an HTTPS
record's data so many."""

HERE = pointer(AT_QUESTION)
V4, V6 = bytes([192, 0, 2, 1]), bytes.fromhex("20010db8000000000000000000000001")
OPT_TYPE, TXT_TYPE = 41, 16
AT_ANSWER_DATA = HEADER_LEN + len(question("www.example.com")) + 12

ANSWER = message(
    [question("www.example.com")],
    [
        record(HERE, CNAME, b"\x03cdn" + pointer(AT_QUESTION + 4), ttl=300),
        record(pointer(AT_ANSWER_DATA), A, V4, ttl=30),
        record(pointer(AT_ANSWER_DATA), AAAA, V6, ttl=40),
    ],
    [record(pointer(AT_QUESTION + 4), 2, wire("ns.example.com"))],
    [record(wire("ns.example.com"), A, V4), record(b"\0", OPT_TYPE, b"", 0x8000, rclass=1232)],
)
SERVICE = message(
    [question("example.com", HTTPS)],
    [
        record(
            HERE,
            HTTPS,
            service(b"\0", (1, b"\x02h2"), (3, b"\x01\xbb"), (4, V4 * 2), (6, V6), (7, b"/dns")),
        ),
        record(HERE, SVCB, service(wire("svc.example.net"), (4, V4), priority=2)),
    ],
)
QUESTION_ALONE = message([question("example.com", AAAA)], flags=QUERY_FLAGS)
SAMPLES = [ANSWER, SERVICE, QUESTION_ALONE]


def answers(*records: bytes, name: str = "example.com", flags: int = RESPONSE_FLAGS) -> bytes:
    return message([question(name)], records, flags=flags)


def test_a_question() -> None:
    assert parse_message(QUESTION_ALONE) == Message(
        id=0x1234,
        is_response=False,
        opcode=0,
        rcode=0,
        truncated=False,
        complete=True,
        questions=(Question("example.com", AAAA, 1),),
        answers=(),
        authority=(),
        additional=(),
    )


def test_an_answer_with_an_alias_and_pointers() -> None:
    parsed = parse_message(ANSWER)
    assert parsed.is_response
    assert parsed.questions == (Question("www.example.com", A, 1),)
    assert parsed.answers == (
        Record("www.example.com", CNAME, 300, (), "cdn.example.com"),
        Record("cdn.example.com", A, 30, (V4,), None),
        Record("cdn.example.com", AAAA, 40, (V6,), None),
    )
    assert parsed.authority == ()
    assert parsed.additional == (Record("ns.example.com", A, 60, (V4,), None),)


def test_hints_of_service_records() -> None:
    assert parse_message(SERVICE).answers == (
        Record("example.com", HTTPS, 60, (V4, V4, V6), "example.com"),
        Record("example.com", SVCB, 60, (V4,), "svc.example.net"),
    )


def test_an_alias_of_a_service_has_a_target_and_no_hints() -> None:
    parsed = parse_message(
        answers(
            record(HERE, HTTPS, service(wire("pool.example.net"), (6, b"odd"), priority=0)),
            record(HERE, HTTPS, service(b"\0", priority=0)),
        )
    )
    assert [(found.target, found.addresses) for found in parsed.answers] == [
        ("pool.example.net", ()),
        (None, ()),
    ]


def test_of_many_hints_the_first_are_taken() -> None:
    many = b"".join(struct.pack(">I", number) for number in range(100))
    (found,) = parse_message(answers(record(HERE, HTTPS, service(b"\0", (4, many))))).answers
    assert found.addresses == tuple(struct.pack(">I", number) for number in range(HINTS_MAX))


def test_the_rcode_has_the_upper_bits_of_edns() -> None:
    options = record(b"\0", OPT_TYPE, b"\0\x0a\0\x08" + bytes(8), ttl=0x01000000, rclass=4096)
    assert parse_message(message((), (), (), [options], flags=0x8185)).rcode == 0x15
    assert parse_message(message((), [options], flags=0x8185)).rcode == 5, "not where OPT belongs"


def test_flags() -> None:
    assert parse_message(message(flags=0x8583)).rcode == 3
    assert parse_message(message(flags=0x2800)).opcode == 5
    assert parse_message(message(flags=TRUNCATED)).truncated


@pytest.mark.parametrize("opcode", range(1, 16))
def test_records_of_other_opcodes_mean_other_things(opcode: int) -> None:
    parsed = parse_message(answers(record(HERE, A, V4), record(HERE, A, b""), flags=opcode << 11))
    assert parsed.complete
    assert parsed.answers == ()


def test_records_of_other_classes_and_types_are_skipped() -> None:
    parsed = parse_message(
        answers(
            record(HERE, A, b"chaos", rclass=3),
            record(HERE, TXT_TYPE, b"\x05hello"),
            record(HERE, A, V4),
        )
    )
    assert parsed.answers == (Record("example.com", A, 60, (V4,), None),)


def test_a_ttl_of_more_than_31_bits_is_none() -> None:
    parsed = parse_message(answers(record(HERE, A, V4, ttl=0x80000000)))
    assert parsed.answers[0].ttl == 0


@pytest.mark.parametrize(
    "raw", [b"", b"*.example.com", b"a b.example.com", b"\xff.example.com", b"192.0.2.1"]
)
def test_a_name_that_is_no_host_name_is_none_and_the_message_parses(raw: bytes) -> None:
    parsed = parse_message(message([question(raw)], [record(HERE, CNAME, wire(raw))]))
    assert parsed.questions[0].name is None
    assert (parsed.answers[0].owner, parsed.answers[0].target) == (None, None)


@pytest.mark.parametrize(
    "data",
    [
        record(HERE, A, V4[:3]),
        record(HERE, A, V4 + b"\0"),
        record(HERE, AAAA, V4),
        record(HERE, A, b""),
        record(HERE, CNAME, wire("a.example") + b"\0"),
        record(HERE, CNAME, b"\x09short"),
        record(HERE, CNAME, b""),
        record(HERE, HTTPS, b"\0"),
        record(HERE, HTTPS, b"\0\x01"),
        record(HERE, HTTPS, service(b"\0", (4, b""))),
        record(HERE, HTTPS, service(b"\0", (4, V4 + b"\0"))),
        record(HERE, HTTPS, service(b"\0", (6, V4))),
        record(HERE, HTTPS, service(b"\0", (4, V4), (4, V4))),
        record(HERE, HTTPS, service(b"\0", (4, V4), (1, b"\x02h2"))),
        record(HERE, HTTPS, service(b"\0") + b"\0\x04\0\x09" + V4),
    ],
)
def test_malformed_data_of_a_record_spoils_the_message(data: bytes) -> None:
    for partial in (False, True):
        with pytest.raises(ParseError):
            parse_message(answers(data, record(HERE, A, V4)), partial=partial)


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_message_that_ends_early_is_truncated_unless_that_was_to_be_expected(
    sample: bytes,
) -> None:
    whole = parse_message(sample)
    for length in range(len(sample)):
        with pytest.raises(TruncatedError):
            parse_message(sample[:length])
        if length < HEADER_LEN:
            with pytest.raises(TruncatedError):
                parse_message(sample[:length], partial=True)
            continue
        part = parse_message(sample[:length], partial=True)
        assert not part.complete
        for had, all_of_it in zip(part[6:], whole[6:], strict=True):
            assert had == all_of_it[: len(had)]
    assert parse_message(sample, partial=True) == whole


def test_a_cut_message_gives_each_part_that_is_whole() -> None:
    end_of_question = HEADER_LEN + len(question("www.example.com"))
    assert len(parse_message(ANSWER[:end_of_question], partial=True).questions) == 1
    assert parse_message(ANSWER[: end_of_question - 1], partial=True).questions == ()
    assert len(parse_message(ANSWER[:-11], partial=True).additional) == 1


def test_a_server_that_truncates_may_leave_out_what_it_counted() -> None:
    sample = answers(record(HERE, A, V4), record(HERE, A, V4), flags=RESPONSE_FLAGS | TRUNCATED)
    parsed = parse_message(sample[:-16])
    assert (parsed.truncated, parsed.complete, len(parsed.answers)) == (True, False, 1)


@pytest.mark.parametrize("sample", SAMPLES)
def test_bytes_behind_the_last_record_are_ignored(sample: bytes) -> None:
    assert parse_message(sample + b"\xff" * 20) == parse_message(sample)


def test_more_records_than_are_read_leave_the_message_incomplete() -> None:
    some = [record(HERE, A, V4)] * (RECORDS_MAX - 1)
    assert parse_message(answers(*some)).complete
    parsed = parse_message(answers(*some, record(HERE, A, V4)))
    assert not parsed.complete
    assert len(parsed.answers) == RECORDS_MAX - 1


def test_more_labels_than_are_read_leave_the_message_incomplete() -> None:
    owner = wire(b".".join([b"a"] * 120))
    parsed = parse_message(answers(*[record(owner, A, V4)] * 100))
    assert not parsed.complete
    assert len(parsed.answers) == LABELS_MAX // 121


def test_more_service_records_than_are_read_leave_the_message_incomplete() -> None:
    some = [record(HERE, HTTPS, service(b"\0", (4, V4)))] * SERVICES_MAX
    assert parse_message(answers(*some)).complete
    parsed = parse_message(answers(*some, some[0], record(HERE, A, V4)))
    assert not parsed.complete
    assert len(parsed.answers) == SERVICES_MAX


def test_messages_of_a_stream_come_one_after_the_other() -> None:
    stream = b"".join(struct.pack(">H", len(sample)) + sample for sample in SAMPLES)
    found = []
    while stream:
        first = maybe_message(stream)
        assert first is not None
        found.append(first[0])
        stream = stream[first[1] :]
    assert found == [parse_message(sample) for sample in SAMPLES]


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_stream_is_read_as_soon_as_a_message_is_complete(sample: bytes) -> None:
    stream = struct.pack(">H", len(sample)) + sample
    for length in range(len(stream)):
        assert maybe_message(stream[:length]) is None
    expected = (parse_message(sample), len(stream))
    assert maybe_message(stream) == maybe_message(stream + b"\0\x0c") == expected
    assert maybe_message(memoryview(stream)) == expected


def test_a_message_of_a_stream_is_not_read_past_its_length() -> None:
    stream = struct.pack(">H", len(ANSWER) - 1) + ANSWER
    with pytest.raises(ParseError):
        maybe_message(stream)
    with pytest.raises(ParseError):
        maybe_message(b"\0\0" + ANSWER)


@pytest.mark.parametrize(("kind", "data"), costly_messages().items())
def test_64_kb_of_anything_take_a_bounded_number_of_reads(kind: str, data: bytes) -> None:
    with counted_reads(dns) as reads, contextlib.suppress(ParseError):
        parse_message(data, partial=True)
    assert reads.total <= READS_MAX, kind


def read_all(data: bytes) -> None:
    """Every way to read it, each of which ends in a message or in ParseError."""
    for partial in (False, True):
        with counted_reads(dns) as reads, contextlib.suppress(ParseError):
            parse_message(data, partial=partial)
        assert reads.total <= READS_MAX
    with contextlib.suppress(ParseError):
        maybe_message(data)


@given(st.binary(max_size=600))
def test_only_a_parse_error_comes_out_of_random_bytes(data: bytes) -> None:
    read_all(data)
    read_all(ANSWER[:HEADER_LEN] + data)


@given(st.data())
@settings(max_examples=300)
def test_only_a_parse_error_comes_out_of_mutated_messages(data: st.DataObject) -> None:
    sample = bytearray(data.draw(st.sampled_from([*SAMPLES, *dns_payloads()[::25]])))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(sample) - 1))
        sample[at] = data.draw(st.sampled_from([0, 1, 4, 12, 0x3F, 0x40, 0xC0, 0xFF]))
    read_all(bytes(sample[: data.draw(st.integers(0, len(sample)))]))
    read_all(bytes(sample))
