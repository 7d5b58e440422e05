"""A flame node within a run: from its declarations and what the executor says, edges, journal and memory."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import zmq

from flame.control import AWAITED_S, Beat, InputEnd, Wire, Written
from flame.edges.context import edge_context
from flame.edges.newest import NewestEnd
from flame.edges.receiving import ReceivingEnd
from flame.edges.sending import SendingEnd
from flame.edges.shared_arrays import SharedOutput
from flame.edges.wired_outputs import WiredOutlet, WiredOutput
from flame.library import memory as remembering
from flame.library.commits import Commits
from flame.library.constant import Constant, parameter
from flame.library.inputs import Flow, Input
from flame.library.memory import Memory
from flame.library.node_link import NodeLink
from flame.library.outputs import Output
from flame.library.reading import reading
from flame.library.stopping import StopFlag, Stopped
from flame.library.writable import WritableInput
from flame.limits import LINGER_STOPPED_S, SLICE_MS
from flame.ports import NodeSchema

if TYPE_CHECKING:
    from flame.journal import Journal, Keeping


class Joined:
    """What a flame node has for the time of a run. Made by `register()`, which returns when the run has started."""

    def __init__(self, endpoint: str, name: str, schema: NodeSchema, stop: StopFlag) -> None:
        self._name: Final = name
        self._stop = stop
        self._link = NodeLink(endpoint, name, stop)
        self._wire: Final = self._hello(schema)
        self._context: zmq.Context[zmq.Socket[bytes]] = edge_context()
        self._receiving: dict[str, ReceivingEnd] = {}
        self._writable: dict[str, WritableInput] = {}
        self._journal: Journal | None = None
        self._next_seq: dict[str, int] = {}
        self._positions: dict[str, int] = {}
        self._outlet: WiredOutlet | None = None
        self._commits = Commits(None, None)
        self._notes: list[str] = []  # bounded by the inputs
        self.selecting: dict[Input[Any], float] = {}  # those that `node.select` waits for, and since when

    def _hello(self, schema: NodeSchema) -> Wire:
        try:
            return self._link.hello(schema)
        except Stopped:
            self._link.bye(Beat(), "")  # nothing else of this object will live to say it
            raise

    def start(
        self, inputs: dict[str, Input[Any]], outputs: dict[str, Output[Any]], memory: Memory | None
    ) -> WiredOutlet:
        """Raises Stopped when the run stops before it has started, StorageError, and WorkflowError for parameters."""
        self._open_journal(memory, outputs)
        for handle in inputs.values():
            self._join_input(handle)
        self._link.on_written(self._written)
        self._link.wired(tuple(self._notes))
        self._outlet = self._connect(outputs)
        self._link.ready(self._beat)
        return self._outlet

    def ask_stop(self, reason: str) -> None:
        self._link.ask_stop(reason)

    def close(self, problem: str) -> None:
        """The program has ended: in order, or by a problem. What it has set goes out; then the executor is told."""
        in_order = not problem
        if in_order and not self._stop.is_set:
            self._commits.commit({}, time.time_ns())
        beat = self._beat()
        for end in self._receiving.values():
            end.close(in_order=in_order)
        if self._outlet is not None:
            if in_order:
                self._outlet.finish()
            for edge in self._outlet.edges:
                edge.close(-1 if edge.takes and not self._stop.is_set else round(LINGER_STOPPED_S * 1e3))
            self._linger(self._outlet.edges)
        self._commits.close()
        self._link.bye(beat, problem)
        for writable in self._writable.values():
            writable.close()  # nobody writes into them any more

    # --- the start -----------------------------------------------------------------------------

    def _open_journal(self, memory: Memory | None, outputs: dict[str, Output[Any]]) -> None:
        wire = self._wire
        if not wire.journal or not (wire.journalled or memory is not None or any(end.journal for end in wire.inputs)):
            return
        from flame.journal import Journal

        inputs = [end.input for end in wire.inputs if end.journal]
        keeping = {name: self._keeping(output) for name, output in outputs.items() if output.port.keep_s}
        self._journal = Journal.open(Path(wire.journal), wire.journalled, inputs=inputs, keeping=keeping)
        recovered = self._journal.recovered
        self._next_seq, self._positions = recovered.next_seq, recovered.cursors
        if memory is not None:
            remembering.restore(memory, recovered.memory)
        self._commits = Commits(self._journal, memory)

    def _keeping(self, output: Output[Any]) -> Keeping:
        from flame.journal import Keeping, Taker

        ends = (end for end in self._wire.outputs if end.output == output.name and end.positions)
        takers = (Taker(Path(end.positions), end.consumer.rpartition("/")[2]) for end in ends)
        return Keeping(output.port.keep_s, tuple(takers))

    def _join_input(self, handle: Input[Any]) -> None:
        end = next((end for end in self._wire.inputs if end.input == handle.name), None)
        if end is None:
            handle.join(self._parameter(handle), self._stop)
            return
        source = self._receiving[handle.name] = self._receive(handle, end)
        keeps_position = end.journal and self._journal is not None and isinstance(handle, Flow) and source.loses_nothing
        handle.join(source, self._stop, self._commits if keeps_position else None)

    def _parameter(self, handle: Input[Any]) -> Constant | WritableInput:
        value = parameter(handle.port, self._wire.parameters)
        stamp = self._wire.writable.get(handle.name)
        if stamp is None:
            return Constant(value, handle.port.kind)
        source = self._writable[handle.name] = WritableInput(handle.port, value, stamp, self._stop)
        return source

    def _written(self, written: Written) -> None:
        if written.input in self._writable:
            self._writable[written.input].write(written)

    def _receive(self, handle: Input[Any], end: InputEnd) -> ReceivingEnd:
        read = reading(handle.port, end.factor, end.offset)
        journal = None
        position = self._positions.get(handle.name, 0)
        if end.journal:
            from flame.journal import JournalReader

            journal = JournalReader(Path(end.journal))
            newest = journal.last(end.stream)
            last_seq = 0 if newest is None else newest.seq
            if not isinstance(handle, Flow):
                position = max(0, last_seq - 1)  # of a state the newest value is enough
            elif position > last_seq:
                position = self._step_back(end, position, last_seq)
        kind = NewestEnd if end.policy == "latest" else ReceivingEnd
        return kind(
            self._context, end, Path(self._wire.shared), self._stop, reading=read, journal=journal, position=position
        )

    def _step_back(self, end: InputEnd, position: int, last_seq: int) -> int:
        """A power cut took values of the producer that this flame node had taken: their numbers are given again. That
        is on the disk before the producer can give one, so that no later start takes the new ones for seen.
        """
        assert self._journal is not None
        self._journal.append({}, time.time_ns(), cursors={end.input: last_seq}, durable=True)
        taken = f"value {position}" if position == last_seq + 1 else f"values {last_seq + 1} to {position}"
        note = (
            f"input {end.input} had taken {taken} of {end.producer}, which its journal has lost, as in a power cut; "
            f"what comes under these numbers now is taken as new"
        )
        print(f"{self._name}: {note}", file=sys.stderr, flush=True)
        self._notes.append(note)
        return last_seq

    def _connect(self, outputs: dict[str, Output[Any]]) -> WiredOutlet:
        wired = {}
        for name, output in outputs.items():
            ends = [end for end in self._wire.outputs if end.output == name]
            edges = [SendingEnd(self._context, end, self._stop) for end in ends]
            shared = SharedOutput(Path(self._wire.shared), f"{self._name}/{name}", edges, self._wire.restarts)
            wired[name] = WiredOutput(
                output.port,
                edges,
                shared,
                journalled=name in self._wire.journalled,
                next_seq=self._next_seq.get(name, 1),
            )
        return WiredOutlet(wired, self._commits, self._wire.stop_when, self._link.ask_stop, self._link.tap)

    # --- while it runs and at the end -----------------------------------------------------------

    def _beat(self) -> Beat:
        counts = {name: end.count for name, end in self._receiving.items()}
        written = {name: source.seq for name, source in self._writable.items()}
        if self._outlet is None:
            return Beat(counts, written=written)
        return Beat(counts, self._outlet.sent, self._outlet.blocked_on, written, self._awaits())

    def _awaits(self) -> dict[str, str]:
        now = time.monotonic()
        waiting = {name: end.waits_since for name, end in self._receiving.items()}
        waiting |= {handle.name: since for handle, since in self.selecting.items() if handle.name in waiting}
        return {
            name: self._receiving[name].producer
            for name, since in waiting.items()
            if since and now - since >= AWAITED_S
        }

    def _linger(self, edges: list[SendingEnd]) -> None:
        """Until all that was sent has left this process; no longer than a moment when nobody will take it."""
        ending = threading.Thread(target=self._context.term, name=f"edges of {self._name}", daemon=True)
        ending.start()
        until = None
        while ending.is_alive() and (until is None or time.monotonic() < until):
            ending.join(SLICE_MS / 1e3)
            if until is None and (self._stop.is_set or not any(edge.takes for edge in edges)):
                until = time.monotonic() + LINGER_STOPPED_S
