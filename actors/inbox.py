"""The bounded inbox of an actor: refuses data when it is full, always admits what the tree lives by.

Two lanes. System messages and Pykka's stop overtake everything, so a busy actor still answers its supervisor
and stops. Everything else comes in order of arrival. Of that, data is refused, the newest first, when the
inbox is full; answers and timers that the actor asked for itself are admitted, since losing one would leave
it waiting for ever. So is what the operator decides: whoever floods a node must not outlive its ban by that.
"""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import Any, Final

from pykka import ActorDeadError
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from protocol.errors import Code, UnreachableError
from protocol.limits import INBOX_FRAME_BYTES_MAX, INBOX_MESSAGES_MAX
from protocol.machines.contract import TimerFired
from protocol.machines.events import Arrived, DoorsOpened, PeersAllowed, ProjectsHeld, Transmit, Unseal
from protocol.record import Record
from protocol.wire.relay import is_relayed


class System(Record, frozen=True):
    """Base of the messages of supervision. Always admitted, before data. Few are under way at any time."""


class Answer(Record, frozen=True):
    """Base of answers to a question with `reply_to`. Always admitted: whoever asks bounds their number."""


_NEVER_REFUSED: Final = (Answer, TimerFired, PeersAllowed, ProjectsHeld, DoorsOpened)


class InboxFullError(UnreachableError):
    """Given to whoever used `ask` on an actor whose inbox is full. Whoever tells a handle gets False."""

    def __init__(self) -> None:
        super().__init__(
            Code.BUSY,
            "The actor has too many messages waiting and took no more.",
            next_step="try again in a moment",
        )


class Inbox:
    """Inbox of one actor, or of a thread at the edge of the tree that reads it with `take`.

    Any thread may call; `get` and `take` only the one reader. Nothing but these two waits.
    """

    def __init__(self, limit: int = INBOX_MESSAGES_MAX) -> None:
        self._limit = limit
        self._changed = Condition()
        self._system: deque[Envelope[Any]] = deque()
        self._data: deque[Envelope[Any]] = deque()
        self._frame_bytes = 0  # limits.INBOX_FRAME_BYTES_MAX: of frames among the data
        self._closed = False
        self.refused = 0  # messages that were not taken, full and closed together
        self.asked = False  # whether the envelope that `get` gave last awaits a reply

    def offer(self, message: Any) -> bool:
        """Admit `message`. False, and counted, when the inbox is full or closed."""
        return self._admit(Envelope(message)) is None

    def put(self, envelope: Envelope[Any], /) -> None:
        """Pykka's entry, for `tell` and `ask` on a ref: like `offer`; a refused `ask` fails at once."""
        refusal = self._admit(envelope)
        if refusal is not None and envelope.reply_to is not None:
            envelope.reply_to.set_exception((type(refusal), refusal, None))

    def get(self) -> Envelope[Any]:
        """The next envelope. The one unbounded wait: an actor rests here, and a stop wakes it."""
        with self._changed:
            self._changed.wait_for(self._waiting)
            return self._next()

    def take(self, seconds: float) -> Any | None:
        """The next message, or None when none came within `seconds`. For readers that are no actors."""
        with self._changed:
            return self._next().message if self._changed.wait_for(self._waiting, seconds) else None

    def empty(self) -> bool:
        with self._changed:
            return not self._waiting()

    def drained(self) -> bool:
        """Whether nothing waits but messages of supervision. Cheap: it takes no lock, and may be a moment old."""
        return not self._data

    def close(self) -> None:
        """Take no more. What is already inside stays for the reader."""
        with self._changed:
            self._closed = True

    def _waiting(self) -> bool:
        return bool(self._system or self._data)

    def _next(self) -> Envelope[Any]:
        envelope = (self._system or self._data).popleft()
        self._frame_bytes -= _frame_bytes(envelope.message)
        self.asked = envelope.reply_to is not None
        return envelope

    def _admit(self, envelope: Envelope[Any]) -> Exception | None:
        """None when admitted, else why not."""
        message = envelope.message
        with self._changed:
            if self._closed:
                self.refused += 1
                return ActorDeadError("the actor has stopped")
            if isinstance(message, System | _ActorStop):
                self._system.append(envelope)
            elif self._has_room(message) or isinstance(message, _NEVER_REFUSED):
                self._frame_bytes += _frame_bytes(message)
                self._data.append(envelope)
            else:
                self.refused += 1
                return InboxFullError()
            self._changed.notify()
            return None

    def _has_room(self, message: Any) -> bool:
        return len(self._data) < self._limit and self._frame_bytes + _frame_bytes(message) <= INBOX_FRAME_BYTES_MAX


def _frame_bytes(message: Any) -> int:
    """Other messages are small, or our own: only frames come as large and as fast as a peer likes."""
    match message:
        case Arrived(raw=raw) | Unseal(sealed=raw):
            return len(raw)
        case Transmit(raw=raw) if is_relayed(raw):
            return len(raw)
    return 0
