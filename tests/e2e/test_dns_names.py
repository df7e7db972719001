"""What DNS tells of connections that state nothing themselves, and how DNS itself fares."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dns.exception
import dns.rcode
import pytest

from exporter.names.dns_names import GRACE_S
from tests.e2e.exporter_process import Exporter
from tests.e2e.net import End, Network
from tests.e2e.services import (
    ECHO_PORT,
    Dnsmasq,
    Echo,
    address,
    ask,
    connect,
    curl,
    make_certificate,
    records,
    say,
    start_nginx,
    talk,
    wired,
)
from tests.e2e.tap import Truth
from tests.e2e.waiting import wait_until

FLAGS = ("--interface", "eth0", "--names.grace", "500ms")
DNS, DNS6 = address(53), address(53, ipv6=True)
_HTTPS_RECORD = 65


@pytest.fixture
def ends(network: Network) -> Iterator[tuple[End, End]]:
    """(client, servers): an echo at the far end, and room for a DNS server."""
    near, far = wired(network)
    for server in (DNS, DNS6):
        far.namespace.ip(f"address add {server} dev lo")
    echo = Echo(far.namespace, ECHO_PORT)
    try:
        yield near, far
    finally:
        echo.close()


def _hint(number: int) -> str:
    """The data of an HTTPS record with one address as a hint (RFC 9460): priority, root, key 4."""
    return "000100" + "00040004" + bytes(map(int, address(number).split("."))).hex()


def test_the_client_was_told_the_address(ends: tuple[End, End]) -> None:
    near, far = ends
    client = near.namespace
    pairs = [
        ("one.example", address(1)),
        ("end.chain.example", address(3)),
        ("six.example", address(4, ipv6=True)),
        ("seven.example", address(7, ipv6=True)),
        ("tcp.example", address(5)),
        *(("many.example", address(number)) for number in range(31, 39)),
    ]
    Dnsmasq(
        far.namespace,
        f"{DNS},{DNS6}",
        *records(pairs, 300),
        *(
            "--cname=www.chain.example,mid.chain.example",
            "--cname=mid.chain.example,end.chain.example",
        ),
        f"--dns-rr=service.example,{_HTTPS_RECORD},{_hint(6)}",
    )
    with Exporter(client, *FLAGS) as exporter, Truth(exporter, near) as truth:
        for name, qtype, remote in (
            ("One.Example", "A", address(1)),
            ("www.chain.example", "A", address(3)),
            ("service.example", "HTTPS", address(6)),
            ("many.example", "A", address(38)),
        ):
            assert ask(client, DNS, name, qtype).rcode() == dns.rcode.NOERROR
            talk(client, remote, 30_000)
            truth.belongs(remote, ECHO_PORT, name.lower(), "dns")
        # The client's other address was told nothing.
        ask(client, DNS, "six.example", "AAAA")
        talk(client, address(4, ipv6=True), 30_000)
        truth.belongs(address(4, ipv6=True), ECHO_PORT, "six.example", "dns_node")
        ask(client, DNS6, "seven.example", "AAAA")
        talk(client, address(7, ipv6=True), 30_000)
        truth.belongs(address(7, ipv6=True), ECHO_PORT, "seven.example", "dns")
        ask(client, DNS, "tcp.example", tcp=True)
        talk(client, address(5))
        truth.belongs(address(5), ECHO_PORT, "tcp.example", "dns")
        talk(client, address(9))  # nobody asked for it
        metrics = truth.verify()
        assert metrics.value("ayaflow_domains_resolved_total", source="dns") == 7


def test_of_two_names_of_one_address_the_one_asked_for_last(ends: tuple[End, End]) -> None:
    near, far = ends
    client = near.namespace
    pairs = [("one.example", address(1)), ("two.example", address(1))]
    Dnsmasq(far.namespace, DNS, *records(pairs, 300))
    with Exporter(client, *FLAGS) as exporter, Truth(exporter, near) as truth:
        for name in ("one.example", "two.example", "one.example", "two.example"):
            ask(client, DNS, name)
            port = talk(client, address(1))
            truth.belongs(address(1), ECHO_PORT, name, "dns", local_port=port)
        truth.verify()


@pytest.mark.slow
def test_an_answer_holds_for_its_ttl_and_a_grace(ends: tuple[End, End]) -> None:
    near, far = ends
    client, ttl_s = near.namespace, 2
    server = Dnsmasq(far.namespace, DNS, *records([("moves.example", address(1))], ttl_s))
    with Exporter(client, *FLAGS) as exporter, Truth(exporter, near) as truth:
        ask(client, DNS, "moves.example")
        with connect(client, address(1), ECHO_PORT) as old:
            say(old)
            server.restart(*records([("moves.example", address(2))], ttl_s))
            ask(client, DNS, "moves.example")
            asked_s = time.monotonic()
            for remote in (address(1), address(2)):
                port = talk(client, remote)
                truth.belongs(remote, ECHO_PORT, "moves.example", "dns", local_port=port)
            old_port = old.getsockname()[1]
            truth.belongs(address(1), ECHO_PORT, "moves.example", "dns", local_port=old_port)
            truth.verify()
            # Only time ends it.
            time.sleep(max(0.0, asked_s + ttl_s + GRACE_S + 0.7 - time.monotonic()))
            talk(client, address(1))
            talk(client, address(2))
            say(old)  # what is open keeps its name
            truth.verify()


def test_a_resolver_on_lo(ends: tuple[End, End]) -> None:
    """The client asks the resolver, and that somebody else, who says something else."""
    near, far = ends
    client = near.namespace
    pairs = [(f"{name}.example", address(n)) for n, name in enumerate(("one", "two", "three"), 1)]
    Dnsmasq(far.namespace, DNS, *records(pairs, 300))
    aliases = [f"--alias={address(a)},{address(b)}" for a, b in ((1, 21), (2, 22), (3, 22))]
    Dnsmasq(client, "127.0.0.53", f"--server={DNS}", *aliases)
    flags = (*FLAGS, "--names.interface", "lo")
    with Exporter(client, *flags) as exporter, Truth(exporter, near) as truth:
        ask(client, "127.0.0.53", "one.example")
        talk(client, address(21))
        truth.belongs(address(21), ECHO_PORT, "one.example", "dns_node")
        ask(client, "127.0.0.53", "two.example")
        port = talk(client, address(22))
        truth.belongs(address(22), ECHO_PORT, "two.example", "dns_node", local_port=port)
        metrics = truth.verify()
        assert metrics.label_values("ayaflow_interface_bytes_total", "device") == {"eth0"}
        ask(client, "127.0.0.53", "three.example")
        talk(client, address(22))
        truth.verify()


def test_a_resolver_on_lo_that_passes_answers_on(ends: tuple[End, End]) -> None:
    near, far = ends
    client = near.namespace
    pairs = [
        ("one.example", address(1)),
        ("two.example", address(2)),
        ("three.example", address(2)),
    ]
    Dnsmasq(far.namespace, DNS, *records(pairs, 300))
    Dnsmasq(client, "127.0.0.53", f"--server={DNS}")
    flags = (*FLAGS, "--names.interface", "lo")
    with Exporter(client, *flags) as exporter, Truth(exporter, near) as truth:
        for name, number in (("one.example", 1), ("two.example", 2)):
            ask(client, "127.0.0.53", name)
            port = talk(client, address(number))
            truth.belongs(address(number), ECHO_PORT, name, "dns_node", local_port=port)
        truth.verify()
        ask(client, "127.0.0.53", "three.example")
        talk(client, address(2))
        truth.verify()


_NAT = """
table ip nat {
  chain out {
    type nat hook postrouting priority srcnat;
    oifname "eth0" masquerade
  }
}
"""


def test_pods_behind_source_nat_that_ask_a_cache_on_the_node(
    network: Network, ends: tuple[End, End], tmp_path: Path
) -> None:
    near, far = ends
    node = near.namespace
    pods = [network.namespace(f"pod{number}") for number in (1, 2)]
    for number, pod in enumerate(pods, 1):
        gateway, _ = network.wire(node, pod, 10 + number, (f"cali{number}", "eth0"))
        pod.ip(f"route add default via {gateway.ipv4}")
    rules = tmp_path / "nat.nft"
    rules.write_text(_NAT)
    node.run("nft", "-f", str(rules))
    pairs = [
        ("one.example", address(1)),
        ("two.example", address(2)),
        ("three.example", address(2)),
        ("four.example", address(4)),
    ]
    Dnsmasq(far.namespace, DNS, *records(pairs, 300))
    node.ip("address add 169.254.20.10/32 dev lo")
    Dnsmasq(node, "169.254.20.10", f"--server={DNS}")
    flags = (*FLAGS, "--names.interface", "cali*")
    with Exporter(node, *flags) as exporter, Truth(exporter, near) as truth:
        ask(pods[0], "169.254.20.10", "one.example")
        talk(pods[0], address(1), 30_000)
        ask(pods[1], "169.254.20.10", "one.example")  # from the cache
        talk(pods[1], address(1), 30_000)
        truth.belongs(address(1), ECHO_PORT, "one.example", "dns_node")
        ask(pods[1], "169.254.20.10", "two.example")
        port = talk(pods[1], address(2))
        truth.belongs(address(2), ECHO_PORT, "two.example", "dns_node", local_port=port)
        truth.verify()
        ask(pods[0], "169.254.20.10", "three.example")
        talk(pods[0], address(2))
        talk(pods[1], address(2))
        # Nor does it matter whether there is a cache.
        ask(pods[0], DNS, "four.example")
        talk(pods[0], address(4))
        truth.belongs(address(4), ECHO_PORT, "four.example", "dns_node")
        metrics = truth.verify()
        assert metrics.label_values("ayaflow_interface_bytes_total", "device") == {"eth0"}


def test_what_was_asked_for_under_encryption_is_the_blind_spot(
    ends: tuple[End, End], tmp_path: Path
) -> None:
    near, far = ends
    start_nginx(far.namespace, tmp_path, make_certificate(tmp_path))
    with Exporter(near.namespace, *FLAGS) as exporter, Truth(exporter, near) as truth:
        curl(near.namespace, "doh.example", address(1), "https://doh.example/1k")
        truth.belongs(address(1), 443, "doh.example", "tls")
        talk(near.namespace, address(2), 50_000)
        metrics = truth.verify()
        for direction in ("ingress", "egress"):
            labels = {"direction": direction, "source": "none"}
            assert metrics.value("ayaflow_attributed_bytes_total", **labels) > 50_000


def test_dns_health(ends: tuple[End, End]) -> None:
    near, far = ends
    client = near.namespace
    pairs = [("one.example", address(1)), ("one.example", address(1, ipv6=True))]
    Dnsmasq(far.namespace, DNS, "--local=/example/", *records(pairs, 300))
    with Exporter(client, *FLAGS) as exporter, Truth(exporter, near) as truth:
        with suppress(dns.exception.Timeout):
            ask(client, address(99), "silent.example", timeout_s=0.1)
        for _ in range(3):
            ask(client, DNS, "one.example")
        ask(client, DNS, "one.example", "AAAA")
        assert ask(client, DNS, "missing.example").rcode() == dns.rcode.NXDOMAIN
        assert ask(client, DNS, "missing.example", "HTTPS", tcp=True).rcode() == dns.rcode.NXDOMAIN
        assert ask(client, DNS, "elsewhere.test").rcode() == dns.rcode.REFUSED
        metrics = truth.verify()
        expected = {"A": 6, "AAAA": 1, "HTTPS": 1, "TXT": 0, "other": 0}
        for qtype, count in expected.items():
            assert metrics.value("ayaflow_dns_queries_total", qtype=qtype) == count, qtype
        for rcode, count in {"NOERROR": 4, "NXDOMAIN": 2, "REFUSED": 1, "SERVFAIL": 0}.items():
            assert metrics.value("ayaflow_dns_responses_total", rcode=rcode) == count, rcode
        duration = "ayaflow_dns_lookup_duration_seconds"
        assert metrics.value(f"{duration}_count") == 7
        assert metrics.value(f"{duration}_bucket", le="0.5") == 7
        assert 0 < metrics.samples(f"{duration}_sum")[0].value < 0.5
        assert metrics.value("ayaflow_dns_timeouts_total") == 0
        wait_until(lambda: exporter.scrape().value("ayaflow_dns_timeouts_total") == 1)
        assert truth.verify().value(f"{duration}_count") == 7
        for family in ("ayaflow_dns_queries_total", "ayaflow_dns_responses_total"):
            assert "domain" not in metrics.samples(family)[0].labels
