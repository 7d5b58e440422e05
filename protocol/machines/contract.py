"""What a machine is: an event and the time go in, effects come out.

A machine is a pure object. Its one mutating method is `step`; all that it wants from the world it says in effects.
The same machines are driven by the Pykka actors of a node and by the simulator in virtual time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Protocol

import msgspec

from protocol.errors import Code, InvariantBroken
from protocol.limits import STORY_ENTRIES_MAX, STORY_KEYS_MAX
from protocol.plan.tasks import TaskRequest
from protocol.record import Record


class Now(msgspec.Struct, frozen=True):
    """Two clocks. `boot_ns` never jumps and counts suspend (CLOCK_BOOTTIME): for leases, timers; `wall_ms`: expiry."""

    boot_ns: int
    wall_ms: int

    def after_ms(self, ms: int) -> int:
        """The boot time `ms` milliseconds from now, in nanoseconds."""
        return self.boot_ns + ms * 1_000_000


# --- effects ------------------------------------------------------------------------------------


class Send(Record, frozen=True):
    """Send `message` to a node id (32 bytes) or, as an answer to a session that is not a peer, to its `session`."""

    message: Any
    to: bytes = b""
    session: bytes = b""
    project: bytes = b""
    reply_to: bytes = b""
    fence: int = 0
    message_id: bytes = b""  # set by delivery for messages that it repeats


class SetTimer(Record, frozen=True):
    """Ask for `TimerFired(name, generation)` at `at_ns` (boot clock). A newer SetTimer of the same name replaces it."""

    name: str
    at_ns: int
    generation: int = 0


class ClearTimer(Record, frozen=True):
    name: str


class Put(Record, frozen=True):
    """Write one record of the store: table `kind`, key and value bytes."""

    kind: str
    key: bytes
    value: bytes


class Drop(Record, frozen=True):
    """Remove one record of the store. Removing what is not there is no fault."""

    kind: str
    key: bytes


class Keep(Record, frozen=True):
    """Store a resource under its SHA-256. It stays until each Keep of it was followed by a Release, and so
    long stay the `parts` that it names, which are there already.
    """

    digest: bytes
    data: bytes
    parts: tuple[bytes, ...] = ()


class Release(Record, frozen=True):
    """Takes back one Keep of each. What is not there is no fault."""

    digests: tuple[bytes, ...]


class LogJob(Record, frozen=True):
    """Append to the event log of one job."""

    job_id: bytes
    wall_ms: int
    event: str
    detail: bytes = b""


class DropLog(Record, frozen=True):
    """Remove the event log of a job whose row is dropped by an earlier write; that of a kept job is append-only."""

    job_id: bytes


class DropOldLogs(Record, frozen=True):
    """Remove at most `rows_max` events from before `before_ms` of jobs that neither a job nor an attempt row names:
    those that this node worked at for others.
    """

    before_ms: int
    rows_max: int


class Audit(Record, frozen=True):
    """Append a row to the node's hash-chained audit log."""

    wall_ms: int
    actor: str
    event: str
    detail: bytes = b""


Write = Put | Drop | Keep | Release | LogJob | DropLog | DropOldLogs | Audit


class Persist(Record, frozen=True):
    """Writes that must be committed before any other effect of the same step is carried out."""

    writes: tuple[Write, ...]


class StartTask(Record, frozen=True):
    """Run one task in a child process of this machine; its end comes back as an event of the worker machine."""

    key: bytes
    job_id: bytes
    source: str  # name of a data source of this node, or empty; the shell knows the file
    request: TaskRequest
    limit_ms: int
    run: int = 0  # names this start of the task: what an earlier child of it still says is told apart


class KillTask(Record, frozen=True):
    key: bytes


class NextPiece(Record, frozen=True):
    """The last piece of a large product is stored: its child may go on with the next one."""

    key: bytes
    run: int = 0  # as in StartTask


class OpenRun(Record, frozen=True):
    """Lock the folder of a flame run and look whether it may go on; RunOpened or RunNotOpened of the keeper follows.

    `again`: it was executed before, so that it is resumed; otherwise somebody has just made it ready.
    """

    run: str
    folder: str
    python: str
    parameters: str
    again: bool


class ExecuteRun(Record, frozen=True):
    """Start the executor of a run that is open, with the interpreter `python` for its flame nodes; RunEnded or
    ExecutorCrashed of the keeper follows.
    """

    run: str
    python: str


class EndRun(Record, frozen=True):
    """Stop a run that is executed, in order."""

    run: str


class Publish(Record, frozen=True):
    """Tell the other machines of this node; `protocol.wiring` says which take it."""

    event: Any


class Refuse(Record, frozen=True):
    """Input from outside was refused: count it, log it, and answer the session or peer if there is one."""

    code: Code
    sentence: str
    to: bytes = b""
    session: bytes = b""
    reply_to: bytes = b""
    next_step: str = ""


TaskEffect = StartTask | KillTask | NextPiece
FlameEffect = OpenRun | ExecuteRun | EndRun
Effect = Send | SetTimer | ClearTimer | Persist | TaskEffect | FlameEffect | Publish | Refuse
Effects = tuple[Effect, ...]


def writes_first(effects: Iterable[Effect]) -> Effects:
    """All writes of a step as one batch in front; the other effects keep their order."""
    listed = list(effects)
    writes = tuple(write for effect in listed if isinstance(effect, Persist) for write in effect.writes)
    rest = tuple(effect for effect in listed if not isinstance(effect, Persist))
    return (Persist(writes=writes), *rest) if writes else rest


# --- events that every machine may get ------------------------------------------------------------


class TimerFired(Record, frozen=True):
    name: str
    generation: int = 0


class Received(Record, frozen=True):
    """A verified frame. `sender` is the proved node id or person id; `session` is set for those who are not peers."""

    message: Any
    sender: bytes
    message_id: bytes
    session: bytes = b""
    project: bytes = b""
    reply_to: bytes = b""
    fence: int = 0
    boot_id: int = 0
    via: bytes = b""  # the peer that passed it on


def unexpected(message: object) -> InvariantBroken:
    """For a message that `protocol/wiring.py` should have led to another machine: our own mistake, never a peer's."""
    return InvariantBroken(f"a machine was given a {type(message).__name__}, which it does not take")


class Machine(Protocol):
    """The contract. `step` is all or nothing: it raises and changes nothing, or returns the effects of the change.

    A machine that can also take several events at once has `turn(events, now)`: a step for each, in order, whose
    effects are one batch. A shell gives it all that waits for the machine, at most TURN_EVENTS_MAX; it never lets an
    event wait for another one to come.
    """

    def step(self, event: Any, now: Now) -> Effects: ...
    def check(self) -> None: ...
    def snapshot(self) -> Record: ...


class Stories:
    """Bounded history per key, for the message of an illegal transition."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, list[str]] = {}  # limits.STORY_KEYS_MAX, each limits.STORY_ENTRIES_MAX

    def add(self, key: Hashable, before: str, event: str, after: str) -> None:
        if key not in self._entries and len(self._entries) >= STORY_KEYS_MAX:
            del self._entries[next(iter(self._entries))]
        entries = self._entries.setdefault(key, [])
        entries.append(f"{before} --{event}--> {after}")
        del entries[:-STORY_ENTRIES_MAX]

    def of(self, key: Hashable) -> tuple[str, ...]:
        return tuple(self._entries.get(key, ()))

    def broken(self, key: Hashable, sentence: str) -> InvariantBroken:
        return InvariantBroken(f"{sentence}; story of {key!r}: {'; '.join(self.of(key)) or 'empty'}")
