"""Flags, configuration file and defaults become one Config, or one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter import config
from exporter.given import ConfigError, UsageError
from exporter.options import OPTIONS
from tests.unit.loading import as_yaml, load_flags, load_text

OTHER_VALUES = {
    "interface.name": ("eth0", "wg*"),
    "interface.exclude": ("tap*",),
    "interface.static": ("true",),
    "attach": ("clsact",),
    "pin.path": ("/sys/fs/bpf/ayaflow",),
    "user": ("nobody",),
    "web.listen_address": ("127.0.0.1:9000",),
    "web.telemetry_path": ("/m",),
    "web.config.file": ("/etc/ayaflow/web.yaml",),
    "web.allow": ("10.0.0.0/8", "fd00::/8"),
    "flows.max": ("7",),
    "flows.idle_timeout": ("1h30m",),
    "ring.size": ("1MiB",),
    "ring.payloads": ("2MiB",),
    "deep_inspect": ("false",),
    "names.interface": ("lo", "cali*"),
    "names.grace": ("500ms",),
    "domains.mode": ("registrable",),
    "domains.max": ("7",),
    "domains.idle": ("1h",),
    "domains.hide": ("^ads?[.]", "[.]internal$"),
    "domains.expected": ("example.com", "*.example.org"),
    "metrics.labels": ("role", "transport"),
    "metrics.scopes": ("10.0.0.0/8=office", "fd00::/8=lab"),
    "history.path": ("/srv/history.db",),
    "history.interval": ("1s",),
    "history.retention": ("2h",),
    "history.max_size": ("1GiB",),
    "otlp.endpoint": ("https://collector:4318/a",),
    "otlp.protocol": ("grpc",),
    "otlp.headers": ("a=b", "c=d"),
    "otlp.compression": ("gzip",),
    "otlp.timeout": ("500ms",),
    "otlp.certificate": ("/etc/ca.pem",),
    "otlp.client_certificate": ("/etc/client.pem",),
    "otlp.client_key": ("/etc/client.key",),
    "log.level": ("debug",),
    "log.format": ("json",),
}
"""For each option something that is not its default."""


def test_defaults() -> None:
    assert load_flags() == config.Config(
        interface=(),
        interface_exclude=("lo", "docker0", "br-*", "veth*", "cali*", "lxc*", "ifb*", "enP*"),
        interface_static=False,
        attach="auto",
        pin_path=None,
        user="65534",
        web=config.WebConfig(":10517", "/metrics", None, ()),
        flows=config.FlowsConfig(50000, 60.0),
        ring=config.RingConfig(65536, 131072),
        names=config.NamesConfig(deep_inspect=True, interface=(), grace_s=2.0),
        domains=config.DomainsConfig(mode="full", max=200, idle_s=86400.0, hide=(), expected=()),
        metrics=config.MetricsConfig(labels=(), scopes=()),
        history=config.HistoryConfig("/var/lib/ayaflow/history.db", 10.0, 3600.0, 64 << 20),
        otlp=config.OtlpConfig("", None, (), None, None, "", "", ""),
        log=config.LogConfig("info", "logfmt"),
    )


def test_every_option_has_another_value_to_test_with() -> None:
    assert set(OTHER_VALUES) == {option.key for option in OPTIONS}


@pytest.mark.parametrize("key", OTHER_VALUES)
def test_a_key_and_its_flag_are_the_same_option(tmp_path: Path, key: str) -> None:
    values = OTHER_VALUES[key]
    by_file = load_text(tmp_path, as_yaml(key, values))
    flag = key.replace("_", "-")
    if key in SWITCHES:
        words = [f"--{flag}" if values == ("true",) else f"--no-{flag}"]
    else:
        words = [f"--{flag}={value}" for value in values]
    assert load_flags(*words) == by_file
    assert by_file != load_flags()


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    text = "flows: {max: 10, idle_timeout: 5s}\ninterface: [eth0, eth1]\n"
    loaded = load_text(tmp_path, text, "--flows.max", "20", "--interface", "wan0")
    assert loaded.flows == config.FlowsConfig(20, 5.0)
    assert loaded.interface == ("wan0",)
    assert loaded.ring.size == 65536


def test_a_switch_of_the_file_can_be_turned_off_by_flag(tmp_path: Path) -> None:
    assert load_text(tmp_path, "interface: {static: yes}").interface_static
    assert not load_text(
        tmp_path, "interface: {static: yes}", "--no-interface.static"
    ).interface_static


def test_payloads_are_inspected_unless_that_is_turned_off(tmp_path: Path) -> None:
    assert load_flags().names.deep_inspect
    assert not load_flags("--no-deep-inspect").names.deep_inspect
    assert load_text(tmp_path, "deep_inspect: no", "--deep-inspect").names.deep_inspect


def test_own_networks_are_pairs() -> None:
    assert load_flags("--metrics.scopes", "10.0.0.0/8=office").metrics.scopes == (
        ("10.0.0.0/8", "office"),
    )


def test_the_last_of_a_repeated_flag_counts() -> None:
    assert load_flags("--flows.max", "1", "--flows.max=2").flows.max == 2


def test_flags_may_be_spelled_with_underscores() -> None:
    assert load_flags("--flows.idle_timeout=5m").flows.idle_timeout_s == 300
    assert load_flags("--web.telemetry_path=/a_b").web.telemetry_path == "/a_b"


def test_an_empty_value_empties_a_list(tmp_path: Path) -> None:
    assert load_flags("--interface.exclude", "").interface_exclude == ()
    assert load_text(tmp_path, "interface: {exclude: []}").interface_exclude == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interface: eth0", ("eth0",)),
        ("interface: [eth0, 'wg*']", ("eth0", "wg*")),
        ("interface: {name: [eth0]}", ("eth0",)),
        ("interface:\n  name:\n    - no\n    - 0123\n", ("no", "0123")),
    ],
)
def test_interfaces_in_the_file(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    assert load_text(tmp_path, text).interface == expected


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "web:\n  # listen_address: :1\n", "\ufeffattach: auto"]
)
def test_an_empty_file_gives_the_defaults(tmp_path: Path, text: str) -> None:
    assert load_text(tmp_path, text) == load_flags()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("5m", 300), ("1h", 3600), ("500ms", 0.5), ("1m1s1ms", 61.001)],
)
def test_durations(text: str, seconds: float) -> None:
    assert load_flags("--flows.idle-timeout", text).flows.idle_timeout_s == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"), [("256KiB", 262144), ("262144", 262144), ("1MiB", 1 << 20), ("65536B", 65536)]
)
def test_sizes(text: str, size: int) -> None:
    assert load_flags("--ring.size", text).ring.size == size


@pytest.mark.parametrize(
    "text",
    [":10517", "127.0.0.1:1", "[::1]:65535", "[fe80::1%eth0]:80", "localhost:0", "a.b-c.d:9"],
)
def test_listen_addresses(text: str) -> None:
    assert load_flags("--web.listen-address", text).web.listen_address == text


SWITCHES = {option.key for option in OPTIONS if not option.metavar}
LISTS = {option.key for option in OPTIONS if option.repeatable}
"""Of these an empty value of a flag is none at all."""

BAD_VALUES = {
    "interface.name": ["", "a b", "a/b", "sixteen-letters-", "a\tb"],
    "interface.static": ["1", "maybe", ""],
    "attach": ["", "xdp", "TCX", "auto "],
    "pin.path": ["ayaflow", "/", "/a b", "/a'b", "/sys/../tmp", "/a//b", "/a:b", "/" + "x" * 200],
    "user": ["", "a b", "-x", "a:b", "x" * 300],
    "web.listen_address": [
        *("", "10517", ":", ":x", ":65536", ":-1", ": 1", "[]:1", "[::1]", "[::g]:1", "::1:80"),
        *(
            "1.2.3:80",
            "256.0.0.1:1",
            "1.2.3.4.5:1",
            "a b:1",
            "a/b:1",
            "[1.2.3.4]:1",
            "-a:1",
            ":\u0661",
        ),
    ],
    "web.telemetry_path": [
        "",
        "metrics",
        "/",
        "/-/healthy",
        "/-/ready",
        "/a b",
        "/m?x",
        "/m#x",
        "/ü",
    ],
    "flows.max": [
        "",
        "0",
        "-1",
        "4000001",
        "1.5",
        "1e3",
        "0x10",
        "1_000",
        "ten",
        "9" * 5000,
        "\u0663",
    ],
    "flows.idle_timeout": ["", "60", "s", "1s1m", "-5s", "1.5s", "1d", "99ms", "25h", "60 s", "∞"],
    "ring.size": [
        "",
        "0",
        "1",
        "2048",
        "4097",
        "300KiB",
        "256KB",
        "256kib",
        "2GiB",
        "-4096",
        "4 KiB",
    ],
    "ring.payloads": ["", "0", "4097", "300KiB", "2GiB"],
    "deep_inspect": ["1", "maybe", ""],
    "names.interface": ["", "a b", "a/b", "sixteen-letters-"],
    "names.grace": ["", "2", "61s", "-1s"],
    "domains.mode": ["", "Full", "none"],
    "domains.max": ["", "0", "-1", "10001", "1.5"],
    "domains.idle": ["", "59s", "8785h", "1d"],
    "domains.hide": ["", "(", "(?=a)", "*"],
    "domains.expected": ["", "*", ".", "a b", "*.*.example", "exa mple.com", "a..b"],
    "metrics.labels": ["", "node", "Role"],
    "metrics.scopes": [
        *("", "10.0.0.0/8", "=office", "10.0.0.0/8=", "10.0.0.1/8=office", "10.0.0.0/33=office"),
        *("fd00::/129=lab", "office=10.0.0.0/8", "10.0.0.0/8=a b", "10.0.0.0/8=" + "x" * 64),
    ],
    "log.level": ["", "warn", "INFO", "trace"],
    "log.format": ["", "text", "JSON"],
    "otlp.endpoint": ["collector:4318", "ftp://c", "http://", "http://a:b@c", "http://c:0", "/x"],
    "otlp.protocol": ["http", "http/json"],
    "otlp.headers": ["a", "a b=c", "=x", "a=%0d%0a", "a=%ff", "a=%c3%bc"],
    "otlp.compression": ["zstd", "true"],
    "otlp.timeout": ["10", "0s", "11m"],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in BAD_VALUES.items() for value in values]
)
def test_a_wrong_value_is_one_sentence_with_its_place(tmp_path: Path, key: str, value: str) -> None:
    text = as_yaml(key, ('"' + value.replace("\t", "\\t") + '"',))
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, "# a comment\n\n" + text)
    sentence = str(caught.value)
    assert sentence.startswith(f"{tmp_path}/c.yaml:3: {key}: must ")
    assert "\n" not in sentence
    assert len(sentence) < 400


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (key, value)
        for key, values in BAD_VALUES.items()
        for value in values
        if key not in SWITCHES and (value or key not in LISTS)
    ],
)
def test_a_wrong_flag_is_one_sentence_with_its_name(key: str, value: str) -> None:
    flag = "--" + key.replace("_", "-")
    with pytest.raises(UsageError) as caught:
        load_flags(f"{flag}={value}")
    shown = "--interface" if key == "interface.name" else flag
    assert str(caught.value).startswith(f"{shown}: must ")
    assert "\n" not in str(caught.value)


def test_a_history_that_is_not_wanted_has_no_path() -> None:
    assert load_flags("--history.path", "none").history.path is None
