"""Who is answered at all."""

from __future__ import annotations

import logging

import pytest

from exporter.outputs.allow import Allowed


@pytest.mark.parametrize(
    ("remote", "allowed"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("fd00::1", True),
        ("fe80::1%eth0", True),
        ("fe81::1%eth0", False),
        ("::1", False),
        ("127.0.0.1", False),
    ],
)
def test_networks_and_single_addresses(remote: str, allowed: bool) -> None:
    assert Allowed(("10.0.0.0/8", "192.0.2.7", "fd00::/8", "fe80::/16"))(remote) is allowed


def test_the_log_says_so_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr("exporter.outputs.allow.time.monotonic", lambda: now)
    allowed = Allowed(("10.0.0.0/8",))
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            assert not allowed("192.0.2.1")
        assert [each.getMessage()[:34] for each in caplog.records] == [
            "not answered: 192.0.2.1 is in no n"
        ]
        now += 61.0
        assert not allowed("192.0.2.2")
    assert "192.0.2.2 is in no network of web.allow (1000 connections" in caplog.messages[-1]
    assert len(caplog.messages) == 2
