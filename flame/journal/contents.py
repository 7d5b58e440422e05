"""What a journal contains, as a sum over its records: last values, memory, cursors, and entries for its index.

The writer, a start after a crash and every reader come to it in the same way: what the index knew last, and then the
records since then, one by one. So all of it can be made again from the segments alone.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from flame.journal.segments import Place, Record
from flame.limits import INDEX_EVERY_BYTES

NOWHERE: Final = Place(0, 0)


class Entry(NamedTuple):
    """Where a value of a stream is. Those up to the next entry lie less than `Contents.entry_bytes` behind it, in the
    same segment. `earliest_before_ns`: the lowest time of the values from the entry before up to this one.
    """

    stream: str
    seq: int
    place: Place
    time_ns: int
    earliest_before_ns: int


class Stream(msgspec.Struct):
    """What is known of one stream: its values, the place of the last, that of its last entry, and the lowest time since
    that entry. `last_seq` is 0 before the first value. `in_order`: no time was lower than the one before it. Values
    before `first_seq` have been dropped.
    """

    first_seq: int = 1
    last_seq: int = 0
    last_time_ns: int = 0
    last: Place = NOWHERE
    entry: Place = NOWHERE
    earliest_ns: int = 0
    in_order: bool = True


class OrderError(Exception):
    """A sequence number does not follow the one before."""


class Contents(msgspec.Struct):
    """`end`: where the next record begins. `memory`: where each was written last. `openings` of the writer so far.
    `entry_bytes`: see `Entry`; kept here, since a journal may be read by a version with another number.
    """

    streams: dict[str, Stream] = {}
    memory: dict[str, Place] = {}
    cursors: dict[str, int] = {}
    openings: int = 0
    end: Place = NOWHERE
    entry_bytes: int = INDEX_EVERY_BYTES

    def absorb(self, place: Place, record: Record, end: int) -> list[Entry]:
        """Take in the record that begins at `place` and ends at byte `end`; the entries that the index should get for
        it. Raises OrderError.
        """
        entries: list[Entry] = []
        self._absorb_dropped(record.dropped)
        for piece in record.values:
            stream = self.streams.get(piece.name)
            if stream is None:
                stream = self.streams[piece.name] = Stream()
            if stream.last_seq == 0:
                stream.first_seq = piece.seq
            elif piece.seq != stream.last_seq + 1:
                raise OrderError(f"value {piece.seq} of {piece.name} follows value {stream.last_seq}")
            elif record.time_ns < stream.last_time_ns:
                stream.in_order = False
            stream.last_seq = piece.seq
            stream.last_time_ns = record.time_ns
            stream.last = place
            if place.segment != stream.entry.segment or place.offset - stream.entry.offset >= self.entry_bytes:
                entries.append(Entry(piece.name, piece.seq, place, record.time_ns, stream.earliest_ns))
                stream.entry = place
                stream.earliest_ns = record.time_ns
            elif record.time_ns < stream.earliest_ns:
                stream.earliest_ns = record.time_ns
        for piece in record.memory:
            self.memory[piece.name] = place
        if record.cursors:
            self.cursors.update(record.cursors)
        if record.opening:
            self.openings = record.opening
            for name in record.streams:
                self.streams.setdefault(name, Stream())
        self.end = Place(place.segment, end)
        return entries

    def _absorb_dropped(self, dropped: dict[str, int]) -> None:
        for name, seq in dropped.items():
            stream = self.streams.setdefault(name, Stream())
            stream.first_seq = max(stream.first_seq, seq + 1)
            stream.last_seq = max(stream.last_seq, seq)  # of which this record alone may know
