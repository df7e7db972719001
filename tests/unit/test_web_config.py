"""The web configuration file: as Prometheus' exporters have it, or one sentence with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.given import ConfigError
from exporter.outputs.web_config import Tls, WebSettings, read

HASH = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"

WHOLE = f"""
tls_server_config:
  cert_file: tls/server.pem
  key_file: /etc/tls/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  client_allowed_sans: [prometheus.example]
  min_version: TLS12
  max_version: TLS13
  cipher_suites:
    - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    - TLS_AES_128_GCM_SHA256
  prefer_server_cipher_suites: true
http_server_config:
  http2: true
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=31536000; includeSubDomains
basic_auth_users:
  alice: {HASH}
  "bob smith": {HASH}
"""


def read_text(folder: Path, text: str | bytes) -> WebSettings:
    path = folder / "web.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    return read(path)


def test_everything(tmp_path: Path) -> None:
    assert read_text(tmp_path, WHOLE) == WebSettings(
        tls=Tls(
            certificate=tmp_path / "tls/server.pem",
            key=Path("/etc/tls/server.key"),
            client_ca=tmp_path / "ca.pem",
            client_auth="RequireAndVerifyClientCert",
            client_sans=("prometheus.example",),
            min_version="TLS12",
            max_version="TLS13",
            suites=("ECDHE-RSA-AES128-GCM-SHA256",),
        ),
        users=(("alice", HASH.encode()), ("bob smith", HASH.encode())),
        headers=(
            ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
            ("X-Frame-Options", "deny"),
        ),
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "~", "tls_server_config:\n", "{}"])
def test_nothing_is_a_web_server_without_all_of_it(tmp_path: Path, text: str) -> None:
    assert read_text(tmp_path, text) == WebSettings()


TLS = "tls_server_config:\n  cert_file: a\n  key_file: b\n"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("tls: {}", 1, "tls: is no key that this exporter knows; there are tls_server_config"),
        ("tls_server_config: 1", 1, "tls_server_config: must be a mapping"),
        ("tls_server_config:\n  cert_file: a", 2, "needs both cert_file and key_file"),
        ("tls_server_config: {}", 1, "needs both cert_file and key_file"),
        (TLS + "  curve_preferences: [X25519]", 4, "curve_preferences: is no key"),
        (TLS + "  client_auth_type: RequestClientCert", 4, "must be NoClientCert, Verify"),
        (TLS + "  client_auth_type: RequireAndVerifyClientCert", 2, "need each other"),
        (TLS + "  client_ca_file: c", 2, "need each other"),
        (TLS + "  client_allowed_sans: [c]", 2, "client_allowed_sans needs client_ca_file"),
        (TLS + "  min_version: TLS10", 4, "min_version: must be TLS12 or TLS13"),
        (TLS + "  min_version: TLS13\n  max_version: TLS12", 2, "must not be below min_version"),
        (TLS + "  cipher_suites: [RC4]", 4, "cipher_suites: must be TLS_ECDHE_ECDSA_WITH_AES"),
        (TLS + "  cert_file: x", 4, "cert_file: is given twice"),
        ("basic_auth_users: [alice]", 1, "basic_auth_users: must be a mapping"),
        ("basic_auth_users:\n  alice: secret", 2, "alice: must be a bcrypt hash"),
        (f"basic_auth_users:\n  a: {HASH.replace('$10$', '$31$')}", 2, "of cost 4 to 15, not 31"),
        ("http_server_config: {headers: {X-Other: a}}", 1, "X-Other: is no key"),
        ('http_server_config:\n  headers:\n    X-Frame-Options: "a\\nb"', 3, "one line of ASCII"),
        ("http_server_config: {http2: maybe}", 1, "http2: must be true or false"),
        ("rate_limit: {}", 1, "rate_limit: is no key"),
        ("- a", 1, "the file must be a mapping"),
        ("a: b: c", 1, "this is not YAML"),
        (b"\xff", 1, "UTF-8"),
    ],
)
def test_what_is_wrong_has_its_line(
    tmp_path: Path, text: str | bytes, line: int, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_text(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/web.yaml:{line}: ")
    assert problem in str(caught.value)
    assert "secret" not in str(caught.value)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = "tls_server_config:\n  cert_file: [a]\n  x: 1\nbasic_auth_users:\n  a: b\ny: 1\n"
    with pytest.raises(ConfigError) as caught:
        read_text(tmp_path, text)
    lines = [line.split(": ")[0].rpartition(":")[2] for line in str(caught.value).splitlines()]
    assert sorted(lines) == ["2", "3", "5", "6"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read(tmp_path / "web.yaml")


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_text_at_all_is_a_traceback(tmp_path: Path, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(WHOLE)))
    end = data.draw(st.integers(start, min(start + 40, len(WHOLE))))
    put = data.draw(st.text(max_size=8) | st.text("{}[]:,-&*!|>'\"%@#?~ \n\t", max_size=8))
    try:
        read_text(tmp_path, WHOLE[:start] + put + WHOLE[end:])
    except ConfigError as error:
        for line in str(error).split("\n"):
            assert line.startswith(f"{tmp_path}/web.yaml:")
