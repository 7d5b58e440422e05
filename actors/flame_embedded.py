"""A run inside the process of a command, without a node: the executor's actor, and this thread that watches it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from actors.adapters.clock import SystemClock
from actors.adapters.flame_files import HeldRun
from actors.base import ActorHandle, Begin, ChildEnded, ChildFailed, Context
from actors.flame_ending import WriteArchive
from actors.flame_executor import FlameExecutorActor, RunOver, RunProgress
from actors.inbox import Inbox
from actors.timers import TimerService
from protocol.errors import LocalProtocolError
from protocol.limits import FLAME_SHOWN_MS
from protocol.machines.flame_events import Interrupted, RunLimits, StopOrdered


def execute(
    run: HeldRun, *, limits: RunLimits, write_archive: WriteArchive, on_progress: Callable[[RunProgress], None]
) -> RunOver:
    """Runs to the end; every process of the run is gone when this returns. In the main thread: while it runs, Ctrl-C
    stops the run in order, the second one kills it, and SIGTERM and SIGHUP stop it in order.

    Raises what the executor crashed with: a FlottaError, or our own mistake.
    """
    clock, watcher, own = SystemClock(), ActorHandle("watcher"), ActorHandle("flame executor")
    inbox = Inbox()
    watcher.attach(inbox)
    timers = TimerService(clock)
    timers.start()
    context = Context(own, 1, watcher)
    try:
        with _signals(own):
            ref = FlameExecutorActor.start(
                context,
                run,
                clock=clock,
                timers=timers,
                watcher=watcher,
                write_archive=write_archive,
                limits=limits,
            )
            try:
                ref.tell(Begin())
                return _watch(inbox, on_progress)
            finally:
                ref.stop(block=False)
                context.ended.wait()
    finally:
        timers.stop()


def _watch(inbox: Inbox, on_progress: Callable[[RunProgress], None]) -> RunOver:
    ended = False  # told before what the executor said last: messages of supervision overtake others
    while True:
        match inbox.take(FLAME_SHOWN_MS / 1000):
            case RunProgress() as progress:
                on_progress(progress)
            case RunOver() as over:
                return over
            case ChildFailed(error=error):
                raise error
            case ChildEnded():
                ended = True
            case None if ended:
                raise LocalProtocolError("the executor ended without a result")


@contextlib.contextmanager
def _signals(executor: ActorHandle) -> Iterator[None]:
    def interrupted(number: int, frame: FrameType | None) -> None:
        executor.tell(Interrupted())

    def stopped(number: int, frame: FrameType | None) -> None:
        executor.tell(StopOrdered(reason=f"stopped by {signal.Signals(number).name}"))

    handlers = {signal.SIGINT: interrupted, signal.SIGTERM: stopped, signal.SIGHUP: stopped}
    before = {number: signal.getsignal(number) for number in handlers}
    try:
        for number, handler in handlers.items():
            if before[number] is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, handler)
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
