"""The listening socket, and the sentence where there is none."""

from __future__ import annotations

import errno
import socket

import pytest

from exporter.errors import ExporterError
from exporter.outputs import listen
from exporter.outputs.listen import bind, parse_listen_address


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        (":10517", ("", 10517)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("::1", 65535)),
        ("[::]:80", ("::", 80)),
    ],
)
def test_addresses(address: str, parsed: tuple[str, int]) -> None:
    assert parse_listen_address(address) == parsed


@pytest.mark.parametrize(
    "address", ["", "10517", "localhost", ":65536", ":x", "::1:80", "[::1]", "a:1:2", ":-1", ":1\n"]
)
def test_what_is_no_address_is_said_with_examples(address: str) -> None:
    with pytest.raises(ExporterError, match=r"is no address to listen on: give --web.listen-addre"):
        bind(address)


def test_without_a_host_it_takes_both_families() -> None:
    with bind(":0") as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=5).close()


def test_without_ipv6_in_the_kernel_it_takes_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def no_ipv6(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, kind)

    monkeypatch.setattr(socket, "socket", no_ipv6)
    with bind(":0") as listener:
        assert listener.getsockname()[0] == "0.0.0.0"


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_a_port_in_use_is_one_sentence_that_says_what_to_do(host: str) -> None:
    with bind(f"{host}:0") as first:
        taken = f"{host}:{first.getsockname()[1]}"
        with pytest.raises(ExporterError) as refused:
            bind(taken)
    assert str(refused.value) == (
        f"cannot listen on {taken}: another program uses this port; "
        "stop it, or choose another port with --web.listen-address"
    )


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("192.0.2.1:0", "no interface has this address; choose one that this machine has with"),
        ("no.such.host.invalid:0", "'no.such.host.invalid' is no address and resolves to none"),
        ("a..b:0", "'a..b' is no address and resolves to none"),
    ],
)
def test_an_address_of_somebody_else_is_one_sentence(address: str, sentence: str) -> None:
    with pytest.raises(ExporterError) as refused:
        bind(address)
    assert str(refused.value).startswith(f"cannot listen on {address}: {sentence}")
    assert "--web.listen-address" in str(refused.value)


def test_a_low_port_without_the_capability_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> socket.socket:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(listen, "_listen", denied)
    with pytest.raises(ExporterError, match=r"ports below 1024 need CAP_NET_BIND_SERVICE; grant"):
        bind(":80")
