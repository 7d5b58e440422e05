"""The edge above the tree: starts the root supervisor, hears how it fares, stops it. For the main thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pykka

from actors.base import ActorHandle, Begin, ChildFailed, ChildReady, Context
from actors.child_spec import ChildSpec
from actors.ports import Clock
from actors.supervisor import Strategy, supervisor_spec
from actors.timers import TimerService
from protocol.errors import Code, FlottaError, LocalProtocolError, UnreachableError


class Root:
    """The whole tree of a node.

    `on_fatal(reason)` is called once, from the root's thread, when a fault has escalated to the top; all
    actors have ended by then. Without a fault it is never called.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        *,
        clock: Clock,
        timers: TimerService,
        on_fatal: Callable[[FlottaError], None],
        strategy: Strategy = "rest_for_one",
    ) -> None:
        self._spec = supervisor_spec("root", specs, strategy=strategy, clock=clock, timers=timers)
        self._edge = _Edge(on_fatal)
        self._spec.handle.generation = 1
        self._context = Context(self._spec.handle, 1, self._edge)
        self._ref: pykka.ActorRef[Any] | None = None

    def start(self) -> None:
        """Begin to start the children; does not wait for them."""
        self._ref = self._spec.factory(self._context)
        self._ref.tell(Begin())

    def wait_ready(self, limit_ms: int | None = None) -> None:
        """Wait until every child is ready, at most `limit_ms` or else the sum of their own limits.

        Raises the FlottaError that made the tree fail, or UnreachableError(TIMED_OUT).
        """
        limit_ms = self._spec.ready_ms if limit_ms is None else limit_ms
        if not self._edge.settled.wait(limit_ms / 1_000):
            raise UnreachableError(Code.TIMED_OUT, f"The node was not ready within {limit_ms / 1_000:g} s.")
        if self._edge.reason is not None:
            raise self._edge.reason

    def stop(self) -> None:
        """Stop all children in reverse order and wait, at most the sum of their own limits. Again: no effect.

        Raises UnreachableError(TIMED_OUT) when the tree has not ended by then.
        """
        if self._ref is None:
            return
        self._ref.stop(block=False)
        if not self._context.ended.wait(self._spec.stop_ms / 1_000):
            raise UnreachableError(
                Code.TIMED_OUT, f"The node's actors did not end within {self._spec.stop_ms / 1_000:g} s."
            )


class _Edge(ActorHandle):
    """What the root supervisor takes for its parent. Runs in the root's thread."""

    def __init__(self, on_fatal: Callable[[FlottaError], None]) -> None:
        super().__init__("edge")
        self._on_fatal = on_fatal
        self.reason: FlottaError | None = None
        self.settled = threading.Event()  # ready or failed

    def tell(self, message: Any) -> bool:
        match message:
            case ChildReady():
                self.settled.set()
            case ChildFailed(error=error):
                self.reason = _for_people(error)
                self.settled.set()
                self._on_fatal(self.reason)
            case _:
                pass  # signs of life, and the end of a tree that was stopped
        return True


def _for_people(error: BaseException) -> FlottaError:
    if isinstance(error, FlottaError):
        return error
    sentence = f"The root supervisor failed with {type(error).__name__}: {error}."
    return LocalProtocolError(sentence, Code.ACTOR_FAILED)
