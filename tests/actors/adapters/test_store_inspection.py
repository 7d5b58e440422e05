"""A look into a store that is being written: of one moment, bounded in time, and without a change."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from actors.adapters import store_inspection
from actors.adapters.store import SAFETY_FILE, LocalStore
from actors.adapters.store_inspection import look_at_database, look_at_resources
from protocol.errors import Code, StorageError
from protocol.kinds import OUTBOX
from protocol.machines.contract import Audit, Keep, Put, Write

RESULT = b"a result"
DIGEST = hashlib.sha256(RESULT).digest()


def written(folder: Path, rows: int = 3) -> LocalStore:
    """An open store with some of everything."""
    store = LocalStore.open(folder, metadata=Path("jobs.sqlite"))
    audits = [Audit(wall_ms=n, actor="worker", event="done", detail=b"") for n in range(rows)]
    batch: tuple[Write, ...] = (*audits, Put(kind=OUTBOX, key=b"1", value=b"a frame"), Keep(digest=DIGEST, data=RESULT))
    assert store.commit([batch]) == [None]
    return store


def test_a_database_in_use_is_read_as_it_is_now_and_its_writer_goes_on(tmp_path: Path) -> None:
    store = written(tmp_path)
    for rows in (3, 4):
        facts = look_at_database(tmp_path / "jobs.sqlite", in_use=True, limit_s=5)
        assert (facts.whole, facts.messages_waiting, facts.resources) == (True, 1, (DIGEST,))
        assert facts.audit is not None and (facts.audit.ok, facts.audit.rows) == (True, rows)
        assert store.commit([(Audit(wall_ms=9, actor="worker", event="more", detail=b""),)]) == [None]
    store.close()
    assert not (tmp_path / "jobs.sqlite-wal").exists(), "the writer could take its log over"


def test_when_time_is_over_the_rest_is_unknown_and_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path).close()
    monkeypatch.setattr(store_inspection, "_STEPS_PER_LOOK", 1)
    facts = look_at_database(tmp_path / "jobs.sqlite", in_use=False, limit_s=-1)
    assert (facts.whole, facts.audit, facts.messages_waiting) == (None, None, 1)


def test_the_file_of_a_database_in_memory_is_read_beside_its_node(tmp_path: Path) -> None:
    store = LocalStore.open(tmp_path, metadata="memory")
    boot_id = store.next_boot_id(1_000)
    assert look_at_database(tmp_path / SAFETY_FILE, in_use=True, limit_s=5).boot_id == boot_id
    store.close()


def test_results_that_are_missing_are_counted_and_nothing_is_made(tmp_path: Path) -> None:
    written(tmp_path).close()
    folder = tmp_path / "resources"
    names = sorted(path.name for path in folder.iterdir())
    assert look_at_resources(folder, (DIGEST, bytes(32)), limit_s=5) == (1, 1)
    assert sorted(path.name for path in folder.iterdir()) == names
    (folder / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError) as caught:
        look_at_resources(folder, (), limit_s=5)
    assert caught.value.code is Code.DATABASE_FAILED
