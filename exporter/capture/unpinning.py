"""Takes programs and pinned maps away again: for `detach`, and for a start that must not have
them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from exporter.capture import attach, bpffs, generations
from exporter.capture.generations import Generation
from exporter.capture.pinned_links import PinnedLinks

LINKS = "links"

_log = logging.getLogger(__name__)


def take_off_all(base: Path) -> list[str]:
    """Takes off every program that has a pin, and in this network namespace every filter of ours.

    Returns what it removed, as sentences. Raises OSError.
    """
    links = PinnedLinks(base / LINKS)
    said = []
    for ifindex in links.ifindexes():
        removed = links.detach(ifindex)
        said.append(f"{attach.device_name(ifindex)}: removed {removed} pinned programs")
    return said + attach.remove_filters()


def remove_contents(base: Path) -> list[str]:
    """Takes every program off, and removes every pinned map. Returns what it removed, as sentences.

    Raises OSError.
    """
    said = take_off_all(base)
    found = generations.numbers(base)
    for number in found:
        generations.remove(base, number)
    bpffs.remove_directory(base / LINKS)
    if found:
        said.append(f"{base}: removed the pinned maps")
    return said


def remove_all(base: Path) -> list[str]:
    """As `remove_contents`, and the directory goes too, unless somebody else has something there.

    Raises BlockingIOError while an exporter uses it.
    """
    if not base.is_dir():
        return take_off_all(base)
    lock_fd = bpffs.lock(base)
    try:
        said = remove_contents(base)
        with suppress(OSError):
            base.rmdir()
    finally:
        os.close(lock_fd)
    return said


def remove_left_behind(base: Path, drain: Callable[[Generation], None] | None = None) -> None:
    """For a start without pins: takes off what an earlier one with pins has left on the interfaces
    of this network namespace, or the packets would pass two programs. One line of the log says so.

    *drain*: what to do with the counts of each generation, which nothing adds to any more but for a
    grace period. What another network namespace, or an exporter that runs, has there is left alone.
    """
    if not base.is_dir() or bpffs.why_not(base):
        return
    try:
        lock_fd = bpffs.lock(base)
    except OSError:
        return
    try:
        if PinnedLinks(base / LINKS).any_here() or attach.has_filters():
            take_off_all(base)
            for generation in generations.generations(base):
                try:
                    if drain is not None:
                        drain(generation)
                finally:
                    generation.close()
            remove_contents(base)
            with suppress(OSError):
                base.rmdir()
            _log.warning("%s: removed what an earlier start with --pin.path left there", base)
    except OSError as error:
        _log.warning("%s: what is pinned there stays: %s", base, bpffs.explain(error))
    finally:
        os.close(lock_fd)
