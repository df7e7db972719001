"""What the user did wrong, each in one sentence that says what to do, and never a traceback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from exporter import advice
from tests.e2e.exporter_process import PORT, ROOT, Exporter, exporter_command, let_everybody_in
from tests.e2e.kernel_objects import attached_objects
from tests.e2e.net import Namespace, Network

_TIMEOUT_S = 30


@pytest.fixture
def host(network: Network) -> Namespace:
    """With one interface and no default route."""
    made = network.namespace("host")
    network.wire(network.namespace("peer"), made)
    return made


def _fails(
    namespace: Namespace,
    *command: str,
    env: dict[str, str] | None = None,
    code: int = 1,
    cwd: Path = ROOT,
) -> str:
    """Runs what must fail within the time, and returns its one sentence."""
    done = subprocess.run(
        namespace.wrap(*command),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == code, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("ayaflow-exporter: "), lines
    assert "Traceback" not in lines[0]
    assert not attached_objects(namespace).programs
    assert "clsact" not in namespace.tc("qdisc show")
    return lines[0]


def test_an_unprivileged_start(host: Namespace, tmp_path: Path) -> None:
    let_everybody_in(tmp_path)  # the checkout may be in a folder that only root can enter
    for part in ("exporter", "bpf"):
        shutil.copytree(ROOT / part, tmp_path / part)
    as_nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    words = ("/usr/bin/python3", "-m", "exporter", "--interface", "eth0")
    said = _fails(host, *as_nobody, *words, cwd=tmp_path)
    assert "root" in said
    assert "CAP_BPF" in said


def _without_capability(name: str) -> tuple[str, ...]:
    """*name*: as advice has it. CAP_SYS_ADMIN, which has others in it, goes as well."""
    dropped = f"-{name.removeprefix('CAP_').lower()},-sys_admin"
    return ("setpriv", "--bounding-set", dropped, "--inh-caps", dropped)


def _check_system(namespace: Namespace, *before: str) -> dict[str, str]:
    """What `check-system` finds, by the name of the check: the level and the text."""
    said = subprocess.run(
        namespace.wrap(*before, *exporter_command("check-system")),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    found = {}
    for line in said.stdout.splitlines():
        name, _, text = line[5:].partition(": ")
        found[name] = f"{line[:4].strip()} {text}"
    assert said.returncode == any(text.startswith("FAIL ") for text in found.values())
    return found


@pytest.mark.parametrize("missing", advice.NEEDED)
def test_a_start_without_one_capability(host: Namespace, missing: str) -> None:
    without = _without_capability(missing)
    said = _fails(host, *without, *exporter_command("--interface", "eth0"))
    assert missing in said
    found = _check_system(host, *without)["capabilities"]
    assert found.startswith(f"FAIL without {missing} {advice.NEEDED[missing]}: ")


@pytest.mark.parametrize("missing", advice.GIVING_UP)
def test_check_system_names_the_capability_that_is_missed_later(
    host: Namespace, missing: str
) -> None:
    found = _check_system(host, *_without_capability(missing))
    follows = f"warn without {missing} {advice.GIVING_UP[missing]}: "
    assert found["giving privileges up"].startswith(follows)
    assert found["capabilities"].startswith("ok ")


def test_a_seccomp_filter_that_denies_bpf(host: Namespace) -> None:
    filtered = (sys.executable, str(Path(__file__).parent / "deny_bpf.py"))
    said = _fails(host, *filtered, *exporter_command("--interface", "eth0"))
    assert said == f"ayaflow-exporter: {advice.SECCOMP_DENIES}"
    assert _check_system(host, *filtered)["seccomp"] == f"FAIL {advice.SECCOMP_DENIES}"


def test_without_a_bpf_file_system_it_counts_without_pins(host: Namespace, tmp_path: Path) -> None:
    """`ip netns exec` mounts a /sys of its own, in which there is none."""
    let_everybody_in(tmp_path)
    kept = ("--history.path", str(tmp_path / "history.db"), "--pin.path", "/sys/fs/bpf/ayaflow")
    with Exporter(host, "--interface", "eth0", *kept) as exporter:
        (said,) = (line for line in exporter.log.splitlines() if "--pin.path" in line)
        assert "no BPF file system is mounted at /sys/fs/bpf: mount -t bpf bpf /sys/fs/bpf" in said
    found = _check_system(host)["bpffs"]
    assert found.startswith("warn /sys/fs/bpf is no BPF file system")


def test_without_bcc(host: Namespace) -> None:
    """No such module is found, as in a virtual environment without the system's packages."""
    said = _fails(
        host,
        sys.executable,
        "-c",
        "import sys, importlib.util as u; real = u.find_spec;"
        "u.find_spec = lambda name, *rest: None if name == 'bcc' else real(name, *rest);"
        "from exporter.cli import main; sys.exit(main(['--interface', 'eth0']))",
    )
    assert "python3-bpfcc" in said


def test_with_a_bcc_that_is_something_else(host: Namespace, tmp_path: Path) -> None:
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc" / "__init__.py").write_text("")
    command = exporter_command("--interface", "eth0")
    said = _fails(host, *command, env={"PYTHONPATH": str(tmp_path)})
    assert "python3-bpfcc" in said


def test_an_unknown_interface(host: Namespace) -> None:
    said = _fails(host, *exporter_command("--interface", "eth0", "--interface", "wan7"))
    assert "wan7" in said
    assert "eth0" in said, "what there is"


def test_no_default_route(host: Namespace) -> None:
    said = _fails(host, *exporter_command())
    assert "default route" in said
    assert "--interface" in said


def test_a_port_in_use(host: Namespace) -> None:
    with host.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", PORT))
        taken.listen()
        address = f"127.0.0.1:{PORT}"
        said = _fails(
            host, *exporter_command("--interface", "eth0", "--web.listen-address", address)
        )
    assert address in said
    assert "--web.listen-address" in said


def test_two_exporters_in_one_namespace(host: Namespace) -> None:
    with Exporter(host, "--interface", "eth0") as first:
        done = subprocess.run(
            host.wrap(
                *exporter_command("--interface", "eth0", "--web.listen-address", "127.0.0.1:10518")
            ),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "another ayaflow-exporter" in done.stderr
        assert first.get("/-/ready").status == 200
        assert all(len(ids) == 1 for ids in first.objects().programs.values())


def test_exporters_in_two_namespaces(network: Network, host: Namespace) -> None:
    other = network.namespace("other")
    network.wire(other, network.namespace("third"))
    with (
        Exporter(host, "--interface", "eth0") as one,
        Exporter(other, "--interface", "eth0") as two,
    ):
        assert one.get().status == two.get().status == 200


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--interfaces", "eth0"), "--interfaces"),
        (("--flows.max", "none"), "--flows.max"),
        (("--flows.max", "0"), "--flows.max"),
        (("--ring.size", "5000"), "--ring.size"),
        (("--ring.size", "2048"), "--ring.size"),
        (("--attach", "xdp"), "--attach"),
        (("--flows.idle-timeout", "soon"), "--flows.idle-timeout"),
        (("--web.listen-address", "nowhere"), "--web.listen-address"),
        (("--interface",), "--interface"),
        (("walk",), "walk"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_flags(host: Namespace, flags: tuple[str, ...], word: str) -> None:
    assert word in _fails(host, *exporter_command(*flags), code=2)


@pytest.mark.parametrize("user", ["root", "0", "nobody-of-that-name"])
def test_a_user_that_cannot_be(host: Namespace, user: str) -> None:
    said = _fails(host, *exporter_command("--interface", "eth0", "--user", user))
    assert "--user" in said


def test_a_configuration_file_with_an_unknown_key(host: Namespace, tmp_path: Path) -> None:
    file = tmp_path / "ayaflow.yml"
    file.write_text("interface: [eth0]\nflows:\n  maximum: 5\n")
    said = _fails(host, *exporter_command("--config.file", str(file)))
    assert f"{file}:3" in said
    assert "maximum" in said


def test_check_system_says_ok_where_the_exporter_runs(host: Namespace) -> None:
    said = host.run(*exporter_command("check-system"), timeout_s=60).splitlines()
    assert {line.split()[0] for line in said} <= {"ok", "warn"}, said
    names = {line[5:].partition(":")[0] for line in said}
    assert {"kernel", "bcc", "capabilities", "programs", "attaching", "bpffs"} <= names
