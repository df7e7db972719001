"""Pinned maps and links: what one start leaves the next one finds; no packet is lost between."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.capture import attach, bpf, generations, layout, unpinning
from exporter.capture.loader import compiler_flags, source_dir
from exporter.capture.pinned_links import PinnedLinks
from exporter.capture.pins import Pins, prepare
from tests.kernel.bpf_mount import mounted
from tests.kernel.pinned import (
    FLOWS,
    RECORDED_BYTES,
    SHAPE,
    Start,
    Wire,
    counted,
    flows,
    instructions,
    open_descriptors,
    prepared,
    settings,
    totals,
    tree,
)

MAPS = {"flows", "totals", "devices", "flow_events", "recorded", "layout"}
MODES = ("tcx", "clsact")


@pytest.fixture(scope="module")
def file_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with mounted(tmp_path_factory.mktemp("pins") / "bpf") as directory:
        yield directory


@pytest.fixture
def base(file_system: Path) -> Iterator[Path]:
    """A directory to pin in, which is not there yet."""
    directory = file_system / "ayaflow"
    before = open_descriptors()
    yield directory
    for link in directory.glob("links/*"):
        link.unlink()
    for number in generations.numbers(directory):
        generations.remove(directory, number)
    if directory.is_dir():
        for each in directory.iterdir():
            each.rmdir()
        directory.rmdir()
    assert open_descriptors() == before, "descriptors were left open"


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_start_that_takes_over_loses_and_repeats_nothing(
    wire: Wire, base: Path, mode: str
) -> None:
    first = Start.over(wire, base)
    assert first.attach(mode) == attach.Attached(mode, (), pinned=True)
    assert not first.pins.is_takeover
    wire.start()
    load_id = first.pins.load_id
    first.end()
    for _ in range(4):
        start = Start.over(wire, base)
        assert start.pins.is_takeover
        assert start.pins.load_id == load_id
        assert start.pins.old == ()
        start.attach(mode)
        before = totals(start.pins.current).packets
        start.end()
    wire.let_pass()
    wire.stop()
    last = prepared(base)
    assert totals(last.current).packets > before > 0, "it counts while nobody runs"
    assert counted(last.current) == wire.sent
    assert len(flows(last.current)) == FLOWS, "each flow is found where it was put"
    last.close()


@pytest.mark.parametrize("mode", MODES)
def test_another_size_begins_a_new_generation_and_both_add_up(
    wire: Wire, base: Path, mode: str
) -> None:
    first = Start.over(wire, base)
    first.attach(mode)
    wire.start()
    first.end()
    second = Start.over(wire, base, settings(flow_slots=2048))
    assert not second.pins.is_takeover
    (old,) = second.pins.old
    assert (old.number, second.pins.current.number) == (1, 2)
    assert old.layout.load_id != second.pins.load_id
    second.attach(mode)
    wire.let_pass()
    wire.stop()
    assert counted(old)[0] > 0
    assert counted(second.pins.current)[0] > 0
    assert counted(old, second.pins.current) == wire.sent
    second.pins.remove_generation(old)
    assert tree(base) >= {"2", "2/flows", "2/layout"}
    assert "1" not in tree(base)
    second = replace(second, pins=replace(second.pins, old=()))
    second.end()
    third = prepared(base, settings(flow_slots=2048))
    assert third.is_takeover
    assert third.old == ()
    third.close()


def test_an_old_generation_that_was_not_read_yet_is_there_at_the_next_start(base: Path) -> None:
    for slots in (64, 128, 256):
        prepared(base, settings(flow_slots=slots)).close()
    pins = prepared(base, settings(flow_slots=256))
    assert pins.is_takeover
    assert [old.layout.sizes.flow_slots for old in pins.old] == [64, 128]
    pins.close()


def test_what_the_maps_say_of_themselves(base: Path) -> None:
    pins = prepared(base)
    pins.close()
    again = prepared(base)
    found = again.current.layout
    assert found == pins.current.layout
    assert found.sizes == layout.TableSizes(1024, 8, settings().cpus, RECORDED_BYTES)
    assert found.recorded_shape == SHAPE
    assert len(found.hash_keys) == layout.HASH_KEYS
    assert bpf.map_info(again.current.flows_fd).value_size == 64 * 64
    again.close()


def test_pins_change_no_instruction(base: Path) -> None:
    pins = prepared(base)
    flags = compiler_flags(settings(), source_dir(), str(pins.directory))
    pinned = instructions(flags)
    assert pinned == instructions([flag for flag in flags if "PIN_PATH" not in flag])
    assert min(map(len, pinned)) > 1000
    pins.close()


def test_what_is_recorded_outlives_the_start(base: Path) -> None:
    pins = prepared(base)
    with mmap.mmap(pins.recorded_fd, RECORDED_BYTES) as mapped:
        mapped[-5:] = b"hello"
    pins.close()
    again = prepared(base)
    with mmap.mmap(again.recorded_fd, RECORDED_BYTES) as mapped:
        assert mapped[-5:] == b"hello"
    again.close()


def test_everything_pinned_is_root_s_alone(base: Path) -> None:
    prepared(base).close()
    for name in ("", "1"):
        assert stat.S_IMODE((base / name).stat().st_mode) == 0o700
    assert tree(base / "1") == MAPS
    for name in MAPS:
        found = (base / "1" / name).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, 0)


def test_rings_of_another_size_are_made_anew_and_counts_stay(base: Path) -> None:
    prepared(base).close()
    pins = prepared(base, settings(ring=1 << 17, payloads=1 << 16))
    assert pins.is_takeover
    assert tree(base / "1") == {*MAPS, "payloads"}
    for name, size in (("flow_events", 1 << 17), ("payloads", 1 << 16)):
        fd = bpf.get_pinned(base / "1" / name)
        assert bpf.map_info(fd).entries == size
        os.close(fd)
    pins.close()
    prepared(base, settings(ring=1 << 17)).close()
    assert tree(base / "1") == MAPS


def test_maps_that_are_half_made_or_half_removed_go(base: Path) -> None:
    prepared(base).close()
    (base / "1" / "layout").unlink()
    (base / "2").mkdir()
    prepared(base, settings(flow_slots=64)).close()
    (base / "1" / "flows").unlink()
    pins = prepared(base)
    assert not pins.is_takeover
    assert pins.old == ()
    assert {name for name in tree(base) if "/" not in name} == {"1"}
    pins.close()


def test_maps_of_an_unknown_kind_go_and_the_log_says_so(
    base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as later:
        later.setattr(layout, "MAGIC", layout.MAGIC + 1)
        prepared(base).close()
    pins = prepared(base)
    assert not pins.is_takeover
    assert "what they have counted is lost" in caplog.text
    pins.close()


def test_what_others_have_there_stays(base: Path) -> None:
    prepared(base).close()
    (base / "7").mkdir()
    fd = bpf.map_create_array(8, 1)
    bpf.pin(fd, base / "7" / "theirs")
    prepared(base).close()
    unpinning.remove_all(base)
    assert tree(base) == {"7", "7/theirs"}
    os.close(fd)
    (base / "7" / "theirs").unlink()


def test_discarding_begins_anew(wire: Wire, base: Path) -> None:
    start = Start.over(wire, base)
    start.attach()
    wire.send(100)
    start.end()
    pins = prepared(base)
    fresh = pins.discard()
    assert isinstance(fresh, Pins)
    assert not fresh.is_takeover
    assert fresh.load_id != pins.load_id
    assert totals(fresh.current).packets == 0
    assert not list(base.glob("links/*"))
    assert wire.inside(lambda: bpf.query_tcx(wire.ifindex, bpf.TCX_EGRESS)) == []
    assert prepare(base, settings(), RECORDED_BYTES, SHAPE) is None, "it is still locked"
    fresh.close()


def test_a_second_exporter_counts_without_pins(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pins = prepared(base)
    assert prepare(base, settings(), RECORDED_BYTES) is None
    assert f"--pin.path {base}: another exporter uses it" in caplog.text
    assert pins.is_takeover is False
    pins.close()


def test_an_interface_that_comes_back_with_its_index_is_attached_anew(
    wire: Wire, base: Path
) -> None:
    start = Start.over(wire, base)
    start.attach()
    wire.send(10)
    wire.replace()
    wire.send(10)  # nobody is attached
    assert not wire.inside(lambda: PinnedLinks(start.pins.links_directory).any_here())
    start.attach()
    wire.send(10)
    assert totals(start.pins.current).packets == 20
    start.end()


def test_a_link_of_an_interface_elsewhere_is_not_taken_for_this_one(wire: Wire, base: Path) -> None:
    """Indexes are those of a network namespace."""
    start = Start.over(wire, base)
    start.attach()
    other = Wire()
    assert other.ifindex == wire.ifindex
    assert not other.inside(lambda: PinnedLinks(start.pins.links_directory).any_here())
    assert wire.inside(lambda: PinnedLinks(start.pins.links_directory).any_here())
    start.wire = other
    start.attach()
    other.send(10)
    assert totals(start.pins.current).packets == 10
    start.end()
    other.close()


@pytest.mark.parametrize("mode", MODES)
def test_detaching_one_interface(wire: Wire, base: Path, mode: str) -> None:
    start = Start.over(wire, base)
    start.attach(mode)
    wire.send(10)
    wire.inside(lambda: start.attacher.detach(wire.ifindex))
    wire.send(10)
    assert totals(start.pins.current).packets == 10
    assert wire.inside(lambda: start.attacher.programs_before(wire.ifindex)) == (-1, -1)
    start.end()


@pytest.mark.parametrize("mode", MODES)
def test_tidying_takes_off_what_is_not_wanted_any_more(wire: Wire, base: Path, mode: str) -> None:
    first = Start.over(wire, base)
    first.attach(mode)
    first.end()
    second = Start.over(wire, base)
    wire.inside(lambda: second.attacher.tidy({wire.ifindex}))
    wire.send(10)
    wire.inside(lambda: second.attacher.tidy(set()))
    wire.send(10)
    assert totals(second.pins.current).packets == 10
    second.end()


@pytest.mark.parametrize(("before", "after"), [("tcx", "clsact"), ("clsact", "tcx")])
def test_another_way_to_attach_counts_nothing_twice(
    wire: Wire, base: Path, before: str, after: str
) -> None:
    first = Start.over(wire, base)
    first.attach(before)
    wire.send(10)
    first.end()
    second = Start.over(wire, base)
    second.attach(after)
    wire.send(10)
    assert counted(second.pins.current) == wire.sent
    second.end()


@pytest.mark.parametrize("mode", MODES)
def test_all_that_is_pinned_can_be_removed(wire: Wire, base: Path, mode: str) -> None:
    start = Start.over(wire, base)
    start.attach(mode)
    with pytest.raises(BlockingIOError):
        unpinning.remove_all(base)
    start.end()
    said = wire.inside(lambda: unpinning.remove_all(base))
    programs = {
        "tcx": "wire0: removed 2 pinned programs",
        "clsact": "wire0: removed 2 filters; the clsact qdisc stays",
    }
    assert said == [programs[mode], f"{base}: removed the pinned maps"]
    assert not base.exists()
    assert wire.inside(lambda: bpf.query_tcx(wire.ifindex, bpf.TCX_EGRESS)) == []
    assert not wire.inside(attach.has_filters)


@pytest.mark.parametrize("mode", MODES)
def test_a_start_without_pins_takes_over_what_they_have_counted_and_removes_them(
    wire: Wire, base: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    start = Start.over(wire, base)
    start.attach(mode)
    wire.send(10)
    start.end()
    drained: list[int] = []
    wire.inside(
        lambda: unpinning.remove_left_behind(base, lambda old: drained.extend(counted(old)))
    )
    assert drained == wire.sent
    assert not base.exists()
    assert len(caplog.records) == 1
    assert f"{base}: removed what an earlier start with --pin.path left" in caplog.text


def test_a_start_without_pins_leaves_those_of_another_namespace_alone(
    wire: Wire, base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start = Start.over(wire, base)
    start.attach()
    start.end()
    other = Wire()
    other.inside(lambda: unpinning.remove_left_behind(base))
    other.inside(lambda: unpinning.remove_left_behind(base / "nothing"))
    other.close()
    wire.send(10)
    pins = prepared(base)
    assert totals(pins.current).packets == 10
    pins.close()
    assert not caplog.records


def test_a_file_system_that_is_read_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with mounted(tmp_path / "bpf", "ro") as directory:
        assert prepare(directory / "ayaflow", settings(), RECORDED_BYTES) is None
    assert "the BPF file system is mounted read-only" in caplog.text
