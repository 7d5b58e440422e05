"""The tables of the metadata database and their versions.

The version is SQLite's `user_version`: the number of migrations that were carried out. All that are missing
run in one transaction, so that a program killed at any statement leaves the old version as it was. A
migration that was released is never changed; a new one is appended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import apsw

from protocol.errors import Code, StorageError

APPLICATION_ID: Final = 0x666C6F74  # "flot": tells our databases from other SQLite files

Migration = Callable[[apsw.Connection, str], None]
"""Changes the tables of one schema (`main`, or `safety` where it is attached) inside a transaction that is
open.
"""

_TABLES = (
    """CREATE TABLE {schema}.records(
        kind TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY(kind, key)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE {schema}.job_events(
        n INTEGER PRIMARY KEY, job_id BLOB NOT NULL, wall_ms INTEGER NOT NULL, event TEXT NOT NULL,
        detail BLOB NOT NULL) STRICT""",
    "CREATE INDEX {schema}.job_events_of_job ON job_events(job_id, n)",
    # AUTOINCREMENT remembers the highest number ever given: rows deleted at the end leave a gap that shows.
    """CREATE TABLE {schema}.audit(
        n INTEGER PRIMARY KEY AUTOINCREMENT, previous_hash BLOB NOT NULL, hash BLOB NOT NULL,
        wall_ms INTEGER NOT NULL, actor TEXT NOT NULL, event TEXT NOT NULL, detail BLOB NOT NULL) STRICT""",
    """CREATE TABLE {schema}.resources(
        digest BLOB NOT NULL PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID""",
)
_APPEND_ONLY = """CREATE TRIGGER {schema}.{table}_no_{verb} BEFORE {verb} ON {table}
    BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"""


def _create_tables(db: apsw.Connection, schema: str) -> None:
    for statement in _TABLES:
        db.execute(statement.format(schema=schema))
    for table in ("job_events", "audit"):
        for verb in ("update", "delete"):
            db.execute(_APPEND_ONLY.format(schema=schema, table=table, verb=verb))


# The log of a job is append-only as long as the job is kept. `owner` holds the id by which a database knows its folder
# of resources.
_REMOVAL = (
    "DROP TRIGGER {schema}.job_events_no_delete",
    """CREATE TRIGGER {schema}.job_events_no_delete BEFORE DELETE ON job_events
        WHEN EXISTS (SELECT 1 FROM records WHERE kind = 'job' AND key = OLD.job_id)
        BEGIN SELECT RAISE(ABORT, 'the job_events of a job that is kept are append-only'); END""",
    "CREATE INDEX {schema}.job_events_by_time ON job_events(wall_ms)",
    "CREATE TABLE {schema}.owner(id BLOB NOT NULL) STRICT",
    "INSERT INTO {schema}.owner VALUES(randomblob(16))",
)


def _let_jobs_be_removed(db: apsw.Connection, schema: str) -> None:
    for statement in _REMOVAL:
        db.execute(statement.format(schema=schema))


# A resource stays as long as somebody keeps it; what is there already the scheduler keeps. A large one has parts,
# which stay as long as it does.
_KEEPS = (
    "ALTER TABLE {schema}.resources ADD COLUMN keeps INTEGER NOT NULL DEFAULT 1",
    """CREATE TABLE {schema}.resource_parts(
        whole BLOB NOT NULL, part BLOB NOT NULL, PRIMARY KEY(whole, part)) STRICT, WITHOUT ROWID""",
)


def _count_keeps(db: apsw.Connection, schema: str) -> None:
    for statement in _KEEPS:
        db.execute(statement.format(schema=schema))


MIGRATIONS: Final[tuple[Migration, ...]] = (_create_tables, _let_jobs_be_removed, _count_keeps)


def number(db: apsw.Connection, sql: str) -> int:
    """The one integer that `sql` answers with."""
    for (value,) in db.execute(sql):
        return int(value)
    raise LookupError(sql)


def check_ours(db: apsw.Connection, schema: str, path: Path, migrations: Sequence[Migration]) -> None:
    """Refuse the database of another program, or of a newer version of this one, before anything in it is
    changed.
    """
    application = number(db, f"PRAGMA {schema}.application_id")
    version = number(db, f"PRAGMA {schema}.user_version")
    empty = version == 0 and number(db, f"SELECT count(*) FROM {schema}.sqlite_schema") == 0
    if application != APPLICATION_ID and not (application == 0 and empty):
        raise StorageError(
            Code.DATABASE_FAILED,
            f"{path} is the SQLite database of another program; a database of flotta-p2p was expected.",
            next_step="move that file away, or name another one in the configuration.",
        )
    if version > len(migrations):
        raise StorageError(
            Code.DATABASE_TOO_NEW,
            f"{path} is of a newer flotta-p2p: version {version}; this program knows {len(migrations)}.",
            next_step="start the newer program, or name another database file.",
        )


def migrate(db: apsw.Connection, schemas: Sequence[str], migrations: Sequence[Migration]) -> None:
    """Bring every schema to the newest version, in one transaction. Raises apsw.Error; the old version then
    stands.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        for schema in schemas:
            version = number(db, f"PRAGMA {schema}.user_version")
            for migration in migrations[version:]:
                migration(db, schema)
            if version < len(migrations):
                db.execute(f"PRAGMA {schema}.application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA {schema}.user_version = {len(migrations)}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
