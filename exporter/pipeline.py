"""The whole exporter, wired in one function: capture -> names -> counts -> outputs.

    loader child     compiles and loads the kernel program, hands over descriptors, ends
    helper process   keeps its privileges: attaches and detaches interfaces, nothing else
    this process     gives its privileges up, then reads, folds and serves

The loader takes longest, so it is started first, and everything heavy is imported while it works.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
from contextlib import ExitStack
from pathlib import Path

from exporter import memory
from exporter.capture import privileges
from exporter.capture.closing import Closing
from exporter.capture.flow_table import FlowTable, slots_for
from exporter.capture.grace import GracePeriods
from exporter.capture.helper import Helper
from exporter.capture.interfaces import Interfaces
from exporter.capture.listening import Listening
from exporter.capture.loader import Loader, LoaderSettings, Programs, check_permission
from exporter.capture.netlink import LinkEvents
from exporter.capture.ring import FlowEventRing, PayloadRing
from exporter.capture.selection import Selection
from exporter.capture.totals import DeviceTable, Totals
from exporter.clock import Now, boot_s, now
from exporter.config import Config
from exporter.counting import Counting, Kernel
from exporter.counts.budget import Budget
from exporter.counts.desk import SnapshotDesk
from exporter.counts.fold import Fold
from exporter.errors import ExporterError
from exporter.loop import LOOK_S, POLL_S, SWEEP_S, Loop
from exporter.names.attribution import Attribution, Unattributed
from exporter.names.scope import AddedLabels, Scopes
from exporter.outputs import listen
from exporter.system import System
from exporter.version import VERSION, revision

DEVICE_SLOTS = 256
"""How many interfaces can be counted at once, less the slot of what is not registered yet."""

STALLED_S = 15.0
"""A loop that has not come round for so long is no longer ready."""

_LOCK_NAME = "\0ayaflow-exporter"
"""An abstract socket: one in each network namespace, and gone with the process however it ends."""

_READABLE = (Path("/proc/self"), Path("/proc/stat"))
"""All that the server needs to read once it runs: its own process_* metrics."""

_log = logging.getLogger("exporter")


def run(config: Config) -> None:
    """Counts and serves until SIGTERM or SIGINT. Raises ExporterError where it can't begin."""
    memory.share_one_heap()
    user_id, group_id = privileges.find_user(config.user)
    with ExitStack() as at_exit:
        listener = at_exit.enter_context(listen.bind(config.web.listen_address))
        at_exit.enter_context(_lock())
        check_permission()
        settings = LoaderSettings(
            flow_slots=slots_for(config.flows.max),
            device_slots=DEVICE_SLOTS,
            cpus=_possible_cpus(),
            ring_bytes=config.ring.size,
            payload_ring_bytes=config.ring.payloads if config.names.deep_inspect else 0,
        )
        loader = Loader(settings)
        helper = Helper()
        at_exit.callback(helper.close)
        from exporter.outputs.metrics import BuildInfo
        from exporter.outputs.server import Server
        from exporter.outputs.web import Web

        source_revision = revision()
        programs = loader.result()
        began = now()
        kernel = _open_kernel(config, settings, programs, helper)
        attribution = _make_attribution(config, kernel)
        for interfaces in kernel.all_interfaces():
            at_exit.callback(interfaces.close)
        _attach(config, kernel, helper, began)
        _warn_of_namespace()
        for sentence in privileges.give_up(user_id, group_id, _READABLE):
            _log.warning("%s", sentence)

        grace = GracePeriods(programs.grace_fd, programs.grace_inner_fd)
        closing = Closing(kernel.table, grace)
        fold = _make_fold(config, settings, began)
        counting = Counting(kernel, closing, attribution, fold, began.wall_s)
        desk = SnapshotDesk(counting.snapshot(began))
        loop = _make_loop(config, kernel, counting, grace, desk)
        build = BuildInfo(VERSION, source_revision, programs.bcc_version, platform.release())
        web = Web(desk.take, lambda: _not_ready(kernel, loop), build, config.web.telemetry_path)
        server = Server(listener, web)
        _log.info("listening on %s, metrics at %s", *_address(listener, config))
        memory.give_back()
        loop.run()

        desk.close(counting.snapshot(now()))
        server.close()
        _log.info("stopped; %d flows have come and gone", counting.released_flows)


def _make_attribution(config: Config, kernel: Kernel) -> Attribution:
    """What names are learnt with; imported only where they are, while the file system is open."""
    if not config.names.deep_inspect:
        return Unattributed()
    from exporter.names.aes import Aes
    from exporter.names.dns_health import DnsHealth
    from exporter.names.dns_names import DnsNames
    from exporter.names.inspection import Inspection
    from exporter.names.learning import Learning
    from exporter.names.policy import Policy

    domains = config.domains
    policy = Policy(domains.mode, domains.hide, domains.expected)
    return Learning(
        kernel.table, Inspection(Aes()), DnsNames(), DnsHealth(), policy, config.names.grace_s
    )


def _make_fold(config: Config, settings: LoaderSettings, began: Now) -> Fold:
    return Fold(
        settings.flow_slots,
        Budget(config.domains.max, config.domains.idle_s, began.boot_s),
        AddedLabels(config.metrics.labels, Scopes(config.metrics.scopes)),
        began.wall_s,
    )


def _open_kernel(
    config: Config, settings: LoaderSettings, programs: Programs, helper: Helper
) -> Kernel:
    """Maps what the programs write, and hands the programs to the helper: here they are not
    needed.
    """
    helper.give_programs(programs.ingress_fd, programs.egress_fd)
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


def _attach(config: Config, kernel: Kernel, helper: Helper, began: Now) -> None:
    for interfaces in kernel.all_interfaces():
        interfaces.start(*began)
        interfaces.see_programs_before()
    if config.interface_static:
        frozen = [interfaces.freeze() for interfaces in kernel.all_interfaces()]
        if all(frozen):
            helper.close()


def _make_loop(
    config: Config, kernel: Kernel, counting: Counting, grace: GracePeriods, desk: SnapshotDesk
) -> Loop:
    loop = Loop()
    events = LinkEvents()

    def refresh() -> None:
        for interfaces in kernel.all_interfaces():
            interfaces.refresh(*now())

    def look() -> None:
        for interfaces in kernel.all_interfaces():
            interfaces.see_programs_before()
        refresh()

    def links_changed() -> None:
        if events.drain():
            refresh()

    def poll() -> None:
        counting.drain(now())
        counting.decide_due(now())

    def serve_snapshot() -> None:
        desk.begin()
        poll()
        desk.serve(counting.snapshot(now()))

    loop.on_readable(kernel.ring.fd, poll)
    if kernel.payloads is not None:
        loop.on_readable(kernel.payloads.fd, poll)
    loop.on_readable(grace.fd, lambda: counting.settle(now()))
    loop.on_readable(events.fileno(), links_changed)
    loop.on_readable(desk.fd, serve_snapshot)
    loop.every(POLL_S, poll)
    # Before the sweep: after a suspend a flow is spared that has counted and is not swept yet.
    loop.every(kernel.table.expiry_interval_s, lambda: counting.close_idle(now()))
    loop.every(min(SWEEP_S, config.flows.idle_timeout_s / 4), lambda: counting.sweep(now()))
    loop.every(LOOK_S, look)
    loop.stop_on_signals()
    refresh()  # what came before there was a socket for it
    return loop


def _lock() -> socket.socket:
    """Held while the exporter runs. Raises ExporterError where another one holds it."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        held.bind(_LOCK_NAME)
    except OSError as error:
        held.close()
        raise ExporterError(
            "another ayaflow-exporter counts in this network namespace already: stop it first"
        ) from error
    return held


def _possible_cpus() -> int:
    """The highest number that a CPU can have, plus one."""
    ranges = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii").strip()
    return int(ranges.replace(",", "-").split("-")[-1]) + 1


def _map_memory_bytes(fd: int) -> int:
    """What the kernel charges for a map (bpf_map_show_fdinfo in kernel/bpf/syscall.c)."""
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "memlock":
            return int(value)
    return 0


def _warn_of_namespace() -> None:
    foreign = System().foreign_network()
    if foreign is not None:
        _log.warning("network namespace: %s", foreign)


def _not_ready(kernel: Kernel, loop: Loop) -> str | None:
    # A copy, made at once: this is another thread than the one that changes it.
    if not any(device.attached for device in list(kernel.interfaces.devices.values())):
        return "no interface is attached"
    silent_s = boot_s() - loop.turned_at_s
    if silent_s > STALLED_S:
        return f"the counting has not come round for {silent_s:.0f} s"
    return None


def _address(listener: socket.socket, config: Config) -> tuple[str, str]:
    host, port = listener.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}", config.web.telemetry_path
