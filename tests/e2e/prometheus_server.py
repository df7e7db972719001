"""A real Prometheus: started with a configuration, asked over its API, ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import yaml

from tests.e2e.net import Namespace, command
from tests.e2e.parts import Release, Server, free_ports, http_get

Labels = Mapping[str, str]


class Series(NamedTuple):
    """An answer's series: its labels with `__name__`, and its points (seconds, value)."""

    labels: dict[str, str]
    points: tuple[tuple[float, float], ...]


def scrape(target: str, interval_s: float, job: str = "ayaflow") -> dict[str, Any]:
    """A configuration that scrapes `HOST:PORT`."""
    interval = f"{round(interval_s * 1000)}ms"
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "scrape_configs": [{"job_name": job, "static_configs": [{"targets": [target]}]}],
    }


OTLP_RECEIVER = ("--web.enable-otlp-receiver",)
"""A flag of Prometheus 3; it takes metrics at /api/v1/otlp/v1/metrics."""

CREATED_TIMESTAMPS = ("--enable-feature=created-timestamp-zero-ingestion",)


class Prometheus(Server):
    """One Prometheus, whose data stays in its folder between runs."""

    def __init__(
        self,
        release: Release,
        folder: Path,
        config: Mapping[str, Any] | None = None,
        *flags: str,
        namespace: Namespace | None = None,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.release = release
        self.data = folder / "data"
        (self.port,) = free_ports(1, namespace)
        config_file = folder / "prometheus.yml"
        config_file.write_text(yaml.safe_dump(dict(config or {})))
        super().__init__(
            namespace,
            (
                str(release.prometheus),
                f"--config.file={config_file}",
                f"--storage.tsdb.path={self.data}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                *flags,
            ),
            folder / "prometheus.log",
        )

    def __enter__(self) -> Prometheus:
        self.start()
        return self

    def is_ready(self) -> bool:
        return http_get(self.namespace, self.port, "/-/ready")[0] == 200

    def load_openmetrics(self, file: Path) -> None:
        """Makes blocks of a file with timestamps; before a start."""
        command(
            *(str(self.release.promtool), "tsdb", "create-blocks-from", "openmetrics"),
            *(str(file), str(self.data)),
            timeout_s=300,
        )

    def ask(self, path: str, **parameters: str | float) -> Any:
        """The `data` of an answer of /api/v1."""
        query = urlencode({name: str(value) for name, value in parameters.items()})
        status, body = http_get(self.namespace, self.port, f"/api/v1/{path}?{query}")
        answer = json.loads(body)
        assert status == 200, f"{path} {parameters}: {answer}"
        return answer["data"]

    def query(self, expression: str, at_s: float | None = None) -> list[Series]:
        """An instant query: each series with one point, or for `metric[1h]` with all of them."""
        when = {} if at_s is None else {"time": at_s}
        answer = self.ask("query", query=expression, **when)
        if answer["resultType"] == "scalar":
            return [Series({}, _points([answer["result"]]))]
        return [
            Series(found["metric"], _points(found.get("values") or [found["value"]]))
            for found in answer["result"]
        ]

    def query_range(
        self, expression: str, since_s: float, until_s: float, step_s: float
    ) -> list[Series]:
        answer = self.ask("query_range", query=expression, start=since_s, end=until_s, step=step_s)
        return [Series(found["metric"], _points(found["values"])) for found in answer["result"]]

    def value(self, expression: str, at_s: float | None = None) -> float:
        """The answer that is one number."""
        found = self.query(expression, at_s)
        assert len(found) == 1, f"{expression}: {found}"
        return found[0].points[-1][1]


def check_increase(
    prometheus: Prometheus, series: str, truth: int, since_s: float, until_s: float
) -> None:
    """What `increase` says of a counter that began at 0 since then is the truth, within what
    Prometheus adds for the time after the last point: 1.1 times the mean distance of two at most.
    """
    window = f"[{round((until_s - since_s) * 1000)}ms]"
    ((_, points),) = prometheus.query(f"{series}{window}", until_s)
    values = [value for _, value in points]
    assert values == sorted(values), f"{series} went back"
    assert (values[0], values[-1]) == (0, truth), series
    assert prometheus.value(f"resets({series}{window})", until_s) == 0
    grown = prometheus.value(f"increase({series}{window})", until_s)
    assert truth <= grown <= truth * (1 + 1.1 / (len(points) - 1)), series


def _points(values: Sequence[Sequence[Any]]) -> tuple[tuple[float, float], ...]:
    return tuple((float(at), float(value)) for at, value in values)
