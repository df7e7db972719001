"""process_* and python_info, as every exporter in Python has them: by prometheus_client.

Its package imports an HTTP server, TLS and the mail package, 5 MB that nobody here uses. So only
the modules that collect are loaded, behind the package's back: what it would run is left for
whoever imports it after this, as the tests do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec
from types import ModuleType

from exporter.outputs.exposition import header, label_text, number

_PACKAGE = "prometheus_client"


def _load() -> tuple[ModuleType, ModuleType]:
    """Its two modules that collect."""
    hollow = None
    if _PACKAGE not in sys.modules:
        spec = find_spec(_PACKAGE)
        assert spec is not None, "prometheus_client is not installed"
        hollow = sys.modules[_PACKAGE] = module_from_spec(spec)
    try:
        import prometheus_client.platform_collector as platform
        import prometheus_client.process_collector as process
    finally:
        if hollow is not None:
            del sys.modules[_PACKAGE]
    return process, platform


_process, _platform = _load()
_COLLECTORS = (
    _process.ProcessCollector(registry=None),
    _platform.PlatformCollector(registry=None),
)


def lines(*, openmetrics: bool) -> Iterator[str]:
    """All of them, in the order in which prometheus_client has them."""
    for collector in _COLLECTORS:
        for family in collector.collect():
            yield header(
                family.name,
                family.documentation,
                family.type,
                family.unit,
                openmetrics=openmetrics,
            )
            for sample in family.samples:
                labels = label_text(sample.labels, sample.labels.values())
                yield f"{sample.name}{labels} {number(sample.value)}\n"
