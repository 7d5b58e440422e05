from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pykka
import pytest

from actors.adapters.store import LocalStore
from actors.base import ActorHandle, Begin, ChildEnded, ChildFailed, ChildReady, Context
from actors.inbox import Inbox
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
from actors.store import StoreActor
from protocol.errors import Code, StorageError
from protocol.kinds import INBOX
from protocol.limits import COMMIT_GROUP_MAX
from protocol.machines.contract import Keep, Put, Write

WAIT_S = 5.0


class Host:
    """Stands where the supervisor and those who ask stand: starts one store actor and takes what it says."""

    def __init__(self, open_store: Callable[[], Store], own: ActorHandle | None = None) -> None:
        self._said = Inbox()
        self.asker = ActorHandle("asker")
        self.asker.attach(self._said)
        self.context = Context(own=own or ActorHandle("store"), generation=1, parent=self.asker)
        self.ref: pykka.ActorRef[Any] = StoreActor.start(self.context, open_store)
        self.tell(Begin())

    def tell(self, message: object) -> None:
        assert self.context.own.tell(message)

    def commit(self, ticket: int, *writes: Write, writer: ActorHandle | None = None) -> None:
        self.tell(Commit(ticket=ticket, writes=writes, reply_to=writer or self.asker))

    def another(self, name: str) -> ActorHandle:
        """A further actor that asks; its answers come to the same inbox."""
        handle = ActorHandle(name)
        handle.attach(self._said)
        return handle

    def next(self) -> Any:
        return self._said.take(WAIT_S)

    def stop(self) -> None:
        if not self.context.ended.is_set():
            self.ref.stop(timeout=WAIT_S)


class Counted(LocalStore):
    """Notes the size of each group, and holds the first until it is told to go on."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.groups: list[int] = []
        self.entered, self.go_on = threading.Event(), threading.Event()

    def commit(self, batches: Sequence[tuple[Write, ...]]) -> list[StorageError | None]:
        self.entered.set()
        assert self.go_on.wait(WAIT_S)
        self.groups.append(len(batches))
        return super().commit(batches)


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[tuple[Host, Counted]]:
    opened: list[Counted] = []

    def open_store() -> Counted:
        store = Counted.open(tmp_path, metadata=Path("n.sqlite"))
        assert isinstance(store, Counted)
        opened.append(store)
        return store

    host = Host(open_store)
    assert isinstance(host.next(), ChildReady)
    yield host, opened[0]
    opened[0].go_on.set()
    host.stop()


def put(key: int, kind: str = INBOX) -> Put:
    return Put(kind=kind, key=key.to_bytes(4), value=b"")


def test_commits_that_wait_together_become_one_transaction_answered_in_order(
    counted: tuple[Host, Counted],
) -> None:
    host, store = counted
    host.commit(0, put(0))
    assert store.entered.wait(WAIT_S)
    other = host.another("other")
    for ticket in range(1, 11):
        if ticket == 5:
            host.commit(ticket, put(ticket, "no-such-kind"), writer=other)
        else:
            host.commit(ticket, put(ticket))
    host.tell(Load(ticket=99, kinds=(INBOX,), reply_to=host.asker))
    store.go_on.set()
    answers = [host.next() for _ in range(11)]
    assert [answer.ticket for answer in answers] == list(range(11))
    assert [answer.ticket for answer in answers if isinstance(answer, CommitRefused)] == [5]
    assert store.groups == [1, 2]  # one batch of each writer
    loaded = host.next()
    assert isinstance(loaded, Loaded)
    assert [int.from_bytes(key) for key, _ in loaded.rows[INBOX]] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]


def test_a_group_has_a_limit(counted: tuple[Host, Counted]) -> None:
    host, store = counted
    host.commit(0)
    assert store.entered.wait(WAIT_S)
    count = 2 * COMMIT_GROUP_MAX + 3
    for ticket in range(1, count + 1):
        host.commit(ticket, writer=host.another(f"writer {ticket}"))
    store.go_on.set()
    assert [host.next() for _ in range(count + 1)] == [Committed(ticket=ticket) for ticket in range(count + 1)]
    assert sum(store.groups) == count + 1
    assert max(store.groups) == COMMIT_GROUP_MAX


def test_behind_a_refused_commit_nothing_of_its_writer_is_written_until_it_has_loaded(
    counted: tuple[Host, Counted],
) -> None:
    host, store = counted
    other = host.another("other")
    host.commit(0)
    assert store.entered.wait(WAIT_S)
    host.commit(1, put(1))
    host.commit(2, put(2, "no-such-kind"))
    host.commit(3, put(3))
    host.commit(4, put(4), writer=other)
    store.go_on.set()
    answers = [host.next() for _ in range(5)]
    assert [answer.ticket for answer in answers] == [0, 1, 2, 3, 4]
    assert [answer.ticket for answer in answers if isinstance(answer, Committed)] == [0, 4]
    host.commit(5, put(5))
    host.commit(6, put(6), writer=other)
    late = host.next()
    assert isinstance(late, CommitRefused)
    assert (late.ticket, late.error) == (5, answers[2].error)
    assert host.next() == Committed(ticket=6)
    host.commit(7, put(7))
    host.tell(Load(ticket=8, kinds=(INBOX,), reply_to=host.asker))
    assert isinstance(host.next(), CommitRefused)
    loaded = host.next()
    assert isinstance(loaded, Loaded)
    assert [int.from_bytes(key) for key, _ in loaded.rows[INBOX]] == [4, 6]
    host.commit(9, put(9))
    assert host.next() == Committed(ticket=9)


def test_when_the_inbox_is_full_commits_do_not_wait_for_a_group(tmp_path: Path) -> None:
    class Full(ActorHandle):
        """As if others filled the inbox again each time before the actor could tell itself anything."""

        def tell(self, message: Any) -> bool:
            return isinstance(message, Begin | Commit) and super().tell(message)

    host = Host(lambda: LocalStore.open(tmp_path, metadata="memory"), own=Full("store"))
    assert isinstance(host.next(), ChildReady)
    host.commit(1)
    host.commit(2)
    assert [host.next(), host.next()] == [Committed(ticket=1), Committed(ticket=2)]
    host.stop()


def test_a_question_sees_every_commit_before_it(counted: tuple[Host, Counted]) -> None:
    host, store = counted
    store.go_on.set()
    data = b"resource"
    digest = hashlib.sha256(data).digest()
    host.commit(1, Keep(digest=digest, data=data))
    host.tell(FetchResource(ticket=2, digest=digest, reply_to=host.asker))
    host.tell(FetchResource(ticket=3, digest=bytes(32), reply_to=host.asker))
    assert [host.next() for _ in range(3)] == [
        Committed(ticket=1),
        ResourceFetched(ticket=2, data=data),
        ResourceFetched(ticket=3, data=None),
    ]


def test_a_stop_closes_the_database(tmp_path: Path) -> None:
    host = Host(lambda: LocalStore.open(tmp_path, metadata=Path("n.sqlite")))
    assert isinstance(host.next(), ChildReady)
    host.commit(1, put(1))
    assert host.next() == Committed(ticket=1)
    assert (tmp_path / "n.sqlite-wal").exists()
    host.stop()
    assert isinstance(host.next(), ChildEnded)
    assert not (tmp_path / "n.sqlite-wal").exists()


def test_a_foreign_file_in_place_of_the_database_fails_the_start_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "n.sqlite").write_bytes(b"someone's notes" * 1_000)
    host = Host(lambda: LocalStore.open(tmp_path, metadata=Path("n.sqlite")))
    failed = host.next()
    assert isinstance(failed, ChildFailed)
    assert isinstance(failed.error, StorageError)
    assert failed.error.code is Code.DATABASE_FAILED
    assert "\n" not in str(failed.error)
    assert (tmp_path / "n.sqlite").read_bytes().startswith(b"someone's notes")


def test_a_damaged_database_ends_the_actor_with_the_reason_and_answers_nothing(tmp_path: Path) -> None:
    path = tmp_path / "n.sqlite"
    store = LocalStore.open(tmp_path, metadata=path)
    store.commit([tuple(put(i) for i in range(10_000))])
    store.close()
    content = path.read_bytes()
    read_at_opening = 64 * 1024
    path.write_bytes(content[:read_at_opening] + b"\xff" * (len(content) - read_at_opening))
    host = Host(lambda: LocalStore.open(tmp_path, metadata=path))
    assert isinstance(host.next(), ChildReady)
    host.commit(1, put(9_999))
    failed = host.next()
    assert isinstance(failed, ChildFailed)
    assert isinstance(failed.error, StorageError)
    assert failed.error.code is Code.DATABASE_FAILED
    assert "damaged" in str(failed.error)
