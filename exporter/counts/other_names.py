"""Which domains are behind the flows that count as `other`, in a bounded number of bytes.

Such a flow keeps its domain, so that what it goes on to count can prove the domain heavier than
another's series. Each domain is held once, however many flows it has, and leaves with the last of
them. When there is no room, the lightest of a few is forgotten: its flows just stay in `other`.
So a flood of names, which are light each, forgets itself and not what is heavy.
"""

from __future__ import annotations

from exporter.memory import zeros

NAMES_MAX = 2_048
"""Domains: ten times as many as have a series, and twice as many as are candidates."""

BYTES_MAX = 1 << 18
"""Of the domains, as Python strings: 80 bytes an ordinary one; 870 of 253 characters."""

_STR_BYTES = 49
"""Of a Python string, besides its ASCII characters."""

_NEIGHBOURS = 8
"""Of so many places the lightest domain is forgotten."""

_NUMBER_END = 1 << 32
_WEIGHT_MAX = (1 << 63) - 1


class OtherNames:
    """Domains by slot of the flow table.

    A domain lies in a place, and has a number that no other ever had: so flows need not be told
    when it is forgotten.
    """

    def __init__(self, slots: int, names_max: int = NAMES_MAX, bytes_max: int = BYTES_MAX) -> None:
        """*bytes_max*: at least one domain's."""
        self._names_max = names_max
        self._bytes_max = bytes_max
        self._slots = slots
        self._clear()

    def _clear(self) -> None:
        self._number_of_slot = zeros("I", self._slots)
        """0: none."""
        self._number_of_name: dict[str, int] = {}
        self._names: list[str] = []
        """By place; empty where it is free."""
        self._numbers = zeros("I", self._names_max)
        """By place, of its latest domain: names_max times how many it has had, plus the place."""
        self._flows = zeros("I", self._names_max)
        self._weights = zeros("Q", self._names_max)
        self._free: list[int] = []
        self._bytes = 0
        self._hand = 0

    def __len__(self) -> int:
        return len(self._number_of_name)

    def get(self, slot: int) -> str | None:
        """The domain of the slot's flow; None if it has none or it was forgotten."""
        number = self._number_of_slot[slot]
        place = number % self._names_max
        return (self._names[place] or None) if number and number == self._numbers[place] else None

    def remember(self, slot: int, domain: str, wire_bytes: int) -> None:
        """The slot's flow is of *domain*, and has counted *wire_bytes* more."""
        number = self._number_of_name.get(domain) or self._take(domain)
        place = number % self._names_max
        self._weights[place] = min(self._weights[place] + wire_bytes, _WEIGHT_MAX)
        if number != self._number_of_slot[slot]:
            self.forget(slot)
            self._flows[place] += 1
            self._number_of_slot[slot] = number

    def forget(self, slot: int) -> None:
        """The slot's flow is gone, or of a domain with a series."""
        number = self._number_of_slot[slot]
        if not number:
            return
        self._number_of_slot[slot] = 0
        place = number % self._names_max
        if number == self._numbers[place] and self._names[place]:
            self._flows[place] -= 1
            if not self._flows[place]:
                self._drop(place)

    def _take(self, domain: str) -> int:
        """A number for a domain that has none."""
        size = _STR_BYTES + len(domain)
        while self._bytes + size > self._bytes_max or len(self) == self._names_max:
            self._make_room()
        if not self._free:
            self._free.append(len(self._names))
            self._names.append("")
        place = self._free.pop()
        number = (self._numbers[place] or place) + self._names_max
        if number >= _NUMBER_END:  # after days of a flood
            self._clear()
            return self._take(domain)
        self._numbers[place] = self._number_of_name[domain] = number
        self._names[place] = domain
        self._bytes += size
        return number

    def _make_room(self) -> None:
        held: list[int] = []
        while not held:
            end = min(self._hand + _NEIGHBOURS, len(self._names))
            held = [place for place in range(self._hand, end) if self._names[place]]
            self._hand = end % len(self._names)
        self._drop(min(held, key=self._weights.__getitem__))

    def _drop(self, place: int) -> None:
        domain = self._names[place]
        del self._number_of_name[domain]
        self._bytes -= _STR_BYTES + len(domain)
        self._names[place] = ""
        self._weights[place] = self._flows[place] = 0
        self._free.append(place)
