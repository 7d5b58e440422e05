"""The graph of one run: flame nodes, the edges between them, parameters. What a checked workflow is, as a record.

`flame.authoring.loading` makes it, the executor runs it, and it is stored in the run's folder as JSON, so that
`resume`, `diff` and the archive read what really ran. Every reference is whole: names exist, kinds and types fit.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from flame.ports import NodeSchema, Policy

Restart = Literal["never", "on-failure", "always"]
Origin = Literal["workflow", "file", "default", "run"]


class Edge(msgspec.Struct, frozen=True):
    """Values of `source`.`output` go to `target`.`input`. A value arrives as `value * factor + offset`, in the unit of
    the input. `depth` and `policy` are those of this edge; `flame.run.wires` says which outputs are journalled.
    """

    source: str
    output: str
    target: str
    input: str
    policy: Policy
    depth: int
    factor: float = 1.0
    offset: float = 0.0


class Parameter(msgspec.Struct, frozen=True):
    """An input without an edge. `origin`: who set it; `address`: the EUI it was read from, for origin "run".

    `value`: in the form of `flame.types.portable`, in run.json and in the message Wire as well: `portable.load` gives
    it back.
    """

    input: str
    value: Any
    origin: Origin
    address: str = ""


class Writable(msgspec.Struct, frozen=True):
    """A state input without an edge that `flame write` may set while the run goes on: the user who runs it, and those
    in `by`: names of users, and of groups with `@` before them.
    """

    input: str
    by: tuple[str, ...] = ()


class GraphNode(msgspec.Struct, frozen=True):
    """One flame node. `file`: absolute path of its program. `restart_max` restarts `within_s` seconds are allowed.

    `line`: where the workflow made it, "workflow.py:12", for messages. `writable`: nothing else may be written.
    """

    name: str
    file: str
    schema: NodeSchema
    parameters: tuple[Parameter, ...] = ()
    restart: Restart = "never"
    restart_max: int = 3
    within_s: float = 300.0
    line: str = ""
    writable: tuple[Writable, ...] = ()


class Graph(msgspec.Struct, frozen=True):
    """`stop_when`: (node, output) pairs; the run ends in order when one of them carries a true value."""

    name: str
    nodes: tuple[GraphNode, ...]
    edges: tuple[Edge, ...] = ()
    description: str = ""
    workflow_file: str = ""
    stop_when: tuple[tuple[str, str], ...] = ()

    def fault(self) -> str:
        """What of it is not whole, "" when all is: it may have been read from a file that is not ours."""
        nodes = {node.name: node.schema for node in self.nodes}
        if len(nodes) < len(self.nodes):
            return "two flame nodes have one name"
        for edge in self.edges:
            if edge.source not in nodes or nodes[edge.source].output(edge.output) is None:
                return f"an edge begins at {edge.source}/{edge.output}, which is not there"
            if edge.target not in nodes or nodes[edge.target].input(edge.input) is None:
                return f"an edge ends at {edge.target}/{edge.input}, which is not there"
        return next(
            (f"it stops when {node!r}, which is not there" for node, _ in self.stop_when if node not in nodes), ""
        )

    def node(self, name: str) -> GraphNode:
        """Raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def inbound(self, node: str) -> tuple[Edge, ...]:
        return tuple(edge for edge in self.edges if edge.target == node)

    def outbound(self, node: str) -> tuple[Edge, ...]:
        return tuple(edge for edge in self.edges if edge.source == node)
