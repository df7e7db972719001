"""Names with weights that only grow, of which the lightest is found without a search.

The heap is lazy: it holds the weight that a name had when it was last at the top. A name that has
grown since sinks when it comes up again, so growing costs nothing, and finding the lightest the
logarithm of how many there are for each name that grew.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Ranked:
    """One name."""

    name: str
    weight: float
    error: float = 0.0
    """How much of the weight may not be its own."""
    active_s: float = 0.0
    listed: bool = True
    """Whether it is still in the ranking."""


class Ranking:
    """Each name at most once."""

    def __init__(self) -> None:
        self._ranked: dict[str, Ranked] = {}
        self._heap: list[tuple[float, int, Ranked]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._ranked)

    def __iter__(self) -> Iterator[Ranked]:
        return iter(self._ranked.values())

    def __contains__(self, name: str) -> bool:
        return name in self._ranked

    def get(self, name: str) -> Ranked | None:
        """The name, or None; its weight may be added to, never taken from."""
        return self._ranked.get(name)

    def add(self, ranked: Ranked) -> None:
        """Takes in a name that is not in the ranking; it can be the lightest from `enter` on."""
        self._ranked[ranked.name] = ranked

    def enter(self, ranked: Ranked) -> None:
        """From now on `lightest` may answer with this one, which was added before."""
        self._number += 1
        heapq.heappush(self._heap, (ranked.weight, self._number, ranked))

    def remove(self, ranked: Ranked) -> None:
        """Takes a name out."""
        del self._ranked[ranked.name]
        ranked.listed = False
        if len(self._heap) > 2 * len(self._ranked) + 16:
            self._heap = [each for each in self._heap if each[2].listed]
            heapq.heapify(self._heap)

    def lightest(self) -> Ranked | None:
        """The one of the least weight among those that were entered."""
        heap = self._heap
        while heap:
            weight, number, ranked = heap[0]
            if not ranked.listed:
                heapq.heappop(heap)
            elif ranked.weight != weight:
                heapq.heapreplace(heap, (ranked.weight, number, ranked))
            else:
                return ranked
        return None

    def scale(self, factor: float) -> None:
        """Multiplies every weight."""
        for ranked in self:
            ranked.weight *= factor
            ranked.error *= factor
        self._heap = [(each.weight, number, each) for _, number, each in self._heap if each.listed]
        heapq.heapify(self._heap)
