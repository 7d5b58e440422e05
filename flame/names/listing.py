"""What lies below an address, as lines of a list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import msgspec

from flame.graph import GraphNode
from flame.names import rooms
from flame.names.address import to_text
from flame.names.streams import open_stream, stored_memory
from flame.names.written_inputs import open_written
from flame.ports import InputPort, OutputPort
from flame.run.run_folder import RunFolder
from flame.run.runs import Run, load
from flame.run.writes import is_writable
from protocol.errors import DeniedError, FlottaError, StorageError

ROOMS: Final = ("in", "params", "memory", "log", "status", "schema", "stats")  # "out" is what stands beside them


class Entry(msgspec.Struct, frozen=True):
    """One line. `kind`: run, flame node, room, output, input, parameter, memory. Empty: it has no such thing.

    `values`: how many were set, `newest_ns`: time of the newest, None where nothing is kept. `source`: where the values
    of an input come from, the origin of a parameter, who wrote it last. `state`: of an input that may be written, that.
    """

    address: str
    kind: str
    state: str = ""
    type: str = ""
    unit: str = ""
    lifetime: str = ""
    source: str = ""
    values: int | None = None
    newest_ns: int | None = None
    doc: str = ""

    @property
    def name(self) -> str:
        return self.address.rpartition("/")[2]


def of_run(folder: RunFolder) -> Entry:
    """Also of a run whose document cannot be read: the others are still listed."""
    address = to_text(folder.alias)
    try:
        run = load(folder)
        return Entry(address, "run", state=run.state, newest_ns=run.document.started_ns, doc=run.graph.name)
    except FileNotFoundError:
        return Entry(address, "run", state="not begun")
    except FlottaError as error:
        return Entry(address, "run", state="unreadable", doc=error.sentence)


def of_node(run: Run, node: GraphNode) -> Entry:
    state = rooms.content(run, node, "status", "")["state"]
    return Entry(to_text(run.alias, node.name), "flame node", state=state, doc=node.schema.description)


def of_room(run: Run, node: GraphNode, room: str) -> Iterator[Entry]:
    """The things in a room; a room that holds one text or table is its own line."""
    match room:
        case "out":
            yield from (of_output(run, node, port) for port in node.schema.outputs)
        case "in":
            yield from (of_input(run, node, port) for port in node.schema.inputs)
        case "params":
            yield from (
                of_input(run, node, port, room) for port in node.schema.inputs if rooms.parameter(node, port.name)
            )
        case "memory":
            names = set(node.schema.memory)
            with suppress(DeniedError):
                names.update(stored_memory(run, node))
            yield from (Entry(to_text(run.alias, node.name, room, name), "memory") for name in sorted(names))
        case _:
            yield Entry(to_text(run.alias, node.name, room), "room")


def of_output(run: Run, node: GraphNode, port: OutputPort) -> Entry:
    extent = None
    with suppress(DeniedError), open_stream(run, node, port) as stream:
        extent = None if stream is None else stream.extent()
    return Entry(
        to_text(run.alias, node.name, "out", port.name),
        "output",
        type=port.type,
        unit=port.unit,
        lifetime=port.lifetime,
        values=None if extent is None else extent.last_seq,
        newest_ns=None if extent is None or not extent.last_seq else extent.last_time_ns,
        doc=port.doc,
    )


def of_input(run: Run, node: GraphNode, port: InputPort, room: str = "in") -> Entry:
    given = rooms.parameter(node, port.name)
    edge = next((one for one in run.graph.inbound(node.name) if one.input == port.name), None)
    source = to_text(run.alias, edge.source, "out", edge.output) if edge else ""
    if given is not None:
        source = given.address or given.origin
    entry = Entry(
        to_text(run.alias, node.name, room, port.name),
        "parameter" if given is not None else "input",
        type=port.type,
        unit=port.unit,
        source=source,
        doc=port.doc,
    )
    can_be_written = room == "in" and is_writable(run.graph, node.name, port.name)
    return _with_writes(run, node, port, entry) if can_be_written else entry


def _with_writes(run: Run, node: GraphNode, port: InputPort, entry: Entry) -> Entry:
    by = next(", ".join(one.by) for one in node.writable if one.input == port.name)
    entry = msgspec.structs.replace(entry, state=f"writable, also by {by}" if by else "writable")
    try:
        with open_written(run, node, port) as stream:
            if stream is None or not (extent := stream.extent()).last_seq:
                return entry
            newest = next(stream.read(extent.last_seq, extent.last_seq))
    except (DeniedError, StorageError):  # of another user, or damaged: it can be written all the same, and `cat` tells
        return entry
    return msgspec.structs.replace(
        entry, source=f"written by {newest.author}", values=extent.last_seq, newest_ns=extent.last_time_ns
    )
