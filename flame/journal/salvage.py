"""What can still be read of a damaged journal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import lmdb
import msgspec

from flame.journal.contents import Contents, Stream
from flame.journal.index import Index
from flame.journal.reader import Stored, StreamInfo
from flame.journal.segments import Located, Piece, Segment, TornError, segment_numbers


class SalvagingReader:
    """Reads all records that are whole, wherever they stand, and passes over the rest: values that were damaged are
    simply missing. Slow: it goes through the whole journal. One thread.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def streams(self) -> dict[str, StreamInfo]:
        """From the first to the last that was ever promised, where the index still tells."""
        streams = {name: StreamInfo(one.first_seq, one.last_seq, 0) for name, one in self._promised().items()}
        for located, piece in self._pieces():
            known = streams.get(piece.name, StreamInfo(piece.seq, 0, 0))
            streams[piece.name] = StreamInfo(
                min(known.first_seq, piece.seq), max(known.last_seq, piece.seq), located.record.time_ns
            )
        return streams

    def read(self, stream: str, first_seq: int, last_seq: int | None = None) -> Iterator[Stored]:
        """Those that read, in order."""
        for located, piece in self._pieces():
            if piece.name == stream and first_seq <= piece.seq and (last_seq is None or piece.seq <= last_seq):
                with contextlib.suppress(TornError):
                    data = located.data(piece)
                    yield Stored(piece.seq, located.record.time_ns, located.record.written_ns, data)

    def _pieces(self) -> Iterator[tuple[Located, Piece]]:
        for number in segment_numbers(self._folder, whole=False):
            segment = Segment(self._folder, number)
            offset: int | None = 0
            while offset is not None:
                try:
                    for located in segment.scan(offset, whole=False):
                        yield from ((located, piece) for piece in located.record.values)
                    offset = None
                except TornError as torn:
                    offset = segment.record_after(torn.offset)

    def _promised(self) -> dict[str, Stream]:
        with (
            contextlib.suppress(lmdb.Error, OSError, msgspec.DecodeError),
            contextlib.closing(Index.open(self._folder, writable=False)) as index,
        ):
            return (index.load() or Contents()).streams
        return {}
