"""The name space: one address for a value, wherever it is.

A value lives in its flame node, in the journal, in the archive. `NameSpace` finds it; whoever asks cannot tell where it
came from. Addresses mean the same in every process, while a run is running and for ever afterwards. `address` and
`selectors` say how they are written. Nothing here changes anything.

    list         what lies below an address
    find         outputs by unit, name, lifetime
    read         the values of a stream, or what a room holds
    read_value   one value: of a stream the newest, unless a selector says otherwise
    watch        every new value, until the run ends
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

from flame.graph import GraphNode
from flame.names import address as addresses
from flame.names import listing, rooms
from flame.names.address import Address, to_text
from flame.names.listing import ROOMS, Entry
from flame.names.selectors import Position, means_one
from flame.names.sources import constant, source_of
from flame.names.streams import Value
from flame.ports import Lifetime
from flame.run.run_folder import all_runs
from flame.run.runs import Run, find_run, nothing_there, runs_folder

_CONSTANT_SEQ: Final = 0  # of what is no stream: streams begin at 1


class Watch(NamedTuple):
    """`values` waits for each value and ends with the run; `run` tells then how it ended."""

    run: Run
    values: Iterator[Value]


class NameSpace:
    """All runs below one folder `flame_runs`. Any number of threads and processes may read at once.

    Raises WorkflowError(RUN_UNKNOWN | NOTHING_THERE) with the nearest names, AddressError, StorageError.
    """

    def __init__(self, runs: Path) -> None:
        self.runs = runs

    @classmethod
    def near(cls, start: Path) -> NameSpace:
        """Of the nearest `flame_runs` in `start` or above it."""
        return cls(runs_folder(start))

    def list(self, text: str = "#/") -> tuple[Entry, ...]:
        """What lies below an address, or the one thing at it."""
        address = addresses.parse(text)
        if address.above:
            return tuple(map(listing.of_run, all_runs(self.runs)))
        run = self._run(address)
        if not address.node:
            return tuple(listing.of_node(run, node) for node in run.graph.nodes)
        node = run.node(address.node)
        if not address.room:
            rooms_of = (Entry(to_text(run.alias, node.name, room), "room") for room in ROOMS)
            return (*listing.of_room(run, node, "out"), *rooms_of)
        entries = {entry.name: entry for entry in listing.of_room(run, node, address.room)}
        return (
            (rooms.chosen(run, node, address.room, address.name, entries),) if address.name else tuple(entries.values())
        )

    def find(
        self, *, unit: str | None = None, name: str = "*", lifetime: Lifetime | None = None, run: str = ""
    ) -> tuple[Entry, ...]:
        """Outputs of a run, the newest unless `run` is given. `name` may hold `*`, and is compared with that of the
        output, or with `node/output` when it has a slash.
        """
        wanted = find_run(self.runs, run)
        return tuple(
            listing.of_output(wanted, node, port)
            for node in wanted.graph.nodes
            for port in node.schema.outputs
            if (unit is None or port.unit == unit)
            and (lifetime is None or port.lifetime == lifetime)
            and fnmatchcase(f"{node.name}/{port.name}" if "/" in name else port.name, name)
        )

    def read(self, text: str) -> Iterator[Value]:
        """The values of a stream that are there, all of them without a selector, oldest first.

        What is no stream, a parameter or a room, is one value, number 0, of the time when the run began.
        """
        run, node, address = self._leaf(text)
        source = source_of(run, node, address)
        if source is None:
            return iter((Value(_CONSTANT_SEQ, run.document.started_ns, constant(run, node, address)),))
        return source.read(address.selector)

    def read_value(self, text: str) -> Any:
        """One value: what `[-1]` or `@time` means, and the newest without a selector. A range gives a list."""
        run, node, address = self._leaf(text)
        source = source_of(run, node, address)
        if source is None:
            return constant(run, node, address)
        if address.selector is not None and not means_one(address.selector):
            return [value.value for value in source.read(address.selector)]
        for value in source.read(address.selector or Position(-1)):
            return value.value
        raise nothing_there(f"{text}: there is no such value", to_text(run.alias, node.name))

    def watch(self, text: str) -> Watch:
        """Follows the stream at an address, which is no more than a name: a selector is refused."""
        run, node, address = self._leaf(text)
        source = source_of(run, node, address)
        if source is None or address.selector is not None:
            why = "a selected part of a stream" if source else "no stream of values"
            raise nothing_there(f"{text} is {why}, so nothing new can come", to_text(run.alias, node.name))
        return Watch(run, source.watch())

    def input_at(self, text: str) -> tuple[Run, GraphNode, str]:
        """The run, the flame node and the input that are meant by `#/j41/lock/in/target`, `#lock/target`, where it need
        not be there. Raises AddressError and WorkflowError, also for what is no input.
        """
        address = addresses.parse(text)
        if not address.name or address.room not in ("in", "params", "out") or address.selector is not None:
            raise nothing_there(f"{text} is no input, so nothing can be written there", text.partition("[")[0])
        run = self._run(address)
        node = run.node(address.node)
        if address.room == "out" and node.schema.input(address.name) is None and node.schema.output(address.name):
            raise nothing_there(
                f"{text} is an output of {node.name}, and only inputs can be written",
                to_text(run.alias, node.name, "in"),
            )
        return run, node, address.name

    def _leaf(self, text: str) -> tuple[Run, GraphNode, Address]:
        """What has a value itself: a stream, a thing in a room, a room of parameters or of memory."""
        address = addresses.parse(text)
        run = self._run(address)
        if not address.node or (address.is_folder and address.room not in ("params", "memory")):
            raise nothing_there(f"{text} is a folder and has no value itself", text)
        return run, run.node(address.node), address

    def _run(self, address: Address) -> Run:
        return find_run(self.runs, address.run, address.node)


def read_value(address: str, start: Path) -> Any:
    """The value at an address, seen from the folder `start`; see `NameSpace.read_value`."""
    return NameSpace.near(start).read_value(address)
