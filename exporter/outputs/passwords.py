"""Passwords of basic authentication (RFC 7617), known by their bcrypt hashes.

bcrypt is slow on purpose: a password that was right is remembered, so that a scrape costs nothing;
one is checked at a time, so that who guesses takes one core at most, and keeps nobody waiting whose
password is remembered.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import threading
from collections.abc import Mapping

import bcrypt

PASSWORD_MAX = 72
"""Bytes that bcrypt takes in; the rest never counted."""

REMEMBERED_MAX = 64
"""Right passwords: there is one of each user."""


class Passwords:
    """Who may come in."""

    def __init__(self, users: Mapping[str, bytes]) -> None:
        """*users*: bcrypt hashes by name."""
        self._users = dict(users)
        # For who is not known, so that the time does not tell: the first hash, which must not fit.
        self._any_hash = next(iter(users.values()))
        self._secret = os.urandom(32)
        self._remembered: set[bytes] = set()
        self._one_at_a_time = threading.Lock()

    def accept(self, authorization: str) -> bool:
        """Whether the header of that name has a user and the password of it."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            pair = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        # Never the password itself: memory can be read by who takes the process over.
        seal = hmac.new(self._secret, pair, hashlib.sha256).digest()
        if seal in self._remembered:
            return True
        name, colon, password = pair.partition(b":")
        if not colon or not self._is_right(name, password):
            return False
        if len(self._remembered) < REMEMBERED_MAX:
            self._remembered.add(seal)
        return True

    def _is_right(self, name: bytes, password: bytes) -> bool:
        hashed = self._users.get(name.decode("utf-8", "replace"))
        with self._one_at_a_time:
            try:
                fits = bcrypt.checkpw(password[:PASSWORD_MAX], hashed or self._any_hash)
            except ValueError:  # a password with a NUL
                return False
        return fits and hashed is not None
