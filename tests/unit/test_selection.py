"""Which interfaces are counted, and which of them would count a packet twice."""

from __future__ import annotations

import pytest

from exporter.capture.netlink import Link
from exporter.capture.selection import Selection, is_glob, stacked
from exporter.config import Config
from exporter.errors import ExporterError
from tests.unit.loading import load_flags


def link(ifindex: int, name: str = "", *, master: int = 0, lower: int = 0) -> Link:
    return Link(ifindex, name or f"if{ifindex}", 1, "", master, lower, 0, 0)


def wanted(selection: Selection, *names: str) -> list[str]:
    return [name for name in names if selection.wants(link(1, name))]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("eth0", False), ("eth*", True), ("eth?", True), ("eth[01]", True), ("eth0.5@if7", False)],
)
def test_what_is_a_glob(pattern: str, expected: bool) -> None:
    assert is_glob(pattern) is expected


def test_a_name_means_itself_alone() -> None:
    assert wanted(Selection(["eth0"], []), "eth0", "eth01", "xeth0", "ETH0") == ["eth0"]


def test_globs_match_as_a_shell_does() -> None:
    selection = Selection(["eth?", "wg[0-2]", "en*"], [])
    names = ("eth0", "eth10", "wg2", "wg3", "en", "enp1s0", "xenp1s0", "ETH0")
    assert wanted(selection, *names) == ["eth0", "wg2", "en", "enp1s0"]


def test_names_and_globs_add_up() -> None:
    assert wanted(Selection(["lo", "eth*"], []), "lo", "eth0", "wg0") == ["lo", "eth0"]


def test_the_excluded_are_taken_from_globs_but_not_from_names() -> None:
    selection = Selection(["veth-mine", "*"], ["veth*", "lo"])
    assert wanted(selection, "veth-mine", "veth1", "lo", "eth0") == ["veth-mine", "eth0"]


def test_the_excluded_may_be_names_too() -> None:
    assert wanted(Selection(["eth*"], ["eth1"]), "eth0", "eth1", "eth10") == ["eth0", "eth10"]


def test_without_a_choice_default_routes_choose() -> None:
    selection = Selection([], ["docker0"])
    assert selection.follows_default_routes
    links = [link(1, "lo"), link(2, "eth0"), link(3, "docker0")]
    assert wanted(selection, "lo", "eth0", "docker0") == []
    selection.see_default_routes(links, [2, 3])
    assert wanted(selection, "lo", "eth0", "docker0") == ["eth0"]


def test_what_a_default_route_chose_stays_chosen() -> None:
    """Its packets are no others when the route goes away."""
    selection = Selection([], [])
    links = [link(1, "eth0"), link(2, "wwan0")]
    selection.see_default_routes(links, [1])
    selection.see_default_routes(links, [2])
    selection.see_default_routes(links, [])
    assert wanted(selection, "eth0", "wwan0") == ["eth0", "wwan0"]


@pytest.mark.parametrize("patterns", [["eth0"], ["eth*"]])
def test_who_chooses_does_not_follow_default_routes(patterns: list[str]) -> None:
    selection = Selection(patterns, [])
    assert not selection.follows_default_routes
    selection.see_default_routes([link(5, "wwan0")], [5])
    assert wanted(selection, "wwan0") == []


@pytest.mark.parametrize(
    "name",
    ["lo", "docker0", "br-0a1b2c", "veth1234", "cali99", "lxc_health", "ifb0", "enP3p0s0f0"],
)
def test_what_a_broad_glob_leaves_out_if_nothing_else_is_said(name: str) -> None:
    config: Config = load_flags("--interface", "*")
    selection = Selection(config.interface, config.interface_exclude)
    assert wanted(selection, name, "eth0", "enp3s0", "br0") == ["eth0", "enp3s0", "br0"]


def test_a_name_that_does_not_exist_is_an_error_that_says_what_there_is() -> None:
    with pytest.raises(ExporterError) as refused:
        Selection(["eth7", "eth0"], []).check([link(1, "lo"), link(2, "eth0")])
    assert str(refused.value) == (
        "--interface eth7: there is no such interface; there are eth0, lo (a glob would wait for it"
        " to appear)"
    )


def test_globs_may_match_nothing_yet() -> None:
    Selection(["eth*"], []).check([link(1, "lo")])


def test_names_that_exist_are_fine_even_where_excluded() -> None:
    Selection(["lo"], ["lo"]).check([link(1, "lo")])


@pytest.mark.parametrize("routes", [[], [2]], ids=["no route", "excluded"])
def test_no_default_route_is_an_error_that_says_what_to_do(routes: list[int]) -> None:
    selection = Selection([], ["eth*"])
    links = [link(1, "lo"), link(2, "eth0")]
    selection.see_default_routes(links, routes)
    with pytest.raises(ExporterError, match=r"no interface to count: .*; name one with --interfac"):
        selection.check(links)


BRIDGE = [link(1), link(2, master=1), link(3, master=1)]
VETH = [link(1, lower=2), link(2, lower=1)]
VLAN = [link(1), link(2, lower=1), link(3, lower=2)]
BOND = [link(1), link(2, master=1), link(3, master=1), link(4, lower=1)]
"""A bond of two, and a VLAN on the bond."""


@pytest.mark.parametrize(
    ("links", "counted", "expected"),
    [
        (BRIDGE, {1}, set()),
        (BRIDGE, {1, 2}, {1, 2}),
        (BRIDGE, {1, 2, 3}, {1, 2, 3}),
        (BRIDGE, {2, 3}, set()),
        (VETH, {1, 2}, {1, 2}),
        (VETH, {2}, set()),
        (VLAN, {1, 2}, {1, 2}),
        (VLAN, {1, 3}, {1, 3}),
        (VLAN, {2, 3}, {2, 3}),
        (BOND, {2, 3}, set()),
        (BOND, {1, 3}, {1, 3}),
        (BOND, {1, 4}, {1, 4}),
        ([link(1), link(2)], {1, 2}, set()),
        ([link(1, lower=9), link(2, lower=9)], {1, 2}, set()),
    ],
)
def test_interfaces_that_see_each_others_packets(
    links: list[Link], counted: set[int], expected: set[int]
) -> None:
    assert stacked(counted, links) == expected


def test_a_chain_of_any_length_is_followed() -> None:
    """Container, veth, bridge, bond, card."""
    links = [link(n, lower=n + 1) if n % 2 else link(n, master=n + 1) for n in range(1, 50)]
    links.append(link(50))
    assert stacked({1, 50}, links) == {1, 50}


def test_a_circle_ends() -> None:
    links = [link(1, lower=2), link(2, lower=3, master=1), link(3, lower=1, master=3)]
    assert stacked({1}, links) == set()
    assert stacked({1, 3}, links) == {1, 3}


def test_what_has_vanished_meanwhile_is_stacked_on_nothing() -> None:
    assert stacked({1, 2}, []) == set()
