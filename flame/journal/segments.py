"""The files of a journal: records one after another, each with its checksums, appended and never moved.

    00000001.seg    head of the file, then records
    record          head (mark, lengths, CRC of what the record tells) ‖ tells (MessagePack map) ‖ the pieces themselves

A record is one atomic set: values, changed memory, positions of inputs, one time. Each piece has a CRC of its own, so
that a reader of a small value need not read the large array beside it. Unknown keys of the map are passed over.
CRC-32 as in zlib; integers little-endian. A segment is synced whole before the next one is made. Of one that is not
the newest values may be dropped: see `flame.journal.dropping`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from flame.limits import SCAN_BYTES_MAX, SCAN_BYTES_MIN
from flame.ordinary_files import open_ordinary
from flame.refusals import refusal
from protocol.errors import Code, StorageError

HEAD: Final = b"FLAMEJ1\n"
_MARK: Final = b"\xf5REC"
_RECORD: Final = struct.Struct("<4sIQI")  # mark, bytes of what it tells, bytes of its pieces, CRC-32
_LENGTHS: Final = struct.Struct("<IQ")


class Piece(msgspec.Struct, array_like=True):
    """A value of an output, with its sequence number, or a memory, with 0: where it is in the record, and its CRC."""

    name: str
    seq: int
    length: int
    crc: int


class Record(msgspec.Struct, omit_defaults=True):
    """What a record tells; its pieces follow, values first, in this order. `opening`: the writer was opened for the
    so-manieth time, with these `streams`. `dropped`: values of a stream up to this number are not kept any more.
    """

    time_ns: int = msgspec.field(default=0, name="t")
    written_ns: int = msgspec.field(default=0, name="w")
    values: list[Piece] = msgspec.field(default_factory=list, name="v")
    memory: list[Piece] = msgspec.field(default_factory=list, name="m")
    cursors: dict[str, int] = msgspec.field(default_factory=dict, name="c")
    opening: int = msgspec.field(default=0, name="o")
    streams: list[str] = msgspec.field(default_factory=list, name="s")
    dropped: dict[str, int] = msgspec.field(default_factory=dict, name="d")


class Place(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Where a record begins. Places of one journal compare in the order of writing."""

    segment: int
    offset: int


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Record)


def record_bytes(record: Record, pieces_length: int) -> bytes:
    """All of a record but its pieces."""
    tells = _encoder.encode(record)
    crc = zlib.crc32(tells, zlib.crc32(_LENGTHS.pack(len(tells), pieces_length)))
    return _RECORD.pack(_MARK, len(tells), pieces_length, crc) + tells


def segment_name(number: int) -> str:
    return f"{number:08d}.seg"


def segment_numbers(folder: Path, *, whole: bool = True) -> list[int]:
    """In order. With `whole` raises StorageError(JOURNAL_DAMAGED) when one is missing between two others."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(folder, error) from error
    numbers = sorted(
        int(name[:8])
        for name in names
        if len(name) == 12 and name.endswith(".seg") and name.isascii() and name[:8].isdigit()
    )
    for before, number in itertools.pairwise(numbers):
        if whole and number != before + 1:
            raise damaged(folder, Place(before + 1, 0), "the file is missing")
    return numbers


def damaged(folder: Path, place: Place, seen: str) -> StorageError:
    return StorageError(
        Code.JOURNAL_DAMAGED,
        f"{folder}: segment {segment_name(place.segment)} is damaged at byte {place.offset}: {seen}",
        next_step="copy the folder before anything else; `flame archive --salvage` keeps what reads",
    )


def unreadable(path: Path, error: OSError) -> StorageError:
    refused = refusal(error)
    return StorageError(refused.code, f"{path} cannot be read: {refused.why}", next_step=refused.next_step)


class TornError(Exception):
    """No whole record begins here: the end of what was written, or damage. The caller knows which."""

    def __init__(self, offset: int, seen: str) -> None:
        super().__init__(seen)
        self.offset = offset
        self.seen = seen


class Segment:
    """One segment open for reading, as long as somebody holds it. Any thread.

    Raises StorageError(DATABASE_FAILED) when the disk does not give what stands there.
    """

    def __init__(self, folder: Path, number: int) -> None:
        """Raises FileNotFoundError."""
        self.number = number
        self._path = folder / segment_name(number)
        try:
            self._descriptor = open_ordinary(self._path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise unreadable(self._path, error) from error

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # it was not opened
            os.close(self._descriptor)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def bytes_at(self, offset: int, length: int) -> bytes:
        """Fewer where the file ends."""
        parts: list[bytes] = []
        while length:  # Linux reads at most 2 GiB at once
            try:
                part = os.pread(self._descriptor, length, offset)
            except OSError as error:
                raise unreadable(self._path, error) from error
            if not part:
                break
            parts.append(part)
            length -= len(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def scan(self, start: int, stop: int | None = None, *, whole: bool) -> Iterator[Located]:
        """The records from byte `start` to byte `stop` or the end of the file as it is now.

        `whole`: check the pieces too. Raises TornError where no whole record begins, or the last one does not end.
        """
        stop = self.size() if stop is None else stop
        window = _Window(self)
        if start < len(HEAD):
            if window.at(0, len(HEAD)) != HEAD:
                raise TornError(0, "it does not begin as a segment")
            start = len(HEAD)
        while start < stop:
            located = self._record_at(window, start, stop)
            if whole:
                for piece in (*located.record.values, *located.record.memory):
                    located.data(piece)
            yield located
            start = located.end

    def record_after(self, offset: int) -> int | None:
        """Where the next record that reads begins behind `offset`; None: there is none, all behind is a torn end."""
        size = self.size()
        while offset < size:
            stretch = self.bytes_at(offset, SCAN_BYTES_MAX)
            found = stretch.find(_MARK, 1)
            while found > 0:
                with contextlib.suppress(TornError):
                    self._record_at(_Window(self), offset + found, size)
                    return offset + found
                found = stretch.find(_MARK, found + 1)
            offset += max(1, len(stretch) - len(_MARK))
        return None

    def _record_at(self, window: _Window, offset: int, stop: int) -> Located:
        head = window.at(offset, _RECORD.size)
        if len(head) < _RECORD.size:
            raise TornError(offset, "a record ends within its head")
        mark, tells_length, pieces_length, crc = _RECORD.unpack(head)
        pieces = offset + _RECORD.size + tells_length
        if mark != _MARK or pieces + pieces_length > stop:
            raise TornError(offset, "no whole record begins there")
        tells = window.at(offset + _RECORD.size, tells_length)
        if zlib.crc32(tells, zlib.crc32(_LENGTHS.pack(tells_length, pieces_length))) != crc:
            raise TornError(offset, "the checksum of a record is wrong")
        try:
            record = _decoder.decode(tells)
        except (ValueError, RecursionError) as error:  # also of text that is none
            raise TornError(offset, f"a record does not read: {error}") from error
        return Located(Place(self.number, offset), record, pieces, pieces + pieces_length, window)


class _Window:
    """The stretch of a segment that was read last; each is twice as long as the one before, so that a look at one
    record costs little and a long reading few calls. What is larger than a stretch is read by itself.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._start = 0
        self._data = b""
        self._length = SCAN_BYTES_MIN

    def at(self, offset: int, length: int) -> bytes:
        """Fewer where the file ends."""
        begin = offset - self._start
        if begin >= 0 and begin + length <= len(self._data):
            return self._data[begin : begin + length]
        if length >= self._length:
            return self._segment.bytes_at(offset, length)
        self._start = offset
        self._data = self._segment.bytes_at(offset, self._length)
        self._length = min(2 * self._length, SCAN_BYTES_MAX)
        return self._data[:length]


class Located(NamedTuple):
    """A record of a segment: its place, where its pieces begin, and where the next record begins."""

    place: Place
    record: Record
    pieces: int
    end: int
    window: _Window

    def data(self, wanted: Piece) -> bytes:
        """A piece of this record. Raises TornError when it is not as it was written."""
        offset = self.pieces
        for piece in itertools.chain(self.record.values, self.record.memory):
            if piece is wanted:
                break
            offset += piece.length
        if not 0 <= wanted.length <= self.end - offset:
            raise TornError(self.place.offset, f"{wanted.name} goes beyond its record")
        data = self.window.at(offset, wanted.length)
        if len(data) != wanted.length or zlib.crc32(data) != wanted.crc:
            raise TornError(self.place.offset, f"the bytes of {wanted.name} are not those that were written")
        return data


class SegmentWriter:
    """The end of the newest segment. One thread at a time; `sync` may run beside `write`.

    Raises OSError; then nothing of that record stands in the file.
    """

    def __init__(self, folder: Path, number: int, size: int | None = None) -> None:
        """Make segment `number`, or open it for more and cut it at `size`. On disk, its name too, when this returns."""
        self.number = number
        self._folder = folder
        path = folder / segment_name(number)
        self._descriptor = open_ordinary(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
        try:
            if size is None or size < len(HEAD):
                size = 0
            os.ftruncate(self._descriptor, size)
            self.size = size
            if size == 0:
                self.write((HEAD,))
            sync_file(self._descriptor)
            sync_folder(folder)
        except OSError:
            os.close(self._descriptor)
            raise

    def write(self, parts: Sequence[bytes]) -> None:
        """Append the parts, in the page cache when this returns."""
        size = self.size
        try:
            for part in parts:
                written = os.pwrite(self._descriptor, part, size)
                size += written
                while written < len(part):
                    more = os.pwrite(self._descriptor, memoryview(part)[written:], size)
                    written += more
                    size += more
        except OSError:
            os.ftruncate(self._descriptor, self.size)
            raise
        self.size = size

    def began_s(self) -> float:
        """When its first record was written, in seconds since 1970; now for none."""
        with contextlib.suppress(TornError):
            for located in Segment(self._folder, self.number).scan(0, self.size, whole=False):
                return located.record.written_ns / 1e9
        return time.time()

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, as far as they are missing; their names are on the disk too. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def sync_file(descriptor: int) -> None:
    """Bring what was written, and the length, to the disk. Raises OSError."""
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Bring the names of the files in `folder` to the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
