"""Requests that HTTP forbids, or that ask for what there is not: what each must be answered."""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Callable

from exporter.outputs.http_message import HEAD_MAX
from exporter.outputs.server import NO_RESPONSE

_GOOD = (b"GET /metrics HTTP/1.1", b"Host: node:10517", b"User-Agent: x", b"Accept: text/plain")
_REQUEST_LINES = (
    *(b"GET  /metrics HTTP/1.1", b"GET /metrics", b"GET /metrics HTTP/2", b"GET / HTTP/1.1 "),
    *(b"GET /m\x00 HTTP/1.1", b"GET\t/metrics HTTP/1.1", b"GET /\xe9 HTTP/1.1", b"GET"),
    *(b"GET /a b HTTP/1.1", b"G@T / HTTP/1.1", b"GET / http/1.1", b"GET / HTTP/1.10"),
)
_HEADERS = (
    *(b"no colon", b" folded: x", b"blank : x", b": x"),
    *(b"X\x00: x", b"X: a\x00b", b"X: \x7f\x01"),
)
_TARGETS = (b"/../../etc/passwd", b"*", b"node:80", b"/%00", b"/metrics/", b"//metrics")
_METHODS = (b"POST", b"PUT", b"DELETE", b"TRACE", b"PRI", b"get")
_BODIES = (b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Content-Length: -1")
_TIMEOUT_S = 15.0


def _junk(rng: random.Random, most: int = 40) -> bytes:
    return rng.randbytes(rng.randrange(1, most))


def _word(rng: random.Random) -> bytes:
    return bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", k=8))


def _joined(*lines: bytes) -> bytes:
    return b"\r\n".join((*lines, b"", b""))


def _noise(rng: random.Random) -> bytes:
    """Its first byte begins no method."""
    return rng.choice((b"\x16\x03\x01", b"\x00", b" ", b"\r\n", b"(", b"\xff")) + _junk(rng, 2000)


def _request_line(rng: random.Random) -> bytes:
    return _joined(rng.choice((*_REQUEST_LINES, _word(rng))), *_GOOD[1:])


def _header(rng: random.Random) -> bytes:
    return _joined(*_GOOD, rng.choice(_HEADERS), b"Last: " + _word(rng))


def _host(rng: random.Random) -> bytes:
    """None, or two."""
    return _joined(_GOOD[0], *_GOOD[2:], *rng.choice(((), (_GOOD[1], b"hOST: " + _word(rng)))))


def _too_large(rng: random.Random) -> bytes:
    return _joined(*_GOOD, b"X: " + b"y" * rng.randrange(HEAD_MAX, 4 * HEAD_MAX))


def _no_such_page(rng: random.Random) -> bytes:
    target = rng.choice((*_TARGETS, b"/" + _word(rng)))
    return _joined(b"GET " + target + b" HTTP/1.1", *_GOOD[1:])


def _method(rng: random.Random) -> bytes:
    """With a body, which is no request of its own."""
    method = rng.choice((*_METHODS, _word(rng)))
    return _joined(method + b" /metrics HTTP/1.1", *_GOOD[1:], rng.choice(_BODIES)) + _GOOD[0]


def _half(rng: random.Random) -> bytes:
    whole = _joined(*_GOOD)
    return whole[: rng.randrange(1, len(whole) - 2)]


KINDS: tuple[tuple[Callable[[random.Random], bytes], str], ...] = (
    (_noise, "400"),
    (_request_line, "400"),
    (_header, "400"),
    (_host, "400"),
    (_too_large, "431"),
    (_no_such_page, "404"),
    (_method, "405"),
    (_half, NO_RESPONSE),
)
"""Each kind, and how it must end: the code of the response."""


def ask(address: tuple[str, int], request: bytes) -> str:
    """The code of the response, or NO_RESPONSE. Whoever has said all hangs up on its side."""
    with socket.create_connection(address, _TIMEOUT_S) as plug:
        try:
            plug.sendall(request)
            plug.shutdown(socket.SHUT_WR)
            answer = plug.recv(64)
        except ConnectionError:
            return NO_RESPONSE
    return answer.split()[1].decode() if answer else NO_RESPONSE


def ask_all(address: tuple[str, int], count: int, rng: random.Random) -> Counter[str]:
    """So many of all kinds, each answered as it must be; how often each answer was given."""
    answers: Counter[str] = Counter()
    for _ in range(count):
        kind, expected = rng.choice(KINDS)
        request = kind(rng)
        code = ask(address, request)
        assert code == expected, f"{kind.__name__} {request[:300]!r} was answered {code}"
        answers[code] += 1
    return answers
