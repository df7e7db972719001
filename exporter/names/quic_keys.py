"""Keys of QUIC Initial packets: anybody who sees the first packet can derive them.

They come from a salt that the version fixes and the Destination Connection ID that the client chose
(RFC 9001 5.2; RFC 9369 3.3 for version 2). The versions of drafts and vendors are here too: each
costs no more than its salt.
"""

from __future__ import annotations

import hmac
from typing import NamedTuple

from exporter.names.aes import KEY_LEN

NONCE_LEN = 12
_HASH = "sha256"
_HASH_LEN = 32


class Scheme(NamedTuple):
    """What a version fixes of its Initial packets."""

    salt: bytes
    label: bytes
    initial_type: int
    """The long packet type of an Initial packet."""
    retry_type: int
    """The long packet type of a Retry packet, the one without a length."""
    crypto_frame: int = 0x06
    """The type of the frames that carry the handshake."""


class InitialKeys(NamedTuple):
    """The keys that protect what the client sends (RFC 9001 5.1)."""

    key: bytes
    iv: bytes
    hp: bytes


def _like_v1(salt: str) -> Scheme:
    return Scheme(bytes.fromhex(salt), b"quic", initial_type=0, retry_type=3)


def _like_v2(salt: str) -> Scheme:
    return Scheme(bytes.fromhex(salt), b"quicv2", initial_type=1, retry_type=0)


_V1 = _like_v1("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
_V2 = _like_v2("0dede3def700a6db819381be6e269dcbf9bd2ed9")
_V2_DRAFT = _like_v2("a707c203a59b47184a1d62ca570406ea7ae3e5d3")
_DRAFT_22 = _like_v1("7fbcdb0e7c66bbe9193a96cd21519ebd7a02644a")
_DRAFT_23 = _like_v1("c3eef712c72ebb5a11a7d2432bb46365bef9f502")
_DRAFT_29 = _like_v1("afbfec289993d24c9e9786f19c6111e04390a899")

# Google's, with TLS inside: packets as in the drafts, frames of its own.
_T050 = _like_v1("7ff579e5acd072915580304c43a2367c60488310")._replace(crypto_frame=0x08)
_T051 = _like_v1("7a4edef4e7ccee5fa4506c19124fc8ccda6e033d")._replace(crypto_frame=0x08)

_SCHEMES = {
    0x00000001: _V1,
    0x6B3343CF: _V2,
    0x709A50C4: _V2_DRAFT,
    0xFF000016: _DRAFT_22,
    **dict.fromkeys(range(0xFF000017, 0xFF00001D), _DRAFT_23),
    **dict.fromkeys(range(0xFF00001D, 0xFF000021), _DRAFT_29),
    **dict.fromkeys(range(0xFF000021, 0xFF000023), _V1),
    # Facebook's mvfst
    0xFACEB001: _DRAFT_22,
    0xFACEB002: _DRAFT_23,
    0xFACEB00E: _DRAFT_23,
    0x54303530: _T050,
    0x54303531: _T051,
}

_RESERVED_MASK = 0x0F0F0F0F
_RESERVED = 0x0A0A0A0A
_RESERVED_SCHEMES = (_V1, _DRAFT_29)


def schemes(version: int) -> tuple[Scheme, ...]:
    """What a version may fix, the likelier first; empty for a version that is not known.

    A client that forces a negotiation (RFC 9000 15) protects its packet as in a version that it
    speaks really, and does not say in which.
    """
    if version & _RESERVED_MASK == _RESERVED:
        return _RESERVED_SCHEMES
    scheme = _SCHEMES.get(version)
    return () if scheme is None else (scheme,)


def client_keys(scheme: Scheme, connection_id: bytes) -> InitialKeys:
    """The keys for the Destination Connection ID of the client's first Initial (RFC 9001 5.2)."""
    initial_secret = hmac.digest(scheme.salt, connection_id, _HASH)
    secret = _expand(initial_secret, b"client in", _HASH_LEN)
    return InitialKeys(
        key=_expand(secret, scheme.label + b" key", KEY_LEN),
        iv=_expand(secret, scheme.label + b" iv", NONCE_LEN),
        hp=_expand(secret, scheme.label + b" hp", KEY_LEN),
    )


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label without context (RFC 8446 7.1). *length*: of one hash at most."""
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return hmac.digest(secret, info + b"\x01", _HASH)[:length]  # RFC 5869 2.3, its first block
