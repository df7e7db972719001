"""Whatever is in the configuration file, it is understood, or it is one sentence with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter import config
from exporter.given import ConfigError, Given
from exporter.options import CONFIG_FILE
from tests.unit.loading import load_text

MALFORMED = [
    ("flows: {max: 1}\nflows: {max: 2}", 2, "flows: is given twice, first in line 1"),
    ("flows:\n  max: 1\n  max: 2", 3, "flows.max: is given twice, first in line 2"),
    ("flowss: {max: 1}", 1, "flowss: is no key of this version; the closest is flows.max"),
    ("listen_address: ':1'", 1, "the closest is web.listen_address"),
    ("flows:\n  idle-timeout: 1s", 2, "the closest is flows.idle_timeout"),
    ("web: {x: 1}", 1, "web.x: is no key"),
    ("web:\n  config: {path: x}", 2, "web.config.path: is no key"),
    ("web: {allow: [10.0.0.1/8]}", 1, "web.allow: must be a network without host bits"),
    ("flows.max: 1", 1, "flows.max: a dot is a level of its own, so write flows: {max: …}"),
    ("config: {file: x}", 1, "can be given only as a flag, --config.file"),
    ("interface: {name: {a: b}}", 1, "interface.name: must be a list of values, not a mapping"),
    ("interface: [[eth0]]", 1, "interface: must be a list of single values"),
    ("interface: [eth0, ~]", 1, "interface: has no value"),
    ("interface: [{a: b}]", 1, "interface: must be a list of single values"),
    ("interface:", 1, "interface: has no value"),
    ("attach: [tcx]", 1, "attach: must be a single value, not a list"),
    ("attach: {tcx: 1}", 1, "attach: must be a single value, not a mapping"),
    ("attach:", 1, "attach: has no value"),
    ("attach: !!binary dGN4", 1, "attach: must be a plain value, without the tag"),
    ("attach: !x tcx", 1, "attach: must be a plain value, without the tag"),
    ("user: !!python/object/apply:os.system ['true']", 1, "user: must be a single value"),
    ("web: 5", 1, "web: must be a mapping, of allow, config, listen_address, telemetry_path"),
    ("flows: [max]", 1, "flows: must be a mapping, of idle_timeout, max"),
    ("web: true", 1, "web: must be a mapping"),
    ("- a\n- b", 1, "the file must be a mapping of keys to values"),
    ("just words", 1, "the file must be a mapping"),
    ("42", 1, "the file must be a mapping"),
    ("? [a]\n: b", 1, "a key must be a word"),
    ("? {a: b}\n: c", 1, "a key must be a word"),
    ("~: 1", 1, "~: is no key"),
    ("1: 2", 1, "1: is no key"),
    ("'': 2", 1, "is no key"),
    ("<<: {attach: tcx}", 1, "<<: is no key"),
    ('"a\\nb": 1', 1, "a\\nb: is no key"),
    ("'" + "k" * 500 + "': 1", 1, "is no key"),
    ("a: b: c", 1, "this is not YAML"),
    ("\n\nflows: {max: 1", 3, "this is not YAML"),
    ("attach: 'auto", 1, "this is not YAML"),
    ("\tattach: auto", 1, "this is not YAML"),
    ("attach: auto\n  user: x", 2, "this is not YAML"),
    ("attach: *nowhere", 1, "this is not YAML"),
    ("--- {}\n--- {}", 2, "this is not YAML"),
    ("%YAML 9.9\n--- {}", 1, "this is not YAML"),
    ("attach: @", 1, "this is not YAML"),
    ("a: &a\n  b: *a", 1, "a: is no key"),
    ("flows: &f\n  max: *f", 2, "flows.max: must be a single value"),
    ("web: &w\n  config: *w", 2, "web.config.config: is no key"),
    ("attach: auto\nuser: \x00", 2, "a character that YAML does not allow"),
    ("attach: auto\n# \x07", 2, "a character that YAML does not allow"),
    ('attach: "\\UFFFFFFFF"', 1, "YAML"),
    ("[" * 100_000, 1, "YAML"),
    ("{a: " * 50_000, 1, "YAML"),
    (b"attach: auto\nuser: \xff\xfe", 2, "the file must be UTF-8 text"),
    ("attach: auto".encode("utf-16"), 1, "the file must be UTF-8 text"),
    (b"\x7fELF\x02\x01\x01\x00", 1, "a character that YAML does not allow"),
]


@pytest.mark.parametrize(
    ("text", "line", "problem"), MALFORMED, ids=[repr(case[0])[:40] for case in MALFORMED]
)
def test_a_malformed_file_is_one_sentence_with_its_line(
    tmp_path: Path, text: str | bytes, line: int, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text)
    sentence = str(caught.value)
    assert sentence.startswith(f"{tmp_path}/c.yaml:{line}: ")
    assert problem in sentence
    assert "\n" not in sentence
    assert len(sentence) < 400


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "none.yaml", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (Path("/dev/zero"), "larger than 1048576 bytes"),
        (Path("\0"), "embedded null byte"),
    ):
        with pytest.raises(ConfigError, match=reason):
            config.load({CONFIG_FILE: Given((str(path),), "--config.file")})


VALID = "interface: {name: [eth0], static: true}\nweb: {listen_address: ':1'}\nflows: {max: 9}\n"


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_text_at_all_is_a_traceback(tmp_path: Path, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(VALID)))
    end = data.draw(st.integers(start, len(VALID)))
    put = data.draw(st.text(max_size=8) | st.text("{}[]:,-&*!|>'\"%@#?~ \n\t", max_size=8))
    text = (VALID[:start] + put + VALID[end:]).encode("utf-8", "surrogatepass")
    sentence = ""
    try:
        load_text(tmp_path, text)
    except ConfigError as error:
        sentence = str(error)
    for line in sentence.split("\n") if sentence else ():
        assert line.startswith(f"{tmp_path}/c.yaml:")


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = "attach: tcy\nflows:\n  max: 0\n  maxx: 1\nuser: [a]\nweb: 1\nlog: {level: loud}\n"
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text)
    path = tmp_path / "c.yaml"
    lines = str(caught.value).splitlines()
    assert {line.split(": ")[0] for line in lines} == {f"{path}:{n}" for n in (1, 3, 4, 5, 6, 7)}
    assert all(line.startswith(f"{path}:") for line in lines)
