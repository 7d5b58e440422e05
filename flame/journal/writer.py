"""The one writer of a journal, in the flame node's process."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import lmdb
import msgspec

from flame.journal.contents import NOWHERE, Entry, Stream
from flame.journal.dropping import Drop
from flame.journal.index import contents_bytes
from flame.journal.keeping import Choice, Dropping, Keeping
from flame.journal.lock import lock_folder
from flame.journal.positions import Positions, read_positions
from flame.journal.recovery import Recovery, recover, remembered
from flame.journal.segments import Piece, Place, Record, SegmentWriter, make_folder, record_bytes
from flame.limits import INDEX_EVERY_MS, JOURNAL_SYNC_MS, KEEP_PARTS, SEGMENT_BYTES, SEGMENT_S_MIN
from flame.refusals import refusal
from protocol.errors import Code, LocalProtocolError, StorageError
from protocol.limits import KIB

_JOINED_BYTES_MAX: Final = 64 * KIB  # a smaller record is one write of one buffer
_TIME_NS: Final = range(-(2**63), 2**63)


class Recovered(msgspec.Struct, frozen=True):
    """What a journal held when it was opened. `next_seq` by stream. `run_restarts`: how often it was opened before.
    `cut_bytes`: of a record that was being written when the process or the power ended; nothing had been told of it.
    """

    memory: dict[str, Any]
    cursors: dict[str, int]
    next_seq: dict[str, int]
    run_restarts: int
    cut_bytes: int


class Journal:
    """Values, memory and cursors of one flame node, written before they are told to anybody.

    `append` and `advance` may be called by any thread. What they wrote survives the end of the process when they
    return, and a power cut `sync_ms` later. Make it by `open`.
    """

    recovered: Recovered

    def __init__(
        self, folder: Path, lock: int, recovery: Recovery, sync_ms: float, keeping: Mapping[str, Keeping]
    ) -> None:
        self._folder = folder
        self._folder_lock = lock
        self._index = recovery.index
        self._contents = recovery.contents
        self._entries = recovery.entries  # not in the index yet
        self._writer = recovery.writer
        self._positions: Positions | None = None
        self._advanced: dict[str, int] = {}  # positions that no record has yet
        self._sync_s = sync_ms / 1_000
        self._lock = threading.Lock()
        self._syncing = threading.Lock()  # taken before the other one
        self._indexed = NOWHERE  # up to where the index knows it
        self._retired: list[SegmentWriter] = []  # synced segments, which the syncing thread may still hold
        keep_s = min((one.keep_s for one in keeping.values()), default=inf)
        self._segment_s_max = max(SEGMENT_S_MIN, keep_s / KEEP_PARTS)
        self._segment_ends_s = 0.0
        self._dropping = Dropping(folder, Choice(folder, keeping), self) if keeping else None
        self._indexed_at = time.monotonic()
        self._index_behind = False
        self._unsynced = False
        self._failure: OSError | None = None
        self._closed = False
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._keep_synced, name=f"journal {folder.name}", daemon=True)

    @classmethod
    def open(
        cls,
        folder: Path,
        streams: Sequence[str],
        *,
        inputs: Sequence[str] = (),
        sync_ms: float = JOURNAL_SYNC_MS,
        keeping: Mapping[str, Keeping] | None = None,
    ) -> Journal:
        """Open the journal in `folder`, or begin one, for values of `streams` and positions in `inputs`; cut off what a
        crash left half written. Values of the streams in `keeping` are dropped when their time is over.

        Raises ConfigError(FOLDER_LOCKED) when another process writes it, StorageError: JOURNAL_DAMAGED, naming segment
        and byte, when what was safe does not read, DISK_FULL, FOLDER_UNUSABLE, DATABASE_FAILED.
        """
        try:
            make_folder(folder)
            lock = lock_folder(folder)
        except OSError as error:
            raise _named(folder, error) from error
        recovery: Recovery | None = None
        try:
            recovery = recover(folder)
            journal = cls(folder, lock, recovery, sync_ms, keeping or {})
            journal._begin(streams, inputs, recovery.cut_bytes)
        except BaseException as error:
            if recovery is not None:
                recovery.close()
            os.close(lock)
            if isinstance(error, lmdb.Error | OSError):
                raise _named(folder, error) from error
            raise
        return journal

    def _begin(self, streams: Sequence[str], inputs: Sequence[str], cut_bytes: int) -> None:
        contents = self._contents
        advanced = {n: seq for n, seq in read_positions(self._folder).items() if seq > contents.cursors.get(n, 0)}
        for name in streams:
            contents.streams.setdefault(name, Stream())
        self.recovered = Recovered(
            memory=remembered(self._folder, contents),
            cursors={**contents.cursors, **advanced},
            next_seq={name: stream.last_seq + 1 for name, stream in contents.streams.items()},
            run_restarts=contents.openings,
            cut_bytes=cut_bytes,
        )
        self._segment_ends_s = self._writer.began_s() + self._segment_s_max
        opening = contents.openings + 1
        self._write(Record(written_ns=time.time_ns(), cursors=advanced, opening=opening, streams=list(streams)), [])
        self._positions = Positions(self._folder, inputs)
        # From the first value on the index says up to where all was on disk, and by that what a power cut may tear.
        self._writer.sync()
        self._index.store(contents_bytes(contents), self._entries)
        self._indexed = contents.end
        self._entries = []
        self._index_behind = self._unsynced = False
        self._wake.clear()
        self._thread.start()
        if self._dropping is not None:
            self._dropping.start()

    def append(
        self,
        values: Mapping[str, bytes],
        time_ns: int,
        *,
        memory: Mapping[str, bytes] | None = None,
        cursors: Mapping[str, int] | None = None,
        durable: bool = False,
    ) -> dict[str, int]:
        """Write one atomic record: all of it is found after a crash, or nothing. Gives the sequence number of each
        value: from 1 on, without gaps. `durable`: it is on disk when this returns.

        Raises StorageError: DISK_FULL, and nothing was written, the next call may go well; DATABASE_FAILED, and this
        journal takes nothing any more.
        """
        if time_ns not in _TIME_NS:
            raise LocalProtocolError(f"{time_ns} is no time in nanoseconds")
        with self._lock:
            self._check_open()
            record, parts = self._record(values, time_ns, memory or {}, cursors or {})
            try:
                self._write(record, parts)
            except OSError as error:
                raise _named(self._folder, error) from error
            if durable:
                self._sync_now()
        return {piece.name: piece.seq for piece in record.values}

    def _record(
        self, values: Mapping[str, bytes], time_ns: int, memory: Mapping[str, bytes], cursors: Mapping[str, int]
    ) -> tuple[Record, list[bytes]]:
        """And the bytes that follow it."""
        record = Record(time_ns, time.time_ns())
        for name, data in values.items():
            stream = self._contents.streams.get(name)
            if stream is None:
                raise LocalProtocolError(f"the journal {self._folder} was not opened for values of {name!r}")
            record.values.append(Piece(name, stream.last_seq + 1, len(data), zlib.crc32(data)))
        for name, data in memory.items():
            record.memory.append(Piece(name, 0, len(data), zlib.crc32(data)))
        if cursors or self._advanced:
            record.cursors = {**self._advanced, **cursors}
        return record, [*values.values(), *memory.values()]

    def advance(self, cursors: Mapping[str, int]) -> None:
        """As `append` of positions in `inputs` alone, for a fraction of its cost. Raises StorageError."""
        with self._lock:
            self._check_open()
            assert self._positions is not None
            try:
                for name, seq in cursors.items():
                    self._positions.write(name, seq)
            except OSError as error:
                raise _named(self._folder, error) from error
            self._advanced.update(cursors)
            self._touched()

    def drop(self, lasts: Mapping[str, int]) -> Drop:
        """Tell that values up to these numbers are not kept any more; that is on the disk, and in the index, when this
        returns. Raises StorageError; then nothing may be taken from a segment.
        """
        with self._lock:
            self._check_open()
            try:
                self._write(Record(written_ns=time.time_ns(), dropped=dict(lasts)), [])
            except OSError as error:
                raise _named(self._folder, error) from error
            told = self._contents.end
            firsts = {name: stream.first_seq for name, stream in self._contents.streams.items()}
            memory = dict(self._contents.memory)
        self._sync_and_index(index=True)
        if self._indexed < told:
            raise _named(self._folder, self._failure or OSError(errno.EIO, "its index does not take what is new"))
        with contextlib.suppress(lmdb.Error, OSError):  # else its entries are in nobody's way, and go the next time
            for name in lasts:
                self._index.forget(name, firsts[name])
        return Drop(firsts, memory)

    def last_seqs(self) -> dict[str, int]:
        """The newest value of each stream, 0 for none."""
        with self._lock:
            return {name: stream.last_seq for name, stream in self._contents.streams.items()}

    def end_segment(self) -> None:
        """What follows goes to a new segment. Raises StorageError."""
        with self._lock:
            self._check_open()
            try:
                self._roll()
            except OSError as error:
                raise _named(self._folder, error) from error

    def _sync_now(self) -> None:
        self._unsynced = False
        try:
            self._writer.sync()
        except OSError as error:
            self._failure = error  # what the disk holds is not known any more
            raise _named(self._folder, error) from error

    def close(self) -> None:
        """Sync, complete the index, give the folder free. Calling it again does nothing.

        Raises StorageError(DATABASE_FAILED) when the disk refused a sync.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._dropping is not None:
            self._dropping.stop()
        self._closing.set()
        self._wake.set()
        self._thread.join()
        try:
            self._sync_and_index(index=True)
        finally:
            for writer in (*self._retired, self._writer):
                writer.close()
            if self._positions is not None:
                self._positions.close()
            self._index.close()
            os.close(self._folder_lock)
        if self._failure is not None:
            raise _named(self._folder, self._failure)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._failure is not None:
            raise _named(self._folder, self._failure)
        if self._closed:
            raise LocalProtocolError(f"the journal {self._folder} is closed")

    def _write(self, record: Record, parts: list[bytes]) -> None:
        """Under the lock. Raises OSError, and nothing has changed."""
        if self._writer.size >= SEGMENT_BYTES or record.written_ns > self._segment_ends_s * 1e9:
            self._roll()
        length = sum(map(len, parts))
        head = record_bytes(record, length)
        writer = self._writer
        place = Place(writer.number, writer.size)
        writer.write((b"".join((head, *parts)),) if length < _JOINED_BYTES_MAX else (head, *parts))
        self._entries += self._contents.absorb(place, record, writer.size)
        self._advanced.clear()  # whoever writes a record writes them along
        self._index_behind = True
        self._touched()

    def _touched(self) -> None:
        """There is something to sync."""
        if not self._unsynced:
            self._unsynced = True
            self._wake.set()

    def _roll(self) -> None:
        """Begin a new segment when the old one is on disk, so that only the newest can ever be torn."""
        self._writer.sync()
        fresh = SegmentWriter(self._folder, self._writer.number + 1)
        self._retired.append(self._writer)
        self._writer = fresh
        self._segment_ends_s = time.time() + self._segment_s_max

    def _keep_synced(self) -> None:
        took_s = 0.0
        while not self._closing.is_set():
            left_s = self._indexed_at + INDEX_EVERY_MS / 1_000 - time.monotonic()
            self._wake.wait(max(0.0, left_s) if self._index_behind else None)
            self._wake.clear()
            # Leave time for the sync itself.
            self._closing.wait(max(self._sync_s - took_s, self._sync_s / 4))
            began = time.monotonic()
            self._sync_and_index(index=began - self._indexed_at >= INDEX_EVERY_MS / 1_000)
            took_s = time.monotonic() - began

    def _sync_and_index(self, *, index: bool) -> None:
        with self._syncing:
            with self._lock:
                if self._advanced and self._failure is None:
                    with contextlib.suppress(OSError):  # a full disk: they stand in their file; the next sync may do it
                        self._write(Record(written_ns=time.time_ns(), cursors=dict(self._advanced)), [])
                writer, retired, self._retired = self._writer, self._retired, []
                unsynced, self._unsynced = self._unsynced, False
                entries: list[Entry] = []
                snapshot, end = b"", self._indexed
                if index and self._index_behind:
                    entries, self._entries = self._entries, []
                    snapshot, end = contents_bytes(self._contents), self._contents.end
                    self._index_behind = False
            for old in retired:
                old.close()
            try:
                if unsynced or snapshot:
                    writer.sync()
            except OSError as error:
                self._failure = error
                return
            if snapshot:
                self._store(snapshot, entries, end)

    def _store(self, snapshot: bytes, entries: list[Entry], end: Place) -> None:
        """What is on the disk, into the index."""
        self._indexed_at = time.monotonic()
        try:
            self._index.store(snapshot, entries)
            self._indexed = end
        except (lmdb.Error, OSError):  # a full disk; the segments hold all of it, and the next commit may go well
            with self._lock:
                self._entries = entries + self._entries
                self._index_behind = True


def _named(folder: Path, error: OSError | lmdb.Error) -> StorageError:
    refused = refusal(error)
    if refused.is_full or isinstance(error, lmdb.DiskError | lmdb.MapFullError):
        return StorageError(
            Code.DISK_FULL,
            f"the disk that holds the journal {folder} is full; nothing of this set was stored, all before it is there",
            next_step="make room on that disk, and take the run up again with `flame resume`",
        )
    return StorageError(
        refused.code,
        f"the journal {folder} cannot be written: {refused.why}",
        next_step=f"{refused.next_step}; what was stored before is there, and `flame archive` keeps it",
    )
