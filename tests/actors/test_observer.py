"""The observer looks at the node when it is asked to, and neither an actor nor a disk that is silent holds it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from actors import observer
from actors.adapters.clock import SystemClock
from actors.adapters.machine import volume_of
from actors.base import ActorHandle
from actors.child_spec import ChildSpec
from actors.inbox import Inbox
from actors.messages import Load, Loaded, Snapshot, SnapshotWanted
from actors.observer import ObserverActor
from protocol.limits import HEALTH_ANSWER_MS
from protocol.machines.delivery import CourierSnapshot
from protocol.machines.events import HealthWanted
from protocol.machines.health import Observed
from protocol.machines.scheduler import SchedulerSnapshot
from protocol.machines.stored_results import ResultsView
from tests.actors.tree import LIMIT_S, Journal, box, timers_running, tree

SOURCE_VALUES = {
    "name": "heart",
    "path": "/tables/heart.csv",
    "state": "ready",
    "rows": 3,
    "columns_all": 2,
    "problem": "",
    "next_step": "",
    "code": "",
}


@dataclass
class World:
    handle: ActorHandle
    inboxes: dict[str, Inbox]
    published: Journal
    folder: Path

    def look(self, *, values: dict[str, Any]) -> Observed:
        """Asks for a look, at which those in `values` answer; what is told of it."""
        before = len(self.published.entries())
        self.handle.tell(HealthWanted())
        for name, inbox in self.inboxes.items():
            wanted = inbox.take(LIMIT_S)
            if name not in values:
                continue
            if isinstance(wanted, Load):
                wanted.reply_to.tell(Loaded(ticket=wanted.ticket, rows={}))
            else:
                assert isinstance(wanted, SnapshotWanted)
                wanted.reply_to.tell(Snapshot(ticket=wanted.ticket, name=name, values=values[name]))
        seen = self.published.wait(lambda entries: len(entries) > before)[before]
        assert isinstance(seen, Observed)
        return seen


@contextmanager
def running(folder: Path) -> Iterator[World]:
    boxes = {name: box(name) for name in ("gate", "scheduler", "source heart", "store")}
    folder.mkdir()
    (folder / "data.mdb").write_bytes(bytes(8192))
    published = Journal()
    with timers_running() as timers:
        spec = ChildSpec(
            "observer",
            lambda context: ObserverActor.start(
                context,
                siblings={name: handle for name, (handle, _) in boxes.items()},
                reporters=("gate", "scheduler", "source heart"),
                folders=(folder,),
                results=folder / "data.mdb",
                clock=SystemClock(),
                timers=timers,
                publish=published.add,
            ),
        )
        with tree([spec], timers=timers):
            yield World(spec.handle, {name: inbox for name, (_, inbox) in boxes.items()}, published, folder)


RESULTS = ResultsView(jobs=1, used_bytes=5, reserved_bytes=7, quota_bytes=99, keep_ms=None, clock_in_doubt=False)
SCHEDULER = CourierSnapshot(
    waiting=0, remembered=0, expired=0, inner=SchedulerSnapshot(live=(), ended=1, holders={}, results=RESULTS)
)
ALL = {"gate": None, "scheduler": SCHEDULER, "source heart": SOURCE_VALUES, "store": None}


def test_what_actors_store_and_disk_answer_is_told_at_once(tmp_path: Path) -> None:
    with running(tmp_path / "work") as it:
        seen = it.look(values=ALL)
    assert seen.silent == () and seen.store_ms is not None and seen.store_ms < HEALTH_ANSWER_MS
    (disk,), (source,) = seen.disks, seen.sources
    assert disk.disk is not None and disk.disk.free_bytes > 0 and disk.path == str(tmp_path / "work")
    assert (source.name, source.state, source.columns_all) == ("heart", "ready", 2)
    assert seen.results_bytes >= 8192 and seen.results == RESULTS


def test_an_actor_and_a_store_that_do_not_answer_are_named_when_the_limit_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "HEALTH_ANSWER_MS", 100)
    with running(tmp_path / "work") as it:
        seen = it.look(values={"source heart": SOURCE_VALUES})
        assert seen.silent == ("gate", "scheduler") and seen.results is None
        assert seen.store_ms is None and len(seen.sources) == 1
        assert it.look(values=ALL).silent == (), "the next look begins anew"


def test_a_disk_that_hangs_is_told_and_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hanging(folder: Path) -> Any:
        released.wait(LIMIT_S)
        return volume_of(folder)

    with running(tmp_path / "work") as it:
        with monkeypatch.context() as patched:
            patched.setattr(observer, "volume_of", hanging)
            patched.setattr(observer, "HEALTH_ANSWER_MS", 100)
            for _ in range(2):
                (disk,) = it.look(values=ALL).disks
                assert disk.disk is None and "has not answered within" in disk.reason
            assert sum(thread.name == "disks of the observer" for thread in threading.enumerate()) == 1
            released.set()
        it.look(values=ALL)
        (disk,) = it.look(values=ALL).disks
        assert disk.disk is not None


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    with running(tmp_path / "work") as it:
        shutil.rmtree(it.folder)
        seen = it.look(values=ALL)
    (disk,) = seen.disks
    assert disk.disk is None and "No such file" in disk.reason and seen.results_bytes == 0
