"""The runner: task slots, each a child process that serves one job and goes home.

A spare child waits, already started, so that a task need not wait for an interpreter. Tasks that take a moment lie in
their job's child one behind the other, so that it is never idle between two; any other task has a child to itself.
While the node is in use the spare has its libraries loaded too, which makes a job five times quicker; at rest it has
not, which saves 28 MB. No data crosses jobs: a child is never given to a second one.

Large products pass here chunk by chunk: those that a child makes go to the worker, which commits each; those that its
task takes come from the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from actors.base import ActorHandle, Context, SupervisedActor
from actors.messages import FetchResource, Inspected, InspectWanted, ResourceFetched, SourceOpened, TaskWanted
from actors.ports import ChildGone, ChildSaid, ChildStarted, Clock, Spawner
from actors.task_work import INSPECTION, Child, Queue, Work
from actors.timers import TimerService
from protocol.errors import Code, RemoteProtocolError
from protocol.limits import (
    CHILD_MEMORY_BYTES_MAX,
    CHILD_MESSAGE_BYTES_MAX,
    CHILD_SAYS_BYTES_MAX,
    CHILD_SPARE_MS,
    CHUNK_BYTES,
    INSPECT_LIMIT_MS,
    PIECES_AHEAD_MAX,
    SPAWN_PAUSE_MS,
    TASK_SLOTS,
    WARM_MS,
)
from protocol.machines.contract import KillTask, NextPiece, StartTask, TimerFired
from protocol.machines.events import TaskDied, TaskFaulted, TaskPiece, TaskProduced
from protocol.plan.products import chunks_in
from protocol.plan.tasks import (
    ChildSays,
    Fault,
    Inspection,
    InspectRequest,
    Piece,
    PieceGiven,
    PieceTaken,
    PieceWanted,
    Product,
    SourceFile,
)
from protocol.wire.codec import decode_record, encode_record

CHILD_ROLE: Final = "task"
WARM_CHILD_ROLE: Final = "warm-task"
_KEY_PREFIX: Final = "task-"
_RETIRED: Final = b"retired"
_NONSENSE: Final = Fault(code=Code.BODY_MALFORMED, sentence="the process that computed the task answered nonsense")


class TaskRunnerActor(SupervisedActor):
    """Adds to a task what only this machine knows (where the source lies), and computes it in a child."""

    def __init__(
        self,
        context: Context,
        *,
        spawner: Spawner,
        store: ActorHandle,
        sources: Mapping[str, SourceFile],
        clock: Clock,
        timers: TimerService,
    ) -> None:
        super().__init__(context)
        self._spawner = spawner
        self._store = store
        self._sources = dict(sources)  # limits.SOURCES_MAX
        self._clock = clock
        self._timers = timers
        self._children: dict[str, Child] = {}  # limits.TASK_SLOTS
        self._waiting = Queue()
        self._works: dict[bytes, Work] = {}  # limits.TASKS_LIVE_PER_WORKER_MAX: tasks that wait or are in a child
        self._wanting: dict[int, str] = {}  # limits.PIECES_AHEAD_MAX for each slot: ticket → child
        self._tickets = 0
        self._count = 0
        self._pausing = False  # after a spawn that failed
        self._in_use = False  # a task that reads a table was started within WARM_MS

    def begin(self) -> None:
        self._fill()
        self.ready()

    def handle(self, message: Any) -> None:
        match message:
            case TaskWanted(effect=StartTask() as start, reply_to=reply_to):
                self._start(start, reply_to)
            case TaskWanted(effect=KillTask(key=key)):
                self._kill(key)
            case TaskWanted(effect=NextPiece(key=key, run=run)):
                self._next_piece(key, run)
            case ResourceFetched(ticket=ticket, data=data):
                self._give_piece(ticket, data)
            case InspectWanted(source=source, reply_to=reply_to):
                request = encode_record(InspectRequest(source=source))
                owner = INSPECTION + source.name.encode()
                self._waiting.add(Work(owner, b"", request, INSPECT_LIMIT_MS, reply_to))
            case SourceOpened(source=source):
                self._sources[source.name] = source
            case ChildSaid(key=key, message=answer):
                self._said(key, answer)
            case ChildGone():
                self._gone(message)
            case ChildStarted():
                pass
            case TimerFired(name=name):
                self._late(name)
        if self.actor_inbox.drained():  # else the next message does it: a burst is one look at all that waits
            self._fill()

    def end(self) -> None:
        self._timers.clear_all(self.address)
        for key in self._children:
            self._spawner.kill(key)

    # --- work in and out -------------------------------------------------------------------------

    def _start(self, start: StartTask, reply_to: ActorHandle) -> None:
        """A worker that was restarted wants its running tasks again: they go on, unless it has forgotten what it was
        told of a large product.
        """
        known = self._works.get(start.key)
        if known is not None and not known.pieces:
            known.run = start.run
            return
        self._kill(start.key)
        request = start.request
        if start.source:
            request = msgspec.structs.replace(request, source=self._sources.get(start.source))
        message = encode_record(request)
        chunks = frozenset(digest for carried in request.inputs for digest in chunks_in(carried))
        work = Work(start.job_id, start.key, message, start.limit_ms, reply_to, request.operation, chunks)
        work.run = start.run
        self._works[start.key] = work
        self._waiting.add(work)
        if not work.light:
            self._in_use = True
            self._timers.set(self.address, "rest", self._clock.now().after_ms(WARM_MS), 0)

    def _kill(self, key: bytes) -> None:
        """The machine has already ended the task; what its child still says about it is not heard."""
        if self._works.pop(key, None) is None:
            return
        self._waiting.remove(key)
        for name, child in self._children.items():
            if child.take_away(key):
                self._send_home(name)

    def _send_home(self, name: str) -> None:
        self._children[name].leaving = True
        self._spawner.kill(name)

    def _said(self, name: str, answer: bytes) -> None:
        child = self._children.get(name)
        if child is None or child.silenced or not child.works:
            return
        said, work = _read(answer), child.works[0]
        if isinstance(said, Piece | PieceWanted) and not work.is_inspection:
            self._piece(name, work, said)
            return
        child.works.popleft()
        self._works.pop(work.key, None)
        if child.works:
            self._limit(name, child.works[0])
        elif work.is_inspection:
            self._send_home(name)
        else:
            self._timers.clear(self.address, f"limit:{name}")
            self._timers.set(self.address, f"home:{name}", self._clock.now().after_ms(CHILD_SPARE_MS), 0)
        work.reply_to.tell(_outcome(work, said))

    # --- large products, piece by piece ------------------------------------------------------------

    def _piece(self, name: str, work: Work, said: Piece | PieceWanted) -> None:
        """A child that says more than it may, or asks for what is not its own, is sent home."""
        work.unanswered += 1
        if work.unanswered > PIECES_AHEAD_MAX:
            self._send_home(name)
            return
        match said:
            case Piece(data=data) if len(data) <= CHUNK_BYTES:
                work.pieces += 1
                work.reply_to.tell(TaskPiece(key=work.key, number=work.pieces - 1, data=data, run=work.run))
            case PieceWanted(digest=digest) if digest in work.chunks:
                self._tickets += 1
                self._wanting[self._tickets] = name
                self._store.tell(FetchResource(ticket=self._tickets, digest=digest, reply_to=self.address))
            case _:
                self._send_home(name)

    def _next_piece(self, key: bytes, run: int) -> None:
        for name, child in self._children.items():
            if child.works and (child.works[0].key, child.works[0].run) == (key, run) and not child.silenced:
                self._answer(name, PieceTaken())

    def _give_piece(self, ticket: int, data: bytes | None) -> None:
        """A chunk that is not there any more ends its child, and with it the task."""
        name = self._wanting.pop(ticket, "")
        if name in self._children and data is not None:
            self._answer(name, PieceGiven(data=data))
        elif name in self._children:
            self._send_home(name)

    def _answer(self, name: str, answer: PieceTaken | PieceGiven) -> None:
        child = self._children[name]
        if child.works:
            child.works[0].unanswered -= 1
        if not self._spawner.send(name, encode_record(answer)):
            self._send_home(name)

    # --- the end of a child ------------------------------------------------------------------------

    def _limit(self, name: str, work: Work) -> None:
        """From now on the child computes this."""
        self._timers.set(self.address, f"limit:{name}", self._clock.now().after_ms(work.limit_ms), 0)

    def _gone(self, gone: ChildGone) -> None:
        child = self._children.pop(gone.key, None)
        if child is None:
            return
        self._timers.clear(self.address, f"limit:{gone.key}")
        self._timers.clear(self.address, f"home:{gone.key}")
        if not child.owner or (gone.code is None and gone.signal is None):  # it never ran, or not for long
            self._pausing = True
            self._timers.set(self.address, "pause", self._clock.now().after_ms(SPAWN_PAUSE_MS), 0)
        detail = f"signal {gone.signal}" if gone.signal else gone.reason
        if child.works and not child.silenced:
            self._died(child.works.popleft(), child, gone.reason, detail)
        self._waiting.put_back(child.works)
        if self._pausing and not self._children:  # nobody is left who could take what waits
            for work in self._waiting.take_all():
                self._died(work, child, gone.reason, f"no process could be started for it ({detail})")

    def _died(self, work: Work, child: Child, ended: str, detail: str) -> None:
        self._works.pop(work.key, None)
        if work.is_inspection:
            fault = Fault(code=Code.TASK_CRASHED, sentence=f"the process that read it ended ({detail})")
            work.reply_to.tell(Inspected(fault=fault))
        else:
            out_of_memory = ended.startswith("out-of-memory")
            reason: Final = "out-of-memory" if out_of_memory else child.reason
            work.reply_to.tell(TaskDied(key=work.key, reason=reason, detail=detail))

    def _late(self, name: str) -> None:
        kind, _, key = name.partition(":")
        child = self._children.get(key)
        if kind == "pause":
            self._pausing = False
        elif kind == "rest":
            self._rest()
        elif child is not None and kind == "limit":
            child.reason = "out-of-time"
            self._send_home(key)
        elif child is not None and not child.works:
            self._send_home(key)  # its job sends nothing more

    def _rest(self) -> None:
        """Nobody has wanted anything for long: the spare child is replaced by one that takes less room."""
        self._in_use = False
        for name, child in self._children.items():
            if not child.owner:
                child.owner = _RETIRED
                self._send_home(name)

    # --- slots -----------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Gives waiting work to children, and keeps one spare child as long as a slot is free."""
        children_wanted = False
        for work in self._waiting.heads():
            name = self._child_for(work)
            if name is not None:
                self._waiting.take(work)
                self._give(name, work)
            else:
                children_wanted |= not self._waits_for_its_own(work)
        spare = any(not child.owner for child in self._children.values())
        if (not spare or children_wanted) and len(self._children) < TASK_SLOTS and not self._pausing:
            self._spawn()
        elif children_wanted:
            self._make_room()

    def _child_for(self, work: Work) -> str | None:
        own = next((name for name, child in self._children.items() if child.takes(work)), None)
        if own is not None or self._waits_for_its_own(work):
            return own
        spares = (name for name, child in self._children.items() if not child.owner and not child.leaving)
        return next(spares, None)

    def _waits_for_its_own(self, work: Work) -> bool:
        """Light work needs no second child: there is one that will soon have room for it."""
        mine = [child for child in self._children.values() if child.owner == work.owner and not child.leaving]
        return work.light and any(one.light for child in mine for one in child.works)

    def _give(self, name: str, work: Work) -> None:
        child = self._children[name]
        child.owner = work.owner
        child.works.append(work)
        if len(child.works) == 1:
            self._timers.clear(self.address, f"home:{name}")
            self._limit(name, work)
        if not self._spawner.send(name, work.message):
            self._send_home(name)  # its end is told as that of the task

    def _spawn(self) -> None:
        self._count += 1
        name = f"{_KEY_PREFIX}{self.context.generation}-{self._count}"
        self._children[name] = Child()
        role = WARM_CHILD_ROLE if self._in_use else CHILD_ROLE
        self._spawner.spawn(name, role, on_node_death="kill", rss_bytes_max=CHILD_MEMORY_BYTES_MAX)

    def _make_room(self) -> None:
        """All slots are taken and work waits: a child that only waits for more of its job goes home now."""
        for name, child in self._children.items():
            if child.owner and not child.works and not child.leaving:
                self._send_home(name)
                return


def _read(answer: bytes) -> ChildSays:
    try:
        said: ChildSays = decode_record(answer, ChildSays, bytes_max=CHILD_SAYS_BYTES_MAX)
    except RemoteProtocolError:
        return _NONSENSE
    return said


def _outcome(work: Work, said: ChildSays) -> TaskProduced | TaskFaulted | Inspected:
    match said:
        case Product(data=data) if work.is_inspection:
            return _inspected(data)
        case Product(data=data, pieces=pieces):
            return TaskProduced(key=work.key, product=data, pieces=pieces, run=work.run)
        case Fault(code=code, sentence=sentence, next_step=next_step) if not work.is_inspection:
            return TaskFaulted(key=work.key, code=code, sentence=sentence, next_step=next_step)
        case Fault():
            return Inspected(fault=said)
        case _:
            return Inspected(fault=_NONSENSE)


def _inspected(data: bytes) -> Inspected:
    try:
        return Inspected(seen=decode_record(data, Inspection, bytes_max=CHILD_MESSAGE_BYTES_MAX))
    except RemoteProtocolError:
        return Inspected(fault=_NONSENSE)
