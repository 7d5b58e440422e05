"""A node file that runs alone: its schema, its dry run, its exit code, what it says about mistakes."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

import flame
from flame.ports import MISSING, Given, InputPort, NodeSchema, OutputPort
from protocol.errors import Code, WorkflowError
from tests.flame.node_files import run_alone


@pytest.fixture(autouse=True)
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schemas of flame nodes that a test makes itself go into its folder."""
    monkeypatch.setattr("flame.library.node._file_of_caller", lambda: tmp_path / "probe.py")


DOUBLER = """
    import flame
    node = flame.Node("Doubler", "Doubles", icon="x")
    x = node.inputs.flow("x", float, unit="V", doc="in", limits=(0, 10))
    gain = node.inputs.state("gain", float, default=2.0)
    y = node.outputs.permanent("y", float, unit="V")
    memory = node.memory(total=0.0)
    node.register()
    with node.dry_run() as dry:
        dry.feed(x, [1, 2.5, 4])
        dry.expect(y, near={near}, within=0.1)
        dry.expect(y, count=3)
    for record in x:
        memory.total += record.value
        node.outputs.set(y=gain.get() * record.value, time=record.time)
    print("total", memory.total)
"""


def test_a_file_run_alone_writes_its_schema_and_runs_on_its_data(tmp_path: Path) -> None:
    done = run_alone(tmp_path, DOUBLER.format(near=8.0))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "total 7.5\nDoubler: dry run: took 3 of x, 1 of gain; set 3 of y; 2 expectations met\n"
    schema = msgspec.json.decode((tmp_path / "schema" / "Doubler.json").read_bytes(), type=NodeSchema)
    assert schema == NodeSchema(
        "Doubler",
        "probe.py",
        (
            InputPort("x", "flow", "float", "V", "in", MISSING, (0.0, 10.0), "block", 1_000),
            InputPort("gain", "state", "float", "", "", Given(2.0), (None, None), "latest", 1),
        ),
        (OutputPort("y", "permanent", "float", "V"),),
        ("total",),
        "Doubles",
        "x",
    )


def test_an_expectation_that_is_not_met_is_told_and_is_exit_code_1(tmp_path: Path) -> None:
    done = run_alone(tmp_path, DOUBLER.format(near=9.0))
    assert done.returncode == 1
    assert done.stderr == (
        "probe.py: the output 'y' was expected to be within 0.1 of 9.0; its last of 3 values is 8.0 (float).\n"
    )


def test_a_value_that_does_not_fit_is_one_sentence_with_file_and_line(tmp_path: Path) -> None:
    done = run_alone(tmp_path, DOUBLER.format(near=8.0).replace("2.5", "'two'"))
    assert done.returncode == 1
    assert done.stderr.startswith("probe.py:10: input 'x': 'two' (str) is no float.")
    assert "Traceback" not in done.stderr


def test_a_mistake_of_the_program_itself_keeps_its_traceback(tmp_path: Path) -> None:
    done = run_alone(tmp_path, DOUBLER.format(near=8.0).replace("memory.total +=", "memory.total = 1 / 0 +"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ZeroDivisionError" in done.stderr and "expected" not in done.stderr


def test_a_loop_over_active_ends_with_the_data(tmp_path: Path) -> None:
    done = run_alone(
        tmp_path,
        """
        import flame
        node = flame.Node("Loop")
        x = node.inputs.flow("x")
        node.register()
        with node.dry_run() as dry:
            dry.feed(x, [1, 2, 3])
        while node.active:
            print(x.get())
        print("below the loop")
        """,
    )
    assert done.stdout.splitlines()[:4] == ["1", "2", "3", "below the loop"] and done.returncode == 0


def test_a_source_without_data_runs_once(tmp_path: Path) -> None:
    done = run_alone(
        tmp_path,
        """
        import flame
        node = flame.Node("Source")
        node.outputs.runtime("x", float)
        node.register()
        for tick in node.every(0.1):
            node.outputs.set(x=float(tick))
        """,
    )
    assert done.returncode == 0 and done.stdout == "Source: dry run: took no data; set 1 of x\n"


def test_a_state_without_data_and_default_is_told(tmp_path: Path) -> None:
    done = run_alone(
        tmp_path,
        """
        import flame
        node = flame.Node("Probe")
        x = node.inputs.state("x", float)
        node.register()
        x.get()
        """,
    )
    assert done.returncode == 1 and done.stderr.startswith("probe.py:6: the dry run has no value for the input 'x'")


def test_a_flow_is_read_in_order_and_a_state_keeps_its_last_value() -> None:
    node = flame.Node("Probe")
    x, s = node.inputs.flow("x", int), node.inputs.state("s", int)
    node.register()
    with node, node.dry_run() as dry:
        dry.feed(x, [1, 2])
        dry.feed(s, [10, 20])
        assert x.last() is None and x.age() == math.inf
        assert [x.get(), x.get()] == [1, 2] and [s.get(), s.get(), s.get()] == [10, 20, 20]
        last = x.last()
        assert last is not None and (last.value, last.seq) == (2, 2) and 0 <= x.age() < 60
        with pytest.raises(flame.Stopped, match="used up"):
            x.get()


def test_arrays_are_fed_one_for_each_place_of_the_first_axis_or_whole() -> None:
    np = pytest.importorskip("numpy")
    node = flame.Node("Probe")
    trace, number = node.inputs.flow("trace", "f8[3]"), node.inputs.flow("number", float)
    node.register()
    with node, node.dry_run() as dry:
        dry.feed(trace, np.arange(6.0).reshape(2, 3))
        dry.feed(trace, np.arange(3.0))
        dry.feed(number, np.arange(2.0))
        assert [record.value.tolist() for record in trace] == [[0, 1, 2], [3, 4, 5], [0, 1, 2]]
        assert [record.value for record in number] == [0.0, 1.0]


def test_data_may_be_a_function_that_a_run_never_calls() -> None:
    node = flame.Node("Probe")
    x = node.inputs.flow("x", int)
    node.register()
    with node, node.dry_run() as dry:
        dry.feed(x, lambda: [5])
        assert x.get() == 5


def test_select_gives_the_inputs_with_values() -> None:
    node = flame.Node("Probe")
    a, b = node.inputs.flow("a"), node.inputs.flow("b")
    node.register()
    with node, node.dry_run() as dry:
        dry.feed(b, [None])
        assert node.select(a, b) == (b,)
        assert b.get() is None
        with pytest.raises(flame.Stopped):
            node.select(a, b)


def test_limits_hold_for_values_and_nan_is_in_none() -> None:
    node = flame.Node("Probe")
    x = node.inputs.flow("x", float, unit="V", limits=(0, 1))
    node.register()
    with node, node.dry_run() as dry:
        dry.feed(x, [0, 1])
        for wrong in (1.5, -0.1, math.nan):
            with pytest.raises(WorkflowError, match=r"outside of what is allowed, from 0.0 to 1.0 V"):
                dry.feed(x, [wrong])


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (lambda node: node.inputs.flow("1x"), "no name of an input"),
        (lambda node: node.inputs.flow("class"), "means something else"),
        (lambda node: node.outputs.runtime("time"), "means something else"),
        (lambda node: (node.inputs.flow("x"), node.inputs.state("x")), "declared twice"),
        (lambda node: node.inputs.flow("x", "f9[2]"), "'x'"),
        (lambda node: node.inputs.flow("x", float, unit="parsec/fortnite"), "'x'"),
        (lambda node: node.inputs.flow("x", depth=0), "depth 0"),
        (lambda node: node.inputs.flow("x", policy="queue"), "policy 'queue'"),
        (lambda node: node.inputs.flow("x", float, limits=(2, 1)), "limits"),
        (lambda node: node.inputs.flow("x", float, default="a"), "the default of the input 'x'"),
        (lambda node: node.outputs.finite("x", keep="7 weeks"), "kept for '7 weeks'"),
    ],
)
def test_a_wrong_declaration_is_refused_where_it_stands(declare: object, text: str) -> None:
    assert callable(declare)
    with pytest.raises(WorkflowError, match=text) as caught:
        declare(flame.Node("Probe"))
    assert caught.value.code is Code.PORT_WRONG and caught.value.next_step


@pytest.mark.parametrize(("keep", "seconds"), [("90min", 5_400.0), ("7d", 604_800.0), (1.5, 1.5), ("12 h", 43_200.0)])
def test_how_long_a_finite_output_is_kept(keep: float | str, seconds: float) -> None:
    assert flame.Node("Probe").outputs.finite("x", keep=keep).port.keep_s == seconds


def test_what_comes_before_register_is_told() -> None:
    node = flame.Node("Probe")
    x = node.inputs.flow("x")
    for early in (x.get, x.updated, node.dry_run, lambda: node.outputs.set(y=1)):
        with pytest.raises(WorkflowError, match=r"before node\.register\(\)|outputs were set before"):
            early()


def test_what_comes_after_the_end_is_told() -> None:
    node = flame.Node("Probe")
    x = node.inputs.flow("x")
    node.outputs.runtime("y")
    node.register()
    with node:
        pass
    for late in (x.get, lambda: node.outputs.set(y=1)):
        with pytest.raises(WorkflowError, match="after the end of the flame node"):
            late()


def test_what_comes_after_register_is_told() -> None:
    node = flame.Node("Probe")
    node.register()
    with node:
        for late in (lambda: node.inputs.flow("x"), lambda: node.outputs.runtime("x"), node.register, node.memory):
            with pytest.raises(WorkflowError, match=r"after node\.register\(\)"):
                late()


def test_an_unknown_output_and_a_wrong_value_set_nothing() -> None:
    node = flame.Node("Probe")
    x = node.outputs.runtime("x", int)
    node.register()
    with node:
        with pytest.raises(WorkflowError, match="there is no output 'z'"):
            node.outputs.set(x=1, z=2)
        with pytest.raises(WorkflowError, match=r"output 'x': 1.5 .float. is no int"):
            node.outputs.set(x=1.5)
        with pytest.raises(WorkflowError, match="time="):
            node.outputs.set(x=1, time=1.5)  # type: ignore[arg-type]
        assert x.last() is None


def test_memory_knows_its_names() -> None:
    node = flame.Node("Probe")
    memory = node.memory(integral=0.0)
    memory.integral += 2
    assert memory.integral == 2.0 and repr(memory) == "Memory(integral=2.0)"
    with pytest.raises(WorkflowError, match="does not remember 'integrl', only integral"):
        memory.integrl = 1
    with pytest.raises(WorkflowError, match=r"memory.bad"):
        flame.Node("Probe").memory(bad=object())


def test_a_safe_program_must_exist(tmp_path: Path) -> None:
    (tmp_path / "off.py").write_text("")
    node = flame.Node("Probe")
    node.safe("off.py")
    assert node.schema.safe == "off.py"
    with pytest.raises(WorkflowError, match=r"'on.py' is not beside"):
        node.safe("on.py")


def test_the_schema_is_written_where_a_description_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAME_DESCRIBE", str(tmp_path / "wanted.json"))
    done = run_alone(tmp_path, DOUBLER.format(near=8.0))
    assert (done.returncode, done.stdout) == (0, "") and not (tmp_path / "schema").exists()
    schema = msgspec.json.decode((tmp_path / "wanted.json").read_bytes(), type=NodeSchema)
    assert schema.name == "Doubler" and schema.memory == ("total",)
