"""The corpus: captures, each with the truth of what is in it, and samples of its messages."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.captures import corpus_dir
from tests.streams import read_datagrams, read_streams

DNS_PORT = 53


class Capture(NamedTuple):
    """A capture file, and its truth as the corpus' README describes it."""

    path: Path
    truth: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.name


def read_corpus() -> Iterator[Capture]:
    """All captures, the derived ones last. Raises NoCorpusError where there is no corpus."""
    for folder in (corpus_dir(), corpus_dir() / "derived"):
        for path in sorted((folder / "pcap").iterdir()):
            truth = json.loads((folder / "truth" / f"{path.name}.json").read_text())
            yield Capture(path, truth)


@functools.cache
def dns_payloads() -> tuple[bytes, ...]:
    """The DNS messages over UDP of all captures, each once."""
    return _each_once(
        datagram.payload
        for capture in read_corpus()
        if capture.truth["dns"]["queries"]
        for datagram in read_datagrams(capture.path)
        if DNS_PORT in (datagram.ends.source_port, datagram.ends.destination_port)
    )


@functools.cache
def http_streams(length_max: int = 2048) -> tuple[bytes, ...]:
    """How the client's side of streams with HTTP in them begins, in all captures, each once."""
    return _each_once(
        stream.data()[:length_max]
        for capture in read_corpus()
        if capture.truth["http_hosts"]
        for stream in read_streams(capture.path)
        if stream.ends.destination_port < stream.ends.source_port
    )


def _each_once(payloads: Iterator[bytes]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(payloads))
