"""The whole exporter, wired in one function: capture -> names -> counts -> outputs.

    loader child     compiles and loads the kernel program, hands over descriptors, ends
    helper process   keeps its privileges: attaches and detaches interfaces, nothing else
    this process     gives its privileges up, then reads, folds and serves

The loader takes longest, so it is started first, and everything heavy is imported while it works.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import signal
import socket
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

from exporter import lock, memory, pinning, pushing
from exporter.capture import privileges
from exporter.capture.closing import Closing
from exporter.capture.flow_table import slots_for
from exporter.capture.grace import GracePeriods
from exporter.capture.helper import Helper
from exporter.capture.loader import Loader, LoaderSettings, check_permission
from exporter.capture.netlink import LinkEvents
from exporter.clock import Now, boot_s, now
from exporter.config import Config, assemble
from exporter.counting import Counting
from exporter.counts.budget import Budget
from exporter.counts.desk import SnapshotDesk
from exporter.counts.fold import Fold
from exporter.counts.history import History
from exporter.given import Given
from exporter.kernel import Kernel, open_kernel
from exporter.loop import LOOK_S, POLL_S, REST_S, SWEEP_S, Loop
from exporter.names.attribution import Attribution, Unattributed
from exporter.names.policy import Policy
from exporter.names.scope import AddedLabels, Scopes
from exporter.outputs import listen
from exporter.pinning import Pinning
from exporter.pushing import Pushing
from exporter.recorder import Recorder, began_s, open_history, restore_devices
from exporter.reloading import Reloading, make_policy
from exporter.serving import Serving
from exporter.system import System
from exporter.version import VERSION, revision

DEVICE_SLOTS = 256
"""How many interfaces can be counted at once, less the slot of what is not registered yet."""

STALLED_S = 15.0
"""A loop that has been expected to come round for so long is no longer ready."""

_READABLE = (Path("/proc/self"), Path("/proc/stat"))
"""All that the server needs to read once it runs: its own process_* metrics."""

_log = logging.getLogger("exporter")


def run(flags: Mapping[str, Given], values: Mapping[str, Any]) -> None:
    """Counts and serves until SIGTERM or SIGINT. Raises ExporterError where it can't begin.

    *flags*, *values*: as `config.read` takes and returns them.
    """
    config = assemble(values)
    memory.share_one_heap()
    user_id, group_id = privileges.find_user(config.user)
    with ExitStack() as at_exit:
        listener, settings, history, pins = _prepare(config, user_id, group_id, at_exit)
        loader = Loader(settings, pins.directory)
        helper = Helper()
        at_exit.callback(helper.close)
        from exporter.outputs.metrics import BuildInfo
        from exporter.outputs.web import Web

        serving = Serving(config.web)
        push = pushing.prepare(config, os.environ)
        programs = loader.result()
        began = now()
        kernel = open_kernel(config, settings, programs, helper, pins.links)
        grace = GracePeriods(programs.grace_fd, programs.grace_inner_fd)
        reloading = Reloading(flags, values, began)
        policy = make_policy(config.domains)
        attribution = _make_attribution(config, kernel, policy)
        restore_devices(history, kernel.interfaces.slots, began, same_map=pins.is_takeover)
        _attach(config, kernel, pins, helper, grace, began, at_exit)
        build = BuildInfo(VERSION, revision(), programs.bcc_version, platform.release())
        push.open(history, build)
        began_at_s = began_s(history, began)
        fold = _make_fold(config, settings, policy, began, began_at_s)
        counting = Counting(kernel, Closing(kernel.table, grace), attribution, fold, began_at_s)
        recorder = Recorder(history, counting, fold, pins, push, reloading, serving, began_at_s)
        recorder.go_on(kernel.table, now())
        readable = (*push.readable, *serving.readable, *reloading.readable)
        _give_up(config, history, readable, user_id, group_id)

        desk = SnapshotDesk(recorder.snapshot(now()))
        loop = _make_loop(config, kernel, counting, recorder, push, grace, desk)
        web = Web(desk.take, lambda: _not_ready(kernel, loop), build, config.web.telemetry_path)
        server = serving.serve(listener, web)
        loop.on_hangup(lambda: reloading.apply(serving, attribution, fold))
        push.start()
        memory.give_back()
        loop.run()

        desk.close(recorder.end_interval(now()))
        push.close()
        server.close()
        _log.info("stopped; %d flows have come and gone", counting.released_flows)


def _prepare(
    config: Config, user_id: int, group_id: int, at_exit: ExitStack
) -> tuple[socket.socket, LoaderSettings, History, Pinning]:
    """What is there before anything is loaded; whatever cannot be had ends the start at once."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # for the helper, and until it can be answered
    listener = at_exit.enter_context(listen.bind(config.web.listen_address))
    at_exit.enter_context(lock.hold())
    check_permission()
    settings = _loader_settings(config)
    history = open_history(config.history, user_id, group_id)
    at_exit.callback(history.close)
    pins = pinning.prepare(config.pin_path, settings, history)
    at_exit.callback(pins.close)
    return listener, settings, history, pins


def _loader_settings(config: Config) -> LoaderSettings:
    return LoaderSettings(
        flow_slots=slots_for(config.flows.max),
        device_slots=DEVICE_SLOTS,
        cpus=_possible_cpus(),
        ring_bytes=config.ring.size,
        payload_ring_bytes=config.ring.payloads if config.names.deep_inspect else 0,
    )


def _make_attribution(config: Config, kernel: Kernel, policy: Policy) -> Attribution:
    """What names are learnt with; imported only where they are, while the file system is open."""
    if not config.names.deep_inspect:
        return Unattributed()
    from exporter.names.aes import Aes
    from exporter.names.dns_health import DnsHealth
    from exporter.names.dns_names import DnsNames
    from exporter.names.inspection import Inspection
    from exporter.names.learning import Learning

    return Learning(
        kernel.table, Inspection(Aes()), DnsNames(), DnsHealth(), policy, config.names.grace_s
    )


def _give_up(
    config: Config, history: History, readable: Iterable[Path], user_id: int, group_id: int
) -> None:
    path = config.history.path
    readable = (*_READABLE, *readable)
    writable = [Path(path).absolute().parent] if path is not None and history.is_durable else []
    for sentence in privileges.give_up(user_id, group_id, readable, writable):
        _log.warning("%s", sentence)


def _make_fold(
    config: Config, settings: LoaderSettings, policy: Policy, began: Now, created_s: float
) -> Fold:
    return Fold(
        settings.flow_slots,
        Budget(config.domains.max, config.domains.idle_s, began.boot_s),
        AddedLabels(config.metrics.labels, Scopes(config.metrics.scopes)),
        created_s,
        policy.shown_as,
    )


def _attach(
    config: Config,
    kernel: Kernel,
    pins: Pinning,
    helper: Helper,
    grace: GracePeriods,
    began: Now,
    at_exit: ExitStack,
) -> None:
    slots = kernel.interfaces.slots
    pins.before_attach(slots, grace.wait)
    for interfaces in kernel.all_interfaces():
        at_exit.callback(interfaces.close)
        interfaces.start(*began)
        interfaces.see_programs_before()
    devices = chain(*(each.devices.values() for each in kernel.all_interfaces()))
    attached = [device.ifindex for device in devices if device.attached is not None]
    pins.after_attach(helper, attached, slots, grace.wait)
    if config.interface_static:
        frozen = [interfaces.freeze() for interfaces in kernel.all_interfaces()]
        if all(frozen):
            helper.close()
    _warn_of_namespace()


def _make_loop(
    config: Config,
    kernel: Kernel,
    counting: Counting,
    recorder: Recorder,
    push: Pushing,
    grace: GracePeriods,
    desk: SnapshotDesk,
) -> Loop:
    loop = Loop()

    def look() -> None:
        if counting.look(now()):
            next_look.within(POLL_S)

    def serve_snapshot() -> None:
        desk.begin()
        look()
        desk.serve(recorder.snapshot(now()))

    def settle() -> None:
        look()
        counting.settle(now(), recorder.commit)

    def sweep() -> None:
        look()  # first: after a suspend a flow is spared that has counted and is not swept yet
        if counting.sweep(now()):
            next_sweep.within(SWEEP_S)

    def end_interval() -> None:
        look()
        recorder.end_interval(now())
        push.serve()

    next_look = loop.every(math.inf, look)
    next_sweep = loop.every(min(REST_S, config.flows.idle_timeout_s / 4), sweep)
    loop.on_readable(kernel.ring.fd, look)
    if kernel.payloads is not None:
        loop.on_readable(kernel.payloads.fd, look)
    loop.on_readable(grace.fd, settle)
    loop.on_readable(desk.fd, serve_snapshot)
    loop.every(push.interval_s or config.history.interval_s, end_interval)
    if push.fd is not None:
        loop.on_readable(push.fd, push.serve)
    _follow_interfaces(loop, kernel)
    loop.stop_on_signals()
    return loop


def _follow_interfaces(loop: Loop, kernel: Kernel) -> None:
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

    loop.on_readable(events.fileno(), links_changed)
    loop.every(LOOK_S, look)
    refresh()  # what came before there was a socket for it


def _possible_cpus() -> int:
    """The highest number that a CPU can have, plus one."""
    ranges = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii").strip()
    return int(ranges.replace(",", "-").split("-")[-1]) + 1


def _warn_of_namespace() -> None:
    foreign = System().foreign_network()
    if foreign is not None:
        _log.warning("network namespace: %s", foreign)


def _not_ready(kernel: Kernel, loop: Loop) -> str | None:
    # A copy, made at once: this is another thread than the one that changes it.
    if not any(device.attached for device in list(kernel.interfaces.devices.values())):
        return "no interface is attached"
    silent_s = boot_s() - loop.expected_s
    if silent_s > STALLED_S:
        return f"the counting has not come round for {silent_s:.0f} s"
    return None
