"""The observer actor: looks at this node for the machine `Health`, without waiting for anybody.

Actors are asked for their snapshots and the store for an answer; disks are looked at by a thread of their own, since
one that hangs would hold it for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from actors.adapters.machine import used_bytes, volume_of
from actors.base import ActorHandle, Context, SupervisedActor
from actors.messages import Load, Loaded, Snapshot, SnapshotWanted
from actors.ports import Clock
from actors.timers import TimerService
from protocol.findings import SOURCE, Disk
from protocol.limits import HEALTH_ANSWER_MS
from protocol.machines.contract import TimerFired
from protocol.machines.events import HealthWanted
from protocol.machines.health import DiskSeen, Observed, SourceSeen
from protocol.record import Record

_DISKS: Final = "disks"  # who else answers, beside the actors
_STORE: Final = "store"
_LOOK_END_S: Final = 1.0  # the thread that looks takes milliseconds, or for ever


class DisksLooked(Record, frozen=True):
    """What the thread of one look saw."""

    disks: tuple[DiskSeen, ...]
    results_bytes: int


class ObserverActor(SupervisedActor):
    """`reporters` answer SnapshotWanted. `folders`: one on each disk that the node writes to; `results`: the file of
    results.
    """

    def __init__(
        self,
        context: Context,
        *,
        siblings: Mapping[str, ActorHandle],
        reporters: tuple[str, ...],
        folders: tuple[Path, ...],
        results: Path,
        clock: Clock,
        timers: TimerService,
        publish: Callable[[Any], None],
    ) -> None:
        super().__init__(context)
        self._siblings = siblings
        self._reporters = reporters
        self._folders = folders
        self._results = results
        self._clock = clock
        self._timers = timers
        self._publish = publish
        self._ticket = context.generation << 32  # of the look that is under way; none ever returns
        self._missing: set[str] = set()  # who has not answered it
        self._seen: dict[str, Any] = {}
        self._began_ns = 0
        self._store_ms: int | None = None
        self._thread: threading.Thread | None = None

    def handle(self, message: Any) -> None:
        match message:
            case HealthWanted() if not self._missing:
                self._look()
            case Snapshot(ticket=ticket, name=name, values=values) if self._awaits(ticket, name):
                self._answered(name, values)
            case Loaded(ticket=ticket) if self._awaits(ticket, _STORE):
                self._store_ms = (self._clock.now().boot_ns - self._began_ns) // 1_000_000
                self._answered(_STORE, None)
            case DisksLooked() if self._awaits(self._ticket, _DISKS):
                self._answered(_DISKS, message)
            case TimerFired() if self._missing:
                self._tell()

    def end(self) -> None:
        self._timers.clear_all(self.address)
        if self._thread is not None:
            self._thread.join(_LOOK_END_S)

    def _awaits(self, ticket: int, name: str) -> bool:
        """Others come late, after their look has ended without them."""
        return ticket == self._ticket and name in self._missing

    def _look(self) -> None:
        self._ticket += 1
        self._seen, self._store_ms = {}, None
        self._missing = {*self._reporters, _STORE, _DISKS}
        now = self._clock.now()
        self._began_ns = now.boot_ns
        self._timers.set(self.address, "late", now.after_ms(HEALTH_ANSWER_MS), 0)
        for name in self._reporters:
            self._siblings[name].tell(SnapshotWanted(ticket=self._ticket, reply_to=self.address))
        self._siblings[_STORE].tell(Load(ticket=self._ticket, kinds=(), reply_to=self.address))
        if self._thread is None or not self._thread.is_alive():  # else a disk still holds the former one
            self._thread = threading.Thread(target=self._look_at_disks, name="disks of the observer", daemon=True)
            self._thread.start()

    def _look_at_disks(self) -> None:
        disks = tuple(_disk(folder) for folder in self._folders)
        self.address.tell(DisksLooked(disks=disks, results_bytes=used_bytes(self._results)))

    def _answered(self, name: str, values: Any) -> None:
        self._seen[name] = values
        self._missing.discard(name)
        if not self._missing:
            self._tell()

    def _tell(self) -> None:
        self._timers.clear(self.address, "late")
        silent = tuple(sorted(self._missing - {_STORE, _DISKS}))
        self._missing = set()
        looked: DisksLooked | None = self._seen.get(_DISKS)
        late = f"has not answered within {HEALTH_ANSWER_MS // 1000} s"
        worker, membership = self._seen.get("worker"), self._seen.get("membership")
        scheduler = self._seen.get("scheduler")
        discovery: dict[str, Any] = self._seen.get("discovery") or {}
        observed = Observed(
            disks=looked.disks if looked else tuple(DiskSeen(path=str(one), reason=late) for one in self._folders),
            results_bytes=looked.results_bytes if looked else 0,
            results=scheduler.inner.results if scheduler is not None else None,
            store_ms=self._store_ms,
            sources=tuple(_source(values) for name, values in self._seen.items() if name.startswith(SOURCE)),
            membership=membership.inner if membership is not None else None,
            gate=self._seen.get("gate"),
            poller=self._seen.get("poller"),
            tasks_running=worker.inner.running if worker is not None else None,
            discovery_state=discovery.get("state"),
            discovery_problems=tuple(discovery.get("problems", ())),
            silent=silent,
        )
        self._publish(observed)


def _disk(folder: Path) -> DiskSeen:
    try:
        seen: Disk = volume_of(folder)
    except OSError as error:
        return DiskSeen(path=str(folder), reason=f"cannot be looked at: {error.strerror}")
    return DiskSeen(path=str(folder), disk=seen)


def _source(values: dict[str, Any]) -> SourceSeen:
    return SourceSeen(**{name: values[name] for name in SourceSeen.__struct_fields__})
