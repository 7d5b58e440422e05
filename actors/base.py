"""What every actor of a node is: supervised, addressed by a handle that survives restarts, crashing alone.

The life of an actor: its supervisor makes it (`__init__` only keeps arguments) and sends `Begin`, the actor
calls `ready()`, messages come, it is stopped or crashes, `end()` runs, and last the supervisor is told how it
ended.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pykka

from actors.inbox import Inbox, System
from protocol.errors import Code, LocalProtocolError
from protocol.limits import CRASH_STORY_CHARS_MAX

_log = logging.getLogger(__name__)


class Begin(System, frozen=True):
    """Supervisor to child, first of all messages: set yourself up."""


class Ping(System, frozen=True):
    """Supervisor to child: are you alive?"""


class ChildEvent(System, frozen=True):
    """Base of what a child tells its supervisor."""

    name: str
    generation: int


class ChildReady(ChildEvent, frozen=True):
    """The child is set up; the next may start."""


class ChildAlive(ChildEvent, frozen=True):
    """Answer to `Ping`."""


class ChildEnded(ChildEvent, frozen=True):
    """The child has stopped without a fault and has released what it held."""


class ChildFailed(ChildEvent, frozen=True):
    """The child has crashed and has released what it held.

    `story` is the end of the traceback; `message` the type of the message that it was handling, "" if it was
    ending.
    """

    error: BaseException
    story: str
    message: str


class ActorHandle:
    """The stable address of a supervised actor, through all its restarts. Any thread may use it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.generation = 0  # raised by the supervisor for each incarnation, never lowered
        self.refused = 0  # messages that found the actor down or full
        self._lock = threading.Lock()
        self._inbox: Inbox | None = None

    def __repr__(self) -> str:
        return f"<handle of {self.name}>"

    def attach(self, inbox: Inbox) -> None:
        """From now on messages go to `inbox`: a new incarnation's, or that of a thread at the edge."""
        self._inbox = inbox

    def tell(self, message: Any) -> bool:
        """Leave `message` for the actor. False, and counted, when it is down or full. Never waits."""
        inbox = self._inbox
        if inbox is not None and inbox.offer(message):
            return True
        with self._lock:
            self.refused += 1
        return False


@dataclass(frozen=True)
class Context:
    """What a supervisor gives to one incarnation of a child.

    `siblings` holds the handles of all children of the same supervisor, started or not. `ended` is set when
    the incarnation has released everything.
    """

    own: ActorHandle
    generation: int
    parent: ActorHandle
    siblings: Mapping[str, ActorHandle] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        return self.own.name


class SupervisedActor(pykka.ThreadingActor):
    """Base of all actors. Subclasses write `begin`, `handle` and `end`, which run in the actor's own thread.

    Anything that one of the three raises, SystemExit and KeyboardInterrupt included, is the crash of this
    actor alone. It is started by a supervisor, `MyActor.start(context, ...)` in the factory of its
    `ChildSpec`. `tell` handles only; `ask` belongs to the edge of the tree, with a time-out.
    """

    use_daemon_thread = True  # a hung actor must not keep the process from ending
    actor_inbox: Inbox

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self._failure: ChildFailed | None = None
        context.own.attach(self.actor_inbox)

    # --- for subclasses to write -----------------------------------------------------------------

    def begin(self) -> None:
        """Set up; runs inside the first message. Call `ready()` here, or from `handle` once all is set up."""
        self.ready()

    def handle(self, message: Any) -> None:
        """Take one message."""
        raise NotImplementedError(f"{type(self).__name__} takes no messages")

    def end(self) -> None:
        """Release everything. Called exactly once, after a stop as after a crash, even one in `begin`."""

    # --- for subclasses to call ------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.context.name

    @property
    def address(self) -> ActorHandle:
        """The actor's own handle, for `reply_to`."""
        return self.context.own

    def ready(self) -> None:
        """Tell the supervisor that the set-up is complete."""
        self.context.parent.tell(ChildReady(self.name, self.context.generation))

    # --- between Pykka and the subclass ----------------------------------------------------------

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return Inbox()

    def on_receive(self, message: Any) -> None:
        """Pykka's hook. A crash ends in `stop`, which overtakes the messages that wait."""
        if self._failure is not None:
            return
        try:
            self._dispatch(message)
        except BaseException as error:
            self._failure = self._failed(error, type(message).__name__)
            self.stop()
            if self.actor_inbox.asked:  # Pykka hands it to the asker; under `tell` nobody would hear it
                raise LocalProtocolError(f"Actor {self.name} crashed: {error!r}.", Code.ACTOR_FAILED) from error

    def on_stop(self) -> None:
        """Pykka's hook: the last thing that the actor's thread does."""
        self.actor_inbox.close()
        try:
            self.end()
        except BaseException as error:
            if self._failure is None:
                self._failure = self._failed(error, "")
            else:
                _log.error("Actor %s, after its crash, failed to release what it held: %r", self.name, error)
        self.context.ended.set()
        self.context.parent.tell(self._failure or ChildEnded(self.name, self.context.generation))

    def _dispatch(self, message: Any) -> None:
        match message:
            case Begin():
                threading.current_thread().name = f"actor {self.name}"
                self.begin()
            case Ping():
                self.context.parent.tell(ChildAlive(self.name, self.context.generation))
            case _:
                self.handle(message)

    def _failed(self, error: BaseException, message: str) -> ChildFailed:
        story = "".join(traceback.format_exception(error))[-CRASH_STORY_CHARS_MAX:]
        return ChildFailed(self.name, self.context.generation, error, story, message)
