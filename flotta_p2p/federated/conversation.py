"""What a child asks of its node while it computes a task: the chunks of its large inputs, and to take those of a large
product. One chunk at a time is on its way, so that neither side needs more memory than the product itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from actors.child_bootstrap import Channel
from protocol.errors import Code, UnreachableError, WorkflowError
from protocol.limits import CHILD_MESSAGE_BYTES_MAX, PRODUCT_BYTES_MAX
from protocol.plan.products import Carried, chunks_of
from protocol.plan.tasks import NodeSays, Piece, PieceGiven, PieceTaken, PieceWanted, Product
from protocol.wire.codec import decode_record, encode_record

Ask = Callable[[Piece | PieceWanted], PieceTaken | PieceGiven]


def ask_nobody(question: Piece | PieceWanted) -> PieceTaken | PieceGiven:
    """For a task that was not given by a node."""
    raise WorkflowError(Code.RESULT_TOO_LARGE, "there is no node here that takes or gives a large product")


def whole(carried: Carried, ask: Ask) -> bytes:
    """The bytes of an input."""
    if isinstance(carried, bytes):
        return carried
    data = bytearray()
    for digest in carried.chunks:
        given = ask(PieceWanted(digest=digest))
        assert isinstance(given, PieceGiven)
        data += given.data
    return bytes(data)


def hand_over(product: bytes, inline_bytes: int, ask: Ask) -> Product:
    """A small product as it is, a large one piece by piece. Raises WorkflowError(RESULT_TOO_LARGE)."""
    if len(product) <= inline_bytes:
        return Product(data=product)
    if len(product) > PRODUCT_BYTES_MAX:
        sentence = f"the product has {len(product):,} bytes; at most {PRODUCT_BYTES_MAX:,} may leave a task"
        raise WorkflowError(Code.RESULT_TOO_LARGE, sentence, next_step="ask for fewer columns, bins or groups")
    pieces = 0
    for chunk in chunks_of(product):
        ask(Piece(data=chunk))
        pieces += 1
    return Product(data=b"", pieces=pieces)


class Conversation:
    """Over the channel to the node. Small tasks come one behind the other, also while a question is open."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: deque[bytes] = deque()  # limits.CHILD_PIPELINE_MAX: requests that came before their turn

    def requests(self) -> Iterator[bytes]:
        """One by one, until the node closes the channel."""
        while (message := self._waiting.popleft() if self._waiting else self._channel.receive()) is not None:
            yield message

    def answer(self, data: bytes) -> None:
        self._channel.send(data)

    def ask(self, question: Piece | PieceWanted) -> PieceTaken | PieceGiven:
        """Raises UnreachableError when the node is gone."""
        self._channel.send(encode_record(question))
        while (message := self._channel.receive()) is not None:
            said: NodeSays = decode_record(message, NodeSays, bytes_max=CHILD_MESSAGE_BYTES_MAX)
            if isinstance(said, PieceTaken | PieceGiven):
                return said
            self._waiting.append(message)
        raise UnreachableError(Code.NODE_UNREACHABLE, "The node of this child is gone.")
