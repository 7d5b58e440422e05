"""What was written to an input while its run went on: by `flame write`, with the author of each value."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

import msgspec

from flame.graph import GraphNode
from flame.limits import WATCH_S
from flame.names import rooms
from flame.names.selectors import Position, Selector
from flame.names.streams import Kept, Stream, Value, end_ns, open_kept, select
from flame.ports import InputPort
from flame.run.runs import Run
from flame.run.writes import stream_name

if TYPE_CHECKING:
    from flame.journal import Stored

_CLOSED: Final = (
    "what is written to its inputs is read by that user alone",
    "it can be read from its archive, when the run has ended",
)


def open_written(run: Run, node: GraphNode, port: InputPort) -> AbstractContextManager[Stream | None]:
    """What was written to an input that can be written; it may be empty. See `open_kept`."""
    name, archived = stream_name(node.name, port.name), f"{node.name}/in/{port.name}"
    return open_kept(run, Kept(run.folder.writes, name, _value_of, archived, _CLOSED))


def _value_of(stored: Stored) -> Value:
    from flame.run.write_journal import written_value  # and with it lmdb, where a journal is open already

    value = written_value(stored)
    return Value(value.seq, value.time_ns, value.value, value.author)


class WrittenInput(msgspec.Struct, frozen=True):
    """An input without an edge that may be written. Before the first write it is its parameter alone."""

    run: Run
    node: GraphNode
    port: InputPort

    def read(self, selector: Selector | None) -> Iterator[Value]:
        """Oldest first. As long as nothing was written, its parameter: a value that is no stream."""
        with open_written(self.run, self.node, self.port) as stream:
            if stream is not None and stream.extent().last_seq:
                first, last = select(stream, selector, end_ns(self.run))
                if first <= last:
                    yield from stream.read(first, last)
            elif selector in (None, Position(-1)):
                value = rooms.content(self.run, self.node, "params", self.port.name)
                yield Value(0, self.run.document.started_ns, value)

    def watch(self) -> Iterator[Value]:
        """The newest value that was written, then each further one, until the run has ended."""
        given: int | None = None
        while True:
            is_running = self.run.is_running  # asked before each look: what was written before the end is still given
            with open_written(self.run, self.node, self.port) as stream:
                while stream is not None:
                    last = stream.extent().last_seq
                    yield from stream.read(max(last, 1) if given is None else given + 1, last)
                    given = last
                    if not is_running:
                        return
                    time.sleep(WATCH_S)
                    is_running = self.run.is_running
            if not is_running:
                return
            given = 0
            time.sleep(WATCH_S)
