"""The history pushed to a collector: through outages, kills and refusals, each point once.

Against the real OpenTelemetry Collector where it was built, else against the official protobuf
services; the test's name says which. What needs answers of the test's own runs against the latter.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest

from exporter.clock import Now
from exporter.counts.history import History
from exporter.counts.history_store import open_history
from exporter.counts.outbox import Outbox
from exporter.counts.rows import DOMAIN, Row
from exporter.outputs.otlp import prepare, readable_paths
from exporter.outputs.otlp_backoff import Backoff
from exporter.outputs.otlp_encode import Encoder
from exporter.outputs.otlp_sender import OtlpSender
from exporter.outputs.otlp_settings import OtlpSettings, settings
from exporter.outputs.otlp_shown import ShownIntervals
from tests.e2e.otlp_receiver import (
    Answer,
    Collector,
    Point,
    Receiver,
    Sink,
    collector_binary,
    points_of,
    repeated,
)
from tests.e2e.waiting import wait_until
from tests.unit.loading import load_flags
from tests.unit.test_otlp_grpc import details

BEGAN_S = 1_700_000_000.0
EVERY_S = 10.0
CLOSE_S = 20.0
STATE = "otlp"
KILLS = 2
BACKLOG = 100
"""Intervals, three requests each: more than all kills wait for, and what comes meanwhile."""
PACKETS = "ayaflow.packets"
BINARY = collector_binary()
KINDS = ["services", *(["collector"] if BINARY is not None else [])]


@pytest.fixture(params=KINDS)
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sink]:
    if request.param == "services":
        receiver = Receiver()
        receiver.start()
        yield receiver
        receiver.stop()
        return
    assert BINARY is not None
    collector = Collector(BINARY, tmp_path)
    collector.start()
    yield collector
    collector.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    started.start()
    yield started
    started.stop()


def pushing_to(sink: Sink, protocol: str = "http/protobuf") -> OtlpSettings:
    url = sink.http_url if protocol == "http/protobuf" else sink.grpc_url
    words = (f"--otlp.endpoint={url}", f"--otlp.protocol={protocol}", "--otlp.compression=gzip")
    found = settings(load_flags(*words).otlp, {})
    assert found is not None
    return found


class Exporter:
    """A history that grows by intervals, and a sender of it."""

    def __init__(
        self,
        path: Path | None,
        to: OtlpSettings,
        points_max: int = 10_000,
        retention_s: float = 3600.0,
        sent: int | None = None,
    ) -> None:
        """*path*: None for a history without a file. *sent*: what the cursor is set back to."""
        self.history = History() if path is None else open_history(path, retention_s, 64 << 20)
        if sent is not None:
            self.history.set_state(STATE, {"sent": sent})
        self.outbox = Outbox(self.history, STATE)
        made = prepare(to)
        encoder = Encoder({"service.name": "test"}, points_max)
        self.sender = OtlpSender(
            self.outbox,
            ShownIntervals(),
            encoder,
            made.transport,
            to.timeout_s,
            jitter=lambda: 0.0,
        )

    def ends_intervals(self, count: int, domains: int = 3) -> None:
        for _ in range(count):
            number = self.history.newest + 1
            moment = Now(BEGAN_S + number * EVERY_S, number * EVERY_S)
            self.history.record(rows(number, domains), {}, moment)
            self.outbox.serve()

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
        """As the pipeline, serves while it waits."""

        def is_so() -> bool:
            self.outbox.serve()
            return condition()

        wait_until(is_so, timeout_s=timeout_s, poll_s=0.002)

    def close(self) -> None:
        self.sender.close(CLOSE_S)
        self.history.close()

    def exports(self) -> dict[str, int]:
        return dict(self.sender.counts().exports)

    def failures(self) -> dict[str, int]:
        return {reason: count for reason, count in self.sender.counts().failures if count}


def rows(number: int, domains: int) -> list[Row]:
    """The first domain counts in each interval, the others once."""
    counted = [number] + [1] * (domains - 1)
    return [
        Row(DOMAIN, ("ingress", f"d{n}.example"), (packets, packets * 100, 1), BEGAN_S + n / 8)
        for n, packets in enumerate(counted)
    ]


def at_ns(after_s: float) -> int:
    """So many seconds after the beginning."""
    return int(BEGAN_S) * 10**9 + int(after_s * 1e9)


def packets(points: list[Point]) -> list[Point]:
    return [point for point in points if point.name == PACKETS]


def assert_every_interval_once(points: list[Point], intervals: int, domains: int = 3) -> None:
    """Each with every series, at its own time, in order."""
    assert not repeated(points)
    found = packets(points)
    times = [point.time_ns for point in found]
    assert times == sorted(times)
    wanted = Counter({at_ns(n * EVERY_S): domains for n in range(1, intervals + 1)})
    assert Counter(times) == wanted
    for point in found:
        number = round((point.time_ns / 1e9 - BEGAN_S) / EVERY_S)
        domain = int(dict(point.attributes)["domain"][1:].partition(".")[0])
        assert point.value == (number if domain == 0 else 1)
        assert point.start_ns == at_ns(domain / 8)


def has_all(sink: Sink, intervals: int, domains: int = 3) -> bool:
    return len(packets(sink.points())) >= intervals * domains


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_every_series_is_pushed_at_each_interval(sink: Sink, tmp_path: Path, protocol: str) -> None:
    exporter = Exporter(tmp_path / "h.db", pushing_to(sink, protocol))
    exporter.sender.start()
    for n in range(3):
        exporter.ends_intervals(1)
        exporter.wait_until(partial(has_all, sink, n + 1))
    exporter.close()
    assert_every_interval_once(sink.points(), 3)
    assert exporter.exports() == {"accepted": 3, "partial": 0, "dropped": 0}
    assert exporter.sender.counts().backlog_s == 0.0
    print(f"pushed to {sink.what}")


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_what_an_outage_held_up_comes_in_order_at_its_own_times(
    sink: Sink, tmp_path: Path, protocol: str
) -> None:
    exporter = Exporter(tmp_path / "h.db", pushing_to(sink, protocol))
    exporter.sender.start()
    exporter.ends_intervals(2)
    exporter.wait_until(lambda: has_all(sink, 2))
    sink.stop()
    exporter.ends_intervals(18)
    exporter.wait_until(lambda: sum(exporter.failures().values()) > 0)
    assert exporter.sender.counts().backlog_s > 0
    sink.start()
    exporter.wait_until(lambda: has_all(sink, 20), timeout_s=30)
    exporter.ends_intervals(1)
    exporter.wait_until(lambda: has_all(sink, 21))
    exporter.close()
    assert_every_interval_once(sink.points(), 21)
    assert exporter.exports()["accepted"] == 21
    assert not exporter.failures().keys() - {"connection", "unavailable", "timeout"}


def test_what_a_stop_leaves_the_next_start_pushes(sink: Sink, tmp_path: Path) -> None:
    sink.stop()
    first = Exporter(tmp_path / "h.db", pushing_to(sink))
    first.sender.start()
    first.ends_intervals(5)
    first.wait_until(lambda: sum(first.failures().values()) > 0)
    first.close()
    sink.start()
    second = Exporter(tmp_path / "h.db", pushing_to(sink))
    second.ends_intervals(1)
    second.sender.start()
    second.wait_until(lambda: has_all(sink, 6))
    second.close()
    assert_every_interval_once(sink.points(), 6)


KILLED = """
import select
import sys
from pathlib import Path
from tests.unit.test_otlp_sender import Exporter, pushing_to
from tests.e2e.otlp_receiver import Receiver

url, path = sys.argv[1:]
to = Receiver.__new__(Receiver)
to.http_url = url
exporter = Exporter(Path(path), pushing_to(to), points_max=7)
exporter.sender.start()
while not select.select([exporter.outbox.fd, sys.stdin], [], [])[0].count(sys.stdin):
    exporter.outbox.serve()
"""


def test_a_kill_while_catching_up_repeats_one_request_at_most_and_as_it_was(
    receiver: Receiver, tmp_path: Path
) -> None:
    path = tmp_path / "h.db"
    waiting = Exporter(path, pushing_to(receiver))
    waiting.ends_intervals(BACKLOG)
    waiting.history.close()
    for _ in range(KILLS):
        seen = len(receiver.requests) + 20
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, receiver.http_url, str(path)], stdin=subprocess.PIPE
        )
        with child:
            wait_until(partial(has_requests, receiver, seen), timeout_s=30, poll_s=0.001)
            child.kill()
    last = Exporter(path, pushing_to(receiver), points_max=7)
    last.sender.start()
    last.wait_until(lambda: has_pushed_all(last), timeout_s=60)
    last.close()
    requests = [request.SerializeToString(deterministic=True) for request in receiver.requests]
    again = [n for n in range(1, len(requests)) if requests[n] == requests[n - 1]]
    assert len(again) <= KILLS
    once = [
        point for n, r in enumerate(receiver.requests) if n not in again for point in points_of(r)
    ]
    assert_every_interval_once(once, BACKLOG)


def has_requests(receiver: Receiver, count: int) -> bool:
    return len(receiver.requests) > count


def has_pushed_all(exporter: Exporter) -> bool:
    state = exporter.history.state(STATE)
    return state is not None and state["sent"] == exporter.history.newest


def test_without_a_file_the_present_is_pushed_and_an_outage_is_a_gap(receiver: Receiver) -> None:
    exporter = Exporter(None, pushing_to(receiver))
    exporter.sender.start()
    exporter.ends_intervals(1)
    exporter.wait_until(lambda: has_all(receiver, 1))
    receiver.stop()
    exporter.ends_intervals(5)
    exporter.wait_until(lambda: "connection" in exporter.failures())
    receiver.start()
    exporter.ends_intervals(1)
    exporter.wait_until(lambda: exporter.failures()["expired"] == 5)
    exporter.close()
    times = {point.time_ns for point in packets(receiver.points())}
    assert times == {at_ns(EVERY_S), at_ns(7 * EVERY_S)}


def test_a_request_that_is_refused_for_good_is_let_go(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [Answer(400), Answer(400), Answer(take=True)]
    exporter = Exporter(tmp_path / "h.db", pushing_to(receiver))
    exporter.sender.start()
    with caplog.at_level(logging.INFO):
        exporter.ends_intervals(3)
        exporter.wait_until(lambda: has_all(receiver, 1))
        exporter.close()
    assert receiver.tries == 3
    assert exporter.exports() == {"accepted": 1, "partial": 0, "dropped": 2}
    assert exporter.failures() == {"rejected": 2}
    assert [record.getMessage() for record in caplog.records] == [
        "otlp: a request was refused for good: HTTP 400",
        "otlp: pushing works again",
    ]


def test_a_collector_that_says_when_to_come_back_is_left_alone_until_then(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = [Answer(503, (("Retry-After", "2"),))]
    exporter = Exporter(tmp_path / "h.db", pushing_to(receiver))
    exporter.sender.start()
    exporter.ends_intervals(1)
    exporter.wait_until(lambda: receiver.tries == 1)
    asked_s = time.monotonic()
    exporter.wait_until(lambda: receiver.tries == 2)
    assert time.monotonic() - asked_s > 1.5
    exporter.close()
    assert_every_interval_once(receiver.points(), 1)
    assert exporter.failures() == {"unavailable": 1}


def test_a_stop_does_not_disturb_a_collector_that_said_when_to_come_back(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.errors = [(grpc.StatusCode.RESOURCE_EXHAUSTED, details(600))]
    exporter = Exporter(tmp_path / "h.db", pushing_to(receiver, "grpc"))
    exporter.sender.start()
    exporter.ends_intervals(1)
    exporter.wait_until(lambda: exporter.failures() == {"unavailable": 1})
    exporter.close()
    assert receiver.tries == 1


def test_a_stop_pushes_the_last_interval(receiver: Receiver, tmp_path: Path) -> None:
    exporter = Exporter(tmp_path / "h.db", pushing_to(receiver))
    exporter.sender.start()
    exporter.ends_intervals(4)
    exporter.close()
    assert_every_interval_once(receiver.points(), 4)


def test_a_stop_waits_for_no_collector_longer_than_it_may(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.stop()
    exporter = Exporter(tmp_path / "h.db", pushing_to(receiver))
    exporter.ends_intervals(4)
    exporter.sender.start()
    began = time.monotonic()
    exporter.close()
    assert time.monotonic() - began < CLOSE_S
    assert "4 intervals were not pushed in time; the next start pushes them" in caplog.text


def test_what_the_history_no_longer_keeps_is_counted(receiver: Receiver, tmp_path: Path) -> None:
    receiver.stop()
    exporter = Exporter(tmp_path / "h.db", pushing_to(receiver), retention_s=10 * EVERY_S)
    exporter.ends_intervals(1)
    exporter.sender.start()
    exporter.wait_until(lambda: sum(exporter.failures().values()) > 0)
    exporter.ends_intervals(30)
    receiver.start()
    oldest = exporter.history.oldest()
    assert oldest > 2
    exporter.wait_until(lambda: has_all(receiver, 31 - oldest + 1), timeout_s=30)
    exporter.close()
    times = {point.time_ns for point in packets(receiver.points())}
    given_up = exporter.failures()["expired"]
    assert len(times) + given_up == 31
    assert not repeated(receiver.points())


def test_series_that_ended_among_what_was_given_up_are_not_shown_again(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.stop()
    exporter = Exporter(tmp_path / "h.db", pushing_to(receiver), retention_s=5 * EVERY_S)
    exporter.ends_intervals(1, domains=9)
    exporter.sender.start()
    exporter.wait_until(lambda: sum(exporter.failures().values()) > 0)
    exporter.ends_intervals(30, domains=2)
    receiver.start()
    last_ns = at_ns(31 * EVERY_S)
    exporter.wait_until(
        lambda: any(p.time_ns == last_ns for p in packets(receiver.points())), timeout_s=30
    )
    exporter.close()
    assert len([p for p in packets(receiver.points()) if p.time_ns == last_ns]) == 2


def test_rates_of_a_repeated_interval_are_those_of_the_first_time(
    receiver: Receiver, tmp_path: Path
) -> None:
    exporter = Exporter(tmp_path / "h.db", pushing_to(receiver))
    exporter.sender.start()
    exporter.ends_intervals(20)
    exporter.close()
    first = receiver.points()
    again = Exporter(tmp_path / "h.db", pushing_to(receiver), sent=19)
    again.sender.start()
    again.wait_until(lambda: len(receiver.points()) > len(first))
    again.close()
    last_ns = at_ns(20 * EVERY_S)
    assert receiver.points()[len(first) :] == [p for p in first if p.time_ns == last_ns]


def test_back_off_doubles_from_one_second_to_ten_and_what_was_asked_wins() -> None:
    full = Backoff(lambda: 1.0)
    assert [full.wait_s(None) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert full.wait_s(33.0) == 33.0
    full.reset()
    assert full.wait_s(None) == 1.0
    least = Backoff(lambda: 0.0)
    assert [least.wait_s(None) for _ in range(2)] == [0.75, 1.5]


def test_what_must_stay_readable_is_there() -> None:
    paths = readable_paths(pushing_to(Receiver()))
    assert Path("/etc/hosts") in paths
    assert all(path.exists() for path in paths)


def test_catching_up_is_sixty_times_faster_than_real_time(
    receiver: Receiver, tmp_path: Path
) -> None:
    """No limit is asserted: the figure is printed."""
    exporter = Exporter(tmp_path / "h.db", pushing_to(receiver))
    exporter.ends_intervals(20, domains=400)
    began = time.monotonic()
    exporter.sender.start()
    exporter.wait_until(lambda: has_pushed_all(exporter), timeout_s=120)
    took_s = time.monotonic() - began
    exporter.close()
    print(f"20 intervals of 400 series in {took_s:.2f} s: {200 / took_s:.0f} times real time")
    assert len({point.time_ns for point in receiver.points()}) == 20
