"""TLS, passwords and client certificates of the real process, by curl and openssl; SIGHUP."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest

from tests.authority import Authority
from tests.e2e.exporter_process import PORT, Exporter, let_everybody_in
from tests.e2e.metrics import Metrics
from tests.e2e.net import Namespace, Network
from tests.e2e.waiting import wait_until

_NAME = "node.example"
_URL = f"https://{_NAME}:{PORT}"
_PASSWORD = "correct horse"


@dataclass
class Secured:
    """The exporter with a web configuration, whose files it can read as the user it becomes."""

    exporter: Exporter
    namespace: Namespace
    authority: Authority
    folder: Path

    def write(self, *lines: str) -> None:
        # By a rename, as tools that renew things do.
        new = self.folder / "new"
        new.write_text("\n".join(lines) + "\n")
        new.chmod(0o644)
        new.rename(self.folder / "web.yaml")

    def certify(self, name: str = _NAME) -> None:
        for path, kept in zip(self.authority.sign(name), ("server.pem", "server.key"), strict=True):
            shutil.copy(path, self.folder / "new")
            (self.folder / "new").chmod(0o644)
            (self.folder / "new").rename(self.folder / kept)

    def curl(self, path: str, *options: str) -> str:
        """The status, or curl's own exit code where there is no answer."""
        done = ask(
            self.namespace,
            *("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10"),
            *("--cacert", str(self.authority.cert), "--resolve", f"{_NAME}:{PORT}:127.0.0.1"),
            *options,
            f"{_URL}{path}",
        )
        return done.stdout.strip() if done.returncode == 0 else f"curl {done.returncode}"


def ask(namespace: Namespace, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a client, which may fail."""
    return subprocess.run(
        namespace.wrap(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
    )


TLS = ("tls_server_config:", "  cert_file: server.pem", "  key_file: server.key")
USERS = (
    "basic_auth_users:",
    f"  prometheus: {bcrypt.hashpw(_PASSWORD.encode(), bcrypt.gensalt(8)).decode()}",
)


@pytest.fixture
def secured(network: Network, tmp_path: Path) -> Secured:
    let_everybody_in(tmp_path)
    _, host = network.wire(network.namespace("peer"), network.namespace("host"))
    exporter = Exporter(
        host.namespace, *("--interface", "eth0", "--web.config.file", str(tmp_path / "web.yaml"))
    )
    made = Secured(exporter, host.namespace, Authority(tmp_path), tmp_path)
    made.certify()
    return made


@contextmanager
def started(secured: Secured, *options: str) -> Iterator[ExitStack]:
    """Ready, which the probe says without a password; clients are closed before it is stopped."""
    secured.exporter.start()
    try:
        wait_until(lambda: secured.curl("/-/ready", *options) == "200", 15.0)
        with ExitStack() as clients:
            yield clients
        secured.exporter.stop()
    finally:
        print(secured.exporter.log)
        secured.exporter.close()


def test_a_scrape_needs_the_password_and_a_probe_does_not(secured: Secured) -> None:
    secured.write(*TLS, *USERS)
    with started(secured):
        assert secured.curl("/metrics") == "401"
        assert secured.curl("/", "-u", "prometheus:wrong") == "401"
        assert secured.curl("/metrics", "-u", f"prometheus:{_PASSWORD}") == "200"
        assert secured.curl("/-/healthy") == "200"
        plain = secured.exporter.get("/metrics")
        assert plain.status == 400
        assert b"must begin with https://" in plain.body
        assert "level=error" not in secured.exporter.log


def test_openssl_sees_the_certificate_and_no_old_protocol(secured: Secured) -> None:
    secured.write(*TLS)
    with started(secured):
        address = ("-connect", f"127.0.0.1:{PORT}", "-servername", _NAME)
        done = ask(
            secured.namespace,
            *("openssl", "s_client", *address, "-CAfile", str(secured.authority.cert), "-brief"),
            "-verify_return_error",
        )
        assert "Verification: OK" in done.stderr + done.stdout
        assert "TLSv1.3" in done.stderr + done.stdout
        old = ("-tls1_1", "-cipher", "ALL@SECLEVEL=0")
        assert ask(secured.namespace, "openssl", "s_client", *address, *old).returncode != 0
        assert ask(secured.namespace, "openssl", "s_client", *address, "-tls1_2").returncode == 0


def test_a_renewed_certificate_is_used_at_once_and_a_broken_one_is_not(secured: Secured) -> None:
    secured.write(*TLS)

    def serial() -> str:
        plug = secured.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        context = ssl.create_default_context(cafile=str(secured.authority.cert))
        plug.settimeout(10.0)
        plug.connect(("127.0.0.1", PORT))
        with context.wrap_socket(plug, server_hostname=_NAME) as wrapped:
            certificate = wrapped.getpeercert()
            assert certificate is not None
            return str(certificate["serialNumber"])

    with started(secured):
        first = serial()
        secured.certify()
        second = serial()
        assert second != first
        (secured.folder / "server.key").write_text("junk")
        assert serial() == second
        assert serial() == second
        assert secured.exporter.log.count("what was there before is used") == 1
        secured.certify()
        assert serial() not in (first, second)


def test_client_certificates(secured: Secured) -> None:
    secured.write(
        *TLS,
        "  client_ca_file: ca.pem",
        "  client_auth_type: RequireAndVerifyClientCert",
        "  client_allowed_sans: [prometheus.example]",
    )

    def shown(name: str) -> tuple[str, ...]:
        cert, key = secured.authority.sign(name)
        return ("--cert", str(cert), "--key", str(key))

    good, other = shown("prometheus.example"), shown("somebody.example")
    with started(secured, *good):
        assert secured.curl("/metrics", *good) == "200"
        assert secured.curl("/metrics", *other).startswith("curl ")
        assert secured.curl("/metrics").startswith("curl ")


def test_a_key_that_only_root_can_read_serves_and_its_renewal_waits(secured: Secured) -> None:
    secured.write(*TLS)
    (secured.folder / "server.key").chmod(0o600)
    with started(secured):
        assert secured.curl("/metrics") == "200"
        assert f"{secured.folder}/server.key: the user that the exporter" in secured.exporter.log


def test_500_slow_clients_hold_up_no_scrape(
    secured: Secured, figure: Callable[[str], None]
) -> None:
    """Half of them never begin the handshake, half stop in the middle of a request."""
    secured.write(*TLS, *USERS)
    context = ssl.create_default_context(cafile=str(secured.authority.cert))
    with started(secured) as clients:
        for n in range(500):
            plug = secured.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
            clients.callback(plug.close)
            plug.settimeout(10.0)
            plug.connect(("127.0.0.1", PORT))
            if n % 2:
                wrapped = context.wrap_socket(plug, server_hostname=_NAME)
                clients.callback(wrapped.close)
                wrapped.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        took = []
        for _ in range(3):
            began = time.monotonic()
            assert secured.curl("/metrics", "-u", f"prometheus:{_PASSWORD}") == "200"
            took.append(time.monotonic() - began)
        figure(f"scrapes beside 500 slow clients: {', '.join(f'{each:.3f}' for each in took)} s")
        assert max(took) < 5.0  # much more than it takes; the machine may be busy
        assert "Traceback" not in secured.exporter.log


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (("tls_server_config:", "  cert_file: no.pem", "  key_file: server.key"), "no.pem: the fi"),
        (("tls_server_config:", "  cert_file: ca.pem", "  key_file: server.key"), "must be a PEM"),
        (("basic_auth_users:", "  a: plain"), "basic_auth_users.a: must be a bcrypt hash"),
        (("tls_config: {}",), "tls_config: is no key that this exporter knows"),
    ],
)
def test_a_wrong_file_is_one_sentence_at_the_start(
    secured: Secured, lines: tuple[str, ...], problem: str
) -> None:
    secured.write(*lines)
    secured.exporter.start()
    secured.exporter.wait_ended(1)
    assert problem in secured.exporter.stderr
    assert str(secured.folder / "web.yaml") in secured.exporter.stderr
    secured.exporter.close()


def test_only_those_in_web_allow_are_answered(network: Network) -> None:
    _, host = network.wire(network.namespace("peer"), network.namespace("host"))
    with Exporter(
        host.namespace, "--interface", "eth0", "--web.allow", "127.0.0.1", "--web.allow=fd00::/8"
    ) as running:
        assert running.get().status == 200
    refused = Exporter(host.namespace, "--interface", "eth0", "--web.allow", "10.0.0.0/8")
    refused.start()
    try:

        def is_refused() -> bool:
            try:
                refused.get(timeout_s=2.0)
            except OSError:
                return "127.0.0.1 is in no network of web.allow" in refused.log
            raise AssertionError("it answered")

        wait_until(is_refused, 15.0)
        refused.stop()
    finally:
        refused.close()


def reload_state(metrics: Metrics) -> tuple[float, float]:
    (succeeded,) = metrics.samples("ayaflow_config_last_reload_successful")
    (at_s,) = metrics.samples("ayaflow_config_last_reload_success_timestamp_seconds")
    return succeeded.value, at_s.value


INTERFACE = "interface: [eth0]\n"


@dataclass
class Configured:
    """The exporter with a configuration file."""

    exporter: Exporter
    file: Path

    def hang_up(self, text: str, expect: str, times: int = 1) -> tuple[float, float]:
        """Has another file read; the state once the log has said what is expected so often."""
        self.file.write_text(text)
        self.exporter.running.send_signal(signal.SIGHUP)
        wait_until(lambda: self.exporter.log.count(expect) >= times)
        return reload_state(self.exporter.scrape())


@pytest.fixture
def configured(network: Network, tmp_path: Path) -> Configured:
    let_everybody_in(tmp_path)
    file = tmp_path / "config.yaml"
    file.write_text(INTERFACE + "log: {level: info}\n")
    _, host = network.wire(network.namespace("peer"), network.namespace("host"))
    return Configured(Exporter(host.namespace, "--config.file", str(file)), file)


def test_sighup_applies_what_it_can_and_names_the_rest(configured: Configured) -> None:
    hang_up = configured.hang_up
    with configured.exporter as running:
        succeeded, first_s = reload_state(running.scrape())
        assert succeeded == 1
        assert abs(first_s - time.time()) < 60
        text = INTERFACE + "domains: {mode: 'off', max: 9, expected: [b.com]}\n"
        more = "flows: {max: 9}\nlog: {level: debug}\n"
        succeeded, second_s = hang_up(text + more, "needs a restart: flows.max")
        assert "applied: domains.mode, domains.max, domains.expected, log.level" in running.log
        assert succeeded == 1
        assert second_s > first_s
        assert hang_up(text + "user: [\n", "not reloaded") == (0, second_s)
        assert "config.yaml:4: this is not YAML" in running.log
        wrong = text + "flows: {maxx: 1, idle_timeout: 7}\nattach: maybe\nx: 1\n"
        assert hang_up(wrong, "not reloaded", 2) == (0, second_s)
        for said in (":3: flows.maxx", ":3: flows.idle_timeout", ":4: attach", ":5: x: is no"):
            assert f"config.yaml{said}" in running.log
        configured.file.unlink()
        running.running.send_signal(signal.SIGHUP)
        wait_until(lambda: "No such file" in running.log)
        succeeded, _ = hang_up(INTERFACE, "configuration reloaded", 2)
        assert succeeded == 1
        for pid in running.pids():
            os.kill(pid, signal.SIGHUP)
        assert running.scrape()
        assert "Traceback" not in running.log


@pytest.mark.parametrize(
    ("setting", "module"), [("mode: registrable", "publicsuffixlist"), ("hide: ['^a']", "re2")]
)
def test_sighup_loads_a_module_that_its_user_can_read_or_asks_for_a_restart(
    configured: Configured, setting: str, module: str
) -> None:
    """In a folder that only root can enter, as some checkouts are, there is no reading it."""
    as_nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    reached = subprocess.run(
        (*as_nobody, "--bounding-set=-all", sys.executable, "-c", f"import {module}"),
        cwd="/",
        capture_output=True,
    )
    key = setting.partition(":")[0]
    with configured.exporter as running:
        _, first_s = reload_state(running.scrape())
        text = f"{INTERFACE}domains: {{{setting}}}\n"
        if reached.returncode == 0:
            assert configured.hang_up(text, f"applied: domains.{key}")[0] == 1
        else:
            assert configured.hang_up(text, "not reloaded") == (0, first_s)
            assert "since its user may not be able to read the package" in running.log
        assert "Traceback" not in running.log
