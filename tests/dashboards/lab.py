"""Nodes that talk to the world, for pictures and tests of the dashboard: each node is a namespace
with a real exporter; the world is one namespace with nginx, dnsmasq and an echo; Prometheus scrapes
the nodes over wires of its own, which no exporter counts.

`python -m tests.dashboards.lab SECONDS FOLDER` keeps it running and says where Prometheus listens.
"""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import dns.exception

from tests.dashboards.queries import RULES
from tests.e2e.exporter_process import PORT, Exporter
from tests.e2e.net import Namespace, Network
from tests.e2e.parts import PROMETHEUS_3, Release
from tests.e2e.prometheus_server import Prometheus, scrape
from tests.e2e.services import (
    ECHO_PORT,
    Dnsmasq,
    Echo,
    address,
    ask,
    curl,
    make_certificate,
    records,
    start_nginx,
    talk,
)

SCRAPE_S = 15.0
_MUTE_PORT_ADDRESS = address(250)
"""Takes questions and never answers."""


class Site(NamedTuple):
    """Something that nodes talk to."""

    domain: str
    weight: int
    """How often, relative to the others."""
    path: str = "/1k"
    scheme: str = "https"
    upload_kb: int = 0


SITES = (
    Site("registry.example.com", 3, "/1m"),
    Site("cdn.media.example.net", 5, "/1m"),
    Site("packages.example.org", 2, "/1m", "http"),
    Site("images.example.com", 4, "/1m"),
    Site("backup.storage.example.net", 3, upload_kb=900),
    Site("api.payments.example", 8),
    Site("api.search.example", 6),
    Site("auth.example.com", 8),
    Site("logs.ingest.example.io", 6, upload_kb=120),
    Site("metrics.ingest.example.io", 6, upload_kb=30),
    Site("traces.ingest.example.io", 4, upload_kb=60),
    Site("git.example.org", 3),
    Site("mail.example.org", 2, upload_kb=80),
    Site("chat.example.net", 4),
    Site("maps.example.com", 2),
    Site("fonts.example.com", 2),
    Site("ads.tracker.example", 1),
    Site("telemetry.vendor.example", 1, upload_kb=10),
    Site("weather.example.org", 1, scheme="http"),
    Site("time.example.org", 1),
    Site("crl.ca.example", 1, scheme="http"),
    Site("ocsp.ca.example", 1, scheme="http"),
    Site("flags.example.io", 2),
    Site("webhooks.partner.example", 2, upload_kb=20),
    Site("db.replica.example.net", 3, upload_kb=300),
    Site("model.weights.example.ai", 1, "/1m"),
    Site("paste.example", 1, upload_kb=200),
)
EXPECTED = ("*.example.com", "*.example.net", "*.example.org", "*.example.io", "*.payments.example")


@dataclass(frozen=True, slots=True)
class Node:
    """A namespace with its exporter."""

    name: str
    namespace: Namespace
    management: str
    """The address that Prometheus scrapes."""


class Lab:
    """*nodes* nodes and their world; a context."""

    def __init__(self, network: Network, folder: Path, nodes: int) -> None:
        self.folder = folder
        self.world = network.namespace("world")
        self.world.ip("route add local 203.0.113.0/24 dev lo")
        self.nodes = tuple(self._node(network, number + 1) for number in range(nodes))
        start_nginx(self.world, folder, make_certificate(folder))
        pairs = [
            (site.domain, f"{address(10 + i)},2001:db8::{10 + i}") for i, site in enumerate(SITES)
        ]
        Dnsmasq(self.world, address(1), "--local=/#/", *records(pairs, 60))
        self._echo = Echo(self.world, ECHO_PORT)
        self._mute = self.world.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._mute.bind((_MUTE_PORT_ADDRESS, 53))

    def _node(self, network: Network, number: int) -> Node:
        space = network.namespace(f"node{number}")
        _, far = network.wire(
            space, self.world, 10 + number, ("eth0", f"node{number}"), offload=True
        )
        space.ip(f"route add 203.0.113.0/24 via {far.ipv4}")
        here, _ = network.wire(space, self.world, 60 + number, ("mgmt0", f"mgmt{number}"))
        return Node(f"node{number}", space, here.ipv4)

    def exporter(self, node: Node, *flags: str) -> Exporter:
        return Exporter(
            node.namespace,
            *("--interface", "eth0", "--web.listen-address", f":{PORT}"),
            *("--names.grace", "2s"),
            *(flag for name in EXPECTED for flag in ("--domains.expected", name)),
            *flags,
        )

    def prometheus(self, release: Release, interval_s: float, *flags: str) -> Prometheus:
        """Scrapes every node, which is its `instance`; evaluates the shipped rules."""
        config = scrape("", interval_s)
        config["rule_files"] = [str(RULES)]
        config["scrape_configs"][0]["static_configs"] = [
            {"targets": [f"{node.management}:{PORT}"], "labels": {"instance": node.name}}
            for node in self.nodes
        ]
        return Prometheus(release, self.folder / "prometheus", config, *flags, namespace=self.world)

    def visit(self, node: Node, site: Site) -> None:
        """What a program does that talks to a site: it asks for the name, then connects."""
        remote = address(10 + SITES.index(site))
        with suppress(dns.exception.Timeout):
            ask(node.namespace, address(1), site.domain)
            ask(node.namespace, address(1), site.domain, "AAAA")
        upload: tuple[str, ...] = ()
        if site.upload_kb:
            upload = ("--data-binary", f"@{self._body(site.upload_kb)}")
        curl(
            node.namespace,
            site.domain,
            remote,
            f"{site.scheme}://{site.domain}{site.path}",
            *upload,
        )

    def _body(self, size_kb: int) -> Path:
        file = self.folder / f"body-{size_kb}"
        if not file.exists():
            file.write_bytes(bytes(size_kb << 10))
        return file

    def nameless(self, node: Node) -> None:
        """What no name explains."""
        talk(node.namespace, address(200), 20_000)

    def ask_in_vain(self, node: Node, answered: bool) -> None:
        """A name that does not exist, or a resolver that does not answer."""
        with suppress(dns.exception.Timeout):
            resolver = address(1) if answered else _MUTE_PORT_ADDRESS
            ask(node.namespace, resolver, "missing.example.com", timeout_s=0.2)

    def close(self) -> None:
        self._mute.close()


def _live(lab: Lab, node: Node, since: float, end: threading.Event, pause_s: float) -> None:
    """A node's day: mostly the heavy sites; the last ones of the list come one by one."""
    chance = random.Random(node.name)
    while not end.wait(chance.expovariate(1 / pause_s)):
        known = min(len(SITES), 20 + int((time.monotonic() - since) / 180))
        sites = SITES[:known]
        roll = chance.random()
        with suppress(OSError, AssertionError, subprocess.SubprocessError):
            if roll < 0.04:
                lab.nameless(node)
            elif roll < 0.07:
                lab.ask_in_vain(node, roll < 0.06)
            else:
                lab.visit(node, chance.choices(sites, [site.weight for site in sites])[0])


def main(duration_s: float, folder: Path) -> None:
    network = Network("lab")
    end = threading.Event()
    try:
        with ExitStack() as stack:
            lab = Lab(network, folder, nodes=3)
            stack.callback(lab.close)
            for node in lab.nodes:
                history = ("--history.path", str(folder / node.name / "history.db"))
                stack.enter_context(lab.exporter(node, *history))
            prometheus = stack.enter_context(lab.prometheus(PROMETHEUS_3, SCRAPE_S))
            print(f"ip netns exec lab-world: http://127.0.0.1:{prometheus.port}", flush=True)
            since = time.monotonic()
            threads = [
                threading.Thread(target=_live, args=(lab, node, since, end, 0.7 * i))
                for i, node in enumerate(lab.nodes, 1)
            ]
            for thread in threads:
                thread.start()
            time.sleep(duration_s)
            end.set()
            for thread in threads:
                thread.join()
    finally:
        end.set()
        network.close()


if __name__ == "__main__":
    main(float(sys.argv[1]), Path(sys.argv[2]))
