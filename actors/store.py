"""The store actor: every write of the node goes through its one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.base import ActorHandle, Context, SupervisedActor
from actors.failpoints import Point, reached
from actors.messages import (
    Commit,
    CommitRefused,
    Committed,
    FetchResource,
    Load,
    Loaded,
    ResourceFetched,
)
from actors.ports import Store
from protocol.errors import FlottaError, LocalProtocolError
from protocol.limits import COMMIT_GROUP_MAX
from protocol.machines.contract import Write
from protocol.record import Record


class _Flush(Record, frozen=True):
    """To itself: commit what is pending. It arrives behind all that was queued when it was sent."""


class StoreActor(SupervisedActor):
    """Answers `Load`, `Commit` and `FetchResource` in the order in which they came; each sees every commit
    before it.

    Commits that wait in the inbox together become one transaction, and none is answered before it is on disk.
    A commit builds on those that its writer sent before. So those of one writer that wait together are written all or
    not at all, and behind a refused one every other is refused, until the writer has read with `Load` what is there.
    What a caller can live with (disk full, database held by another program, a batch that cannot be stored)
    is answered with `CommitRefused`. A damaged database or a failed sync raises StorageError, the crash of
    this actor: nobody knows then what is on disk, and the spec of this actor lets the node stop with that
    reason.
    """

    def __init__(self, context: Context, open_store: Callable[[], Store]) -> None:
        super().__init__(context)
        self._open_store = open_store
        self._store: Store | None = None
        self._pending: list[Commit] = []  # at most COMMIT_GROUP_MAX
        self._refused: dict[ActorHandle, FlottaError] = {}  # writers that have to load anew: actors of this node

    def begin(self) -> None:
        self._store = self._open_store()
        self.ready()

    def handle(self, message: Any) -> None:
        match message:
            case Commit():
                self._add(message)
            case _Flush():
                self._flush()
            case Load(ticket=ticket, kinds=kinds, reply_to=reply_to):
                self._flush()
                self._refused.pop(reply_to, None)
                reply_to.tell(Loaded(ticket=ticket, rows=self._opened().load(kinds)))
            case FetchResource(ticket=ticket, digest=digest, reply_to=reply_to):
                self._flush()
                reply_to.tell(ResourceFetched(ticket=ticket, data=self._opened().resource(digest)))
            case _:
                raise LocalProtocolError(f"The store takes no {type(message).__name__}.")

    def end(self) -> None:
        if self._store is not None:
            self._store.close()

    def _add(self, commit: Commit) -> None:
        self._pending.append(commit)
        if len(self._pending) == 1 and not self.address.tell(_Flush()):
            self._flush()  # the inbox is full: nothing can be waited for
        elif len(self._pending) == COMMIT_GROUP_MAX:
            self._flush()

    def _flush(self) -> None:
        group, self._pending = self._pending, []
        if not group:
            return
        batches: dict[ActorHandle, list[Write]] = {}
        for commit in group:
            if commit.reply_to not in self._refused:
                batches.setdefault(commit.reply_to, []).extend(commit.writes)
        outcomes = self._opened().commit([tuple(writes) for writes in batches.values()]) if batches else []
        reached(Point.COMMITTED_UNTOLD)
        self._refused |= {writer: error for writer, error in zip(batches, outcomes, strict=True) if error is not None}
        for commit in group:
            error = self._refused.get(commit.reply_to)
            answer = (
                Committed(ticket=commit.ticket) if error is None else CommitRefused(ticket=commit.ticket, error=error)
            )
            commit.reply_to.tell(answer)

    def _opened(self) -> Store:
        if self._store is None:
            raise LocalProtocolError("The store was asked before it was opened.")
        return self._store
