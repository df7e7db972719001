"""The TLS files of OTLP, read while they can be: before the server gives its privileges up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from exporter.errors import ExporterError
from exporter.outputs.otlp_settings import OtlpSettings

if TYPE_CHECKING:
    import ssl

_BUNDLES = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt"))


def client_context(settings: OtlpSettings) -> ssl.SSLContext:
    """What verifies a collector, and shows our certificate if there is one; or ExporterError."""
    import ssl

    check_files(settings)
    try:
        context = ssl.create_default_context(cafile=settings.certificate)
    except (ssl.SSLError, OSError) as error:
        raise ExporterError(
            f"otlp.certificate: {settings.certificate} has no PEM certificates: {error}"
        ) from None
    if settings.client_certificate is not None:
        try:
            # The password: with none at all, OpenSSL would ask the terminal for one.
            context.load_cert_chain(settings.client_certificate, settings.client_key, password="")
        except (ssl.SSLError, OSError, ValueError):
            raise ExporterError(
                f"otlp.client_certificate: {settings.client_certificate} and"
                f" {settings.client_key} must be a PEM certificate and its key, without a password"
            ) from None
    return context


def check_files(settings: OtlpSettings) -> None:
    """Raises ExporterError where a file that the settings name cannot be read."""
    for name in ("certificate", "client_certificate", "client_key"):
        read_file(settings, name)


def read_file(settings: OtlpSettings, name: str) -> bytes | None:
    """The content of one of them, or None where it is not set. Raises ExporterError."""
    path: Path | None = getattr(settings, name)
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExporterError(
            f"otlp.{name}: cannot read {path} ({error.strerror}): give a PEM file that the"
            " exporter's starter can read"
        ) from None


def system_authorities() -> list[Path]:
    """Where OpenSSL looks for the authorities that the system trusts; what there is of it."""
    import ssl

    known = ssl.get_default_verify_paths()
    paths = [Path(text) for text in (known.cafile, known.capath) if text]
    return [path for path in (*paths, *_BUNDLES) if path.exists()]


def system_bundle() -> bytes | None:
    """The system's authorities in one PEM text; None where there is no such file."""
    for path in system_authorities():
        if path.is_file():
            try:
                return path.read_bytes()
            except OSError:
                continue
    return None
