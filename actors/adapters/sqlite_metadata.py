"""The metadata database: SQLite by APSW, in a file, or in memory with a small file attached.

In **file** mode one database holds everything: WAL, `synchronous=FULL`, so what was committed survives a
power cut.

In **memory** mode the main database lives in memory, and `safety.sqlite` is attached: the kinds of
SAFETY_KINDS and the audit always go there. One transaction covers both. SQLite promises no atomic commit over
several *files* in WAL mode, but here is only one file: its part of the transaction is whole or absent after
any crash, and the part in memory never outlives the process, so no crash can leave the two halves of one
transaction in disagreement. While the process lives, both halves commit or neither: SQLite writes and syncs
the file before it makes either part visible.

One thread uses an object of this class; only this class writes the file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, assert_never

import apsw

from actors.adapters import audit_chain
from actors.adapters.sqlite_schema import MIGRATIONS, Migration, check_ours, migrate
from actors.failpoints import Point, reached
from actors.ports import AuditRow, AuditVerdict, JobEvent
from protocol.errors import Code, StorageError
from protocol.kinds import ATTEMPT, JOB, KINDS, SAFETY_KINDS
from protocol.limits import RECORD_BYTES_MAX, STORE_BUSY_MS_MAX, STORE_PAGE_ROWS_MAX
from protocol.machines.contract import Audit, Drop, DropLog, DropOldLogs, Keep, LogJob, Put, Release, Write

_MAIN: Final = "main"
_SAFETY: Final = "safety"
_CONNECTION_PRAGMAS = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA foreign_keys = ON",
    "PRAGMA recursive_triggers = ON",  # else INSERT OR REPLACE would pass by the triggers on deleting
    "PRAGMA fullfsync = ON",  # macOS: fsync alone does not reach the platter; no effect elsewhere
    "PRAGMA checkpoint_fullfsync = ON",
)
# An attempt's key is that of its job and four bytes; `||` of two blobs is text for SQLite.
_OLD_LOGS: Final = f"""DELETE FROM job_events WHERE n IN (
    SELECT n FROM job_events AS event WHERE wall_ms < ?
    AND NOT EXISTS (SELECT 1 FROM main.records WHERE kind = '{JOB}' AND key = event.job_id)
    AND NOT EXISTS (SELECT 1 FROM main.records WHERE kind = '{ATTEMPT}'
        AND key >= event.job_id AND key <= CAST(event.job_id || x'ffffffff' AS BLOB))
    LIMIT ?)"""


class SqliteMetadata:
    """See the module. Every method raises StorageError for a database that failed, and only that."""

    def __init__(self, db: apsw.Connection, path: Path, safety_schema: str) -> None:
        self._db = db
        self._path = path
        self._safety = safety_schema
        self._gone: set[bytes] = set()  # resources whose rows went, or would have gone with a batch that was refused

    @classmethod
    def open(
        cls, path: Path, *, in_memory: bool = False, migrations: Sequence[Migration] = MIGRATIONS
    ) -> SqliteMetadata:
        """Open or create the database; `in_memory`: `path` is the file for what safety rests on.

        After an unclean exit the file is checked first, which takes two seconds per gigabyte. Then it is
        brought to the newest version. Raises StorageError (DATABASE_TOO_NEW, DATABASE_FAILED, DISK_FULL).
        """
        unclean = _wal_has_data(path)
        schemas = (_MAIN, _SAFETY) if in_memory else (_MAIN,)
        with _named(path):
            db = apsw.Connection(":memory:" if in_memory else str(path))
            try:
                _set_up(db, path, schemas, migrations)
                if unclean:
                    _quick_check(db, schemas[-1], path)
                migrate(db, schemas, migrations)
            except BaseException:
                db.close()
                raise
        return cls(db, path, schemas[-1])

    def load(self, kind: str) -> list[tuple[bytes, bytes]]:
        """All records of `kind` as (key, value), in key order."""
        with _named(self._path):
            sql = f"SELECT key, value FROM {self._schema_of(kind)}.records WHERE kind = ? ORDER BY key"
            return [(key, value) for key, value in self._db.execute(sql, (kind,))]

    def commit(self, batches: Sequence[Sequence[Write]]) -> list[StorageError | None]:
        """Write all batches in one transaction, each in a savepoint of its own. None: that batch is on disk.

        A batch that cannot be stored is rolled back alone. A full disk or a database that another program
        holds refuses every batch: nothing is written and a later commit may succeed. Raises StorageError when
        the file is damaged or the disk failed: then nobody knows what is on disk until the database is opened
        again.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            outcomes = [self._write_batch(batch) for batch in batches]
            reached(Point.COMMIT_BEFORE)
            self._db.execute("COMMIT")
            reached(Point.COMMIT_AFTER)
        except apsw.Error as error:
            refusal = storage_error(error, self._path)
            if not _passes(error):
                raise refusal from error
            return [refusal] * len(batches)
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        return outcomes

    def has_resource(self, digest: bytes) -> bool:
        """Whether a committed row names the resource."""
        with _named(self._path):
            return any(self._db.execute("SELECT 1 FROM resources WHERE digest = ?", (digest,)))

    def take_gone(self) -> set[bytes]:
        """Resources that may be named no more since this was last asked; `has_resource` knows."""
        gone, self._gone = self._gone, set()
        return gone

    def owner(self) -> bytes:
        """The id of this database; no other one has it, but a copy."""
        with _named(self._path):
            return next(bytes(value) for (value,) in self._db.execute("SELECT id FROM main.owner"))

    def job_events(self, job_id: bytes, after: int = 0) -> list[JobEvent]:
        """The events of one job whose number is above `after`, oldest first, at most STORE_PAGE_ROWS_MAX."""
        sql = "SELECT n, wall_ms, event, detail FROM job_events WHERE job_id = ? AND n > ? ORDER BY n LIMIT ?"
        with _named(self._path):
            return [
                JobEvent(n=n, job_id=job_id, wall_ms=wall_ms, event=event, detail=detail)
                for n, wall_ms, event, detail in self._db.execute(sql, (job_id, after, STORE_PAGE_ROWS_MAX))
            ]

    def audit_rows(self, after: int, limit: int) -> list[AuditRow]:
        """The audit rows whose number is above `after`, oldest first, at most `limit` and
        STORE_PAGE_ROWS_MAX.
        """
        columns = AuditRow.__struct_fields__
        sql = f"SELECT {', '.join(columns)} FROM {self._safety}.audit WHERE n > ? ORDER BY n LIMIT ?"
        with _named(self._path):
            rows = self._db.execute(sql, (after, min(limit, STORE_PAGE_ROWS_MAX)))
            return [AuditRow(**dict(zip(columns, row, strict=True))) for row in rows]

    def verify_audit(self) -> AuditVerdict:
        """Follow the whole audit chain, about a second per 300,000 rows; `audit_chain` says what it can
        find.
        """
        with _named(self._path):
            return audit_chain.verify(self._db, self._safety)

    def close(self) -> None:
        """Write the log back into the file and close it."""
        with _named(self._path):
            self._db.close()

    def _schema_of(self, kind: str) -> str:
        return self._safety if kind in SAFETY_KINDS else _MAIN

    def _write_batch(self, batch: Sequence[Write]) -> StorageError | None:
        refusal = None
        self._db.execute("SAVEPOINT batch")
        try:
            for write in batch:
                self._write(write)
        except apsw.TooBigError:
            refusal = StorageError(
                Code.TOO_LARGE_TO_STORE,
                f"A record has more than {RECORD_BYTES_MAX} bytes and cannot be stored.",
            )
        except StorageError as error:
            refusal = error
        if refusal is not None:
            self._db.execute("ROLLBACK TO batch")
        self._db.execute("RELEASE batch")
        return refusal

    def _write(self, write: Write) -> None:
        match write:
            case Put(kind=kind, key=key, value=value):
                sql = f"INSERT OR REPLACE INTO {self._known(kind)}.records VALUES(?, ?, ?)"
                self._db.execute(sql, (kind, key, value))
            case Drop(kind=kind, key=key):
                sql = f"DELETE FROM {self._known(kind)}.records WHERE kind = ? AND key = ?"
                self._db.execute(sql, (kind, key))
            case Keep(digest=digest, data=data, parts=parts):
                self._keep(digest, len(data), parts)
            case LogJob(job_id=job_id, wall_ms=wall_ms, event=event, detail=detail):
                sql = "INSERT INTO job_events(job_id, wall_ms, event, detail) VALUES(?, ?, ?, ?)"
                self._db.execute(sql, (job_id, wall_ms, event, detail))
            case Release(digests=digests):
                self._release(digests)
            case DropLog(job_id=job_id):
                self._db.execute("DELETE FROM job_events WHERE job_id = ?", (job_id,))
            case DropOldLogs(before_ms=before_ms, rows_max=rows_max):
                self._db.execute(_OLD_LOGS, (before_ms, rows_max))
            case Audit():
                audit_chain.append(self._db, self._safety, write)
            case _:
                assert_never(write)

    def _keep(self, digest: bytes, size_bytes: int, parts: Sequence[bytes]) -> None:
        """What is there already, also as a part of another, gets the parts that it did not have."""
        known = "ON CONFLICT(digest) DO UPDATE SET keeps = keeps + 1"
        self._db.execute(f"INSERT INTO resources(digest, bytes) VALUES(?, ?) {known}", (digest, size_bytes))
        for part in dict.fromkeys(parts):
            new = "INSERT OR IGNORE INTO resource_parts VALUES(?, ?) RETURNING part"
            if self._db.execute(new, (digest, part)).fetchall():
                self._db.execute("UPDATE resources SET keeps = keeps + 1 WHERE digest = ?", (part,))

    def _release(self, digests: Sequence[bytes]) -> None:
        """One keep less of each, and of the parts of those that go. A part may have parts, to any depth."""
        waiting = deque(digests)
        while waiting:
            digest = waiting.popleft()
            self._db.execute("UPDATE resources SET keeps = keeps - 1 WHERE digest = ?", (digest,))
            gone = "DELETE FROM resources WHERE digest = ? AND keeps < 1 RETURNING digest"
            if self._db.execute(gone, (digest,)).fetchall():
                self._gone.add(digest)
                parts = self._db.execute("DELETE FROM resource_parts WHERE whole = ? RETURNING part", (digest,))
                waiting.extend(bytes(part) for (part,) in parts.fetchall())  # type: ignore[arg-type]

    def _known(self, kind: str) -> str:
        if kind not in KINDS:
            raise StorageError(Code.INTERNAL, f"No table is named {kind!r}; protocol/kinds.py lists them.")
        return self._schema_of(kind)


def _wal_has_data(path: Path) -> bool:
    """Whether the last program that used the file ended without closing it: a clean close removes the log."""
    wal = path.with_name(f"{path.name}-wal")
    return wal.exists() and wal.stat().st_size > 0


def _set_up(db: apsw.Connection, path: Path, schemas: Sequence[str], migrations: Sequence[Migration]) -> None:
    db.set_busy_timeout(STORE_BUSY_MS_MAX)
    db.limit(apsw.SQLITE_LIMIT_LENGTH, RECORD_BYTES_MAX)
    for pragma in _CONNECTION_PRAGMAS:
        db.execute(pragma)
    if _SAFETY in schemas:
        db.execute("ATTACH ? AS safety", (str(path),))
    in_file = schemas[-1]
    db.execute(f"PRAGMA {in_file}.mmap_size = 0")  # a failed read is then an error, not a killed process
    check_ours(db, in_file, path, migrations)
    db.execute(f"PRAGMA {in_file}.synchronous = FULL")
    if list(db.execute(f"PRAGMA {in_file}.journal_mode = WAL")) != [("wal",)]:
        raise StorageError(
            Code.DATABASE_FAILED,
            f"The file system of {path} cannot hold a SQLite database with a write-ahead log.",
            next_step="choose a folder on a local disk.",
        )


def _quick_check(db: apsw.Connection, schema: str, path: Path) -> None:
    found = [str(line) for (line,) in db.execute(f"PRAGMA {schema}.quick_check(1)")]
    if found != ["ok"]:
        raise damaged(path, found[0])


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turns what APSW raises into the StorageError that names the file."""
    try:
        yield
    except apsw.Error as error:
        raise storage_error(error, path) from error


def _is_full(error: apsw.Error) -> bool:
    # The shared index of the log cannot grow on a full disk, which SQLite calls an I/O error.
    return isinstance(error, apsw.FullError) or getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE


def _passes(error: apsw.Error) -> bool:
    """Whether the same commit may succeed later. A failed write or sync never passes: pages may be lost."""
    return _is_full(error) or isinstance(error, apsw.BusyError | apsw.LockedError)


def storage_error(error: apsw.Error, path: Path) -> StorageError:
    """What APSW raised, as the error that names the file and the next step."""
    if _is_full(error):
        return StorageError(
            Code.DISK_FULL,
            f"The disk that holds {path} is full; nothing of this was written.",
            next_step="make room on that disk, and start the node again if it has ended",
        )
    if isinstance(error, apsw.NotADBError):
        return StorageError(
            Code.DATABASE_FAILED,
            f"{path} is not a SQLite database; a database of flotta-p2p was expected.",
            next_step="move that file away, or name another one in the configuration.",
        )
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StorageError(
            Code.DATABASE_FAILED,
            f"Another program has held {path} locked for {STORE_BUSY_MS_MAX / 1000:g} s.",
            next_step="end that program; only the node itself may write to its database.",
        )
    if isinstance(error, apsw.CorruptError):
        return damaged(path, str(error))
    return StorageError(
        Code.DATABASE_FAILED,
        f"The database {path} cannot be used: {error}.",
        next_step="look at the disk, the folder and its permissions, then start the node again.",
    )


def damaged(path: Path, seen: str) -> StorageError:
    return StorageError(
        Code.DATABASE_FAILED,
        f"The database {path} is damaged: {seen}.",
        next_step="keep a copy of the file, put the last backup in its place, and check the disk.",
    )
