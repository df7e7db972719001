"""What is remembered of one interface: its slot, how it is attached, what its driver counted."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.capture.attach import Attached
from exporter.capture.netlink import Link
from exporter.capture.records import LINK_ETHERNET, LINK_IP, LINK_OTHER, DeviceTotals

_LINK_TYPES = {
    1: LINK_ETHERNET,
    772: LINK_ETHERNET,  # loopback
    512: LINK_IP,  # ppp
    768: LINK_IP,  # ipip
    769: LINK_IP,  # ip6tnl
    776: LINK_IP,  # sit
    778: LINK_IP,  # gre
    823: LINK_IP,  # ip6gre
    519: LINK_IP,  # rawip, as of cellular modems
    65534: LINK_IP,  # none: tun, wireguard
}
"""By ARPHRD_* of include/uapi/linux/if_arp.h; all others are LINK_OTHER."""


def link_type_of(link: Link) -> int:
    """How the kernel program is to read the packets of an interface."""
    return _LINK_TYPES.get(link.hardware_type, LINK_OTHER)


@dataclass(slots=True)
class Device:
    """One interface that is or was counted. Pairs are (ingress, egress)."""

    name: str
    slot: int
    base: tuple[DeviceTotals, DeviceTotals]
    """What the slot had counted for others before."""
    created_s: float
    """When its totals began, in seconds since the epoch."""
    ifindex: int = 0
    """0 while it is not there."""
    attached: Attached | None = None
    programs_before: tuple[int, int] = (0, 0)
    complaint: str = ""
    """Why it could not be attached."""
    retry_at_s: float = 0.0
    """Monotonic, as `vanished_at_s`."""
    vanished_at_s: float = 0.0
    driver_before: tuple[int, int] = (0, 0)
    """Packets that its driver counted under earlier attachments."""
    driver_base: tuple[int, int] = (0, 0)
    driver_now: tuple[int, int] = (0, 0)

    def driver_packets(self, direction: int) -> int:
        """What the driver counted while a program was attached."""
        current = max(0, self.driver_now[direction] - self.driver_base[direction])
        return self.driver_before[direction] + current

    def see_driver(self, now: tuple[int, int]) -> None:
        """Takes in what the driver says now; one that says less than before has begun anew."""
        if now[0] < self.driver_now[0] or now[1] < self.driver_now[1]:
            self.rebase_driver(now)
        self.driver_now = now

    def rebase_driver(self, now: tuple[int, int]) -> None:
        """Keeps what was counted so far; counting goes on from what the driver says now."""
        self.driver_before = (self.driver_packets(0), self.driver_packets(1))
        self.driver_base = self.driver_now = now

    def vanish(self, now_s: float) -> None:
        """Notes that it is gone, for the time being. *now_s*: monotonic."""
        self.rebase_driver((0, 0))
        self.attached = None
        self.ifindex = 0
        self.vanished_at_s = now_s
        self.programs_before = (0, 0)
