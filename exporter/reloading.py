"""SIGHUP: reads the configuration again, and applies what can be applied while it runs.

    applied     domains.*, log.level, and what --web.config.file names
    the rest    is named in the log, and waits for a restart

All or nothing: where something is wrong, all stays as it was.
"""

from __future__ import annotations

import logging
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import exporter
from exporter import config, logs
from exporter.clock import Now, now
from exporter.config import DomainsConfig
from exporter.counts.fold import Fold
from exporter.counts.snapshot import Reloads
from exporter.errors import ExporterError
from exporter.given import Given
from exporter.names.attribution import Attribution
from exporter.names.policy import Policy
from exporter.options import CONFIG_FILE
from exporter.serving import Serving

_APPLIED = ("domains.", "log.level")
"""What the keys begin with that need no restart."""

_log = logging.getLogger("exporter")


class Reloading:
    """The configuration in use."""

    def __init__(self, flags: Mapping[str, Given], values: Mapping[str, Any], began: Now) -> None:
        """*flags*, *values*: of the start, as `config.read` takes and returns them."""
        self._flags = flags
        self._values = dict(values)
        self._reloads = Reloads(succeeded_at_s=began.wall_s)

    def state(self) -> Reloads:
        """How it went last."""
        return self._reloads

    @property
    def readable(self) -> list[Path]:
        """What it takes: the file, and modules and libraries that new settings may need."""
        if CONFIG_FILE not in self._flags:
            return []
        file = Path(self._flags[CONFIG_FILE].texts[0])
        folders = [file.absolute().parent, file.resolve().parent, *map(Path, exporter.__path__)]
        folders += [Path(sysconfig.get_path(name)) for name in ("stdlib", "platlib", "purelib")]
        folders += [Path(text) for text in sys.path if text.endswith("-packages")]
        folders += map(Path, ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"))
        return [path for path in dict.fromkeys(folders) if path.exists()]

    def apply(self, serving: Serving, attribution: Attribution, fold: Fold) -> None:
        """Reads everything again, and says in the log what came of it. Never raises."""
        try:
            values = config.read(self._flags)
            domains = config.assemble(values).domains
            policy = make_policy(domains)
            serving.reload()
        except (ExporterError, ValueError) as error:
            self._reloads = Reloads(False, self._reloads.succeeded_at_s)
            for sentence in str(error).split("\n"):
                _log.error("%s", sentence)
            _log.error("the configuration is not reloaded; all stays as it was")
            return
        moment = now()
        attribution.change_policy(policy)
        fold.change_domains(domains.max, domains.idle_s, policy.shown_as, moment)
        logs.set_level(values["log.level"])
        self._reloads = Reloads(succeeded_at_s=moment.wall_s)
        self._tell(values)

    def _tell(self, values: Mapping[str, Any]) -> None:
        changed = [key for key in values if values[key] != self._values[key]]
        applied = [key for key in changed if key.startswith(_APPLIED)]
        self._values.update((key, values[key]) for key in applied)
        waiting = [key for key in changed if key not in applied]
        _log.info("configuration reloaded; applied: %s", ", ".join(applied) or "nothing new")
        if waiting:
            _log.warning("changed, and needs a restart: %s", ", ".join(waiting))


def make_policy(domains: DomainsConfig) -> Policy:
    """What names are shown as. Loads what that takes; raises ExporterError, or ValueError."""
    return Policy(domains.mode, domains.hide, domains.expected)
