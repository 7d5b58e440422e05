"""A run is taken up again by the same code and parameters, or it is said what differs."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from flame.graph import Edge, Graph, GraphNode, Parameter
from flame.ports import InputPort, NodeSchema, OutputPort
from flame.run.resuming import differences
from flame.run.run_record import Provenance, RunDocument, Source

SCHEMA = NodeSchema("Lock", "lock.py", (InputPort("gain", "state"), InputPort("in", "flow")), (OutputPort("beat"),))
EDGE = Edge("lock", "beat", "lock", "in", "block", 10)
SOURCES = (Source("lock.py", "aa"), Source("workflow.py", "bb"))


def graph_of(value: Any = 1.0, schema: NodeSchema = SCHEMA, edges: tuple[Edge, ...] = (EDGE,), *more: str) -> Graph:
    nodes = [GraphNode("lock", "lock.py", schema, (Parameter("gain", value, "file"),))]
    return Graph("test", (*nodes, *(GraphNode(name, "lock.py", schema) for name in more)), edges)


def differing(graph: Graph, sources: tuple[Source, ...] = SOURCES, *, value: Any = 1.0) -> tuple[str, ...]:
    return differences(RunDocument("j", "j1", graph_of(value), 1, Provenance(sources=SOURCES)), graph, sources)


def test_the_same_code_and_parameters_differ_in_nothing() -> None:
    assert differing(graph_of()) == ()
    assert differing(graph_of(math.nan), value=math.nan) == ()


def test_a_file_that_came_to_the_folder_is_no_difference() -> None:
    assert differing(graph_of(), (*SOURCES, Source("notes.py", "cc"))) == ()


def test_restart_policies_may_change() -> None:
    node = msgspec.structs.replace(graph_of().nodes[0], restart="on-failure", line="workflow.py:9")
    assert differing(msgspec.structs.replace(graph_of(), nodes=(node,))) == ()


@pytest.mark.parametrize(
    ("graph", "sources", "told"),
    [
        (graph_of(), (Source("lock.py", "xx"), SOURCES[1]), "lock.py has changed"),
        (graph_of(), SOURCES[:1], "workflow.py is gone"),
        (graph_of(2.0), SOURCES, "lock/gain is 2.0, and was 1.0"),
        (graph_of(1), SOURCES, "lock/gain is 1, and was 1.0"),
        (graph_of(1.0, NodeSchema("Lock", "lock.py")), SOURCES, "flame node lock declares other inputs or outputs"),
        (graph_of(1.0, SCHEMA, (EDGE,), "scope"), SOURCES, "flame node scope is new"),
        (msgspec.structs.replace(graph_of(), nodes=()), SOURCES, "flame node lock is gone"),
        (graph_of(1.0, SCHEMA, ()), SOURCES, "the edge lock/beat → lock/in is gone or another"),
    ],
)
def test_each_difference_is_named(graph: Graph, sources: tuple[Source, ...], told: str) -> None:
    assert told in differing(graph, sources)
