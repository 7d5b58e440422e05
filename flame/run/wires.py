"""What an executor tells each flame node about its edges. Pure: the same graph gives the same answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flame.control import InputEnd, OutputEnd, Wire, WriteStamp, Written
from flame.graph import Edge, Graph
from flame.run.run_folder import RunFolder
from flame.run.writes import writable_inputs

_NOTHING_WRITTEN: Mapping[str, Written] = {}


def journalled_outputs(graph: Graph, node: str) -> tuple[str, ...]:
    """By their lifetime; since a consumer spills into the journal; or since a consumer that may be started anew reads
    the output as a state: it finds the newest value there, and need not wait for the next one, which may never come.
    """
    wanted = {edge.output for edge in graph.outbound(node) if edge.policy == "spill" or _is_read_anew(graph, edge)}
    outputs = graph.node(node).schema.outputs
    return tuple(port.name for port in outputs if port.is_journalled or port.name in wanted)


def _is_read_anew(graph: Graph, edge: Edge) -> bool:
    consumer = graph.node(edge.target)
    port = consumer.schema.input(edge.input)
    return consumer.restart != "never" and port is not None and port.kind == "state"


def wire_of(
    graph: Graph,
    node: str,
    run: RunFolder,
    address: Callable[[int], str],
    restarts: int,
    written: Mapping[str, Written] = _NOTHING_WRITTEN,
) -> Wire:
    """`address(n)`: that of the edge that stands n-th in the graph, from 1. `written`: the newest value that was
    written to an input, by its name; it stands instead of the parameter.
    """
    numbered = tuple((edge, address(number)) for number, edge in enumerate(graph.edges, 1))
    graph_node = graph.node(node)
    ends = graph_node.restart != "always"  # else its program goes on in a new process
    return Wire(
        run=run.alias,
        inputs=tuple(_input(graph, run, edge, where) for edge, where in numbered if edge.target == node),
        outputs=tuple(_output(graph, run, edge, where, ends) for edge, where in numbered if edge.source == node),
        parameters={
            **{parameter.input: parameter.value for parameter in graph_node.parameters},
            **{name: newest.value for name, newest in written.items()},
        },
        journal=str(run.journal(node)),
        journalled=journalled_outputs(graph, node),
        shared=str(run.shared),
        stop_when=tuple(output for name, output in graph.stop_when if name == node),
        restarts=restarts,
        writable={
            port.name: WriteStamp(newest.seq, newest.time_ns)
            if (newest := written.get(port.name)) is not None
            else WriteStamp()
            for owner, port in writable_inputs(graph)
            if owner.name == node
        },
    )


def _output(graph: Graph, run: RunFolder, edge: Edge, address: str, ends: bool) -> OutputEnd:
    return OutputEnd(
        output=edge.output,
        consumer=f"{edge.target}/{edge.input}",
        address=address,
        policy=edge.policy,
        depth=edge.depth,
        ends=ends,
        positions=str(run.journal(edge.target)) if gets_every_value(graph, edge) else "",
    )


def gets_every_value(graph: Graph, edge: Edge) -> bool:
    """Whether its consumer keeps how far it is, and goes on there in the producer's journal when it is started anew."""
    port = graph.node(edge.target).schema.input(edge.input)
    is_flow = port is not None and port.kind == "flow"
    return is_flow and edge.policy in ("block", "spill") and edge.output in journalled_outputs(graph, edge.source)


def _input(graph: Graph, run: RunFolder, edge: Edge, address: str) -> InputEnd:
    journalled = edge.output in journalled_outputs(graph, edge.source)
    return InputEnd(
        input=edge.input,
        producer=f"{edge.source}/{edge.output}",
        address=address,
        policy=edge.policy,
        depth=edge.depth,
        factor=edge.factor,
        offset=edge.offset,
        journal=str(run.journal(edge.source)) if journalled else "",
        stream=edge.output if journalled else "",
    )
