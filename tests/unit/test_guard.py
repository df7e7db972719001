"""Passwords at the door: who has none comes to no page but the probes."""

from __future__ import annotations

import base64
import threading
import time

import bcrypt
import pytest

from exporter.outputs.guard import Guard
from exporter.outputs.http_message import Request
from exporter.outputs.passwords import Passwords
from exporter.outputs.wsgi import Environ, StartResponse, call

LONG = "a" * 71


def hashed(password: str, cost: int = 4) -> bytes:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost))


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    return Passwords(
        {
            "alice": hashed("secret"),
            "zoë": hashed("pä:ss"),
            "long": hashed(LONG + "b"),
            "empty": hashed(""),
            "php": hashed("secret").replace(b"$2b$", b"$2y$"),
        }
    )


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (basic("alice", "secret"), True),
        (basic("alice", "secret").replace("Basic", "bAsIc"), True),
        (basic("zoë", "pä:ss"), True),
        (basic("php", "secret"), True),
        (basic("empty", ""), True),
        (basic("long", LONG + "b"), True),
        # bcrypt takes 72 bytes, here as everywhere.
        (basic("long", LONG + "bc"), True),
        (basic("long", LONG), False),
        (basic("alice", "Secret"), False),
        (basic("alice", ""), False),
        (basic("alice", "secret\0"), False),
        (basic("alic", "secret"), False),
        (basic("bob", "secret"), False),  # the hash of another user's fits
        (basic("", ""), False),
        ("Basic " + base64.b64encode(b"\xff\xfe:secret").decode(), False),
        ("Basic " + base64.b64encode(b"alice").decode(), False),
        ("Basic alice:secret", False),
        ("Basic \xe4\xf6", False),
        ("Basic", False),
        ("Bearer " + base64.b64encode(b"alice:secret").decode(), False),
        ("", False),
    ],
)
def test_who_is_let_in(passwords: Passwords, header: str, accepted: bool) -> None:
    assert passwords.accept(header) is accepted
    assert passwords.accept(header) is accepted


def test_a_right_password_is_remembered_and_a_wrong_one_is_not() -> None:
    passwords = Passwords({"alice": hashed("secret", 10)})
    assert passwords.accept(basic("alice", "secret"))
    began = time.process_time()
    for _ in range(1000):
        assert passwords.accept(basic("alice", "secret"))
    assert time.process_time() - began < 1.0  # a thousand checks of that cost take 50 s
    assert not passwords.accept(basic("alice", "wrong"))
    assert not passwords.accept(basic("alice", "wrong"))


def test_who_is_remembered_waits_for_nobody_who_guesses() -> None:
    passwords = Passwords({"alice": hashed("secret", 11)})
    assert passwords.accept(basic("alice", "secret"))
    guessing = [
        threading.Thread(target=passwords.accept, args=(basic("alice", f"{n}"),)) for n in range(8)
    ]
    for each in guessing:
        each.start()
    assert passwords.accept(basic("alice", "secret"))
    assert any(each.is_alive() for each in guessing)
    for each in guessing:
        each.join()


def get(guard: Guard, path: str, authorization: str | None = None) -> tuple[str, dict[str, str]]:
    headers = {"authorization": authorization} if authorization is not None else {}
    response = call(guard, Request("GET", path, "", headers, True), "192.0.2.1")
    return response.status, dict(response.headers)


def page(environ: Environ, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"page"]


def test_only_probes_are_answered_without_a_password(passwords: Passwords) -> None:
    guard = Guard(page, ("/-/healthy",))
    assert get(guard, "/metrics")[0] == "200 OK"
    guard.accepts = passwords.accept
    status, headers = get(guard, "/metrics")
    assert status == "401 Unauthorized"
    assert headers["WWW-Authenticate"].startswith("Basic realm=")
    assert get(guard, "/-/healthy")[0] == "200 OK"
    assert get(guard, "/-/healthy/")[0] == "401 Unauthorized"
    assert get(guard, "/no-such-page")[0] == "401 Unauthorized"
    assert get(guard, "/metrics", basic("alice", "secret"))[0] == "200 OK"
    assert get(guard, "/metrics", basic("alice", "wrong"))[0] == "401 Unauthorized"


def test_headers_are_added_to_each_answer(passwords: Passwords) -> None:
    guard = Guard(page)
    guard.headers = (("X-Frame-Options", "deny"),)
    assert get(guard, "/")[1] == {"Content-Type": "text/plain", "X-Frame-Options": "deny"}
    guard.accepts = passwords.accept
    assert get(guard, "/")[1]["X-Frame-Options"] == "deny"
