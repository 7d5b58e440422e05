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
from actors.messages import Inspected, InspectWanted, Snapshot, SnapshotWanted, SourceOpened
from protocol.columns import Column, schema_digest
from protocol.limits import COLUMNS_SHOWN_MAX
from protocol.machines.contract import TimerFired
from protocol.machines.events import SourceInspected
from protocol.plan.tasks import Fault, Inspection, SourceFile
from tests.actors.tree import LIMIT_S, box, timers_running, tree

MISSING = Fault(code="source-missing", sentence="there is no file", next_step="put it there")
CHANGED = Fault(code="source-schema-changed", sentence="it has other columns", next_step="put them back")
X = Column(name="x", type="number")
SCHEMA = schema_digest(["x"])


def seen(*columns: Column, rows: int = 1) -> Inspection:
    return Inspection(columns=columns, rows=rows, schema=SCHEMA)


@dataclass
class World:
    handle: ActorHandle
    runner: Inbox
    published: list[SourceInspected]

    def look(self) -> None:
        self.handle.tell(TimerFired(name="look"))

    def values(self) -> dict[str, Any]:
        asker, answers = box("asker")
        self.handle.tell(SnapshotWanted(ticket=1, reply_to=asker))
        snapshot = answers.take(LIMIT_S)
        assert isinstance(snapshot, Snapshot)
        values: dict[str, Any] = snapshot.values
        return values

    def inspected(self, seen: Inspection | None = None, fault: Fault | None = None) -> SourceFile:
        """Answers the inspection that is asked for; the source as it was asked for."""
        wanted = self.runner.take(LIMIT_S)
        assert isinstance(wanted, InspectWanted)
        wanted.reply_to.tell(Inspected(seen=seen, fault=fault))
        return wanted.source


@contextmanager
def running(path: Path) -> Iterator[World]:
    runner, inbox = box("runner")
    source = SourceFile(name="s", path=str(path), type="csv")
    published: list[SourceInspected] = []
    with timers_running() as timers:
        spec = ChildSpec(
            "source s",
            lambda context: DatasourceActor.start(
                context, source=source, runner=runner, clock=SystemClock(), timers=timers, publish=published.append
            ),
        )
        with tree([spec], timers=timers):
            yield World(spec.handle, inbox, published)


def opened(it: World) -> SourceFile:
    """What the runner is told once, after the first inspection that succeeds."""
    told = it.runner.take(LIMIT_S)
    assert isinstance(told, SourceOpened)
    return told.source


def test_a_file_that_appears_changes_and_disappears_is_inspected_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "t.csv"
    with running(path) as it:
        assert it.values()["state"] == "being read"
        it.inspected(fault=MISSING)
        values = it.values()
        assert (values["state"], values["problem"], values["rows"]) == ("gone", "there is no file", None)
        assert [record.getMessage() for record in caplog.records] == [
            f"source s: {MISSING.sentence}. Next: {MISSING.next_step}"
        ]
        path.write_text("x\n1\n")
        it.look()
        it.inspected(seen(X))
        opened(it)
        values = it.values()
        assert (values["state"], values["columns"], values["problem"]) == ("ready", [["x", "number"]], "")
        assert values["rows"] == 1
        os.utime(path, (1, 1))
        it.look()
        it.inspected(seen(X, X))
        assert it.values()["columns_all"] == 2
        path.unlink()
        it.look()
        it.inspected(fault=MISSING)
        assert (it.values()["state"], it.values()["columns"]) == ("gone", [])
        assert [(one.seen is None, one.fault) for one in it.published] == [
            (True, MISSING),
            (False, None),
            (False, None),
            (True, MISSING),
        ]


def test_the_columns_of_the_first_reading_are_those_that_every_later_one_must_have(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x\n1\n")
    with running(path) as it:
        assert it.inspected(seen(X)).schema == b""
        assert opened(it).schema == SCHEMA
        path.write_text("y\n1\n")
        it.look()
        assert it.inspected(fault=CHANGED).schema == SCHEMA
        assert it.values()["state"] == "changed"
        path.write_text("x\n2\n")
        it.look()
        assert it.inspected(seen(X)).schema == SCHEMA
        assert it.values()["state"] == "ready"
        assert it.runner.empty()  # the runner hears of the columns once


def test_a_problem_is_logged_once_until_it_is_another_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t.csv"
    with running(path) as it:
        for number in range(3):
            path.write_text("x\n" * number)
            it.look()
            it.inspected(fault=CHANGED)
            assert it.values()["problem"] == CHANGED.sentence
        assert len(caplog.records) == 1


def test_who_asks_how_a_source_is_hears_of_a_file_that_has_just_gone(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x\n1\n")
    with running(path) as it:
        it.inspected(seen(X))
        opened(it)
        path.unlink()
        assert it.values()["state"] == "being read"
        it.inspected(fault=MISSING)
        assert it.values()["state"] == "gone"


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
        wanted.reply_to.tell(Inspected(seen=seen(X)))
        opened(it)
        it.look()
        it.inspected(seen(X))
        it.look()
        it.values()
        assert it.runner.empty()


def test_a_problem_that_may_pass_by_itself_is_looked_at_again_by_the_clock_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x\n1\n")
    crashed = Fault(code="task-crashed", sentence="the process that read it ended", next_step="")
    with running(path) as it:
        it.inspected(fault=crashed)
        assert it.values()["state"] == "broken"
        assert it.runner.empty()
        it.look()
        it.inspected(seen(X))
        opened(it)
        assert it.values()["state"] == "ready"


def test_it_looks_again_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.datasource.SOURCE_CHECK_MS", 10)
    path = tmp_path / "t.csv"
    with running(path) as it:
        it.inspected(fault=MISSING)
        path.write_text("x\n1\n")
        it.inspected(seen(X))


def test_a_report_of_a_wide_table_is_short_and_says_how_wide_it_is(tmp_path: Path) -> None:
    with running(tmp_path / "t.csv") as it:
        it.inspected(seen(*(X,) * 4_096))
        opened(it)
        values = it.values()
        assert (len(values["columns"]), values["columns_all"]) == (COLUMNS_SHOWN_MAX, 4_096)
