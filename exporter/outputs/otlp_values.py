"""How the settings of OTLP are written, in flags, in the file and in the OTEL_* variables.

Each raises ValueError with the end of a sentence whose subject is the option or the variable.
Source: OpenTelemetry Protocol Exporter, https://opentelemetry.io/docs/specs/otel/protocol/exporter.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from exporter.values import quoted, split_address

HTTP = "http/protobuf"
GRPC = "grpc"

_PORTS = {(HTTP, False): 80, (HTTP, True): 443, (GRPC, False): 4317, (GRPC, True): 443}
"""By protocol, and whether it is secure: what a URL without a port means."""
_URL = re.compile(r"(?:(https?)://)?([^/?#@\s]+)((?:/(?!/)|\?)[^#\s]*)?", re.ASCII)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")


class Endpoint(NamedTuple):
    """Where a collector listens."""

    secure: bool
    host: str
    port: int
    path: str
    """With the query; empty where the URL has none."""

    @property
    def authority(self) -> str:
        """`HOST:PORT`, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def endpoint(text: str) -> str:
    """An URL with a scheme, or `none`; checked, and left as it is."""
    if text != "none":
        split_endpoint(text, HTTP)
    return text


def split_endpoint(text: str, protocol: str) -> Endpoint:
    """The parts of an endpoint. gRPC may leave the scheme out, which then counts as secure."""
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError(
            "must be a URL such as http://collector:4318, without a user or password in it, not "
            + quoted(text.rpartition("@")[2])
        )
    scheme, authority, path = match.groups()
    if scheme is None and protocol == HTTP:
        raise ValueError(f"must begin with http:// or https://, not {quoted(text)}")
    secure = scheme != "http"
    if re.search(r":[0-9]+$", authority) is None:
        authority += f":{_PORTS[protocol, secure]}"
    host, port = split_address(authority)
    if not host or not port:
        raise ValueError(f"must have a host and a port, not {quoted(text)}")
    return Endpoint(secure, host, port, path or "")


def headers(text: str) -> tuple[tuple[str, str], ...]:
    """`NAME=VALUE,NAME=VALUE`, values percent-encoded, as in W3C Baggage without properties."""
    found = []
    for item in text.split(","):
        name, equals, value = item.strip().partition("=")
        if not item.strip():
            continue
        name, value = name.strip(), unescaped(value.strip())
        # The text is not repeated: it may be a password.
        if not equals or not _HEADER_NAME.fullmatch(name):
            raise ValueError("must be NAME=VALUE pairs with commas between, such as api-key=secret")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"must have printable ASCII as the value of {name}")
        found.append((name.lower(), value))
    return tuple(found)


def attributes(text: str) -> dict[str, str]:
    """`KEY=VALUE,KEY=VALUE`, both percent-encoded: what OTEL_RESOURCE_ATTRIBUTES has."""
    found = {}
    for item in filter(None, map(str.strip, text.split(","))):
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"must be KEY=VALUE pairs with commas between, not {quoted(text)}")
        found[unescaped(key.strip())] = unescaped(value.strip())
    return found


def unescaped(text: str) -> str:
    """Without percent-encoding; what is no valid UTF-8 then is an error."""
    try:
        plain = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), text.encode())
        return plain.decode()
    except UnicodeDecodeError:
        raise ValueError("must be UTF-8 once its percent-encoding is undone") from None


def milliseconds(text: str) -> float:
    """A whole number of milliseconds as the specification writes durations; in seconds."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise ValueError(f"must be a whole number of milliseconds from 1, not {quoted(text)}")
    return int(text) / 1000
