"""The library that QUIC's AES comes from: loaded when an Aes is made, and tried."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import exporter
from exporter.errors import ExporterError
from exporter.names.aes import Aes


def test_a_block_is_encrypted_as_fips_197_says() -> None:
    key = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
    block = bytes.fromhex("00112233445566778899aabbccddeeff")
    assert Aes().encrypt_block(key, block).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"


def test_what_is_not_genuine_does_not_open() -> None:
    zeros = bytes(16)
    sealed = bytes.fromhex("0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf")
    aes = Aes()
    assert aes.maybe_open(zeros, bytes(12), b"", sealed) == zeros
    assert aes.maybe_open(zeros, bytes(12), b"x", sealed) is None
    assert aes.maybe_open(zeros, bytes(12), b"", sealed[:-1] + b"\0") is None


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Cryptodome.Cipher", None)
    with pytest.raises(ExporterError, match=r"pycryptodomex.*--no-deep-inspect"):
        Aes()


def test_a_library_that_computes_wrongly_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Aes, "maybe_open", lambda *_: None)
    with pytest.raises(ExporterError, match="wrongly"):
        Aes()


def test_it_is_imported_in_one_place_and_not_at_start() -> None:
    for file in Path(exporter.__path__[0]).rglob("*.py"):
        tree = ast.parse(file.read_text())
        using = "Cryptodome" in {
            name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in [getattr(node, "module", None) or node.names[0].name]
        }
        assert using == (file.name == "aes.py")
        assert not any(
            "Cryptodome" in ast.unparse(node)
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)
        )
