"""An interface beside the main one, for what happens to interfaces."""

from __future__ import annotations

from tests.e2e.metrics import Metrics
from tests.e2e.net import End, Namespace, Network, Statistics

_NAMES = ("spare1", "spare2")


class Spare:
    """It has had several lives and names; it is known what its driver counted in all of them."""

    def __init__(self, network: Network, peer: Namespace, host: Namespace) -> None:
        self._network = network
        self._peer = peer
        self._host = host
        self._gone = Statistics()
        self.plug()

    def plug(self) -> None:
        """There is a new one."""
        ends = self._network.wire(self._peer, self._host, 2, ("spare", _NAMES[0]))
        self.sender, self.end = ends

    def unplug(self) -> None:
        """At rest, so that nothing passes between the reading of its statistics and its end."""
        self._gone = self.statistics()
        self._host.ip(f"link delete {self.end.device}")

    def rename(self) -> None:
        """It has the other name, and goes on counting."""
        old, new = self.end.device, _NAMES[self.end.device == _NAMES[0]]
        self._host.ip(f"link set {old} name {new}")
        self.end = End(self._host, new, self.end.ipv4, self.end.ipv6)

    def set(self, state: str) -> None:
        """`up` or `down`."""
        self._host.ip(f"link set {self.end.device} {state}")

    def statistics(self) -> Statistics:
        """Of its driver, of all lives."""
        return self._gone + self.end.statistics()

    def is_attached(self, metrics: Metrics) -> bool:
        """In both directions, under the name that it has."""
        samples = metrics.samples("ayaflow_attached", device=self.end.device)
        return [sample.value for sample in samples] == [1, 1]

    def check(self, metrics: Metrics) -> None:
        """To the byte, what its driver counted is what the exporter did, under whatever name."""
        counted, driver = Statistics(), self.statistics()
        for name in _NAMES:
            counted += metrics.counted(name)
        assert counted == driver, f"{counted} is not the driver's {driver}"
