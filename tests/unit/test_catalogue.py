"""The catalogue: what of its rows a moment shows."""

from __future__ import annotations

from exporter.counts.replay import Interval
from exporter.counts.rows import DOMAIN, LABEL_NAMES, Row
from exporter.outputs.otlp_shown import ShownIntervals


def test_domains_have_the_labels_of_the_process_that_counted_them() -> None:
    shown = ShownIntervals()
    for number, names in enumerate([("role",), (), ("transport", "scope")], 1):
        domain = Row(DOMAIN, ("egress", "a.example", *names), (1, 2, 3), 5.0)
        rows = (domain, Row(LABEL_NAMES, names, (), 0.0))
        shown.add(Interval(number, 10.0 * number, 10.0 * number, "boot", rows))
        families = {family.metric.name: family for family in shown.families()}
        for name in ("ayaflow_packets", "ayaflow_active_connections", "ayaflow_bytes_per_second"):
            (labels,) = families[name].columns.labels
            assert families[name].metric.labels == ("direction", "domain", *names)
            assert labels == domain.labels
