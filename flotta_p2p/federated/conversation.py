"""What a child says to its node while it computes a task: which chunks of its large inputs it needs, and those of a
large product. A few chunks are on their way at a time, so that neither side needs more memory than the product itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

from actors.child_bootstrap import Channel
from protocol.errors import Code, UnreachableError, WorkflowError
from protocol.limits import CHILD_MESSAGE_BYTES_MAX, PIECES_AHEAD_MAX
from protocol.plan.products import Carried, chunks_of
from protocol.plan.tasks import NodeSays, Piece, PieceGiven, PieceTaken, PieceWanted, Product
from protocol.wire.codec import decode_record, encode_record


class Talk(Protocol):
    """Each thing that is said gets one answer, in the order in which they were said."""

    def say(self, message: Piece | PieceWanted) -> None: ...
    def hear(self) -> PieceTaken | PieceGiven: ...


class _Nobody:
    """For a task that was not given by a node."""

    def say(self, message: Piece | PieceWanted) -> None:
        raise WorkflowError(Code.RESULT_TOO_LARGE, "there is no node here that takes or gives a large product")

    def hear(self) -> PieceTaken | PieceGiven:
        raise AssertionError("nothing was said")


NOBODY: Final[Talk] = _Nobody()


def whole(carried: Carried, talk: Talk) -> bytes:
    """The bytes of an input."""
    if isinstance(carried, bytes):
        return carried
    data = bytearray()
    for number, digest in enumerate(carried.chunks):
        if number >= PIECES_AHEAD_MAX:
            data += _given(talk)
        talk.say(PieceWanted(digest=digest))
    for _ in carried.chunks[-PIECES_AHEAD_MAX:]:
        data += _given(talk)
    return bytes(data)


def hand_over(product: bytes, inline_bytes: int, talk: Talk) -> Product:
    """A small product as it is, a large one piece by piece."""
    if len(product) <= inline_bytes:
        return Product(data=product)
    pieces = 0
    for chunk in chunks_of(product):
        if pieces >= PIECES_AHEAD_MAX:
            talk.hear()
        talk.say(Piece(data=chunk))
        pieces += 1
    for _ in range(min(pieces, PIECES_AHEAD_MAX)):
        talk.hear()
    return Product(data=b"", pieces=pieces)


def _given(talk: Talk) -> bytes:
    given = talk.hear()
    assert isinstance(given, PieceGiven)
    return given.data


class Conversation:
    """Over the channel to the node. Small tasks come one behind the other, also while an answer is waited for."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: deque[bytes] = deque()  # limits.CHILD_PIPELINE_MAX: requests that came before their turn

    def requests(self) -> Iterator[bytes]:
        """One by one, until the node closes the channel."""
        while (message := self._waiting.popleft() if self._waiting else self._channel.receive()) is not None:
            yield message

    def answer(self, data: bytes) -> None:
        self._channel.send(data)

    def say(self, message: Piece | PieceWanted) -> None:
        self._channel.send(encode_record(message))

    def hear(self) -> PieceTaken | PieceGiven:
        """Raises UnreachableError when the node is gone."""
        while (message := self._channel.receive()) is not None:
            said: NodeSays = decode_record(message, NodeSays, bytes_max=CHILD_MESSAGE_BYTES_MAX)
            if isinstance(said, PieceTaken | PieceGiven):
                return said
            self._waiting.append(message)
        raise UnreachableError(Code.NODE_UNREACHABLE, "The node of this child is gone.")
