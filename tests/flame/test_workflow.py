"""Writing workflows in Python itself, where a mistake raises in its line."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from flame.authoring import gathering
from flame.authoring.draft import FromAddress, FromOutput, FromValue
from flame.authoring.faults import WorkflowFaults
from flame.authoring.workflow import FlameNode, Workflow, eui
from protocol.errors import Code


class Box(FlameNode):
    KIND = "Box"
    FILE = "box.py"
    INPUTS = {"level": "state float", "data": "flow any"}
    OUTPUTS = {"out": "runtime any"}


@pytest.fixture(autouse=True)
def no_workflow() -> Iterator[None]:
    token = gathering.current.set(None)
    yield
    gathering.current.reset(token)


def test_flame_nodes_join_the_workflow_that_was_made_last_or_the_one_that_is_given() -> None:
    first, second = Workflow("first"), Workflow("second")
    Box("a")
    Box("b", first)
    assert (list(first.nodes), list(second.nodes)) == (["b"], ["a"])
    assert second.n.a is second.nodes["a"]
    assert dir(second.n) == ["a"]


def test_a_block_joins_its_own_workflow_alone() -> None:
    outer = Workflow("outer")
    with Workflow("inner") as inner:
        Box("a")
    Box("b")
    assert (list(inner.nodes), list(outer.nodes)) == (["a"], ["b"])


def test_what_is_given_to_inputs_is_in_the_draft() -> None:
    wf = Workflow("w", "why")
    a = Box("a", level=3, data=eui("#/last/calib/f0"))
    b = Box("b", data=a.o.out.as_drop_new(4))
    a.i.level = b.o.out
    draft = wf.draft()
    assert (draft.name, draft.description) == ("w", "why")
    sources = {(node.name, one.input): one.source for node in draft.nodes for one in node.inputs}
    assert sources == {
        ("a", "level"): FromOutput("b", "out"),
        ("a", "data"): FromAddress("#/last/calib/f0"),
        ("b", "data"): FromOutput("a", "out", "drop_new", 4),
    }


def test_the_last_assignment_wins_and_none_is_a_value() -> None:
    wf = Workflow("w")
    a = Box("a", level=1)
    a.i.level = None
    assert a.i.level is None
    assert wf.draft().nodes[0].inputs[0].source == FromValue(None)


@pytest.mark.parametrize(
    ("policy", "depth", "expected"),
    [
        ("latest", None, 1),
        ("latest", 2, 2),
        ("spill", 10, 10),
        ("drop_new", 1, 1),
        ("block", 5, 5),
        ("spill", None, None),
    ],
)
def test_a_policy_belongs_to_one_edge(policy: str, depth: int | None, expected: int | None) -> None:
    Workflow("w")
    out = Box("a").o.out
    edge = getattr(out, f"as_{policy}")(*(() if depth is None else (depth,)))
    assert (edge.policy, edge.depth) == (policy, expected)
    assert out.policy is None


def test_a_workflow_may_be_taken_in_twice_and_stays_as_it_is() -> None:
    with Workflow("inner") as inner:
        a = Box("a")
        Box("b", data=a.o.out)
    wf = Workflow("outer")
    one, two = wf.include(inner, "one"), wf.include(inner, "two")
    two.b.i.level = one.a.o.out
    assert list(wf.nodes) == ["one_a", "one_b", "two_a", "two_b"]
    assert list(inner.nodes) == ["a", "b"]
    sources = {(node.name, one.input): one.source for node in wf.draft().nodes for one in node.inputs}
    assert sources == {
        ("one_b", "data"): FromOutput("one_a", "out"),
        ("two_b", "data"): FromOutput("two_a", "out"),
        ("two_b", "level"): FromOutput("one_a", "out"),
    }


def test_a_mistake_raises_in_its_line_outside_of_a_check() -> None:
    with pytest.raises(WorkflowFaults, match="there is no workflow for 'a'"):
        Box("a")
    wf = Workflow("w")
    a = Box("a")
    mistakes: dict[str, Callable[[], object]] = {
        "has no input 'levl'": lambda: setattr(a.i, "levl", 1),
        "has no output 'ot'": lambda: a.o.ot,
        "two flame nodes are called 'a'": lambda: Box("a"),
        "cannot be a name": lambda: Box("a b"),
        "'log' is a reserved word": lambda: Box("log"),
        "may be called '_unused'": lambda: Box("_unused"),
        "3 is no text": lambda: Box(3),  # type: ignore[arg-type]
        "is no output and no value": lambda: setattr(a.i, "level", a),
        "object is no type that flame keeps": lambda: setattr(a.i, "level", object()),
        "0 values cannot wait": lambda: a.o.out.as_latest(0),
        "is no address in an earlier run": lambda: eui("#a/out"),
        "'soon' is no span of time": lambda: a.restart("always", within="soon"),
        "'3 V' is no span of time": lambda: a.restart("always", within="3 V"),
        "0 is no number of restarts": lambda: a.restart("always", max=0),
        "'often' is no restart policy": lambda: a.restart("often"),  # type: ignore[arg-type]
        "is no output to stop at": lambda: wf.stop_when(a),
        "cannot include": lambda: wf.include(wf, "x"),
    }
    for told, mistake in mistakes.items():
        with pytest.raises(WorkflowFaults, match=told) as caught:
            mistake()
        assert caught.value.code in (Code.WORKFLOW_WRONG, Code.WIRING_WRONG, Code.VALUE_WRONG)
        assert f"{__name__.rpartition('.')[2]}.py, line " in str(caught.value)


def test_an_output_is_no_condition_in_python() -> None:
    Workflow("w")
    with pytest.raises(TypeError, match="no value while the workflow is written"):
        bool(Box("a").o.out)


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30.0), ("5min", 300.0), ("1.5 h", 5400.0), ("500ms", 0.5)])
def test_a_span_of_time_has_a_unit(text: str, seconds: float) -> None:
    Workflow("w")
    assert Box("a").restart("on-failure", max=2, within=text).restarting == ("on-failure", 2, seconds)
