"""Values of finite outputs go when their time is over, the values of a segment at a time.

The journal first tells it, in a record that is on the disk: up to which number the values of a stream are not kept any
more. Then each segment that has such values is replaced, by a rename, by one in which only the rest stands: values of
other streams, and memory that is in force. Every record that stays, stays where it was, and what went is a hole in the
file, which takes no room, or its end that is cut off: no place that an index or a reader knows has moved.

So nothing else is touched whenever it is broken off: a value that was told to be gone and lies there still is not
read, and goes the next time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from flame.journal.segments import (
    HEAD,
    Piece,
    Place,
    Record,
    Segment,
    record_bytes,
    segment_name,
    sync_file,
    sync_folder,
)
from flame.ordinary_files import open_ordinary

_RECORD_HEAD_BYTES: Final = len(record_bytes(Record(), 0)) - len(msgspec.msgpack.encode(Record()))


class Drop(NamedTuple):
    """What a journal knows, on the disk, when values are dropped: the first number that is kept of each stream of which
    some may go, and where the memory stands that is in force.
    """

    firsts: Mapping[str, int]
    memory: Mapping[str, Place]


def rewrite(folder: Path, number: int, drop: Drop) -> None:
    """Replace a segment, which is not the newest, by what stays of it.

    Only for the holder of the journal's lock. Raises TornError for a damaged segment, OSError: it is as it was.
    """
    path = folder / segment_name(number)
    fresh = path.with_suffix(".part")
    segment = Segment(folder, number)
    facts = path.stat()
    fresh.unlink(missing_ok=True)  # of a writing that was broken off
    descriptor = open_ordinary(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        _write_at(descriptor, 0, (HEAD,))
        end = len(HEAD)
        for offset, parts, end in _staying(segment, drop):  # noqa: B007 the last end counts
            _write_at(descriptor, offset, parts)
        os.ftruncate(descriptor, end)
        os.utime(descriptor, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # the age of its values
        sync_file(descriptor)
        fresh.replace(path)
    finally:
        os.close(descriptor)
        fresh.unlink(missing_ok=True)
    sync_folder(folder)


def _staying(segment: Segment, drop: Drop) -> Iterator[tuple[int, Sequence[bytes], int]]:
    """What stands where: offset, bytes, and the end of the record. Records of which nothing stays become one."""
    start, end = -1, -1  # of such records
    gone = Record()
    for located in segment.scan(0, whole=False):
        rest = _rest(located.record, located.place, drop)
        if not rest.values and not rest.memory:
            start = located.place.offset if start < 0 else start
            end = located.end
            _join(gone, rest)
            continue
        if start >= 0:
            yield start, (_fitted(gone, (), end - start),), end
            start, gone = -1, Record()
        pieces = [located.data(piece) for piece in (*rest.values, *rest.memory)]
        room = located.end - located.place.offset
        yield located.place.offset, (_fitted(rest, rest.values + rest.memory, room), *pieces), located.end
    if start >= 0:
        last = record_bytes(gone, 0)
        yield start, (last,), start + len(last)


def _rest(record: Record, place: Place, drop: Drop) -> Record:
    """What stays of a record."""
    values: list[Piece] = []
    dropped = dict(record.dropped)
    for piece in record.values:
        if piece.seq < drop.firsts.get(piece.name, 0):
            dropped[piece.name] = piece.seq
        else:
            values.append(piece)
    memory = [piece for piece in record.memory if drop.memory.get(piece.name) == place]
    return msgspec.structs.replace(record, values=values, memory=memory, dropped=dropped)


def _join(gone: Record, rest: Record) -> None:
    gone.dropped.update(rest.dropped)
    gone.cursors.update(rest.cursors)
    if rest.opening:
        gone.opening = rest.opening
        gone.streams = list(dict.fromkeys((*gone.streams, *rest.streams)))


def _fitted(record: Record, pieces: Sequence[Piece], room: int) -> bytes:
    """All of a record but its pieces, so that it takes `room` bytes. It tells less than what stood there."""
    tells_length = len(record_bytes(record, 0)) - _RECORD_HEAD_BYTES
    padded = room - _RECORD_HEAD_BYTES - tells_length
    assert padded >= sum(piece.length for piece in pieces), "what stays of a record is no longer than it was"
    return record_bytes(record, padded)


def _write_at(descriptor: int, offset: int, parts: Sequence[bytes]) -> None:
    for part in parts:
        view = memoryview(part)
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written
