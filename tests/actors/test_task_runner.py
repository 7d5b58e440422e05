"""The task runner with real child processes: every task has one end, and no child serves two jobs or stays behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from actors.adapters.clock import SystemClock
from actors.adapters.processes import DirectSpawner
from actors.base import ActorHandle
from actors.child_spec import ChildSpec
from actors.inbox import Inbox
from actors.messages import Inspected, InspectWanted, TaskWanted
from actors.ports import ChildGone, ChildStarted, SpawnerEvent
from actors.task_runner import TaskRunnerActor
from flotta_p2p.programs import CHILD_PROGRAMS
from protocol.limits import TASK_SLOTS
from protocol.machines.contract import KillTask, StartTask, TimerFired
from protocol.machines.events import TaskDied, TaskFaulted, TaskProduced
from protocol.plan.artifact import artifact_bytes
from protocol.plan.tasks import Column, SourceFile, TaskRequest
from tests.actors.tree import LIMIT_S, Journal, box, timers_running, tree
from tests.flotta_p2p.federated.helpers import artifact_of
from tests.system.nodes import descendants
from tests.system.processes import is_alive, wait_until

pytestmark = pytest.mark.system

ARTIFACT = artifact_bytes(artifact_of("x", "count,mean"))


@dataclass
class World:
    handle: ActorHandle
    worker: ActorHandle
    ends: Inbox
    events: Journal  # of the spawner

    def start(
        self, key: bytes, job: bytes = b"job", *, operation: str = "summary.prepare", limit_ms: int = 20_000
    ) -> None:
        request = TaskRequest(operation=operation, artifact=ARTIFACT, source=None, inputs=(), labels=())
        start = StartTask(key=key, job_id=job, source="", request=request, limit_ms=limit_ms)
        assert self.handle.tell(TaskWanted(effect=start, reply_to=self.worker))

    def end(self) -> Any:
        return self.ends.take(LIMIT_S)

    def pids(self, number: int = 1) -> list[int]:
        """The process ids of the children so far, at least `number`."""
        events = self.events.wait(lambda told: sum(isinstance(one, ChildStarted) for one in told) >= number)
        return [one.pid for one in events if isinstance(one, ChildStarted)]

    def freeze(self) -> int:
        """Stop the newest child, the spare one, so that its task lasts; its pid."""
        pid = self.pids()[-1]
        os.kill(pid, signal.SIGSTOP)
        return pid

    def gone(self) -> list[ChildGone]:
        return [one for one in self.events.entries() if isinstance(one, ChildGone)]


@contextmanager
def running(
    roles: Mapping[str, Sequence[str]] = CHILD_PROGRAMS, sources: Mapping[str, SourceFile] | None = None
) -> Iterator[World]:
    worker, ends = box("worker")
    events, clock = Journal(), SystemClock()
    handles: list[ActorHandle] = []

    def on_event(event: SpawnerEvent) -> None:
        events.add(event)
        handles[0].tell(event)

    before = set(descendants(os.getpid()))
    spawner = DirectSpawner(roles, on_event)
    with timers_running() as timers:
        spec = ChildSpec(
            "runner",
            lambda context: TaskRunnerActor.start(
                context, spawner=spawner, sources=sources or {}, clock=clock, timers=timers
            ),
        )
        handles.append(spec.handle)
        with tree([spec], timers=timers) as it:
            yield World(spec.handle, worker, ends, events)
            assert it.fatal.entries() == []
        wait_until(lambda: before.issuperset(descendants(os.getpid())), 2)  # killed by the actor, not by the spawner
    spawner.stop()


def test_a_task_has_its_product_and_a_wrong_one_its_fault() -> None:
    with running() as it:
        it.start(b"good")
        good = it.end()
        assert isinstance(good, TaskProduced) and good.key == b"good" and good.product
        it.start(b"bad", operation="no.such")
        bad = it.end()
        assert isinstance(bad, TaskFaulted) and (bad.key, bad.code) == (b"bad", "operation-unknown")
        assert len(it.pids(2)) == 2  # both tasks of the job in one child, and the spare one


def test_a_killed_child_is_the_death_of_its_task() -> None:
    with running() as it:
        pid = it.freeze()
        it.start(b"k")
        wait_until(lambda: len(it.pids()) == 2)  # it was given away: there is a new spare
        os.kill(pid, signal.SIGKILL)
        assert it.end() == TaskDied(key=b"k", reason="crashed", detail="signal 9")


def test_a_task_out_of_time_is_killed_and_says_so() -> None:
    with running() as it:
        pid = it.freeze()
        it.start(b"k", limit_ms=50)
        died = it.end()
        assert isinstance(died, TaskDied) and died.reason == "out-of-time"
        assert not is_alive(pid)


def test_a_task_that_is_no_longer_wanted_ends_without_a_word_and_its_job_gets_another_child() -> None:
    with running() as it:
        pid = it.freeze()
        it.start(b"k")
        it.handle.tell(TaskWanted(effect=KillTask(key=b"k"), reply_to=it.worker))
        it.start(b"next")
        assert isinstance(end := it.end(), TaskProduced) and end.key == b"next"
        wait_until(lambda: not is_alive(pid), 2)
        assert it.ends.empty()


def test_a_waiting_task_that_is_no_longer_wanted_never_starts() -> None:
    with running() as it:
        it.freeze()
        it.start(b"k")
        it.handle.tell(TaskWanted(effect=KillTask(key=b"other"), reply_to=it.worker))
        it.handle.tell(TaskWanted(effect=KillTask(key=b"k"), reply_to=it.worker))
        wait_until(lambda: it.gone() != [])
        assert it.ends.empty()


def test_a_task_that_is_wanted_twice_runs_once() -> None:
    with running() as it:
        pid = it.freeze()
        it.start(b"k")
        it.start(b"k")
        os.kill(pid, signal.SIGCONT)
        assert isinstance(it.end(), TaskProduced)
        it.start(b"last")
        assert isinstance(end := it.end(), TaskProduced) and end.key == b"last"


def test_children_are_never_shared_and_more_jobs_than_slots_make_room_for_each_other() -> None:
    jobs = [b"job-%d" % number for number in range(2 * TASK_SLOTS)]
    with running() as it:
        for job in jobs:
            it.start(job, job)
        done = {it.end().key for _ in jobs}
        assert done == set(jobs)
        assert len(it.pids()) >= len(jobs)
        alive = [pid for pid in it.pids() if is_alive(pid)]
        assert len(alive) <= TASK_SLOTS


def test_a_child_whose_job_sends_nothing_more_goes_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.task_runner.CHILD_SPARE_MS", 50)
    with running() as it:
        it.start(b"k")
        assert isinstance(it.end(), TaskProduced)
        wait_until(lambda: len(it.gone()) == 1)
        spare = it.pids(2)[-1]
        assert is_alive(spare)


def test_the_spare_child_is_warm_while_the_node_is_in_use_and_small_at_rest() -> None:
    def warm(pid: int) -> bool:
        return b"--warm" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")

    with running() as it:
        assert not warm(it.pids()[0])
        it.start(b"k")
        assert isinstance(it.end(), TaskProduced)
        spare = it.pids(2)[1]
        assert warm(spare)
        it.handle.tell(TimerFired(name="rest"))  # as WARM_MS later
        assert not warm(it.pids(3)[2])
        wait_until(lambda: not is_alive(spare), 2)


@pytest.mark.parametrize(
    "argv", [("/nonexistent/program",), (sys.executable, "-c", "raise SystemExit(3)")], ids=["missing", "exits-at-once"]
)
def test_children_that_cannot_start_are_tried_with_a_pause_and_tasks_do_not_wait_for_ever(argv: Sequence[str]) -> None:
    with running(dict.fromkeys(CHILD_PROGRAMS, argv)) as it:
        it.start(b"k")
        died = it.end()
        assert isinstance(died, TaskDied) and died.reason == "crashed" and died.detail
        assert len(it.gone()) <= 3
        it.start(b"again")
        assert isinstance(it.end(), TaskDied)


def test_a_source_is_inspected_in_a_child_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n1,a\n2,b\n")
    good = SourceFile(name="good", path=str(tmp_path / "t.csv"), type="csv")
    missing = SourceFile(name="missing", path=str(tmp_path / "none.csv"), type="csv")
    with running() as it:
        it.handle.tell(InspectWanted(source=good, reply_to=it.worker))
        assert it.end() == Inspected(columns=(Column(name="x", type="number"), Column(name="y", type="text")))
        it.handle.tell(InspectWanted(source=missing, reply_to=it.worker))
        refused = it.end()
        assert isinstance(refused, Inspected) and refused.fault is not None
        assert refused.fault.code == "source-missing"
        it.handle.tell(InspectWanted(source=good, reply_to=it.worker))  # while the former child of it may be leaving
        assert isinstance(again := it.end(), Inspected) and again.fault is None
