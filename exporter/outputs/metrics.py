"""One snapshot as the answer to a scrape.

    Snapshot ──► rows ──► catalogue ──► exposition: text 0.0.4 or OpenMetrics 1.0.0

Names, labels and types are a promise to every dashboard and rule. Nothing is kept from one scrape
to the next: a counter is what the snapshot says, and a series that it no longer has is gone.

Start times (`_created`) are shown in OpenMetrics only: in the text format they would be gauges of
their own, which look like measurements and are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.counts.rows import PROCESS, rows_of
from exporter.counts.snapshot import Snapshot
from exporter.outputs import exposition, process_metrics
from exporter.outputs.catalogue import Labels, families
from exporter.outputs.exposition import LabelTexts

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_BUILD = "ayaflow_build"
_BUILD_HELP = "The exporter's version and commit, and the BCC and kernel it runs on."


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """What runs: the labels of `ayaflow_build_info`."""

    version: str
    revision: str
    bcc: str
    kernel: str


def render(snapshot: Snapshot, build: BuildInfo, content_type: str) -> bytes:
    """The whole answer to a scrape, in the format that `content_type` names (TEXT, OPENMETRICS).

    Besides the snapshot it shows what every Python exporter does of its process, from /proc/self.
    """
    openmetrics = content_type == OPENMETRICS
    parts = [
        *own_lines(snapshot, build, openmetrics=openmetrics),
        *process_metrics.lines(openmetrics=openmetrics),
    ]
    if openmetrics:
        parts.append("# EOF\n")
    return "".join(parts).encode()


def own_lines(snapshot: Snapshot, build: BuildInfo, *, openmetrics: bool) -> Iterator[str]:
    """Every `ayaflow_` family, the domains' first."""
    seen: dict[Labels, LabelTexts] = {}
    rows = [row for row in rows_of(snapshot) if row.family != PROCESS]  # of which a scrape has more
    for family in families(rows, snapshot.rates, snapshot.folded_at_s):
        yield from exposition.lines(family, seen, openmetrics=openmetrics)
    names = ("bcc", "kernel", "revision", "version")
    values = (build.bcc, build.kernel, build.revision, build.version)
    yield exposition.header(_BUILD, _BUILD_HELP, "info", openmetrics=openmetrics)
    yield f"{_BUILD}_info{exposition.label_text(names, values)} 1\n"
