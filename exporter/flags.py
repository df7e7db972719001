"""The flags of `run`, made from the table of options.

argparse splits the words; what they mean is for the option to say, as with the configuration file.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from exporter.given import Given, UsageError
from exporter.options import CONFIG_FILE, OPTIONS, Option, flag_of

_HELP_COLUMN = 34


class Parser(argparse.ArgumentParser):
    """argparse with no abbreviated flags, and with an error that is one sentence."""

    def __init__(self, prog: str, usage: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            add_help=False,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
                prog, max_help_position=_HELP_COLUMN, width=100
            ),
        )
        self.add_argument("-h", "--help", action="help", help="Show this, and end.")

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(message.removeprefix("argument "))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds every option."""
    parser.add_argument(
        flag_of(CONFIG_FILE),
        dest=CONFIG_FILE,
        metavar="FILE",
        help="Read options from this YAML file; a flag beside it wins.",
    )
    for option in OPTIONS:
        names = [flag_of(name) for name in (option.shorthand, option.key) if name]
        if option.metavar:
            parser.add_argument(
                *names[:1],
                dest=option.key,
                action="append",
                metavar=option.metavar,
                help=_help(option),
            )
            for hidden in names[1:]:
                _add_hidden(parser, hidden, option.key)
        else:
            _add_switch(parser, option.key, _help(option))


def _add_hidden(parser: argparse.ArgumentParser, flag: str, key: str) -> None:
    parser.add_argument(flag, dest=key, action="append", help=argparse.SUPPRESS)


def _add_switch(parser: argparse.ArgumentParser, key: str, text: str) -> None:
    flag = flag_of(key)
    parser.add_argument(flag, dest=key, action="append_const", const="true", help=text)
    parser.add_argument(
        "--no-" + flag[2:], dest=key, action="append_const", const="false", help=argparse.SUPPRESS
    )


def _help(option: Option) -> str:
    if option.repeatable:
        shown = " ".join(option.default)
    else:
        shown = str(option.default) if option.metavar else _switched(option)
    return option.help.replace("%", "%%") + (f" [{shown}]" if shown else "")


def _switched(option: Option) -> str:
    state = "on" if option.default == "true" else "off"
    return f"{state}; --no-{option.flag[2:]}"


def given_flags(parser: argparse.ArgumentParser, words: Sequence[str]) -> dict[str, Given]:
    """What the command line gives, by key. Raises UsageError."""
    namespace, rest = parser.parse_known_args([_hyphens(word) for word in words])
    if rest:
        raise UsageError(_unknown(rest[0]))
    given: dict[str, Given] = {}
    repeatable = {option.key for option in OPTIONS if option.repeatable}
    for key, texts in vars(namespace).items():
        if key == CONFIG_FILE and texts is not None:
            given[key] = Given((texts,), flag_of(key))
        elif texts and key in repeatable:
            given[key] = Given(tuple(text for text in texts if text), _flag(key))
        elif texts:
            given[key] = Given((texts[-1],), _flag(key))
    return given


def _flag(key: str) -> str:
    return next((option.flag for option in OPTIONS if option.key == key), flag_of(key))


def _hyphens(word: str) -> str:
    """A flag may be spelled like its key, with underscores."""
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value


def _unknown(word: str) -> str:
    if not word.startswith("-"):
        return f"{word}: is no command and no flag; --help lists both"
    import difflib  # here: only an error needs it

    flags = [CONFIG_FILE, *(option.flag for option in OPTIONS)]
    closest = difflib.get_close_matches(word.partition("=")[0], flags, n=1, cutoff=0.0)[0]
    return f"{word}: is no flag of this version; the closest is {closest}"
