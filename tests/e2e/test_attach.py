"""What the exporter attaches, and that it is gone afterwards while what others attached stays."""

from __future__ import annotations

import signal

import pytest

from tests.e2e.exporter_process import ROOT, Audit, Exporter, exporter_command
from tests.e2e.foreign import TC_ACT_OK, returning, tcx_program
from tests.e2e.kernel_objects import attached_objects, tcx_chain
from tests.e2e.metrics import DIRECTIONS
from tests.e2e.net import End, Network
from tests.e2e.traffic import Flood
from tests.e2e.waiting import wait_until

MODES = ("tcx", "clsact")


@pytest.fixture
def ends(network: Network) -> tuple[End, End]:
    return network.wire(network.namespace("peer"), network.namespace("host"))


def _flags(mode: str) -> tuple[str, ...]:
    return ("--interface", "eth0", "--attach", mode)


def _check_one_program_each(exporter: Exporter, mode: str) -> None:
    objects = exporter.objects()
    assert set(objects.programs) == {("eth0", direction) for direction in DIRECTIONS}
    assert all(len(ids) == 1 for ids in objects.programs.values()), objects.programs
    metrics = exporter.scrape()
    for direction in DIRECTIONS:
        chain = tcx_chain(exporter.namespace, "eth0", direction)
        assert chain == (objects.programs["eth0", direction] if mode == "tcx" else [])
        labels = {"device": "eth0", "direction": direction, "mode": mode}
        assert metrics.value("ayaflow_attached", **labels) == 1


@pytest.mark.parametrize("mode", MODES)
def test_sigterm_leaves_nothing(ends: tuple[End, End], flood: Flood, mode: str) -> None:
    peer, host = ends
    with Exporter(host.namespace, *_flags(mode)) as exporter:
        audit = Audit(exporter, host)
        flood.send(peer, "--flows", "10", "--count", "1000")
        flood.send(host, "--flows", "10", "--count", "1000")
        audit.verify()
        _check_one_program_each(exporter, mode)
        exporter.stop(signal.SIGTERM)


def test_ctrl_c_leaves_nothing(ends: tuple[End, End]) -> None:
    with Exporter(ends[1].namespace, *_flags("clsact")) as exporter:
        exporter.stop(signal.SIGINT)


def test_auto_is_tcx_on_a_kernel_that_has_it(ends: tuple[End, End]) -> None:
    with Exporter(ends[1].namespace, "--interface", "eth0") as exporter:
        _check_one_program_each(exporter, "tcx")


@pytest.mark.parametrize("mode", MODES)
def test_when_the_server_is_killed_the_helper_tidies_up(ends: tuple[End, End], mode: str) -> None:
    host = ends[1].namespace
    with Exporter(host, *_flags(mode)) as exporter:
        objects = exporter.objects()
        assert objects.programs
        exporter.running.kill()
        exporter.wait_ended(-signal.SIGKILL)
        wait_until(lambda: objects.check_gone(host))


@pytest.mark.parametrize("mode", MODES)
def test_after_a_kill_of_everything_the_next_start_leaves_no_duplicates(
    ends: tuple[End, End], flood: Flood, mode: str
) -> None:
    peer, host = ends
    for _ in range(2):
        with Exporter(host.namespace, *_flags(mode)) as killed:
            killed.kill()
    if mode == "clsact":
        assert attached_objects(host.namespace).programs, "a filter outlives its exporter"
    with Exporter(host.namespace, *_flags(mode)) as exporter:
        _check_one_program_each(exporter, mode)
        audit = Audit(exporter, host)
        flood.send(peer, "--flows", "10", "--count", "1000")
        metrics = audit.verify()
        assert metrics.value("ayaflow_packets_total", direction="ingress", domain="unknown") == 1000


def test_detach_removes_what_a_kill_left(ends: tuple[End, End]) -> None:
    host = ends[1].namespace
    with Exporter(host, *_flags("clsact")) as killed:
        killed.kill()
    assert attached_objects(host).programs
    said = host.run("env", "-C", str(ROOT), *exporter_command("detach"))
    assert said == "eth0: removed 2 filters; the clsact qdisc stays\n"
    assert not attached_objects(host).programs


def test_detach_refuses_while_an_exporter_runs(ends: tuple[End, End]) -> None:
    host = ends[1].namespace
    with Exporter(host, *_flags("clsact")):
        refused = host.start("env", "-C", str(ROOT), *exporter_command("detach"))
        said, _ = refused.communicate(timeout=20)
        assert refused.returncode == 1
        assert "another ayaflow-exporter counts in this network namespace" in said
        assert attached_objects(host).programs


def test_the_filters_of_others_and_their_qdisc_stay(ends: tuple[End, End]) -> None:
    host = ends[1].namespace
    host.tc("qdisc add dev eth0 clsact")
    host.tc("filter add dev eth0 ingress pref 20 protocol all u32 match u32 0 0 classid 1:1")
    with Exporter(host, *_flags("clsact")) as exporter:
        _check_one_program_each(exporter, "clsact")
    assert "clsact" in host.tc("qdisc show dev eth0")
    assert "u32" in host.tc("filter show dev eth0 ingress")


def test_a_filter_that_came_later_stays(ends: tuple[End, End]) -> None:
    host = ends[1].namespace
    with Exporter(host, *_flags("clsact")):
        host.tc("filter add dev eth0 egress pref 20 protocol all u32 match u32 0 0 classid 1:1")
    assert "clsact" in host.tc("qdisc show dev eth0")
    assert "u32" in host.tc("filter show dev eth0 egress")


def test_an_empty_clsact_of_others_stays(ends: tuple[End, End]) -> None:
    host = ends[1].namespace
    host.tc("qdisc add dev eth0 clsact")
    with Exporter(host, *_flags("clsact")):
        pass
    assert "clsact" in host.tc("qdisc show dev eth0")


def test_a_tcx_program_that_was_there_stays_and_sees_packets_after_ours(
    ends: tuple[End, End],
) -> None:
    host = ends[1].namespace
    with tcx_program(host, "eth0", "ingress") as theirs:
        with Exporter(host, *_flags("auto")) as exporter:
            metrics = exporter.scrape()
            before = {"device": "eth0", "direction": "ingress"}
            assert metrics.value("ayaflow_programs_before", **before) == 0
            chain = tcx_chain(host, "eth0", "ingress")
            assert len(chain) == 2
            assert chain[1] == theirs
        assert tcx_chain(host, "eth0", "ingress") == [theirs]


@pytest.mark.slow
def test_a_program_that_came_before_ours_is_told(ends: tuple[End, End], flood: Flood) -> None:
    """It can hide packets: then the driver counts more than we do, and that is the alert."""
    peer, host = ends
    with Exporter(host.namespace, *_flags("auto")) as exporter:
        with tcx_program(host.namespace, "eth0", "ingress", returning(TC_ACT_OK)):

            def told() -> None:
                metrics = exporter.scrape()
                labels = {"device": "eth0", "direction": "ingress"}
                assert metrics.value("ayaflow_programs_before", **labels) == 1
                assert (
                    metrics.value("ayaflow_programs_before", device="eth0", direction="egress") == 0
                )

            wait_until(told, timeout_s=15)
            flood.send(peer, "--flows", "1", "--count", "100")
            labels = {"device": "eth0", "direction": "ingress"}
            metrics = exporter.scrape()
            assert metrics.value("ayaflow_interface_packets_total", **labels) == 0
            assert metrics.value("ayaflow_interface_driver_packets_total", **labels) == 100
        assert "eth0" in exporter.log


def test_with_clsact_a_tcx_program_before_it_is_told(ends: tuple[End, End]) -> None:
    host = ends[1].namespace
    with tcx_program(host, "eth0", "egress"), Exporter(host, *_flags("clsact")) as exporter:
        metrics = exporter.scrape()
        for direction, count in (("ingress", 0), ("egress", 1)):
            labels = {"device": "eth0", "direction": direction}
            assert metrics.value("ayaflow_programs_before", **labels) == count
