"""The datasource actor: one for each configured source. It knows whether it can be read, and which columns it has."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from actors.base import ActorHandle, Context, SupervisedActor
from actors.messages import Inspected, InspectWanted, Snapshot, SnapshotWanted
from actors.ports import Clock
from actors.timers import TimerService
from protocol.limits import COLUMNS_SHOWN_MAX, SOURCE_CHECK_MS
from protocol.machines.contract import TimerFired
from protocol.plan.tasks import Column, Fault, SourceFile

_log = logging.getLogger(__name__)


class DatasourceActor(SupervisedActor):
    """The file is read by a child process alone; here it is only looked at whether it changed."""

    def __init__(
        self,
        context: Context,
        *,
        source: SourceFile,
        runner: ActorHandle,
        clock: Clock,
        timers: TimerService,
    ) -> None:
        super().__init__(context)
        self._source = source
        self._runner = runner
        self._clock = clock
        self._timers = timers
        self._facts: tuple[int, int] | None = None  # of the file that was inspected last
        self._asked = False  # an inspection is under way
        self._columns: tuple[Column, ...] = ()
        self._fault: Fault | None = None
        self._inspected = False

    def begin(self) -> None:
        self._look()
        self.ready()

    def handle(self, message: Any) -> None:
        match message:
            case TimerFired():
                self._look()
            case Inspected(columns=columns, fault=fault):
                self._columns, self._fault, self._inspected = columns, fault, True
                self._asked = False
                if fault is not None:
                    _log.warning("source %s: %s. Next: %s", self._source.name, fault.sentence, fault.next_step)
            case SnapshotWanted(ticket=ticket, reply_to=reply_to):
                reply_to.tell(Snapshot(ticket=ticket, name=self.name, values=self._values()))

    def end(self) -> None:
        self._timers.clear_all(self.address)

    def _look(self) -> None:
        """Has the source inspected when it is new or has changed, and looks again after SOURCE_CHECK_MS."""
        facts = _facts(Path(self._source.path))
        if not self._asked and (facts != self._facts or not self._inspected):
            self._facts = facts
            self._asked = self._runner.tell(InspectWanted(source=self._source, reply_to=self.address))
        self._timers.set(self.address, "look", self._clock.now().after_ms(SOURCE_CHECK_MS), 0)

    def _values(self) -> dict[str, Any]:
        return {
            "name": self._source.name,
            "path": self._source.path,
            "state": "unreadable" if self._fault else "ready" if self._inspected else "being read",
            "columns": [[column.name, column.type] for column in self._columns[:COLUMNS_SHOWN_MAX]],
            "columns_all": len(self._columns),
            "code": self._fault.code if self._fault else "",
            "problem": self._fault.sentence if self._fault else "",
            "next_step": self._fault.next_step if self._fault else "",
        }


def _facts(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
