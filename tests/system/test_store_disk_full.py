"""A disk that is really full: a small file system in memory, which only root may mount."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from actors.adapters.store import LocalStore
from actors.base import ActorHandle, Begin, ChildEnded, ChildReady, Context
from actors.inbox import Inbox
from actors.messages import Commit, CommitRefused, Committed, FetchResource, Load, Loaded, ResourceFetched
from actors.store import StoreActor
from protocol.errors import Code, StorageError
from protocol.kinds import EXECUTED, INBOX
from protocol.limits import KIB, MIB
from protocol.machines.contract import Audit, Keep, Put, Write
from tests.system.small_disk import fill, small_disk_of

pytestmark = pytest.mark.system

WAIT_S = 10.0
MODES = pytest.mark.parametrize("metadata", [Path("node.sqlite"), "memory"], ids=["file", "memory"])
Mode = Literal["memory"] | Path


def batch(i: int, *, keep: bool) -> tuple[Write, ...]:
    data = i.to_bytes(4) * 2_000
    resource = (Keep(digest=hashlib.sha256(data).digest(), data=data),) if keep else ()
    return (
        Put(kind=EXECUTED, key=i.to_bytes(4), value=bytes(8_000)),
        Put(kind=INBOX, key=i.to_bytes(4), value=b""),
        Audit(wall_ms=i, actor="a", event="e"),
        *resource,
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk_of(tmp_path / "disk", megabytes=4) as disk:
        yield disk


@MODES
@pytest.mark.parametrize("keep", [False, True], ids=["rows", "resources"])
def test_a_full_disk_refuses_commits_loses_nothing_and_passes(small_disk: Path, metadata: Mode, keep: bool) -> None:
    inbox, parent, asker = Inbox(), ActorHandle("parent"), ActorHandle("asker")
    parent.attach(inbox)
    asker.attach(inbox)
    context = Context(own=ActorHandle("store"), generation=1, parent=parent)
    actor = StoreActor.start(context, lambda: LocalStore.open(small_disk, metadata=metadata))
    context.own.tell(Begin())
    assert isinstance(inbox.take(WAIT_S), ChildReady)
    tickets = iter(range(10_000))

    def commit() -> tuple[int, object]:
        ticket = next(tickets)
        context.own.tell(Commit(ticket=ticket, writes=batch(ticket, keep=keep), reply_to=asker))
        return ticket, inbox.take(WAIT_S)

    def keys() -> list[int]:
        context.own.tell(Load(ticket=0, kinds=(EXECUTED, INBOX), reply_to=asker))
        answer = inbox.take(WAIT_S)
        assert isinstance(answer, Loaded)
        executed = [key for key, _ in answer.rows[EXECUTED]]
        assert executed == [key for key, _ in answer.rows[INBOX]]
        return [int.from_bytes(key) for key in executed]

    committed = [commit()[0] for _ in range(20)]
    assert keys() == committed
    filler = fill(small_disk)
    refused = 0
    while refused < 20:  # the log may have room of its own at first
        ticket, answer = commit()
        if isinstance(answer, Committed):
            committed.append(ticket)
        else:
            assert isinstance(answer, CommitRefused)
            assert answer.error.code is Code.DISK_FULL
            assert str(small_disk) in str(answer.error)
            refused += 1
    assert keys() == committed
    filler.unlink()
    for _ in range(20):
        ticket, answer = commit()
        assert answer == Committed(ticket=ticket)
        committed.append(ticket)
    assert keys() == committed
    if keep:
        for i in committed:
            resource = batch(i, keep=True)[-1]
            assert isinstance(resource, Keep)
            context.own.tell(FetchResource(ticket=i, digest=resource.digest, reply_to=asker))
            assert inbox.take(WAIT_S) == ResourceFetched(ticket=i, data=resource.data)
    actor.stop()
    assert isinstance(inbox.take(WAIT_S), ChildEnded)
    store = LocalStore.open(small_disk, metadata=metadata)
    assert [int.from_bytes(key) for key, _ in store.load([EXECUTED])[EXECUTED]] == committed
    verdict = store.verify_audit()
    assert (verdict.ok, verdict.rows) == (True, len(committed))
    store.close()


@MODES
def test_a_store_that_cannot_be_made_on_a_full_disk_says_so(small_disk: Path, metadata: Mode) -> None:
    filler = fill(small_disk)
    with pytest.raises(StorageError, match="is full") as caught:
        LocalStore.open(small_disk, metadata=metadata)
    assert caught.value.code is Code.DISK_FULL
    filler.unlink()
    LocalStore.open(small_disk, metadata=metadata).close()


@MODES
@pytest.mark.parametrize("free_bytes", [64 * KIB, 128 * KIB, 192 * KIB, 256 * KIB, 320 * KIB, MIB])
def test_opening_on_a_nearly_full_disk_works_or_says_so(small_disk: Path, metadata: Mode, free_bytes: int) -> None:
    filler = fill(small_disk)
    os.truncate(filler, filler.stat().st_size - free_bytes)
    try:
        store = LocalStore.open(small_disk, metadata=metadata)
    except StorageError as error:
        assert error.code is Code.DISK_FULL
    else:
        store.resource(bytes(32))
        store.close()
    filler.unlink()
    LocalStore.open(small_disk, metadata=metadata).close()
