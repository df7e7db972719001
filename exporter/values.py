"""How the text of a flag, or of a scalar in the configuration file, becomes a value.

One function for each type. Each raises ValueError with the end of a sentence whose subject is the
option: `must be …, not "…"`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

Parser = Callable[[str], object]

_SHOWN_MAX = 60
"""Characters of a wrong value that a message repeats: enough to find it, and still one line."""

PIN_PATH_MAX = 200
"""Characters: the name of a map's section, in which bcc is told where it is pinned, is short."""

_DURATION = re.compile(r"(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?(?:([0-9]{1,9})ms)?")
_SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB)?")
_NUMBER = re.compile(r"[0-9]{1,15}")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*\.?")
_SIZE_UNITS = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

INTERFACE_NAME_MAX = 15
"""Bytes of an interface's name: IFNAMSIZ of the kernel less the closing zero."""


def quoted(text: str) -> str:
    """The text in quotes, in one line and not too long."""
    shown = text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return f'"{escaped}"'


def integer(minimum: int, maximum: int) -> Parser:
    """A whole number from *minimum* to *maximum*."""

    def parse(text: str) -> int:
        if not _NUMBER.fullmatch(text) or not minimum <= int(text) <= maximum:
            raise ValueError(
                f"must be a whole number from {minimum} to {maximum}, not {quoted(text)}"
            )
        return int(text)

    return parse


def _between(measure: Callable[[str], float], minimum: str, maximum: str) -> Parser:
    low, high = measure(minimum), measure(maximum)

    def parse(text: str) -> float:
        value = measure(text)
        if not low <= value <= high:
            raise ValueError(f"must be from {minimum} to {maximum}, not {quoted(text)}")
        return value

    return parse


def duration(minimum: str, maximum: str) -> Parser:
    """A time as in `90s`, `1h30m` or `500ms`; the value is in seconds."""
    return _between(_seconds, minimum, maximum)


def _seconds(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError(f"must be a duration such as 500ms, 60s, 5m or 1h, not {quoted(text)}")
    hours, minutes, seconds, milliseconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def size(minimum: str, maximum: str) -> Parser:
    """Bytes, as in `262144`, `256KiB` or `64MiB`."""
    return _between(_bytes, minimum, maximum)


def _bytes(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"must be a size such as 262144, 256KiB or 1MiB, not {quoted(text)}")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def file_path(text: str) -> str:
    """The path of a file, or `none`."""
    if not text or "\0" in text or text.endswith("/"):
        raise ValueError(f"must be the path of a file, or none, not {quoted(text)}")
    return text


def power_of_two_size(minimum: int, maximum: int) -> Parser:
    """Bytes, as in `262144`, `256KiB` or `1MiB`; a power of two."""

    def parse(text: str) -> int:
        given = _bytes(text)
        if given & (given - 1) or not minimum <= given <= maximum:
            raise ValueError(
                f"must be a power of two from {minimum} to {maximum} bytes, not {quoted(text)}"
            )
        return given

    return parse


def choice(*names: str) -> Parser:
    """One of a few words."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"must be {', '.join(names[:-1])} or {names[-1]}, not {quoted(text)}")
        return text

    return parse


def switch(text: str) -> bool:
    """On or off, in any spelling that YAML knows."""
    if text.lower() in ("true", "yes", "on"):
        return True
    if text.lower() in ("false", "no", "off"):
        return False
    raise ValueError(f"must be true or false, not {quoted(text)}")


def user(text: str) -> str:
    """The name or the number of a user; whether there is one is not looked up."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?", text) or len(text) > 256:
        raise ValueError(f"must be a user's name or number, not {quoted(text)}")
    return text


def interface(text: str) -> str:
    """The name of an interface, or a glob: `eth0`, `en*`, `wg[0-9]`."""
    if not text or re.search(r"[\s/\x00-\x1f]", text):
        raise ValueError(
            f"must be the name of an interface or a glob such as en*, not {quoted(text)}"
        )
    if not re.search(r"[*?\[]", text) and len(text.encode()) > INTERFACE_NAME_MAX:
        raise ValueError(
            f"must be an interface's name of at most {INTERFACE_NAME_MAX} bytes, not {quoted(text)}"
        )
    return text


def pin_path(text: str) -> Path | None:
    """A directory to pin in; None for `none`. The compiler gets it within a string."""
    if text in ("", "none"):
        return None
    if not re.fullmatch(r"(/[A-Za-z0-9_+@.-]+)+/?", text) or {".", ".."} & set(text.split("/")):
        raise ValueError(
            f"must be none or the absolute path of a directory, of letters, digits and ._+@-, not"
            f" {quoted(text)}"
        )
    if len(text) > PIN_PATH_MAX:
        raise ValueError(f"must have at most {PIN_PATH_MAX} characters, not {len(text)}")
    return Path(text)


def url_path(*taken: str) -> Parser:
    """The path of a URL that is none of the paths with another use."""

    def parse(text: str) -> str:
        if not re.fullmatch(r"/[A-Za-z0-9._~!$&'()*+,;=:@/-]*", text):
            raise ValueError(
                f"must be a path that begins with / and has only letters, digits and -._~, not"
                f" {quoted(text)}"
            )
        if text in taken:
            raise ValueError(f"must not be {text}, which the exporter answers otherwise")
        return text

    return parse


def listen_address(text: str) -> str:
    """Where to listen, `HOST:PORT`; checked, and left as it is."""
    split_address(text)
    return text


def split_address(text: str) -> tuple[str, int]:
    """The host and the port of `:10517`, `127.0.0.1:10517` or `[::1]:10517`.

    The host is empty for every address of the machine. Port 0 is any free one. Raises ValueError.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not _NUMBER.fullmatch(port) or int(port) > 65535:
        raise ValueError(
            f"must be HOST:PORT or :PORT with a port from 1 to 65535, not {quoted(text)}"
        )
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_address(host, version=6):
            raise ValueError(f"must have an IPv6 address in the brackets, not {quoted(text)}")
    elif ":" in host:
        raise ValueError(
            f"must have the IPv6 address in brackets, as in [::1]:10517: {quoted(text)}"
        )
    elif re.fullmatch(r"[0-9.]+", host):
        if not _is_address(host, version=4):
            raise ValueError(f"must have a whole IPv4 address, not {quoted(text)}")
    elif host and (len(host) > 253 or not _HOST_NAME.fullmatch(host)):
        raise ValueError(f"must have the name or the address of a host, not {quoted(text)}")
    return host, int(port)


def _is_address(text: str, version: int) -> bool:
    import socket  # here: only where there is an address to check

    family, text = (
        (socket.AF_INET, text) if version == 4 else (socket.AF_INET6, text.partition("%")[0])
    )
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True
