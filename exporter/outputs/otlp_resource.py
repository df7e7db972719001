"""Who sends: the resource attributes, by OpenTelemetry's semantic conventions.

Kubernetes says nothing to a container by itself: the manifest hands it K8S_NODE_NAME,
K8S_POD_NAME, K8S_NAMESPACE_NAME and K8S_POD_UID by the downward API. What OTEL_RESOURCE_ATTRIBUTES
and OTEL_SERVICE_NAME say wins over everything that is found here.

Source: https://opentelemetry.io/docs/specs/semconv/resource.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from exporter.outputs.metrics import BuildInfo

SERVICE_NAME = "ayaflow-exporter"

_DOWNWARD = {
    "K8S_NODE_NAME": "k8s.node.name",
    "K8S_POD_NAME": "k8s.pod.name",
    "K8S_NAMESPACE_NAME": "k8s.namespace.name",
    "K8S_POD_UID": "k8s.pod.uid",
}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_MACHINE_ID = Path("/etc/machine-id")


def resource_attributes(
    build: BuildInfo, environment: Mapping[str, str], given: Iterable[tuple[str, str]]
) -> dict[str, str]:
    """All of them; *given* are those that the settings state.

    service.instance.id is the node's name, and the host's outside of Kubernetes: the counters go on
    over a restart, so what tells them apart must stay the same.
    """
    machine = os.uname()
    found = {
        "service.name": SERVICE_NAME,
        "service.version": build.version,
        "vcs.ref.head.revision": build.revision,
        "ayaflow.bcc.version": build.bcc,
        "host.name": machine.nodename,
        "host.id": _machine_id(),
        "host.arch": _ARCHITECTURES.get(machine.machine, machine.machine),
        "os.type": "linux",
        "os.version": build.kernel,
    }
    for variable, key in _DOWNWARD.items():
        found[key] = environment.get(variable, "").strip()
    found["service.instance.id"] = found["k8s.node.name"] or machine.nodename
    found.update(given)
    return {key: value for key, value in found.items() if value}


def _machine_id() -> str:
    try:
        return _MACHINE_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
