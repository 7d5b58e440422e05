"""Supervisors start, watch, restart and stop actors, and are actors themselves.

A supervisor never waits while it lives: it marks what should be down, and after every message `_advance`
takes the next step that the written order allows. Only `end` waits, for each child in turn and with a bound.
"""

from __future__ import annotations

import faulthandler
import logging
from collections.abc import Sequence
from typing import Any, Final, Literal

from actors.base import (
    Begin,
    ChildAlive,
    ChildEnded,
    ChildEvent,
    ChildFailed,
    ChildReady,
    Context,
    Ping,
    SupervisedActor,
)
from actors.child_spec import Child, ChildSpec, Phase
from actors.ports import Clock
from actors.timers import TimerService
from protocol.errors import Code, ConfigError, FlottaError, LocalProtocolError, UnreachableError
from protocol.limits import (
    HANG_LIMIT_MS,
    PING_INTERVAL_MS,
    READY_LIMIT_MS,
    STOP_LIMIT_MS,
)
from protocol.machines.contract import TimerFired

_log = logging.getLogger(__name__)

Strategy = Literal["one_for_one", "rest_for_one"]

# Rounds and not time: a machine that slept for hours with a ping on its way has missed one round.
HANG_ROUNDS: Final = -(-HANG_LIMIT_MS // PING_INTERVAL_MS)
_STDERR: Final = 2


class ActorHungError(LocalProtocolError):
    """An actor does not react. Its thread cannot be ended, so the fault goes up and the node stops."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, Code.ACTOR_FAILED)


class Supervisor(SupervisedActor):
    """Starts children in written order, each after the former is ready, and stops them in reverse.

    `one_for_one` restarts the child that failed; `rest_for_one` also those written after it. A ConfigError or
    a hung child escalates at once: no restart mends them.
    """

    def __init__(
        self,
        context: Context,
        specs: Sequence[ChildSpec],
        *,
        strategy: Strategy,
        clock: Clock,
        timers: TimerService,
    ) -> None:
        super().__init__(context)
        self._strategy = strategy
        self._clock = clock
        self._timers = timers
        self._children = [Child(spec) for spec in specs]
        self._by_name = {child.name: child for child in self._children}
        if len(self._by_name) < len(specs):
            raise LocalProtocolError(f"Two children of supervisor {self.name} have the same name.")
        self._told_ready = False

    def begin(self) -> None:
        self._timers.clear_all(self.address)
        self._ping_later()
        self._advance()

    def handle(self, message: Any) -> None:
        match message:
            case TimerFired():
                self._on_timer(message)
            case ChildEvent():
                child = self._by_name[message.name]
                if message.generation == child.spec.handle.generation:
                    self._on_child(child, message)
            case _:
                raise LocalProtocolError(f"Supervisor {self.name} takes no {type(message).__name__}.")
        self._advance()

    def end(self) -> None:
        self._timers.clear_all(self.address)
        hung = [child.name for child in reversed(self._children) if child.lives and not self._end_child(child)]
        if hung:
            faulthandler.dump_traceback(_STDERR)
            raise ActorHungError(f"Of supervisor {self.name} these actors did not end in time: {', '.join(hung)}.")

    # --- starting and stopping -------------------------------------------------------------------

    def _advance(self) -> None:
        """Stop, from the back, what must be down; then start, from the front, what may be up."""
        if self._stop_next():
            return
        for child in self._children:
            if child.phase is Phase.DOWN and self._clock.now().boot_ns >= child.start_at_ns:
                self._start(child)
            alone = self._strategy == "one_for_one" and child.was_ready
            if child.phase in (Phase.DOWN, Phase.STARTING) and not alone:
                return
        if not self._told_ready:
            self._told_ready = True
            self.ready()

    def _stop_next(self) -> bool:
        """Whether a stop is under way, perhaps just begun."""
        for child in reversed(self._children):
            if child.must_stop and child.phase is not Phase.STOPPING:
                self._stop_child(child)
            if child.phase is Phase.STOPPING:
                return True
        return False

    def _start(self, child: Child) -> None:
        handle = child.spec.handle
        handle.generation += 1
        siblings = {other.name: other.spec.handle for other in self._children}
        child.context = Context(handle, handle.generation, self.address, siblings)
        child.ref = child.spec.factory(child.context)
        child.phase = Phase.STARTING
        child.silent_rounds = 0
        child.ref.tell(Begin())
        self._set_timer("ready", child, self._clock.now().after_ms(child.spec.ready_ms))

    def _stop_child(self, child: Child) -> None:
        assert child.ref is not None
        child.phase = Phase.STOPPING
        child.ref.stop(block=False)
        self._set_timer("stop", child, self._clock.now().after_ms(child.spec.stop_ms))

    def _end_child(self, child: Child) -> bool:
        assert child.ref is not None and child.context is not None
        child.ref.stop(block=False)
        return child.context.ended.wait(child.spec.stop_ms / 1_000)

    # --- what children tell ----------------------------------------------------------------------

    def _on_child(self, child: Child, event: ChildEvent) -> None:
        match event:
            case ChildReady():
                if child.phase is Phase.STARTING:
                    child.phase = Phase.UP
                    child.was_ready = True
                    self._clear_timer("ready", child)
            case ChildAlive():
                child.silent_rounds = 0
            case ChildEnded():
                self._on_down(child, None, "")
            case ChildFailed():
                self._on_down(child, event.error, event.story)
            case _:
                raise LocalProtocolError(f"Supervisor {self.name} takes no {type(event).__name__}.")

    def _on_down(self, child: Child, error: BaseException | None, story: str) -> None:
        error = child.verdict or error
        on_request = child.verdict is None and (child.must_stop or child.phase is Phase.STOPPING)
        for timer in ("ready", "stop"):
            self._clear_timer(timer, child)
        child.phase, child.ref, child.verdict, child.must_stop = Phase.DOWN, None, None, False
        ends_the_node = isinstance(error, ConfigError) and not on_request  # which tells its reason, once
        if error is not None and not ends_the_node:
            what = error if isinstance(error, FlottaError) else story  # a bug needs its traceback
            _log.error("Actor %s (generation %d) failed: %s", child.name, child.spec.handle.generation, what)
        if on_request:
            return
        if isinstance(error, ConfigError | ActorHungError):
            raise error
        self._plan_restart(child, error)

    def _plan_restart(self, child: Child, error: BaseException | None) -> None:
        child.plan_restart(error, self._clock.now())
        self._set_timer("start", child, child.start_at_ns)
        if self._strategy == "rest_for_one":
            for other in self._children[self._children.index(child) + 1 :]:
                other.must_stop = other.lives

    # --- timers ----------------------------------------------------------------------------------

    def _on_timer(self, fired: TimerFired) -> None:
        kind, _, name = fired.name.partition(":")
        if kind == "ping":
            self._ping_all()
            return
        child = self._by_name[name]
        if fired.generation != child.spec.handle.generation:
            return
        if kind == "ready" and child.phase is Phase.STARTING:
            child.verdict = UnreachableError(
                Code.TIMED_OUT, f"Actor {name} was not ready within {child.spec.ready_ms / 1_000:g} s."
            )
            self._stop_child(child)
        elif kind == "stop" and child.phase is Phase.STOPPING:
            self._hung(f"Actor {name} did not end within {child.spec.stop_ms / 1_000:g} s after it was asked to.")

    def _ping_all(self) -> None:
        for child in self._children:
            if child.phase is not Phase.UP:
                child.silent_rounds = 0
                continue
            if child.silent_rounds >= HANG_ROUNDS:
                self._hung(f"Actor {child.name} has given no sign of life for {HANG_LIMIT_MS / 1_000:g} s.")
            if child.silent_rounds == 0:
                child.spec.handle.tell(Ping())
            child.silent_rounds += 1
        self._ping_later()

    def _ping_later(self) -> None:
        self._timers.set(self.address, "ping", self._clock.now().after_ms(PING_INTERVAL_MS))

    def _set_timer(self, kind: str, child: Child, at_ns: int) -> None:
        self._timers.set(self.address, f"{kind}:{child.name}", at_ns, child.spec.handle.generation)

    def _clear_timer(self, kind: str, child: Child) -> None:
        self._timers.clear(self.address, f"{kind}:{child.name}")

    def _hung(self, sentence: str) -> None:
        """Escalate, leaving every thread's stack on stderr for whoever looks for the cause."""
        faulthandler.dump_traceback(_STDERR)
        raise ActorHungError(sentence)


def supervisor_spec(
    name: str, specs: Sequence[ChildSpec], *, strategy: Strategy, clock: Clock, timers: TimerService
) -> ChildSpec:
    """A supervisor as a child, with as much time to start and stop as its children need in turn."""
    return ChildSpec(
        name,
        lambda context: Supervisor.start(context, specs, strategy=strategy, clock=clock, timers=timers),
        ready_ms=READY_LIMIT_MS + sum(spec.ready_ms for spec in specs),
        stop_ms=STOP_LIMIT_MS + sum(spec.stop_ms for spec in specs),
    )
