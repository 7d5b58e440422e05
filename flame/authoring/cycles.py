"""Cycles of a graph in which nothing may ever start."""

from __future__ import annotations

from collections.abc import Iterator

from flame.graph import Graph


def state_cycles(graph: Graph) -> Iterator[str]:
    """Cycles of state inputs alone. A flow through a cycle is normal; but a state input blocks until its first value,
    so in such a cycle one flame node has to set its output before it reads.
    """
    kinds = {node.name: {port.name: port.kind for port in node.schema.inputs} for node in graph.nodes}
    targets: dict[str, set[str]] = {node.name: set() for node in graph.nodes}
    for edge in graph.edges:
        if kinds[edge.target][edge.input] == "state":
            targets[edge.source].add(edge.target)
    told: set[str] = set()
    for name in targets:
        ring = _ring(name, targets) if name not in told else ()
        if ring:
            told.update(ring)
            path = " → ".join((*ring, ring[0]))
            yield f"{path}: each may wait for the first value of the other; one has to set its output before it reads"


def _ring(start: str, targets: dict[str, set[str]]) -> tuple[str, ...]:
    """The shortest way from `start` back to it."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    while ways:
        longer = []
        for way in ways:
            for target in sorted(targets[way[-1]]):
                if target == start:
                    return way
                if target not in seen:
                    seen.add(target)
                    longer.append((*way, target))
        ways = longer
    return ()
