"""Whether a run can be taken up again: what it ran then, against what would run now. Pure."""

from __future__ import annotations

import msgspec

from flame.graph import Edge, Graph, GraphNode
from flame.run.run_record import RunDocument, Source


def differences(document: RunDocument, graph: Graph, sources: tuple[Source, ...]) -> tuple[str, ...]:
    """Each in a few words; none: the run goes on as if it had not been broken off.

    Files that came to the folder since are no difference: nothing that ran then knew them.
    """
    return (
        *_changed_files(document.provenance.sources, sources),
        *_changed_nodes(document.graph, graph),
        *_changed_edges(document.graph, graph),
    )


def _changed_files(then: tuple[Source, ...], now: tuple[Source, ...]) -> list[str]:
    current = {source.name: source.sha256 for source in now}
    gone = [f"{source.name} is gone" for source in then if source.name not in current]
    changed = [f"{one.name} has changed" for one in then if one.name in current and current[one.name] != one.sha256]
    return gone + changed


def _changed_nodes(then: Graph, now: Graph) -> list[str]:
    before, after = ({node.name: node for node in graph.nodes} for graph in (then, now))
    gone = [f"flame node {name} is gone" for name in before if name not in after]
    new = [f"flame node {name} is new" for name in after if name not in before]
    both = [name for name in before if name in after]
    return gone + new + [one for name in both for one in _changed_node(before[name], after[name])]


def _changed_node(then: GraphNode, now: GraphNode) -> list[str]:
    if then.schema != now.schema:
        return [f"flame node {then.name} declares other inputs or outputs"]
    before, after = _values(then), _values(now)
    return [
        f"{then.name}/{name} is {after.get(name, 'unset')}, and was {before.get(name, 'unset')}"
        for name in sorted(before | after)
        if before.get(name) != after.get(name)
    ]


def _changed_edges(then: Graph, now: Graph) -> list[str]:
    gone = [f"the edge {_edge(one)} is gone or another" for one in then.edges if one not in now.edges]
    new = [f"the edge {_edge(one)} is new or another" for one in now.edges if one not in then.edges]
    return gone + new


def _values(node: GraphNode) -> dict[str, str]:
    """As text: NaN is NaN, and 1 is not 1.0."""
    return {parameter.input: msgspec.json.encode(parameter.value).decode() for parameter in node.parameters}


def _edge(edge: Edge) -> str:
    return f"{edge.source}/{edge.output} → {edge.target}/{edge.input}"
