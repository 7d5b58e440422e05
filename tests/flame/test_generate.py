"""Schemas of node files and the classes made of them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flame.authoring import class_text
from flame.authoring.describing import describe
from flame.authoring.faults import WorkflowFaults
from flame.authoring.generate import generate
from flame.authoring.node_files import node_files
from flame.ports import Given, InputPort, NodeSchema, OutputPort
from protocol.errors import Code, WorkflowError
from tests.flame.labs import LOCK, SCOPE, Lab
from tests.system.processes import is_alive, wait_until


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def imported(folder: Path, code: str) -> str:
    """What `code` prints with `flame_nodes` of that folder."""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


# --- describing --------------------------------------------------------------------------------


def test_a_node_file_tells_its_schema_and_nothing_below_register_runs(lab: Lab) -> None:
    file = lab.write("lock.py", LOCK + '\n    open("ran", "w")\n')
    schema = describe(file)
    assert (schema.name, schema.file, schema.description) == ("Lock", "lock.py", "Keeps a laser on the beat note")
    assert [port.name for port in schema.inputs] == ["trace", "target", "label"]
    assert not (lab.folder / "ran").exists()


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("x = (\n", Code.NODE_FILE_WRONG, "lock.py, line 1: SyntaxError"),
        ("x = 1\nimport nothing_of_this_name\n", Code.NODE_FILE_WRONG, "lock.py, line 2: ModuleNotFoundError"),
        ("import json\njson.loads('{')", Code.NODE_FILE_WRONG, "lock.py, line 2: json.decoder.JSONDecodeError"),
        (
            "import flame\nnode = flame.Node('Lock')",
            Code.NODE_FILE_WRONG,
            "lock.py: it ends without a call of register()",
        ),
        ("import sys\nsys.exit(3)", Code.NODE_FILE_WRONG, "lock.py, line 2: it ended itself with exit code 3 before"),
        ("import os\nos._exit(3)", Code.NODE_FILE_WRONG, "lock.py: it ended with exit code 3 before it registered"),
        ("import os\nos.kill(os.getpid(), 9)", Code.NODE_FILE_WRONG, "lock.py: it was ended by signal 9"),
        (
            "import flame\nnode = flame.Node('Lock')\nnode.inputs.flow('a', 'f9[2]')",
            Code.PORT_WRONG,
            "lock.py, line 3: 'a': 'f9[2]' is no type of a port",
        ),
        (
            "import flame\nnode = flame.Node('Lock')\nnode.inputs.flow('a', float, unit='Mhz')",
            Code.PORT_WRONG,
            "lock.py, line 3: 'a': the unit 'Mhz'",
        ),
    ],
)
def test_a_node_file_that_does_not_register_is_told_with_its_line(lab: Lab, text: str, code: Code, told: str) -> None:
    with pytest.raises(WorkflowFaults) as caught:
        describe(lab.write("lock.py", text))
    assert caught.value.code == code
    assert str(caught.value).startswith(told)


def test_a_node_file_that_hangs_ends_with_all_that_it_started(lab: Lab) -> None:
    file = lab.write(
        "lock.py",
        """
        import os, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open("pids", "w").write(f"{os.getpid()} {child.pid}")
        time.sleep(600)
        """,
    )
    with pytest.raises(WorkflowFaults, match="has not registered within 3 s") as caught:
        describe(file, limit_s=3.0)
    assert caught.value.code == Code.NODE_FILE_WRONG
    pids = [int(pid) for pid in (lab.folder / "pids").read_text().split()]
    wait_until(lambda: not any(map(is_alive, pids)))  # the kernel ends them in its own time


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorkflowFaults, match="does not exist"):
        describe(tmp_path / "lock.py")


def test_only_files_that_register_a_flame_node_are_taken_for_node_files(lab: Lab) -> None:
    lab.nodes().write("devices/camera.py", SCOPE)
    lab.write("helper.py", "import flame\n")
    lab.write("other.py", "import atexit\natexit.register(print)  # no flame here\n")
    for folder in ("flame_nodes", "flame_runs/j1/sources", ".hidden", "__pycache__", "env"):
        lab.write(f"{folder}/scope.py", SCOPE)
    lab.write("env/pyvenv.cfg", "")
    assert [str(path.relative_to(lab.folder)) for path in node_files(lab.folder)] == [
        "lock.py",
        "scope.py",
        "devices/camera.py",
    ]


# --- classes -----------------------------------------------------------------------------------


def test_classes_are_made_beside_the_workflow_and_tell_what_they_take(lab: Lab) -> None:
    made = generate(lab.nodes().folder)
    assert {name: kind.file for name, kind in made.kinds.items()} == {"Lock": "lock.py", "Scope": "scope.py"}
    shown = imported(
        lab.folder,
        "from flame import Workflow; import flame_nodes; wf = Workflow('w');"
        "lock = flame_nodes.Lock('lock'); print(lock.__doc__, dir(lock.i), dir(lock.o), flame_nodes.__all__)",
    )
    assert "trace: flow f8[4] in mV" in shown
    assert "['label', 'target', 'trace'] ['done', 'error'] ['Lock', 'Scope']" in shown


def test_nothing_runs_and_nothing_is_written_while_nothing_changes(lab: Lab) -> None:
    lab.nodes().write("scope.py", SCOPE + "\n    # a comment\n")
    generate(lab.folder)
    before = {path: path.stat().st_mtime_ns for path in (lab.folder / "flame_nodes").iterdir()}
    lab.write("counts.py", "")
    made = generate(lab.folder)
    assert (made.written, made.removed) == ((), ())
    assert {path: path.stat().st_mtime_ns for path in (lab.folder / "flame_nodes").iterdir()} == before


def test_a_changed_declaration_changes_its_class_alone(lab: Lab) -> None:
    generate(lab.nodes().folder)
    lab.write("scope.py", SCOPE.replace('doc="samples"', 'doc="points"'))
    assert generate(lab.folder).written == ("_Scope.py", "_Scope.pyi")
    lab.write("scope.py", SCOPE.replace('doc="samples"', 'doc="points"') + "\n    # a comment\n")
    assert generate(lab.folder).written == ()


def test_a_class_that_changed_within_a_second_is_the_new_one(lab: Lab) -> None:
    show = "import flame_nodes; print(list(flame_nodes.Scope.INPUTS))"
    generate(lab.nodes().folder)
    module = lab.folder / "flame_nodes" / "_Scope.py"
    os.utime(module, (1_000_000, 1_000_000))
    assert imported(lab.folder, show) == "['rate', 'gain']\n"
    lab.write("scope.py", SCOPE.replace('"rate"', '"gate"'))
    generate(lab.folder)
    os.utime(module, (1_000_000, 1_000_000))
    assert imported(lab.folder, show) == "['gate', 'gain']\n"


def test_a_changed_module_that_a_node_file_imports_is_noticed(lab: Lab) -> None:
    lab.write("names.py", 'DOC = "one"\n')
    lab.write(
        "scope.py",
        "import names\n" + "\n".join(SCOPE.replace("    ", "").replace('"samples"', "names.DOC").split("\n")),
    )
    generate(lab.folder)
    lab.write("names.py", 'DOC = "two"\n')
    assert generate(lab.folder).kinds["Scope"].schema.inputs[0].doc == "two"


def test_the_class_of_a_vanished_file_goes_and_files_of_others_stay(lab: Lab) -> None:
    generate(lab.nodes().folder)
    own = lab.write("flame_nodes/_mine.py", "x = 1\n")
    (lab.folder / "lock.py").unlink()
    made = generate(lab.folder)
    assert made.removed == ("_Lock.py", "_Lock.pyi")
    assert own.exists()
    assert imported(lab.folder, "import flame_nodes; print(flame_nodes.__all__)") == "['Scope']\n"


def test_a_broken_node_file_keeps_its_class_and_stops_no_other(lab: Lab) -> None:
    generate(lab.nodes().folder)
    lab.write("lock.py", "import flame\nregister(\n")
    lab.write("scope.py", SCOPE.replace('"samples"', '"points"'))
    made = generate(lab.folder)
    assert list(made.broken) == ["lock.py"]
    assert made.written == ("_Scope.py", "_Scope.pyi")
    assert (lab.folder / "flame_nodes" / "_Lock.py").exists()


def test_two_files_of_one_kind_are_a_fault_of_the_second(lab: Lab) -> None:
    lab.nodes().write("twin.py", SCOPE)
    made = generate(lab.folder)
    assert made.kinds["Scope"].file == "scope.py"
    told = "twin.py, line 2: it declares a flame node Scope, as scope.py, line 2 does"
    assert [fault.text for fault in made.faults] == [told]


def test_a_package_of_that_name_that_is_not_ours_is_left_alone(lab: Lab) -> None:
    mine = lab.nodes().write("flame_nodes/__init__.py", "x = 1\n")
    with pytest.raises(WorkflowError, match="was not made by flame") as caught:
        generate(lab.folder)
    assert caught.value.code == Code.WORKFLOW_WRONG
    assert mine.read_text() == "x = 1\n"


def test_a_damaged_memory_of_schemas_is_made_anew(lab: Lab) -> None:
    generate(lab.nodes().folder)
    lab.write("flame_nodes/schemas.json", "{")
    assert set(generate(lab.folder).kinds) == {"Lock", "Scope"}


NASTY = 'a "quote", a \'quote\', """three""", a \\ and \n a line \r\n \x00 {braces} %s'


def test_bug_11_kinds_and_quotes_reach_the_class(lab: Lab) -> None:
    lab.write(
        "lock.py",
        f"""
        import flame
        node = flame.Node("Lock", {NASTY!r})
        node.inputs.flow("trace", float, doc={NASTY!r}, default=1.0)
        node.inputs.state("text", str, default={NASTY!r})
        node.outputs.runtime("error", float, doc={NASTY!r})
        node.register()
        """,
    )
    generate(lab.folder)
    shown = imported(
        lab.folder, "import flame_nodes as f; print([f.Lock.INPUTS['trace'], f.Lock.INPUTS['text'], f.Lock.__doc__])"
    )
    trace, text, doc = ast.literal_eval(shown)
    assert trace == f"flow float, default 1.0: {NASTY}"
    assert text.startswith("state str")
    assert doc.startswith(NASTY)


def test_bug_11_a_stub_reads_whatever_a_description_holds() -> None:
    schema = NodeSchema(
        "Lock",
        "lock.py",
        inputs=(InputPort("a.b", "flow", "f8[3] | None", "V", NASTY, Given({"$float": "nan"})),),
        outputs=(OutputPort("out", "permanent", "any", "", NASTY),),
        description=NASTY,
    )
    for text in (class_text.stub_text(schema, "lo\nck.py"), class_text.class_text(schema, "lo\nck.py")):
        tree = ast.parse(text)
        assert any(isinstance(node, ast.ClassDef) and node.name == "Lock" for node in tree.body)
    stub = ast.parse(class_text.stub_text(schema, "lock.py"))
    getter = next(node for node in ast.walk(stub) if isinstance(node, ast.FunctionDef) and node.name == "a_b")
    assert ast.get_docstring(getter, clean=False) == class_text.input_doc(schema.inputs[0])


def test_a_stub_names_types_of_constructor_inputs_and_outputs() -> None:
    schema = NodeSchema(
        "Lock", "lock.py", (InputPort("trace", "flow", "f8[4]"),), (OutputPort("error", "runtime", "float"),)
    )
    text = class_text.stub_text(schema, "lock.py")
    assert "trace: Output[Any] | Eui | NDArray[numpy.float64] | list[Any] = ...," in text
    assert "def error(self) -> Output[float]:" in text


def test_names_in_python() -> None:
    names = ["rate", "lambda", "cal.f0", "x-y", "1st"]
    assert [class_text.identifier(name) for name in names] == ["rate", "lambda_", "cal_f0", "x_y", "_1st"]


def test_two_inputs_with_one_name_in_python_are_refused() -> None:
    ports = (InputPort("a.b", "flow"), InputPort("a-b", "flow"))
    assert class_text.clashes(NodeSchema("Lock", "lock.py", ports)) == "a.b, a-b"
