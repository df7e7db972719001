"""What an interval looks like in protobuf, decoded again."""

from __future__ import annotations

from google.protobuf.json_format import MessageToDict

from exporter.outputs.catalogue import Columns, Family, Histogram, Metric
from exporter.outputs.metrics import BuildInfo
from exporter.outputs.otlp_encode import Encoder
from exporter.outputs.otlp_resource import resource_attributes
from exporter.version import VERSION

TIME_S = 1_800_000_000.25

FAMILIES = [
    Family(
        Metric("ayaflow_bytes", "Bytes.", "counter", "bytes", "By", ("direction", "domain")),
        Columns(
            [("ingress", "example.org"), ("egress", "example.org")],
            [9_007_199_254_740_993, 0],
            [1_700_000_000.5, 1_900_000_000.0],
        ),
    ),
    Family(
        Metric("ayaflow_bytes_per_second", "Mean.", "gauge", "", "By/s", ()),
        Columns([()], [1.5], [0.0]),
    ),
    Family(
        Metric("ayaflow_dns_lookup_duration_seconds", "Time.", "histogram", "seconds", "s", ()),
        Columns(),
        Histogram((0.5, 1.0), (1, 2, 3), 7.5, 1_700_000_000.0),
    ),
]


def test_one_interval_in_full() -> None:
    (request,) = Encoder({"service.name": "x"}).requests(FAMILIES, TIME_S)
    (resource,) = MessageToDict(request)["resourceMetrics"]
    assert resource["resource"] == {
        "attributes": [{"key": "service.name", "value": {"stringValue": "x"}}]
    }
    (scope,) = resource["scopeMetrics"]
    assert scope["scope"] == {"name": "ayaflow-exporter", "version": VERSION}
    time = "1800000000250000000"
    labels = {"key": "domain", "value": {"stringValue": "example.org"}}
    assert scope["metrics"] == [
        {
            "name": "ayaflow.bytes",
            "description": "Bytes.",
            "unit": "By",
            "sum": {
                "aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE",
                "isMonotonic": True,
                "dataPoints": [
                    {
                        "attributes": [
                            {"key": "direction", "value": {"stringValue": "ingress"}},
                            labels,
                        ],
                        "startTimeUnixNano": "1700000000500000000",
                        "timeUnixNano": time,
                        "asInt": "9007199254740993",
                    },
                    {
                        "attributes": [
                            {"key": "direction", "value": {"stringValue": "egress"}},
                            labels,
                        ],
                        "startTimeUnixNano": time,
                        "timeUnixNano": time,
                        "asInt": "0",
                    },
                ],
            },
        },
        {
            "name": "ayaflow.bytes_per_second",
            "description": "Mean.",
            "unit": "By/s",
            "gauge": {"dataPoints": [{"timeUnixNano": time, "asDouble": 1.5}]},
        },
        {
            "name": "ayaflow.dns_lookup_duration_seconds",
            "description": "Time.",
            "unit": "s",
            "histogram": {
                "aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE",
                "dataPoints": [
                    {
                        "startTimeUnixNano": "1700000000000000000",
                        "timeUnixNano": time,
                        "count": "6",
                        "sum": 7.5,
                        "bucketCounts": ["1", "2", "3"],
                        "explicitBounds": [0.5, 1.0],
                    }
                ],
            },
        },
    ]


def test_an_interval_is_cut_into_parts_that_are_the_same_each_time() -> None:
    encoder = Encoder({"service.name": "x"}, points_max=3)
    parts = list(encoder.requests(FAMILIES, TIME_S))
    assert [
        [metric.name for metric in part.resource_metrics[0].scope_metrics[0].metrics]
        for part in parts
    ] == [
        ["ayaflow.bytes", "ayaflow.bytes_per_second"],
        ["ayaflow.dns_lookup_duration_seconds"],
    ]
    again = [part.SerializeToString() for part in encoder.requests(FAMILIES, TIME_S)]
    assert again == [part.SerializeToString() for part in parts]


def test_a_long_family_goes_on_in_the_next_part() -> None:
    parts = list(Encoder({}, points_max=1).requests(FAMILIES, TIME_S))
    names = [part.resource_metrics[0].scope_metrics[0].metrics[0].name for part in parts]
    assert names[:3] == ["ayaflow.bytes", "ayaflow.bytes", "ayaflow.bytes_per_second"]
    assert len(parts) == 4


def test_nothing_to_show_is_no_request() -> None:
    assert list(Encoder({}).requests([], TIME_S)) == []


BUILD = BuildInfo("1.2.3", "0123abc", "0.26.0", "6.1.0")


def test_the_resource_says_who_it_is() -> None:
    found = resource_attributes(BUILD, {}, ())
    assert found["service.name"] == "ayaflow-exporter"
    assert found["service.version"] == "1.2.3"
    assert found["service.instance.id"] == found["host.name"]
    assert (found["os.type"], found["os.version"]) == ("linux", "6.1.0")
    assert not [key for key in found if key.startswith("k8s.")]


def test_in_kubernetes_the_instance_is_the_node_whatever_the_pod() -> None:
    pod = {"K8S_NODE_NAME": "n1", "K8S_POD_NAME": "p", "K8S_NAMESPACE_NAME": "s"}
    found = resource_attributes(BUILD, {**pod, "K8S_POD_UID": "u"}, ())
    assert found["service.instance.id"] == "n1"
    assert [found[f"k8s.{key}"] for key in ("node.name", "pod.name", "namespace.name")] == [
        *("n1", "p", "s")
    ]
    assert found["k8s.pod.uid"] == "u"


def test_what_the_settings_state_wins() -> None:
    given = (("service.instance.id", "mine"), ("host.id", ""), ("a", "b"))
    found = resource_attributes(BUILD, {}, given)
    assert (found["service.instance.id"], found["a"]) == ("mine", "b")
    assert "host.id" not in found
