"""The task runner with real child processes: every task has one end, and no child serves two jobs or stays behind."""

from __future__ import annotations

import hashlib
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
from actors.messages import FetchResource, Inspected, InspectWanted, ResourceFetched, TaskWanted
from actors.ports import ChildGone, ChildStarted, SpawnerEvent
from actors.task_runner import TaskRunnerActor
from flotta_p2p.programs import CHILD_PROGRAMS
from protocol.columns import Column, schema_digest
from protocol.limits import CHILD_PIPELINE_MAX, CHUNK_BYTES, PIECES_AHEAD_MAX, TASK_SLOTS
from protocol.machines.contract import KillTask, NextPiece, StartTask, TimerFired
from protocol.machines.events import TaskDied, TaskFaulted, TaskPiece, TaskProduced
from protocol.plan.artifact import artifact_bytes, probe_artifact
from protocol.plan.operations import ProbeParameters
from protocol.plan.products import Carried, chunk_digest, chunks_of, manifest_of
from protocol.plan.tasks import Inspection, SourceFile, TaskRequest
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
    store: Inbox
    events: Journal  # of the spawner

    def start(
        self,
        key: bytes,
        job: bytes = b"job",
        *,
        operation: str = "summary.prepare",
        limit_ms: int = 20_000,
        artifact: bytes = ARTIFACT,
        inputs: tuple[Carried, ...] = (),
        run: int = 0,
    ) -> None:
        labels = tuple(f"n/s{number}" for number in range(len(inputs)))
        request = TaskRequest(operation=operation, artifact=artifact, source=None, inputs=inputs, labels=labels)
        start = StartTask(key=key, job_id=job, source="", request=request, limit_ms=limit_ms, run=run)
        assert self.handle.tell(TaskWanted(effect=start, reply_to=self.worker))

    def go_on(self, key: bytes) -> None:
        assert self.handle.tell(TaskWanted(effect=NextPiece(key=key), reply_to=self.worker))

    def fetched(self, data: dict[bytes, bytes]) -> None:
        """Answers one question to the store."""
        asked = self.store.take(LIMIT_S)
        assert isinstance(asked, FetchResource)
        asked.reply_to.tell(ResourceFetched(ticket=asked.ticket, data=data.get(asked.digest)))

    def kill(self, key: bytes) -> None:
        assert self.handle.tell(TaskWanted(effect=KillTask(key=key), reply_to=self.worker))

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
    store, asked = box("store")
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
                context, spawner=spawner, store=store, sources=sources or {}, clock=clock, timers=timers
            ),
        )
        handles.append(spec.handle)
        with tree([spec], timers=timers) as it:
            yield World(spec.handle, worker, ends, asked, events)
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


LARGE = bytes(range(250)) * 2_500  # 625,000 bytes: three chunks
PROBE = artifact_bytes(probe_artifact(b"p" * 16, ProbeParameters(bytes=625_000), gather=True))


def test_a_large_product_is_told_piece_by_piece_and_no_more_than_a_few_before_the_first_was_stored() -> None:
    size = 2 * PIECES_AHEAD_MAX * CHUNK_BYTES
    probe = artifact_bytes(probe_artifact(b"p" * 16, ProbeParameters(bytes=size), gather=True))
    with running() as it:
        it.start(b"k", operation="probe.work", artifact=probe)
        pieces = [it.end() for _ in range(PIECES_AHEAD_MAX)]
        assert it.ends.empty()
        while len(pieces) < 2 * PIECES_AHEAD_MAX:
            it.go_on(b"k")
            pieces.append(it.end())
        assert it.ends.empty()
        assert [(piece.key, piece.number) for piece in pieces] == [(b"k", number) for number in range(len(pieces))]
        for _ in range(PIECES_AHEAD_MAX):
            it.go_on(b"k")
        assert it.end() == TaskProduced(key=b"k", product=b"", pieces=len(pieces))
        assert b"".join(piece.data for piece in pieces) == hashlib.shake_128(probe).digest(size)


def test_a_child_gets_the_chunks_of_its_inputs_and_small_tasks_behind_it_wait_their_turn() -> None:
    chunks = {chunk_digest(chunk): chunk for chunk in chunks_of(LARGE)}
    with running() as it:
        it.start(b"k", operation="probe.gather", artifact=PROBE, inputs=(manifest_of(LARGE), b"small"))
        it.start(b"behind")
        for _ in range(3):
            it.fetched(chunks)
        made = b""
        for _ in range(3):
            piece = it.end()
            assert isinstance(piece, TaskPiece)
            made += piece.data
            it.go_on(b"k")
        assert it.end() == TaskProduced(key=b"k", product=b"", pieces=3) and made == LARGE + b"small"
        assert it.end().key == b"behind"


def test_a_chunk_that_the_store_does_not_have_ends_the_task() -> None:
    with running() as it:
        it.start(b"k", operation="probe.gather", artifact=PROBE, inputs=(manifest_of(LARGE),))
        it.fetched({})
        died = it.end()
        assert isinstance(died, TaskDied) and died.reason == "crashed"


def test_a_worker_that_was_started_again_hears_a_large_product_from_its_first_piece_on() -> None:
    with running() as it:
        it.start(b"k", operation="probe.work", artifact=PROBE, run=1)
        assert it.end().number == 0
        it.start(b"k", operation="probe.work", artifact=PROBE, run=2)
        while (piece := it.end()).run == 1:  # the first child had told more already
            pass
        assert (piece.run, piece.number) == (2, 0)


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
        wait_until(lambda: len(it.pids()) == 2)
        it.kill(b"k")
        it.start(b"next")
        assert isinstance(end := it.end(), TaskProduced) and end.key == b"next"
        wait_until(lambda: not is_alive(pid), 2)
        assert it.ends.empty()


def test_a_waiting_task_that_is_no_longer_wanted_never_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.task_work.CHILD_PIPELINE_MAX", 1)
    with running() as it:
        pid = it.freeze()
        it.start(b"first")
        it.start(b"k")
        it.kill(b"other")
        it.kill(b"k")
        it.start(b"last")
        os.kill(pid, signal.SIGCONT)
        assert [it.end().key, it.end().key] == [b"first", b"last"]
        assert it.gone() == []


def test_small_tasks_of_a_job_share_one_child_and_end_in_their_order() -> None:
    keys = [b"%d" % number for number in range(3 * CHILD_PIPELINE_MAX)]
    with running() as it:
        for key in keys:
            it.start(key)
        assert [it.end().key for _ in keys] == keys
        assert len(it.pids(2)) == 2 and it.gone() == []  # the child of the job, and the spare one


def test_tasks_that_read_a_table_run_side_by_side() -> None:
    with running() as it:
        for number in range(TASK_SLOTS):
            it.freeze()
            it.start(b"%d" % number, operation="summary.measure")
            it.pids(min(number + 2, TASK_SLOTS))
        assert len(it.pids()) == TASK_SLOTS and it.ends.empty()


def test_of_a_child_that_dies_the_task_that_ran_dies_and_those_behind_it_run_elsewhere() -> None:
    with running() as it:
        pid = it.freeze()
        for key in (b"first", b"second", b"third"):
            it.start(key)
        wait_until(lambda: len(it.pids()) == 2)
        os.kill(pid, signal.SIGKILL)
        assert it.end() == TaskDied(key=b"first", reason="crashed", detail="signal 9")
        ends = [it.end(), it.end()]
        assert [(type(one), one.key) for one in ends] == [(TaskProduced, b"second"), (TaskProduced, b"third")]


def test_a_task_that_is_taken_out_of_a_child_takes_the_child_and_its_neighbours_run_elsewhere() -> None:
    with running() as it:
        pid = it.freeze()
        for key in (b"first", b"unwanted", b"third"):
            it.start(key)
        wait_until(lambda: len(it.pids()) == 2)
        it.kill(b"unwanted")
        assert [it.end().key, it.end().key] == [b"first", b"third"]
        assert not is_alive(pid) and it.ends.empty()


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


def test_the_spare_child_is_warm_while_tables_are_read_and_small_at_rest() -> None:
    def warm(pid: int) -> bool:
        return b"--warm" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")

    with running() as it:
        assert not warm(it.pids()[0])
        it.start(b"small", b"first")
        assert isinstance(it.end(), TaskProduced)
        assert not warm(it.pids(2)[1])
        it.start(b"table", b"second", operation="summary.measure")
        assert isinstance(it.end(), TaskFaulted)  # it has no source, but it would read one
        spare = it.pids(3)[2]
        assert warm(spare)
        it.handle.tell(TimerFired(name="rest"))  # as WARM_MS later
        assert not warm(it.pids(4)[3])
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
        columns = (Column(name="x", type="number"), Column(name="y", type="text"))
        assert it.end() == Inspected(seen=Inspection(columns=columns, rows=2, schema=schema_digest("xy")))
        it.handle.tell(InspectWanted(source=missing, reply_to=it.worker))
        refused = it.end()
        assert isinstance(refused, Inspected) and refused.fault is not None
        assert refused.fault.code == "source-missing"
        it.handle.tell(InspectWanted(source=good, reply_to=it.worker))  # while the former child of it may be leaving
        assert isinstance(again := it.end(), Inspected) and again.fault is None
