"""The index of a journal, in LMDB: what it contained at the last commit, and where values of each stream are.

Made from segments that are on disk already, so that it never knows more than they hold; lost, it is made again.
`sync=True`, never `writemap`: on a full disk that kills the process. No transaction outlives one call.

LMDB must not be opened twice in one process, which a flame node that reads its own journal would do: those who open
the same index in one process share it, under a lock. An index is not to be used across `fork`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Self

import lmdb
import msgspec

from flame.journal.contents import Contents, Entry
from flame.journal.segments import Place, sync_folder
from flame.limits import INDEX_MAP_BYTES, INDEX_READERS_MAX
from flame.lmdb_files import ENGINE, write_lock_file

FOLDER: Final = "index"
_CONTENTS: Final = b"\0contents"  # no stream has this name
_SEQ: Final = struct.Struct(">Q")  # big-endian, so that keys stand in order
_ENTRY: Final = struct.Struct("<IQqq")

_encoder: Final = msgspec.msgpack.Encoder()
_contents: Final = msgspec.msgpack.Decoder(Contents)


def contents_bytes(contents: Contents) -> bytes:
    return _encoder.encode(contents)


class _Shared:
    """One open environment of this process, and how many use it."""

    def __init__(self, env: lmdb.Environment, *, writable: bool) -> None:
        self.env = env
        self.writable = writable
        self.users = 1
        self.lock = threading.Lock()


_open: Final[dict[str, _Shared]] = {}
_open_guard: Final = threading.Lock()


class Index:
    """Any thread. Raises lmdb.Error, and OSError where the disk refuses."""

    def __init__(self, path: str, shared: _Shared) -> None:
        self._path = path
        self._shared = shared

    @classmethod
    def open(cls, folder: Path, *, writable: bool) -> Self:
        """The index of the journal in `folder`. Only the holder of the journal's lock may ask for `writable`, and it
        is made then if need be.
        """
        path = os.path.realpath(folder / FOLDER)
        with _open_guard:
            shared = _open.get(path)
            if shared is None:
                shared = _open[path] = _Shared(_environment(path, writable=writable), writable=writable)
            else:
                if writable and not shared.writable:
                    with shared.lock:
                        shared.env.close()
                        shared.env = _environment(path, writable=True)
                        shared.writable = True
                shared.users += 1
        return cls(path, shared)

    def close(self) -> None:
        """Once."""
        with _open_guard:
            self._shared.users -= 1
            if self._shared.users == 0:
                self._shared.env.close()
                del _open[self._path]

    def load(self) -> Contents | None:
        """As it was last committed; None: nothing was."""
        with self._shared.lock, self._shared.env.begin() as transaction:
            data = transaction.get(_CONTENTS)
        try:
            return None if data is None else _contents.decode(data)
        except (UnicodeDecodeError, RecursionError) as error:
            raise msgspec.DecodeError(str(error)) from error

    def store(self, contents: bytes, entries: Iterable[Entry]) -> None:
        """In one transaction, on disk when this returns."""
        with self._shared.lock, self._shared.env.begin(write=True) as transaction:
            for entry in entries:
                transaction.put(
                    _key(entry.stream, entry.seq),
                    _ENTRY.pack(entry.place.segment, entry.place.offset, entry.time_ns, entry.earliest_before_ns),
                )
            transaction.put(_CONTENTS, contents)

    def forget(self, stream: str, seq: int) -> None:
        """The entries of a stream before that by which value `seq` is found."""
        floor = self.floor(stream, seq)
        if floor is None:
            return
        first, end = _key(stream, 0), _key(stream, floor.seq)
        with self._shared.lock, self._shared.env.begin(write=True) as transaction, transaction.cursor() as cursor:
            there = cursor.set_range(first)
            while there and bytes(cursor.key()) < end:
                there = cursor.delete() and bool(cursor.key())

    def floor(self, stream: str, seq: int) -> Entry | None:
        """The last entry of the stream at or before `seq`."""
        return next(iter(self._down(stream, seq, 1)), None)

    def backwards(self, stream: str, seq: int) -> Iterator[Entry]:
        """Its entries from `seq` down. A batch at a time: none of its transactions stays open in between."""
        while True:
            batch = self._down(stream, seq, _BATCH)
            yield from batch
            if len(batch) < _BATCH:
                return
            seq = batch[-1].seq - 1

    def _down(self, stream: str, seq: int, count: int) -> list[Entry]:
        prefix, wanted = _key(stream, 0)[: -_SEQ.size], _key(stream, seq)
        batch: list[Entry] = []
        with self._shared.lock, self._shared.env.begin() as transaction, transaction.cursor() as cursor:
            there = cursor.set_range(wanted)
            if not there or bytes(cursor.key()) != wanted:
                there = cursor.prev() if there else cursor.last()
            while there and len(batch) < count and bytes(cursor.key()).startswith(prefix):
                (number,) = _SEQ.unpack(cursor.key()[len(prefix) :])
                segment, offset, time_ns, earliest_ns = _ENTRY.unpack(cursor.value())
                batch.append(Entry(stream, number, Place(segment, offset), time_ns, earliest_ns))
                there = cursor.prev()
        return batch


_BATCH: Final = 256


def remove_index(folder: Path) -> None:
    """For one that does not read. Only for the holder of the journal's lock."""
    shutil.rmtree(folder / FOLDER)


def _key(stream: str, seq: int) -> bytes:
    return stream.encode() + b"\0" + _SEQ.pack(seq)


def _environment(path: str, *, writable: bool) -> lmdb.Environment:
    if not writable:
        options: dict[str, Any] = {"readonly": True, "create": False, "max_readers": INDEX_READERS_MAX, **ENGINE}
        try:
            return lmdb.open(path, map_size=INDEX_MAP_BYTES, **options)
        except (lmdb.ReadonlyError, PermissionError, lmdb.LockError):  # a folder that may only be read
            return lmdb.open(path, map_size=INDEX_MAP_BYTES, lock=False, **options)
    folder = Path(path)
    folder.mkdir(exist_ok=True)
    write_lock_file(folder / "lock.mdb")
    env = lmdb.open(
        path,
        map_size=INDEX_MAP_BYTES,
        sync=True,
        metasync=True,
        writemap=False,
        max_readers=INDEX_READERS_MAX,
        **ENGINE,
    )
    with contextlib.suppress(lmdb.Error):
        env.reader_check()
    for entry in (folder, folder.parent):  # LMDB does not sync the names of the files that it made
        sync_folder(entry)
    return env
