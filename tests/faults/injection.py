"""Faults inside the handlers of actors that run in this process. The product has no switch for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal
from unittest.mock import patch

from actors import supervisor
from actors.base import ActorHandle, Begin, SupervisedActor
from actors.bus import Bus
from actors.child_spec import ChildSpec
from tests.faults.handler_list import Handler

KINDS: Final[tuple[type[BaseException], ...]] = (RuntimeError, SystemExit, KeyboardInterrupt, MemoryError)
Moment = Literal["before", "after"]  # the handler has done nothing, or everything, when it fails


class Injected:
    """Faults for one node: the next message of the armed handler meets it. Thread-safe as far as it is used here."""

    def __init__(self) -> None:
        self.tree: Mapping[str, ActorHandle] = {}
        self.classes: dict[str, type[SupervisedActor]] = {}
        self.seen: set[tuple[str, type[Any], type[Any]]] = set()  # actor, message, what is in the message
        self.hit = threading.Event()
        self.hit_s = 0.0
        self.release = threading.Event()  # lets a hanging handler go on
        self._armed: tuple[Handler, Moment, type[BaseException] | None] | None = None

    def arm(self, handler: Handler, moment: Moment, kind: type[BaseException] | None) -> None:
        """`kind` None: the handler hangs until `release`."""
        self.hit.clear()
        self._armed = (handler, moment, kind)

    def disarm(self) -> None:
        self._armed = None

    def has_seen(self, handler: Handler) -> bool:
        body = handler.body
        return any(
            (actor, message) == (handler.actor, handler.message) and (body is None or inner is body)
            for actor, message, inner in self.seen
        )

    def meet(self, moment: Moment, actor: SupervisedActor, message: Any) -> None:
        """Called in the actor's thread, around its handling of `message`."""
        if moment == "after":
            self.seen.add((actor.name, type(message), type(getattr(message, "message", None))))
        armed = self._armed
        if armed is None or armed[1] != moment or not armed[0].takes(actor.name, message):
            return
        self._armed = None
        self.hit_s = time.monotonic()
        self.hit.set()
        kind = armed[2]
        if kind is None:
            self.release.wait()
        else:
            raise kind(f"injected {moment} {armed[0]}")


@contextmanager
def injecting(
    *,
    ping_ms: int = 300,
    hang_ms: int = 10_000,
    stop_ms: int | None = None,
    on_node: Callable[[Injected], None] = lambda injected: None,
) -> Iterator[list[Injected]]:
    """The nodes that start in the block can be given faults; the list has one entry for each, in their order, and
    `on_node` is called with it before the first actor starts.

    Meanwhile restarts of actors are unlimited, with the shortest pause: how many are too many is another test's.
    """
    found: list[Injected] = []
    connect, dispatch, prepare = Bus.connect, SupervisedActor._dispatch, ChildSpec.__post_init__
    by_handle: dict[ActorHandle, Injected] = {}

    def noting(self: Bus, handles: Mapping[str, ActorHandle]) -> None:
        injected = Injected()
        injected.tree = handles
        by_handle.update(dict.fromkeys(handles.values(), injected))
        found.append(injected)
        on_node(injected)
        connect(self, handles)

    def meeting(self: SupervisedActor, message: Any) -> None:
        injected = by_handle.get(self.address)
        if injected is None:
            dispatch(self, message)
            return
        if isinstance(message, Begin):
            injected.classes[self.name] = type(self)
        injected.meet("before", self, message)
        dispatch(self, message)
        injected.meet("after", self, message)

    def patient(self: ChildSpec) -> None:
        prepare(self)
        object.__setattr__(self, "window_ms", 1)
        if stop_ms is not None:
            object.__setattr__(self, "stop_ms", stop_ms)

    with (
        patch.object(Bus, "connect", noting),
        patch.object(SupervisedActor, "_dispatch", meeting),
        patch.object(ChildSpec, "__post_init__", patient),
        patch.multiple(supervisor, PING_INTERVAL_MS=ping_ms, HANG_ROUNDS=-(-hang_ms // ping_ms)),
    ):
        try:
            yield found
        finally:
            for injected in found:
                injected.disarm()
                injected.release.set()
