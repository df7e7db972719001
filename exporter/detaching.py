"""The command `detach`: nothing of an exporter stays in the kernel."""

from __future__ import annotations

from pathlib import Path

from exporter import advice, lock
from exporter.capture import attach, bpffs, unpinning
from exporter.errors import ExporterError


def detach(directory: Path | None) -> list[str]:
    """Removes filters, pinned links and maps, and says what it removed.

    *directory*: of the pins; None for filters alone. Raises ExporterError while an exporter runs,
    and where the system does not let it.
    """
    with lock.hold():
        try:
            if directory is None or not directory.is_dir() or bpffs.why_not(directory):
                said = attach.remove_filters()
            else:
                said = unpinning.remove_all(directory)
        except BlockingIOError as error:
            raise ExporterError(
                f"{directory}: an ayaflow-exporter in another network namespace uses it: stop it"
                " first"
            ) from error
        except PermissionError as error:
            raise ExporterError(
                f"detaching is not permitted ({error.strerror}): {advice.RUN_AS_ROOT}"
            ) from error
        except OSError as error:
            raise ExporterError(f"detaching fails ({error}): try again") from error
    return said or ["nothing was left attached"]
