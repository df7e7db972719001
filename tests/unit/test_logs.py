"""Lines of the log, as logfmt and as JSON."""

from __future__ import annotations

import json
import logging

import pytest

from exporter import logs


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"msg": message, "args": args, "levelname": "INFO", "created": 1700000000.0129, **extra}
    )
    made.exc_info = None
    return made


def test_logfmt_has_time_level_message_and_what_the_caller_adds() -> None:
    assert logs.Logfmt().format(record("attached to %s", "eth0", device="eth0", mode="tcx")) == (
        'ts=2023-11-14T22:13:20.012Z level=info msg="attached to eth0" device=eth0 mode=tcx'
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain-1.2/3", "plain-1.2/3"),
        (7, "7"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x"', '"say \\"x\\""'),
        ("a\nlevel=error", '"a\\nlevel=error"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ("\u2028", '"\\u2028"'),
        ("über", '"über"'),
    ],
)
def test_logfmt_keeps_any_value_within_its_field(value: object, shown: str) -> None:
    assert logs.Logfmt().format(record("m", key=value)).endswith(f' msg="m" key={shown}')


@pytest.mark.parametrize("message", ["", "two\nlines", 'a "quoted" word', "\x07 bell"])
def test_both_formats_keep_a_message_in_one_line(message: str) -> None:
    assert json.loads(logs.Json().format(record("%s", message)))["msg"] == message
    for formatter in (logs.Json(), logs.Logfmt()):
        line = formatter.format(record("%s", message))
        assert line.isprintable()


def test_json_has_the_same_fields() -> None:
    assert json.loads(logs.Json().format(record("attached", device="eth0", n=2))) == {
        "ts": "2023-11-14T22:13:20.012Z",
        "level": "info",
        "msg": "attached",
        "device": "eth0",
        "n": 2,
    }


def test_an_exception_stays_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "logfmt")
    try:
        raise ValueError("one\ntwo")
    except ValueError:
        logging.getLogger("x").exception("failed")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert 'level=error msg="failed" exception="Traceback ' in lines[0]


def test_only_what_is_bad_enough_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("warning", "json")
    logging.getLogger("x").info("quiet")
    logging.getLogger("x").warning("loud")
    written = capsys.readouterr()
    assert written.out == ""
    assert [json.loads(line)["msg"] for line in written.err.splitlines()] == ["loud"]
