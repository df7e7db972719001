"""What all processes of the exporter take: CPU time and memory, at rest and by load.

The exporter runs as its defaults are, with a history and domains, at one end of a wire, and is
scraped every 15 s. CPU time is user and system, of the server and its helper; what the kernel
program takes is the sender's time, and stands in `kernel`. Memory is in MB of a million bytes.

Beside CPU time stands that of a reader of an event for each packet, by a callback of BCC: for a
million packets that it read, since it loses the others. PSS divides what is shared among all
processes of the machine, other programs in Python included; beside it stands what it would be
without these.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import NamedTuple

from tests.bench.harness.figures import Beside
from tests.bench.harness.imports import imports_alone
from tests.bench.harness.lab import SCRAPE_INTERVAL_S, SETTLE_S, Lab, Load
from tests.bench.harness.machine import cpu_s, once_mb, pss_mb, rss_mb
from tests.bench.harness.measure import measure
from tests.bench.harness.programs import PER_PACKET
from tests.bench.kernel import flows_text, new_monitor
from tests.e2e.exporter_process import Exporter
from tests.e2e.waiting import wait_until

NS_A_PACKET = 1000
"""Of a CPU second for a million packets."""

DOMAINS = 100
"""That have series."""

_ASKED_CPU = {1: "≤ 0.01", 1_000: "≤ 0.02", 50_000: "≤ 0.1"}
"""By flows."""
_ASKED_MEMORY = {1_000: "≤ 34", 50_000: "≤ 42"}
_SLOW_PPS, _FAST_PPS = 20_000, 200_000
_BASELINE_S = 2.0
_FLOW_IDLE_S = 20
"""The least with which a sweep comes every 5 s, as by default; no flow ends while others open."""


def cpu_name(text: str) -> str:
    """The figure of CPU time at full rate."""
    return f"CPU, {text}, full rate"


def run(lab: Lab) -> None:
    """One exporter, through all loads."""
    note_imports_alone(lab)
    with lab.exporter() as exporter:
        note_rest(lab, exporter)
        open_flows(lab, 1)
        note_cpu(lab, exporter, 1)
        lab.name_domains(DOMAINS)
        for flows in (1_000, 10_000, 50_000):
            open_flows(lab, flows)
            what = f"{flows_text(flows)}, {DOMAINS} domains"
            note_memory(lab, exporter, what, _ASKED_MEMORY.get(flows, ""))
            if flows in _ASKED_CPU:
                note_cpu(lab, exporter, flows)
            if flows == 1_000:
                note_rates(lab, exporter)
        kernel_bytes = exporter.scrape().sum("ayaflow_kernel_memory_bytes")
        lab.figures.note("kernel memory of maps and rings", "MB", kernel_bytes / 1e6)


def open_flows(lab: Lab, flows: int) -> None:
    """Has so many flows open, and nothing left to do for that."""
    lab.send(Load(flows), 4 * flows)
    time.sleep(SETTLE_S)


def note_memory(lab: Lab, exporter: Exporter, what: str, asked: str = "") -> None:
    """After a scrape, as it is between scrapes."""
    exporter.scrape()
    pids = exporter.pids()
    once = Beside("each page once", once_mb(pids))
    lab.figures.note(f"PSS of all processes, {what}", "MB", pss_mb(pids), asked, once)
    lab.figures.note(f"RSS of all processes, {what}", "MB", rss_mb(pids))


def note_imports_alone(lab: Lab) -> None:
    """Of the server, the larger process."""
    with imports_alone(lab) as pid:
        once = Beside("each page once", once_mb([pid]))
        lab.figures.note("PSS of the server's imports alone", "MB", pss_mb([pid]), "", once)


def note_rest(lab: Lab, exporter: Exporter) -> None:
    """Nothing passes; scraped as ever."""
    time.sleep(SETTLE_S)
    note_memory(lab, exporter, "at rest")
    began, before = time.monotonic(), cpu_s(exporter.pids())
    time.sleep(lab.seconds)
    exporter.scrape()
    share = (cpu_s(exporter.pids()) - before) / (time.monotonic() - began)
    lab.figures.note("CPU at rest", "% of a core", 100 * share, "≤ 0.1")


class Spent(NamedTuple):
    """Of some seconds of traffic."""

    cpu_s: float
    sent: int
    """Packets."""
    counted: int
    """Of these; the last ones, too."""


def spend(lab: Lab, exporter: Exporter, load: Load) -> Spent:
    """Traffic over flows that are open, with the scrapes that come meanwhile and one at the end."""
    packets, cpu = counted(exporter), cpu_s(exporter.pids())
    due = [time.monotonic() + SCRAPE_INTERVAL_S]

    def scrape_when_due() -> None:
        if time.monotonic() >= due[0]:
            exporter.scrape()
            due[0] += SCRAPE_INTERVAL_S

    sent = lab.send_for(load, lab.seconds, scrape_when_due)
    packets = counted(exporter) - packets
    return Spent(cpu_s(exporter.pids()) - cpu, sent, packets)


def counted(exporter: Exporter) -> int:
    """Packets that it shows, by a scrape."""
    return exporter.scrape().sum("ayaflow_interface_packets_total")


def note_cpu(lab: Lab, exporter: Exporter, flows: int) -> None:
    """At full rate; beside it the reader of an event for each packet, which stands alone then."""
    spent = spend(lab, exporter, Load(flows))
    with closing(new_monitor(PER_PACKET)) as monitor:
        cost = measure(monitor, lab, Load(flows), _BASELINE_S)
    read = cost.packets - cost.dropped_events
    beside = Beside("a BCC callback", cost.reader_s / read * 1e6)
    text, unit = flows_text(flows), "CPU s a million packets"
    lab.figures.note(
        cpu_name(text), unit, spent.cpu_s / spent.sent * 1e6, _ASKED_CPU[flows], beside
    )
    lost = Beside("a BCC callback", 100 * cost.dropped_events / cost.packets)
    missed = 100 * (1 - spent.counted / spent.sent)
    lab.figures.note(f"packets not counted, {text}, full rate", "%", missed, "0", lost)


def note_rates(lab: Lab, exporter: Exporter) -> None:
    """The same flows at a rate, and at ten times that."""
    slow, fast = (spend(lab, exporter, Load(1000, pps=pps)).cpu_s for pps in (_SLOW_PPS, _FAST_PPS))
    what = f"CPU, 1,000 flows, {_FAST_PPS:,} packets a second"
    beside = Beside(f"at {_SLOW_PPS:,}", slow / lab.seconds * 100)
    lab.figures.note(what, "% of a core", fast / lab.seconds * 100, beside=beside)
    lab.figures.note("CPU at ten times the packet rate", "times", fast / slow, "≤ 1.2")


def entries(exporter: Exporter) -> int:
    """Of the flow table, by a scrape."""
    return exporter.scrape().sum("ayaflow_flow_table_entries")


def run_new_flows(lab: Lab) -> None:
    """Each packet is the first and last of its flow; then the end of all is waited for."""
    load, named = Load(50_000, pps=20_000), 5_000
    note = lab.figures.note
    with lab.exporter("--flows.idle-timeout", f"{_FLOW_IDLE_S}s") as exporter:
        began = cpu_s(exporter.pids())
        lab.name_domains(named)
        before = cpu_s(exporter.pids())
        took = (before - began) / (2 * named)  # as many each way
        note("CPU of a new flow that names itself by TLS", "µs", took * 1e6)
        lab.send(load, load.flows)
        time.sleep(SETTLE_S)
        opened = cpu_s(exporter.pids())
        wait_until(lambda: entries(exporter) <= 2 * named, 60, poll_s=5)
        ended = cpu_s(exporter.pids())
        note("CPU of a new flow without a name", "µs", (opened - before) / load.flows * 1e6, "≤ 10")
        note("CPU of its end", "µs", (ended - opened) / load.flows * 1e6)
