"""What was written to an input while its run went on: by `flame write`, with the author of each value."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from flame.graph import GraphNode
from flame.limits import WATCH_S
from flame.names import rooms
from flame.names.selectors import Position, Selector
from flame.names.streams import Extent, Stream, Value, select
from flame.ports import InputPort
from flame.run.owners import belongs_to_another, is_closed
from flame.run.runs import Run

if TYPE_CHECKING:
    from flame.archive import Archive
    from flame.journal import JournalReader


class _JournalStream:
    def __init__(self, reader: JournalReader, name: str) -> None:
        self._reader = reader
        self._name = name

    def extent(self) -> Extent:
        info = self._reader.streams()[self._name]
        return Extent(info.first_seq, info.last_seq, info.last_time_ns)

    def read(self, first_seq: int, last_seq: int) -> Iterator[Value]:
        from flame.run.write_journal import written_value

        for stored in self._reader.read(self._name, first_seq, last_seq):
            value = written_value(stored)
            yield Value(value.seq, value.time_ns, value.value, value.author)

    def seq_at(self, time_ns: int) -> int:
        stored = self._reader.at(self._name, time_ns)
        return 0 if stored is None else stored.seq


class _ArchiveStream:
    def __init__(self, archive: Archive, name: str) -> None:
        self._archive = archive
        self._name = name

    def extent(self) -> Extent:
        info = self._archive.written()[self._name]
        return Extent(info.first_seq, info.last_seq, info.last_time_ns)

    def read(self, first_seq: int, last_seq: int) -> Iterator[Value]:
        everything = zip(self._archive.read(self._name, 1), self._archive.authors(self._name), strict=True)
        for stored, author in everything:
            if first_seq <= stored.seq <= last_seq:
                yield Value(stored.seq, stored.time_ns, stored.value, author)

    def seq_at(self, time_ns: int) -> int:
        stored = self._archive.at(self._name, time_ns)
        return 0 if stored is None else stored.seq


@contextmanager
def open_written(run: Run, node: GraphNode, port: InputPort) -> Iterator[Stream | None]:
    """From the journal, else from the archive; None when nothing was written to this input. Raises StorageError, and
    DeniedError where it lies in the journal of another user alone.
    """
    closed = is_closed(run.folder.writes)
    if run.folder.writes.is_dir() and not closed:
        from flame.journal import JournalReader  # lmdb is loaded where the first journal is opened

        name = f"{node.name}/{port.name}"
        with JournalReader(run.folder.writes) as reader:
            info = reader.streams().get(name)
            yield _JournalStream(reader, name) if info is not None and info.last_seq else None
            return
    if run.folder.archive.is_file() and is_writable(node, port):
        from flame.archive import Archive  # and h5py where the first archive is

        name = f"{node.name}/in/{port.name}"
        with Archive(run.folder.archive) as archive:
            if name in archive.written():
                yield _ArchiveStream(archive, name)
                return
    if closed:
        what = "what is written to its inputs is read by that user alone"
        raise belongs_to_another(run.folder, what, "it can be read from its archive, when the run has ended")
    yield None


def is_writable(node: GraphNode, port: InputPort) -> bool:
    return any(one.input == port.name for one in node.writable)


class WrittenInput(msgspec.Struct, frozen=True):
    """An input without an edge that may be written. Before the first write it is its parameter alone."""

    run: Run
    node: GraphNode
    port: InputPort

    def read(self, selector: Selector | None) -> Iterator[Value]:
        """Oldest first. As long as nothing was written, its parameter: a value that is no stream."""
        with open_written(self.run, self.node, self.port) as stream:
            if stream is not None:
                first, last = select(stream, selector, self._now_ns())
                if first <= last:
                    yield from stream.read(first, last)
            elif selector in (None, Position(-1)):
                value = rooms.content(self.run, self.node, "params", self.port.name)
                yield Value(0, self.run.document.started_ns, value)

    def watch(self) -> Iterator[Value]:
        """The newest value that was written, then each further one, until the run has ended."""
        given = -1
        is_running = True
        while is_running:
            is_running = self.run.is_running  # asked before the look: what was written before the end is still given
            with open_written(self.run, self.node, self.port) as stream:
                last = 0 if stream is None else stream.extent().last_seq
                if stream is not None and last > given:
                    yield from stream.read(last if given < 0 else given + 1, last)
            given = last
            if is_running:
                time.sleep(WATCH_S)

    def _now_ns(self) -> int:
        """From where times are counted back: now, or the end of the run."""
        result = self.run.result
        return result.ended_ns if result is not None and not self.run.is_running else time.time_ns()
