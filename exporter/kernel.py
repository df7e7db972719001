"""What is read of the kernel program: its maps and rings, and the interfaces that it is on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from exporter.capture.flow_table import FlowTable
from exporter.capture.helper import Helper
from exporter.capture.interfaces import Interfaces
from exporter.capture.listening import Listening
from exporter.capture.loader import LoaderSettings, Programs
from exporter.capture.ring import FlowEventRing, PayloadRing
from exporter.capture.selection import Selection
from exporter.capture.totals import DeviceTable, Totals
from exporter.clock import boot_s
from exporter.config import Config


@dataclass(frozen=True, slots=True)
class Kernel:
    """What is read of the kernel program."""

    ring: FlowEventRing
    payloads: PayloadRing | None
    """None where payloads are not inspected."""
    table: FlowTable
    totals: Totals
    interfaces: Interfaces
    listening: Interfaces | None
    """Those that are listened to for DNS, and not counted; None without any."""
    flows_max: int
    memory_bytes: int
    """Of all maps and rings."""

    def all_interfaces(self) -> list[Interfaces]:
        """Those that are counted, then those that are listened to."""
        return [self.interfaces] if self.listening is None else [self.interfaces, self.listening]


def open_kernel(
    config: Config,
    settings: LoaderSettings,
    programs: Programs,
    helper: Helper,
    links: Path | None,
) -> Kernel:
    """Maps what the programs write, and hands the programs to the helper: here they are not
    needed. *links*: where it is to pin links; None: nowhere.
    """
    helper.give_programs(programs.ingress_fd, programs.egress_fd, links)
    os.close(programs.ingress_fd)
    os.close(programs.egress_fd)
    totals = Totals(programs.totals_fd, settings.device_slots, settings.cpus)
    devices = DeviceTable(programs.devices_fd)
    interfaces = Interfaces(
        Selection(config.interface, config.interface_exclude),
        config.attach,
        helper,
        devices,
        totals,
    )
    listening = None
    if config.names.interface and programs.payloads_fd is not None:
        listening = Listening(
            Selection(config.names.interface, (), "--names.interface"),
            config.attach,
            helper,
            devices,
            totals,
            interfaces,
        )
    payloads = None
    if programs.payloads_fd is not None:
        payloads = PayloadRing(programs.payloads_fd, settings.payload_ring_bytes)
    return Kernel(
        ring=FlowEventRing(programs.flow_events_fd, settings.ring_bytes),
        payloads=payloads,
        table=FlowTable(
            programs.flows_fd, settings.flow_slots, config.flows.idle_timeout_s, boot_s()
        ),
        totals=totals,
        interfaces=interfaces,
        listening=listening,
        flows_max=config.flows.max,
        memory_bytes=sum(map(_map_memory_bytes, programs.map_fds())),
    )


def _map_memory_bytes(fd: int) -> int:
    """What the kernel charges for a map (bpf_map_show_fdinfo in kernel/bpf/syscall.c)."""
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "memlock":
            return int(value)
    return 0
