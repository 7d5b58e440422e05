from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from actors.adapters import sqlite_metadata, sqlite_schema
from actors.adapters.sqlite_metadata import SqliteMetadata
from actors.adapters.sqlite_schema import APPLICATION_ID, MIGRATIONS
from protocol.errors import Code, StorageError
from protocol.kinds import INBOX, JOB, SEEN_BOOT
from protocol.machines.contract import Audit, Drop, DropLog, LogJob, Put

BOTH = pytest.mark.parametrize("in_memory", [False, True], ids=["file", "memory"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.sqlite"


def put(kind: str, key: bytes) -> tuple[Put]:
    return (Put(kind=kind, key=key, value=b""),)


def tamper(path: Path, *statements: str) -> None:
    """What somebody does to the file who knows SQL and drops the triggers first."""
    db = apsw.Connection(str(path))
    for (trigger,) in list(db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")):
        db.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        db.execute(statement)
    db.close()


# --- durability ---------------------------------------------------------------------------------


@BOTH
def test_the_file_has_a_write_ahead_log_synced_at_every_commit(path: Path, in_memory: bool) -> None:
    metadata = SqliteMetadata.open(path, in_memory=in_memory)
    schema = "safety" if in_memory else "main"
    pragmas = {
        name: sqlite_schema.number(metadata._db, f"PRAGMA {schema}.{name}")
        for name in ("synchronous", "mmap_size", "trusted_schema", "foreign_keys", "fullfsync")
    }
    assert pragmas == {
        "synchronous": 2,
        "mmap_size": 0,
        "trusted_schema": 0,
        "foreign_keys": 1,
        "fullfsync": 1,
    }
    assert list(metadata._db.execute(f"PRAGMA {schema}.journal_mode")) == [("wal",)]
    metadata.close()


@BOTH
def test_a_database_held_by_another_program_refuses_the_commit_and_then_works_again(
    path: Path, in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_metadata, "STORE_BUSY_MS_MAX", 50)
    metadata = SqliteMetadata.open(path, in_memory=in_memory)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    outcomes = metadata.commit([put(SEEN_BOOT, b"1"), put(INBOX, b"1")])
    assert [outcome and outcome.code for outcome in outcomes] == [Code.DATABASE_FAILED] * 2
    assert str(path) in str(outcomes[0])
    other.execute("ROLLBACK")
    assert (metadata.load(SEEN_BOOT), metadata.load(INBOX)) == ([], [])
    assert metadata.commit([put(SEEN_BOOT, b"1"), put(INBOX, b"1")]) == [None, None]
    other.close()
    metadata.close()


def test_a_failed_outer_commit_refuses_every_batch(path: Path) -> None:
    metadata = SqliteMetadata.open(path, in_memory=True)

    def full() -> bool:
        raise apsw.FullError("the disk is full")

    metadata._db.set_commit_hook(full)
    outcomes = metadata.commit([put(SEEN_BOOT, b"1"), put(INBOX, b"2")])
    assert [outcome and outcome.code for outcome in outcomes] == [Code.DISK_FULL] * 2
    metadata._db.set_commit_hook(None)
    assert (metadata.load(SEEN_BOOT), metadata.load(INBOX)) == ([], [])
    assert metadata.commit([put(SEEN_BOOT, b"1")]) == [None]
    metadata.close()


@BOTH
def test_a_disk_that_fills_within_a_batch_refuses_all_and_works_again_with_space(path: Path, in_memory: bool) -> None:
    metadata = SqliteMetadata.open(path, in_memory=in_memory)
    schema = "safety" if in_memory else "main"
    metadata._db.execute(f"PRAGMA {schema}.max_page_count = 20")
    large = (Put(kind=SEEN_BOOT, key=b"large", value=bytes(200_000)),)
    outcomes = metadata.commit([(*put(INBOX, b"1"), *put(SEEN_BOOT, b"1")), large])
    assert [outcome and outcome.code for outcome in outcomes] == [Code.DISK_FULL] * 2
    assert (metadata.load(SEEN_BOOT), metadata.load(INBOX)) == ([], [])
    assert metadata.commit([(*put(INBOX, b"2"), *put(SEEN_BOOT, b"2"))]) == [None]
    metadata._db.execute(f"PRAGMA {schema}.max_page_count = 1000")
    assert metadata.commit([large]) == [None]
    assert [key for key, _ in metadata.load(SEEN_BOOT)] == [b"2", b"large"]
    metadata.close()


@pytest.mark.parametrize("verb", ["UPDATE {} SET event = 'x'", "DELETE FROM {}", "REPLACE INTO {} SELECT * FROM {}"])
@pytest.mark.parametrize("table", ["audit", "job_events"])
def test_append_only_tables_refuse_every_change(path: Path, table: str, verb: str) -> None:
    """Of job events those of jobs that are kept."""
    metadata = SqliteMetadata.open(path)
    kept, log = Put(kind=JOB, key=b"j", value=b""), LogJob(job_id=b"j", wall_ms=1, event="e")
    metadata.commit([(kept, Audit(wall_ms=1, actor="a", event="e"), log)])
    with pytest.raises(apsw.ConstraintError, match="append-only"):
        metadata._db.execute(verb.format(table, table))
    metadata.close()


def test_a_database_from_before_jobs_could_be_removed_lets_them_be(path: Path) -> None:
    job, log = Put(kind=JOB, key=b"j", value=b""), LogJob(job_id=b"j", wall_ms=1, event="e")
    old = SqliteMetadata.open(path, migrations=MIGRATIONS[:1])
    old.commit([(job, log)])
    old.close()
    new = SqliteMetadata.open(path)
    owner = new.owner()
    assert len(owner) == 16
    assert new.commit([(Drop(kind=JOB, key=b"j"), DropLog(job_id=b"j"))]) == [None]
    assert new.job_events(b"j") == []
    new.close()
    again = SqliteMetadata.open(path)
    assert again.owner() == owner
    again.close()


# --- what may be opened -------------------------------------------------------------------------


def _other_program(path: Path) -> None:
    db = apsw.Connection(str(path))
    db.execute("CREATE TABLE bookmarks(url)")
    db.close()


@BOTH
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path.write_bytes(b"%PDF-1.7 " * 1_000), "is not a SQLite database"),
        (lambda path: path.write_bytes(b"short"), "is not a SQLite database"),
        (_other_program, "is the SQLite database of another program"),
        (lambda path: path.mkdir(), "cannot be used"),
    ],
    ids=["pdf", "short", "other SQLite", "folder"],
)
def test_a_foreign_file_is_named_in_one_sentence_and_left_as_it_was(
    path: Path, in_memory: bool, make: Callable[[Path], object], sentence: str
) -> None:
    make(path)
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises(StorageError, match=sentence) as caught:
        SqliteMetadata.open(path, in_memory=in_memory)
    assert caught.value.code is Code.DATABASE_FAILED
    assert str(path) in caught.value.sentence
    assert caught.value.next_step
    assert path.is_dir() or path.read_bytes() == before


def test_an_exception_of_our_own_leaves_no_transaction_open(path: Path) -> None:
    metadata = SqliteMetadata.open(path)
    with pytest.raises(UnicodeEncodeError):
        metadata.commit([put(SEEN_BOOT, b"1"), (Audit(wall_ms=1, actor="\ud800", event="e"),)])
    assert metadata.load(SEEN_BOOT) == []
    assert metadata.commit([put(SEEN_BOOT, b"2")]) == [None]
    metadata.close()


def test_a_database_of_a_newer_program_is_refused_and_left_as_it_was(path: Path) -> None:
    SqliteMetadata.open(path, migrations=(*MIGRATIONS, lambda db, schema: None)).close()
    before = path.read_bytes()
    with pytest.raises(StorageError) as caught:
        SqliteMetadata.open(path)
    assert caught.value.code is Code.DATABASE_TOO_NEW
    assert path.read_bytes() == before


def test_damage_found_while_writing_stops_the_store_instead_of_refusing_one_commit(path: Path) -> None:
    metadata = SqliteMetadata.open(path)
    metadata.commit([tuple(Put(kind=INBOX, key=bytes([i]), value=bytes(5_000)) for i in range(100))])
    metadata.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    metadata = SqliteMetadata.open(path)
    with pytest.raises(StorageError, match="is damaged") as caught:
        metadata.commit([put(INBOX, b"new")])
    assert caught.value.code is Code.DATABASE_FAILED
    metadata.close()


def test_after_an_unclean_exit_damage_is_found_at_the_start(path: Path, tmp_path: Path) -> None:
    metadata = SqliteMetadata.open(path)
    metadata.commit([tuple(Put(kind=INBOX, key=bytes([i]), value=bytes(5_000)) for i in range(100))])
    metadata._db.execute("PRAGMA wal_checkpoint")
    metadata.commit([put(SEEN_BOOT, b"1")])
    killed = tmp_path / "killed.sqlite"
    for suffix in ("", "-wal"):  # the files as a kill leaves them
        shutil.copy(f"{path}{suffix}", f"{killed}{suffix}")
    metadata.close()
    content = killed.read_bytes()
    assert len(content) > 100 * 4096
    killed.write_bytes(content[: 50 * 4096] + b"\xff" * 8192 + content[50 * 4096 + 8192 :])
    with pytest.raises(StorageError, match="is damaged") as caught:
        SqliteMetadata.open(killed)
    assert caught.value.code is Code.DATABASE_FAILED


# --- migration ----------------------------------------------------------------------------------


def _second(db: apsw.Connection, schema: str) -> None:
    db.execute(f"ALTER TABLE {schema}.resources ADD COLUMN kept_ms INTEGER NOT NULL DEFAULT 0")
    db.execute(f"CREATE TABLE {schema}.notes(n INTEGER PRIMARY KEY) STRICT")
    db.execute(f"INSERT INTO {schema}.notes VALUES(7)")


@BOTH
def test_a_migration_killed_at_any_statement_leaves_the_old_version_usable(
    path: Path, tmp_path: Path, in_memory: bool
) -> None:
    old = SqliteMetadata.open(path, in_memory=in_memory)
    old.commit([(*put(SEEN_BOOT, b"kept"), Audit(wall_ms=1, actor="a", event="e"))])
    old.close()
    killed: list[Path] = []

    def photograph(*_: object) -> bool:
        """Before each statement, copy the files: what a kill at this moment leaves on disk."""
        folder = tmp_path / f"killed-{len(killed)}"
        folder.mkdir()
        for file in tmp_path.glob("node.sqlite*"):
            if not file.name.endswith("-shm"):  # rebuilt from the log by whoever opens next
                shutil.copy(file, folder)
        killed.append(folder / "node.sqlite")
        return True

    def watched(db: apsw.Connection, schema: str) -> None:
        db.exec_trace = photograph
        _second(db, schema)

    new = SqliteMetadata.open(path, in_memory=in_memory, migrations=(*MIGRATIONS, watched))
    new._db.exec_trace = None
    assert sqlite_schema.number(new._db, "SELECT n FROM notes") == 7
    new.close()
    assert len(killed) >= 6  # three statements of ours, two of the version, COMMIT
    for copy in killed:
        again = SqliteMetadata.open(copy, in_memory=in_memory)
        assert again.load(SEEN_BOOT) == [(b"kept", b"")]
        assert again.verify_audit().ok
        assert again.commit([put(SEEN_BOOT, b"more")]) == [None]
        again.close()
        migrated = SqliteMetadata.open(copy, in_memory=in_memory, migrations=(*MIGRATIONS, _second))
        assert [key for key, _ in migrated.load(SEEN_BOOT)] == [b"kept", b"more"]
        migrated.close()


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    SqliteMetadata.open(path).close()

    def broken(db: apsw.Connection, schema: str) -> None:
        _second(db, schema)
        db.execute("SELECT * FROM no_such_table")

    with pytest.raises(StorageError, match="no_such_table"):
        SqliteMetadata.open(path, migrations=(*MIGRATIONS, broken))
    metadata = SqliteMetadata.open(path)
    assert sqlite_schema.number(metadata._db, "PRAGMA application_id") == APPLICATION_ID
    assert sqlite_schema.number(metadata._db, "SELECT count(*) FROM sqlite_schema WHERE name = 'notes'") == 0
    metadata.close()


# --- audit --------------------------------------------------------------------------------------

_SWAP = (
    "UPDATE audit SET n = -3 WHERE n = 3",
    "UPDATE audit SET n = 3 WHERE n = 2",
    "UPDATE audit SET n = 2 WHERE n = -3",
)
_INSERT = "INSERT INTO audit SELECT {n}, previous_hash, hash, wall_ms, actor, 'forged', detail FROM audit WHERE n = 2"


@pytest.mark.parametrize(
    ("statements", "first_bad"),
    [
        (("UPDATE audit SET wall_ms = wall_ms + 1 WHERE n = 2",), 2),
        (("UPDATE audit SET actor = 'aa' WHERE n = 2",), 2),
        (("UPDATE audit SET event = 'f' WHERE n = 2",), 2),
        (("UPDATE audit SET detail = x'00' WHERE n = 4",), 4),
        (("UPDATE audit SET actor = 'ae', event = '' WHERE n = 3",), 3),
        (("UPDATE audit SET event = CAST(x'ff' AS TEXT) WHERE n = 3",), 3),
        (("UPDATE audit SET hash = zeroblob(32) WHERE n = 4",), 4),
        (("UPDATE audit SET previous_hash = zeroblob(32) WHERE n = 2",), 2),
        (("DELETE FROM audit WHERE n = 1",), 1),
        (("DELETE FROM audit WHERE n = 2",), 2),
        (("DELETE FROM audit WHERE n = 4",), 4),
        (("DELETE FROM audit",), 1),
        ((_INSERT.format(n=0),), 1),
        ((_INSERT.format(n=5),), 5),
        (("UPDATE audit SET n = n + 1 WHERE n = 4", "UPDATE audit SET n = n + 1 WHERE n = 3"), 3),
        (_SWAP, 2),
    ],
)
def test_the_audit_shows_the_first_row_that_was_altered_deleted_inserted_or_moved(
    path: Path, statements: tuple[str, ...], first_bad: int
) -> None:
    metadata = SqliteMetadata.open(path)
    metadata.commit([(Audit(wall_ms=i, actor="a", event="e", detail=b"d"),) for i in range(4)])
    metadata.close()
    tamper(path, *statements)
    metadata = SqliteMetadata.open(path)
    verdict = metadata.verify_audit()
    assert (verdict.ok, verdict.rows, verdict.first_bad) == (False, first_bad - 1, first_bad)
    metadata.close()


def test_rows_deleted_at_the_end_show_even_after_more_were_written(path: Path) -> None:
    metadata = SqliteMetadata.open(path)
    metadata.commit([(Audit(wall_ms=i, actor="a", event="e"),) for i in range(4)])
    metadata.close()
    tamper(path, "DELETE FROM audit WHERE n > 2")
    metadata = SqliteMetadata.open(path)
    assert metadata.commit([(Audit(wall_ms=9, actor="a", event="e"),)]) == [None]
    assert metadata.verify_audit().first_bad == 3
    metadata.close()


def test_rows_cut_off_together_with_their_counter_do_not_show(path: Path) -> None:
    """The limit of a chain without a witness; whoever closes it turns this test round."""
    metadata = SqliteMetadata.open(path)
    metadata.commit([(Audit(wall_ms=i, actor="a", event="e"),) for i in range(4)])
    metadata.close()
    tamper(path, "DELETE FROM audit WHERE n > 2", "UPDATE sqlite_sequence SET seq = 2 WHERE name = 'audit'")
    metadata = SqliteMetadata.open(path)
    verdict = metadata.verify_audit()
    assert (verdict.ok, verdict.rows) == (True, 2)
    metadata.close()
