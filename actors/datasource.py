"""The datasource actor: one for each configured source. It knows whether it can be read, and what others see of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from actors.base import ActorHandle, Context, SupervisedActor
from actors.messages import Inspected, InspectWanted, Snapshot, SnapshotWanted, SourceOpened
from actors.ports import Clock
from actors.timers import TimerService
from protocol.errors import Code
from protocol.limits import COLUMNS_SHOWN_MAX, SOURCE_CHECK_MS
from protocol.machines.contract import TimerFired
from protocol.machines.events import SourceInspected
from protocol.plan.tasks import Fault, Inspection, SourceFile

_log = logging.getLogger(__name__)

State = Literal["being read", "ready", "gone", "changed", "broken"]
# What may pass while the file stays as it is: it is read again at every look by the clock.
_PASSING: Final = frozenset({Code.TASK_CRASHED, Code.SOURCE_UNREADABLE, Code.SOURCE_CHANGED})
_STATES: Final[dict[str, State]] = {Code.SOURCE_MISSING: "gone", Code.SOURCE_SCHEMA_CHANGED: "changed"}


class DatasourceActor(SupervisedActor):
    """The file is read by a child process alone; here it is only looked at whether it changed.

    The columns with which a source is first read are those that it is opened with: as long as the file has others,
    neither an inspection nor a task reads it.
    """

    def __init__(
        self,
        context: Context,
        *,
        source: SourceFile,
        runner: ActorHandle,
        clock: Clock,
        timers: TimerService,
        publish: Callable[[Any], None],
    ) -> None:
        super().__init__(context)
        self._source = source
        self._runner = runner
        self._clock = clock
        self._timers = timers
        self._publish = publish
        self._facts: tuple[int, ...] | None = None  # of the file that was inspected last
        self._asked = False  # an inspection is under way
        self._seen: Inspection | None = None
        self._fault: Fault | None = None

    def begin(self) -> None:
        self._look()
        self.ready()

    def handle(self, message: Any) -> None:
        match message:
            case TimerFired():
                self._look(again=self._fault is not None and self._fault.code in _PASSING)
            case Inspected():
                self._inspected(message)
            case SnapshotWanted(ticket=ticket, reply_to=reply_to):
                self._look()  # so that who asks hears of a file that is gone since the last look
                reply_to.tell(Snapshot(ticket=ticket, name=self.name, values=self._values()))

    def end(self) -> None:
        self._timers.clear_all(self.address)

    def _look(self, *, again: bool = False) -> None:
        """Has the source inspected when it is new or has changed, or `again`; looks once more after SOURCE_CHECK_MS."""
        facts = _facts(Path(self._source.path))
        known = self._seen is not None or self._fault is not None
        if not self._asked and (facts != self._facts or again or not known):
            self._facts = facts
            self._asked = self._runner.tell(InspectWanted(source=self._source, reply_to=self.address))
        self._timers.set(self.address, "look", self._clock.now().after_ms(SOURCE_CHECK_MS), 0)

    def _inspected(self, news: Inspected) -> None:
        self._asked = False
        name, former = self._source.name, self._fault
        self._seen, self._fault = news.seen, news.fault
        if news.fault is not None and news.fault != former:
            _log.warning("source %s: %s. Next: %s", name, news.fault.sentence, news.fault.next_step)
        if news.seen is not None and former is not None:
            _log.info("source %s: it can be read again", name)
        if news.seen is not None and not self._source.schema:
            self._source = msgspec.structs.replace(self._source, schema=news.seen.schema)
            self._runner.tell(SourceOpened(source=self._source))
        self._publish(SourceInspected(source=name, seen=news.seen, fault=news.fault))

    def _state(self) -> State:
        if self._asked:
            return "being read"
        return _STATES.get(self._fault.code, "broken") if self._fault is not None else "ready"

    def _values(self) -> dict[str, Any]:
        columns = self._seen.columns if self._seen is not None else ()
        return {
            "name": self._source.name,
            "path": self._source.path,
            "state": self._state(),
            "rows": self._seen.rows if self._seen is not None else None,
            "columns": [[column.name, column.type] for column in columns[:COLUMNS_SHOWN_MAX]],
            "columns_all": len(columns),
            "code": self._fault.code if self._fault else "",
            "problem": self._fault.sentence if self._fault else "",
            "next_step": self._fault.next_step if self._fault else "",
        }


def _facts(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
