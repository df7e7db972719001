"""The image, run as the manifest runs it (`make test-image` builds it and runs these)."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.e2e.net import End, Namespace, Network
from tests.e2e.parts import http_get
from tests.e2e.waiting import wait_until

pytestmark = pytest.mark.image

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/ayaflow-exporter:0.1.0"
PORT = 10517
LEAST = ("BPF", "PERFMON", "NET_ADMIN")
DEFAULT_SECCOMP = Path("/usr/share/containers/seccomp.json")


def seccomp_profile(folder: Path) -> Path:
    """The runtime's own profile; with bpf(2) allowed, as newer ones do for who has CAP_BPF."""
    profile = json.loads(DEFAULT_SECCOMP.read_text())
    for rule in profile["syscalls"]:
        if rule["action"] == "SCMP_ACT_ERRNO" and "bpf" in rule["names"]:
            rule["names"].remove("bpf")
    profile["syscalls"].insert(0, {"names": ["bpf"], "action": "SCMP_ACT_ALLOW"})
    path = folder / "seccomp.json"
    path.write_text(json.dumps(profile))
    return path


class Container:
    """The exporter in a container, on the network of a namespace."""

    def __init__(self, namespace: Namespace, capabilities: Sequence[str], folder: Path) -> None:
        podman = shutil.which("podman")
        assert podman, "podman is missing: install it, or look at what docker does"
        history = folder / "history"
        history.mkdir()
        self.namespace = namespace
        self._podman = podman
        self._process = subprocess.Popen(
            [
                *(podman, "--runtime", "runc", "run", "--rm", "--name", "ayaflow-image"),
                *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"),
                *("--network", f"ns:/run/netns/{namespace.name}", "--read-only"),
                *("--cap-drop", "ALL", *(f"--cap-add={each}" for each in capabilities)),
                *("--security-opt", f"seccomp={seccomp_profile(folder)}"),
                *("-v", f"{history}:/var/lib/ayaflow", IMAGE, "--interface", "eth0"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def metrics(self) -> str:
        status, body = http_get(self.namespace, PORT, "/metrics")
        assert status == 200
        return body.decode()

    def is_ready(self) -> bool:
        assert self._process.poll() is None, "it ended"
        try:
            return http_get(self.namespace, PORT, "/-/ready")[0] == 200
        except OSError:
            return False

    def server(self) -> dict[str, str]:
        """/proc/PID/status of the process that serves."""
        for pid in self.namespace.pids():
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"ayaflow-exporter\0" in command:
                text = Path(f"/proc/{pid}/status").read_text()
                fields = (line.partition(":") for line in text.splitlines())
                return {name: value.strip() for name, _, value in fields}
        raise AssertionError("it does not run")

    def stop(self) -> str:
        """Ends it as a runtime does; its log."""
        subprocess.run([self._podman, "kill", "-s", "TERM", "ayaflow-image"], check=True)
        log, _ = self._process.communicate(timeout=30)
        assert self._process.returncode == 0, log
        return log


def manifest_capabilities() -> list[str]:
    for each in yaml.safe_load_all((ROOT / "k8s" / "daemonset.yaml").read_text()):
        if each["kind"] == "DaemonSet":
            container = each["spec"]["template"]["spec"]["containers"][0]
            return list(container["securityContext"]["capabilities"]["add"])
    raise AssertionError("no DaemonSet")


def ends(network: Network) -> tuple[End, End]:
    return network.wire(network.namespace("peer"), network.namespace("host"))


def shows_traffic(container: Container, peer: End, host: End) -> None:
    wait_until(container.is_ready, timeout_s=30)
    with peer.namespace.socket(2, 1) as plug:
        plug.settimeout(5)
        plug.connect((host.ipv4, PORT))

    def counted() -> None:
        lines = container.metrics().splitlines()
        name = 'ayaflow_interface_packets_total{device="eth0",direction="ingress"}'
        (value,) = (line.split()[-1] for line in lines if line.startswith(name))
        assert float(value) >= 3

    wait_until(counted)


def test_with_the_manifests_capabilities_the_server_gives_all_of_them_up(
    network: Network, tmp_path: Path
) -> None:
    peer, host = ends(network)
    container = Container(host.namespace, manifest_capabilities(), tmp_path)
    shows_traffic(container, peer, host)
    status = container.server()
    assert status["Uid"].split() == ["65534"] * 4
    for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[field], 16) == 0, field
    assert status["NoNewPrivs"] == "1"
    log = container.stop()
    assert "Traceback" not in log
    assert "stopped" in log


def test_with_the_least_it_runs_and_says_what_it_keeps(network: Network, tmp_path: Path) -> None:
    peer, host = ends(network)
    container = Container(host.namespace, LEAST, tmp_path)
    shows_traffic(container, peer, host)
    assert int(container.server()["CapEff"], 16) == 0
    log = container.stop()
    assert "becoming user 65534 needs CAP_SETUID and CAP_SETGID" in log
    assert "dropping it needs CAP_SETPCAP" in log
