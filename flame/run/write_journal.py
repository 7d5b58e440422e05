"""The journal of what was written to the inputs of a run: each value with its author, before anybody acts on it.

Streams are named by `flame.run.writes.stream_name`. The executor is the one writer; any process reads.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from flame import values
from flame.journal import Journal, JournalReader, Stored
from flame.limits import AUTHORS_NAMED_MAX, WRITTEN_RECORD_BYTES
from flame.run.run_record import WriteCount
from flame.run.writes import Author
from flame.types import portable


class WrittenValue(msgspec.Struct, frozen=True):
    """`seq`: from 1, without gaps within its input. `author` and `uid`: who wrote it, as the system said."""

    seq: int
    time_ns: int
    value: Any
    author: str
    uid: int


def written_value(stored: Stored) -> WrittenValue:
    held = values.decode(stored.data)
    return WrittenValue(stored.seq, stored.time_ns, held["value"], str(held["author"]), int(held["uid"]))


class WriteJournal:
    """The writer. One thread."""

    def __init__(self, folder: Path, streams: Iterable[str]) -> None:
        """Raises StorageError, ConfigError(FOLDER_LOCKED)."""
        self._journal = Journal.open(folder, tuple(streams))
        self.size_bytes = sum(file.stat().st_size for file in folder.glob("*.seg"))  # about

    def append(self, stream: str, held: Any, author: Author) -> WrittenValue:
        """On the disk when it returns. `held`: in the form of `flame.types.portable`. Raises StorageError, and
        WorkflowError(VALUE_WRONG) for what no journal keeps.
        """
        value = portable.load(held)
        time_ns = time.time_ns()
        data = values.encode({"value": value, "author": author.name, "uid": author.uid})
        seq = self._journal.append({stream: data}, time_ns, durable=True)[stream]
        self.size_bytes += len(data) + WRITTEN_RECORD_BYTES
        return WrittenValue(seq, time_ns, value, author.name, author.uid)

    def close(self) -> None:
        self._journal.close()


def newest_values(folder: Path) -> dict[str, WrittenValue]:
    """The newest of each stream that has one; none where there is no journal. Raises StorageError."""
    if not folder.is_dir():
        return {}
    with JournalReader(folder) as reader:
        lasts = {stream: reader.last(stream) for stream in reader.streams()}
    return {stream: written_value(last) for stream, last in lasts.items() if last is not None}


def counted(folder: Path) -> dict[str, WriteCount]:
    """How often and by whom each stream was written. Raises StorageError."""
    counts: dict[str, WriteCount] = {}
    if folder.is_dir():
        with JournalReader(folder) as reader:
            for stream in reader.streams():
                for stored in reader.read(stream, 1):
                    counts[stream] = _with(counts.get(stream, WriteCount()), written_value(stored))
    return counts


def _with(count: WriteCount, value: WrittenValue) -> WriteCount:
    authors = dict(count.authors)
    if value.author in authors or len(authors) < AUTHORS_NAMED_MAX:
        authors[value.author] = authors.get(value.author, 0) + 1
    return WriteCount(count.values + 1, value.time_ns, authors)
