"""The log: one line an event on standard error, as logfmt or JSON, stamped in UTC milliseconds.

What a caller passes as `extra` comes after the message, as fields of its own.
"""

from __future__ import annotations

import json
import logging
import re
import time

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PLAIN = re.compile(r"[!#-<>-~]+")
"""What logfmt needs no quotes for: printable ASCII without space, quote and equals sign."""


def set_up(level: str, line_format: str) -> None:
    """Sends what is of *level* or worse to standard error; *line_format* is logfmt or json."""
    handler = logging.StreamHandler()
    handler.setFormatter(Json() if line_format == "json" else Logfmt())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.raiseExceptions = False  # a closed standard error must not stop the counting


def set_level(level: str) -> None:
    """From now on what is of *level* or worse is sent."""
    logging.getLogger().setLevel(level.upper())


def _fields(record: logging.LogRecord) -> dict[str, object]:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    fields: dict[str, object] = {
        "ts": f"{seconds}.{int(record.created * 1000) % 1000:03}Z",
        "level": record.levelname.lower(),
        "msg": record.getMessage(),
    }
    fields.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
    if record.exc_info:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)
    return fields


class Logfmt(logging.Formatter):
    """`ts=… level=info msg="…" key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields = _fields(record)
        message = json.dumps(fields["msg"], ensure_ascii=not str(fields["msg"]).isprintable())
        return " ".join(
            f"{key}={message if key == 'msg' else _word(value)}" for key, value in fields.items()
        )


def _word(value: object) -> str:
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


class Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return json.dumps(_fields(record), default=str)
