"""Where the values of an address come from: an output of a flame node, seen directly or through an input."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from flame.graph import Edge, GraphNode
from flame.limits import LIVE_WAIT_S, WATCH_S
from flame.names import rooms
from flame.names.address import Address, to_text
from flame.names.selectors import Position, Selector
from flame.names.streams import Stream, Value, end_ns, open_stream, select
from flame.names.written_inputs import WrittenInput
from flame.ports import OutputPort
from flame.run.owners import belongs_to_another, is_closed
from flame.run.runs import Run, nothing_there
from flame.run.wires import journalled_outputs
from flame.run.writes import is_writable
from protocol.errors import WorkflowError


class Source(msgspec.Struct, frozen=True):
    """An output of a run. Through an input its values arrive as `value * factor + offset`, as the flame node saw them.

    `place`: the address that was asked for, for messages.
    """

    run: Run
    node: GraphNode
    port: OutputPort
    place: str
    factor: float = 1.0
    offset: float = 0.0

    @property
    def is_live_only(self) -> bool:
        """Whether its values are on their way and nowhere else."""
        return self.port.name not in journalled_outputs(self.run.graph, self.node.name)

    def read(self, selector: Selector | None) -> Iterator[Value]:
        """Oldest first. Raises WorkflowError(NOTHING_THERE) when nothing is kept of this output."""
        if self.is_live_only and self.run.is_running:
            if selector not in (None, Position(-1)):
                raise nothing_there(
                    f"{self.place}: of a runtime output there is the newest value alone, while its run is running",
                    to_text(self.run.alias, self.node.name),
                )
            yield from self._read_live()
            return
        with open_stream(self.run, self.node, self.port) as stream:
            if stream is None:
                raise self.missing()
            first, last = select(stream, selector, end_ns(self.run))
            first_kept = stream.extent().first_seq
            if 0 < first <= last < first_kept:
                raise self._dropped(first_kept)
            first = max(first, first_kept)
            if first <= last:
                yield from map(self.seen, stream.read(first, last))

    def watch(self) -> Iterator[Value]:
        """The newest value, then each further one once, in order, until the run has ended and all were given.

        Of a runtime output a watcher that is too slow misses values, and sees it by their numbers.
        """
        if self.is_live_only:
            if not self.run.is_running:
                raise self.missing()
            yield from map(self.seen, self._live(None))
            return
        is_running = self.run.is_running  # asked before each look: what was set before the end is still given
        with self._begun(is_running) as stream:
            given = max(stream.extent().last_seq - 1, 0)
            while True:
                last = stream.extent().last_seq
                yield from map(self.seen, stream.read(given + 1, last))
                given = last
                if not is_running:
                    return
                time.sleep(WATCH_S)
                is_running = self.run.is_running

    def _read_live(self) -> Iterator[Value]:
        """The newest value alone: nothing keeps those before it."""
        for value in self._live(LIVE_WAIT_S):
            yield self.seen(value)
            return
        raise nothing_there(
            f"{self.place}: {self.node.name} set no value of it while we waited for {LIVE_WAIT_S:.0f} s",
            to_text(self.run.alias, self.node.name),
        )

    def _live(self, wait_s: float | None) -> Iterator[Value]:
        if is_closed(self.run.folder.sockets):
            what = "values that are kept nowhere are seen by that user alone"
            raise belongs_to_another(self.run.folder, what, "ask that user")
        from flame.edges.live import live_values  # zmq is loaded where something live is read

        return live_values(self.run.folder.sockets, self.node.name, self.port.name, lambda: self.run.is_running, wait_s)

    @contextmanager
    def _begun(self, is_running: bool) -> Iterator[Stream]:
        """Waits until the flame node has made its journal."""
        while True:
            with open_stream(self.run, self.node, self.port) as stream:
                if stream is not None:
                    yield stream
                    return
            if not is_running:
                raise self.missing()
            time.sleep(WATCH_S)
            is_running = self.run.is_running

    def seen(self, value: Value) -> Value:
        """As it arrives at the input."""
        if (self.factor, self.offset) == (1.0, 0.0) or not _is_number(value.value):
            return value
        return msgspec.structs.replace(value, value=value.value * self.factor + self.offset)

    def _dropped(self, first_kept: int) -> WorkflowError:
        return nothing_there(
            f"{self.place}: values before [{first_kept - 1}] were kept for a while only, and are gone",
            to_text(self.run.alias, self.node.name),
        )

    def missing(self) -> WorkflowError:
        """Why nothing is there."""
        if self.is_live_only:
            why = "nothing of a runtime output is kept; declare it finite or permanent to keep it"
        elif self.run.is_running:
            why = f"{self.node.name} has set no value of it yet"
        elif self.port.lifetime == "permanent":
            why = f"{self.node.name} set no value of it in run {self.run.alias}"
        else:
            why = f"values of a {self.port.lifetime} output are kept for a while only, and these are gone"
        return nothing_there(f"{self.place}: {why}", to_text(self.run.alias, self.node.name))


def source_of(run: Run, node: GraphNode, address: Address) -> Source | WrittenInput | None:
    """None for what is no stream: a parameter, or a room without streams. Raises WorkflowError(NOTHING_THERE)."""
    place = to_text(run.alias, node.name, address.room, address.name)
    if address.room == "out":
        ports = {port.name: port for port in node.schema.outputs}
        return Source(run, node, rooms.chosen(run, node, "out", address.name, ports), place)
    if address.room != "in":
        return None
    given = rooms.chosen(run, node, "in", address.name, {port.name: port for port in node.schema.inputs})
    edge = _edge(run, node, address.name)
    if edge is None:
        return WrittenInput(run, node, given) if is_writable(run.graph, node.name, given.name) else None
    producer = run.node(edge.source)
    port = producer.schema.output(edge.output)
    assert port is not None, "every reference of a graph is whole"
    return Source(run, producer, port, place, edge.factor, edge.offset)


def _is_number(value: Any) -> bool:
    """What an edge converts; it leaves None, and a program is told of anything else."""
    return isinstance(value, int | float) or hasattr(value, "dtype")


def _edge(run: Run, node: GraphNode, name: str) -> Edge | None:
    return next((edge for edge in run.graph.inbound(node.name) if edge.input == name), None)


def constant(run: Run, node: GraphNode, address: Address) -> Any:
    """What is at an address that is no stream."""
    room = "params" if address.room == "in" else address.room
    return rooms.content(run, node, room, address.name)
