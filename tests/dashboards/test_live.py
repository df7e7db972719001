"""Real nodes, a real Prometheus with the shipped rules: every query of the dashboard answers,
whether it is scraped or gets the same over OTLP through a Collector.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.dashboards.lab import SITES, Lab, Node
from tests.dashboards.queries import (
    RULES,
    alerts,
    filled,
    legends,
    panel_queries,
    recorded,
    rule_queries,
)
from tests.e2e.collector_process import Collector
from tests.e2e.net import Network
from tests.e2e.parts import PROMETHEUS_3
from tests.e2e.prometheus_server import Prometheus, Series, scrape
from tests.e2e.waiting import wait_until

pytestmark = pytest.mark.parts

WINDOW = "60s"
NODES = 3
FIRST_SEEN = "First seen in the range A"
"""Needs a range from before there was a series: asked with a longer window."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def lab_of(stack: ExitStack, folder: Path, nodes: int) -> Lab:
    network = Network("dashboard")
    stack.callback(network.close)
    lab = Lab(network, folder, nodes)
    stack.callback(lab.close)
    return lab


def traffic(lab: Lab, node: Node) -> None:
    for site in SITES[:4]:
        lab.visit(node, site)
    lab.nameless(node)
    lab.ask_in_vain(node, answered=True)


def _named(legend: str, series: Series) -> str:
    return re.sub(r"{{(\w+)}}", lambda label: series.labels.get(label[1], ""), legend)


def answer_of(prometheus: Prometheus, asked: str, where: str) -> list[Series]:
    """Once there is one."""

    def answers() -> list[Series]:
        found = prometheus.query(asked)
        assert found, f"{where}: {asked}"
        return found

    return wait_until(answers, 60)


def check_panels(prometheus: Prometheus) -> None:
    """Each query answers, with no two series of one name."""
    for where, query in panel_queries().items():
        asked = filled(query, "1h" if where == FIRST_SEEN else WINDOW)
        found = answer_of(prometheus, asked, where)
        # A table shows its labels themselves, under no legend.
        legend = legends()[where] or "{{domain}}"
        names = [_named(legend, series) for series in found]
        assert len(set(names)) == len(names), f"{where}: {names}"


def check_rules(prometheus: Prometheus) -> None:
    """What is recorded has data, each node's once; of the alerts none fails."""
    for name, expression in recorded().items():
        found = answer_of(prometheus, expression, name)
        labels = [frozenset(series.labels.items()) for series in found]
        assert len(set(labels)) == len(labels), name
        assert all(series.labels["instance"] for series in found), name
    for name in alerts():
        prometheus.query(rule_queries()[name])


def test_three_scraped_nodes_fill_every_panel_and_stay_apart(
    stack: ExitStack, tmp_path: Path
) -> None:
    lab = lab_of(stack, tmp_path, NODES)
    for node in lab.nodes:
        stack.enter_context(lab.exporter(node))
    prometheus = stack.enter_context(lab.prometheus(PROMETHEUS_3, 1.0))
    wait_until(lambda: len(prometheus.query("ayaflow_build_info")) == NODES, 30)
    for node in lab.nodes:
        traffic(lab, node)
    check_panels(prometheus)
    by_node = filled(panel_queries()["Traffic by node A"], WINDOW)
    names = {node.name for node in lab.nodes}
    wait_until(
        lambda: {found.labels["instance"] for found in prometheus.query(by_node)} == names, 60
    )
    check_rules(prometheus)


def test_the_same_panels_are_filled_over_otlp(stack: ExitStack, tmp_path: Path) -> None:
    lab = lab_of(stack, tmp_path, 1)
    (node,) = lab.nodes
    collector = stack.enter_context(Collector(tmp_path / "collector", node.namespace))
    config = scrape(f"127.0.0.1:{collector.metrics_port}", 1.0)
    config["scrape_configs"][0]["honor_labels"] = True
    config["rule_files"] = [str(RULES)]
    prometheus = stack.enter_context(
        Prometheus(PROMETHEUS_3, tmp_path / "otlp", config, namespace=node.namespace)
    )
    stack.enter_context(
        lab.exporter(
            node,
            *("--history.path", str(tmp_path / "node" / "history.db"), "--history.interval", "1s"),
            *("--otlp.endpoint", f"http://127.0.0.1:{collector.http_port}"),
        )
    )
    wait_until(lambda: bool(prometheus.query("ayaflow_attached")), 30)
    traffic(lab, node)
    check_panels(prometheus)
    check_rules(prometheus)
