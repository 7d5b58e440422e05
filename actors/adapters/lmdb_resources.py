"""Resources up to RESOURCE_BYTES_MAX, each under its SHA-256, in LMDB.

What `put_all` was given is on disk when it returns (`sync=True`). Never `writemap`: on a full disk it kills
the process. No read transaction outlives one call, since a forgotten one keeps every old page alive. One
thread uses an object of this class, so the map may grow between two calls.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import lmdb

from actors.adapters.private_files import sync_folder
from flame.lmdb_files import ENGINE, write_lock_file
from protocol.errors import Code, StorageError
from protocol.limits import (
    RESOURCE_BYTES_MAX,
    RESOURCE_MAP_BYTES_MAX,
    RESOURCE_MAP_BYTES_MIN,
    RESOURCE_READERS_MAX,
)

_GROW_AT_PERCENT: Final = 70
_OWNER: Final = b"owner"  # no digest: the id of the database whose rows name what lies here


class LmdbResources:
    """See the module. Raises StorageError: DISK_FULL, STORE_FULL, TOO_LARGE_TO_STORE, INTERNAL (a wrong
    digest), which leave everything as it was, and DATABASE_FAILED, after which the object is not to be used
    again.
    """

    def __init__(self, env: lmdb.Environment, folder: Path, map_bytes_max: int) -> None:
        self._env = env
        self._folder = folder
        self._map_bytes_max = map_bytes_max

    @classmethod
    def open(cls, folder: Path, *, map_bytes_max: int = RESOURCE_MAP_BYTES_MAX) -> LmdbResources:
        """Open or create the store in `folder`, which need not exist. `map_bytes_max` limits what it may
        hold.
        """
        with named_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_lock_file(folder / "lock.mdb")
            env = lmdb.open(
                str(folder),
                map_size=min(RESOURCE_MAP_BYTES_MIN, map_bytes_max),
                sync=True,
                metasync=True,
                writemap=False,
                mode=0o600,
                max_readers=RESOURCE_READERS_MAX,
                **ENGINE,
            )
            env.reader_check()
            for entry in (folder, folder.parent):  # LMDB does not sync the names of the files that it made
                sync_folder(entry)
        return cls(env, folder, map_bytes_max)

    def put_all(self, resources: Sequence[tuple[bytes, bytes]]) -> None:
        """Store all (digest, data) in one transaction, or none. One that is there already is left alone."""
        for digest, data in resources:
            _check(digest, data)
        with named_errors(self._folder):
            self._make_room(resources)
            with self._env.begin(write=True) as txn:
                for digest, data in resources:
                    txn.put(digest, data, overwrite=False)

    def get(self, digest: bytes) -> bytes | None:
        """The resource, its hash verified, or None. Raises DATABASE_FAILED when the bytes on disk were
        altered.
        """
        with named_errors(self._folder), self._env.begin() as txn:
            data = txn.get(digest)
        if data is not None and hashlib.sha256(data).digest() != digest:
            raise _failed(self._folder, f"resource {digest.hex()} does not have the hash that it is named by")
        return data

    def remove_all(self, digests: Iterable[bytes]) -> None:
        """Remove these in one transaction, or none; one that is not there is no fault. Their room is used again, the
        file does not shrink. Even this needs a little room: DISK_FULL and STORE_FULL are possible.
        """
        with named_errors(self._folder):
            self._make_room(())
            with self._env.begin(write=True) as txn:
                for digest in digests:
                    txn.delete(digest)

    def unnamed(self, owner: bytes, is_named: Callable[[bytes], bool]) -> list[bytes]:
        """What no row of the database `owner` names, though this is its folder: a killed program left it.

        Nothing of a folder that another database has filled. A folder without an owner becomes the database's that
        names all in it.
        """
        with named_errors(self._folder):
            with self._env.begin() as txn:
                held_by = txn.get(_OWNER)
                digests = [bytes(key) for key in txn.cursor().iternext(keys=True, values=False) if key != _OWNER]
            found = [digest for digest in digests if not is_named(digest)]
            if held_by is None and not found:
                with self._env.begin(write=True) as txn:
                    txn.put(_OWNER, owner)
        return found if held_by == owner else []

    def clear(self) -> None:
        """Remove every resource."""
        with named_errors(self._folder):
            table = self._env.open_db()
            with self._env.begin(write=True) as txn:
                txn.drop(table, delete=False)

    def close(self) -> None:
        self._env.close()

    def _make_room(self, resources: Sequence[tuple[bytes, bytes]]) -> None:
        """Grow the map ahead of need, while no transaction is open. Beyond the limit LMDB itself refuses."""
        info, page = self._env.info(), self._env.stat()["psize"]
        used = (info["last_pgno"] + 1) * page
        needed = used + sum(len(data) + 2 * page for _, data in resources)
        size = info["map_size"]
        while needed * 100 > size * _GROW_AT_PERCENT and size < self._map_bytes_max:
            size = min(size * 2, self._map_bytes_max)
        if size != info["map_size"]:
            self._env.reader_check()
            self._env.set_mapsize(size)


def count_resources(env: lmdb.Environment, txn: lmdb.Transaction) -> int:
    """How many resources a store holds."""
    return int(env.stat()["entries"]) - (txn.get(_OWNER) is not None)


def _check(digest: bytes, data: bytes) -> None:
    if len(data) > RESOURCE_BYTES_MAX:
        raise StorageError(
            Code.TOO_LARGE_TO_STORE,
            f"A resource has {len(data)} bytes; at most {RESOURCE_BYTES_MAX} can be stored this way.",
        )
    if hashlib.sha256(data).digest() != digest:
        raise StorageError(Code.INTERNAL, f"Resource {digest.hex()} does not have the hash that it is named by.")


@contextmanager
def named_errors(folder: Path) -> Iterator[None]:
    """Turns what LMDB and the system raise into the StorageError that names the folder."""
    try:
        yield
    except lmdb.MapFullError as error:
        raise StorageError(
            Code.STORE_FULL,
            f"The resources in {folder} have reached their limit; nothing of this was stored.",
            next_step="remove jobs that are no longer needed: flotta-p2p job remove",
        ) from error
    except (lmdb.DiskError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.ENOSPC:
            raise _failed(folder, str(error)) from error
        raise StorageError(
            Code.DISK_FULL,
            f"The disk that holds {folder} is full; nothing of this was stored.",
            next_step="make room on that disk, and start the node again if it has ended",
        ) from error
    except lmdb.Error as error:
        raise _failed(folder, str(error)) from error


def _failed(folder: Path, seen: str) -> StorageError:
    return StorageError(
        Code.DATABASE_FAILED,
        f"The resources in {folder} cannot be used: {seen}.",
        next_step="keep a copy of that folder, look at the disk, then start the node with the last backup.",
    )
