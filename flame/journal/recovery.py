"""The start of a writer: what the index knew, then the tail of the segments, cut off where a crash tore it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from flame import values
from flame.journal.contents import Contents, Entry, OrderError
from flame.journal.index import Index, remove_index
from flame.journal.segments import (
    Place,
    Segment,
    SegmentWriter,
    TornError,
    damaged,
    segment_numbers,
)


@dataclass(frozen=True)
class Recovery:
    """`entries` are not in the index yet. `writer` stands at the end of the last whole record."""

    index: Index
    contents: Contents
    entries: list[Entry]
    writer: SegmentWriter
    cut_bytes: int

    def close(self) -> None:
        self.index.close()
        self.writer.close()


def recover(folder: Path) -> Recovery:
    """For the holder of the lock. Raises StorageError(JOURNAL_DAMAGED), OSError, lmdb.Error."""
    numbers = segment_numbers(folder)
    index, contents = _open_index(folder)
    try:
        is_indexed = contents.end.segment > 0
        if is_indexed and (not numbers or numbers[-1] < contents.end.segment):
            raise damaged(folder, contents.end, "the file is missing")
        entries: list[Entry] = []
        size = cut_bytes = 0
        for number in numbers:
            if number >= contents.end.segment:
                segment, is_last = Segment(folder, number), number == numbers[-1]
                entries += take_in(folder, segment, contents, may_tear=is_last, trusted=is_indexed)
                size = contents.end.offset if contents.end.segment == number else 0
                cut_bytes = segment.size() - size
        writer = SegmentWriter(folder, numbers[-1] if numbers else 1, size)
    except BaseException:
        index.close()
        raise
    return Recovery(index, contents, entries, writer, cut_bytes)


def _open_index(folder: Path) -> tuple[Index, Contents]:
    """An index that does not read is made anew: the segments hold all of it."""
    try:
        index = Index.open(folder, writable=True)
    except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError):
        remove_index(folder)
        index = Index.open(folder, writable=True)
    try:
        return index, index.load() or Contents()
    except (lmdb.CorruptedError, lmdb.PageNotFoundError, msgspec.DecodeError):
        index.close()
        remove_index(folder)
        return Index.open(folder, writable=True), Contents()
    except BaseException:
        index.close()
        raise


def take_in(folder: Path, segment: Segment, contents: Contents, *, may_tear: bool, trusted: bool) -> list[Entry]:
    """Add to `contents` what stands in the segment behind its end; the entries for an index.

    `may_tear`: it is the newest, so that its last record may be half written. `trusted`: the end of `contents` is where
    all was on the disk; otherwise a broken record with another behind it is damage, and no end.
    """
    entries: list[Entry] = []
    torn_before = -1
    while True:
        start = contents.end.offset if contents.end.segment == segment.number else 0
        size = segment.size()
        if size < start:
            seen = f"the file ends there, and {start} bytes were on the disk"
            raise damaged(folder, Place(segment.number, size), seen)
        try:
            for located in segment.scan(start, size, whole=True):
                entries += contents.absorb(located.place, located.record, located.end)
            return entries
        except OrderError as error:
            raise damaged(folder, Place(segment.number, contents.end.offset), str(error)) from error
        except TornError as torn:
            if may_tear and (trusted or segment.record_after(torn.offset) is None):
                return entries
            if not may_tear or torn.offset == torn_before:  # a writer may have completed it in the meantime: look again
                raise damaged(folder, Place(segment.number, torn.offset), torn.seen) from torn
            torn_before = torn.offset


def remembered(folder: Path, contents: Contents) -> dict[str, Any]:
    """The last value of each memory. Raises StorageError(JOURNAL_DAMAGED), OSError."""
    memory: dict[str, Any] = {}
    for name, place in contents.memory.items():
        try:
            segment = Segment(folder, place.segment)
            located = next(segment.scan(place.offset, whole=False))
            piece = next(piece for piece in located.record.memory if piece.name == name)
            memory[name] = values.decode(located.data(piece))
        except TornError as torn:
            raise damaged(folder, place, torn.seen) from torn
    return memory
