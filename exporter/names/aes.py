"""AES-128, the one thing that reading QUIC takes from a library. The only file that imports it.

The library is pycryptodomex: with AES and GCM loaded it adds 1.2 MB to the exporter's memory,
where `cryptography` adds 5 (Debian 12's) to 9 MB (PyPI's). It is imported when an `Aes` is made:
once, only if payloads are read, and before privileges are dropped, because its modules are shared
objects that a confined process may no longer map.
"""

from __future__ import annotations

from exporter.errors import ExporterError

KEY_LEN = 16
BLOCK_LEN = 16
TAG_LEN = 16

# NIST SP 800-38D, the GCM specification's test case 2: all zeros.
_KNOWN_NONCE_LEN = 12
_KNOWN_SEALED = bytes.fromhex("0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf")


class Aes:
    """The two operations that QUIC packet protection needs (RFC 9001 5.3 and 5.4.3)."""

    def __init__(self) -> None:
        """Loads the library whole and tries it. Raises ExporterError where it cannot be used."""
        try:
            from Cryptodome.Cipher import AES
        except (ImportError, OSError) as error:
            raise ExporterError(
                f"reading QUIC needs the Python package pycryptodomex ({error}): install it, "
                "or run with --no-deep-inspect"
            ) from error
        self._library = AES
        # A mode's shared object is loaded by its first use, so the first use is here.
        zeros = bytes(BLOCK_LEN)
        known = self.maybe_open(zeros, bytes(_KNOWN_NONCE_LEN), b"", _KNOWN_SEALED)
        if known != zeros or len(self.encrypt_block(zeros, zeros)) != BLOCK_LEN:
            raise ExporterError(
                "the Python package pycryptodomex computes AES-GCM wrongly here: reinstall it, "
                "or run with --no-deep-inspect"
            )

    def encrypt_block(self, key: bytes, block: bytes) -> bytes:
        """One block of 16 bytes, encrypted (AES-128-ECB)."""
        return self._library.new(key, self._library.MODE_ECB).encrypt(block)

    def maybe_open(self, key: bytes, nonce: bytes, header: bytes, sealed: bytes) -> bytes | None:
        """The plain text of *sealed*, which ends in its tag; None if the tag says it is not."""
        cipher = self._library.new(key, self._library.MODE_GCM, nonce=nonce)
        cipher.update(header)
        try:
            return cipher.decrypt_and_verify(sealed[:-TAG_LEN], sealed[-TAG_LEN:])
        except ValueError:
            return None
