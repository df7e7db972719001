"""The command line: words in, one command called, every error turned into one sentence.

Exit codes: 0 for success, 1 for what cannot be done, 2 for words that make no command line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from exporter import config, flags, values
from exporter.errors import ExporterError
from exporter.given import Given, UsageError
from exporter.options import CONFIG_FILE
from exporter.version import VERSION, revision

PROGRAM = "ayaflow-exporter"

_INTERRUPTED = 130
"""As a shell counts a process that SIGINT ended."""

_COMMANDS_HELP = """\
commands:
  run                  Count and serve; the default.
  check-config FILE    Read a configuration file: exit 0, or a sentence with the file, line and key.
  check-system         Say of each thing that the exporter needs of the system: ok, or what to do.
  backfill             Write the history as OpenMetrics with timestamps, for promtool.
  detach               Remove what an exporter left attached or pinned.

In the configuration file dots nest and hyphens are underscores: --flows.idle-timeout 60s is
flows: {idle_timeout: 60s}. An option that may be given several times is a list there, and its flags
replace that list. interface: [eth0] is short for interface: {name: [eth0]}.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code. *words*: the command line after the program."""
    try:
        code = _dispatch(list(sys.argv[1:] if words is None else words))
        sys.stdout.flush()
        return code
    except ExporterError as error:
        for sentence in str(error).split("\n"):
            print(f"{PROGRAM}: {sentence}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # standard output was a pipe whose reader has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _dispatch(words: list[str]) -> int:
    if not words or words[0].startswith("-"):
        return _run(words)
    if words[0] not in _COMMANDS:
        known = ", ".join(_COMMANDS)
        raise UsageError(f"{words[0]}: is no command; there are {known}")
    return _COMMANDS[words[0]](words[1:])


def _run(words: list[str]) -> int:
    parser = flags.Parser(
        PROGRAM,
        f"{PROGRAM} [run] [flags] | check-config FILE | check-system | backfill | detach",
        "Shows how many packets and bytes each domain sends and receives, as metrics.",
        _COMMANDS_HELP,
    )
    parser.add_argument(
        "--version", action="version", version=_version(), help="Show the version, and end."
    )
    flags.add_options(parser)
    given = flags.given_flags(parser, words)
    read = config.read(given)

    from exporter import logs, pipeline

    logs.set_up(read["log.level"], read["log.format"])
    pipeline.run(given, read)
    return 0


def _check_config(words: list[str]) -> int:
    parser = flags.Parser(
        f"{PROGRAM} check-config",
        f"{PROGRAM} check-config FILE",
        "Reads a configuration file and says what is wrong with it.",
    )
    parser.add_argument("file", metavar="FILE", help="The YAML file.")
    file = parser.parse_args(words).file
    settings = config.load({CONFIG_FILE: Given((file,), file)})
    if settings.web.config_file is not None:
        from exporter.outputs.web_security import WebSecurity

        WebSecurity(Path(settings.web.config_file))
    print(f"{file}: ok")
    return 0


def _check_system(words: list[str]) -> int:
    name = f"{PROGRAM} check-system"
    about = "Says of each thing that the exporter needs of the system: ok, or what to do."
    flags.Parser(name, name, about).parse_args(words)
    from exporter import check_system

    return check_system.main()


def _backfill(words: list[str]) -> int:
    from exporter import backfill

    backfill.main(f"{PROGRAM} backfill", words)
    return 0


def _detach(words: list[str]) -> int:
    name = f"{PROGRAM} detach"
    parser = flags.Parser(
        name, f"{name} [--pin.path DIR]", "Removes what an exporter left attached or pinned."
    )
    parser.add_argument(
        "--pin.path",
        dest="pin_path",
        metavar="DIR",
        default="/sys/fs/bpf/ayaflow",
        help="Where its pins are; the default is %(default)s.",
    )
    given = parser.parse_args(words).pin_path
    try:
        directory = values.pin_path(given)
    except ValueError as error:
        raise UsageError(f"--pin.path: {error}") from None
    from exporter import detaching

    for sentence in detaching.detach(directory):
        print(sentence)
    return 0


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": _run,
    "check-config": _check_config,
    "check-system": _check_system,
    "backfill": _backfill,
    "detach": _detach,
}


def _version() -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    system = os.uname()
    return (
        f"{PROGRAM}, version {VERSION} (revision: {revision()})\n"
        f"  python version:  {python}\n"
        f"  platform:        {system.sysname.lower()}/{system.machine}"
    )
