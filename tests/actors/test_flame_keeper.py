"""The keeper's shell: what it hears of its executors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actors.adapters.clock import SystemClock
from actors.base import ActorHandle, Context
from actors.flame_executor import RunOver
from actors.flame_keeper import FlameKeeperActor
from actors.inbox import Inbox
from actors.messages import Commit, Load, Loaded, Snapshot, SnapshotWanted
from actors.timers import TimerService
from protocol import kinds
from protocol.ids import format_job_id
from protocol.machines.keeper import RunRow
from protocol.wire.codec import encode_record

RUN = format_job_id(b"r" * 32)
LIMIT_S = 5.0


class Keeper:
    """The actor's object alone, with one run that is stored, and its store."""

    def __init__(self, folder: Path) -> None:
        self.store, clock = Inbox(), SystemClock()
        store = ActorHandle("store")
        store.attach(self.store)
        self.actor = FlameKeeperActor(
            Context(ActorHandle("keeper"), 1, ActorHandle("parent")),
            workdir=folder,
            store=store,
            gate=ActorHandle("gate"),
            publish=lambda event: None,
            clock=clock,
            timers=TimerService(clock),
        )
        self.actor.begin()
        row = RunRow(folder=str(folder / "j1"), alias="j1", python="python")
        rows = {kinds.FLAME_RUN: [(RUN.encode(), encode_record(row))]}
        self.actor.handle(Loaded(ticket=self.stored(Load).ticket, rows=rows))

    def stored(self, kind: type[Any]) -> Any:
        wanted = self.store.take(LIMIT_S)
        assert isinstance(wanted, kind)
        return wanted

    def runs(self) -> list[str]:
        answers, asker = Inbox(), ActorHandle("asker")
        asker.attach(answers)
        self.actor.handle(SnapshotWanted(ticket=1, reply_to=asker))
        snapshot = answers.take(LIMIT_S)
        assert isinstance(snapshot, Snapshot)
        return [one.run for one in snapshot.values.runs]


def test_a_run_that_was_stopped_only_for_now_keeps_its_row(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    keeper.actor.handle(RunOver(run=RUN, result=None))
    assert keeper.runs() == [RUN] and keeper.store.take(0.0) is None
    keeper.actor.end()


def test_a_run_that_has_its_result_is_forgotten_though_its_archive_could_not_be_written(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    keeper.actor.handle(RunOver(run=RUN, result="there", fault="the disk is full"))
    assert keeper.runs() == []
    assert [write.kind for write in keeper.stored(Commit).writes] == [kinds.FLAME_RUN]
    keeper.actor.end()
