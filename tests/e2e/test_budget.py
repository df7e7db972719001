"""Which domains have series, as scrapes see it: heavier ones displace, and nothing goes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.exporter_process import Exporter
from tests.e2e.metrics import DIRECTIONS, UNITS, Metrics, check_identity
from tests.e2e.net import End, Network
from tests.e2e.services import address, curl, make_certificate, start_nginx, wired
from tests.e2e.waiting import wait_until

_FLAGS = ("--interface", "eth0", "--names.grace", "100ms", "--domains.max", "3")
_EVICTED = [f"ayaflow_evicted_{unit}_total" for unit in UNITS]
_TENURE_S = 15.0


@pytest.fixture
def near(network: Network, tmp_path: Path) -> End:
    near, far = wired(network, ipv6=False)
    start_nginx(far.namespace, tmp_path, make_certificate(tmp_path))
    return near


def _fetch(near: End, name: str, number: int, size: str) -> None:
    curl(near.namespace, name, address(number), f"https://{name}/{size}")


def _domains(metrics: Metrics) -> set[str]:
    return metrics.label_values("ayaflow_bytes_total", "domain")


def _series(metrics: Metrics) -> dict[tuple[str, str, str], float]:
    return {
        (unit, sample.labels["direction"], sample.labels["domain"]): sample.value
        for unit in UNITS
        for sample in metrics.samples(f"ayaflow_{unit}_total")
    }


def _check_step(before: Metrics, after: Metrics) -> None:
    """What a series that left had counted is in what was evicted, and nothing else is."""
    was, now = _series(before), _series(after)
    left = was.keys() - now.keys()
    for key in now.keys() & was.keys():
        assert now[key] >= was[key], key
    for unit in UNITS:
        for direction in DIRECTIONS:
            name = f"ayaflow_evicted_{unit}_total"
            grown = after.value(name, direction=direction) - before.value(name, direction=direction)
            mine = [was[key] for key in left if key[:2] == (unit, direction)]
            assert grown >= sum(mine)
            assert bool(grown) == bool(mine)
    check_identity(after)


@pytest.mark.slow
def test_a_heavier_domain_takes_the_place_of_the_lightest(near: End) -> None:
    labels = (
        "--metrics.labels",
        "role",
        "--metrics.labels",
        "scope",
        "--metrics.labels",
        "transport",
    )
    scopes = ("--metrics.scopes", "203.0.113.0/24=shop")
    expected = ("--domains.expected", ".example", "--domains.hide", "^secret")
    flags = (*_FLAGS, *labels, *scopes, *expected)
    with Exporter(near.namespace, *flags) as exporter:
        last = exporter.scrape()

        def step(domains: set[str]) -> Metrics:
            """All scrapes until these domains have series."""

            def look() -> Metrics:
                nonlocal last
                metrics = exporter.scrape()
                _check_step(last, metrics)
                last = metrics
                assert metrics.sum("ayaflow_pending_bytes") == 0
                assert _domains(metrics) - {"unknown"} == domains
                return metrics

            return wait_until(look, timeout_s=_TENURE_S + 10)

        for number in (1, 2, 3):
            _fetch(near, f"{number}.example", number, "1k")
        own = {"1.example", "2.example", "3.example"}
        step(own)
        _fetch(near, "4.test", 4, "1k")
        _fetch(near, "secret.example", 5, "1k")
        metrics = step(own | {"other"})
        assert metrics.value("ayaflow_domains_evicted_total") == 0
        of = {"role": "client", "scope": "shop", "transport": "tcp", "domain": "1.example"}
        for direction in DIRECTIONS:
            assert metrics.value("ayaflow_bytes_total", direction=direction, **of) > 1024
            assert metrics.value("ayaflow_unexpected_bytes_total", direction=direction) > 1000
        for number in (1, 2):
            _fetch(near, f"{number}.example", number, "1m")
        step(own | {"other"})

        def heavier() -> Metrics:
            """A new series has its place for some seconds in any case."""
            _fetch(near, "5.example", 6, "1m")
            metrics = exporter.scrape()
            assert metrics.value("ayaflow_domains_evicted_total") == 1
            return metrics

        wait_until(heavier, timeout_s=_TENURE_S + 10, poll_s=1)
        metrics = step({"1.example", "2.example", "5.example", "other"})
        for name in _EVICTED:
            assert metrics.value(name, direction="ingress") > 0
        # It may come back, from nothing.
        _fetch(near, "3.example", 3, "1k")
        step({"1.example", "2.example", "5.example", "other"})
