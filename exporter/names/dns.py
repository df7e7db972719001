"""DNS messages: what was asked, and which addresses and names were the answer.

    header ──► questions ──► answers · authority · additional        RFC 1035, 4.1
                                 └─ A, AAAA, CNAME, HTTPS, SVCB; OPT for the rcode; others skipped

Malformed is an error, and nothing of the message is believed. Incomplete is not: of a message that
was cut (by the capture, by the server, by the limits below) every part that is whole is given, and
`complete` is False. Bytes behind the last record are ignored, as resolvers do.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from exporter.names.cursor import Cursor, ParseError, TruncatedError
from exporter.names.dns_name import LimitError, NameReader

A = 1
CNAME = 5
AAAA = 28
OPT = 41
SVCB = 64
HTTPS = 65

QUERY = 0
"""The opcode of questions and their answers. Records of messages with another mean other things
(RFC 2136, 2; of RFC 1035, 6.4 the answer is the question), so they are passed over."""

RECORDS_MAX = 1024
"""Questions and records read of a message: Kubernetes keeps to 1,000 endpoints of a service, the
most that is seen in practice. A message can hold 13,000, at 2 to 6 microseconds each."""
SERVICES_MAX = 64
"""HTTPS and SVCB records read of a message: a service has one for each of its few providers."""
HINTS_MAX = 8
"""Addresses of a family taken from one of them."""

_IN = 1
_HEADER = struct.Struct(">HHHHHH")
_QUESTION = struct.Struct(">HH")
_RECORD = struct.Struct(">HHIH")
_PARAMETER = struct.Struct(">HH")
_ADDRESS_LENS = {A: 4, AAAA: 16}
_READ = {*_ADDRESS_LENS, CNAME, SVCB, HTTPS}
_IPV6_HINT = 6
_HINT_LENS = {4: 4, _IPV6_HINT: 16}
"""Keys of the service parameters `ipv4hint` and `ipv6hint`, and bytes of an address."""
_TTL_MAX = 0x7FFFFFFF


class Question(NamedTuple):
    """What was asked."""

    name: str | None
    """In lower case; None where it is no host name."""
    qtype: int
    qclass: int


class Record(NamedTuple):
    """A resource record of class IN that leads to an address."""

    owner: str | None
    """In lower case; None where it is no host name."""
    rtype: int
    """A, AAAA, CNAME, HTTPS or SVCB."""
    ttl: int
    """Seconds."""
    addresses: tuple[bytes, ...]
    """4 or 16 bytes each: one of an A or AAAA, the hints of an HTTPS or SVCB."""
    target: str | None
    """Of a CNAME, HTTPS or SVCB; None where it is no host name, or stands for no host."""


class Message(NamedTuple):
    """A DNS message, as far as it leads from names to addresses."""

    id: int
    is_response: bool
    opcode: int
    rcode: int
    """With the upper bits of EDNS, where the message has them (RFC 6891, 6.1.3)."""
    truncated: bool
    """The server says that there is more than it sends (TC)."""
    complete: bool
    """All parts that the header counts were there and read."""
    questions: tuple[Question, ...]
    answers: tuple[Record, ...]
    authority: tuple[Record, ...]
    additional: tuple[Record, ...]


def parse_message(data: bytes | memoryview, *, partial: bool = False) -> Message:
    """A DNS message without a length before it, as in a UDP datagram.

    With *partial* the data may end early, as what a capture cut does, and the message then holds
    the parts before that; so does one that the server truncated. Without its 12 bytes of header
    nothing is a message. Raises ParseError.
    """
    return _MessageReader(data).read(partial)


def maybe_message(stream: bytes | memoryview) -> tuple[Message, int] | None:
    """The first message of a DNS over TCP stream and how many bytes it takes, its length included.

    None while it is not complete. Messages follow each other without a gap (RFC 7766, 8). Raises
    ParseError.
    """
    if len(stream) < 2:
        return None
    end = 2 + (stream[0] << 8 | stream[1])
    if len(stream) < end:
        return None
    return parse_message(stream[2:end]), end


class _MessageReader:
    """Reads one message."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._cursor = Cursor(data)
        self._names = NameReader(self._cursor)
        self._opcode = QUERY
        self._services_left = SERVICES_MAX
        self._extended_rcode = 0
        self._questions: list[Question] = []
        self._sections: tuple[list[Record], ...] = ([], [], [])

    def read(self, partial: bool) -> Message:
        message_id, flags, *counts = self._cursor.unpack(_HEADER)
        truncated = bool(flags & 0x0200)
        self._opcode = flags >> 11 & 0xF
        complete = False
        try:
            self._read_sections(counts)
            complete = True
        except LimitError:
            pass
        except TruncatedError:
            if not (partial or truncated):
                raise
        answers, authority, additional = map(tuple, self._sections)
        return Message(
            id=message_id,
            is_response=bool(flags & 0x8000),
            opcode=self._opcode,
            rcode=self._extended_rcode << 4 | flags & 0xF,
            truncated=truncated,
            complete=complete,
            questions=tuple(self._questions),
            answers=answers,
            authority=authority,
            additional=additional,
        )

    def _read_sections(self, counts: list[int]) -> None:
        left = RECORDS_MAX
        for section, count in enumerate(counts):
            for _ in range(min(count, left)):
                if section == 0:
                    self._read_question()
                else:
                    self._read_record(self._sections[section - 1])
            left -= count
            if left < 0:
                raise LimitError(f"more than {RECORDS_MAX} records")

    def _read_question(self) -> None:
        name = self._names.read_name()
        self._questions.append(Question(name.text, *self._cursor.unpack(_QUESTION)))

    def _read_record(self, section: list[Record]) -> None:
        cursor = self._cursor
        owner = self._names.read_name().text
        rtype, rclass, ttl, length = cursor.unpack(_RECORD)
        if rtype == OPT and section is self._sections[-1]:
            self._extended_rcode = ttl >> 24
        target: str | None = None
        addresses: tuple[bytes, ...] = ()
        with cursor.block(length):
            if rclass != _IN or rtype not in _READ or self._opcode != QUERY:
                cursor.rest()
                return
            if rtype == CNAME:
                target = self._names.read_name().text
            elif rtype in _ADDRESS_LENS:
                addresses = (cursor.take(_ADDRESS_LENS[rtype]),)
            else:
                self._services_left -= 1
                if self._services_left < 0:
                    raise LimitError(f"more than {SERVICES_MAX} service records")
                target, addresses = self._read_service(owner)
        # RFC 2181, 8: a TTL of more than 31 bits is 0.
        section.append(Record(owner, rtype, ttl if ttl <= _TTL_MAX else 0, addresses, target))

    def _read_service(self, owner: str | None) -> tuple[str | None, tuple[bytes, ...]]:
        """Target and hints of an HTTPS or SVCB record: RFC 9460, 2.2."""
        cursor = self._cursor
        priority = cursor.u16()
        target = self._names.read_name()
        if priority == 0:
            # RFC 9460, 2.4.2: an alias has no parameters; one to the root says that there is none.
            cursor.rest()
            return target.text, ()
        hints: tuple[bytes, ...] = ()
        last_key = -1
        # Keys ascend, so behind this one there are no hints.
        while cursor.remaining and last_key < _IPV6_HINT:
            key, length = cursor.unpack(_PARAMETER)
            if key <= last_key:
                raise ParseError(f"service parameter {key} after {last_key}")
            last_key = key
            if key in _HINT_LENS:
                hints += self._read_hints(_HINT_LENS[key], length)
            else:
                cursor.skip(length)
        cursor.rest()
        # RFC 9460, 2.5.2: here the root stands for the owner.
        return target.text if target.labels else owner, hints

    def _read_hints(self, size: int, length: int) -> tuple[bytes, ...]:
        """Addresses of *size* bytes each that fill *length*: RFC 9460, 7.3."""
        if length == 0 or length % size:
            raise ParseError(f"address hints of {length} bytes")
        taken = self._cursor.take(min(length, HINTS_MAX * size))
        self._cursor.skip(length - len(taken))
        return tuple(taken[at : at + size] for at in range(0, len(taken), size))
