"""Scope, transport and role of a flow."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.capture.records import FLOW_EGRESS, FLOW_INGRESS, FLOW_OPENER, Flow
from exporter.names.remembered import Remembered
from exporter.names.scope import (
    NETWORKS_MAX,
    SCOPES_MAX,
    AddedLabels,
    Scopes,
    remote_of,
    role_of,
    transport_of,
)
from exporter.networks import Networks, parse_network


def packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def flow(direction: int, flags: int, protocol: int = 6) -> Flow:
    return Flow(0, direction, 1, 4, protocol, flags, packed("10.0.0.1"), packed("8.8.8.8"), 1, 443)


@pytest.mark.parametrize(
    ("address", "scope"),
    [
        ("8.8.8.8", "internet"),
        ("1.1.1.1", "internet"),
        ("9.255.255.255", "internet"),
        ("10.0.0.0", "private"),
        ("10.255.255.255", "private"),
        ("11.0.0.0", "internet"),
        ("100.63.255.255", "internet"),
        ("100.64.0.1", "private"),
        ("100.127.255.255", "private"),
        ("100.128.0.0", "internet"),
        ("172.15.255.255", "internet"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("172.32.0.0", "internet"),
        ("192.168.1.1", "private"),
        ("192.169.0.0", "internet"),
        ("192.0.0.8", "private"),
        ("192.0.0.9", "internet"),
        ("198.18.0.1", "private"),
        ("203.0.113.7", "private"),
        ("240.0.0.1", "private"),
        ("127.0.0.53", "local"),
        ("0.0.0.0", "local"),
        ("169.254.169.254", "local"),
        ("224.0.0.251", "local"),
        ("239.255.255.250", "local"),
        ("255.255.255.255", "local"),
        ("2606:4700:4700::1111", "internet"),
        ("64:ff9b::808:808", "internet"),
        ("2002:808:808::1", "internet"),
        ("64:ff9b:1::1", "private"),
        ("fd00::1", "private"),
        ("fc00::", "private"),
        ("2001:db8::1", "private"),
        ("fe80::1", "local"),
        ("::1", "local"),
        ("::", "local"),
        ("ff02::fb", "local"),
        ("ff0e::1", "local"),
        ("::ffff:8.8.8.8", "internet"),
        ("::ffff:10.1.2.3", "private"),
        ("::ffff:127.0.0.1", "local"),
    ],
)
def test_scope_of_an_address_without_own_networks(address: str, scope: str) -> None:
    assert Scopes().of(packed(address)) == scope


def test_the_longest_of_the_own_networks_wins_over_shorter_ones_and_over_what_is_well_known() -> (
    None
):
    scopes = Scopes(
        [
            ("10.0.0.0/8", "company"),
            ("10.244.0.0/16", "pods"),
            ("10.244.7.7/32", "gateway"),
            ("203.0.113.0/24", "company"),
            ("2001:db8::/32", "company"),
            ("2001:db8:1::/48", "lab"),
        ]
    )
    expected = {
        "10.1.1.1": "company",
        "10.244.0.1": "pods",
        "10.244.7.7": "gateway",
        "::ffff:10.244.7.7": "gateway",
        "203.0.113.9": "company",
        "203.0.114.9": "internet",
        "192.168.0.1": "private",
        "2001:db8:1::5": "lab",
        "2001:db8:2::5": "company",
        "2001:db9::5": "internet",
    }
    assert {address: scopes.of(packed(address)) for address in expected} == expected


def test_the_order_of_the_networks_does_not_matter() -> None:
    networks = [("0.0.0.0/0", "all"), ("10.0.0.0/8", "a"), ("10.1.0.0/16", "b")]
    for order in (networks, networks[::-1]):
        scopes = Scopes(order)
        assert [scopes.of(packed(a)) for a in ("10.1.0.1", "10.2.0.1", "127.0.0.1")] == [
            "b",
            "a",
            "all",
        ]


def test_a_mapped_network_means_ipv4() -> None:
    scopes = Scopes([("::ffff:10.0.0.0/104", "pods")])
    assert scopes.of(packed("10.9.9.9")) == scopes.of(packed("::ffff:10.9.9.9")) == "pods"


v4_networks = st.builds(
    lambda number, length: ipaddress.IPv4Network((number >> 32 - length << 32 - length, length)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@given(
    st.lists(v4_networks, max_size=12, unique=True), st.integers(0, 2**32 - 1), st.integers(-8, 8)
)
def test_longest_prefix_against_a_plain_search(
    networks: list[ipaddress.IPv4Network], number: int, place: int
) -> None:
    names = {str(network): f"n{place}" for place, network in enumerate(networks)}
    if networks and place >= 0:
        number = int(networks[place % len(networks)].network_address)
    address = ipaddress.IPv4Address(number)
    around = [network for network in networks if address in network]
    longest = max(around, key=lambda network: network.prefixlen, default=None)
    found = Networks(names.items()).name_of(address.packed)
    assert found == (None if longest is None else names[str(longest)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0/8",
        "10.0.0.0/",
        "fd00::/129",
        "pods",
        "10.0.0.0/8 ",
    ],
)
def test_what_is_no_network_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(ValueError, match="must be a network such as") as caught:
        parse_network(text)
    assert f'"{text}"' in str(caught.value)


def test_host_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="without host bits"):
        parse_network("10.0.0.1/8")


def test_a_bare_address_is_a_network_of_one() -> None:
    assert parse_network("10.0.0.1") == (packed("10.0.0.1"), 32)
    assert parse_network("fd00::1") == (packed("fd00::1"), 128)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ([("10.0.0.0/8", "a"), ("10.0.0.0/8", "b")], "two names"),
        ([("10.0.0.0/8", "a b")], "letters, digits"),
        ([("10.0.0.0/8", "")], "letters, digits"),
        ([("10.0.0.0/8", "a" * 64)], "letters, digits"),
        ([(f"10.0.0.{n}", f"n{n}") for n in range(SCOPES_MAX + 1)], f"at most {SCOPES_MAX} names"),
        (
            [(f"10.0.{n // 256}.{n % 256}", "a") for n in range(NETWORKS_MAX + 1)],
            f"at most {NETWORKS_MAX} networks",
        ),
    ],
)
def test_what_is_wrong_with_the_own_networks_is_said(
    own: Iterable[tuple[str, str]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Scopes(own)


@pytest.mark.parametrize(
    ("protocol", "transport"),
    [
        (6, "tcp"),
        (17, "udp"),
        (132, "sctp"),
        (1, "icmp"),
        (58, "icmp"),
        (47, "other"),
        (0, "other"),
    ],
)
def test_transport(protocol: int, transport: str) -> None:
    assert transport_of(protocol) == transport


@pytest.mark.parametrize(
    ("direction", "flags", "role"),
    [
        (FLOW_EGRESS, FLOW_OPENER, "client"),
        (FLOW_INGRESS, 0, "client"),
        (FLOW_INGRESS, FLOW_OPENER, "server"),
        (FLOW_EGRESS, 0, "server"),
    ],
)
def test_both_directions_of_a_connection_have_one_role(
    direction: int, flags: int, role: str
) -> None:
    assert role_of(flow(direction, flags)) == role


def test_the_remote_address_is_the_other_end_seen_from_the_interface() -> None:
    assert remote_of(flow(FLOW_EGRESS, 0)) == packed("8.8.8.8")
    assert remote_of(flow(FLOW_INGRESS, 0)) == packed("10.0.0.1")


def test_added_labels_are_in_one_order_whatever_the_configuration_says() -> None:
    labels = AddedLabels(["transport", "role"], Scopes())
    assert labels.names == ("role", "transport")
    assert labels.of(flow(FLOW_EGRESS, FLOW_OPENER, protocol=17)) == ("client", "udp")
    assert AddedLabels([], Scopes()).of(flow(FLOW_EGRESS, 0)) == ()
    assert AddedLabels(["scope"], Scopes()).of(flow(FLOW_INGRESS, 0)) == ("private",)


@given(st.lists(st.integers(0, 20), max_size=200))
def test_what_is_remembered_is_what_was_worked_out_and_bounded(keys: list[int]) -> None:
    remembered: Remembered[int, str] = Remembered(str, half=4)
    for key in keys:
        assert remembered(key) == str(key)
        assert len(remembered) <= 8


def test_what_is_asked_for_again_and_again_is_worked_out_once() -> None:
    asked: list[int] = []

    def work_out(key: int) -> int:
        asked.append(key)
        return key

    remembered = Remembered(work_out, half=4)
    for flood in range(100, 1100):
        remembered(1)
        remembered(flood)
    assert asked.count(1) == 1
