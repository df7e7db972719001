"""QUIC Initial packets for tests, protected as a client protects them (RFC 9001 5)."""

from __future__ import annotations

from Cryptodome.Cipher import AES

from exporter.names.aes import Aes
from exporter.names.quic import InitialReader
from exporter.names.quic_keys import Scheme, client_keys, schemes
from exporter.names.tls import ClientHello

V1 = 0x00000001
V2 = 0x6B3343CF
CONNECTION_ID = bytes.fromhex("8394c8f03e515708")
DATAGRAM_LEN = 1200
"""What a client's first datagrams are padded to at least (RFC 9000 14.1)."""

_TAG_LEN = 16


def varint(value: int) -> bytes:
    """A variable-length integer of the least size (RFC 9000 16)."""
    size = next(size for size in range(4) if value < 1 << (8 << size) - 2)
    return (value | size << (8 << size) - 2).to_bytes(1 << size, "big")


def crypto(offset: int, data: bytes, frame_type: int = 6) -> bytes:
    """A CRYPTO frame."""
    return bytes([frame_type]) + varint(offset) + varint(len(data)) + data


def pieces(message: bytes, length: int) -> list[bytes]:
    """CRYPTO frames of so many bytes each, in order."""
    return [crypto(at, message[at : at + length]) for at in range(0, len(message), length)]


def protect(scheme: Scheme, attempt: bytes, header: bytes, number: int, frames: bytes) -> bytes:
    """The packet. *header* ends in its packet number; its first byte says how long that is."""
    keys = client_keys(scheme, attempt)
    number_at = len(header) - (header[0] & 0x03) - 1
    nonce = (int.from_bytes(keys.iv, "big") ^ number).to_bytes(12, "big")
    sealing = AES.new(keys.key, AES.MODE_GCM, nonce=nonce)
    sealing.update(header)
    packet = bytearray(header + b"".join(sealing.encrypt_and_digest(frames)))
    mask = AES.new(keys.hp, AES.MODE_ECB).encrypt(bytes(packet[number_at + 4 : number_at + 20]))
    packet[0] ^= mask[0] & 0x0F
    for place in range(number_at, len(header)):
        packet[place] ^= mask[1 + place - number_at]
    return bytes(packet)


def initial(
    frames: bytes,
    *,
    version: int = V1,
    scheme: Scheme | None = None,
    destination: bytes = CONNECTION_ID,
    attempt: bytes | None = None,
    number: int = 0,
    number_len: int = 1,
    token: bytes = b"",
    padded_to: int = DATAGRAM_LEN,
) -> bytes:
    """A client's Initial packet, with PADDING up to a length.

    The keys come from the connection ID *attempt*: *destination*, if not given.
    """
    scheme = scheme or schemes(version)[0]
    start = bytes([0xC0 | scheme.initial_type << 4 | number_len - 1]) + version.to_bytes(4, "big")
    start += bytes([len(destination)]) + destination + b"\0" + varint(len(token)) + token
    frames += bytes(max(0, padded_to - len(start) - 2 - number_len - len(frames) - _TAG_LEN))
    frames += bytes(max(0, 4 - number_len - len(frames)))  # for the sample
    length = number_len + len(frames) + _TAG_LEN
    truncated = (number & (1 << 8 * number_len) - 1).to_bytes(number_len, "big")
    coded = (length | 0x4000).to_bytes(2, "big") if length < 0x4000 else varint(length)
    header = start + coded + truncated
    key_id = destination if attempt is None else attempt
    return protect(scheme, key_id, header, number, frames)


def read(aes: Aes, *datagrams: bytes) -> ClientHello | None:
    """What a reader says to the last datagram. It must not have said anything before."""
    reader = InitialReader(aes)
    for datagram in datagrams[:-1]:
        assert reader.feed(datagram) is None
    return reader.feed(datagrams[-1])


def other_long(packet_type: int, body: bytes, version: int = V1) -> bytes:
    """A packet of another type that has a length: 0-RTT or Handshake."""
    start = bytes([0xC0 | packet_type << 4]) + version.to_bytes(4, "big")
    start += bytes([len(CONNECTION_ID)]) + CONNECTION_ID + b"\0"
    return start + varint(len(body)) + body
