"""The transaction rule of the local store: resources are on disk before the rows that name them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import apsw
import pytest

from actors.adapters import sqlite_metadata
from actors.adapters.lmdb_resources import LmdbResources
from actors.adapters.sqlite_metadata import SqliteMetadata
from actors.adapters.store import LocalStore
from protocol.errors import Code, StorageError
from protocol.kinds import INBOX
from protocol.limits import MIB
from protocol.machines.contract import Keep, Put, Release, Write


def keep(data: bytes) -> Keep:
    return Keep(digest=hashlib.sha256(data).digest(), data=data)


def test_resources_of_every_batch_are_stored_before_the_first_row_is_written(tmp_path: Path) -> None:
    resources = LmdbResources.open(tmp_path / "r")
    seen: list[bytes | None] = []

    class Watched(SqliteMetadata):
        def commit(self, batches: Sequence[Sequence[Write]]) -> list[StorageError | None]:
            seen.extend(resources.get(w.digest) for batch in batches for w in batch if isinstance(w, Keep))
            return super().commit(batches)

    metadata = Watched.open(tmp_path / "n.sqlite")
    assert isinstance(metadata, Watched)
    store = LocalStore(metadata, resources)
    assert store.commit([(keep(b"1"),), (keep(b"2"), keep(b"3"))]) == [None, None]
    assert seen == [b"1", b"2", b"3"]
    store.close()


def test_a_resource_whose_row_was_refused_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_metadata, "STORE_BUSY_MS_MAX", 20)
    store = LocalStore.open(tmp_path, metadata=Path("n.sqlite"))
    other = apsw.Connection(str(tmp_path / "n.sqlite"))
    other.execute("BEGIN IMMEDIATE")
    (refusal,) = store.commit([(keep(b"r"),)])
    assert refusal is not None
    other.close()
    assert store.resource(keep(b"r").digest) is None
    assert store.commit([(keep(b"r"),)]) == [None]
    assert store.resource(keep(b"r").digest) == b"r"
    store.close()


def test_a_row_whose_resource_was_refused_is_not_there_and_the_other_batches_are(tmp_path: Path) -> None:
    resources = LmdbResources.open(tmp_path / "r", map_bytes_max=2 * MIB)
    store = LocalStore(SqliteMetadata.open(tmp_path / "n.sqlite"), resources)
    large = [keep(bytes([i]) * MIB) for i in range(3)]
    outcomes = store.commit(
        [
            (keep(b"small"), Put(kind=INBOX, key=b"1", value=b"")),
            (*large, Put(kind=INBOX, key=b"2", value=b"")),
            (Put(kind=INBOX, key=b"3", value=b""),),
        ]
    )
    assert [outcome and outcome.code for outcome in outcomes] == [None, Code.STORE_FULL, None]
    assert [key for key, _ in store.load([INBOX])[INBOX]] == [b"1", b"3"]
    assert store.resource(large[0].digest) is None
    store.close()


def test_resources_that_fail_stop_the_store_instead_of_refusing_one_commit(tmp_path: Path) -> None:
    resources = LmdbResources.open(tmp_path / "r")
    store = LocalStore(SqliteMetadata.open(tmp_path / "n.sqlite"), resources)
    resources.close()
    with pytest.raises(StorageError, match="cannot be used") as caught:
        store.commit([(keep(b"r"),)])
    assert caught.value.code is Code.DATABASE_FAILED
    store.close()


def test_a_row_without_its_resource_is_reported_as_damage(tmp_path: Path) -> None:
    store = LocalStore.open(tmp_path, metadata=Path("n.sqlite"))
    store.commit([(keep(b"r"),)])
    store.close()
    (tmp_path / "resources" / "data.mdb").unlink()
    store = LocalStore.open(tmp_path, metadata=Path("n.sqlite"))
    with pytest.raises(StorageError, match="not stored") as caught:
        store.resource(keep(b"r").digest)
    assert caught.value.code is Code.DATABASE_FAILED
    store.close()


def test_a_store_in_memory_leaves_the_resources_of_a_database_file_alone(tmp_path: Path) -> None:
    store = LocalStore.open(tmp_path, metadata=Path("n.sqlite"))
    store.commit([(keep(b"r"),)])
    store.close()
    LocalStore.open(tmp_path, metadata="memory").close()
    store = LocalStore.open(tmp_path, metadata=Path("n.sqlite"))
    assert store.resource(keep(b"r").digest) == b"r"
    store.close()


def test_an_unusable_folder_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a file")
    with pytest.raises(StorageError, match="cannot be used") as caught:
        LocalStore.open(tmp_path / "work", metadata="memory")
    assert caught.value.code is Code.FOLDER_UNUSABLE


def test_the_database_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    LocalStore.open(tmp_path, metadata=Path("n.sqlite")).close()
    for name in ("n.sqlite", "resources/data.mdb"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


def open_file(folder: Path, name: str = "n.sqlite") -> LocalStore:
    return LocalStore.open(folder, metadata=Path(name))


def stored(store: LocalStore, *results: Keep) -> list[bool]:
    """Whether LMDB holds them, whatever the rows say."""
    return [store._resources.get(result.digest) is not None for result in results]


def test_rows_go_before_their_resources_and_the_next_opening_removes_what_stayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_file(tmp_path)
    store.commit([(keep(b"gone"), keep(b"stays"))])
    monkeypatch.setattr(LmdbResources, "remove_all", lambda *_: pytest.exit("killed here"))
    with pytest.raises(pytest.exit.Exception):
        store.commit([(Release(digests=(keep(b"gone").digest,)),)])
    assert store.resource(keep(b"gone").digest) is None
    assert stored(store, keep(b"gone")) == [True]
    store.close()
    monkeypatch.undo()
    store = open_file(tmp_path)
    assert stored(store, keep(b"gone"), keep(b"stays")) == [False, True]
    store.close()


def test_a_resource_whose_rows_were_never_committed_is_removed_at_the_next_opening(tmp_path: Path) -> None:
    store = open_file(tmp_path)
    store._resources.put_all([(keep(b"half").digest, b"half")])
    store.close()
    store = open_file(tmp_path)
    assert stored(store, keep(b"half")) == [False]
    store.close()


def test_a_folder_that_another_database_has_filled_loses_nothing(tmp_path: Path) -> None:
    store = open_file(tmp_path)
    store.commit([(keep(b"archived"),)])
    store.close()
    store = open_file(tmp_path, "new.sqlite")
    store.commit([(keep(b"new"),)])
    store.close()
    open_file(tmp_path, "new.sqlite").close()
    store = open_file(tmp_path)
    assert store.resource(keep(b"archived").digest) == b"archived"
    store.close()


def test_a_folder_from_before_owners_is_not_taken_by_a_database_that_does_not_name_all_in_it(tmp_path: Path) -> None:
    resources = LmdbResources.open(tmp_path / "resources")
    resources.put_all([(keep(b"archived").digest, b"archived")])
    resources.close()
    for _ in range(2):
        store = open_file(tmp_path)
        assert stored(store, keep(b"archived")) == [True]
        store.close()


def test_a_removal_that_finds_no_room_is_made_good_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageError(Code.DISK_FULL, "full")

    store = open_file(tmp_path)
    store.commit([(keep(b"one"), keep(b"two"))])
    monkeypatch.setattr(LmdbResources, "remove_all", full)
    assert store.commit([(Release(digests=(keep(b"one").digest,)),)]) == [None]
    assert store.resource(keep(b"one").digest) is None
    monkeypatch.undo()
    store.commit([(Release(digests=(keep(b"two").digest,)),)])
    assert stored(store, keep(b"one"), keep(b"two")) == [False, False]
    store.close()
