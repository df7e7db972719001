"""The command `backfill`: what it is told, and where its output goes."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from exporter import config, flags, values
from exporter.errors import ExporterError
from exporter.given import Given, UsageError
from exporter.options import CONFIG_FILE, flag_of

_HISTORY_PATH = "history.path"

_parse_duration = values.duration("0s", "87600h")
_EPOCH = re.compile(r"@[0-9]{1,11}(\.[0-9]+)?")

_HELP = """\
A time is how long ago (90m, 2h), a date and time (2026-07-01T12:00:00Z) or seconds since the epoch
(@1782907200). The exporter may be running. To bring it into a Prometheus:
  ayaflow-exporter backfill --since 2h > history.txt
  promtool tsdb create-blocks-from openmetrics history.txt DATA-DIRECTORY
"""


def main(program: str, words: Sequence[str]) -> None:
    """Writes to standard output. *program*: what the error messages of its flags begin with."""
    parser = flags.Parser(
        program,
        f"{program} --since TIME [--until TIME] [flags]",
        "Writes the history as OpenMetrics with timestamps to standard output, for promtool.",
        _HELP,
    )
    parser.add_argument("--since", metavar="TIME", required=True, help="From when on.")
    parser.add_argument("--until", metavar="TIME", default="0s", help="Until when. [now]")
    parser.add_argument(
        flag_of(_HISTORY_PATH), dest=_HISTORY_PATH, metavar="FILE", help="The history's file."
    )
    parser.add_argument(
        flag_of(CONFIG_FILE),
        dest=CONFIG_FILE,
        metavar="FILE",
        help="The exporter's configuration file, which names it, too.",
    )
    told = vars(parser.parse_args(words))
    path = _history_path(told)
    now_s = time.time()
    since_s, until_s = (_moment(name, told[name], now_s) for name in ("since", "until"))
    if since_s > until_s:
        raise UsageError("--since: must be earlier than --until")

    from exporter.outputs import backfill

    def say(sentence: str) -> None:
        print(f"{program}: {sentence}", file=sys.stderr)

    try:
        backfill.write(path, since_s, until_s, sys.stdout, say)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is buffered
        raise ExporterError(f"standard output: {error.strerror}") from None


def _history_path(told: dict[str, str | None]) -> Path:
    given = {
        key: Given((text,), flag_of(key))
        for key in (CONFIG_FILE, _HISTORY_PATH)
        if (text := told[key]) is not None
    }
    path = config.load(given).history.path
    if path is None:
        raise ExporterError("history.path is none: without a file there is no history to read")
    return Path(path)


def _moment(name: str, text: str, now_s: float) -> float:
    """Seconds since the epoch."""
    if _EPOCH.fullmatch(text):
        return float(text[1:])
    try:
        if "T" in text:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
            if moment.tzinfo is not None:
                return moment.timestamp()
        else:
            return now_s - float(str(_parse_duration(text)))
    except ValueError:
        pass
    raise UsageError(
        f"--{name}: must be how long ago, such as 2h, or a time with its zone, such as"
        f" 2026-07-01T12:00:00Z, not {values.quoted(text)}"
    )
