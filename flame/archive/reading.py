"""Reading an archive: the same values that were journalled, by number and by time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import h5py
import numpy as np

from flame.archive.columns import blocks, open_column
from flame.archive.failures import named
from flame.archive.layout import IN, RUN
from flame.journal import StreamInfo
from flame.limits import ARCHIVE_BLOCK_BYTES, ARCHIVE_BLOCK_ROWS


class Archived(NamedTuple):
    """One value of an archive: its number, its time in ns UTC, itself, and who wrote it, of a stream of `written`."""

    seq: int
    time_ns: int
    value: Any
    author: str = ""


class _Stream:
    """The datasets of one stream. Row `i` holds value `first_seq + i`, but where `seq` tells the numbers."""

    def __init__(self, group: h5py.Group, name: str) -> None:
        self.main = group[name]
        self.column = open_column(group, name)
        self.times = group[self.main.attrs["time"]]
        self.first_seq = int(self.main.attrs["first_seq"])
        self._seq = group[self.main.attrs["seq"]] if "seq" in self.main.attrs else None
        self._authors = group[self.main.attrs["author"]].asstr() if "author" in self.main.attrs else None

    def seq(self, row: int) -> int:
        return self.first_seq + row if self._seq is None else int(self._seq[row])

    def rows(self, first_seq: int, last_seq: int | None) -> tuple[int, int]:
        """The first of the rows, and the one behind the last."""
        count = len(self.times)
        if self._seq is not None:
            seqs = self._seq[:]
            end = count if last_seq is None else int(np.searchsorted(seqs, last_seq, "right"))
            return int(np.searchsorted(seqs, first_seq)), end
        end = count if last_seq is None else min(count, last_seq - self.first_seq + 1)
        return max(0, first_seq - self.first_seq), end

    def info(self) -> StreamInfo:
        count = len(self.times)
        last_seq, last_time_ns = (self.seq(count - 1), int(self.times[-1])) if count else (0, 0)
        return StreamInfo(self.first_seq, last_seq, last_time_ns)

    def values(self, first: int, last: int) -> Iterator[Archived]:
        row_bytes = self.main.dtype.itemsize * int(np.prod(self.main.shape[1:], dtype=np.int64))
        at_once = max(1, min(ARCHIVE_BLOCK_ROWS, ARCHIVE_BLOCK_BYTES // max(1, row_bytes)))
        for begin, end in blocks(first, last, at_once):
            authors = [""] * (end - begin) if self._authors is None else self._authors[begin:end]
            times = self.times[begin:end].tolist()
            rows = zip(range(begin, end), times, self.column.read(begin, end), authors, strict=True)
            for row, time_ns, value, author in rows:
                yield Archived(self.seq(row), time_ns, value, author)


class Archive:
    """Reads an archive. Streams are named "node/output"; an unknown one raises KeyError. One thread.

    Raises StorageError(DATABASE_FAILED) for a file that is no archive.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = h5py.File(path, "r")
        except (OSError, RuntimeError) as error:
            raise named(path, error) from error

    def close(self) -> None:
        """Calling it again does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def facts(self) -> dict[str, Any]:
        """What is known of the run: the attributes of the file, long ones in full."""
        facts = _plain(self._file.attrs)
        for name, fact in facts.items():
            if fact == f"/{RUN}/{name}":
                facts[name] = self._file[fact].asstr()[()]
        return facts

    def streams(self) -> dict[str, StreamInfo]:
        """Which values there are of each stream."""
        streams: dict[str, StreamInfo] = {}
        for node, group in self._file.items():
            if node != RUN:
                streams.update({f"{node}/{name}": info for name, info in _streams_in(group)})
        return streams

    def written(self) -> dict[str, StreamInfo]:
        """Which values were written to inputs while the run went on, as streams named "node/in/input"."""
        written: dict[str, StreamInfo] = {}
        for node, group in self._file.items():
            if node != RUN and IN in group:
                written.update({f"{node}/{IN}/{name}": info for name, info in _streams_in(group[IN])})
        return written

    def info(self, stream: str) -> StreamInfo | None:
        """Which values there are of a stream of `streams` or `written`; None: there is no such stream."""
        dataset = self._file.get(stream)
        return self._stream(stream).info() if dataset is not None and "lifetime" in dataset.attrs else None

    def count(self, stream: str) -> int:
        """How many values of it there are."""
        return len(self._stream(stream).times)

    def attributes(self, stream: str) -> dict[str, Any]:
        """`unit`, `description`, `dtype`, `eui`, `lifetime` and the rest; `missing`: values that damage took."""
        return _plain(self._file[stream].attrs)

    def read(self, stream: str, first_seq: int, last_seq: int | None = None) -> Iterator[Archived]:
        """The values from `first_seq` to `last_seq`, both included, or to the last."""
        one = self._stream(stream)
        return one.values(*one.rows(first_seq, last_seq))

    def last(self, stream: str) -> Archived | None:
        """The newest value; None: there is none."""
        one = self._stream(stream)
        count = len(one.times)
        return next(one.values(max(0, count - 1), count), None)

    def at(self, stream: str, time_ns: int) -> Archived | None:
        """The newest value whose time is not after `time_ns`, as in a journal; None: there was none yet."""
        one = self._stream(stream)
        rows = np.flatnonzero(one.times[:] <= time_ns)
        return next(one.values(int(rows[-1]), int(rows[-1]) + 1)) if len(rows) else None

    def _stream(self, stream: str) -> _Stream:
        group, _, name = stream.rpartition("/")
        return _Stream(self._file[group], name)


def _streams_in(group: h5py.Group) -> Iterator[tuple[str, StreamInfo]]:
    for name, dataset in group.items():
        if "lifetime" in dataset.attrs:
            yield name, _Stream(group, name).info()


def _plain(attributes: h5py.AttributeManager) -> dict[str, Any]:
    return {name: fact.item() if isinstance(fact, np.generic) else fact for name, fact in attributes.items()}
