"""Interfaces as they appear, are renamed, vanish and come back: nothing twice, nothing lost."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator

import pytest

from exporter.capture.device_slots import UNREGISTERED_SLOT
from exporter.capture.interfaces import KEEP_VANISHED_S, RETRY_S
from exporter.errors import ExporterError
from tests.unit.world import WALL_S, Follower

Follow = Callable[..., Follower]


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Follow]:
    """Makes a follower of these names and globs; to be started by the test."""
    made: list[Follower] = []

    def make(*patterns: str, device_slots: int = 16) -> Follower:
        made.append(Follower(monkeypatch, *patterns, device_slots=device_slots))
        return made[-1]

    yield make
    for each in made:
        each.interfaces.close()
        if each.listening is not None:
            each.listening.close()
        each.world.close()


def warnings(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelname in ("WARNING", "ERROR") and word in record.getMessage()
    ]


def test_what_is_wanted_is_attached_and_nothing_else(follow: Follow) -> None:
    it = follow("eth*", "lo")
    for name in ("lo", "eth0", "eth1", "wg0"):
        it.world.add(name)
    it.start()
    assert it.attached() == ["eth0", "eth1", "lo"]
    for name in ("lo", "eth0", "eth1", "wg0"):
        it.world.receive(name, 3)
        it.world.send(name, 4)
    assert [it.packets(name) for name in it.attached()] == [(3, 4)] * 3
    assert it.removed() == (0, 0)


def test_packets_are_counted_from_the_first_one_on(follow: Follow) -> None:
    """The device is registered before the program can see it."""
    it = follow("eth*")
    it.world.during_attach = 7
    it.world.add("eth0")
    it.start()
    assert it.packets("eth0") == (7, 0)


def test_the_helper_is_told_how_and_what(follow: Follow) -> None:
    it = follow("*")
    it.world.add("eth0")
    it.world.add("v0", kind="veth")
    it.start()
    assert it.world.asked == ["attach 1 auto ", "attach 2 auto veth"]


def test_an_interface_that_appears_is_attached(follow: Follow) -> None:
    it = follow("eth*")
    it.start()
    it.world.add("eth0")
    it.look()
    it.world.receive("eth0", 5)
    assert it.packets("eth0") == (5, 0)
    assert it.interfaces.devices["eth0"].created_s == WALL_S + it.now_s


def test_looking_again_attaches_nothing_twice(follow: Follow) -> None:
    it = follow("eth*")
    it.world.add("eth0")
    it.start()
    for _ in range(5):
        it.look(100.0)
    assert it.world.attachments("eth0") == 1


def test_what_vanishes_keeps_its_totals_and_counts_on_when_it_comes_back(follow: Follow) -> None:
    it = follow("eth*")
    it.world.add("eth0")
    it.start()
    it.world.receive("eth0", 5)
    it.world.remove("eth0")
    it.look()
    assert it.attached() == []
    assert it.packets("eth0") == (5, 0)
    it.world.add("eth0")
    it.look(60.0)
    it.world.receive("eth0", 6)
    assert it.packets("eth0") == (11, 0)
    assert it.interfaces.devices["eth0"].created_s == WALL_S


def test_one_that_came_back_between_two_looks_is_attached_anew(follow: Follow) -> None:
    it = follow("eth*")
    it.world.add("eth0")
    it.start()
    it.world.remove("eth0")
    it.world.add("eth0")
    it.look()
    assert it.world.links_held() == 2
    it.world.receive("eth0", 5)
    assert it.packets("eth0") == (5, 0)


@pytest.mark.parametrize("mode", ["tcx", "clsact"])
def test_a_new_name_that_is_wanted_too_keeps_the_programs(follow: Follow, mode: str) -> None:
    it = follow("eth*")
    it.world.mode = mode
    it.world.add("eth0")
    it.start()
    it.world.receive("eth0", 5)
    it.world.rename("eth0", "eth7")
    it.look()
    assert it.world.attachments("eth7") == 1
    it.world.receive("eth7", 6)
    assert (it.packets("eth0"), it.packets("eth7")) == ((5, 0), (6, 0))
    assert it.attached() == ["eth7"]
    assert sum("attach" in asked for asked in it.world.asked) == 1


@pytest.mark.parametrize("mode", ["tcx", "clsact"])
def test_a_new_name_that_is_not_wanted_takes_the_programs_off(follow: Follow, mode: str) -> None:
    it = follow("eth*")
    it.world.mode = mode
    it.world.add("eth0")
    it.start()
    it.world.rename("eth0", "wan")
    it.look()
    assert it.world.attachments("wan") == 0
    assert it.attached() == []
    assert list(it.interfaces.devices) == ["eth0"]


def test_where_it_cannot_be_taken_off_the_exporter_goes_on(
    follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    it = follow("eth*")
    it.world.mode = "clsact"
    it.world.add("eth0")
    it.start()
    it.world.rename("eth0", "wan")
    it.world.refusal = "the helper is gone"
    it.look()
    assert len(warnings(caplog, "the helper is gone")) == 1
    it.world.receive("wan", 5)
    assert it.removed() == (5, 0)


def test_a_name_that_gets_wanted_is_attached(follow: Follow) -> None:
    it = follow("eth*")
    it.world.add("wan")
    it.start()
    it.world.rename("wan", "eth0")
    it.look()
    assert it.attached() == ["eth0"]


@pytest.mark.parametrize("mode", ["tcx", "clsact"])
def test_two_that_swap_their_names_are_counted_once_each(follow: Follow, mode: str) -> None:
    """As udev does with cards whose names it puts in order."""
    it = follow("eth*")
    it.world.mode = mode
    for name in ("eth0", "eth1"):
        it.world.add(name)
    it.start()
    it.world.receive("eth0", 5)
    it.world.receive("eth1", 50)
    it.world.rename("eth0", "tmp")
    it.world.rename("eth1", "eth0")
    it.world.rename("tmp", "eth1")
    it.look()
    it.look()
    assert [it.world.attachments(name) for name in ("eth0", "eth1")] == [1, 1]
    it.world.receive("eth0", 1)
    it.world.receive("eth1", 1)
    assert (it.packets("eth0"), it.packets("eth1")) == ((6, 0), (51, 0))


def test_names_that_move_around_in_a_circle(follow: Follow) -> None:
    it = follow("eth*")
    for name in ("eth0", "eth1", "eth2"):
        it.world.add(name)
    it.start()
    it.world.rename("eth0", "tmp")
    it.world.rename("eth1", "eth0")
    it.world.rename("eth2", "eth1")
    it.world.rename("tmp", "eth2")
    it.look()
    for name in ("eth0", "eth1", "eth2"):
        assert it.world.attachments(name) == 1
        it.world.receive(name, 3)
        assert it.packets(name) == (3, 0)


def test_the_name_of_one_that_has_just_vanished_is_taken_over(follow: Follow) -> None:
    it = follow("eth*")
    for name in ("eth0", "eth1"):
        it.world.add(name)
    it.start()
    it.world.receive("eth1", 5)
    it.world.remove("eth1")
    it.world.rename("eth0", "eth1")
    it.look()
    assert it.world.links_held() == 2
    it.world.receive("eth1", 6)
    assert it.packets("eth1") == (11, 0)
    assert it.world.attachments("eth1") == 1


def test_one_that_cannot_be_attached_is_tried_again_and_complained_of_once(
    follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    it = follow("eth*")
    it.world.add("eth0")
    it.world.refusal = "the kernel refuses"
    it.start()
    for _ in range(4):
        it.look(RETRY_S / 3)
    assert it.attached() == []
    assert it.world.asked.count("attach 1 auto ") == 2
    assert warnings(caplog, "eth0") == ["eth0 is not counted: the kernel refuses"]
    assert it.world.slot_of("eth0") == UNREGISTERED_SLOT
    it.world.refusal = ""
    it.look(RETRY_S)
    assert it.attached() == ["eth0"]
    it.world.receive("eth0", 5)
    assert it.packets("eth0") == (5, 0)
    assert it.driver("eth0") == (5, 0)


def test_another_complaint_is_told_too(follow: Follow, caplog: pytest.LogCaptureFixture) -> None:
    it = follow("eth*")
    it.world.add("eth0")
    for it.world.refusal in ("one", "two", "two", "one"):
        it.look(RETRY_S)
    assert [text.rpartition(" ")[2] for text in warnings(caplog, "eth0")] == ["one", "two", "one"]


def test_a_new_interface_of_that_name_is_tried_at_once(follow: Follow) -> None:
    it = follow("eth*")
    it.world.add("eth0")
    it.world.refusal = "the kernel refuses"
    it.start()
    it.world.remove("eth0")
    it.world.add("eth0")
    it.world.refusal = ""
    it.look()
    assert it.attached() == ["eth0"]


def test_a_name_that_cannot_be_attached_at_the_start_is_an_error(follow: Follow) -> None:
    it = follow("eth0")
    it.world.add("eth0")
    it.world.refusal = "the kernel refuses"
    with pytest.raises(ExporterError, match="eth0: the kernel refuses"):
        it.start()


def test_more_names_than_there_are_slots_are_an_error(follow: Follow) -> None:
    names = [f"eth{n}" for n in range(4)]
    it = follow(*names, device_slots=3)
    for name in names:
        it.world.add(name)
    with pytest.raises(ExporterError, match=r"eth\d"):
        it.start()


def test_an_hour_after_it_vanished_a_device_is_forgotten_and_its_totals_are_not(
    follow: Follow,
) -> None:
    it = follow("eth*")
    for name in ("eth0", "eth1"):
        it.world.add(name)
    it.start()
    it.world.receive("eth0", 5)
    it.world.send("eth0", 6)
    it.world.remove("eth0")
    it.look()
    it.look(KEEP_VANISHED_S)
    assert it.packets("eth0") == (5, 6)
    assert it.removed() == (0, 0)
    it.look(1.0)
    assert list(it.interfaces.devices) == ["eth1"]
    assert it.removed() == (5, 6)


def test_all_that_was_ever_counted_stays_among_the_totals(follow: Follow) -> None:
    """What is folded must be explained, and counters of all slots together never go back."""
    it = follow("eth*")
    it.world.add("eth0")
    it.start()
    it.world.receive("eth0", 5)
    it.world.remove("eth0")
    it.look()
    it.look(KEEP_VANISHED_S + 1)
    assert it.all_packets() == 5


def test_a_slot_that_is_used_again_begins_at_zero(follow: Follow) -> None:
    it = follow("eth*")
    it.world.add("eth0")
    it.start()
    it.world.receive("eth0", 5)
    slot = it.interfaces.devices["eth0"].slot
    it.world.remove("eth0")
    it.look()
    it.look(KEEP_VANISHED_S + 1)
    it.world.add("eth9")
    it.look()
    assert it.interfaces.devices["eth9"].slot == slot
    it.world.receive("eth9", 3)
    assert it.packets("eth9") == (3, 0)
    assert it.removed() == (5, 0)
    assert it.all_packets() == 8


def test_one_that_came_back_is_not_forgotten(follow: Follow) -> None:
    it = follow("eth*")
    it.world.add("eth0")
    it.start()
    it.world.remove("eth0")
    it.look()
    it.world.add("eth0")
    it.look(KEEP_VANISHED_S - 1)
    it.look(2.0)
    assert it.attached() == ["eth0"]


def test_where_slots_run_out_those_that_vanished_first_are_forgotten_early(
    follow: Follow,
) -> None:
    """A node whose pods come and go has more interfaces in an hour than there are slots."""
    it = follow("eth*", device_slots=4)
    for n in range(10):
        it.world.add(f"eth{n}")
        it.look(1.0)
        it.world.receive(f"eth{n}", 1)
        it.world.remove(f"eth{n}")
        it.look(1.0)
    assert list(it.interfaces.devices) == ["eth7", "eth8", "eth9"]
    assert it.removed() == (7, 0)
    assert [it.packets(name) for name in it.interfaces.devices] == [(1, 0)] * 3
    assert it.all_packets() == 10


def test_interfaces_beyond_the_slots_are_complained_of_once(
    follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    it = follow("eth*", device_slots=3)
    for n in range(4):
        it.world.add(f"eth{n}")
    for _ in range(5):
        it.look(RETRY_S)
    assert it.attached() == ["eth0", "eth1"]
    assert len(warnings(caplog, "eth2")) == len(warnings(caplog, "eth3")) == 1
    it.world.remove("eth0")
    it.look(RETRY_S)
    assert it.attached() == ["eth1", "eth2"]


def test_the_driver_is_counted_from_the_attachment_on(follow: Follow) -> None:
    it = follow("eth*")
    it.world.add("eth0")
    it.start()
    assert it.driver("eth0") == (0, 0)
    it.world.receive("eth0", 5)
    it.world.send("eth0", 6)
    assert it.driver("eth0") == (5, 6)


def test_the_driver_of_one_that_is_not_attached_has_counted_nothing(follow: Follow) -> None:
    it = follow("eth*")
    it.world.add("eth0")
    it.world.refusal = "the kernel refuses"
    it.start()
    it.world.receive("eth0", 5)
    assert it.driver("eth0") == (0, 0)
    it.world.refusal = ""
    it.look(RETRY_S)
    assert it.driver("eth0") == (0, 0)


def test_the_driver_counts_on_when_an_interface_comes_back(follow: Follow) -> None:
    it = follow("eth*")
    it.world.add("eth0")
    it.start()
    it.world.receive("eth0", 5)
    it.driver("eth0")
    it.world.remove("eth0")
    it.look()
    assert it.driver("eth0") == (5, 0)
    it.world.add("eth0")
    it.look()
    it.world.receive("eth0", 6)
    assert it.driver("eth0") == (11, 0)


def test_a_driver_that_begins_anew_never_takes_back_what_it_counted(follow: Follow) -> None:
    it = follow("eth*")
    it.world.add("eth0")
    it.start()
    it.world.receive("eth0", 500)
    assert it.driver("eth0") == (500, 0)
    it.world.reset_driver("eth0")
    assert it.driver("eth0") == (500, 0)
    it.world.receive("eth0", 7)
    assert it.driver("eth0") == (507, 0)


def test_what_comes_while_it_is_attached_or_renamed_is_never_more_by_the_driver(
    follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes before the slot is changed belongs to the old name."""
    it = follow("eth*")
    it.world.during_attach = 7
    it.world.add("eth0")
    it.start()
    assert it.driver("eth0") <= it.packets("eth0")
    it.world.rename("eth0", "eth7")
    put = it.world.table.put

    def put_after_packets(
        ifindex: int, slot: int, link_type: int, *, listen_only: bool = False
    ) -> None:
        it.world.receive("eth7", 9)
        put(ifindex, slot, link_type, listen_only)

    monkeypatch.setattr(it.world.table, "put", put_after_packets)
    it.look()
    it.world.receive("eth7", 1)
    assert it.packets("eth7") == (1, 0)
    assert it.driver("eth7") == (1, 0)
    assert it.driver("eth0") <= it.packets("eth0")


def test_who_else_sees_packets_first_is_told_when_there_are_more_of_them(
    follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    it = follow("eth*")
    it.world.add("eth0")
    it.start()
    for it.world.before in ((0, 0), (1, 0), (1, 0), (0, 0), (2, 1)):
        it.interfaces.see_programs_before()
        assert it.interfaces.devices["eth0"].programs_before == it.world.before
    assert len(warnings(caplog, "see packets before")) == 2


def test_more_programs_on_one_side_are_told_though_there_are_fewer_on_the_other(
    follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    it = follow("eth*")
    it.world.add("eth0")
    it.start()
    for it.world.before in ((1, 0), (0, 1)):
        it.interfaces.see_programs_before()
    assert len(warnings(caplog, "see packets before")) == 2


@pytest.mark.parametrize("mode", ["tcx", "clsact"])
def test_programs_that_somebody_took_off_are_attached_again(
    follow: Follow, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    """Deleting the clsact qdisc is enough, and the kernel tells nobody."""
    it = follow("eth*")
    it.world.mode = mode
    it.world.add("eth0")
    it.start()
    it.world.receive("eth0", 5)
    it.world.take_off("eth0")
    it.interfaces.see_programs_before()
    assert it.attached() == []
    assert len(warnings(caplog, "took its programs off")) == 1
    assert it.world.links_held() == 0
    it.look()
    assert it.world.attachments("eth0") == 1
    it.world.receive("eth0", 6)
    assert it.packets("eth0") == (11, 0)


def test_where_that_cannot_be_told_it_is_said_once(
    follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    it = follow("eth*")
    for name in ("eth0", "eth1", "eth2"):
        it.world.add(name)
    it.start()
    asked = len(it.world.asked)
    it.world.refusal = "the helper is gone"
    for _ in range(3):
        it.interfaces.see_programs_before()
    assert len(warnings(caplog, "the helper is gone")) == 1
    assert len(it.world.asked) - asked == 3, "each question may take the helper's whole timeout"
    it.world.refusal = ""
    it.interfaces.see_programs_before()
    it.world.refusal = "the helper is gone"
    it.interfaces.see_programs_before()
    assert len(warnings(caplog, "the helper is gone")) == 2


def test_a_static_choice_asks_the_helper_nothing_more(follow: Follow) -> None:
    it = follow("eth*")
    it.world.add("eth0")
    it.start()
    assert it.interfaces.freeze()
    asked = list(it.world.asked)
    it.world.add("eth1")
    it.world.rename("eth0", "eth7")
    it.look()
    it.interfaces.see_programs_before()
    it.world.receive("eth7", 5)
    assert it.packets("eth7") == (5, 0)
    it.world.remove("eth7")
    it.look()
    it.look(KEEP_VANISHED_S + 1)
    assert it.world.asked == asked


def test_a_static_choice_keeps_the_helper_where_it_has_filters_to_take_off(follow: Follow) -> None:
    it = follow("eth*")
    it.world.mode = "clsact"
    it.world.add("eth0")
    it.start()
    assert not it.interfaces.freeze()
    it.world.add("eth1")
    it.look()
    assert it.attached() == ["eth0"]


def test_where_interfaces_cannot_be_listed_all_stays_as_it_is(
    follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    it = follow("eth*")
    it.world.add("eth0")
    it.start()
    it.world.netlink_error = OSError(errno.ENOBUFS, "No buffer space available")
    it.look()
    it.interfaces.see_drivers()
    assert it.attached() == ["eth0"]
    assert warnings(caplog, "No buffer space")
    it.world.netlink_error = None
    it.world.receive("eth0", 5)
    assert it.driver("eth0") == (5, 0)


def test_stacked_interfaces_are_counted_and_warned_of_once(
    follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    it = follow("*")
    bridge = it.world.add("br9", kind="bridge")
    it.world.add("eth0", master=bridge)
    it.start()
    for _ in range(3):
        it.look(60.0)
    assert it.interfaces.stacking.count == 2
    (warning,) = warnings(caplog, "more than once")
    assert warning.startswith("br9 and eth0 see the same packets")
    it.world.remove("br9")
    it.look()
    assert it.interfaces.stacking.count == 0


def test_interfaces_of_default_routes_are_followed(follow: Follow) -> None:
    it = follow()
    for name in ("lo", "eth0", "wwan0"):
        it.world.add(name)
    it.world.default_routes = [2]
    it.start()
    assert it.attached() == ["eth0"]
    it.world.default_routes = [3]
    it.look()
    assert it.attached() == ["eth0", "wwan0"]


def test_at_the_end_every_link_is_let_go(follow: Follow) -> None:
    it = follow("eth*")
    for name in ("eth0", "eth1"):
        it.world.add(name)
    it.start()
    it.interfaces.close()
    assert [it.world.attachments(name) for name in ("eth0", "eth1")] == [0, 0]
    it.interfaces.close()


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_every_packet_is_counted_once(follow: Follow, seed: int) -> None:
    """Those that come between a change and the next look may be counted under the old name, or, of
    an interface that was not there before, not at all.
    """
    rng = random.Random(seed)
    it = follow("eth*", device_slots=6)
    it.world.mode = rng.choice(["tcx", "clsact"])
    names = ["eth0", "eth1", "eth2", "eth3", "wan0", "wan1"]
    it.start()
    expected = 0
    seen: dict[str, int] = {}
    for _ in range(150):
        for _ in range(rng.randrange(4)):
            _change_something(it, rng, names)
        it.world.refusal = "no" if not rng.randrange(10) else ""
        it.look(rng.choice([0.1, 11.0, 700.0]))
        it.world.refusal = ""
        it.look(RETRY_S + 1)
        for link in list(it.world.interfaces.values()):
            wanted = link.name.startswith("eth")
            assert it.world.attachments(link.name) <= 1
            if wanted:
                assert it.world.attachments(link.name) == 1
                it.world.receive(link.name, 3)
                expected += 3
        assert it.all_packets() == expected
        assert it.world.links_held() == 2 * len(it.attached()) * (it.world.mode == "tcx")
        shown = sum(it.packets(name)[0] for name in it.interfaces.devices) + it.removed()[0]
        assert shown == expected
        for name, device in it.interfaces.devices.items():
            driver, _ = it.driver(name)
            assert driver <= it.packets(name)[0]
            assert driver >= seen.get(f"{name} {device.created_s}", 0)
            seen[f"{name} {device.created_s}"] = driver


def _change_something(it: Follower, rng: random.Random, names: list[str]) -> None:
    present = [link.name for link in it.world.interfaces.values()]
    absent = [name for name in names if name not in present]
    choice = rng.randrange(4)
    if choice == 0 and absent:
        it.world.add(rng.choice(absent))
    elif choice == 1 and present:
        it.world.remove(rng.choice(present))
    elif choice == 2 and present and absent:
        it.world.rename(rng.choice(present), rng.choice(absent))
    elif choice == 3 and len(present) > 1:
        one, other = rng.sample(present, 2)
        it.world.rename(one, "tmp")
        it.world.rename(other, one)
        it.world.rename("tmp", other)


# Interfaces that are only listened to.


def test_what_is_only_listened_to_is_heard_and_counted_nowhere(follow: Follow) -> None:
    it = follow("eth0")
    listening = it.listen("lo", "eth*")
    for name in ("lo", "eth0", "eth1", "wg0"):
        it.world.add(name)
    it.start()
    assert it.attached() == ["eth0"]
    assert sorted(listening.devices) == ["eth1", "lo"]
    for name in ("lo", "eth0", "eth1", "wg0"):
        it.world.receive(name, 3)
        it.world.send(name, 4)
    assert it.world.heard == {"lo": 7, "eth1": 7}
    assert it.packets("eth0") == (3, 4)
    assert it.removed() == (0, 0)
    assert it.all_packets() == 7


def test_listening_takes_no_slot_and_stacks_on_nothing(follow: Follow) -> None:
    it = follow("eth*", device_slots=3)
    listening = it.listen("veth*")
    bridge = it.world.add("eth0")
    for number in range(5):
        it.world.add(f"veth{number}", master=bridge)
    it.world.add("eth1")
    it.start()
    assert it.attached() == ["eth0", "eth1"]
    assert len(listening.devices) == 5
    assert {device.slot for device in listening.devices.values()} == {0}
    assert (it.interfaces.stacking.count, listening.stacking.count) == (0, 0)


def test_what_is_listened_to_may_vanish_come_back_and_be_renamed(follow: Follow) -> None:
    it = follow("eth0")
    listening = it.listen("cali*")
    it.world.add("eth0")
    it.start()
    it.world.add("cali1")
    it.look()
    it.world.receive("cali1", 3)
    it.world.remove("cali1")
    it.look()
    it.world.add("cali1")
    it.look()
    it.world.receive("cali1", 4)
    it.world.rename("cali1", "cali2")
    it.look()
    it.world.receive("cali2", 5)
    it.world.rename("cali2", "other")
    it.look()
    it.world.receive("other", 100)
    assert it.world.heard == {"cali1": 7, "cali2": 5}
    assert it.all_packets() == 0
    it.look(KEEP_VANISHED_S + 1)
    assert not listening.devices
    assert it.removed() == (0, 0)


def test_an_interface_to_listen_to_that_does_not_exist_is_an_error(follow: Follow) -> None:
    it = follow("eth0")
    it.listen("lo")
    it.world.add("eth0")
    with pytest.raises(ExporterError, match=r"^--names.interface lo: there is no such interface"):
        it.start()


def test_an_interface_that_is_counted_may_be_named_to_listen_to_as_well(follow: Follow) -> None:
    it = follow("eth0")
    listening = it.listen("eth0", "lo")
    it.world.add("eth0")
    it.world.add("lo")
    it.start()
    assert (it.attached(), sorted(listening.devices)) == (["eth0"], ["lo"])


@pytest.mark.parametrize("mode", ["tcx", "clsact"])
def test_what_comes_to_be_counted_is_listened_to_no_more(follow: Follow, mode: str) -> None:
    it = follow()
    it.world.mode = mode
    it.listen("eth*")
    it.world.add("eth0")
    it.world.add("eth1")
    it.world.default_routes = [it.world.ifindex("eth0")]
    it.start()
    it.world.default_routes = [it.world.ifindex("eth0"), it.world.ifindex("eth1")]
    it.look()
    it.world.receive("eth1", 5)
    assert it.packets("eth1") == (5, 0), "else each packet counts twice"
    assert it.world.attachments("eth1") == 1
