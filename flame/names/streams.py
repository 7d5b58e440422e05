"""The values of one stream of one run, wherever they are: in a journal of the run, or in its archive.

A reader cannot tell which: numbers, times and values are the same in both. The journal comes first; the archive answers
when the journal is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from flame.graph import GraphNode
from flame.names.selectors import At, Between, Position, Positions, Selector, sequence, to_ns
from flame.ports import OutputPort
from flame.run.owners import belongs_to_another, is_closed
from flame.run.runs import Run
from flame.values import decode

if TYPE_CHECKING:
    from flame.archive import Archive
    from flame.journal import JournalReader, Stored, StreamInfo


class Value(msgspec.Struct, frozen=True):
    """One value of a stream. `seq`: from 1, without gaps, 0 for what is no stream; `time_ns`: of the measurement,
    nanoseconds since 1970, UTC. `author`: who wrote it, where it came by `flame write`.
    """

    seq: int
    time_ns: int
    value: Any
    author: str = ""

    @property
    def index(self) -> int:
        """Its position, which selects it: the first value of a stream is at 0, as the rows of an archive count."""
        return self.seq - 1

    @property
    def is_constant(self) -> bool:
        return self.seq == 0


class Extent(msgspec.Struct, frozen=True):
    """Numbers of the values that are there, and the time of the newest. `first_seq` is above `last_seq` for none."""

    first_seq: int
    last_seq: int
    last_time_ns: int


class Stream(Protocol):
    """An output, or what was written to an input, opened for reading."""

    def extent(self) -> Extent:
        """As it is now: a stream of a running run grows."""
        ...

    def read(self, first_seq: int, last_seq: int) -> Iterator[Value]: ...

    def seq_at(self, time_ns: int) -> int:
        """Number of the last value that is not later, 0 for none."""
        ...


class _JournalStream:
    def __init__(self, reader: JournalReader, name: str, value_of: Callable[[Stored], Value]) -> None:
        self._reader = reader
        self._name = name
        self._value_of = value_of

    def extent(self) -> Extent:
        info = self._reader.streams()[self._name]
        return Extent(info.first_seq, info.last_seq, info.last_time_ns)

    def read(self, first_seq: int, last_seq: int) -> Iterator[Value]:
        return map(self._value_of, self._reader.read(self._name, first_seq, last_seq))

    def seq_at(self, time_ns: int) -> int:
        stored = self._reader.at(self._name, time_ns)
        return 0 if stored is None else stored.seq


class _ArchiveStream:
    def __init__(self, archive: Archive, name: str, info: StreamInfo) -> None:
        self._archive = archive
        self._name = name
        self._extent = Extent(info.first_seq, info.last_seq, info.last_time_ns)

    def extent(self) -> Extent:
        return self._extent

    def read(self, first_seq: int, last_seq: int) -> Iterator[Value]:
        for stored in self._archive.read(self._name, first_seq, last_seq):
            yield Value(stored.seq, stored.time_ns, stored.value, stored.author)

    def seq_at(self, time_ns: int) -> int:
        stored = self._archive.at(self._name, time_ns)
        return 0 if stored is None else stored.seq


class Kept(NamedTuple):
    """Where the values of a stream lie. `name`: in the journal, `value_of`: what a value is there; `archived`: the name
    in the archive, "" for what never comes there. `closed`: what another user is told, and the next step.
    """

    journal: Path
    name: str
    value_of: Callable[[Stored], Value]
    archived: str
    closed: tuple[str, str]


@contextmanager
def open_kept(run: Run, kept: Kept) -> Iterator[Stream | None]:
    """From the journal, else from the archive; None when nothing is kept anywhere. Raises StorageError, and DeniedError
    where it lies in the journal of another user alone.
    """
    closed = is_closed(kept.journal)
    if kept.journal.is_dir() and not closed:
        from flame.journal import JournalReader  # lmdb is loaded where the first journal is opened

        with JournalReader(kept.journal) as reader:
            if kept.name in reader.streams():
                yield _JournalStream(reader, kept.name, kept.value_of)
                return
    if kept.archived and run.folder.archive.is_file():
        from flame.archive import Archive  # and h5py where the first archive is

        with Archive(run.folder.archive) as archive:
            info = archive.info(kept.archived)
            if info is not None:
                yield _ArchiveStream(archive, kept.archived, info)
                return
    if closed:
        raise belongs_to_another(run.folder, *kept.closed)
    yield None


_CLOSED: Final = (
    "the journals of its flame nodes are read by that user alone",
    "what is permanent can be read from its archive, when the run has ended",
)


def open_stream(run: Run, node: GraphNode, port: OutputPort) -> AbstractContextManager[Stream | None]:
    """The values of an output. See `open_kept`."""
    archived = f"{node.name}/{port.name}" if port.lifetime == "permanent" else ""
    return open_kept(run, Kept(run.folder.journal(node.name), port.name, _value_of, archived, _CLOSED))


def _value_of(stored: Stored) -> Value:
    return Value(stored.seq, stored.time_ns, decode(stored.data))


def end_ns(run: Run) -> int:
    """From where times are counted back: now, or the end of the run."""
    result = run.result
    return result.ended_ns if result is not None and not run.is_running else time.time_ns()


def select(stream: Stream, selector: Selector | None, now_ns: int) -> tuple[int, int]:
    """First and last number of the values that are meant, also of such as are not kept any more; none when the first is
    above the second.

    `now_ns`: see `end_ns`.
    """
    extent = stream.extent()
    match selector:
        case None:
            first, last = extent.first_seq, extent.last_seq
        case Position() | Positions():
            first, last = sequence(selector, extent.last_seq)
        case At(moment):
            first = last = stream.seq_at(to_ns(moment, now_ns)) or extent.first_seq - 1
        case Between(start, stop):
            first = 1 if start is None else stream.seq_at(to_ns(start, now_ns) - 1) + 1
            last = extent.last_seq if stop is None else stream.seq_at(to_ns(stop, now_ns)) or extent.first_seq - 1
    return first, min(last, extent.last_seq)


def stored_memory(run: Run, node: GraphNode) -> dict[str, Any]:
    """What the flame node remembers, by name."""
    journal = run.folder.journal(node.name)
    if is_closed(journal):
        raise belongs_to_another(run.folder, *_CLOSED)
    if not journal.is_dir():
        return {}
    from flame.journal import JournalReader

    with JournalReader(journal) as reader:
        return reader.memory()
