"""Flags and the file over OTEL_* variables over defaults; and what cannot be is one sentence."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from exporter.config import OtlpConfig
from exporter.errors import ExporterError
from exporter.outputs.otlp_settings import OtlpSettings, settings
from exporter.outputs.otlp_values import Endpoint
from tests.unit.loading import load_flags

PREFIX = "OTEL_EXPORTER_OTLP_"
AT_C = {PREFIX + "ENDPOINT": "http://c:4318"}


def from_variables(**variables: str) -> OtlpSettings:
    """With an endpoint; names without prefix."""
    found = settings(nothing(), {**AT_C, **{PREFIX + k: v for k, v in variables.items()}})
    assert found is not None
    return found


def nothing() -> OtlpConfig:
    return load_flags().otlp


def test_nothing_is_pushed_unless_it_is_asked_for() -> None:
    assert settings(nothing(), {}) is None
    assert settings(nothing(), {PREFIX + "PROTOCOL": "grpc", PREFIX + "ENDPOINT": " "}) is None
    assert settings(nothing(), {**AT_C, "OTEL_METRICS_EXPORTER": "none"}) is None
    assert settings(load_flags("--otlp.endpoint=none").otlp, AT_C) is None


def test_it_may_be_asked_for_without_an_endpoint() -> None:
    found = settings(nothing(), {"OTEL_METRICS_EXPORTER": "prometheus,otlp"})
    assert found is not None
    assert found.url == "http://localhost:4318/v1/metrics"


def test_defaults_are_those_of_the_specification() -> None:
    assert from_variables() == OtlpSettings(
        protocol="http/protobuf",
        endpoint=Endpoint(False, "c", 4318, "/v1/metrics"),
        headers=(),
        gzip=False,
        timeout_s=10.0,
        certificate=None,
        client_certificate=None,
        client_key=None,
        resource_attributes=(),
        interval_s=None,
    )


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/metrics"),
        ({"ENDPOINT": "https://c/otlp?a=b"}, "https://c:443/otlp/v1/metrics?a=b"),
        ({"METRICS_ENDPOINT": "http://m:1/own"}, "http://m:1/own"),
        ({"METRICS_ENDPOINT": "http://m"}, "http://m:80/"),
        ({"ENDPOINT": "http://[::1]:4318"}, "http://[::1]:4318/v1/metrics"),
        ({"ENDPOINT": "http://c:4317", "PROTOCOL": "grpc"}, "http://c:4317"),
        ({"ENDPOINT": "http://c", "PROTOCOL": "grpc"}, "http://c:4317"),
        ({"ENDPOINT": "c:4317", "PROTOCOL": "grpc"}, "https://c:4317"),
        ({"ENDPOINT": "c:4317", "PROTOCOL": "grpc", "INSECURE": "true"}, "http://c:4317"),
    ],
)
def test_endpoints(variables: dict[str, str], url: str) -> None:
    assert from_variables(**variables).url == url


def test_variables_of_metrics_win_over_those_of_all_signals() -> None:
    found = from_variables(
        TIMEOUT="1", METRICS_TIMEOUT="2500", COMPRESSION="none", METRICS_COMPRESSION="gzip"
    )
    assert (found.timeout_s, found.gzip) == (2.5, True)


def test_headers_are_percent_encoded_and_have_lower_case_names() -> None:
    assert from_variables(HEADERS="Api-Key=a%20b%3D, x=1,").headers == (
        ("api-key", "a b="),
        ("x", "1"),
    )


def test_flags_win_over_every_variable() -> None:
    words = ("endpoint=https://f:1/x", "protocol=http/protobuf", "headers=a=b", "timeout=3s")
    flags = load_flags(*(f"--otlp.{word}" for word in words), "--otlp.compression=none").otlp
    variables = ("METRICS_ENDPOINT=http://m", "PROTOCOL=grpc", "HEADERS=c=d", "COMPRESSION=gzip")
    environment = dict((PREFIX + each).split("=", 1) for each in variables)
    found = settings(flags, environment)
    assert found is not None
    assert found.url == "https://f:1/x/v1/metrics"
    assert (found.protocol, found.headers) == ("http/protobuf", (("a", "b"),))
    assert (found.gzip, found.timeout_s) == (False, 3.0)


def test_files_come_from_flags_and_variables() -> None:
    found = from_variables(CERTIFICATE="/ca", CLIENT_CERTIFICATE="/cert", METRICS_CLIENT_KEY="/key")
    assert (found.certificate, found.client_certificate) == (Path("/ca"), Path("/cert"))
    assert found.client_key == Path("/key")


def test_the_service_name_of_its_own_variable_wins() -> None:
    environment = {
        **AT_C,
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=a,deployment.environment.name=x%2Cy",
        "OTEL_SERVICE_NAME": "b",
    }
    found = settings(nothing(), environment)
    assert found is not None
    assert dict(found.resource_attributes) == {
        "service.name": "b",
        "deployment.environment.name": "x,y",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENDPOINT", "c:4318"),
        ("METRICS_ENDPOINT", "http://user:secret@c"),
        ("PROTOCOL", "http/json"),
        ("PROTOCOL", "thrift"),
        ("HEADERS", "secret"),
        ("COMPRESSION", "zstd"),
        ("TIMEOUT", "10s"),
        ("METRICS_TIMEOUT", "0"),
    ],
)
def test_a_wrong_variable_is_one_sentence_with_its_name(name: str, value: str) -> None:
    with pytest.raises(ExporterError) as caught:
        from_variables(**{name: value})
    assert str(caught.value).startswith(f"{PREFIX}{name}: must ")
    assert "secret@" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_certificate_without_its_key_is_an_error() -> None:
    with pytest.raises(ExporterError, match="give both or neither"):
        from_variables(CLIENT_CERTIFICATE="/cert")


@pytest.mark.parametrize("asked", ["delta", "lowmemory"])
def test_that_delta_is_not_offered_is_said_once(
    caplog: pytest.LogCaptureFixture, asked: str
) -> None:
    with caplog.at_level(logging.INFO):
        assert from_variables(METRICS_TEMPORALITY_PREFERENCE=asked)
    assert [record.getMessage() for record in caplog.records] == [
        f"{PREFIX}METRICS_TEMPORALITY_PREFERENCE asks for {asked}, which is not offered: metrics"
        " are pushed with cumulative temporality"
    ]


def test_a_disabled_sdk_pushes_nothing_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    assert settings(nothing(), {**AT_C, "OTEL_SDK_DISABLED": "True"}) is None
    assert "OTEL_SDK_DISABLED" in caplog.text
    assert settings(nothing(), {**AT_C, "OTEL_SDK_DISABLED": "1"}) is not None
