"""From a draft to the graph of a run: types, units, parameters from earlier runs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from flame.authoring.draft import Draft, DraftInput, DraftNode, FromAddress, FromOutput, FromValue
from flame.authoring.generate import Kind
from flame.authoring.parameters import ParametersFile
from flame.authoring.wiring import SavedValue, Wired, wire
from flame.ports import Given, InputPort, NodeSchema, OutputPort
from flame.types.portable import load
from protocol.errors import AddressError, Code

HERE = Path("/lab/workflow.py")


def kinds(output: OutputPort, port: InputPort) -> dict[str, Kind]:
    source = NodeSchema("Source", "source.py", outputs=(output,))
    sink = NodeSchema("Sink", "sink.py", inputs=(port,))
    return {"Source": Kind("source.py", "", source), "Sink": Kind("sink.py", "", sink)}


def joined(output: OutputPort, port: InputPort, edge: FromOutput | None = None) -> Wired:
    given = DraftInput("x", edge or FromOutput("a", "y"), "workflow.py, line 5")
    nodes = (DraftNode("a", "Source", "workflow.py, line 4"), DraftNode("b", "Sink", "workflow.py, line 5", (given,)))
    return wire(Draft("w", nodes=nodes), HERE, kinds(output, port), ParametersFile(Path("p.json")), no_run)


def no_run(address: str) -> SavedValue:
    raise AddressError(Code.NOTHING_THERE, f"nothing at {address}")


def set_to(value: Any, port: InputPort, text: str = "{}", read: Any = no_run) -> Wired:
    """`value`: of the workflow, ... for none. `text`: the parameters file."""
    source = value if isinstance(value, FromAddress) else FromValue(value)
    inputs = () if value is ... else (DraftInput("x", source, "workflow.py, line 5"),)
    nodes = (DraftNode("b", "Sink", "workflow.py, line 5", inputs),)
    file = ParametersFile(Path("p.json"), json.loads(text), {}, text)
    return wire(Draft("w", nodes=nodes), HERE, kinds(OutputPort("y"), port), file, read)


@pytest.mark.parametrize(
    ("source", "target", "unit", "to", "factor", "offset"),
    [
        ("float", "float", "MHz", "Hz", 1e6, 0.0),
        ("int", "float", "ms", "s", 1e-3, 0.0),
        ("float", "float", "degC", "K", 1.0, 273.15),
        ("f4[3]", "f8[*]", "mV", "V", 1e-3, 0.0),
        ("float", "float | None", "V", "mV", 1e3, 0.0),
        ("int", "int", "V", "V", 1.0, 0.0),
        ("any", "any", "V", "", 1.0, 0.0),
        ("int", "int", "V", "", 1.0, 0.0),
    ],
)
def test_units_are_converted_between_ports(
    source: str, target: str, unit: str, to: str, factor: float, offset: float
) -> None:
    wired = joined(OutputPort("y", "runtime", source, unit), InputPort("x", "flow", target, to))
    assert not wired.faults
    (edge,) = wired.graph.edges
    assert edge.factor == factor
    assert edge.offset == pytest.approx(offset)


@pytest.mark.parametrize(
    ("source", "target", "unit", "to", "told"),
    [
        (
            "float",
            "float",
            "MHz",
            "V",
            "b.x (flow) takes float in V, but a.y gives float in MHz: MHz does not convert to V",
        ),
        ("float", "float", "", "V", "a value without a unit does not convert to V"),
        ("int", "int", "ms", "s", "only floats are converted from ms to s"),
        ("any", "any", "ms", "s", "only floats are converted"),
        ("list", "list", "ms", "s", "only floats are converted"),
        ("i4[3]", "i4[3]", "ms", "s", "only floats are converted"),
        ("f8[3]", "f8[4]", "", "", "the shape of f8[3] is not that of f8[4]"),
        ("float", "int", "", "", "a float never becomes an int"),
        ("float | None", "float", "", "", "None is no float"),
    ],
)
def test_what_does_not_fit_is_a_fault_with_both_ports_in_it(
    source: str, target: str, unit: str, to: str, told: str
) -> None:
    wired = joined(OutputPort("y", "runtime", source, unit), InputPort("x", "flow", target, to))
    (fault,) = wired.faults
    assert fault.code == Code.WIRING_WRONG
    assert fault.place == "workflow.py, line 5"
    assert told in fault.sentence


@pytest.mark.parametrize(
    ("edge", "policy", "depth"),
    [
        (FromOutput("a", "y"), "block", 8),
        (FromOutput("a", "y", "latest"), "latest", 1),
        (FromOutput("a", "y", "latest", 3), "latest", 3),
        (FromOutput("a", "y", "spill"), "spill", 8),
        (FromOutput("a", "y", "drop_new", 5), "drop_new", 5),
    ],
)
def test_the_consumer_chooses_the_policy_and_an_edge_may_have_its_own(
    edge: FromOutput, policy: str, depth: int
) -> None:
    wired = joined(OutputPort("y"), InputPort("x", "flow", depth=8), edge)
    (found,) = wired.graph.edges
    assert (found.policy, found.depth) == (policy, depth)


FLOAT = InputPort("x", "state", "float", "MHz", default=Given(1.0), limits=(0.0, 10.0))


@pytest.mark.parametrize(
    ("value", "text", "expected", "origin"),
    [
        (..., "{}", 1.0, "default"),
        (2, "{}", 2.0, "workflow"),
        (2, '{"b": {"x": 3}}', 3.0, "file"),
        (2, '{"b": {"x": null}}', 2.0, "workflow"),
        (2, '{"b": {"x": {"$missing": "float"}}}', 2.0, "workflow"),
        (..., '{"b": {"x": {"$missing": "float"}}}', 1.0, "default"),
    ],
)
def test_file_over_workflow_over_default(value: Any, text: str, expected: float, origin: str) -> None:
    wired = set_to(value, FLOAT, text)
    assert not wired.setting_faults
    (parameter,) = wired.graph.nodes[0].parameters
    assert (parameter.value, parameter.origin) == (expected, origin)


@pytest.mark.parametrize("value", ["2", True, -0.1, 10.5, {"$float": "nan"}, [1.0], None, {"$bytes": "?"}])
def test_a_value_that_does_not_fit_is_a_fault_at_its_line(value: Any) -> None:
    (fault,) = set_to(value, FLOAT).setting_faults
    assert fault.code == Code.VALUE_WRONG
    assert fault.place == "workflow.py, line 5"
    assert fault.sentence.startswith("b/x: ")


def test_floats_without_a_form_in_json_stay() -> None:
    wired = set_to({"$float": "nan"}, InputPort("x", "state", "float"))
    assert not wired.setting_faults
    assert math.isnan(load(wired.graph.nodes[0].parameters[0].value))


def test_what_has_no_value_is_missing_once_for_all() -> None:
    port = InputPort("x", "state", "float")
    (fault,) = set_to(..., port).setting_faults
    assert (fault.code, fault.sentence) == (Code.PARAMETER_MISSING, "1 parameter has no value: b/x")


@pytest.mark.parametrize(
    ("value", "text"),
    [(FromAddress("#/last/calib/f0"), "{}"), (..., '{"b": {"x": {"$eui": "#/last/calib/f0"}}}')],
)
def test_a_parameter_is_read_from_an_earlier_run_by_its_address(value: Any, text: str) -> None:
    wired = set_to(value, FLOAT, text, lambda address: {"#/last/calib/f0": SavedValue(7)}[address])
    (parameter,) = wired.graph.nodes[0].parameters
    assert (parameter.value, parameter.origin, parameter.address) == (7.0, "run", "#/last/calib/f0")


def test_an_address_where_nothing_lies_is_a_fault_at_its_line() -> None:
    (fault,) = set_to(FromAddress("#/last/a/b"), FLOAT).setting_faults
    assert (fault.code, fault.sentence, fault.place) == (
        Code.NOTHING_THERE,
        "nothing at #/last/a/b",
        "workflow.py, line 5",
    )


@pytest.mark.parametrize(
    ("saved", "expected"),
    [(SavedValue(5000, "kHz"), 5.0), (SavedValue(5, "MHz"), 5.0), (SavedValue(5.0, None), 5.0)],
)
def test_a_value_of_an_earlier_run_comes_in_the_unit_of_the_input(saved: SavedValue, expected: float) -> None:
    wired = set_to(FromAddress("#/last/a/b"), FLOAT, read=lambda address: saved)
    assert not wired.setting_faults
    assert wired.graph.nodes[0].parameters[0].value == expected


@pytest.mark.parametrize(
    "saved", [SavedValue(5.0, "V"), SavedValue(5.0, ""), SavedValue([5.0], "kHz"), SavedValue(None, "kHz")]
)
def test_a_value_of_an_earlier_run_in_no_such_unit_is_a_fault(saved: SavedValue) -> None:
    (fault,) = set_to(FromAddress("#/last/a/b"), FLOAT, read=lambda address: saved).setting_faults
    assert fault.place == "workflow.py, line 5"
    assert fault.code in (Code.WIRING_WRONG, Code.VALUE_WRONG)


def test_a_value_of_an_earlier_run_must_fit_as_well() -> None:
    (fault,) = set_to(FromAddress("#/last/a/b"), FLOAT, read=lambda address: SavedValue("text", "MHz")).setting_faults
    assert fault.code == Code.VALUE_WRONG


def test_a_slip_in_the_parameters_file_is_a_fault_and_no_silent_default() -> None:
    port = InputPort("xaxis", "state", "float", default=Given(1.0))
    wired = set_to(..., port, '{"b": {"xaxes": 3.0}}')
    (fault,) = wired.setting_faults
    assert fault.sentence == "b/xaxes is no parameter"
    assert "did you mean 'xaxis'?" in fault.next_step


def test_a_value_that_was_put_aside_is_told_while_it_is_not_used() -> None:
    nodes = (DraftNode("b", "Sink", "workflow.py, line 5"),)
    file = ParametersFile(Path("p.json"), {}, {"b": {"x": 3.0}}, "{}")
    wired = wire(Draft("w", nodes=nodes), HERE, kinds(OutputPort("y"), FLOAT), file, no_run)
    (warning,) = wired.warnings
    assert warning.startswith("a value of b/x was put aside in p.json")


def test_a_graph_names_the_whole_paths_of_its_programs() -> None:
    wired = joined(OutputPort("y"), InputPort("x", "flow"))
    assert [node.file for node in wired.graph.nodes] == ["/lab/source.py", "/lab/sink.py"]
