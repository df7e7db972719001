"""Certificates as openssl makes them."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.net import command


class Authority:
    """Signs certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cert, key = folder / "ca.pem", folder / "ca.key"
        self._key = key
        command(
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "30", "-subj", "/CN=authority"),
            *("-keyout", str(key), "-out", str(self.cert)),
        )

    def sign(self, name: str) -> tuple[Path, Path]:
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        asked, san = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        san.write_text(f"subjectAltName=DNS:{name}\n")
        command(
            *("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={name}", "-keyout", str(key), "-out", str(asked)),
        )
        command(
            *("openssl", "x509", "-req", "-in", str(asked), "-CA", str(self.cert)),
            *("-CAkey", str(self._key), "-CAcreateserial", "-days", "30"),
            *("-extfile", str(san), "-out", str(cert)),
        )
        return cert, key
