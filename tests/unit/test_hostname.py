"""Only what a host name may consist of gets through, and addresses are told apart from names."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.names.cursor import ParseError
from exporter.names.hostname import is_ip_literal, maybe_host_name, parse_host_name

LABEL = b"a" * 63
LONGEST = b".".join([LABEL, LABEL, LABEL, b"a" * 61])

NAMES = {
    b"example.com": "example.com",
    b"WWW.Example.COM": "www.example.com",
    b"example.com.": "example.com",
    b"localhost": "localhost",
    b"_dmarc.example.com": "_dmarc.example.com",
    b"xn--mnchen-3ya.de": "xn--mnchen-3ya.de",
    b"-odd-.example": "-odd-.example",
    b"1.example": "1.example",
    b"dnscat.0021": "dnscat.0021",
    b"1.2.3": "1.2.3",
    b"1.2.3.4.5": "1.2.3.4.5",
    b"256.1.1.1": "256.1.1.1",
    LABEL: LABEL.decode(),
    LONGEST: LONGEST.decode(),
    LONGEST + b".": LONGEST.decode(),
}

NO_NAMES = [
    b"",
    b".",
    b"..",
    b".example.com",
    b"example..com",
    b"example.com..",
    b"a b",
    b"a\n",
    b"a.com\n",
    b"a\x00",
    b"a/b",
    b"*.example.com",
    b"example.com:443",
    b'a"b',
    b"a{b}",
    "münchen.de".encode(),
    b"\xff\xfe",
    b"\xd9\xa1.example",
    LABEL + b"a",
    LONGEST + b"a",
    LONGEST + b"a.",
    LONGEST + b"..",
    b"a" * 65536,
    b"a." * 32768,
]

ADDRESSES = [
    b"1.2.3.4",
    b"255.255.255.255",
    b"010.000.0.001",
    b"1.2.3.4.",
    b"::",
    b"::1",
    b"[::1]",
    b"2001:DB8::1",
    b"[2001:db8::1]",
    b"::ffff:1.2.3.4",
    b"fe80::1%eth0",
    b"[fe80::1%25eth0]",
]

NO_ADDRESSES = [
    b"",
    b"1.2.3",
    b"1.2.3.256",
    b"1.2.3.4.5",
    b"1.2.3.4:80",
    b"a.b.c.d",
    b":",
    b"[",
    b"[]",
    b"[1.2.3.4]",
    b"[::1",
    b"::1]",
    b"[::1]:80",
    b"1::2::3",
    b"::1\x00",
    b"\xff::1",
    b"::1%",
    b"::1%\xff",
    b"::1%a\n",
    b"example.com:443",
    b":" * 65536,
    b"0" * 65536,
    b"0" * 100 + b"1.1.1.1",
]


@pytest.mark.parametrize(("raw", "name"), NAMES.items())
def test_a_host_name_is_lower_case_without_its_trailing_dot(raw: bytes, name: str) -> None:
    assert parse_host_name(raw) == name
    assert maybe_host_name(raw) == name
    assert not is_ip_literal(raw)


@pytest.mark.parametrize("raw", NO_NAMES)
def test_anything_else_is_an_error_that_repeats_little_of_it(raw: bytes) -> None:
    assert maybe_host_name(raw) is None
    with pytest.raises(ParseError) as raised:
        parse_host_name(raw)
    assert len(str(raised.value)) < 200
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("raw", ADDRESSES)
def test_an_address_is_no_name(raw: bytes) -> None:
    assert is_ip_literal(raw)
    assert maybe_host_name(raw) is None
    with pytest.raises(ParseError):
        parse_host_name(raw)


@pytest.mark.parametrize("raw", NO_ADDRESSES)
def test_what_is_no_address(raw: bytes) -> None:
    assert not is_ip_literal(raw)


@given(st.ip_addresses())
def test_every_address_as_text_is_a_literal(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    assert is_ip_literal(str(address).encode())
    if address.version == 6:
        assert is_ip_literal(b"[%s]" % address.exploded.upper().encode())


@given(st.binary(max_size=300) | st.text("aA0-_.", max_size=300).map(str.encode))
def test_a_label_never_holds_what_a_name_must_not(raw: bytes) -> None:
    is_ip_literal(raw)
    name = maybe_host_name(raw)
    if name is not None:
        assert re.fullmatch(r"[a-z0-9_.-]{1,253}", name)
        assert all(1 <= len(label) <= 63 for label in name.split("."))
        assert parse_host_name(name.encode()) == name
