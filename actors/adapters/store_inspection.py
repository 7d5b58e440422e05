"""A look into the store of a node that may be running: reads, never writes, takes no part in its locks' order.

**Of a running node** SQLite is read like by any other reader of a database with a write-ahead log: the writer does
not wait, its log only cannot be taken over while we read, which `limit_s` bounds. LMDB is left alone: the node
verifies each resource that it reads, and an open reader would keep old pages alive.

**Of a node that is down** a file without a log is opened as immutable, so that nothing is made beside it. What an
unclean end left in the log is read through the shared index that lies there; without that index it is left for the
next start, which checks it.

All functions block on the disk; any thread. What is opened is closed when they return.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import apsw
import lmdb

from actors.adapters import audit_chain
from actors.adapters.lmdb_resources import count_resources, named_errors
from actors.adapters.sqlite_metadata import damaged, storage_error
from actors.adapters.sqlite_schema import MIGRATIONS, check_ours, number
from actors.ports import AuditVerdict
from flame.lmdb_files import ENGINE
from protocol.kinds import BOOT, OUTBOX
from protocol.record import Record

_STEPS_PER_LOOK = 10_000  # of SQLite's machine, between two looks at the clock: about 1 ms
_BUSY_MS = 1_000  # a node that starts or stops holds its database for an instant
_SCHEMA = "main"


class DatabaseFacts(Record, frozen=True):
    """What a healthy database told. `whole` and `audit` are None when there was no time to read it all."""

    file_bytes: int
    log_bytes: int
    version: int
    version_newest: int
    whole: bool | None
    audit: AuditVerdict | None
    messages_waiting: int
    boot_id: int
    resources: tuple[bytes, ...]
    resource_bytes: int  # of them together


class LogUnread(Exception):
    """The node ended uncleanly and the index of the log is gone: only the next start can read the database."""

    def __init__(self, log_bytes: int) -> None:
        super().__init__(log_bytes)
        self.log_bytes = log_bytes


def look_at_database(path: Path, *, in_use: bool, limit_s: float) -> DatabaseFacts:
    """The facts of the database file `path`; `in_use`: a running node has it open.

    The check of the file and that of the audit take about `limit_s` each at most. Raises FileNotFoundError, LogUnread,
    and StorageError: DATABASE_FAILED for one that is damaged or not ours, DATABASE_TOO_NEW.
    """
    file_bytes, log_bytes = path.stat().st_size, _log_bytes(path)
    try:
        with closing(_open(path, in_use=in_use, log_bytes=log_bytes)) as db:
            check_ours(db, _SCHEMA, path, MIGRATIONS)
            version = number(db, "PRAGMA user_version")
            if version == 0:  # made by a start that ended before it could lay out the tables
                return _facts_of_empty(file_bytes, log_bytes)
            with _one_view(db):
                waiting = number(db, f"SELECT count(*) FROM records WHERE kind = '{OUTBOX}'")
                boots = [int.from_bytes(v) for (v,) in db.execute(f"SELECT value FROM records WHERE kind = '{BOOT}'")]
                sizes = dict(db.execute("SELECT digest, bytes FROM resources"))
                with _limited(db, limit_s):
                    whole = _quick_check(db, path)
                with _limited(db, limit_s):
                    audit = _audit(db)
    except apsw.Error as error:
        raise storage_error(error, path) from error
    return DatabaseFacts(
        file_bytes=file_bytes,
        log_bytes=log_bytes,
        version=version,
        version_newest=len(MIGRATIONS),
        whole=whole,
        audit=audit,
        messages_waiting=waiting,
        boot_id=max(boots, default=0),
        resources=tuple(sizes),
        resource_bytes=sum(sizes.values()),
    )


def look_at_resources(folder: Path, digests: Iterable[bytes], *, limit_s: float) -> tuple[int, int]:
    """Of a node that is down: how many resources its folder holds, and how many of `digests` are missing there.

    Looks for at most about `limit_s`. Raises StorageError(DATABASE_FAILED).
    """
    until = time.monotonic() + limit_s
    with (
        named_errors(folder),
        closing(lmdb.open(str(folder), readonly=True, lock=False, create=False, **ENGINE)) as env,
        env.begin() as txn,
    ):
        missing = 0
        for digest in digests:
            if time.monotonic() > until:
                break
            missing += txn.get(digest) is None
        return count_resources(env, txn), missing


def _log_bytes(path: Path) -> int:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def _open(path: Path, *, in_use: bool, log_bytes: int) -> apsw.Connection:
    if in_use:
        how = "mode=ro"
    elif not log_bytes:
        how = "mode=ro&immutable=1"
    elif path.with_name(f"{path.name}-shm").exists():
        how = "mode=ro&readonly_shm=1"
    else:
        raise LogUnread(log_bytes)
    db = apsw.Connection(f"file:{quote(str(path))}?{how}", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    db.set_busy_timeout(_BUSY_MS)
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA mmap_size = 0")  # a failed read is then an error, not a killed process
    return db


@contextmanager
def _one_view(db: apsw.Connection) -> Iterator[None]:
    """All that is read inside is of one moment, though the node may go on writing."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


@contextmanager
def _limited(db: apsw.Connection, limit_s: float) -> Iterator[None]:
    """What runs inside is interrupted, with apsw.InterruptError, when its time is over."""
    until = time.monotonic() + limit_s
    db.set_progress_handler(lambda: time.monotonic() > until, _STEPS_PER_LOOK)
    try:
        yield
    finally:
        db.set_progress_handler(None)


def _quick_check(db: apsw.Connection, path: Path) -> bool | None:
    try:
        found = [str(line) for (line,) in db.execute("PRAGMA quick_check(1)")]
    except apsw.InterruptError:
        return None
    if found != ["ok"]:
        raise damaged(path, found[0])
    return True


def _audit(db: apsw.Connection) -> AuditVerdict | None:
    try:
        return audit_chain.verify(db, _SCHEMA)
    except apsw.InterruptError:
        return None


def _facts_of_empty(file_bytes: int, log_bytes: int) -> DatabaseFacts:
    return DatabaseFacts(
        file_bytes=file_bytes,
        log_bytes=log_bytes,
        version=0,
        version_newest=len(MIGRATIONS),
        whole=True,
        audit=AuditVerdict(rows=0, ok=True),
        messages_waiting=0,
        boot_id=0,
        resources=(),
        resource_bytes=0,
    )
