"""Health: what a node looks at by itself, what it finds, and that it tells of each thing when it begins and ends."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocol.errors import Code
from protocol.findings import Disk, Finding, Verdict
from protocol.limits import (
    CLOCK_OFFSET_MS_GOOD,
    CLOCK_TOLERANCE_MS,
    DISK_FREE_BYTES_GOOD,
    DISK_FREE_BYTES_MIN,
    HEALTH_AGAIN_MS,
    HEALTH_FIRST_MS,
    HEALTH_STEP_SHOWN_MS,
    MIB,
    RESOURCE_MAP_BYTES_MAX,
    STATEMENT_LEFT_MS_GOOD,
    STORE_ANSWER_MS_GOOD,
    TASK_SLOTS,
    TASKS_WAITING_GOOD,
)
from protocol.machines.contract import Effects, Now, SetTimer, TimerFired
from protocol.machines.events import HealthChanged, HealthWanted, ProjectsHeld
from protocol.machines.gate import GateSnapshot
from protocol.machines.health import DiskSeen, Health, Observed, SourceSeen
from protocol.machines.joins import JoinView
from protocol.machines.membership_view import MembershipSnapshot, PeerView
from protocol.machines.poller import PollerSnapshot, SchedulerView
from protocol.machines.stored_results import ResultsView
from protocol.machines.strangers import StrangerView
from tests.protocol.builders import WALL_MS, news, node_key, now, statement

INTERVAL_MS = 3_600_000
GOOD_DISK = Disk(free_bytes=100 << 30, all_bytes=200 << 30, free_files=1 << 20, read_only=False)
DUE = TimerFired(name="check")
HEALTHY = Observed(
    disks=(DiskSeen(path="/srv/node", disk=GOOD_DISK),),
    results_bytes=0,
    results=None,
    store_ms=3,
    sources=(),
    membership=None,
    gate=None,
    poller=None,
    tasks_running=0,
    discovery_state="ready",
    discovery_problems=(),
    silent=(),
)


def seen(**changes: Any) -> Observed:
    return msgspec.structs.replace(HEALTHY, **changes)


def with_disk(**changes: Any) -> Observed:
    return seen(disks=(DiskSeen(path="/srv/node", disk=msgspec.structs.replace(GOOD_DISK, **changes)),))


def with_results(used_mib: int, reserved_mib: int) -> Observed:
    """Of a quota of 100 MiB."""
    view = ResultsView(
        jobs=1,
        used_bytes=used_mib * MIB,
        reserved_bytes=reserved_mib * MIB,
        quota_bytes=100 * MIB,
        keep_ms=None,
        clock_in_doubt=False,
    )
    return seen(results=view)


def with_source(state: str, problem: str = "", code: str = "") -> Observed:
    one = SourceSeen(name="heart", state=state, columns_all=2, problem=problem, next_step="put it back", code=code)
    return seen(sources=(one,))


def with_peers(*offsets_ms: int, presence: Any = "present", strangers: tuple[StrangerView, ...] = ()) -> Observed:
    """A peer for each offset, named p0, p1, …"""
    nodes = [bytes([number]) * 32 for number, _ in enumerate(offsets_ms)]
    peers = tuple(
        PeerView(
            node=node,
            name=f"p{number}",
            addresses=(),
            projects=(),
            presence=presence,
            neighbour=True,
            heard_ns=1,
            sources=(),
        )
        for number, node in enumerate(nodes)
    )
    offsets = {node.hex(): ms for node, ms in zip(nodes, offsets_ms, strict=True)}
    gate = GateSnapshot(
        frames_in=0, frames_out=0, peers=1, sessions=0, passed_on=0, refused={}, clock_offsets_ms=offsets
    )
    return seen(membership=MembershipSnapshot(peers=peers, strangers=strangers, joins=()), gate=gate)


def with_join(problem: str) -> Observed:
    join = JoinView(address="lab:1456", state="asking", attempts=3, problem=problem)
    return seen(membership=MembershipSnapshot(peers=(), strangers=(), joins=(join,)))


def with_scheduler(state: str) -> Observed:
    one = SchedulerView(node=b"n" * 32, name="north", state=state, unanswered=4, answered_ns=0)
    return seen(poller=PollerSnapshot(schedulers=(one,)))


def found(machine: Health, name: str) -> Finding:
    (one,) = [view.finding for view in machine.snapshot().views if view.finding.name == name]
    return one


def looked(event: Observed) -> Health:
    machine = Health(INTERVAL_MS)
    machine.begin(now())
    machine.step(event, now())
    machine.check()
    return machine


def pause_ms(effects: Effects, at: Now) -> float:
    (timer,) = [one for one in effects if isinstance(one, SetTimer)]
    return (timer.at_ns - at.boot_ns) / 1e6


# --- when it looks -----------------------------------------------------------------------------------------------


def test_it_looks_soon_after_the_start_and_then_at_the_interval() -> None:
    machine = Health(INTERVAL_MS)
    assert pause_ms(machine.begin(now()), now()) == HEALTH_FIRST_MS
    effects = machine.step(DUE, now())
    assert news(effects) == [HealthWanted()] and pause_ms(effects, now()) == INTERVAL_MS
    assert machine.step(HEALTHY, now()) == (), "a healthy node changes nothing"


def test_an_interval_that_is_shorter_than_the_first_pause_counts_from_the_start() -> None:
    assert pause_ms(Health(1_000).begin(now()), now()) == 1_000


@pytest.mark.parametrize(("interval_ms", "again_ms"), [(INTERVAL_MS, HEALTH_AGAIN_MS), (1_000, 1_000)])
def test_while_something_is_not_well_it_looks_again_soon(interval_ms: int, again_ms: int) -> None:
    machine = Health(interval_ms)
    assert pause_ms(machine.step(seen(store_ms=None), now()), now()) == again_ms


# --- what it finds -----------------------------------------------------------------------------------------------

FINDINGS: dict[str, tuple[Observed, str, Verdict, str]] = {
    "a disk with room": (HEALTHY, "disk", "ok", "100.0 GiB free of 200.0 GiB for /srv/node"),
    "a disk that gets full": (with_disk(free_bytes=DISK_FREE_BYTES_GOOD - 1), "disk", "warning", "MiB free of"),
    "a disk that is nearly full": (with_disk(free_bytes=DISK_FREE_BYTES_MIN - 1), "disk", "failed", "no new job"),
    "a disk with exactly the least": (with_disk(free_bytes=DISK_FREE_BYTES_MIN), "disk", "warning", "64.0 MiB free"),
    "a disk for few files": (with_disk(free_files=5), "disk", "failed", "room for 5 more files"),
    "a disk that is read only": (with_disk(read_only=True), "disk", "failed", "can only be read"),
    "a disk that is not there": (
        seen(disks=(DiskSeen(path="/srv/node", reason="cannot be looked at: No such file"),)),
        "disk",
        "failed",
        "the disk of /srv/node cannot be looked at",
    ),
    "the worse of two disks": (
        seen(disks=(*HEALTHY.disks, *with_disk(read_only=True).disks)),
        "disk",
        "failed",
        "can only be read",
    ),
    "a store that answers": (HEALTHY, "database", "ok", "answers"),
    "a store that is slow": (seen(store_ms=STORE_ANSWER_MS_GOOD + 1), "database", "warning", "it took 2.0 s"),
    "a store that is silent": (seen(store_ms=None), "database", "failed", "no answer within 5 s"),
    "results within the quota": (seen(results_bytes=1 << 30), "results", "ok", "1.0 GiB of the 64.0 GiB"),
    "results near the quota": (seen(results_bytes=RESOURCE_MAP_BYTES_MAX), "results", "warning", "64.0 GiB of"),
    "a quota with room": (with_results(1, 1), "quota", "ok", "results use 1.0 MiB of 100.0 MiB"),
    "a quota of which much is taken": (with_results(45, 45), "quota", "warning", "jobs that run reserve 45.0 MiB"),
    "a quota that is reached": (with_results(97, 0), "quota", "failed", "so new jobs are refused"),
    "a source that is ready": (with_source("ready"), "source heart", "ok", "ready, 2 columns"),
    "a source that is gone": (
        with_source("gone", "no such file", "source-missing"),
        "source heart",
        "failed",
        "no such",
    ),
    "discovery that runs": (HEALTHY, "discovery", "ok", "its process runs"),
    "discovery that starts": (seen(discovery_state="starting"), "discovery", "ok", "its process runs"),
    "discovery that is down": (seen(discovery_state="down"), "discovery", "failed", "its process is down"),
    "discovery with a problem": (seen(discovery_problems=("no multicast.",)), "discovery", "warning", "no multicast"),
    "a join that works": (with_join(""), "join lab:1456", "ok", "asking"),
    "a join that fails": (with_join("nobody is there. Next: look"), "join lab:1456", "failed", "after 3 attempts"),
    "a scheduler that answers": (with_scheduler("answered"), "scheduler north", "ok", "answered"),
    "a scheduler that is silent": (with_scheduler("silent"), "scheduler north", "failed", "no answer to 4 polls"),
    "no clock to compare": (HEALTHY, "clock", "ok", "no peer is present"),
    "a clock like that of the peers": (with_peers(500, -900), "clock", "ok", "at most 0.9 s off"),
    "a clock that is a little off": (with_peers(CLOCK_OFFSET_MS_GOOD + 1), "clock", "warning", "p0 by 30 s (ahead)"),
    "a clock an hour off": (with_peers(3_600_000, 3_600_000), "clock", "failed", "can be refused"),
    "tasks in their slots": (seen(tasks_running=3), "tasks", "ok", "3 accepted, 0 of them wait"),
    "tasks without end": (seen(tasks_running=TASK_SLOTS + TASKS_WAITING_GOOD + 1), "tasks", "warning", "1001 of them"),
    "actors that answer": (HEALTHY, "actors", "ok", "all answer"),
    "actors that do not": (seen(silent=("worker", "gate")), "actors", "failed", "gate, worker did not answer"),
}


@pytest.mark.parametrize("case", FINDINGS)
def test_what_is_seen_becomes_a_finding_with_a_sentence_and_a_step(case: str) -> None:
    event, name, verdict, words = FINDINGS[case]
    one = found(looked(event), name)
    assert one.verdict == verdict and words in one.sentence
    assert bool(one.next_step) == (verdict != "ok"), "what is not well says what to do"
    assert not one.sentence.endswith(".") and not one.next_step.endswith(".")


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (with_disk(free_bytes=0), Code.DISK_FULL),
        (with_disk(read_only=True), Code.FOLDER_UNUSABLE),
        (seen(silent=("gate",)), Code.TIMED_OUT),
        (with_source("gone", "no such file", "source-missing"), Code.SOURCE_MISSING),
        (with_peers(2 * CLOCK_TOLERANCE_MS), Code.TIME_OUTSIDE),
        (with_join("nobody is there"), Code.NODE_UNREACHABLE),
    ],
)
def test_what_is_broken_carries_the_code_of_its_page(event: Observed, code: Code) -> None:
    assert [view.finding.code for view in looked(event).snapshot().views if view.finding.verdict == "failed"] == [code]


def test_only_peers_that_are_present_tell_the_time() -> None:
    assert found(looked(with_peers(3_600_000, presence="away")), "clock").verdict == "ok"


def test_when_most_clocks_differ_it_is_this_one_that_is_to_be_set() -> None:
    assert found(looked(with_peers(90_000, 91_000, 10)), "clock").next_step == "set this machine's clock (NTP)"
    assert "compare both clocks" in found(looked(with_peers(90_000)), "clock").next_step


@pytest.mark.parametrize(("set_ms", "words"), [(3_600_000, "forward by 60 min"), (-3_600_000, "back by 60 min")])
def test_a_clock_that_was_set_while_the_node_ran_is_told_for_a_while(set_ms: int, words: str) -> None:
    machine = Health(INTERVAL_MS)
    machine.begin(now())
    machine.step(HEALTHY, now())
    after = Now(now(10_000).boot_ns, WALL_MS + 10_000 + set_ms)
    machine.step(HEALTHY, after)
    one = found(machine, "clock")
    assert one.verdict == "warning" and words in one.sentence
    later = Now(after.after_ms(HEALTH_STEP_SHOWN_MS), after.wall_ms + HEALTH_STEP_SHOWN_MS)
    machine.step(HEALTHY, later)
    assert found(machine, "clock").verdict == "ok"


def test_a_machine_that_slept_has_not_set_its_clock() -> None:
    machine = Health(INTERVAL_MS)
    machine.begin(now())
    machine.step(HEALTHY, now(86_400_000))
    assert found(machine, "clock").verdict == "ok"


@pytest.mark.parametrize(
    ("left_ms", "verdict"),
    [(90 * 86_400_000, "ok"), (STATEMENT_LEFT_MS_GOOD - 1, "warning"), (0, "failed"), (-1, "failed")],
)
def test_the_life_of_the_own_key_statement_is_watched(left_ms: int, verdict: Verdict) -> None:
    machine = Health(INTERVAL_MS)
    own = statement(node_key(1), not_after_ms=WALL_MS + left_ms)
    machine.step(ProjectsHeld(projects=(), statement=own.data), now())
    machine.step(HEALTHY, now())
    assert found(machine, "statement").verdict == verdict


def test_a_node_that_has_left_on_purpose_is_not_blamed_for_reaching_nobody() -> None:
    machine = Health(INTERVAL_MS)
    seen_ways = msgspec.structs.replace(with_join("nobody is there"), poller=with_scheduler("silent").poller)
    for left in (True, False):
        machine.step(ProjectsHeld(projects=(), statement=statement(node_key(1)).data, left=left), now())
        machine.step(seen_ways, now())
        failed = {view.finding.name for view in machine.snapshot().views if view.finding.verdict == "failed"}
        assert failed == (set() if left else {"join lab:1456", "scheduler north"})


def test_of_an_actor_that_did_not_answer_nothing_is_judged() -> None:
    machine = looked(seen(membership=None, tasks_running=None, discovery_state=None, silent=("membership",)))
    assert {"discovery", "tasks"}.isdisjoint(view.finding.name for view in machine.snapshot().views)


# --- what it tells -----------------------------------------------------------------------------------------------


def changed(effects: Effects) -> HealthChanged:
    (one,) = news(effects, HealthChanged)
    assert isinstance(one, HealthChanged)
    return one


def test_each_finding_is_told_once_when_it_begins_and_once_when_it_ends() -> None:
    machine = Health(INTERVAL_MS)
    begun = changed(machine.step(with_disk(free_bytes=0), now()))
    assert [one.name for one in begun.begun] == [one.name for one in begun.unwell] == ["disk"]
    assert begun.unwell[0].leads_no_job
    assert news(machine.step(with_disk(free_bytes=0), now(60_000)), HealthChanged) == []
    ended = changed(machine.step(HEALTHY, now(120_000)))
    assert (ended.unwell, ended.begun) == ((), ())
    assert [(one.name, one.verdict) for one in ended.ended] == [("disk", "ok")]


def test_a_finding_that_gets_worse_or_better_is_told_again() -> None:
    machine = Health(INTERVAL_MS)
    machine.step(with_disk(free_bytes=DISK_FREE_BYTES_GOOD - 1), now())
    worse = changed(machine.step(with_disk(free_bytes=0), now()))
    assert [(one.name, one.verdict) for one in worse.begun] == [("disk", "failed")]
    better = changed(machine.step(with_disk(free_bytes=DISK_FREE_BYTES_GOOD - 1), now()))
    assert [(one.name, one.verdict) for one in better.begun] == [("disk", "warning")] and better.ended == ()
    assert not better.unwell[0].leads_no_job


def test_what_is_not_there_any_more_has_ended() -> None:
    machine = Health(INTERVAL_MS)
    machine.step(with_join("nobody is there"), now())
    ended = changed(machine.step(HEALTHY, now()))
    assert [one.name for one in ended.ended] == ["join lab:1456"]
    assert all(view.finding.name != "join lab:1456" for view in machine.snapshot().views)


def test_since_when_counts_from_the_last_change_of_the_verdict() -> None:
    machine = Health(INTERVAL_MS)
    for at_ms, free in ((0, 0), (5_000, 10), (9_000, DISK_FREE_BYTES_MIN)):
        machine.step(with_disk(free_bytes=free), now(at_ms))
        since = {view.finding.name: view.since_ms - WALL_MS for view in machine.snapshot().views}
        assert since["disk"] == (9_000 if at_ms == 9_000 else 0) and since["database"] == 0
    assert machine.snapshot().checked_ns == now(9_000).boot_ns


# --- the quota ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("used_mib", "reserved_mib", "waits"), [(97, 0, False), (97, 2, False), (10, 88, True)])
def test_a_quota_is_waited_for_where_the_end_of_running_jobs_makes_room_enough(
    used_mib: int, reserved_mib: int, waits: bool
) -> None:
    one = found(looked(with_results(used_mib, reserved_mib)), "quota")
    assert (one.verdict, one.code) == ("failed", Code.QUOTA_REACHED)
    assert one.next_step.startswith("wait until running jobs have ended") == waits
    assert "flotta-p2p job remove" in one.next_step
