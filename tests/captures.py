"""Packet captures for tests: reads pcap and pcapng files, and writes Ethernet ones.

Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. A pcap file
may end within its last packet: what is there of it is read.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

DLT_NULL = 0
DLT_EN10MB = 1
DLT_RAW = 101
DLT_LINUX_SLL = 113
DLT_IPV4 = 228

_LINK_HEADER_LEN = {DLT_NULL: 4, DLT_EN10MB: 0, DLT_RAW: 0, DLT_LINUX_SLL: 16, DLT_IPV4: 0}

_PCAP_MAGICS = (0xA1B2C3D4, 0xA1B23C4D)
_PCAP_FILE_HEADER = "IHHiIII"
_PCAP_RECORD_HEADER = "IIII"
_PCAP_LENGTHS_IN_ORDER = 3
"""Minor versions of 2 before this one have the original length first."""

_SECTION_HEADER = 0x0A0D0D0A
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_INTERFACE = 1
_OLD_PACKET = 2
_SIMPLE_PACKET = 3
_ENHANCED_PACKET = 6

_SNAPSHOT_LEN = 262144


class CapturedPacket(NamedTuple):
    """One packet of a capture."""

    linktype: int
    """The DLT number, as 1 for Ethernet."""
    original_len: int
    """Its length on the wire, which *data* may fall short of."""
    data: bytes

    def ip_or_ethernet(self) -> bytes:
        """The frame as an interface would show it: pseudo link headers taken off, Ethernet left."""
        return self.data[_LINK_HEADER_LEN[self.linktype] :]


class NoCorpusError(FileNotFoundError):
    """There is no corpus: the message says what to do. tests/conftest.py says what follows."""


def corpus_dir() -> Path:
    """Where the captures and their truth are: AYAFLOW_CORPUS, or shared/corpus beside the checkout.

    Raises NoCorpusError where there are none.
    """
    default = Path(__file__).resolve().parents[2] / "shared" / "corpus"
    corpus = Path(os.environ.get("AYAFLOW_CORPUS", default))
    if not (corpus / "dev.txt").is_file():
        raise NoCorpusError(f"no corpus in {corpus}: set AYAFLOW_CORPUS to its folder")
    return corpus


def read_capture(path: Path) -> list[CapturedPacket]:
    """All packets of a pcap or pcapng file, in order. Raises ValueError where it is neither."""
    content = path.read_bytes()
    for order in "<>":
        (magic,) = struct.unpack_from(order + "I", content)
        if magic in _PCAP_MAGICS:
            return list(_read_pcap(content, order))
        if magic == _SECTION_HEADER:
            return list(_read_pcapng(content))
    raise ValueError(f"{path} is neither pcap nor pcapng")


def _read_pcap(content: bytes, order: str) -> Iterator[CapturedPacket]:
    header = struct.unpack_from(order + _PCAP_FILE_HEADER, content)
    linktype = header[-1] & 0xFFFF
    swapped = header[2] < _PCAP_LENGTHS_IN_ORDER
    offset = struct.calcsize(_PCAP_FILE_HEADER)
    record = struct.Struct(order + _PCAP_RECORD_HEADER)
    while offset + record.size <= len(content):
        _, _, captured_len, original_len = record.unpack_from(content, offset)
        if swapped:
            captured_len, original_len = original_len, captured_len
        offset += record.size
        yield CapturedPacket(linktype, original_len, content[offset : offset + captured_len])
        offset += captured_len


def _read_pcapng(content: bytes) -> Iterator[CapturedPacket]:
    order = "<"
    linktypes: list[int] = []
    snapshot_lens: list[int] = []
    for kind, offset, end, block_order in _blocks(content):
        order = block_order
        if kind == _SECTION_HEADER:
            linktypes, snapshot_lens = [], []
        elif kind == _INTERFACE:
            linktype, _, snapshot_len = struct.unpack_from(order + "HHI", content, offset)
            linktypes.append(linktype)
            snapshot_lens.append(snapshot_len or _SNAPSHOT_LEN)
        elif kind in (_ENHANCED_PACKET, _OLD_PACKET):
            layout = "IIIII" if kind == _ENHANCED_PACKET else "HHIIII"
            fields = struct.unpack_from(order + layout, content, offset)
            start = offset + 20
            yield CapturedPacket(
                linktypes[fields[0]], fields[-1], content[start : start + fields[-2]]
            )
        elif kind == _SIMPLE_PACKET:
            (original_len,) = struct.unpack_from(order + "I", content, offset)
            start = offset + 4
            captured_len = min(original_len, snapshot_lens[0], end - start)
            yield CapturedPacket(linktypes[0], original_len, content[start : start + captured_len])


def _blocks(content: bytes) -> Iterator[tuple[int, int, int, str]]:
    """The blocks of a pcapng file: type, where the body begins and ends, and the byte order."""
    order = "<"
    offset = 0
    while offset + 12 <= len(content):
        (kind,) = struct.unpack_from(order + "I", content, offset)
        if kind == _SECTION_HEADER:
            (magic,) = struct.unpack_from("<I", content, offset + 8)
            order = "<" if magic == _BYTE_ORDER_MAGIC else ">"
        (length,) = struct.unpack_from(order + "I", content, offset + 4)
        if length < 12 or offset + length > len(content):
            return
        yield kind, offset + 8, offset + length - 4, order
        offset += length


def write_ethernet_capture(path: Path, frames: Iterable[bytes]) -> None:
    """Writes Ethernet frames as a pcap file, a microsecond apart."""
    with path.open("wb") as file:
        file.write(
            struct.pack(
                "<" + _PCAP_FILE_HEADER, _PCAP_MAGICS[0], 2, 4, 0, 0, _SNAPSHOT_LEN, DLT_EN10MB
            )
        )
        for number, frame in enumerate(frames):
            seconds, microseconds = divmod(number, 1_000_000)
            file.write(
                struct.pack(
                    "<" + _PCAP_RECORD_HEADER, seconds, microseconds, len(frame), len(frame)
                )
            )
            file.write(frame)
