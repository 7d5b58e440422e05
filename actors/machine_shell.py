"""The thin shell around one pure machine: the transaction rule, and nothing else.

The writes of a step are one commit of the store. The step's other effects are held until the commit is done,
and so are those of later steps, writes or not: what leaves the actor leaves in the order of the steps. A
refused commit crashes the actor, whose next incarnation reads back what really is in the store.

Events that wait in the inbox together are one turn of a machine that takes turns, and then one commit. An event
that comes alone is taken at once.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, assert_never

from actors.base import ActorHandle, Context, SupervisedActor
from actors.failpoints import Point, reached
from actors.messages import (
    Commit,
    CommitRefused,
    Committed,
    Load,
    Loaded,
    ResourceFetched,
    Snapshot,
    SnapshotWanted,
    TaskWanted,
)
from actors.ports import Clock
from actors.timers import TimerService
from protocol.errors import Code, LocalProtocolError, StorageError, UnreachableError
from protocol.limits import HELD_STEPS_MAX, INBOX_MESSAGES_MAX, STEP_EFFECTS_MAX, TURN_EVENTS_MAX
from protocol.machines.contract import (
    ClearTimer,
    Effect,
    Effects,
    EndRun,
    ExecuteRun,
    FlameEffect,
    KillTask,
    Machine,
    NextPiece,
    OpenRun,
    Persist,
    Publish,
    Received,
    Refuse,
    Send,
    SetTimer,
    StartTask,
    TaskEffect,
    TimerFired,
    Write,
)
from protocol.machines.events import Outgoing, ResourceFound
from protocol.wire.peers import Acknowledge

Rows = dict[str, list[tuple[bytes, bytes]]]

_TICKET_BITS: Final = 32  # tickets of one incarnation; the generation stands above them, so that none ever returns


class _Held(NamedTuple):
    """A step not yet carried out. `ticket` is None when it had no writes and only waits for its turn."""

    ticket: int | None
    effects: tuple[Effect, ...]


class MachineActor(SupervisedActor):
    """One machine, its rows in the store, and its effects on the world.

    `make_machine` builds the machine from the rows of `kinds`. If the machine has `begin(now)`, its effects
    come first. The actor is ready once those are carried out. Every message that is no answer of the store is
    an event of the machine; those that come before the rows wait for them. Whatever `step` raises is our bug,
    and crashes the actor.
    """

    def __init__(
        self,
        context: Context,
        make_machine: Callable[[Rows], Machine],
        kinds: tuple[str, ...],
        *,
        store: ActorHandle,
        gate: ActorHandle,
        publish: Callable[[Any], None],
        clock: Clock,
        timers: TimerService,
        runner: ActorHandle | None = None,
    ) -> None:
        super().__init__(context)
        self._make_machine = make_machine
        self._kinds = kinds
        self._store = store
        self._gate = gate
        self._publish = publish
        self._clock = clock
        self._timers = timers
        self._runner = runner
        self._first_ticket = context.generation << _TICKET_BITS
        self._tickets = itertools.count(self._first_ticket)
        self._machine: Machine | None = None
        self._turn: list[Any] = []  # events of the turn that begins once the inbox is empty, at most TURN_EVENTS_MAX
        self._early: deque[Any] = deque()  # events that came before the rows, at most INBOX_MESSAGES_MAX
        self._held: deque[_Held] = deque()  # at most HELD_STEPS_MAX; the first, if any, waits for its commit
        self._turn_events_max = 1  # of a machine that takes single steps
        self._told_ready = False
        self.refused_early = 0

    def begin(self) -> None:
        self._timers.clear_all(self.address)
        self._tell_store(Load(ticket=next(self._tickets), kinds=self._kinds, reply_to=self.address))

    def handle(self, message: Any) -> None:
        match message:
            case Loaded() | Committed() | CommitRefused() if message.ticket < self._first_ticket:
                return  # the answer to an earlier incarnation
            case Loaded():
                self._on_loaded(message.rows)
            case Committed():
                self._on_committed(message.ticket)
            case CommitRefused():
                raise message.error
            case SnapshotWanted(ticket=ticket, reply_to=reply_to):
                values = self._machine.snapshot() if self._machine is not None else None
                reply_to.tell(Snapshot(ticket=ticket, name=self.name, values=values))
            case _ if self._machine is None:
                self._keep_early(message)
            case ResourceFetched(ticket=ticket, data=data):
                self._turn.append(ResourceFound(ticket=ticket, data=data))
            case _:
                if isinstance(message, Received) and isinstance(message.message, Acknowledge):
                    reached(Point.ACKNOWLEDGED)
                self._turn.append(message)
        if self._turn and (len(self._turn) >= self._turn_events_max or self.actor_inbox.drained()):
            self._take_turn()

    def end(self) -> None:
        self._timers.clear_all(self.address)

    def perform_run(self, effect: FlameEffect) -> None:
        """Runs of flame. The one actor that has some overrides it."""
        raise LocalProtocolError(f"The machine of {self.name} wants {type(effect).__name__}, but has no runs.")

    def perform_task(self, effect: TaskEffect) -> None:
        """Have a task started, killed or let go on. Actors that run tasks themselves override it."""
        if self._runner is None:
            raise LocalProtocolError(f"The machine of {self.name} wants a task run, but has no runner.")
        reached(Point.TASK_BEFORE)
        if not self._runner.tell(TaskWanted(effect=effect, reply_to=self.address)):
            raise UnreachableError(Code.BUSY, f"The runner took no task from {self.name}.")

    # --- the store's answers ---------------------------------------------------------------------

    def _on_loaded(self, rows: Rows) -> None:
        machine = self._make_machine(rows)
        self._machine = machine
        begin = getattr(machine, "begin", None)
        self._take(begin(self._clock.now()) if begin is not None else ())
        if hasattr(machine, "turn"):
            self._turn_events_max = TURN_EVENTS_MAX
        for event in self._early:
            self._turn.append(event)
            if len(self._turn) >= self._turn_events_max:
                self._take_turn()
        self._early.clear()

    def _take_turn(self) -> None:
        events, self._turn = self._turn, []
        machine: Any = self._machine
        now = self._clock.now()
        self._take(machine.turn(events, now) if self._turn_events_max > 1 else machine.step(events[0], now))

    def _on_committed(self, ticket: int) -> None:
        oldest = self._held.popleft() if self._held else None
        if oldest is None or oldest.ticket != ticket:
            raise LocalProtocolError(f"The store told {self.name} of commit {ticket}, not of its oldest.")
        self._perform_all(oldest.effects)
        while self._held and self._held[0].ticket is None:
            self._perform_all(self._held.popleft().effects)

    def _keep_early(self, message: Any) -> None:
        """Keep an event for the machine to come. A timer and a resource can only be an earlier incarnation's."""
        if isinstance(message, TimerFired | ResourceFetched):
            return
        if len(self._early) < INBOX_MESSAGES_MAX:
            self._early.append(message)
        else:
            self.refused_early += 1

    # --- effects ---------------------------------------------------------------------------------

    def _take(self, effects: Effects) -> None:
        """Commit the writes of one step; hold or perform the rest."""
        if len(effects) > STEP_EFFECTS_MAX or len(self._held) >= HELD_STEPS_MAX:
            raise LocalProtocolError(
                f"{self.name} has {len(effects)} effects of one step and {len(self._held)} steps waiting for "
                f"the store; the limits are {STEP_EFFECTS_MAX} and {HELD_STEPS_MAX}."
            )
        writes = tuple(write for effect in effects if isinstance(effect, Persist) for write in effect.writes)
        others = tuple(effect for effect in effects if not isinstance(effect, Persist))
        if writes:
            self._held.append(_Held(self._commit(writes), others))
        elif self._held:
            self._held.append(_Held(None, others))
        else:
            self._perform_all(others)

    def _commit(self, writes: tuple[Write, ...]) -> int:
        ticket = next(self._tickets)
        self._tell_store(Commit(ticket=ticket, writes=writes, reply_to=self.address))
        return ticket

    def _tell_store(self, message: Load | Commit) -> None:
        if not self._store.tell(message):
            raise StorageError(Code.BUSY, f"The store took no {type(message).__name__} from {self.name}.")

    def _perform_all(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            self._perform(effect)
        if not self._told_ready:
            self._told_ready = True
            self.ready()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send(message=message):
                if isinstance(message, Acknowledge):
                    reached(Point.ACKNOWLEDGE_BEFORE)
                self._gate.tell(Outgoing(send=effect))
            case SetTimer():
                self._timers.set(self.address, effect.name, effect.at_ns, effect.generation)
            case ClearTimer():
                self._timers.clear(self.address, effect.name)
            case Publish():
                self._publish(effect.event)
            case StartTask() | KillTask() | NextPiece():
                self.perform_task(effect)
            case OpenRun() | ExecuteRun() | EndRun():
                self.perform_run(effect)
            case Refuse():
                self._gate.tell(effect)
            case Persist():
                raise LocalProtocolError("Writes are committed, not performed.")
            case _:
                assert_never(effect)
