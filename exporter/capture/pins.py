"""Maps and links that stay in the kernel, and count on, while no exporter runs.

    DIR/                 in a BPF file system; all of it root's alone
      links/7_ingress    tcx links, by the index of the interface (pinned_links.py)
      links/7_egress
      1/ 2/ ...          generations: each has its own maps
        flows totals devices flow_events payloads recorded layout

The newest generation is taken over where it has the sizes that are wanted, with its keys and all
that it has counted; else a new one is made, and those before it are to be read once and removed.
`layout` is pinned last and removed first: a generation without one is half made or half removed,
and goes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from exporter.capture import bpffs, generations
from exporter.capture.generations import Generation, Wanted
from exporter.capture.layout import SHAPE_MAX
from exporter.capture.loader import LoaderSettings
from exporter.capture.unpinning import LINKS, remove_contents

DEFAULT_DIRECTORY = Path("/sys/fs/bpf/ayaflow")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pins:
    """The maps that this start uses. Needs CAP_BPF and the file system until the server gives its
    privileges up; what it keeps are descriptors.
    """

    base: Path
    """As --pin.path says."""
    current: Generation
    is_takeover: bool
    """Whether the maps have counts from before this start."""
    old: tuple[Generation, ...]
    """Earlier ones, oldest first: once no program adds to them any more (the links are swapped, a
    grace period has passed), add up what they have, commit it, and remove them.
    """
    wanted: Wanted
    lock_fd: int
    """Held open as long as this exporter runs: it keeps others out of the directory."""

    @property
    def directory(self) -> Path:
        """Of the current generation: for Loader."""
        return self.base / str(self.current.number)

    @property
    def links_directory(self) -> Path:
        """For Helper.give_programs."""
        return self.base / LINKS

    @property
    def load_id(self) -> int:
        """Random: whoever has recorded it knows these maps."""
        return self.current.layout.load_id

    @property
    def recorded_fd(self) -> int:
        """Of the map `recorded`: an array of one element, for mmap."""
        return self.current.recorded_fd

    def remove_generation(self, generation: Generation) -> None:
        """Closes and removes one of `old`. Raises OSError."""
        generation.close()
        generations.remove(self.base, generation.number)

    def discard(self) -> Pins | None:
        """Throws away all maps, and takes all programs off first: nobody knows what the counts
        belong to. Returns new ones, or None as `prepare`.
        """
        for generation in (self.current, *self.old):
            generation.close()

        def begin_anew() -> Pins:
            remove_contents(self.base)
            return _open_or_make(self.base, self.wanted, self.lock_fd)

        made = _or_say_why(self.base, begin_anew)
        if made is None:
            os.close(self.lock_fd)
        return made

    def close(self) -> None:
        """Lets go of every descriptor and of the lock; what is pinned stays."""
        for generation in (self.current, *self.old):
            with suppress(OSError):
                generation.close()
        os.close(self.lock_fd)


def prepare(
    pin_path: Path,
    settings: LoaderSettings,
    recorded_bytes: int,
    recorded_shape: tuple[int, ...] = (),
) -> Pins | None:
    """Takes pinned maps over, or makes and pins new ones; give `Pins.directory` to Loader then.

    None where the system does not let it, after one line of the log that says which part of it.
    *recorded_bytes*: of the map `recorded`; *recorded_shape*: how it is laid out, as of Layout.
    """
    if len(recorded_shape) > SHAPE_MAX:
        raise ValueError(f"no more than {SHAPE_MAX} numbers can tell how it is laid out")
    wanted = Wanted(settings, recorded_bytes, recorded_shape)
    return _or_say_why(pin_path, lambda: _prepare(pin_path, wanted))


def _or_say_why(pin_path: Path, make: Callable[[], Pins]) -> Pins | None:
    reason = bpffs.why_not(pin_path)
    if not reason:
        try:
            return make()
        except BlockingIOError:
            reason = "another exporter uses it: give each one a directory of its own"
        except OSError as error:
            reason = bpffs.explain(error)
    _log.warning("--pin.path %s: %s; it counts without pins", pin_path, reason)
    return None


def _prepare(base: Path, wanted: Wanted) -> Pins:
    bpffs.make_directory(base)
    lock_fd = bpffs.lock(base)
    try:
        return _open_or_make(base, wanted, lock_fd)
    except BaseException:
        os.close(lock_fd)
        raise


def _open_or_make(base: Path, wanted: Wanted, lock_fd: int) -> Pins:
    found = generations.generations(base)
    try:
        newest = found[-1] if found else None
        if newest is not None and generations.fits(newest.layout, wanted):
            generations.renew_rings(base / str(newest.number), wanted.settings)
            return Pins(base, newest, True, tuple(found[:-1]), wanted, lock_fd)
        made = generations.make(base, newest.number + 1 if newest else 1, wanted)
        return Pins(base, made, False, tuple(found), wanted, lock_fd)
    except BaseException:
        for generation in found:
            generation.close()
        raise
