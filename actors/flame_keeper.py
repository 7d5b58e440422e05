"""The keeper: executes runs of flame in a node, each by an executor of its own, whose parent it is.

What is to happen is decided by `protocol.machines.keeper`. This shell owns the locks of the runs and their executors.
When it ends, by whatever cause, it stops its runs only for now: they are taken up again when it begins anew.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, assert_never

from actors.adapters.flame_chores import Chores
from actors.adapters.flame_files import HeldRun
from actors.adapters.flame_opening import Opening, RunOpener
from actors.base import ActorHandle, Begin, ChildAlive, ChildEnded, ChildFailed, ChildReady, Context
from actors.flame_executor import FlameExecutorActor, RunOver, RunProgress
from actors.flame_plans import limits_of
from actors.machine_shell import MachineActor
from actors.ports import Clock
from actors.timers import TimerService
from flame.run.run_folder import RunFolder
from protocol import kinds
from protocol.errors import Code, FlottaError, UnreachableError
from protocol.limits import CHILD_END_MS, FLAME_CRASH_SUSPEND_MS, FLAME_SUSPEND_MS, STOP_LIMIT_MS
from protocol.machines.contract import EndRun, ExecuteRun, FlameEffect, OpenRun
from protocol.machines.flame_events import StopOrdered
from protocol.machines.keeper import ExecutorCrashed, Keeper, RunEnded, RunOpened

_log = logging.getLogger(__name__)

KEEPER_STOP_MS: Final = FLAME_SUSPEND_MS + STOP_LIMIT_MS  # as long as its runs may need, and itself
_STOPPED: Final = "stopped by `flame stop`"
_SUSPENDED: Final = "its node stops, and goes on with it when it is started again"


@dataclass
class _Executor:
    """One that was started and has not ended."""

    handle: ActorHandle
    context: Context
    python: str
    kill: Callable[[], object]  # it and its flame nodes


class FlameKeeperActor(MachineActor):
    """`workdir`: the work directory of the node, by which a run knows whose it is."""

    def __init__(
        self,
        context: Context,
        *,
        workdir: Path,
        store: ActorHandle,
        gate: ActorHandle,
        publish: Callable[[Any], None],
        clock: Clock,
        timers: TimerService,
    ) -> None:
        super().__init__(
            context, Keeper, (kinds.FLAME_RUN,), store=store, gate=gate, publish=publish, clock=clock, timers=timers
        )
        # What executors and openings tell goes to this incarnation alone.
        self._ours = ActorHandle(f"{self.name} {context.generation}")
        self._ours.attach(self.actor_inbox)
        self._chores = Chores()
        self._opener = RunOpener(workdir, self._chores, self._ours.tell)
        self._open_runs: dict[str, HeldRun] = {}  # limits.FLAME_KEPT_RUNS_MAX
        self._executors: dict[str, _Executor] = {}  # limits.FLAME_KEPT_RUNS_MAX

    def handle(self, message: Any) -> None:
        match message:
            case Opening():
                self._opened(message)
            case RunProgress() | ChildReady() | ChildAlive():
                return  # who watches a run reads its folder
            case RunOver(result=None):
                return  # its row stays
            case RunOver(run=run, fault=fault):
                if fault:
                    _log.warning("the archive of run %s could not be written: %s", run, fault)
                super().handle(RunEnded(run=run))
            case ChildEnded(name=run):  # it has its result: only `end` suspends a run, and hears nothing more
                python = self._executors[run].python
                self._chores.drop(python, self._release(run))
            case ChildFailed(name=run, error=error, story=story):
                self._release(run)
                _log.error("The executor of run %s failed: %s", run, error if isinstance(error, FlottaError) else story)
                super().handle(ExecutorCrashed(run=run, sentence=str(error) or type(error).__name__))
            case _:
                super().handle(message)

    def end(self) -> None:
        """After a crash in short: its supervisor waits for a sign of life."""
        super().end()
        limit_ms = FLAME_SUSPEND_MS if self._failure is None else FLAME_CRASH_SUSPEND_MS
        deadline_s = time.monotonic() + limit_ms / 1_000
        for one in self._executors.values():
            one.handle.tell(StopOrdered(reason=_SUSPENDED, suspends=True))
        for one in self._executors.values():
            one.context.ended.wait(max(0.0, deadline_s - time.monotonic()))
        self._opener.stop()
        self._kill_executors()
        for held in self._open_runs.values():  # a guard that still works holds its lock as well
            held.lock.release()

    def perform_run(self, effect: FlameEffect) -> None:
        match effect:
            case OpenRun():
                self._opener.open(effect)
            case ExecuteRun():
                self._execute(effect.run, effect.python)
            case EndRun(run=run):
                executor = self._executors.get(run)  # None: it has ended meanwhile
                if executor is not None and not executor.handle.tell(StopOrdered(reason=_STOPPED)):
                    raise UnreachableError(Code.BUSY, f"The executor of run {run} took no order to stop.")
            case _:
                assert_never(effect)

    def _opened(self, opening: Opening) -> None:
        if opening.problem is None:
            self._open_runs[opening.run] = self._opener.claim(opening.run)
            super().handle(RunOpened(run=opening.run))
        else:
            problem = opening.problem
            _log.info("run %s in %s is not executed: %s", opening.run, opening.folder, problem.sentence)
            super().handle(problem)

    def _execute(self, run: str, python: str) -> None:
        held = self._open_runs[run]
        _log.info("run %s in %s is executed", run, held.folder.path)
        handle = ActorHandle(run)
        context = Context(handle, self.context.generation, self._ours)
        ref = FlameExecutorActor.start(
            context,
            held,
            clock=self._clock,
            timers=self._timers,
            watcher=self._ours,
            write_archive=functools.partial(self._chores.archive, python),
            limits=limits_of(held.document),
            python=python,
        )
        self._executors[run] = _Executor(handle, context, python, functools.partial(ref.stop, block=False))
        ref.tell(Begin())

    def _release(self, run: str) -> RunFolder:
        """Its executor has ended, and let go of all that it had."""
        del self._executors[run]
        held = self._open_runs.pop(run)
        held.lock.release()
        return held.folder

    def _kill_executors(self) -> None:
        """Those that did not stop in order: their flame nodes are killed, and made safe by their guard."""
        late = [one for one in self._executors.values() if not one.context.ended.is_set()]
        for one in late:
            one.kill()
        deadline_s = time.monotonic() + CHILD_END_MS / 1_000
        for one in late:
            one.context.ended.wait(max(0.0, deadline_s - time.monotonic()))
