"""What stays in the kernel when this process ends, and what the next one takes over of it.

With --pin.path the programs go on counting while no exporter runs. What the history has committed
says which maps it means (`load_id`), and which half of their columns (exporter.capture.recorded) is
of the same moment: so a restart finds what each flow has counted since, and whose it is.

Maps of another size or version are left, not taken over: the programs are swapped, and what the old
maps have counted since the last commit is added up and is unknown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from exporter.capture.device_slots import DeviceSlots
from exporter.capture.flow_table import FlowTable
from exporter.capture.generations import Generation
from exporter.capture.helper import Helper
from exporter.capture.loader import LoaderSettings
from exporter.capture.pins import DEFAULT_DIRECTORY, Pins
from exporter.capture.pins import prepare as prepare_pins
from exporter.capture.recorded import RECORDED_SHAPE, Recorded, recorded_bytes
from exporter.capture.unpinning import remove_left_behind
from exporter.clock import Now
from exporter.counts.fold import Fold
from exporter.counts.history import History

MAPS = "maps"
"""The history's document that says which maps its counts are of."""

_DEVICES = "devices"

_log = logging.getLogger(__name__)


def prepare(pin_path: Path | None, settings: LoaderSettings, history: History) -> Pinning:
    """To be called before the programs are loaded. Raises ExporterError."""
    if pin_path is None:
        return Pinning(history)
    if not history.is_durable:
        _log.warning(
            "--pin.path %s: without a history nobody knows what was counted already; it counts"
            " without pins",
            pin_path,
        )
        return Pinning(history)
    pins = prepare_pins(pin_path, settings, recorded_bytes(settings.flow_slots), RECORDED_SHAPE)
    known = _known(history)
    if pins is not None and pins.is_takeover and known not in {pins.load_id, *_load_ids(pins.old)}:
        _log.warning("%s: the history does not know these maps, so new ones are made", pin_path)
        pins = pins.discard()
    return Pinning(history) if pins is None else KeptPinning(history, pins)


def _known(history: History) -> int | None:
    document = history.state(MAPS)
    return None if document is None else int(document["load_id"])


def _load_ids(generations: tuple[Generation, ...]) -> set[int]:
    return {each.layout.load_id for each in generations}


class Pinning:
    """A start and its end, in the order of these methods; here nothing stays."""

    directory: Path | None = None
    """Of the maps that the programs are to use; None: of new ones."""
    links: Path | None = None
    """Where links are pinned."""
    is_takeover = False
    """Whether the maps are those that the history's counts are of."""
    needs_commits = False
    """Whether a slot of the table may be used again only after a commit."""

    def __init__(self, history: History) -> None:
        self._history = history

    def before_attach(self, slots: DeviceSlots, wait_for_grace: Callable[[], None]) -> None:
        """Takes off what a start with pins has left; its counts since are added to *slots*."""
        document = self._history.state(MAPS) or {}
        for directory in {DEFAULT_DIRECTORY, Path(document.get("path", DEFAULT_DIRECTORY))}:
            remove_left_behind(directory, lambda found: self._drain(found, slots, wait_for_grace))

    def _drain(
        self, found: Generation, slots: DeviceSlots, wait_for_grace: Callable[[], None]
    ) -> None:
        if found.layout.load_id == _known(self._history):
            wait_for_grace()
            slots.add_drained(self._history.state(_DEVICES), found.totals())

    def after_attach(
        self,
        helper: Helper,
        attached: list[int],
        slots: DeviceSlots,
        wait_for_grace: Callable[[], None],
    ) -> None:
        """All interfaces of the start are attached."""

    def take_over(self, table: FlowTable, fold: Fold, now: Now) -> None:
        """Binds the flows that are in the table again, after the fold's own counts."""

    def document(self) -> dict[str, Any]:
        """What the next commit is to say of the maps."""
        return {MAPS: None}

    def committed(self, done: bool) -> None:
        """The commit that `document` was called for is over."""

    def clean_up(self) -> None:
        """The first commit is over: what came before it is not needed any more."""

    def close(self) -> None:
        """The process ends."""


class KeptPinning(Pinning):
    """Programs, maps and links stay."""

    needs_commits = True

    def __init__(self, history: History, pins: Pins) -> None:
        super().__init__(history)
        self._pins = pins
        self.directory = pins.directory
        self.links = pins.links_directory
        self.is_takeover = pins.is_takeover and pins.load_id == _known(history)

    def before_attach(self, slots: DeviceSlots, wait_for_grace: Callable[[], None]) -> None:
        """As Pinning; here the programs are swapped."""

    def after_attach(
        self,
        helper: Helper,
        attached: list[int],
        slots: DeviceSlots,
        wait_for_grace: Callable[[], None],
    ) -> None:
        """As Pinning."""
        helper.tidy(attached)
        for each in self._pins.old:
            self._drain(each, slots, wait_for_grace)

    def take_over(self, table: FlowTable, fold: Fold, now: Now) -> None:
        """As Pinning."""
        columns = (*table.folded_columns, *fold.columns)
        self._recorded = Recorded(self._pins.recorded_fd, table.slots, columns)
        self._table, self._fold = table, fold
        if not self.is_takeover:
            return
        document = self._history.state(MAPS)
        windows = self._recorded.load(document["half"])
        flows = table.restore(windows, fold.columns[1])
        fold.take_over(flows, document["series"], self._recorded.slots_of(windows), now)

    def document(self) -> dict[str, Any]:
        """As Pinning."""
        self._recorded.write(self._table.used_windows)
        return {
            MAPS: {
                "path": str(self._pins.base),
                "load_id": self._pins.load_id,
                "half": self._recorded.next_half,
                "series": self._fold.series_domains(),
            }
        }

    def committed(self, done: bool) -> None:
        """As Pinning."""
        if done:
            self._recorded.committed()

    def clean_up(self) -> None:
        """As Pinning."""
        for each in self._pins.old:
            with suppress(OSError):  # the next start tries again
                self._pins.remove_generation(each)

    def close(self) -> None:
        """As Pinning."""
        self._pins.close()
        _log.info(
            "the programs stay and go on counting, as --pin.path asks: ayaflow-exporter detach"
            " removes them"
        )
