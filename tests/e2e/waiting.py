"""Waiting for a condition, so that no test sleeps for a fixed time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = float(os.environ.get("AYAFLOW_TEST_PATIENCE", "1"))
"""How many times as long everything may take: more than 1 on a machine that is emulated."""

_POLL_S = 0.05


def wait_until(check: Callable[[], T], timeout_s: float = 20.0, poll_s: float = _POLL_S) -> T:
    """Calls *check* until it raises no AssertionError and answers something that is not False.

    *timeout_s* is for a machine that is not emulated. Returns the answer. At the end of the time,
    what the last call raised is raised.
    """
    end = time.monotonic() + timeout_s * PATIENCE
    while True:
        try:
            answer = check()
            assert answer is not False, f"{check} stayed false for {timeout_s} s"
            return answer
        except AssertionError:
            if time.monotonic() > end:
                raise
        time.sleep(poll_s)
