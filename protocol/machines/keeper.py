"""The keeper: runs of flame that this node executes, taken up again after whatever ended their executor but a result.

Each is stored before it is acknowledged and forgotten when it is over: its result is on the disk, or somebody wants it
no more. Whether a run is over, and whether it may go on, stands in its own folder, which the shell reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, assert_never

import msgspec

from protocol import kinds
from protocol.errors import AddressError, Code, DeniedError
from protocol.ids import parse_job_id
from protocol.limits import (
    FLAME_KEPT_CRASHES_MAX,
    FLAME_KEPT_PAUSE_MS_MAX,
    FLAME_KEPT_PAUSE_MS_MIN,
    FLAME_KEPT_RUNS_MAX,
    FLAME_KEPT_TRIES_MAX,
    FLAME_KEPT_WINDOW_MS,
    FLAME_PATH_CHARS_MAX,
    FLAME_REASON_CHARS_MAX,
    RECORD_BYTES_MAX,
)
from protocol.machines.answers import refused, tell
from protocol.machines.contract import (
    Drop,
    Effect,
    Effects,
    EndRun,
    ExecuteRun,
    Now,
    OpenRun,
    Persist,
    Put,
    Received,
    SetTimer,
    Stories,
    TimerFired,
    unexpected,
)
from protocol.record import Record
from protocol.wire.codec import decode_record, encode_record
from protocol.wire.control import RunStopping, RunTaken, StopRun, TakeRun

# One run. "opening": its folder is locked and looked at. "waiting": for the next try.
TRANSITIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "opening": {
        "RunOpened": "running",
        "StopOrdered": "stopping",
        "Hindered": "waiting",
        "Refused": "refused",
        "Ended": "over",
    },
    "running": {
        "StopOrdered": "stopping",
        "Ended": "over",
        "ExecutorCrashed": "waiting",
        "CrashedTooOften": "given-up",
    },
    "stopping": {"Ended": "over"},
    "waiting": {"TimerFired": "opening", "TakenAgain": "opening", "Ended": "over"},
    "refused": {"TakenAgain": "opening", "Ended": "over"},
    "given-up": {"TakenAgain": "opening", "Ended": "over"},
    "over": {},
}
RUN_TIMER: Final = "run:"
# What hinders a run only for now. It is tried for ever: a disk may be mounted an hour after the power is back.
PASSING: Final = frozenset(
    (
        Code.RUN_IN_PROGRESS,
        Code.FOLDER_UNUSABLE,
        Code.DISK_FULL,
        Code.DATABASE_FAILED,
        Code.TIMED_OUT,
        Code.NODE_STOPPING,
    )
)


class RunRow(Record, frozen=True):
    """`python`: the interpreter that runs its flame nodes; `parameters`: its parameters file, "" for the usual one.
    `stop`: its end was ordered.
    """

    folder: str
    alias: str
    python: str
    parameters: str = ""
    stop: bool = False


class KeptRunView(Record, frozen=True):
    """`reason`: why it is not running, "" while it is."""

    run: str
    alias: str
    folder: str
    state: str
    reason: str


class KeeperSnapshot(Record, frozen=True):
    runs: tuple[KeptRunView, ...]


# --- events ---------------------------------------------------------------------------------------


class RunOpened(Record, frozen=True):
    """This process holds its lock, and it may go on."""

    run: str


class RunNotOpened(Record, frozen=True):
    """`over`: it has its result, or another node or a command has it. `code`: of what hinders it."""

    run: str
    code: Code
    sentence: str
    next_step: str = ""
    over: bool = False


class RunEnded(Record, frozen=True):
    """Its result is on the disk."""

    run: str


class ExecutorCrashed(Record, frozen=True):
    """Nothing of it runs any more, and there is no result."""

    run: str
    sentence: str


KeeperEvent = Received | TimerFired | RunOpened | RunNotOpened | RunEnded | ExecutorCrashed


class _Kept:
    """One run."""

    def __init__(self, row: RunRow) -> None:
        self.row = row
        self.state = "opening"
        self.reason = ""
        self.asker: Received | None = None  # waits to hear that the run, which it hands over, is taken
        self.tries = 0  # in a row, that did not open it
        self.faults = 0  # of these the last, in a row, that found something wrong which does not pass by itself
        self.crashed_ns: list[int] = []  # limits.FLAME_KEPT_CRASHES_MAX
        self.timer = 0  # generation


class Keeper:
    """Machine of the keeper actor."""

    def __init__(self, rows: Mapping[str, list[tuple[bytes, bytes]]]) -> None:
        self._stories = Stories()
        self._runs = {  # limits.FLAME_KEPT_RUNS_MAX
            key.decode(): _Kept(decode_record(value, RunRow, bytes_max=RECORD_BYTES_MAX))
            for key, value in rows.get(kinds.FLAME_RUN, [])
        }

    def begin(self, now: Now) -> Effects:
        """Whatever ended the keeper before: all are taken up again."""
        return tuple(self._open(run, kept, again=True) for run, kept in self._runs.items())

    def step(self, event: KeeperEvent, now: Now) -> Effects:
        match event:
            case Received():
                return self._asked(event)
            case TimerFired(name=name, generation=generation):
                return self._try_again(name.removeprefix(RUN_TIMER), generation)
            case RunOpened(run=run):
                return self._opened(run)
            case RunNotOpened():
                return self._not_opened(event, now)
            case RunEnded(run=run):
                return self._over(run) if run in self._runs else ()  # it crashed while it was stopped, after its result
            case ExecutorCrashed(run=run, sentence=sentence):
                return self._crashed(run, sentence, now) if run in self._runs else ()  # likewise
            case _:
                assert_never(event)

    def check(self) -> None:
        assert len(self._runs) <= FLAME_KEPT_RUNS_MAX
        for kept in self._runs.values():
            assert TRANSITIONS[kept.state], "a run that is over is forgotten"
            assert kept.asker is None or kept.state == "opening"
            assert len(kept.crashed_ns) <= FLAME_KEPT_CRASHES_MAX

    def snapshot(self) -> KeeperSnapshot:
        return KeeperSnapshot(
            runs=tuple(
                KeptRunView(run=run, alias=one.row.alias, folder=one.row.folder, state=one.state, reason=one.reason)
                for run, one in self._runs.items()
            )
        )

    # --- the operator -----------------------------------------------------------------------------

    def _asked(self, event: Received) -> Effects:
        try:
            match event.message:
                case TakeRun() as take:
                    return self._take(event, take)
                case StopRun(run=run):
                    return self._stop(event, run)
        except DeniedError as error:
            return (refused(event, error),)
        raise unexpected(event.message)

    def _take(self, event: Received, take: TakeRun) -> Effects:
        """Answered when it is opened. The same request may come twice: a connection that was cut is made anew."""
        kept = self._runs.get(take.run)
        if kept is None:
            self._check(take)
            kept = self._runs[take.run] = _Kept(_row(take))
        elif kept.state == "running":
            return (tell(event, RunTaken(run=take.run)),)
        elif kept.state == "opening" and not kept.row.stop:
            if kept.asker is None:  # opened again: it is this node's, whatever hinders it
                return (tell(event, RunTaken(run=take.run)),)
            earlier, kept.asker = kept.asker, event
            return (refused(earlier, _in_progress(take.alias, "was handed over by another request")),)
        elif "TakenAgain" in TRANSITIONS[kept.state]:
            self._move(take.run, kept, "TakenAgain")
            kept.row, kept.tries, kept.faults, kept.crashed_ns = _row(take), 0, 0, []
        else:
            raise _in_progress(kept.row.alias, "is being stopped")
        kept.asker = event
        return (self._put(take.run, kept), self._open(take.run, kept, again=False))

    def _check(self, take: TakeRun) -> None:
        if len(self._runs) >= FLAME_KEPT_RUNS_MAX:
            raise DeniedError(
                Code.BUSY,
                f"the node has {len(self._runs)} runs and takes no more",
                next_step="wait for one to end, stop one with `flame stop`, or run it without --background",
            )
        try:
            parse_job_id(take.run)
        except AddressError as error:
            raise DeniedError(error.code, error.sentence) from error
        if not all(len(path) <= FLAME_PATH_CHARS_MAX for path in (take.folder, take.python, take.parameters)):
            raise DeniedError(Code.PARAMETER_WRONG, f"a path has more than {FLAME_PATH_CHARS_MAX} characters")

    def _stop(self, event: Received, run: str) -> Effects:
        """Stored before it is ordered: a run that was to stop is stopped, whatever happens to the node meanwhile."""
        kept = self._runs.get(run)
        if kept is None:
            raise DeniedError(
                Code.RUN_UNKNOWN, "the node does not have this run", next_step="`flame ps` shows how it ended"
            )
        answer = tell(event, RunStopping(run=run, state=kept.state))
        if kept.state in ("waiting", "refused", "given-up"):
            return (*self._over(run), answer)
        if kept.row.stop:
            return (answer,)
        kept.row = msgspec.structs.replace(kept.row, stop=True)
        if kept.state == "opening":
            return (self._put(run, kept), answer)
        self._move(run, kept, "StopOrdered")
        return (self._put(run, kept), EndRun(run=run), answer)

    # --- its folder -------------------------------------------------------------------------------

    def _open(self, run: str, kept: _Kept, *, again: bool) -> OpenRun:
        row = kept.row
        return OpenRun(run=run, folder=row.folder, python=row.python, parameters=row.parameters, again=again)

    def _try_again(self, run: str, generation: int) -> Effects:
        kept = self._runs.get(run)
        if kept is None or generation != kept.timer or kept.state != "waiting":
            return ()
        self._move(run, kept, "TimerFired")
        return (self._open(run, kept, again=True),)

    def _opened(self, run: str) -> Effects:
        """One that was to stop is executed all the same: that makes its hardware safe and writes its result."""
        kept = self._runs[run]
        self._move(run, kept, "StopOrdered" if kept.row.stop else "RunOpened")
        kept.reason, kept.tries, kept.faults = "", 0, 0
        execute: list[Effect] = [ExecuteRun(run=run, python=kept.row.python)]
        if kept.row.stop:
            execute.append(EndRun(run=run))
        return (*execute, *self._answered(kept, RunTaken(run=run)))

    def _not_opened(self, event: RunNotOpened, now: Now) -> Effects:
        kept = self._runs[event.run]
        if kept.asker is not None:  # who handed it over has it back
            error = DeniedError(event.code, event.sentence, next_step=event.next_step)
            asker, kept.asker = kept.asker, None
            return (*self._over(event.run), refused(asker, error))
        kept.faults = 0 if event.code in PASSING else kept.faults + 1
        is_refused = event.code is Code.RUN_CHANGED or kept.faults >= FLAME_KEPT_TRIES_MAX
        if event.over or (is_refused and kept.row.stop):
            return self._over(event.run)
        kept.reason = event.sentence[:FLAME_REASON_CHARS_MAX]
        if is_refused:
            self._move(event.run, kept, "Refused")
            return ()
        self._move(event.run, kept, "Hindered")
        kept.tries += 1
        return (self._pause(event.run, kept, kept.tries, now),)

    # --- its executor -----------------------------------------------------------------------------

    def _crashed(self, run: str, sentence: str, now: Now) -> Effects:
        kept = self._runs[run]
        if kept.row.stop:
            return self._over(run)
        kept.reason = f"its executor crashed: {sentence}"[:FLAME_REASON_CHARS_MAX]
        since_ns = now.boot_ns - FLAME_KEPT_WINDOW_MS * 1_000_000
        kept.crashed_ns = [at_ns for at_ns in kept.crashed_ns if at_ns > since_ns]
        if len(kept.crashed_ns) >= FLAME_KEPT_CRASHES_MAX:
            self._move(run, kept, "CrashedTooOften")
            return ()
        self._move(run, kept, "ExecutorCrashed")
        kept.crashed_ns.append(now.boot_ns)
        return (self._pause(run, kept, len(kept.crashed_ns), now),)

    def _pause(self, run: str, kept: _Kept, times: int, now: Now) -> SetTimer:
        kept.timer += 1
        pause_ms = min(FLAME_KEPT_PAUSE_MS_MIN << min(times - 1, 16), FLAME_KEPT_PAUSE_MS_MAX)
        return SetTimer(name=RUN_TIMER + run, at_ns=now.after_ms(pause_ms), generation=kept.timer)

    def _over(self, run: str) -> Effects:
        kept = self._runs.pop(run)
        self._move(run, kept, "Ended")
        return (Persist(writes=(Drop(kind=kinds.FLAME_RUN, key=run.encode()),)),)

    # --- small ------------------------------------------------------------------------------------

    def _answered(self, kept: _Kept, answer: Any) -> Effects:
        asker, kept.asker = kept.asker, None
        return () if asker is None else (tell(asker, answer),)

    def _put(self, run: str, kept: _Kept) -> Persist:
        return Persist(writes=(Put(kind=kinds.FLAME_RUN, key=run.encode(), value=encode_record(kept.row)),))

    def _move(self, run: str, kept: _Kept, event: str) -> None:
        after = TRANSITIONS[kept.state].get(event)
        if after is None:
            raise self._stories.broken(run, f"{event} cannot follow in state {kept.state}")
        self._stories.add(run, kept.state, event, after)
        kept.state = after


def _in_progress(alias: str, how: str) -> DeniedError:
    return DeniedError(Code.RUN_IN_PROGRESS, f"run {alias} {how}", next_step="`flame ps`, and try again")


def _row(take: TakeRun) -> RunRow:
    return RunRow(folder=take.folder, alias=take.alias, python=take.python, parameters=take.parameters)
