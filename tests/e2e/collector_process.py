"""A real OpenTelemetry Collector (`make parts`): takes OTLP over HTTP and gRPC, shows Prometheus
metrics, and writes every point that it was sent into a file.

The debug exporter's text is made for people. What is read of it here is exact but for values with a
fraction, of which it shows six digits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.net import Namespace
from tests.e2e.parts import COLLECTOR, Server, free_ports, http_get

_ATTRIBUTE = re.compile(r" {5}-> (?P<name>[\w.]+): \w+\((?P<value>.*)\)")
_DESCRIPTOR = re.compile(r" {5}-> (?P<name>Name|Description|Unit|DataType): (?P<value>.*)")
_FIELD = re.compile(
    r"(?P<name>StartTimestamp|Timestamp|Value|Sum|Buckets #\d+, Count): (?P<value>.*)"
)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d{1,9}))? \+0000 UTC")


@dataclass(slots=True)
class Point:
    """A data point as it was received."""

    push: int
    """Which of the requests it came with, from 0."""
    resource: dict[str, str]
    metric: str
    unit: str
    kind: str
    """Sum, Gauge or Histogram."""
    labels: dict[str, str] = field(default_factory=dict)
    start_ns: int = 0
    time_ns: int = 0
    value: float = 0.0
    """The sum of a histogram."""
    buckets: list[int] = field(default_factory=list)

    @property
    def series(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What tells its series from others."""
        return self.metric, tuple(sorted(self.labels.items()))


def parse_points(text: str) -> list[Point]:
    """What the debug exporter wrote with `verbosity: detailed`, in the order of arrival."""
    reader = _Reader()
    for line in text.splitlines():
        reader.read(line)
    return reader.points


class _Reader:
    """Reads the text a line at a time: headings, and what stands below them."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._push = -1
        self._resource: dict[str, str] = {}
        self._metric: dict[str, str] = {}
        self._attributes: dict[str, str] = {}

    def read(self, line: str) -> None:
        if line.startswith("Metrics\t"):
            self._push += 1
        elif line == "Resource attributes:":
            self._attributes = self._resource = {}
        elif line.startswith("Metric #"):
            self._metric = {}
        elif line.startswith(("NumberDataPoints #", "HistogramDataPoints #")):
            self._begin_point()
        elif (described := _DESCRIPTOR.fullmatch(line)) is not None:
            self._metric.setdefault(described["name"], described["value"])
        elif (attribute := _ATTRIBUTE.fullmatch(line)) is not None:
            self._attributes[attribute["name"]] = attribute["value"]
        elif (found := _FIELD.fullmatch(line)) is not None:
            _set(self.points[-1], found["name"], found["value"])

    def _begin_point(self) -> None:
        metric = self._metric
        point = Point(
            self._push, self._resource, metric["Name"], metric["Unit"], metric["DataType"]
        )
        self.points.append(point)
        self._attributes = point.labels


def _set(point: Point, name: str, text: str) -> None:
    if name == "StartTimestamp":
        point.start_ns = _nanoseconds(text)
    elif name == "Timestamp":
        point.time_ns = _nanoseconds(text)
    elif name in ("Value", "Sum"):
        point.value = float(text)
    elif name.startswith("Buckets"):
        point.buckets.append(int(text))


def _nanoseconds(text: str) -> int:
    match = _TIME.fullmatch(text)
    assert match, f"no time: {text}"
    whole = datetime.fromisoformat(match[1]).replace(tzinfo=timezone.utc)
    return int(whole.timestamp()) * 1_000_000_000 + int((match[2] or "").ljust(9, "0"))


class Collector(Server):
    """One Collector. It can be stopped and started again: its points stay in one file."""

    def __init__(self, folder: Path, namespace: Namespace | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.http_port, self.grpc_port, self.metrics_port = free_ports(3, namespace)
        self._points = folder / "points.txt"
        config_file = folder / "collector.yml"
        config_file.write_text(yaml.safe_dump(self._config()))
        command = (str(COLLECTOR), "--config", str(config_file))
        super().__init__(namespace, command, folder / "collector.log")

    def _config(self) -> dict[str, Any]:
        debug = {"verbosity": "detailed", "use_internal_logger": False}
        return {
            "receivers": {
                "otlp": {
                    "protocols": {
                        "http": {"endpoint": f"127.0.0.1:{self.http_port}"},
                        "grpc": {"endpoint": f"127.0.0.1:{self.grpc_port}"},
                    }
                }
            },
            "exporters": {
                "prometheus": {"endpoint": f"127.0.0.1:{self.metrics_port}"},
                "debug": {**debug, "output_paths": [str(self._points)]},
            },
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {
                    "metrics": {"receivers": ["otlp"], "exporters": ["prometheus", "debug"]}
                },
            },
        }

    def __enter__(self) -> Collector:
        self.start()
        return self

    def is_ready(self) -> bool:
        """Once its receivers listen: GET is no method of theirs, and is answered."""
        http_get(self.namespace, self.metrics_port, "/metrics")
        return http_get(self.namespace, self.http_port, "/v1/metrics")[0] == 405

    def points(self) -> list[Point]:
        """Every point that it was sent so far, in the order of arrival."""
        if not self._points.is_file():
            return []
        return parse_points(self._points.read_text(errors="replace"))

    def metrics(self) -> str:
        """Its Prometheus output: what it was sent, translated."""
        status, body = http_get(self.namespace, self.metrics_port, "/metrics")
        assert status == 200, body
        return body.decode()
