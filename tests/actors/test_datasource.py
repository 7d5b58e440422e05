"""A datasource is inspected when it is new or has changed, once at a time, and tells what was seen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from actors.adapters.clock import SystemClock
from actors.base import ActorHandle
from actors.child_spec import ChildSpec
from actors.datasource import DatasourceActor
from actors.inbox import Inbox
from actors.messages import Inspected, InspectWanted, Snapshot, SnapshotWanted
from protocol.limits import COLUMNS_SHOWN_MAX
from protocol.machines.contract import TimerFired
from protocol.plan.tasks import Column, Fault, SourceFile
from tests.actors.tree import LIMIT_S, box, timers_running, tree


@dataclass
class World:
    handle: ActorHandle
    runner: Inbox

    def look(self) -> None:
        self.handle.tell(TimerFired(name="look"))

    def values(self) -> dict[str, Any]:
        asker, answers = box("asker")
        self.handle.tell(SnapshotWanted(ticket=1, reply_to=asker))
        snapshot = answers.take(LIMIT_S)
        assert isinstance(snapshot, Snapshot)
        values: dict[str, Any] = snapshot.values
        return values

    def inspected(self, **seen: Any) -> None:
        wanted = self.runner.take(LIMIT_S)
        assert isinstance(wanted, InspectWanted)
        wanted.reply_to.tell(Inspected(**seen))


@contextmanager
def running(path: Path) -> Iterator[World]:
    runner, inbox = box("runner")
    source = SourceFile(name="s", path=str(path), type="csv")
    with timers_running() as timers:
        spec = ChildSpec(
            "source s",
            lambda context: DatasourceActor.start(
                context, source=source, runner=runner, clock=SystemClock(), timers=timers
            ),
        )
        with tree([spec], timers=timers):
            yield World(spec.handle, inbox)


MISSING = Fault(code="source-missing", sentence="there is no file", next_step="put it there")
X = Column(name="x", type="number")


def test_a_file_that_appears_changes_and_disappears_is_inspected_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "t.csv"
    with running(path) as it:
        assert it.values()["state"] == "being read"
        it.inspected(fault=MISSING)
        assert (it.values()["state"], it.values()["problem"]) == ("unreadable", "there is no file")
        assert [record.getMessage() for record in caplog.records] == [
            f"source s: {MISSING.sentence}. Next: {MISSING.next_step}"
        ]
        path.write_text("x\n1\n")
        it.look()
        it.inspected(columns=(X,))
        values = it.values()
        assert (values["state"], values["columns"], values["problem"]) == ("ready", [["x", "number"]], "")
        os.utime(path, (1, 1))
        it.look()
        it.inspected(columns=(X, X))
        assert it.values()["columns_all"] == 2
        path.unlink()
        it.look()
        it.inspected(fault=MISSING)
        assert (it.values()["state"], it.values()["columns"]) == ("unreadable", [])


def test_a_file_that_stays_the_same_is_inspected_once_and_never_twice_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x\n1\n")
    with running(path) as it:
        wanted = it.runner.take(LIMIT_S)
        path.write_text("x\n1\n2\n")
        it.look()
        it.values()
        assert it.runner.empty()  # the first inspection is still under way
        assert isinstance(wanted, InspectWanted)
        wanted.reply_to.tell(Inspected(columns=(X,)))
        it.look()
        it.inspected(columns=(X,))
        it.look()
        it.values()
        assert it.runner.empty()


def test_it_looks_again_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.datasource.SOURCE_CHECK_MS", 10)
    path = tmp_path / "t.csv"
    with running(path) as it:
        it.inspected(fault=MISSING)
        path.write_text("x\n1\n")
        it.inspected(columns=(X,))


def test_a_report_of_a_wide_table_is_short_and_says_how_wide_it_is(tmp_path: Path) -> None:
    with running(tmp_path / "t.csv") as it:
        it.inspected(columns=(X,) * 4_096)
        values = it.values()
        assert (len(values["columns"]), values["columns_all"]) == (COLUMNS_SHOWN_MAX, 4_096)
