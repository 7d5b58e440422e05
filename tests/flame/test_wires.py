"""What an executor tells each flame node about its edges."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from flame.control import InputEnd, OutputEnd, WriteStamp, Written
from flame.graph import Edge, Graph, GraphNode, Parameter, Restart, Writable
from flame.ports import InputKind, InputPort, Lifetime, NodeSchema, OutputPort, Policy
from flame.run.run_folder import RunFolder
from flame.run.wires import journalled_outputs, wire_of

RUN = RunFolder(Path("/runs"), "j1")


def two(lifetime: Lifetime, policy: Policy = "block") -> Graph:
    source = NodeSchema("Scope", "scope.py", outputs=(OutputPort("trace", lifetime), OutputPort("done")))
    target = NodeSchema("Lock", "lock.py", inputs=(InputPort("trace", "flow"), InputPort("gain", "state")))
    return Graph(
        "test",
        (
            GraphNode("scope", "scope.py", source),
            GraphNode("lock", "lock.py", target, (Parameter("gain", 0.5, "file"),)),
        ),
        (Edge("scope", "trace", "lock", "trace", policy, 8, 1e3, 1.0),),
        stop_when=(("scope", "done"),),
    )


def address(number: int) -> str:
    return f"ipc://x/{number}"


def test_both_ends_of_an_edge_have_one_address() -> None:
    graph = two("permanent")
    source, target = (wire_of(graph, node, RUN, address, 0) for node in ("scope", "lock"))
    positions = str(RUN.journal("lock"))
    assert source.outputs == (OutputEnd("trace", "lock/trace", "ipc://x/1", "block", 8, positions=positions),)
    journal = str(RUN.journal("scope"))
    assert target.inputs == (
        InputEnd("trace", "scope/trace", "ipc://x/1", "block", 8, 1e3, 1.0, journal=journal, stream="trace"),
    )
    assert (source.inputs, target.outputs) == ((), ())
    assert (source.stop_when, target.stop_when) == (("done",), ())
    assert (source.parameters, target.parameters) == ({}, {"gain": 0.5})
    assert (source.journal, source.shared, source.run) == (journal, str(RUN.shared), "j1")


def test_an_output_is_journalled_by_its_lifetime_or_since_a_consumer_spills() -> None:
    assert journalled_outputs(two("permanent"), "scope") == ("trace",)
    assert journalled_outputs(two("runtime"), "scope") == ()
    spilling = two("runtime", "spill")
    assert journalled_outputs(spilling, "scope") == ("trace",)
    assert wire_of(spilling, "lock", RUN, address, 0).inputs[0].stream == "trace"
    assert wire_of(two("runtime"), "lock", RUN, address, 0).inputs[0].journal == ""


@pytest.mark.parametrize(
    ("kind", "restart", "journalled"),
    [
        ("state", "on-failure", ("trace",)),
        ("state", "always", ("trace",)),
        ("state", "never", ()),
        ("flow", "on-failure", ()),
    ],
)
def test_a_state_of_one_that_may_be_started_anew_is_journalled(
    kind: InputKind, restart: Restart, journalled: tuple[str, ...]
) -> None:
    graph = two("runtime", "latest")
    lock = graph.nodes[1]
    schema = msgspec.structs.replace(lock.schema, inputs=(InputPort("trace", kind), InputPort("gain", "state")))
    nodes = (graph.nodes[0], msgspec.structs.replace(lock, schema=schema, restart=restart))
    graph = msgspec.structs.replace(graph, nodes=nodes)
    assert journalled_outputs(graph, "scope") == journalled
    assert bool(wire_of(graph, "lock", RUN, address, 0).inputs[0].journal) == bool(journalled)


def test_consumers_of_one_that_is_always_started_again_do_not_hear_that_it_ended() -> None:
    graph = two("permanent")
    again = GraphNode("scope", "scope.py", graph.nodes[0].schema, restart="always")
    wires = wire_of(Graph("test", (again, graph.nodes[1]), graph.edges), "scope", RUN, address, 3)
    assert ([end.ends for end in wires.outputs], wires.restarts) == ([False], 3)


def test_what_was_written_last_stands_instead_of_the_parameter() -> None:
    graph = two("permanent")
    lock = msgspec.structs.replace(graph.node("lock"), writable=(Writable("gain"),))
    graph = msgspec.structs.replace(graph, nodes=(graph.node("scope"), lock))
    before = wire_of(graph, "lock", RUN, address, 0)
    assert (before.parameters, before.writable) == ({"gain": 0.5}, {"gain": WriteStamp()})
    after = wire_of(graph, "lock", RUN, address, 0, {"gain": Written("gain", 0.75, 3, 42)})
    assert (after.parameters, after.writable) == ({"gain": 0.75}, {"gain": WriteStamp(3, 42)})
    assert wire_of(graph, "scope", RUN, address, 0).writable == {}


@pytest.mark.parametrize(
    ("lifetime", "policy", "kind", "is_kept"),
    [
        ("finite", "block", "flow", True),
        ("finite", "spill", "flow", True),
        ("finite", "latest", "flow", False),
        ("finite", "block", "state", False),
        ("runtime", "block", "flow", False),
        ("runtime", "spill", "flow", True),
    ],
)
def test_a_producer_learns_where_the_position_of_a_consumer_is_that_gets_every_value(
    lifetime: Lifetime, policy: Policy, kind: InputKind, is_kept: bool
) -> None:
    graph = two(lifetime, policy)
    lock = graph.nodes[1]
    schema = msgspec.structs.replace(lock.schema, inputs=(InputPort("trace", kind), InputPort("gain", "state")))
    graph = msgspec.structs.replace(graph, nodes=(graph.nodes[0], msgspec.structs.replace(lock, schema=schema)))
    assert bool(wire_of(graph, "scope", RUN, address, 0).outputs[0].positions) == is_kept
