"""What is malformed, by the thousand and the million: no crash, and each one is counted."""

from __future__ import annotations

import io
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from exporter import cli
from exporter.outputs.server import CODES
from tests.e2e.exporter_process import PORT, Audit, Exporter
from tests.e2e.net import End, Network
from tests.e2e.waiting import wait_until
from tests.faults.malformed_configs import broken, whole
from tests.faults.malformed_requests import ask_all
from tests.kernel.shapes import all_shapes

REAL_COMMANDS = 20
SENTENCE_MAX = 600
RSS_RATIO = 1.05
PROCESS = ("process_open_fds", "process_resident_memory_bytes")
REQUESTS = "ayaflow_http_requests_total"


def counts(short: int, full: int) -> pytest.MarkDecorator:
    """How many, in `make test` and in `make faults`."""
    long_form = pytest.param(full, id="full", marks=pytest.mark.faults)
    return pytest.mark.parametrize("count", [pytest.param(short, id="short"), long_form])


def check_config(file: Path) -> tuple[int, str]:
    """The command, in this process for speed: its exit code and its words."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = cli.main(["check-config", str(file)])
    return code, said.getvalue()


@counts(200, 1000)
def test_malformed_configs_are_refused_in_sentences_with_their_place(
    tmp_path: Path, rng: random.Random, count: int, figure: Callable[[str], None]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(b"".join(whole()))
    assert check_config(file) == (0, f"{file}: ok\n")
    sentence = re.compile(rf"ayaflow-exporter: {re.escape(str(file))}:[0-9]+: [^\n]*\S")
    refused = sentences = accepted = 0
    while refused < count:
        file.write_bytes(broken(rng))
        code, said = check_config(file)
        if code == 0:
            accepted += 1
            continue
        assert code == 1, said
        for line in said.removesuffix("\n").split("\n"):
            assert sentence.fullmatch(line), line
            assert len(line) < SENTENCE_MAX, line
            sentences += 1
        refused += 1
        if refused % (count // REAL_COMMANDS) == 0:
            command = (sys.executable, "-m", "exporter", "check-config", str(file))
            done = subprocess.run(command, capture_output=True, text=True)
            assert (done.returncode, done.stderr) == (1, said)
    figure(f"{refused} files refused in {sentences} sentences, {accepted} were right all the same")


@pytest.fixture
def ends(network: Network) -> tuple[End, End]:
    return network.wire(network.namespace("peer"), network.namespace("host"))


@counts(1000, 10_000)
def test_malformed_requests_are_refused_and_leave_nothing(
    ends: tuple[End, End], rng: random.Random, count: int, figure: Callable[[str], None]
) -> None:
    host = ends[1].namespace
    with Exporter(host, "--interface", "eth0") as exporter:
        address = ("127.0.0.1", PORT)
        host.inside(lambda: ask_all(address, count // 10, rng))
        before = exporter.scrape()
        fds, rss = (before.value(name) for name in PROCESS)
        answers = host.inside(lambda: ask_all(address, count, rng))

        def check_is_as_before() -> int:
            now = exporter.scrape()
            for code in set(CODES) - {"200"}:
                told = now.value(REQUESTS, code=code) - before.value(REQUESTS, code=code)
                assert told == answers[code], (
                    f"{answers[code]} were answered {code}, {told} counted"
                )
            now_fds, now_rss = (now.value(name) for name in PROCESS)
            assert now_fds <= fds
            assert now_rss <= RSS_RATIO * rss
            return now_rss

        last = wait_until(check_is_as_before)
        assert answers.total() == count
        assert "level=error" not in exporter.log
        figure(
            f"{dict(sorted(answers.items()))}, each counted;"
            f" RSS {rss / 2**20:.1f} MiB, then {last / 2**20:.1f}; descriptors {fds}"
        )


@pytest.fixture(scope="session")
def malformed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sender of malformed frames, compiled."""
    program = tmp_path_factory.mktemp("malformed") / "malformed"
    source = Path(__file__).with_name("malformed.c")
    flags = ("-O2", "-Wall", "-Werror", "-std=gnu11")
    subprocess.run(["cc", *flags, "-o", str(program), str(source)], check=True)
    return program


@counts(200_000, 10_000_000)
def test_malformed_packets_are_counted_to_the_byte(
    ends: tuple[End, End],
    malformed: Path,
    rng: random.Random,
    count: int,
    figure: Callable[[str], None],
) -> None:
    peer, host = ends
    good = b"".join(len(shape.frame).to_bytes(2, "big") + shape.frame for shape in all_shapes())
    with Exporter(host.namespace, "--interface", "eth0") as exporter:
        audit = Audit(exporter, host)
        seed = str(rng.randrange(1 << 32))
        done = subprocess.run(
            peer.namespace.wrap(str(malformed), peer.device, seed, str(count)),
            input=good,
            capture_output=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        sent = json.loads(done.stdout)
        metrics = audit.verify()
        counted = metrics.counted("eth0")
        assert (counted.rx_packets, counted.rx_bytes) == (sent["packets"], sent["bytes"])
        errors = metrics.sum("ayaflow_parse_errors_total")
        overflow = metrics.sum("ayaflow_flow_table_overflow_packets_total")
        figure(
            f"{counted.rx_packets:,} packets, {counted.rx_bytes:,} bytes: exact; {overflow:,} found"
            f" the table full, {errors:,} payloads were broken messages"
        )
