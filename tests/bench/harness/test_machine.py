"""What processes take, as benches ask for it."""

from __future__ import annotations

import os
import threading
import time

import pytest

from tests.bench.harness.machine import cpu_s

WORK_S = 0.05


def work() -> None:
    until_s = time.thread_time() + WORK_S
    while time.thread_time() < until_s:
        pass


def test_the_time_of_threads_that_have_ended_is_counted() -> None:
    before_s = cpu_s([os.getpid()])
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert cpu_s([os.getpid()]) - before_s >= WORK_S
    assert cpu_s([os.getpid()]) == pytest.approx(time.process_time(), abs=0.5)
