"""What a name may be shown as, and whether it was expected."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import ExporterError
from exporter.names.expected import Expected, split_entry
from exporter.names.hiding import compile_rules, parse_rule
from exporter.names.policy import REMEMBERED_HALF, Policy, load_registrable

host_names = st.from_regex(r"[a-z0-9_-]{1,8}(\.[a-z_-][a-z0-9_-]{0,7}){0,5}", fullmatch=True)


def domain(policy: Policy, name: str) -> str:
    return policy.judge(name).domain


def test_full_shows_each_name_as_it_is() -> None:
    policy = Policy("full")
    for name in ("www.example.co.uk", "localhost", "com", "_sip._tcp.example.org"):
        assert policy.judge(name) == (name, True)


def test_off_shows_no_name() -> None:
    policy = Policy("off", expected=["example.org"])
    assert policy.judge("example.org") == ("other", True)
    assert policy.judge("example.com") == ("other", False)


@pytest.mark.parametrize(
    ("name", "registered"),
    [
        ("example.com", "example.com"),
        ("a.b.c.example.com", "example.com"),
        ("www.example.co.uk", "example.co.uk"),
        ("_dmarc.example.co.uk", "example.co.uk"),
        # Of the wildcard *.kawasaki.jp and its exception !city.kawasaki.jp.
        ("www.shop.anything.kawasaki.jp", "shop.anything.kawasaki.jp"),
        ("www.city.kawasaki.jp", "city.kawasaki.jp"),
        # A public suffix itself has nothing that was registered.
        ("com", "com"),
        ("co.uk", "co.uk"),
        ("anything.kawasaki.jp", "anything.kawasaki.jp"),
        ("kawasaki.jp", "kawasaki.jp"),
        # Of the second part of the list: the company counts.
        ("someone.github.io", "github.io"),
        ("d111111abcdef8.cloudfront.net", "cloudfront.net"),
        ("bucket.s3.amazonaws.com", "amazonaws.com"),
        # Unknown top-level domains are public suffixes.
        ("localhost", "localhost"),
        ("kube-dns.kube-system.svc.cluster.local", "cluster.local"),
        # IDNA: a suffix in Chinese, and a name in German.
        ("www.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
        ("www.xn--bcher-kva.example.de", "example.de"),
        ("www.xn--bcher-kva.de", "xn--bcher-kva.de"),
        ("www.xn--85x722f.xn--fiqs8s", "xn--85x722f.xn--fiqs8s"),
    ],
)
def test_registrable_shows_what_somebody_registered(name: str, registered: str) -> None:
    assert domain(Policy("registrable"), name) == registered


registrable = load_registrable()


@given(host_names)
def test_what_was_registered_is_the_end_of_the_name_and_shortening_it_changes_nothing(
    name: str,
) -> None:
    short = registrable(name)
    assert name == short or name.endswith("." + short)
    assert registrable(short) == short


@pytest.mark.parametrize("mode", ["full", "registrable", "off"])
@pytest.mark.parametrize("name", ["other", "unknown"])
def test_a_name_that_reads_like_what_stands_for_no_name_is_other(mode: str, name: str) -> None:
    assert domain(Policy(mode), name) == "other"


@pytest.mark.parametrize(
    ("rule", "hidden", "shown"),
    [
        (r"^example\.com$", ["example.com"], ["www.example.com", "example.com.evil.org"]),
        (r"(^|\.)example\.com$", ["example.com", "www.example.com"], ["notexample.com"]),
        (r"internal", ["a.internal", "internal.example.org"], ["example.org"]),
        (r"^ip-\d+-\d+-\d+-\d+\.", ["ip-10-0-0-1.ec2.example"], ["ip-10.example"]),
        (r"SECRET", ["top.secret.example"], ["example.org"]),
    ],
)
def test_a_rule_hides_what_it_matches_anywhere(
    rule: str, hidden: list[str], shown: list[str]
) -> None:
    policy = Policy("full", hide=[r"^never$", rule])
    assert {domain(policy, name) for name in hidden} == {"other"}
    assert [domain(policy, name) for name in shown] == shown


def test_a_rule_hides_by_the_whole_name_and_by_what_would_be_shown() -> None:
    policy = Policy("registrable", hide=[r"^secret\.", r"^example\.org$"])
    assert domain(policy, "secret.example.com") == "other"
    assert domain(policy, "www.example.com") == "example.com"
    assert domain(policy, "www.example.org") == "other"


def test_hidden_names_are_still_expected_or_not() -> None:
    policy = Policy("full", hide=["example"], expected=["example.com"])
    assert policy.judge("example.com") == ("other", True)
    assert policy.judge("example.net") == ("other", False)


simple_rules = st.lists(
    st.sampled_from(["a", "b", r"\.", "[ab]", "[^a]", ".", "a*", "(a|b)+", "b?", "^", "$"]),
    min_size=1,
    max_size=6,
).map("".join)


@given(st.lists(simple_rules, max_size=4), st.text("ab.", max_size=12))
def test_rules_together_hide_what_one_of_them_hides(rules: list[str], name: str) -> None:
    assert compile_rules(rules)(name) == any(re.search(rule, name) for rule in rules)


@pytest.mark.parametrize("rule", [r"(a+)+$", r"(.*\.)*ads\..*", r"^(a|a)*$", r"(.*a){20}$"])
def test_a_rule_that_python_would_never_finish_comes_to_an_end(rule: str) -> None:
    is_hidden = compile_rules([rule])
    assert not is_hidden("a." * 126 + "x")
    assert not is_hidden("a" * 252 + "x")


@pytest.mark.parametrize(
    "rule", ["(a", "a)", "a)(b", "[z-a]", "(?=a)", r"(a)\1", "*a", r"\Qa", "a{2000}"]
)
def test_what_is_no_rule_is_refused_with_the_reason(rule: str) -> None:
    with pytest.raises(ValueError, match="must be a regular expression of RE2, not") as caught:
        parse_rule(rule)
    assert re.search(r": [a-z].*$", str(caught.value))


def test_an_empty_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        Policy("full", hide=[""])


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="full, registrable, off"):
        Policy("some")


def test_without_the_library_a_rule_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    Policy("full")
    with pytest.raises(ExporterError, match="google-re2"):
        Policy("full", hide=["a"])


@pytest.mark.parametrize(
    ("arguments", "imported"),
    [
        ("'full', expected=['example.com']", set()),
        ("'off'", set()),
        ("'registrable'", {"publicsuffixlist"}),
        ("'full', hide=['a']", {"re2"}),
    ],
)
def test_a_library_is_loaded_only_where_a_setting_asks_for_it(
    arguments: str, imported: set[str]
) -> None:
    script = (
        f"import sys; from exporter.names.policy import Policy; Policy({arguments});"
        "print(*{'publicsuffixlist', 're2', 'encodings.idna'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) - {"encodings.idna"} == imported


@pytest.mark.parametrize(
    ("entry", "expected", "unexpected"),
    [
        ("example.com", ["example.com"], ["www.example.com", "ample.com", "com", "notexample.com"]),
        ("*.example.com", ["www.example.com", "a.b.example.com"], ["example.com", "xexample.com"]),
        (".example.com", ["www.example.com", "example.com"], ["xexample.com", "com"]),
        ("*.local", ["kube.svc.cluster.local"], ["local"]),
        ("Example.COM.", ["example.com"], []),
        ("bücher.example", ["xn--bcher-kva.example"], ["bcher-kva.example"]),
    ],
)
def test_expected_names_and_suffixes(
    entry: str, expected: list[str], unexpected: list[str]
) -> None:
    policy = Policy("full", expected=["another.example", entry])
    assert [policy.judge(name).is_expected for name in expected] == [True] * len(expected)
    assert [policy.judge(name).is_expected for name in unexpected] == [False] * len(unexpected)


def test_whether_a_name_is_expected_goes_by_the_whole_name() -> None:
    policy = Policy("registrable", expected=["api.example.com"])
    assert policy.judge("api.example.com") == ("example.com", True)
    assert policy.judge("www.example.com") == ("example.com", False)


def test_without_a_list_everything_is_expected() -> None:
    assert Policy("full").judge("anything.example").is_expected


@pytest.mark.parametrize(
    "entry",
    ["", ".", "*", "*.", "..example.com", "exa mple", "10.0.0.1", "a" * 254, "*.*.com", "é" * 64],
)
def test_what_is_no_name_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="must be a name such as"):
        split_entry(entry)


@given(st.lists(st.tuples(st.sampled_from(["", ".", "*."]), host_names), max_size=6), host_names)
def test_expected_against_a_plain_search(entries: list[tuple[str, str]], name: str) -> None:
    found = any(
        (prefix != "*." and name == its) or (bool(prefix) and name.endswith("." + its))
        for prefix, its in entries
    )
    assert (name in Expected(prefix + its for prefix, its in entries)) == found


def test_judgements_on_a_flood_of_names_are_the_same_the_second_time() -> None:
    policy = Policy("registrable", hide=["7"], expected=["*.example.com"])
    names = [f"n{number}.example.com" for number in range(3 * REMEMBERED_HALF)]
    assert [policy.judge(name) for name in names] == [policy.judge(name) for name in names]
