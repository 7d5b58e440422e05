"""From what a workflow file says to the graph of a run: references, types and units are checked, all faults at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from flame.authoring import parameters
from flame.authoring.cycles import loops_that_wait
from flame.authoring.draft import Draft, DraftInput, DraftNode, FromAddress, FromOutput, FromValue
from flame.authoring.faults import Fault, fault_of, listed, nearest
from flame.authoring.generate import Kind
from flame.authoring.parameters import ParametersFile
from flame.authoring.people import unknown_names
from flame.graph import Edge, Graph, GraphNode, Origin, Parameter, Writable
from flame.library.reading import reading
from flame.ports import Given, InputPort, NodeSchema, OutputPort
from flame.run.writes import why_unwritable
from flame.types import port_types, portable, units
from protocol.errors import Code, FlottaError, WorkflowError
from protocol.limits import FLAME_NODES_MAX


class SavedValue(NamedTuple):
    """What lies at an address in an earlier run. `unit`: None where no unit can be declared."""

    value: Any
    unit: str | None = None


ReadValue = Callable[[str], SavedValue]


class Setting(msgspec.Struct, frozen=True):
    """An input without an edge. `parameter`: its value and origin, None as long as it is missing."""

    node: str
    port: InputPort
    parameter: Parameter | None


class Wired(msgspec.Struct, frozen=True):
    """`graph`: whole when there are no faults. `settings`: all parameters of all flame nodes; `setting_faults` are
    those of their values.
    """

    graph: Graph
    faults: tuple[Fault, ...]
    setting_faults: tuple[Fault, ...]
    warnings: tuple[str, ...]
    settings: tuple[Setting, ...]


def wire(
    draft: Draft, workflow_file: Path, kinds: dict[str, Kind], file: ParametersFile, read_value: ReadValue
) -> Wired:
    """`kinds`: by name of the class. `read_value`: what lies at an address in an earlier run; may raise FlottaError."""
    return _Wiring(draft, workflow_file, kinds, file, read_value).wired()


class _Wiring:
    def __init__(
        self, draft: Draft, workflow_file: Path, kinds: dict[str, Kind], file: ParametersFile, read_value: ReadValue
    ) -> None:
        self._draft = draft
        self._workflow_file = workflow_file
        self._kinds = kinds
        self._file = file
        self._read_value = read_value
        self._faults: list[Fault] = []
        self._setting_faults: list[Fault] = []
        self._settings: list[Setting] = []
        self._known = [node for node in draft.nodes if node.kind in kinds]
        self._schemas: dict[str, NodeSchema] = {node.name: kinds[node.kind].schema for node in self._known}

    def wired(self) -> Wired:
        edges = tuple(edge for node in self._known for edge in self._edges(node))
        nodes = tuple(self._graph_node(node) for node in self._known)
        graph = Graph(
            name=self._draft.name,
            nodes=nodes,
            edges=edges,
            description=self._draft.description,
            workflow_file=str(self._workflow_file),
            stop_when=tuple(self._stops()),
        )
        if len(nodes) > FLAME_NODES_MAX:
            step = "join several of them in one program, or split the workflow"
            what = f"the workflow has {len(nodes)} flame nodes; a run takes {FLAME_NODES_MAX}"
            self._fault(Code.WORKFLOW_WRONG, what, step, nodes[FLAME_NODES_MAX].line)
        empty = () if self._draft.nodes else ("the workflow has no flame nodes",)
        warnings = (*empty, *self._strangers(), *self._aside(), *loops_that_wait(graph))
        self._missing()
        return Wired(graph, tuple(self._faults), tuple(self._setting_faults), warnings, tuple(self._settings))

    # --- edges

    def _edges(self, node: DraftNode) -> Iterator[Edge]:
        for assigned in node.inputs:
            port = self._schemas[node.name].input(assigned.input)
            if isinstance(assigned.source, FromOutput) and port is not None:
                edge = self._edge(node.name, port, assigned.source, assigned.place)
                if edge is not None:
                    yield edge

    def _edge(self, target: str, port: InputPort, source: FromOutput, place: str) -> Edge | None:
        schema = self._schemas.get(source.node)
        output = schema.output(source.output) if schema else None
        if schema is None:
            return None  # its node file is broken, which is told already
        if output is None:
            names = [one.name for one in schema.outputs]
            step = f"{nearest(source.output, names)}its outputs are {listed(names)}"
            self._fault(Code.WIRING_WRONG, f"{schema.name} has no output {source.output!r}", step, place)
            return None
        try:
            factor, offset = _conversion(output, port)
        except WorkflowError as error:
            taken = f"{target}.{port.name} ({port.kind}) takes {_typed(port)}"
            given = f"{source.node}.{output.name} gives {_typed(output)}"
            self._fault(error.code, f"{taken}, but {given}: {error.sentence}", error.next_step, place)
            return None
        policy = source.policy or port.policy
        depth = source.depth or (1 if source.policy == "latest" else port.depth)
        return Edge(source.node, output.name, target, port.name, policy, depth, factor, offset)

    # --- parameters

    def _graph_node(self, node: DraftNode) -> GraphNode:
        kind = self._kinds[node.kind]
        wired = {one.input for one in node.inputs if isinstance(one.source, FromOutput)}
        found = []
        for port in kind.schema.inputs:
            if port.name in wired:
                continue
            parameter = self._parameter(node, port)
            self._settings.append(Setting(node.name, port, parameter))
            if parameter is not None:
                found.append(parameter)
        return GraphNode(
            name=node.name,
            file=str(self._workflow_file.parent / kind.file),
            schema=kind.schema,
            parameters=tuple(found),
            restart=node.restart,
            restart_max=node.restart_max,
            within_s=node.within_s,
            line=node.place,
            writable=tuple(self._writable(node, kind.schema)),
        )

    def _writable(self, node: DraftNode, schema: NodeSchema) -> Iterator[Writable]:
        for one in node.writable:
            assigned = node.input(one.input)
            fed_by = assigned.source if assigned is not None and isinstance(assigned.source, FromOutput) else None
            sentence, step = why_unwritable(
                node.name, schema, one.input, "" if fed_by is None else f"{fed_by.node}/{fed_by.output}"
            )
            strangers = unknown_names(one.by)
            if sentence:
                self._fault(Code.WIRING_WRONG, sentence, step, one.place)
            elif strangers:
                self._fault(
                    Code.WORKFLOW_WRONG,
                    f"this machine knows no {listed(strangers)}",
                    'name users, and groups with @ before them, as in by=["anna", "@lab"]',
                    one.place,
                )
            else:
                yield Writable(one.input, one.by)

    def _parameter(self, node: DraftNode, port: InputPort) -> Parameter | None:
        """The parameters file wins over the workflow, the workflow over the default."""
        given = self._file.given(node.name, port)
        if given is not None:
            place = self._file.place(node.name, port.name)
            address = parameters.address_of(given[0])
            if address is not None:
                return self._from_run(node.name, port, address, place)
            return self._checked(node.name, port, given[0], "file", place)
        assigned = node.input(port.name)
        if assigned is not None:
            return self._from_workflow(node.name, port, assigned)
        if isinstance(port.default, Given):
            return Parameter(port.name, port.default.value, "default")
        return None

    def _from_workflow(self, node: str, port: InputPort, assigned: DraftInput) -> Parameter | None:
        match assigned.source:
            case FromAddress(address=address):
                return self._from_run(node, port, address, assigned.place)
            case FromValue(value=value):
                return self._checked(node, port, value, "workflow", assigned.place)
        return None

    def _from_run(self, node: str, port: InputPort, address: str, place: str) -> Parameter | None:
        try:
            saved = self._read_value(address)
            value = portable.dump(_in_unit(saved, port))
        except FlottaError as error:
            self._setting_faults.append(fault_of(error, place))
            return Parameter(port.name, None, "run", address)
        return self._checked(node, port, value, "run", place, address)

    def _checked(
        self, node: str, port: InputPort, held: Any, origin: Origin, place: str, address: str = ""
    ) -> Parameter:
        """A wrong value is a fault, and no missing one beside."""
        try:
            value = portable.load(held)
            read = reading(port)
            held = portable.dump(value if read is None else read(value))
        except WorkflowError as error:
            sentence = f"{node}/{port.name}: {error.sentence.removeprefix(f'input {port.name!r}: ')}"
            self._setting_fault(error.code, sentence, error.next_step, place)
        return Parameter(port.name, held, origin, address)

    def _missing(self) -> None:
        missing = [f"{one.node}/{one.port.name}" for one in self._settings if one.parameter is None]
        if missing:
            verb = "1 parameter has" if len(missing) == 1 else f"{len(missing)} parameters have"
            step = f"`flame params` writes them into {self._file.path.name}; fill in their values there"
            self._setting_fault(Code.PARAMETER_MISSING, f"{verb} no value: {', '.join(missing)}", step, "")

    def _strangers(self) -> Iterator[str]:
        """What the file holds for no parameter. Near the name of one that is unset it is a slip, and a fault."""
        for node, values in self._file.values.items():
            schema = self._schemas.get(node)
            if schema is None:
                if not any(one.name == node for one in self._draft.nodes):
                    yield from self._stranger(node, "", [one.name for one in self._draft.nodes])
                continue
            open_names = [one.port.name for one in self._settings if one.node == node]
            for name in values:
                if name not in open_names:
                    yield from self._stranger(node, name, [own for own in open_names if own not in values])

    def _aside(self) -> Iterator[str]:
        """What `flame params` put aside while its input was gone, and would take back."""
        for one in self._settings:
            aside = one.port.name in self._file.unused.get(one.node, {})
            if aside and one.port.name not in self._file.values.get(one.node, {}):
                what = f"a value of {one.node}/{one.port.name} was put aside in {self._file.path.name}"
                yield f"{what}; it is not used, and `flame params` takes it back"

    def _stranger(self, node: str, name: str, names: list[str]) -> Iterator[str]:
        place = self._file.place(node, name)
        what = f"{node}/{name} is no parameter" if name else f"there is no flame node {node!r}"
        near = nearest(name or node, [own for own in names if own not in self._file.values or name])
        if near:
            self._setting_fault(Code.WORKFLOW_WRONG, what, f"{near}`flame params` puts it aside", place)
        else:
            yield f"{place}: {what}; it is not used, and `flame params` puts it aside"

    # --- the rest

    def _stops(self) -> Iterator[tuple[str, str]]:
        for stop in self._draft.stop_when:
            schema = self._schemas.get(stop.node)
            if schema is not None and schema.output(stop.output) is None:
                names = [one.name for one in schema.outputs]
                step = f"{nearest(stop.output, names)}its outputs are {listed(names)}"
                self._fault(Code.WIRING_WRONG, f"{schema.name} has no output {stop.output!r}", step, stop.place)
            elif schema is not None:
                yield (stop.node, stop.output)

    def _fault(self, code: Code, sentence: str, next_step: str, place: str) -> None:
        self._faults.append(Fault(code.value, sentence, next_step, place))

    def _setting_fault(self, code: Code, sentence: str, next_step: str, place: str) -> None:
        self._setting_faults.append(Fault(code.value, sentence, next_step, place))


def _conversion(output: OutputPort, port: InputPort) -> tuple[float, float]:
    """Raises WorkflowError."""
    factor, offset = units.conversion(output.unit, port.unit)
    reason = port_types.fits(output.type, port.type)
    if reason:
        raise WorkflowError(Code.WIRING_WRONG, reason, next_step="join it to an output of its type")
    if (factor, offset) != (1.0, 0.0) and not port_types.converts(port.type):
        raise WorkflowError(
            Code.WIRING_WRONG,
            f"only floats are converted from {output.unit} to {port.unit}",
            next_step="declare the input as float, or give both ports one unit",
        )
    return factor, offset


def _in_unit(saved: SavedValue, port: InputPort) -> Any:
    """A value of an earlier run in the unit of the input. Raises WorkflowError."""
    if saved.unit is None:
        return saved.value
    factor, offset = units.conversion(saved.unit, port.unit)
    if (factor, offset) == (1.0, 0.0):
        return saved.value
    is_number = isinstance(saved.value, int | float) and not isinstance(saved.value, bool)
    if not port_types.converts(port.type) or not (is_number or hasattr(saved.value, "dtype")):
        raise WorkflowError(
            Code.VALUE_WRONG,
            f"{port_types.described(saved.value)} cannot be converted from {saved.unit} to {port.unit}",
            next_step="name one number, and declare the input as float",
        )
    return saved.value * factor + offset


def _typed(port: InputPort | OutputPort) -> str:
    return f"{port.type} in {port.unit}" if port.unit else port.type
