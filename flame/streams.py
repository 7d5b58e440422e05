"""The values of one output of one run, wherever they are: in the journal of its flame node, or in the archive of the run.

A reader cannot tell which: numbers, times and values are the same in both. The journal comes first; the archive answers
when the journal is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Protocol

import msgspec

from flame.graph import GraphNode
from flame.ports import OutputPort
from flame.runs import Run
from flame.selectors import At, Between, Position, Positions, Selector, sequence, to_ns


class Value(msgspec.Struct, frozen=True):
    """One value of a stream. `seq`: from 1, without gaps; `time_ns`: of the measurement, nanoseconds since 1970, UTC."""

    seq: int
    time_ns: int
    value: Any


class Stream(Protocol):
    """One output, opened for reading: numbers and time as they were when it was opened. `first_seq` is above `last_seq`
    while nothing is there.
    """

    first_seq: int
    last_seq: int
    last_time_ns: int

    def read(self, first_seq: int, last_seq: int) -> Iterator[Value]: ...

    def seq_at(self, time_ns: int) -> int:
        """Number of the last value that is not later, 0 for none."""
        ...


@contextmanager
def open_stream(run: Run, node: GraphNode, port: OutputPort) -> Iterator[Stream | None]:
    """None when nothing of this output is kept anywhere. Raises StorageError."""
    journal = run.folder.journal(node.name)
    if journal.is_dir():
        from flame.journal_stream import journal_stream  # lmdb is loaded where the first journal is opened

        with journal_stream(journal, port.name) as stream:
            if stream is not None:
                yield stream
                return
    yield None


def select(stream: Stream, selector: Selector | None, now_ns: int) -> tuple[int, int]:
    """First and last number of the values that are meant and still there; none when the first is above the second.

    `now_ns`: now, or the end of the run.
    """
    match selector:
        case None:
            first, last = stream.first_seq, stream.last_seq
        case Position() | Positions():
            first, last = sequence(selector, stream.last_seq)
        case At(moment):
            first = last = stream.seq_at(to_ns(moment, now_ns))
        case Between(start, stop):
            first = 1 if start is None else stream.seq_at(to_ns(start, now_ns) - 1) + 1
            last = stream.last_seq if stop is None else stream.seq_at(to_ns(stop, now_ns))
    return max(first, stream.first_seq), min(last, stream.last_seq)


def stored_memory(run: Run, node: GraphNode) -> dict[str, Any]:
    """What the flame node remembers, by name."""
    journal = run.folder.journal(node.name)
    if not journal.is_dir():
        return {}
    from flame.journal import JournalReader

    with closing(JournalReader(journal)) as reader:
        return reader.memory()
