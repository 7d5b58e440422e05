"""The old spellings, and the bugs of the old library that concern a node file run alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import flame
from tests.flame.node_files import run_alone

ADDER = """
    from flame import nodeio
    nodeio.context(name="Adder", description="Adds")
    inputs, outputs = nodeio.Inputs(), nodeio.Outputs()
    number = inputs.stream("number", description="what to add to", units="V")
    inputs.state("plus", description="how much", default=1)
    outputs.define("sum", units="V", description="the sum", retention=2)
    inputs.set(number=1)
    inputs.set(number=0.75)
    nodeio.register()
    while nodeio.status.active:
        outputs.set(sum=number() + inputs.get("plus"))
        print(inputs.updated("number"))
"""


def test_an_old_node_file_runs(tmp_path: Path) -> None:
    done = run_alone(tmp_path, ADDER)
    assert done.stderr == ""
    assert done.stdout == "True\nFalse\nAdder: dry run: took 2 of number, 1 of plus; set 2 of sum\n"
    schema = json.loads((tmp_path / "schema" / "Adder.json").read_bytes())
    assert [port["kind"] for port in schema["inputs"]] == ["flow", "state"]
    assert schema["outputs"][0]["lifetime"] == "permanent" and schema["outputs"][0]["unit"] == "V"


def test_terminate_node_leaves_the_program_quietly(tmp_path: Path) -> None:
    done = run_alone(tmp_path, ADDER.replace("print(inputs.updated", "nodeio.terminate_node(inputs.updated"))
    assert done.returncode != 0  # it takes no argument
    done = run_alone(tmp_path, ADDER.replace('print(inputs.updated("number"))', "nodeio.terminate_node()"))
    assert (done.returncode, done.stderr) == (0, "") and "set 1 of sum" in done.stdout


def test_terminate_workflow_ends_the_loop(tmp_path: Path) -> None:
    done = run_alone(tmp_path, ADDER.replace('print(inputs.updated("number"))', "nodeio.terminate_workflow()"))
    assert (done.returncode, done.stderr) == (0, "") and "set 1 of sum" in done.stdout


def test_an_unknown_retention_and_a_missing_context_are_told(tmp_path: Path) -> None:
    done = run_alone(tmp_path, ADDER.replace("retention=2", "retention=3"))
    assert done.stderr.startswith("probe.py:7: the output 'sum' has the retention 3.") and done.returncode == 1
    done = run_alone(tmp_path, "from flame import nodeio\nnodeio.register()\n")
    assert done.stderr.startswith("probe.py:2: there is no flame node in this process yet.") and done.returncode == 1


# --- bugs of the old library (flame.md, 1.7) -----------------------------------------------------


def test_bug_03_data_of_a_dry_run_never_define_a_type(tmp_path: Path) -> None:
    done = run_alone(
        tmp_path,
        """
        from flame import nodeio
        nodeio.context(name="Probe")
        inputs = nodeio.Inputs()
        x = inputs.stream("x")
        flag = inputs.stream("flag")
        inputs.set(x=1, flag="False")
        inputs.set(x=0.75, flag=False)
        nodeio.register()
        print(x(), x(), flag(), flag())
        """,
    )
    assert done.stdout.splitlines()[0] == "1 0.75 False False" and done.returncode == 0


def test_bug_04_updated_never_swallows_a_value(tmp_path: Path) -> None:
    done = run_alone(
        tmp_path,
        """
        import flame
        node = flame.Node("Probe")
        s = node.inputs.state("s")
        node.register()
        with node.dry_run() as dry:
            dry.feed(s, [1])
        print(s.updated(), s.updated(), s.get(), s.updated(), s.get())
        """,
    )
    assert done.stdout.splitlines()[0] == "True True 1 False 1"


def test_bug_06_none_is_set_as_every_other_value(tmp_path: Path) -> None:
    done = run_alone(
        tmp_path,
        """
        from flame import nodeio
        nodeio.context(name="Probe")
        inputs, outputs = nodeio.Inputs(), nodeio.Outputs()
        a, b = inputs.stream("a"), inputs.stream("b")
        outputs.define("c")
        inputs.set(a=None, b=1)
        nodeio.register()
        print(a(), b())
        outputs.set(c=None)
        """,
    )
    assert done.stdout == "None 1\nProbe: dry run: took 1 of a, 1 of b; set 1 of c\n"


def test_bug_07_resetting_the_data_of_a_dry_run_resets_them_and_nothing_else(tmp_path: Path) -> None:
    done = run_alone(
        tmp_path,
        """
        from flame import nodeio
        nodeio.context(name="Probe")
        inputs = nodeio.Inputs()
        x = inputs.stream("x")
        inputs.set(x=1)
        inputs.reset_all_dry_run_data()
        inputs.set(x=2)
        nodeio.register()
        inputs.set(x=3)
        print(x())
        inputs.reset_all_dry_run_data()
        print(nodeio.status.active)
        """,
    )
    assert done.stdout.splitlines()[:2] == ["2", "False"]


def test_bug_18_two_flame_nodes_live_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flame.library.node._file_of_caller", lambda: tmp_path / "probe.py")
    one, other = flame.Node("One"), flame.Node("Other")
    one.inputs.flow("x", int)
    other_x = other.inputs.flow("x", str)
    one.register()
    other.register()
    with one, other:
        with other.dry_run() as dry:
            dry.feed(other_x, ["a"])
        assert not one.active and other.active and other_x.get() == "a"


def test_bug_18_a_flame_node_without_inputs_and_outputs_runs(tmp_path: Path) -> None:
    done = run_alone(tmp_path, "import flame\nnode = flame.Node('Bare')\nnode.register()\n")
    assert (done.returncode, done.stdout) == (0, "Bare: dry run: took no data; set nothing\n")


def test_bug_20_importing_flame_loads_nothing_heavy() -> None:
    heavy = ("numpy", "h5py", "polars", "pykka", "zmq", "lmdb", "matplotlib", "click", "actors", "flotta_p2p")
    program = f"import flame, sys; flame.Node; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
