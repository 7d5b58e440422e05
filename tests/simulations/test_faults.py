"""Every kind of fault that a seed can draw really bites."""

from __future__ import annotations

from random import Random

import pytest

from protocol import kinds
from protocol.limits import RESTARTS_MAX
from protocol.machines.contract import Keep, Put, Release
from simulations.clocks import OFFSET_MS_MAX, WALL_MS, NodeClock, StepPlan
from simulations.committing import Committer
from simulations.faults import CrashPlan, FallPlan, FullDiskPlan, MachineName, PausePlan, WavePlan
from simulations.options import draw_long, draw_options
from simulations.partitions import CutPlan, Cuts
from simulations.store import Batch, VirtualStore
from simulations.trace import Trace
from simulations.world import World
from tests.simulations.worlds import Watched, job, quiet


def cut(*, both_ways: bool = False, period_ms: int = 0) -> CutPlan:
    return CutPlan(at_ms=10_000, length_ms=10_000, left=(0,), right=(1,), both_ways=both_ways, period_ms=period_ms)


def within(times: list[float], start_ms: float, end_ms: float) -> int:
    return sum(start_ms <= time < end_ms for time in times)


# --- cuts ------------------------------------------------------------------------------------------------------------


def test_a_one_way_cut_stops_one_direction_and_not_the_other() -> None:
    watched = Watched(quiet(cuts=(cut(),)))
    assert within(watched.when("n1", "gate", "accepted"), 10_010, 20_000) == 0
    assert within(watched.when("n0", "gate", "accepted", "Heartbeat"), 10_010, 20_000) >= 2
    assert within(watched.when("n1", "gate", "accepted"), 20_000, 25_000) > 0


def test_a_cut_both_ways_stops_both() -> None:
    watched = Watched(quiet(cuts=(cut(both_ways=True),)))
    for node in ("n0", "n1"):
        assert within(watched.when(node, "gate", "accepted"), 10_010, 20_000) == 0
        assert within(watched.when(node, "gate", "accepted"), 20_000, 25_000) > 0


def test_a_flapping_cut_lets_go_in_the_second_half_of_each_period() -> None:
    plan = cut(period_ms=2_000)
    assert plan.cuts(0, 1, 10_000) and plan.cuts(0, 1, 10_999) and plan.cuts(0, 1, 12_500)
    assert not plan.cuts(0, 1, 11_000) and not plan.cuts(0, 1, 11_999) and not plan.cuts(0, 1, 20_000)
    assert plan.heals_ms(12_500) == 13_000


def test_a_split_leaves_each_group_whole() -> None:
    plan = CutPlan(at_ms=0, length_ms=10, left=(0, 1), right=(2,), both_ways=True, period_ms=0)
    cuts = Cuts((plan,))
    assert cuts.heals_ms(0, 1, 5) is None
    assert cuts.heals_ms(1, 2, 5) == cuts.heals_ms(2, 0, 5) == 10
    assert cuts.severed(0, 2, 5) and not cuts.severed(0, 2, 10)


def test_a_holder_that_is_cut_off_longer_than_its_lease_is_named() -> None:
    watched = Watched(quiet(jobs=(job(9_950),), task_ms_max=8_000, cuts=(cut(both_ways=True),)))
    status = watched.world.submitters[0].status
    assert status is not None and status.cause is not None and status.cause.node_name.startswith("n1 ")


# --- pauses ----------------------------------------------------------------------------------------------------------


def test_a_paused_node_does_nothing_and_then_goes_on_in_the_same_life() -> None:
    watched = Watched(quiet(pauses=(PausePlan(at_ms=10_000, node=1, length_ms=8_000),)))
    steps = [ms for ms, node, machine, _, _ in watched.lines if node == "n1" and machine != "node"]
    assert within(steps, 10_000, 18_000) == 0
    assert within(steps, 18_000, 18_010) > 0, "what waited comes at once"
    assert len(watched.when("n1", "node", "started")) == 1


def test_a_pause_longer_than_a_lease_loses_it() -> None:
    pauses = (PausePlan(at_ms=10_200, node=1, length_ms=30_000),)  # however long the tasks before take
    watched = Watched(quiet(jobs=(job(10_000),), task_ms_max=8_000, pauses=pauses))
    status = watched.world.submitters[0].status
    assert status is not None and status.cause is not None and status.cause.node_name.startswith("n1 ")


# --- clocks ----------------------------------------------------------------------------------------------------------


def test_a_step_moves_the_wall_clock_and_not_the_boot_clock() -> None:
    clock = NodeClock(offset_ms=5, drift_ppm=0, boot_ns=77)
    clock.step(-40_000)
    assert clock.now(10**9).wall_ms == WALL_MS + 1_000 - 40_000
    assert clock.now(10**9).boot_ns == 10**9 + 77


def test_a_drifting_clock_fires_its_timers_late_or_early() -> None:
    fast, slow = (NodeClock(offset_ms=0, drift_ppm=drift, boot_ns=0) for drift in (200, -200))
    assert fast.now(10**12).boot_ns == 10**12 + 2 * 10**8
    assert fast.world_delay_ns(0, 10**12) < 10**12 < slow.world_delay_ns(0, 10**12)
    for clock in (fast, slow):
        assert clock.now(clock.world_delay_ns(0, 10**12)).boot_ns >= 10**12, "never before its time"


def test_a_wild_clock_is_set_right_and_a_tolerable_one_is_left() -> None:
    clock = NodeClock(offset_ms=7, drift_ppm=0, boot_ns=0)
    clock.step(OFFSET_MS_MAX)
    clock.set_right()
    assert clock.now(0).wall_ms == WALL_MS + OFFSET_MS_MAX
    clock.step(OFFSET_MS_MAX + 1)
    clock.set_right()
    assert clock.now(0).wall_ms == WALL_MS + 7


def test_an_hour_off_refuses_orders_until_the_clock_is_right() -> None:
    steps = (StepPlan(at_ms=5_000, node=1, offset_ms=-3_600_000),)
    watched = Watched(quiet(jobs=(job(22_000),), clock_steps=steps))
    status = watched.world.submitters[0].status
    assert status is not None and status.cause is not None and status.cause.code == "time-outside"


# --- stores, crashes, falls ------------------------------------------------------------------------------------------


def test_a_released_resource_is_gone() -> None:
    store = VirtualStore()
    one, other = (Keep(digest=data * 32, data=data) for data in (b"1", b"2"))
    store.sync((one, other, Release(digests=(one.digest, b"?" * 32))))
    assert (store.resource(one.digest), store.resource(other.digest)) == (None, b"2")


def test_a_crash_keeps_what_was_synced_and_a_part_of_the_rest_from_the_front() -> None:
    lengths = set()
    for seed in range(40):
        store = VirtualStore()
        for number in range(5):
            put = Put(kind=kinds.PEER, key=bytes([number]), value=b"")
            store.write(Batch("membership", 1, (put,), lambda: None))
        for batch in store.take(2):
            store.sync(batch.writes)
        survivors = [batch.writes[0] for batch in store.crash(Random(seed))]
        assert survivors == [Put(kind=kinds.PEER, key=bytes([2 + n]), value=b"") for n in range(len(survivors))]
        assert [key for key, _ in store.rows()[kinds.PEER]] == [b"\0", b"\1"] and store.waiting == 0
        lengths.add(len(survivors))
    assert lengths == {0, 1, 2, 3}


def test_behind_a_refused_commit_nothing_of_its_machine_is_synced_until_it_has_started_again() -> None:
    world = World(quiet(), Trace())
    node = world.nodes[0]
    committer = Committer(world, node)
    writers: list[tuple[MachineName, int]] = [("worker", 1), ("worker", 1), ("membership", 1), ("worker", 2)]
    for number, (machine, incarnation) in enumerate(writers):
        put = Put(kind=kinds.PEER, key=bytes([number]), value=b"")
        node.store.write(Batch(machine, incarnation, (put,), lambda: None))
    committer._refuse(node.store.take(1))
    committer.flush()
    assert [key for key, _ in node.store.rows()[kinds.PEER]] == [b"\2", b"\3"]


def test_nothing_is_told_before_the_sync_has_ended() -> None:
    """Commits take up to 100 ms each; a crash in between leaves no trace of an acknowledgement."""
    crashes = tuple(
        CrashPlan(at_ms=at_ms, node=1, moment="before a commit", down_ms=0, reboot=False)
        for at_ms in range(2_000, 20_000, 700)
    )
    jobs = tuple(job(at_ms) for at_ms in range(2_000, 20_000, 500))
    watched = Watched(quiet(jobs=jobs, commit_ms_max=100, crashes=crashes))
    assert len(watched.when("n1", "node", "crashed")) > 5


@pytest.mark.parametrize(
    ("machine", "fallen"),
    [("gate", 5), ("membership", 3), ("scheduler", 2), ("worker", 1)],
)
def test_a_machine_that_falls_takes_down_those_started_after_it(machine: MachineName, fallen: int) -> None:
    watched = Watched(quiet(jobs=(job(9_900),), falls=(FallPlan(at_ms=10_000, node=1, machine=machine),)))
    node = watched.world.nodes[1]
    started = [name for name in node.incarnations if name != "poller"]  # which only clients have
    assert [watched.world.nodes[0].incarnations[name] for name in started] == [1] * 5
    counts = [node.incarnations[name] for name in started]
    assert counts == [1] * (5 - fallen) + [3] * fallen, "fallen once, started twice"
    assert node.life == 1


def test_a_full_disk_fells_whoever_commits_until_the_node_gives_up() -> None:
    full = FullDiskPlan(at_ms=5_000, node=1, length_ms=10_000, share=1.0)
    watched = Watched(quiet(jobs=tuple(job(at_ms) for at_ms in range(5_000, 20_000, 300)), full_disks=(full,)))
    refused = [
        ms for ms, node, _, event, more in watched.lines if (node, event) == ("n1", "fell") and "refused" in more
    ]
    assert within(refused, 5_000, 15_000) == len(refused) > RESTARTS_MAX
    assert len(watched.when("n1", "node", "started")) > 1
    assert min(watched.when("n1", "node", "started")[1:]) >= 15_000, "it starts when there is room again"


def test_the_network_is_bad_only_within_waves() -> None:
    watched = Watched(quiet(loss=1.0, waves=(WavePlan(at_ms=10_000, length_ms=5_000),)))
    for node in ("n0", "n1"):
        assert within(watched.when(node, "network", "lost"), 10_000, 15_000) == len(
            watched.when(node, "network", "lost")
        )
        assert within(watched.when(node, "network", "lost"), 10_000, 15_000) > 1


# --- what seeds draw -------------------------------------------------------------------------------------------------


def test_a_hundred_seeds_draw_every_kind_of_fault_and_some_draw_none() -> None:
    drawn = [draw_options(seed, 3) for seed in range(100)]
    for name in ("crashes", "falls", "pauses", "full_disks", "clock_steps", "cuts"):
        assert any(getattr(options, name) for options in drawn), name
    cuts = [plan for options in drawn for plan in options.cuts]
    assert {plan.both_ways for plan in cuts} == {True, False} and any(plan.period_ms for plan in cuts)
    assert any(len(plan.left) + len(plan.right) == 3 for plan in cuts), "groups"
    assert any(step.wild for options in drawn for step in options.clock_steps)
    assert any(pause.length_ms > 15_000 for options in drawn for pause in options.pauses), "longer than any lease"
    assert any(not options.crashes and not options.loss and not options.cuts for options in drawn)


def test_a_long_run_breaks_nothing_between_its_waves() -> None:
    options = draw_long(1, 3, 4)
    assert len(options.waves) > 3 and len(options.jobs) > 40
    windows = [(wave.at_ms, wave.at_ms + wave.length_ms) for wave in options.waves]
    lists = (options.crashes, options.falls, options.pauses, options.cuts)
    for at_ms in (plan.at_ms for plans in lists for plan in plans):
        assert any(start <= at_ms <= end for start, end in windows)
