"""What connections state of themselves: each byte is under its name, in both directions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.exporter_process import ROOT, Exporter
from tests.e2e.net import End, Network
from tests.e2e.services import (
    ECHO_PORT,
    Echo,
    Proxy,
    address,
    connect,
    curl,
    get,
    make_certificate,
    say,
    start_nginx,
    talk,
    tls_context,
    wired,
)
from tests.e2e.tap import Truth
from tests.e2e.waiting import wait_until
from tests.hellos import in_records, named, post_quantum_key_share

FLAGS = ("--interface", "eth0", "--names.grace", "500ms")
GO_HELLO = Path(__file__).parent / "go_hello.hex"
SEGMENT_LEN = 1448
"""Over Ethernet, with time stamps."""
SERVER_HELLO = 2
_PROXY_PORT = 3128
_QUIC_PORT = 4433


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


offloads = pytest.mark.parametrize("ends", [False, True], ids=["cut", "offloads"], indirect=True)
"""With offloads, a payload lies in fragments of the socket buffer."""


@pytest.fixture
def ends(
    request: pytest.FixtureRequest,
    network: Network,
    tmp_path: Path,
    certificate: tuple[Path, Path],
) -> Iterator[tuple[End, End]]:
    """(client, servers): nginx and an echo at the far end."""
    near, far = wired(network, offload=getattr(request, "param", True))
    start_nginx(far.namespace, tmp_path, certificate)
    echo = Echo(far.namespace, ECHO_PORT)
    try:
        yield near, far
    finally:
        echo.close()


def recorded_lines(path: Path) -> list[str]:
    """The lines of a recording but for its comments."""
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


def _say_hello_in_pieces(client: End, remote: str, name: str, piece_len: int) -> None:
    """A real handshake, whose ClientHello of 4 KB leaves in pieces, and a request."""
    import ssl

    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    long_list = [f"{number:0>100}" for number in range(40)]
    tls = tls_context(*long_list, "http/1.1").wrap_bio(incoming, outgoing, server_hostname=name)
    with connect(client.namespace, remote, 443) as plug:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                hello = outgoing.read()
                for at in range(0, len(hello), piece_len):
                    plug.sendall(hello[at : at + piece_len])
                incoming.write(plug.recv(65536))
        tls.write(f"GET /1k HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
        plug.sendall(outgoing.read())
        while data := plug.recv(65536):
            incoming.write(data)


@offloads
def test_tls(ends: tuple[End, End], tmp_path: Path) -> None:
    near, _ = ends
    client = near.namespace
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(300_000))
    with Exporter(client, *FLAGS) as exporter, Truth(exporter, near) as truth:
        for number, (version, port) in enumerate((v, p) for v in "23" for p in (443, 8443)):
            name, remote = f"tls1{version}-{port}.example", address(number + 1)
            options = (f"--tlsv1.{version}", "--tls-max", f"1.{version}")
            curl(client, name, remote, f"https://{name}:{port}/1m", *options)
            curl(client, name, remote, f"https://{name}:{port}/1k", "--data-binary", f"@{upload}")
            truth.belongs(remote, port, name, "tls")
        curl(client, "six.example", address(1, ipv6=True), "https://six.example/1m")
        truth.belongs(address(1, ipv6=True), 443, "six.example", "tls")
        # Not one of these ClientHellos fits a segment.
        for number, piece_len in ((10, 5000), (11, 700), (12, 150)):
            name = f"pieces-{piece_len}.example"
            _say_hello_in_pieces(near, address(number), name, piece_len)
            truth.belongs(address(number), 443, name, "tls")
        hello = named(b"Quantum.Example", post_quantum_key_share(), padded_to=4000)
        with connect(client, address(13), 443) as plug:
            plug.sendall(in_records(hello, fragment_len=1000))
            plug.recv(65536)
        truth.belongs(address(13), 443, "quantum.example", "tls")
        # An address is no name, and no name is said then.
        curl(client, "unused", address(14), f"https://{address(14)}/1k")
        metrics = truth.verify()
        assert metrics.value("ayaflow_domains_resolved_total", source="tls") == 13
        assert metrics.sum("ayaflow_parse_errors_total") == 0


def test_tls_seen_by_the_server(ends: tuple[End, End]) -> None:
    near, far = ends
    with Exporter(far.namespace, *FLAGS) as exporter, Truth(exporter, far) as truth:
        curl(near.namespace, "shop.example", address(1), "https://shop.example/1m")
        truth.belongs(near.ipv4, 0, "shop.example", "tls")
        truth.verify()


@offloads
def test_post_quantum_tls_of_go(ends: tuple[End, End]) -> None:
    """Cut, a segment is too short for its ClientHello; with offloads, it lies in fragments."""
    near, _ = ends
    hello = bytes.fromhex("".join(recorded_lines(GO_HELLO)))
    assert len(hello) > SEGMENT_LEN
    with Exporter(near.namespace, *FLAGS) as exporter, Truth(exporter, near) as truth:
        for number in (1, 2):
            with connect(near.namespace, address(number), 443) as plug:
                plug.sendall(hello)
                assert plug.recv(65536)[5] == SERVER_HELLO
            truth.belongs(address(number), 443, "go.pq.example", "tls")
        metrics = truth.verify()
        assert metrics.value("ayaflow_domains_resolved_total", source="tls") == 2
        assert metrics.sum("ayaflow_parse_errors_total") == 0


@offloads
def test_http(ends: tuple[End, End]) -> None:
    near, far = ends
    client = near.namespace
    proxy = Proxy(far.namespace, _PROXY_PORT, target_port=443)
    try:
        with Exporter(client, *FLAGS) as exporter, Truth(exporter, near) as truth:
            curl(client, "plain.example", address(1), "http://plain.example/1m")
            truth.belongs(address(1), 80, "plain.example", "http")
            curl(client, "odd.example", address(2), "http://odd.example:18080/1m")
            truth.belongs(address(2), 18080, "odd.example", "http")
            curl(client, "six.example", address(2, ipv6=True), "http://six.example/1k")
            truth.belongs(address(2, ipv6=True), 80, "six.example", "http")
            with connect(client, address(3), 80) as plug:
                plug.sendall(b"GET /1k HTTP/1.1\r\nX-Filler: " + b"x" * 3000 + b"\r\nHo")
                plug.sendall(b"st: Late.example:80\r\nConnection: close\r\n\r\n")
                while plug.recv(65536):
                    pass
            truth.belongs(address(3), 80, "late.example", "http")
            with connect(client, address(4), 80) as plug:
                get(plug, address(4))  # an address is no name
            with connect(client, address(5), _PROXY_PORT) as plug:
                plug.sendall(b"CONNECT tunnel.example:22 HTTP/1.1\r\nHost: proxy\r\n\r\n")
                plug.recv(100)
                plug.sendall(b"\0" * 100)
            truth.belongs(address(5), _PROXY_PORT, "tunnel.example", "http")
            truth.verify()
    finally:
        proxy.close()


def test_what_a_tunnel_is_for_and_what_is_in_it(ends: tuple[End, End]) -> None:
    """The authority of CONNECT names what comes until the inner server is known."""
    near, far = ends
    proxy = Proxy(far.namespace, _PROXY_PORT, target_port=443)
    try:
        with Exporter(near.namespace, *FLAGS) as exporter, Truth(exporter, near) as truth:
            with connect(near.namespace, address(5), _PROXY_PORT) as plug:
                plug.sendall(b"CONNECT outer.example:443 HTTP/1.1\r\nHost: proxy\r\n\r\n")
                plug.recv(100)

                def is_outer() -> None:
                    counts = exporter.scrape()
                    for direction in ("ingress", "egress"):
                        labels = {"direction": direction, "domain": "outer.example"}
                        assert counts.sum("ayaflow_bytes_total", **labels) > 0

                wait_until(is_outer)
                outer = {
                    (unit, direction): sum(
                        each[direction, unit] for each in truth.tap.counts.values()
                    )
                    for unit in ("bytes", "packets")
                    for direction in ("ingress", "egress")
                }
                with tls_context().wrap_socket(plug, server_hostname="inner.example") as tls:
                    assert len(get(tls, "inner.example", "/1m")) > 1 << 20

            def is_inner() -> None:
                counts = exporter.scrape()
                for (unit, direction), before in outer.items():
                    name, labels = f"ayaflow_{unit}_total", {"direction": direction}
                    total = counts.sum(f"ayaflow_interface_{unit}_total", **labels)
                    inner = counts.value(name, domain="inner.example", **labels)
                    assert counts.value(name, domain="outer.example", **labels) >= before
                    assert counts.sum(name, **labels) == total
                    if unit == "bytes":
                        assert inner >= (1 << 20 if direction == "ingress" else 500)

            wait_until(is_inner)
    finally:
        proxy.close()


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_http3(network: Network, certificate: tuple[Path, Path], ipv6: bool) -> None:
    near, far = wired(network)
    remotes = [address(number, ipv6) for number in (1, 2, 3)]
    run = (sys.executable, "-m", "tests.e2e.http3")
    serving = far.namespace.start(
        *(
            "env",
            "-C",
            str(ROOT),
            *run,
            "serve",
            ",".join(remotes),
            str(_QUIC_PORT),
            *map(str, certificate),
        )
    )
    assert serving.stdout is not None
    assert serving.stdout.readline() == "serving\n"
    # name, version, bytes of ALPN: with 4,000 its ClientHello takes several Initials
    cases = [("h3.example", 1, 0), ("h3-v2.example", 2, 0), ("h3-large.example", 1, 4000)]
    with Exporter(near.namespace, *FLAGS) as exporter, Truth(exporter, near) as truth:
        for remote, (name, version, alpn_len) in zip(remotes, cases, strict=True):
            near.namespace.run(
                *("env", "-C", str(ROOT), *run, "get", remote, str(_QUIC_PORT), name),
                *(str(200_000), str(version), str(alpn_len)),
            )
            truth.belongs(remote, _QUIC_PORT, name, "quic")
        metrics = truth.verify()
        assert metrics.value("ayaflow_domains_resolved_total", source="quic") == 3
        assert metrics.sum("ayaflow_parse_errors_total") == 0


def test_bytes_are_pending_until_the_grace_ends(ends: tuple[End, End]) -> None:
    near, _ = ends
    flags = ("--interface", "eth0", "--names.grace", "3s")
    with Exporter(near.namespace, *flags) as exporter, Truth(exporter, near) as truth:
        with connect(near.namespace, address(1), ECHO_PORT) as plug:
            say(plug)
            held = exporter.scrape()
            for direction in ("ingress", "egress"):
                assert held.value("ayaflow_pending_bytes", direction=direction) > 2000
                assert held.value("ayaflow_pending_packets", direction=direction) >= 3
                for unit in ("bytes", "packets"):
                    name = f"ayaflow_{unit}_total"
                    assert held.sum(name, direction=direction, domain="unknown") == 0
            truth.verify()
        # A statement decides at once, and takes along what was pending.
        with connect(near.namespace, address(2), 80) as plug:
            say_nothing_yet = exporter.scrape()
            assert say_nothing_yet.sum("ayaflow_pending_packets") > 0
            get(plug, "now.example")
        truth.belongs(address(2), 80, "now.example", "http")
        truth.verify(timeout_s=2)


def test_without_deep_inspection_everything_is_unknown_at_once(ends: tuple[End, End]) -> None:
    near, _ = ends
    flags = ("--interface", "eth0", "--no-deep-inspect", "--names.grace", "60s")
    with Exporter(near.namespace, *flags) as exporter, Truth(exporter, near) as truth:
        curl(near.namespace, "tls.example", address(1), "https://tls.example/1k")
        curl(near.namespace, "http.example", address(1), "http://http.example/1k")
        talk(near.namespace, address(2))
        metrics = truth.verify(timeout_s=2)
        assert metrics.label_values("ayaflow_bytes_total", "domain") == {"unknown"}
        for family in ("deep_inspect_packets", "domains_resolved", "parse_errors", "dns_queries"):
            assert not metrics.samples(f"ayaflow_{family}_total")
        assert metrics.sum("ayaflow_ring_dropped_events_total", ring="payload") == 0
