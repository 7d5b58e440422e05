"""The store of one node on its own disk: metadata in SQLite, resources in LMDB."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

from actors.adapters.lmdb_resources import LmdbResources
from actors.adapters.private_files import make_private_folder
from actors.adapters.sqlite_metadata import SqliteMetadata
from actors.failpoints import Point, reached
from actors.ports import AuditRow, AuditVerdict, JobEvent
from protocol.errors import Code, StorageError
from protocol.kinds import BOOT
from protocol.machines.contract import Keep, Put, Write

SAFETY_FILE: Final = "safety.sqlite"


class LocalStore:
    """The port `Store`. One thread uses an object of this class.

    In memory mode nothing survives a restart but SAFETY_KINDS and the audit. Resources go to LMDB in both
    modes; those of a memory store have their own folder, which is emptied at the next opening, since no row
    names them any more. From the folder of a file what a killed program left is removed then.
    """

    def __init__(self, metadata: SqliteMetadata, resources: LmdbResources) -> None:
        self._metadata = metadata
        self._resources = resources
        self._released: set[bytes] = set()  # no row names them, and LMDB may still hold them

    @classmethod
    def open(cls, folder: Path, *, metadata: Literal["memory"] | Path) -> LocalStore:
        """Open or create the store in `folder`; `metadata` is the database file, relative to it, or "memory".

        Raises StorageError: FOLDER_UNUSABLE, DATABASE_FAILED, DATABASE_TOO_NEW, DISK_FULL.
        """
        in_memory = metadata == "memory"
        path = folder / (SAFETY_FILE if in_memory else metadata)
        try:
            make_private_folder(path.parent)  # its names synced too: SQLite syncs only those within it
            path.touch(mode=0o600)
        except OSError as error:
            raise StorageError(
                Code.FOLDER_UNUSABLE,
                f"The folder {path.parent} cannot be used: {error.strerror}.",
                next_step="choose a folder that this user may write to.",
            ) from error
        database = SqliteMetadata.open(path, in_memory=in_memory)
        try:
            resources = LmdbResources.open(folder / ("resources-memory" if in_memory else "resources"))
            if in_memory:
                resources.clear()
        except StorageError:
            database.close()
            raise
        store = cls(database, resources)
        try:
            if not in_memory:
                store._let_go(resources.unnamed(database.owner(), database.has_resource))
        except StorageError:
            store.close()
            raise
        return store

    def load(self, kinds: Iterable[str]) -> dict[str, list[tuple[bytes, bytes]]]:
        """Every record of each kind as (key, value) in key order; a kind without records is an empty list."""
        return {kind: self._metadata.load(kind) for kind in kinds}

    def commit(self, batches: Sequence[tuple[Write, ...]]) -> list[StorageError | None]:
        """Write the batches, each whole or not at all, with one sync for all. None: that batch is on disk.

        An error in the list: nothing of that batch was written and nothing of it will be; the store goes on.
        Resources are on disk before the rows that name them, and leave after those. Raises StorageError when the
        database is damaged or the disk failed.
        """
        refusals = self._keep(batches)
        admitted = [batch for batch, refusal in zip(batches, refusals, strict=True) if refusal is None]
        outcomes = iter(self._metadata.commit(admitted))
        self._let_go(self._metadata.take_gone())
        return [next(outcomes) if refusal is None else refusal for refusal in refusals]

    def resource(self, digest: bytes) -> bytes | None:
        """The resource that a committed batch kept, its hash verified, or None. Raises StorageError."""
        if not self._metadata.has_resource(digest):
            return None
        data = self._resources.get(digest)
        if data is None:
            raise StorageError(
                Code.DATABASE_FAILED,
                f"Resource {digest.hex()} is named by the database but is not stored.",
                next_step="put back the folder of resources that belongs to this database.",
            )
        return data

    def job_events(self, job_id: bytes, after: int = 0) -> list[JobEvent]:
        """The events of one job above number `after`, oldest first, at most STORE_PAGE_ROWS_MAX."""
        return self._metadata.job_events(job_id, after)

    def audit_rows(self, after: int, limit: int) -> list[AuditRow]:
        """The audit rows above number `after`, oldest first, at most `limit` and STORE_PAGE_ROWS_MAX."""
        return self._metadata.audit_rows(after, limit)

    def verify_audit(self) -> AuditVerdict:
        """Follow the whole audit chain."""
        return self._metadata.verify_audit()

    def next_boot_id(self, wall_ms: int) -> int:
        """A number above all that this returned before in this folder and not below `wall_ms`; on disk when
        it returns.
        """
        stored = [int.from_bytes(value) for _, value in self._metadata.load(BOOT)]
        boot_id = max([wall_ms, *(number + 1 for number in stored)])
        (refusal,) = self._metadata.commit([(Put(kind=BOOT, key=b"", value=boot_id.to_bytes(8)),)])
        if refusal is not None:
            raise refusal
        return boot_id

    def close(self) -> None:
        """Close both databases. Nothing may be called afterwards."""
        self._resources.close()
        self._metadata.close()

    def _let_go(self, released: Iterable[bytes]) -> None:
        """Remove the resources whose rows are gone. Where even that finds no room they stay until the next removal or
        the next opening.
        """
        self._released.update(released)
        if not self._released:
            return
        reached(Point.RELEASE_BEFORE)
        try:
            self._resources.remove_all([one for one in self._released if not self._metadata.has_resource(one)])
        except StorageError as error:
            if error.code is Code.DATABASE_FAILED:
                raise
            return
        self._released.clear()

    def _keep(self, batches: Sequence[tuple[Write, ...]]) -> list[StorageError | None]:
        """Store the resources of all batches at once; if that fails, batch by batch, to refuse only those
        that must be.
        """
        resources = [[(w.digest, w.data) for w in batch if isinstance(w, Keep)] for batch in batches]
        together = [resource for batch in resources for resource in batch]
        if not together or self._put(together) is None:
            return [None] * len(batches)
        return [self._put(batch) if batch else None for batch in resources]

    def _put(self, resources: Sequence[tuple[bytes, bytes]]) -> StorageError | None:
        try:
            self._resources.put_all(resources)
            reached(Point.RESOURCES_KEPT)
        except StorageError as error:
            if error.code is Code.DATABASE_FAILED:
                raise
            return error
        return None
