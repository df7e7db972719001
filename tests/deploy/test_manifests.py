"""What is shipped for Kubernetes, against Kubernetes' own schemas and against one another."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from exporter import config_file
from exporter.version import VERSION
from tests.unit.loading import load_text

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
PARTS = ROOT / ".cache" / "parts"
OVERLAYS = sorted(each.parent for each in (K8S / "overlays").glob("*/kustomization.yaml"))
OF_AN_OPERATOR = ("PodMonitor", "ServiceMonitor")
"""Kinds that Kubernetes' schemas do not have."""

Objects = dict[tuple[str, str], dict[str, Any]]


def objects(text: str) -> Objects:
    """By kind and name."""
    found = [each for each in yaml.safe_load_all(text) if each is not None]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def base() -> Objects:
    return objects((K8S / "daemonset.yaml").read_text())


def daemon_set(found: Objects) -> dict[str, Any]:
    spec: dict[str, Any] = found["DaemonSet", "ayaflow-exporter"]["spec"]["template"]["spec"]
    return spec


def validate(found: Objects) -> None:
    for (kind, _), each in found.items():
        if kind not in OF_AN_OPERATOR:
            kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


def run(*command: str | Path) -> str:
    program = Path(command[0])
    assert program.is_file(), f"{program} is missing: make test-parts builds it"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_base_is_valid_and_one_file() -> None:
    found = base()
    validate(found)
    assert [kind for kind, _ in found] == [
        *("Namespace", "ServiceAccount", "ConfigMap", "Service", "DaemonSet"),
    ]
    assert yaml.safe_load((K8S / "kustomization.yaml").read_text())["resources"] == [
        "daemonset.yaml"
    ]


def test_overlays_build_on_the_same_file() -> None:
    """A copy: kustomize lets an overlay build on no folder that it lies in, nor follow a link."""
    assert (K8S / "base" / "daemonset.yaml").read_text() == (K8S / "daemonset.yaml").read_text()


def test_what_compose_mounts_is_there() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (ROOT / source).exists(), source


def test_its_configuration_is_one(tmp_path: Path) -> None:
    text = base()["ConfigMap", "ayaflow-exporter"]["data"]["config.yaml"]
    loaded = load_text(tmp_path, text)
    assert str(loaded.pin_path) == "/sys/fs/bpf/ayaflow"
    assert loaded.history.path == "/var/lib/ayaflow/history.db"
    assert config_file.__name__  # the same reader as the exporter's


def test_it_is_not_privileged_and_each_capability_is_explained() -> None:
    spec = daemon_set(base())
    context = spec["containers"][0]["securityContext"]
    assert not context["privileged"]
    assert context["readOnlyRootFilesystem"]
    assert context["capabilities"]["drop"] == ["ALL"]
    added = context["capabilities"]["add"]
    assert sorted(added) == sorted(
        ["BPF", "NET_ADMIN", "PERFMON", "SETUID", "SETGID", "SETPCAP", "CHOWN"]
    )
    lines = (K8S / "daemonset.yaml").read_text().splitlines()
    for name in added:
        assert any(line.strip().startswith(f"- {name} # ") for line in lines), name


def test_versions_agree() -> None:
    image = daemon_set(base())["containers"][0]["image"]
    chart = yaml.safe_load((K8S / "chart" / "Chart.yaml").read_text())
    assert image == f"ayaflow-exporter:{VERSION}"
    assert chart["version"] == chart["appVersion"] == VERSION
    assert f'image.version="{VERSION}"' in (ROOT / "Dockerfile").read_text()
    assert f"ayaflow-exporter:{VERSION}" in (ROOT / "compose.yaml").read_text()


def test_a_patch_changes_what_is_there() -> None:
    for overlay in OVERLAYS:
        patch = overlay / "patch.yaml"
        if patch.is_file():
            for key in objects(patch.read_text()):
                assert key in base(), f"{patch} is of nothing"


@pytest.mark.parts
@pytest.mark.parametrize("folder", [K8S, *OVERLAYS], ids=lambda folder: folder.name)
def test_what_kustomize_makes_is_valid(folder: Path) -> None:
    found = objects(run(PARTS / "kustomize", "build", folder))
    validate(found)
    assert base().keys() <= found.keys()
    if folder == K8S:
        assert found == base()


def helm(*flags: str) -> Objects:
    command = (
        "template",
        "ayaflow",
        "--kube-version",
        "1.34.0",
        K8S / "chart",
        "--namespace",
        "ayaflow",
        *flags,
    )
    return objects(run(PARTS / "helm", *map(str, command)))


def compared(found: Objects) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """With the configuration as what it says, not how it is written."""
    for key, each in found.items():
        if key[0] == "ConfigMap":
            data = {name: yaml.safe_load(text) for name, text in each["data"].items()}
            each = {**each, "data": data}
        if key[0] != "Namespace":  # helm makes that by itself
            yield key, each


@pytest.mark.parts
def test_the_chart_makes_what_the_base_has() -> None:
    assert dict(compared(helm())) == dict(compared(base()))


@pytest.mark.parts
def test_the_values_that_people_set_are_valid_and_arrive() -> None:
    found = helm(
        *(
            "--set",
            "image.tag=9",
            "--set",
            "extraArgs={--log.level,debug}",
            "--set",
            "labels.team=net",
        ),
        *("--set", "scrapeAnnotations=true", "--set", "podMonitor.enabled=true"),
        *("--set", "serviceMonitor.enabled=true", "--set", "otlp.endpoint=http://c:4318"),
        *("--set", "port=9999", "--set", "seLinuxOptions.type=spc_t"),
        *("--set", "appArmorProfile.type=Unconfined", "--set", "resources.limits.memory=300Mi"),
        *("--set", "tolerations=null", "--set", "config.domains.max=50"),
    )
    validate(found)
    container = daemon_set(found)["containers"][0]
    assert container["image"].endswith(":9")
    assert container["args"][-3:] == ["--web.listen-address=:9999", "--log.level", "debug"]
    assert container["resources"]["limits"]["memory"] == "300Mi"
    assert {each["name"]: each.get("value") for each in container["env"]}[
        "OTEL_EXPORTER_OTLP_ENDPOINT"
    ] == "http://c:4318"
    assert "tolerations" not in daemon_set(found)
    assert {kind for kind, _ in found} >= {"PodMonitor", "ServiceMonitor"}
    assert all(each["metadata"]["labels"]["team"] == "net" for each in found.values())
    text = found["ConfigMap", "ayaflow-exporter"]["data"]["config.yaml"]
    assert yaml.safe_load(text)["domains"] == {"max": 50}


@pytest.mark.parts
def test_a_web_configuration_of_a_secret() -> None:
    found = helm(
        *("--set", "web.configSecret=web", "--set", "web.probeScheme=HTTPS"),
        *("--set", "podMonitor.enabled=true", "--set", "podMonitor.endpoint.scheme=https"),
        *("--set-json", 'extraVolumes=[{"name": "x", "emptyDir": {}}]'),
        *("--set-json", 'extraVolumeMounts=[{"name": "x", "mountPath": "/x"}]'),
    )
    validate(found)
    spec = daemon_set(found)
    container = spec["containers"][0]
    assert "--web.config.file=/etc/ayaflow-web/web.yaml" in container["args"]
    probes = [container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
    assert [probe["httpGet"]["scheme"] for probe in probes] == ["HTTPS"] * 3
    volumes = {each["name"]: each for each in spec["volumes"]}
    assert volumes["web"]["secret"] == {"secretName": "web", "defaultMode": 0o444}
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts.keys() == volumes.keys()
    assert mounts["web"] == "/etc/ayaflow-web"
    monitor = found["PodMonitor", "ayaflow-exporter"]
    assert monitor["spec"]["podMetricsEndpoints"][0]["scheme"] == "https"
