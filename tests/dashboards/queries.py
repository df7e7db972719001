"""What the dashboard and the rules ask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parents[2] / "dashboards"
DASHBOARD = FOLDER / "ayaflow.json"
RULES = FOLDER / "rules.yaml"


def panel_queries() -> dict[str, str]:
    """Each query of the dashboard, by its panel's title and its letter; variables stay in it."""
    dashboard = json.loads(DASHBOARD.read_text())
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    }


def legends() -> dict[str, str]:
    """The legend of each query."""
    dashboard = json.loads(DASHBOARD.read_text())
    return {
        f"{panel['title']} {target['refId']}": target["legendFormat"]
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    }


def filled(query: str, window: str) -> str:
    """A query as Grafana asks it with everything chosen: *window* is the range and the rate's."""
    values = {
        **dict.fromkeys(("$__rate_interval", "$__range"), window),
        **dict.fromkeys(("$job", "$instance", "$device", "$direction", "$domain"), ".*"),
        "$price_per_gb": "0.09",
    }
    for variable, value in values.items():
        query = query.replace(variable, value)
    return query


def _rules() -> list[dict[str, Any]]:
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def alerts() -> tuple[str, ...]:
    return tuple(rule["alert"] for rule in _rules() if "alert" in rule)


def recorded() -> dict[str, str]:
    """Each recording rule's expression, by its name."""
    return {rule["record"]: rule["expr"] for rule in _rules() if "record" in rule}


def rule_queries() -> dict[str, str]:
    """Each rule's expression, by its name."""
    return {rule.get("alert") or rule["record"]: rule["expr"] for rule in _rules()}
