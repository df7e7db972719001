"""Which interfaces are counted, and which of them would count the same packet twice."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase

from exporter.capture.netlink import Link
from exporter.errors import ExporterError

_log = logging.getLogger(__name__)

_GLOB_CHARACTERS = frozenset("*?[")


def is_glob(pattern: str) -> bool:
    """Whether a pattern can match more than the name that it is."""
    return not _GLOB_CHARACTERS.isdisjoint(pattern)


class Selection:
    """The user's choice: names, which always win, and globs less the excluded.

    Without either, the interfaces of the default routes, less the excluded.
    """

    def __init__(
        self, patterns: Sequence[str], excluded: Sequence[str], flag: str = "--interface"
    ) -> None:
        """*flag*: how the user gave the patterns."""
        self._flag = flag
        self.names = frozenset(pattern for pattern in patterns if not is_glob(pattern))
        self._globs = [pattern for pattern in patterns if is_glob(pattern)]
        self._excluded = excluded
        self._by_default_route: set[str] = set()

    @property
    def follows_default_routes(self) -> bool:
        """Whether the choice was left to the routing table."""
        return not self.names and not self._globs

    def see_default_routes(self, links: Iterable[Link], ifindexes: Collection[int]) -> None:
        """Adds the interfaces that default routes leave by; one that was chosen stays chosen."""
        self._by_default_route |= {link.name for link in links if link.ifindex in ifindexes}

    def wants(self, link: Link) -> bool:
        """Whether an interface is to be counted."""
        if link.name in self.names:
            return True
        if any(fnmatchcase(link.name, pattern) for pattern in self._excluded):
            return False
        if link.name in self._by_default_route and self.follows_default_routes:
            return True
        return any(fnmatchcase(link.name, pattern) for pattern in self._globs)

    def check(self, links: Iterable[Link]) -> None:
        """Raises ExporterError where, at the start, a name does not exist or nothing is chosen."""
        present = {link.name for link in links}
        for name in sorted(self.names - present):
            raise ExporterError(
                f"{self._flag} {name}: there is no such interface; there are"
                f" {', '.join(sorted(present))} (a glob would wait for it to appear)"
            )
        if self.follows_default_routes and not any(self.wants(link) for link in links):
            raise ExporterError(
                "no interface to count: there is no default route, or its interface is excluded;"
                " name one with --interface"
            )


def stacked(counted: Collection[int], links: Iterable[Link]) -> set[int]:
    """Those counted interfaces whose packets another counted interface sees too.

    A port and its bridge or bond, an interface and what it is stacked on, the two ends of a veth
    pair; however many interfaces that are not counted lie between them.
    """
    by_index = {link.ifindex: link for link in links}
    found: set[int] = set()
    for start in counted:
        seen: set[int] = set()
        waiting = [start]
        while waiting:
            link = by_index.get(waiting.pop())
            if link is None or link.ifindex in seen:
                continue
            seen.add(link.ifindex)
            if link.ifindex != start and link.ifindex in counted:
                found |= {start, link.ifindex}
            waiting += [index for index in (link.master, link.lower) if index]
    return found


class Stacking:
    """Warns once of each interface whose packets are counted more than once."""

    def __init__(self) -> None:
        self.count = 0
        """How many counted interfaces see the packets of another one."""
        self._warned: frozenset[str] = frozenset()

    def look(self, counted: Collection[int], links: Sequence[Link]) -> None:
        """Looks anew. *counted*: by ifindex."""
        found = stacked(counted, links)
        self.count = len(found)
        names = frozenset(link.name for link in links if link.ifindex in found)
        if names - self._warned:
            _log.warning(
                "%s see the same packets, which are then counted more than once: count one of them",
                " and ".join(sorted(names)),
            )
        self._warned |= names
