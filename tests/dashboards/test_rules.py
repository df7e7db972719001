"""The shipped rules and the dashboard, by themselves: rules do what they say, and nothing asks for
a metric that the exporter does not have.
"""

from __future__ import annotations

import re

import pytest
import yaml

from exporter.outputs.descriptions import ENTRIES
from tests.dashboards.queries import RULES, alerts, panel_queries, rule_queries
from tests.e2e.net import command
from tests.e2e.parts import RELEASES, Release

_METRIC = re.compile(r"(?<![\w:])(?:ayaflow|process)_\w+")
TESTS = [RULES.with_name(name) for name in ("rules_test.yaml", "rules_day_test.yaml")]


@pytest.mark.parametrize("release", RELEASES)
def test_rules_are_valid_and_do_what_their_tests_say(release: Release) -> None:
    command(str(release.promtool), "check", "rules", str(RULES))
    command(str(release.promtool), "test", "rules", *map(str, TESTS))


def test_each_alert_has_a_firing_and_a_quiet_case() -> None:
    cases: dict[str, set[bool]] = {name: set() for name in alerts()}
    for file in TESTS:
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test.get("alert_rule_test", ()):
                cases[case["alertname"]].add(bool(case["exp_alerts"]))
    assert {name: kinds for name, kinds in cases.items() if kinds != {True, False}} == {}


def test_each_metric_that_is_asked_for_exists() -> None:
    asked = {
        name
        for query in (*panel_queries().values(), *rule_queries().values())
        for name in _METRIC.findall(query)
    }
    assert asked - exported() == set()


def test_no_query_needs_what_only_a_scrape_has() -> None:
    for where, query in (*panel_queries().items(), *rule_queries().items()):
        assert not re.search(r"\bup\b|_created\b|\bALERTS\b", query), where


def exported() -> set[str]:
    names = set()
    for entry in ENTRIES:
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
        names |= {entry.name + suffix for suffix in suffixes.get(entry.kind, ("",))}
    return names
