"""What waits for a child process and what is in one: the records of the runner, without its actor."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Literal

from actors.base import ActorHandle
from protocol.limits import CHILD_MESSAGE_BYTES_MAX, CHILD_PIPELINE_MAX
from protocol.plan.operations import OPERATIONS

INSPECTION: Final = b"inspection"


class Work:
    """One thing to compute, and where its end is told.

    A `light` one takes a moment and may run twice: many of one job lie in one child together. Any other has a child
    to itself while it runs.
    """

    def __init__(
        self,
        owner: bytes,
        key: bytes,
        message: bytes,
        limit_ms: int,
        reply_to: ActorHandle,
        operation: str = "",
        chunks: frozenset[bytes] = frozenset(),
    ) -> None:
        self.owner = owner  # job id; children are never shared between owners
        self.key = key
        self.message = message
        self.limit_ms = limit_ms
        self.reply_to = reply_to
        known = OPERATIONS.get(operation)
        self.light = known is not None and known.light
        self.chunks = chunks  # what its child may ask for
        self.pieces = 0  # of its product, that its child has told
        self.unanswered = 0  # of what its child said, limits.PIECES_AHEAD_MAX
        self.run = 0  # as the worker names it

    @property
    def is_inspection(self) -> bool:
        return self.owner.startswith(INSPECTION)


class Child:
    """One child process. It answers in the order in which it was given its work: the first one is being computed."""

    def __init__(self) -> None:
        self.owner = b""  # empty: spare
        self.works: deque[Work] = deque()  # limits.CHILD_PIPELINE_MAX
        self.leaving = False  # it was killed: nothing is given to it any more
        self.silenced = False  # work was taken from it: its answers can no longer be told apart and are not heard
        self.reason: Literal["crashed", "out-of-time"] = "crashed"

    def takes(self, work: Work) -> bool:
        if self.leaving or self.owner != work.owner:
            return False
        if not self.works:
            return True
        waiting_bytes = sum(len(one.message) for one in self.works)
        room = len(self.works) < CHILD_PIPELINE_MAX and waiting_bytes + len(work.message) <= CHILD_MESSAGE_BYTES_MAX
        return work.light and room and all(one.light for one in self.works)

    def take_away(self, key: bytes) -> bool:
        """Forget this work if it has it. What is left will not end here either."""
        left = deque(work for work in self.works if work.key != key)
        if len(left) == len(self.works):
            return False
        self.works, self.silenced = left, True
        return True


class Queue:
    """Work that waits for a child, by owner; owners and the work of each in the order in which they came."""

    def __init__(self) -> None:
        self._by_owner: dict[bytes, deque[Work]] = {}  # limits.TASKS_LIVE_PER_WORKER_MAX, kept by the worker machine

    def __bool__(self) -> bool:
        return bool(self._by_owner)

    def add(self, work: Work) -> None:
        self._by_owner.setdefault(work.owner, deque()).append(work)

    def put_back(self, works: deque[Work]) -> None:
        """Work of one owner that was given away in vain, before all that waits."""
        if works:
            waiting = self._by_owner.setdefault(works[0].owner, deque())
            waiting.extendleft(reversed(works))

    def heads(self) -> Iterator[Work]:
        """The next work of each owner. While they are looked at, `take` may be called."""
        for waiting in list(self._by_owner.values()):
            while waiting:
                head = waiting[0]
                yield head
                if waiting and waiting[0] is head:
                    break  # it must go on waiting, and so must those behind it

    def take(self, work: Work) -> None:
        waiting = self._by_owner[work.owner]
        assert waiting.popleft() is work
        if not waiting:
            del self._by_owner[work.owner]

    def remove(self, key: bytes) -> None:
        for owner, waiting in list(self._by_owner.items()):
            left = deque(work for work in waiting if work.key != key)
            if left:
                self._by_owner[owner] = left
            else:
                del self._by_owner[owner]

    def take_all(self) -> list[Work]:
        works = [work for waiting in self._by_owner.values() for work in waiting]
        self._by_owner.clear()
        return works
