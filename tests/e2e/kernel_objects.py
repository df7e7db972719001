"""What is attached in a namespace, as the kernel and bpftool tell it, not as the exporter does."""

from __future__ import annotations

import errno
import json
import subprocess
from dataclasses import dataclass
from typing import Any

from exporter.capture import bpf
from tests.e2e.net import Namespace, command

PROGRAM_NAMES = {"ingress": "monitor_ingress", "egress": "monitor_egress"}
_HOOKS = {"ingress": bpf.TCX_INGRESS, "egress": bpf.TCX_EGRESS}


@dataclass(frozen=True, slots=True)
class KernelObjects:
    """The exporter's programs by (device, direction), and their maps and links, as kernel ids."""

    programs: dict[tuple[str, str], list[int]]
    maps: frozenset[int]
    links: frozenset[int]

    def check_gone(self, namespace: Namespace) -> None:
        """None of them is in the kernel any more."""
        left = attached_objects(namespace)
        assert not left.programs, f"still attached: {left.programs}"
        for kind, ids in (
            ("prog", {number for chain in self.programs.values() for number in chain}),
            ("map", self.maps),
            ("link", self.links),
        ):
            alive = {one["id"] for one in bpftool(kind, "show")}
            assert not ids & alive, f"bpftool {kind} show still has {ids & alive}"


def bpftool(*arguments: str) -> list[dict[str, Any]]:
    """Its answer, always as a list."""
    done = subprocess.run(
        ("bpftool", "-j", *arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    answer = json.loads(done.stdout or "[]")
    if isinstance(answer, dict):
        return [] if "error" in answer else [answer]
    return list(answer)


def tcx_chain(namespace: Namespace, device: str, direction: str) -> list[int]:
    """Program ids at a device's tcx hook, first to last."""
    ifindex = namespace.ifindex(device)
    try:
        return namespace.inside(lambda: bpf.query_tcx(ifindex, _HOOKS[direction]))
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENODEV):
            return []
        raise


def clsact_chain(namespace: Namespace, device: str, direction: str) -> list[int]:
    """Program ids of the bpf filters at a device's clsact qdisc."""
    text = command("tc", "-n", namespace.name, "-j", "filter", "show", "dev", device, direction)
    ids = []
    for row in json.loads(text or "[]"):
        program = row.get("options", {}).get("prog")
        if program:
            ids.append(int(program["id"]))
    return ids


def devices(namespace: Namespace) -> list[str]:
    return [row["ifname"] for row in json.loads(namespace.ip("-j link show"))]


def attached_objects(namespace: Namespace) -> KernelObjects:
    """Every program of the exporter that is attached in a namespace, by tcx or clsact."""
    named = {one["id"]: one for one in bpftool("prog", "show")}
    programs: dict[tuple[str, str], list[int]] = {}
    maps: set[int] = set()
    for device in devices(namespace):
        for direction, name in PROGRAM_NAMES.items():
            chain = tcx_chain(namespace, device, direction)
            chain += clsact_chain(namespace, device, direction)
            # The kernel keeps 15 bytes of a name.
            ours = [each for each in chain if named.get(each, {}).get("name") == name[:15]]
            if ours:
                programs[device, direction] = ours
                maps.update(number for each in ours for number in named[each].get("map_ids", []))
    ids = {each for found in programs.values() for each in found}
    links = {one["id"] for one in bpftool("link", "show") if one.get("prog_id") in ids}
    return KernelObjects(programs, frozenset(maps), frozenset(links))
