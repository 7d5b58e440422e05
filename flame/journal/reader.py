"""Reading a journal, in any process, while it is written or afterwards."""

from __future__ import annotations

import bisect
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import lmdb
import msgspec

from flame.journal.contents import NOWHERE, Contents, Entry, Stream
from flame.journal.index import Index
from flame.journal.recovery import remembered, take_in
from flame.journal.segments import (
    Located,
    Piece,
    Place,
    Segment,
    TornError,
    damaged,
    segment_name,
    segment_numbers,
)
from flame.limits import SEGMENT_BYTES, SEGMENTS_OPEN_MAX
from protocol.errors import StorageError

_BEHIND_BYTES: Final = SEGMENT_BYTES // 16  # further behind than this the index is asked what came since


class StreamInfo(NamedTuple):
    """Which values of a stream there are: `first_seq` to `last_seq`, none when the last is lower. Values before the
    first have been dropped.
    """

    first_seq: int
    last_seq: int
    last_time_ns: int


class Stored(NamedTuple):
    """One value: when it was measured, when it was written, both in ns UTC, and its bytes for `flame.values.decode`."""

    seq: int
    time_ns: int
    written_ns: int
    data: bytes


class _Mark(NamedTuple):
    """Where the reading of a stream can go on: value `seq` is not before `place`, nor without an entry at `bound`."""

    seq: int
    place: Place
    bound: int


class JournalReader:
    """What a journal holds, up to the last whole record at the time of the question. One thread.

    Raises StorageError(JOURNAL_DAMAGED), naming segment and byte, for what was safe and does not read; a record that
    is being written, or that a crash tore, is not there. A folder without a journal holds nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: dict[int, Segment] = {}
        self._index = _open_index(folder)
        self._contents = Contents()
        self._trusted = False  # the index has said up to where all is on the disk
        self._fresh: dict[str, list[Entry]] = {}  # entries of records that the index did not have yet
        self._next = (0, folder)  # the path of a segment that may come
        self._lasts: dict[str, Stored] = {}
        self._marks: dict[str, _Mark] = {}
        self._load()

    def close(self) -> None:
        """Calling it again does nothing."""
        self._segments.clear()
        if self._index is not None:
            self._index.close()
            self._index = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def streams(self) -> dict[str, StreamInfo]:
        """All streams that the journal was opened for, those without a value too."""
        self._refresh()
        return {
            name: StreamInfo(stream.first_seq, stream.last_seq, stream.last_time_ns)
            for name, stream in self._contents.streams.items()
        }

    def memory(self) -> dict[str, Any]:
        self._refresh()
        return remembered(self._folder, self._contents)

    def cursors(self) -> dict[str, int]:
        self._refresh()
        return dict(self._contents.cursors)

    def last(self, stream: str) -> Stored | None:
        """The newest value; None: there is none. One look at the size of a file when nothing has come."""
        self._refresh()
        known = self._contents.streams.get(stream)
        if known is None or known.last_seq < known.first_seq:
            return None
        last = self._lasts.get(stream)
        if last is None or last.seq != known.last_seq:
            located = next(self._scan(known.last))
            piece = next(piece for piece in located.record.values if piece.name == stream)
            last = self._lasts[stream] = self._stored(located, piece)
        return last

    def read(self, stream: str, first_seq: int, last_seq: int | None = None) -> Iterator[Stored]:
        """The values from `first_seq` to `last_seq`, both included, or to the last that is there when this is called.

        Values that have been dropped are not there, nor are those that are dropped meanwhile. Going on where the last
        reading ended costs no search.
        """
        self._refresh()
        known = self._contents.streams.get(stream)
        if known is None:
            return iter(())
        last = known.last_seq if last_seq is None else min(last_seq, known.last_seq)
        return self._read(stream, max(first_seq, known.first_seq), last)

    def at(self, stream: str, time_ns: int) -> Stored | None:
        """The newest value whose time is not after `time_ns`: what was in force then. None: there was none yet.

        Newest by sequence number, also where times went back, as after a step of the clock.
        """
        self._refresh()
        known = self._contents.streams.get(stream)
        if known is None or known.last_seq < known.first_seq:
            return None
        found = self._entry_at(stream, known, time_ns) if known.in_order else self._newest_entry(stream, known, time_ns)
        if found is None:
            return None
        entry, last_seq = found
        block = [one for one in self._located(stream, entry.seq, last_seq) if one[0].record.time_ns <= time_ns]
        return self._stored(*block[-1]) if block else None  # dropped meanwhile

    def _entry_at(self, stream: str, known: Stream, time_ns: int) -> tuple[Entry, int] | None:
        """The last entry that is not after the time, and the last value before the entry that is; by halves."""
        low, high = known.first_seq, known.last_seq
        found: Entry | None = None
        while low <= high:
            middle = (low + high) // 2
            entry = self._floor(stream, middle)
            if entry is None or entry.time_ns > time_ns:
                high = (middle if entry is None else entry.seq) - 1
            else:
                found, low = entry, middle + 1
        return None if found is None else (found, high)

    def _newest_entry(self, stream: str, known: Stream, time_ns: int) -> tuple[Entry, int] | None:
        """The same where times went back: entry by entry from the end, until one stands before such a value."""
        earliest_ns, last_seq = known.earliest_ns, known.last_seq
        for entry in self._entries_backwards(stream):
            if entry.seq < known.first_seq:
                return None
            if earliest_ns <= time_ns:
                return entry, last_seq
            earliest_ns, last_seq = entry.earliest_before_ns, entry.seq - 1
        return None

    def _read(self, stream: str, first_seq: int, last_seq: int) -> Iterator[Stored]:
        for located, piece in self._located(stream, first_seq, last_seq):
            yield self._stored(located, piece)

    def _stored(self, located: Located, piece: Piece) -> Stored:
        try:
            data = located.data(piece)
        except TornError as torn:
            raise damaged(self._folder, located.place, torn.seen) from torn
        return Stored(piece.seq, located.record.time_ns, located.record.written_ns, data)

    def _located(self, stream: str, seq: int, last_seq: int) -> Iterator[tuple[Located, Piece]]:
        """The records of values `seq` to `last_seq`, each of which is there, save those that are dropped meanwhile."""
        looked_again = 0
        while seq <= last_seq:
            try:
                mark = self._mark(stream, seq, anywhere=seq == looked_again)
            except StorageError:
                if (first_seq := self._looked_anew(stream)) <= seq:
                    raise
                seq = first_seq
                continue
            wanted, end = seq, mark.place.offset
            fault = damaged(self._folder, mark.place, f"value {seq} of {stream} is not where the index has it")
            try:
                for located in self._scan(mark.place):
                    end = located.end
                    for piece in located.record.values:
                        if piece.seq == seq and piece.name == stream:
                            seq += 1
                            yield located, piece
                    if seq > last_seq or end >= mark.bound:
                        break
            except StorageError as error:
                fault = error
            finally:  # also when nobody wants more
                self._marks[stream] = _Mark(seq, Place(mark.place.segment, end), mark.bound)
            if seq == wanted:
                first_seq = self._looked_anew(stream)
                if first_seq <= seq == looked_again:
                    raise fault
                seq = looked_again = max(seq, first_seq)

    def _looked_anew(self, stream: str) -> int:
        """The first value that is kept by now. Forgets what was known of segments: values were dropped, perhaps."""
        self._marks.clear()
        self._segments.clear()
        self._refresh()
        return self._contents.streams[stream].first_seq

    def _mark(self, stream: str, seq: int, *, anywhere: bool = False) -> _Mark:
        """Where to begin to look for value `seq`. `anywhere`: in the whole segment, since the record of the entry is
        gone with its values.
        """
        entry = self._floor(stream, seq)
        mark = self._marks.get(stream)
        if mark is not None and mark.seq == seq and (entry is None or entry.seq < seq):
            return mark
        if entry is None:
            raise damaged(self._folder, NOWHERE, f"the index does not know where value {seq} of {stream} is")
        if anywhere:
            return _Mark(entry.seq, Place(entry.place.segment, 0), sys.maxsize)
        return _Mark(entry.seq, entry.place, entry.place.offset + self._contents.entry_bytes)

    def _floor(self, stream: str, seq: int) -> Entry | None:
        fresh = self._fresh.get(stream, [])
        place = bisect.bisect_right(fresh, seq, key=lambda entry: entry.seq)
        if place:
            return fresh[place - 1]
        return None if self._index is None else self._index.floor(stream, seq)

    def _entries_backwards(self, stream: str) -> Iterator[Entry]:
        fresh = self._fresh.get(stream, [])
        yield from reversed(fresh)
        if self._index is not None:
            newest = fresh[0].seq - 1 if fresh else self._contents.streams[stream].last_seq
            yield from self._index.backwards(stream, newest)

    def _scan(self, place: Place) -> Iterator[Located]:
        """Records that are known to be whole, from one of them to the end of its segment."""
        stop = self._contents.end.offset if place.segment == self._contents.end.segment else None
        try:
            yield from self._segment(place.segment).scan(place.offset, stop, whole=False)
        except TornError as torn:
            raise damaged(self._folder, Place(place.segment, torn.offset), torn.seen) from torn

    def _segment(self, number: int) -> Segment:
        segment = self._segments.get(number)
        if segment is None:
            if len(self._segments) >= SEGMENTS_OPEN_MAX:
                del self._segments[next(iter(self._segments))]  # an iterator may still read it
            try:
                segment = self._segments[number] = Segment(self._folder, number)
            except FileNotFoundError as error:
                raise damaged(self._folder, Place(number, 0), "the file is missing") from error
        return segment

    def _load(self) -> None:
        """Go on from what the index knows, where that is further."""
        if self._index is None:
            self._index = _open_index(self._folder)
        if self._index is not None:
            with contextlib.suppress(lmdb.Error, msgspec.DecodeError):
                contents = self._index.load()
                if contents is not None and contents.end > self._contents.end:
                    self._contents, self._fresh, self._trusted = contents, {}, True

    def _refresh(self) -> None:
        """Take in what was written since the last question."""
        end = self._contents.end
        if end.segment and self._segment(end.segment).size() == end.offset and not self._has_segment(end.segment + 1):
            return
        numbers = segment_numbers(self._folder)
        if not numbers:
            return
        if numbers[-1] > end.segment or self._segment(end.segment).size() - end.offset > _BEHIND_BYTES:
            self._load()
        for number in numbers:
            if number >= self._contents.end.segment:
                for entry in take_in(
                    self._folder,
                    self._segment(number),
                    self._contents,
                    may_tear=number == numbers[-1],
                    trusted=self._trusted,
                ):
                    self._fresh.setdefault(entry.stream, []).append(entry)

    def _has_segment(self, number: int) -> bool:
        if self._next[0] != number:
            self._next = (number, self._folder / segment_name(number))
        return self._next[1].exists()


def _open_index(folder: Path) -> Index | None:
    """None where there is none yet, or one that does not read: then the segments are read instead."""
    try:
        return Index.open(folder, writable=False)
    except (lmdb.Error, OSError):
        return None
