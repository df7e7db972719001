"""Configurations from flags and from the text of a file, as a start loads them."""

from __future__ import annotations

from pathlib import Path

from exporter import config, flags


def load_flags(*words: str) -> config.Config:
    parser = flags.Parser("test", "test", "")
    flags.add_options(parser)
    return config.load(flags.given_flags(parser, words))


def load_text(tmp_path: Path, text: str | bytes, *words: str) -> config.Config:
    file = tmp_path / "c.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_flags("--config.file", str(file), *words)


def as_yaml(key: str, values: tuple[str, ...]) -> str:
    text = f"[{', '.join(repr(value) for value in values)}]" if len(values) > 1 else values[0]
    for level in reversed(key.split(".")):
        text = f"{{{level}: {text}}}"
    return text
