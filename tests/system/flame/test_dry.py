"""`flame dry`: a node file alone, on its own data and on those of a saved run."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from flame.graph import Edge, Graph, GraphNode, Parameter
from flame.ports import InputPort, NodeSchema, OutputPort
from tests.flame.saved_runs import SavedRun

pytestmark = pytest.mark.system

SUM = """
    import flame
    node = flame.Node("Sum")
    number = node.inputs.flow("number", float, unit="mV")
    factor = node.inputs.state("factor", float)
    offset = node.inputs.state("offset", float)
    total = node.outputs.permanent("total", float)
    node.register()
    with node.dry_run() as dry:
        dry.feed(number, [1.0, 2.0])
        dry.feed(factor, 1.0)
        dry.feed(offset, 0.5)
        dry.expect(total)
    result = sum(record.value for record in number) * factor.get() + offset.get()
    node.outputs.set(total=result)
    print(result)
"""
SOURCE = NodeSchema("Source", "source.py", outputs=(OutputPort("number", "permanent"), OutputPort("offset", "runtime")))
SCHEMA = NodeSchema(
    "Sum",
    "sum.py",
    (InputPort("number", "flow"), InputPort("factor", "state"), InputPort("offset", "state")),
    (OutputPort("total", "permanent"),),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "sum.py"
    file.write_text(textwrap.dedent(SUM))
    nodes = (
        GraphNode("source", "source.py", SOURCE),
        GraphNode("sum", str(file), SCHEMA, (Parameter("factor", 2.0, "file"),)),
    )
    edges = (
        Edge("source", "number", "sum", "number", "block", 8, factor=1000.0),
        Edge("source", "offset", "sum", "offset", "latest", 1),
    )
    run = SavedRun(tmp_path / "flame_runs", Graph("saved", nodes, edges))
    run.set_values("source", {"number": [0.5, 0.25]})
    run.end()
    return file


def dry(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flotta_p2p", "flame", "dry", *words]
    return subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=60)


def test_a_dry_run_takes_the_data_of_the_file(file: Path) -> None:
    ended = dry("sum.py", folder=file.parent)
    assert (ended.returncode, ended.stdout.splitlines()[0]) == (0, "3.5"), ended.stderr


def test_a_saved_run_feeds_what_arrived_in_the_unit_of_the_input_and_the_file_the_rest(file: Path) -> None:
    ended = dry("sum.py", "--from", "#/j1", folder=file.parent)
    assert (ended.returncode, ended.stdout.splitlines()[0]) == (0, "1500.5"), ended.stderr
    assert "input 'offset' is fed by the file" in ended.stderr


def test_a_run_without_this_flame_node_is_refused_in_a_sentence(file: Path) -> None:
    (file.parent / "other.py").write_text("")
    ended = dry("other.py", "--from", "j1", folder=file.parent)
    assert ended.returncode != 0 and "no flame node of other.py" in ended.stderr
    assert "[node-file-wrong]" in dry("missing.py", folder=file.parent).stderr
    other = dry("other.py", "--from", "j1", "--node", "sum", folder=file.parent)
    assert other.returncode != 0 and "is of sum.py, and not of other.py" in other.stderr


CLOCK = """
    import flame
    node = flame.Node("Clock")
    step = node.inputs.state("step", float)
    tick = node.outputs.runtime("tick", float)
    node.register()
    with node.dry_run() as dry:
        dry.feed(step, {fed})
        dry.expect(tick, count={ticks})
    {before}
    for _ in node.every(60):
        node.outputs.set(tick={value})
"""


@pytest.mark.parametrize(
    ("fed", "ticks", "before", "value"),
    [
        ("[1.0, 2.0, 3.0]", 3, "", "step.get()"),
        ("[1.0, 2.0]", 1, "s = step.get()", "s"),
        ("1.0", 1, "s = step.get()", "s"),
    ],
)
def test_a_clock_ticks_in_a_dry_run_as_long_as_it_takes_data_and_at_least_once(
    tmp_path: Path, fed: str, ticks: int, before: str, value: str
) -> None:
    text = CLOCK.format(fed=fed, ticks=ticks, before=before, value=value)
    (tmp_path / "clock.py").write_text(textwrap.dedent(text))
    ended = dry("clock.py", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr


def test_the_exit_code_is_that_of_the_program(file: Path) -> None:
    file.write_text("raise SystemExit(5)")
    assert dry("sum.py", folder=file.parent).returncode == 5
