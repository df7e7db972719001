"""Which domains have series of their own: at most so many, the heaviest, and no junk.

    a name ──► there is room ──► a series at once
           └─► there is none ──► a candidate, among CANDIDATES_MAX, weighed by its bytes
                                    └─► proven heavier than the lightest series ──► takes its place

Candidates are counted as in space-saving (Metwally, Agrawal, El Abbadi 2005): a new one takes the
place of the lightest, inherits its weight, and remembers that as its possible error. A name with
more than 1/CANDIDATES_MAX of what the candidates weigh together is always among them. What counts
as proof is the weight without the error, which really was its own: however many names a flood
has, each of them alone must bring more bytes than a series to displace it.

Weights are bytes, and halve while as much time passes as makes a series idle: what was heavy long
ago is light now. A series that has left starts from nothing, also as a candidate.

Decisions only: nothing here counts what is shown. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping

from exporter.counts.ranking import Ranked, Ranking
from exporter.names.domains import OTHER, RESERVED

CANDIDATES_MAX = 1024
"""A name with a thousandth of what has no series is found. They take 0.7 MB, and 0.9 with names of
253 characters."""

TENURE_S = 15.0
"""How long a new series stays in any case: until its flows have been weighed, and mostly until a
scrape has seen it."""

_RESCALE_HALVINGS = 64


class Budget:
    """Who has a series, and whose turn it is to leave."""

    def __init__(self, domains_max: int, idle_s: float, now_s: float) -> None:
        """*idle_s*: a series without traffic for so long leaves."""
        self.displaced = 0
        """How many series have left for a heavier domain."""
        self.expired = 0
        """How many series have left because they were idle."""
        self.withdrawn = 0
        """How many series have left because of new settings."""
        self._domains_max = domains_max
        self._idle_s = idle_s
        self._series = Ranking()
        self._candidates = Ranking()
        self._fresh: deque[tuple[float, Ranked]] = deque()
        """Series that cannot be displaced yet, and until when."""
        self._scaled_at_s = now_s

    def __contains__(self, domain: str) -> bool:
        """Whether the domain has a series."""
        return domain in self._series

    def __len__(self) -> int:
        return len(self._series)

    def admit(self, domain: str, now_s: float) -> str:
        """What a flow of *domain* counts under from now on: the domain itself, or `other`.

        Gives it a series while there is room.
        """
        if domain in RESERVED:
            return domain
        series = self._series.get(domain)
        if series is not None:
            series.active_s = now_s
        elif len(self._series) < self._domains_max:
            self._open(domain, 0.0, now_s)
        else:
            return OTHER
        return domain

    def restore(self, domain: str, weight: float, now_s: float) -> bool:
        """Gives a domain the series and the weight that it had; whether there is room for it."""
        if len(self._series) >= self._domains_max:
            return False
        self._open(domain, weight * self._scale(now_s), now_s)
        return True

    def weights(self, now_s: float) -> dict[str, float]:
        """What each domain with a series weighs now, in bytes of today."""
        scale = self._scale(now_s)
        return {each.name: each.weight / scale for each in self._series}

    def weigh(self, domain: str, wire_bytes: int, now_s: float) -> str | None:
        """Notes the traffic of a domain, with or without a series.

        Returns the domain that has left for it, if one did; then and only then, or when there was
        room, the domain has a series now that it had not.
        """
        if domain in RESERVED:
            return None
        added = wire_bytes * self._scale(now_s)
        series = self._series.get(domain)
        if series is not None:
            series.weight += added
            series.active_s = now_s
            return None
        candidate = self._candidate(domain)
        candidate.weight += added
        return self._promote(candidate, now_s)

    def weigh_own(self, wire_bytes: Mapping[str, int], now_s: float) -> None:
        """Notes the traffic of domains that have a series."""
        scale = self._scale(now_s)
        for domain, added in wire_bytes.items():
            series = self._series.get(domain)
            if series is not None:
                series.weight += added * scale
                series.active_s = now_s

    def expire(self, now_s: float) -> list[str]:
        """The domains whose series leave because they were idle. Looks at each series."""
        idle = [each for each in self._series if now_s - each.active_s >= self._idle_s]
        for series in idle:
            self._series.remove(series)
        self.expired += len(idle)
        return [each.name for each in idle]

    def change(
        self, domains_max: int, idle_s: float, may_stay: Callable[[str], bool], now_s: float
    ) -> list[str]:
        """Goes on with other settings; returns the domains whose series leave for that.

        *may_stay*: which domains are still to be shown. Of too many, the lightest leave.
        """
        scale = self._scale(now_s)
        for ranking in (self._series, self._candidates):
            ranking.scale(1 / scale)
        self._scaled_at_s, self._idle_s, self._domains_max = now_s, idle_s, domains_max
        for candidate in [each for each in self._candidates if not may_stay(each.name)]:
            self._candidates.remove(candidate)
        heaviest_first = sorted(self._series, key=lambda each: -each.weight)
        staying = [each for each in heaviest_first if may_stay(each.name)][:domains_max]
        kept = {each.name for each in staying}
        left = [each for each in heaviest_first if each.name not in kept]
        for series in left:
            self._series.remove(series)
        self.withdrawn += len(left)
        return [each.name for each in left]

    def _open(self, domain: str, weight: float, now_s: float) -> None:
        self._end_tenures(now_s)
        series = Ranked(domain, weight, active_s=now_s)
        self._series.add(series)
        self._fresh.append((now_s + TENURE_S, series))
        candidate = self._candidates.get(domain)
        if candidate is not None:
            self._candidates.remove(candidate)

    def _candidate(self, domain: str) -> Ranked:
        found = self._candidates.get(domain)
        if found is not None:
            return found
        inherited = 0.0
        if len(self._candidates) >= CANDIDATES_MAX:
            lightest = self._candidates.lightest()
            assert lightest is not None
            self._candidates.remove(lightest)
            inherited = lightest.weight
        candidate = Ranked(domain, inherited, error=inherited)
        self._candidates.add(candidate)
        self._candidates.enter(candidate)
        return candidate

    def _promote(self, candidate: Ranked, now_s: float) -> str | None:
        """Gives the candidate a series if there is room or it is proven heavier than another."""
        proven = candidate.weight - candidate.error
        left = None
        if len(self._series) >= self._domains_max:
            self._end_tenures(now_s)
            lightest = self._series.lightest()
            if lightest is None or proven <= lightest.weight:
                return None
            self._series.remove(lightest)
            self.displaced += 1
            left = lightest.name
        self._open(candidate.name, proven, now_s)
        return left

    def _scale(self, now_s: float) -> float:
        """What a byte weighs now, if a byte at the last rescaling weighed 1.

        Rather than that all weights halve, a byte comes to weigh twice as much.
        """
        halvings = (now_s - self._scaled_at_s) / self._idle_s
        if halvings > _RESCALE_HALVINGS:
            for ranking in (self._series, self._candidates):
                ranking.scale(math.pow(0.5, halvings))
            self._scaled_at_s = now_s
            return 1.0
        return math.pow(2.0, halvings)

    def _end_tenures(self, now_s: float) -> None:
        while self._fresh and self._fresh[0][0] <= now_s:
            _, series = self._fresh.popleft()
            if series.listed:
                self._series.enter(series)
