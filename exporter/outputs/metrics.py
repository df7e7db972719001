"""The rows of one moment as the answer to a scrape.

    rows ──► catalogue ──► exposition: text 0.0.4 or OpenMetrics 1.0.0

Names, labels and types are a promise to every dashboard and rule. From one scrape to the next only
the text of labels is kept: a counter is what its row says, and a series that has no row any more is
gone.

Start times (`_created`) are shown in OpenMetrics only: in the text format they would be gauges of
their own, which look like measurements and are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.counts.rows import PROCESS, Shown
from exporter.outputs import exposition, process_metrics
from exporter.outputs.catalogue import families
from exporter.outputs.exposition import TextsByNames

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


def render(
    shown: Shown, build: BuildInfo, content_type: str, texts_by: TextsByNames | None = None
) -> Iterator[bytes]:
    """The whole answer to a scrape, in the format that `content_type` names (TEXT, OPENMETRICS).

    It comes in parts: in one piece it would take a megabyte for 10,000 samples, and the kernel as
    long to find that as all else here. *texts_by*: of the scrape before, empty at first. Besides
    the rows it shows what every Python exporter does of its process, from /proc/self.
    """
    openmetrics = content_type == OPENMETRICS
    texts_by = {} if texts_by is None else texts_by
    for part in own_lines(shown, build, texts_by, openmetrics=openmetrics):
        yield part.encode()
    yield "".join(process_metrics.lines(openmetrics=openmetrics)).encode()
    if openmetrics:
        yield b"# EOF\n"


def own_lines(
    shown: Shown, build: BuildInfo, texts_by: TextsByNames, *, openmetrics: bool
) -> Iterator[str]:
    """Every `ayaflow_` family, the domains' first."""
    rows = [row for row in shown.rows if row.family != PROCESS]  # of which a scrape has more
    for family in families(rows, shown.rates, shown.folded_at_s):
        yield from exposition.lines(family, texts_by, openmetrics=openmetrics)
    names = ("bcc", "kernel", "revision", "version")
    values = (build.bcc, build.kernel, build.revision, build.version)
    yield exposition.header(_BUILD, _BUILD_HELP, "info", openmetrics=openmetrics)
    yield f"{_BUILD}_info{exposition.label_text(names, values)} 1\n"
