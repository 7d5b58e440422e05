"""What was written to inputs while a run went on, as an archive keeps it: value, time, author, number of the user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import h5py
import numpy as np

from flame.archive.columns import create, grow
from flame.graph import Graph
from flame.journal import Stored, StreamInfo
from flame.ports import InputPort, OutputPort
from flame.run.write_journal import written_value
from flame.values import encode


class Journal(Protocol):
    """The journal of writes: a JournalReader, or one that passes over damage."""

    def streams(self) -> dict[str, StreamInfo]: ...

    def read(self, stream: str, first_seq: int, last_seq: int | None = None) -> Iterator[Stored]: ...


class WritesColumn:
    """The values of one stream of the journal of writes, without their authors, under the name of the input."""

    def __init__(self, journal: Journal, stream: str, name: str) -> None:
        self._journal = journal
        self._stream = stream
        self._name = name
        self._info = journal.streams()[stream]  # once: the journal of a run that goes on grows meanwhile

    def streams(self) -> dict[str, StreamInfo]:
        return {self._name: self._info}

    def read(self, stream: str, first_seq: int, last_seq: int | None = None) -> Iterator[Stored]:
        """`stream`: the name of the input."""
        for stored in self._journal.read(self._stream, first_seq, last_seq):
            yield stored._replace(data=encode(written_value(stored).value))

    def authors(self) -> Iterator[tuple[str, int]]:
        """Name and number of who wrote each value."""
        for stored in self._journal.read(self._stream, self._info.first_seq, self._info.last_seq):
            value = written_value(stored)
            yield value.author, value.uid

    def names(self, node: str) -> Iterator[str]:
        """Of all inputs of this flame node that have a stream."""
        return (name for owner, _, name in (one.partition("/") for one in self._journal.streams()) if owner == node)

    def as_output(self, graph: Graph, node: str) -> OutputPort:
        """What is declared of it. Of an input that is there no more, since the run was resumed, its name alone."""
        found = next((one for one in graph.nodes if one.name == node), None)
        port = (found.schema.input(self._name) if found is not None else None) or InputPort(self._name, "state")
        return OutputPort(port.name, "permanent", port.type, port.unit, port.doc)


def write_authors(group: h5py.Group, name: str, beside: Callable[[str, str], str], source: WritesColumn) -> None:
    """Datasets `author` and `uid`, a row for each value; attributes of the value's dataset say what they are called."""
    found = list(source.authors())
    text = h5py.string_dtype("utf-8")
    for part, rows in (
        ("author", np.array([author.encode() for author, _ in found], text)),
        ("uid", np.array([uid for _, uid in found], "i8")),
    ):
        dataset = create(group, beside(name, part), rows.dtype)
        grow(dataset, rows)
        group[name].attrs[part] = dataset.name.rpartition("/")[2]
