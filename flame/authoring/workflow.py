"""How a workflow is written: flame nodes, made from the classes in `flame_nodes/`, and what joins their ports.

    from flame import Workflow, eui
    from flame_nodes import DriftLock, Scope

    wf = Workflow("Lock", "Holds a laser on the beat note")
    scope = Scope("scope", rate=2e6)
    lock = DriftLock("lock", trace=scope.o.trace.as_latest(2), target=eui("#/last/calib/f0"))
    scope.i.gain = lock.o.gain              # later, for cycles
    wf.stop_when(lock.o.done)

An input that is joined to nothing is a parameter: of a value given here, in the parameters file, or of its default.
The last assignment wins; None is a value like any other, and so is a text that begins with `#`.

A mistake raises WorkflowError in its line. While `flame check` or `flame run` reads the file, mistakes are gathered
instead, so that all are told at once. Not for several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from flame.authoring import gathering
from flame.authoring.class_text import identifier
from flame.authoring.draft import (
    Draft,
    DraftInput,
    DraftNode,
    DraftStop,
    DraftWritable,
    FromAddress,
    FromOutput,
    FromValue,
    Source,
)
from flame.authoring.faults import listed, nearest
from flame.authoring.gathering import fault, user_line
from flame.authoring.workflow_nodes import Eui, FlameNode, Inputs, Output, Outputs, eui
from flame.graph import Graph
from flame.types import portable
from protocol.errors import AddressError, Code, FlottaError
from protocol.eui import EUI

__all__ = ["Eui", "FlameNode", "Inputs", "Output", "Outputs", "Workflow", "eui", "load_graph"]

UNUSED: Final = "_unused"  # in the parameters file, so no flame node is called so


class Names:
    """Flame nodes by name, as attributes: `wf.n.scope`."""

    def __init__(self, nodes: dict[str, FlameNode]) -> None:
        self._nodes = nodes

    def __getattr__(self, name: str) -> Any:
        for own, node in self._nodes.items():
            if identifier(own) == name:
                return node
        raise AttributeError(
            f"no flame node is called {name!r}; {nearest(name, self._nodes)}there are {listed(self._nodes)}"
        )

    def __getitem__(self, name: str) -> Any:
        return self._nodes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __dir__(self) -> list[str]:
        return [identifier(name) for name in self._nodes]


class Workflow:
    """A workflow. It becomes the one that flame nodes join; with `with` only for the lines inside."""

    def __init__(self, name: str, description: str = "") -> None:
        self.name = name
        self.description = description
        self.nodes: dict[str, FlameNode] = {}
        self.included = False
        self._stops: list[tuple[FlameNode, str, str]] = []
        self._outer = gathering.current.get()
        self._before: list[Workflow | None] = []
        gathered = gathering.gathering.get()
        if gathered is not None:
            gathered.workflows.append(self)
        gathering.current.set(self)

    @property
    def n(self) -> Names:
        return Names(self.nodes)

    def stop_when(self, output: Any) -> None:
        """The run ends in order when `output` carries a true value."""
        if not isinstance(output, Output):
            fault(Code.WORKFLOW_WRONG, f"{output!r} is no output to stop at", "write wf.stop_when(node.o.<output>)")
        elif output.name:
            self._stops.append((output.node, output.name, user_line()))

    def include(self, other: Workflow, prefix: str) -> Names:
        """Take in copies of the flame nodes of `other`, as `<prefix>_<name>`, with what joins them; they are given back
        by their own names. `other` stays as it is and may be included again.
        """
        if other is self:
            fault(Code.WORKFLOW_WRONG, f"{self.name!r} cannot include {other!r}", "include another workflow")
            return Names({})
        other.included = True
        gathering.current.set(self)
        copies = {node: _copy(node, f"{prefix}_{name}") for name, node in other.nodes.items()}
        for node, copy in copies.items():
            copy.assigned = {port: (_moved(source, copies), place) for port, (source, place) in node.assigned.items()}
            self._join(copy)
        self._stops += [(copies.get(node, node), output, place) for node, output, place in other._stops]
        return Names({name: copies[node] for name, node in other.nodes.items()})

    def __enter__(self) -> Self:
        now = gathering.current.get()
        self._before.append(self._outer if now is self else now)
        gathering.current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gathering.current.set(self._before.pop())

    def __repr__(self) -> str:
        return f"<Workflow {self.name!r}>"

    def draft(self) -> Draft:
        """What was written, as a record. An edge from a flame node of another workflow is a fault."""
        names = {node: name for name, node in self.nodes.items()}
        nodes = [_draft_of(node, name, names) for node, name in names.items()]
        stops = [
            DraftStop(names[node], output, place)
            for node, output, place in self._stops
            if node in names or _foreign(node, place)
        ]
        return Draft(str(self.name), str(self.description), tuple(nodes), tuple(stops))

    def _join(self, node: FlameNode) -> None:
        try:
            EUI(node=node.name, name="x")
        except (AddressError, TypeError) as error:
            why = error.sentence if isinstance(error, FlottaError) else f"{node.name!r} is no text"
            fault(Code.WORKFLOW_WRONG, why, "name the flame node with letters, digits and '_'", node.place)
            return
        if node.name == UNUSED:
            fault(Code.WORKFLOW_WRONG, f"no flame node may be called {UNUSED!r}", "give it another name", node.place)
        elif node.name in self.nodes:
            where = self.nodes[node.name].place
            fault(
                Code.WORKFLOW_WRONG,
                f"two flame nodes are called {node.name!r}, the other in {where}",
                "give each its own name",
                node.place,
            )
        else:
            self.nodes[node.name] = node


def load_graph(
    workflow_file: Path, parameters_file: Path | None, *, warn: Callable[[str], None] | None = None
) -> Graph:
    """The checked graph of a workflow file; classes in `flame_nodes/` are brought up to date before.

    `parameters_file`: None for parameters.json beside the workflow, which need not exist. `warn` hears of what is odd
    and no fault. Raises WorkflowError with all faults, each at its line.
    """
    from flame.authoring.loading import load

    return load(workflow_file, parameters_file, warn=warn).checked()


def _draft_of(node: FlameNode, name: str, names: dict[FlameNode, str]) -> DraftNode:
    inputs = []
    for port, (given, place) in node.assigned.items():
        source = _source(given, place, names)
        if source is not None:
            inputs.append(DraftInput(port, source, place))
    when, most, within_s = node.restarting
    writable = tuple(DraftWritable(port, by, place) for port, (by, place) in node.opened.items())
    return DraftNode(name, node.KIND, node.place, tuple(inputs), when, most, within_s, writable)


def _source(given: Any, place: str, names: dict[FlameNode, str]) -> Source | None:
    if isinstance(given, Eui):
        return FromAddress(given.address)
    if not isinstance(given, Output):
        return FromValue(portable.dump(given))
    if not given.name:  # an unknown output, told before
        return None
    if given.node not in names:
        _foreign(given.node, place)
        return None
    return FromOutput(names[given.node], given.name, given.policy, given.depth)


def _foreign(node: FlameNode, place: str) -> bool:
    fault(
        Code.WORKFLOW_WRONG,
        f"the flame node {node.name!r} belongs to another workflow",
        "take that one in: wf.include(other, 'prefix')",
        place,
    )
    return False


def _copy(node: FlameNode, name: str) -> FlameNode:
    copy = object.__new__(type(node))
    copy.__dict__.update(node.__dict__, name=name)
    return copy


def _moved(source: Any, copies: dict[FlameNode, FlameNode]) -> Any:
    if isinstance(source, Output) and source.node in copies:
        return Output(copies[source.node], source.name, source.policy, source.depth)
    return source
