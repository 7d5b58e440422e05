"""Workflow files with real node files: the graph that comes out, and every fault with its line."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import pytest

from flame.authoring.faults import WorkflowFaults
from flame.authoring.generate import generate
from flame.authoring.loading import load
from flame.authoring.workflow import load_graph
from protocol.errors import Code
from tests.flame.labs import Lab, graph_of, parameter, texts


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab whose node files are known already: its copies need not run them again."""
    lab = Lab(tmp_path_factory.mktemp("lab")).nodes()
    assert set(generate(lab.folder).kinds) == {"Lock", "Scope"}
    return lab.folder


@pytest.fixture
def lab(tmp_path: Path, described: Path) -> Lab:
    shutil.copytree(described, tmp_path, dirs_exist_ok=True)
    return Lab(tmp_path)


def test_a_workflow_file_becomes_a_graph(lab: Lab) -> None:
    graph = graph_of(
        lab.load(
            """
            scope = Scope("scope", rate=2)
            lock = Lock("lock", trace=scope.o.trace.as_spill(3), target=None)
            scope.i.gain = lock.o.error
            lock.restart("on-failure", max=2, within="2min")
            wf.stop_when(lock.o.done)
            """
        )
    )
    assert [node.name for node in graph.nodes] == ["scope", "lock"]
    spill, back = sorted(graph.edges, key=lambda edge: edge.source, reverse=True)
    assert (spill.source, spill.output, spill.target, spill.input) == ("scope", "trace", "lock", "trace")
    assert (spill.policy, spill.depth, spill.factor, spill.offset) == ("spill", 3, 1000.0, 0.0)
    assert (back.policy, back.depth) == ("latest", 1)
    assert parameter(graph.node("scope"), "rate") == (2.0, "workflow")
    assert parameter(graph.node("lock"), "target") == (None, "workflow")
    assert parameter(graph.node("lock"), "label") == ("", "default")
    lock = graph.node("lock")
    assert (lock.restart, lock.restart_max, lock.within_s) == ("on-failure", 2, 120.0)
    assert (lock.file, lock.line) == (str(lab.folder / "lock.py"), "workflow.py, line 5")
    assert graph.stop_when == (("lock", "done"),)
    assert graph.workflow_file == str(lab.folder / "workflow.py")


def test_all_faults_are_told_at_once_each_at_its_line(lab: Lab) -> None:
    loaded = lab.load(
        """
        scope = Scope("scope", rte=2.0)
        lock = Lock("lock", trace=scope.o.count, target=scope.o.trce)
        lock.i.label = lock.o.error
        lock.i.target = 300.0
        Scope("scope")
        Scope("a/b", rate=99)
        wf.stop_when(7)
        lock.restart("sometimes")
        """,
        '{"lock": {"target": "high"}, "scope": {"rat": 1.0}}',
    )
    lines = texts(loaded.faults)
    expected = [
        "workflow.py, line 4: Scope has no input 'rte' [wiring-wrong]",
        "workflow.py, line 5: Scope has no output 'trce' [wiring-wrong]",
        "workflow.py, line 8: two flame nodes are called 'scope', the other in workflow.py, line 4 [workflow-wrong]",
        "workflow.py, line 10: 7 is no output to stop at [workflow-wrong]",
        "workflow.py, line 11: 'sometimes' is no restart policy [workflow-wrong]",
        "parameters.json, line 1: scope/rat is no parameter [workflow-wrong]",
    ]
    for line in expected:
        assert [one.replace(str(lab.folder) + os.sep, "") for one in lines].count(line) == 1, (line, lines)
    joined = "\n".join(lines)
    assert "workflow.py, line 9: 'a/b' cannot be a name" in joined
    assert "workflow.py, line 5: lock.trace (flow) takes f8[4] in mV, but scope.count gives int" in joined
    assert "workflow.py, line 6: lock.label (state) takes str, but lock.error gives float" in joined
    assert "parameters.json, line 1: lock/target: 'high' (str) is no float | None" in joined
    assert "1 parameter has no value: scope/rate [parameter-missing]" in joined
    with pytest.raises(WorkflowFaults) as caught:
        loaded.checked()
    assert str(caught.value).count("\n") >= len(lines)


def test_an_unknown_name_comes_with_the_nearest(lab: Lab) -> None:
    faults = lab.load('scope = Scope("scope", rte=1.0)\nlock = Lock("lock", trace=scope.o.trase)\n').faults
    steps = [fault.next_step for fault in faults if fault.code == Code.WIRING_WRONG]
    assert "did you mean 'rate'?" in steps[0]
    assert "did you mean 'trace'?" in steps[1]


def test_a_class_that_does_not_exist_is_named_with_the_nearest(lab: Lab) -> None:
    lab.write("workflow.py", "from flame_nodes import Scoop\n")
    (fault,) = load(lab.folder / "workflow.py").faults
    assert fault.text.endswith("workflow.py, line 1: no node file declares a flame node 'Scoop'")
    assert fault.next_step.startswith("did you mean Scope?")


@pytest.mark.parametrize(
    ("text", "told", "line"),
    [
        ("x = (", "SyntaxError", 1),
        ("x = 1\nimport nothing_of_this_name", "ModuleNotFoundError", 2),
        ("def f():\n    return 1 / 0\nf()", "ZeroDivisionError", 2),
        ("raise SystemExit(3)", "it ended itself with exit code 3", 1),
        ("import os\nos._exit(4)", "it ended with exit code 4", 0),
        ("import os\nos.kill(os.getpid(), 9)", "it was ended by signal 9", 0),
        ("x = 1", "it makes no Workflow", 0),
        ("from flame import Workflow\na = Workflow('a')\nb = Workflow('b')", "it makes 2 workflows: 'a', 'b'", 0),
    ],
)
def test_a_file_that_makes_no_workflow_is_one_fault(lab: Lab, text: str, told: str, line: int) -> None:
    (fault,) = load(lab.write("workflow.py", text)).faults
    assert fault.code == Code.WORKFLOW_WRONG
    assert told in fault.sentence
    assert fault.place.endswith(f"workflow.py, line {line}" if line else "workflow.py")


def test_a_workflow_file_that_hangs_ends_at_the_limit(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flame.authoring.loading.WORKFLOW_LIMIT_S", 1.0)
    (fault,) = load(lab.write("workflow.py", "while True: pass")).faults
    assert fault.sentence == "it still runs after 1 s"


def test_the_workflow_called_wf_is_meant_among_several(lab: Lab) -> None:
    lab.write("workflow.py", "from flame import Workflow\nother = Workflow('other')\nwf = Workflow('mine')\n")
    assert graph_of(load(lab.folder / "workflow.py")).name == "mine"


def test_a_file_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorkflowFaults, match="does not exist") as caught:
        load_graph(tmp_path / "workflow.py", None)
    assert caught.value.code == Code.WORKFLOW_WRONG


def test_a_broken_node_file_that_the_workflow_uses_is_a_fault_with_its_line(lab: Lab) -> None:
    body = 'Scope("scope", rate=1.0)\n'
    graph_of(lab.load(body))
    lab.write(
        "scope.py", 'import flame\nnode = flame.Node("Scope")\nnode.inputs.state("rate", "f9[3]")\nnode.register()'
    )
    assert [text.split(" [")[1] for text in texts(lab.load(body).faults)] == ["port-wrong]"]
    assert "scope.py, line 3: " in texts(lab.load(body).faults)[0]


def test_a_broken_node_file_that_the_workflow_does_not_use_is_no_obstacle(lab: Lab) -> None:
    lab.write("broken.py", "import flame\nregister(\n")
    graph_of(lab.load('Scope("scope", rate=1.0)\n'))


def test_what_belongs_to_no_parameter_is_a_warning(lab: Lab) -> None:
    lab.write("parameters.json", '{\n "old": {"x": 1},\n "scope": {"rate": 1.0,\n  "power": 3}\n}')
    warnings: list[str] = []
    load_graph(lab.workflow('Scope("scope")\n'), None, warn=warnings.append)
    assert [warning.split("parameters.json")[1].split(";")[0] for warning in warnings] == [
        ", line 2: there is no flame node 'old'",
        ", line 4: scope/power is no parameter",
    ]


def test_a_value_for_an_input_that_is_joined_now_is_a_warning(lab: Lab) -> None:
    lab.write("parameters.json", '{"scope": {"gain": 2.0}}')
    warnings: list[str] = []
    body = 'lock = Lock("lock", target=None)\nlock.i.trace = Scope("scope", rate=1.0, gain=lock.o.error).o.trace\n'
    load_graph(lab.workflow(body), None, warn=warnings.append)
    assert len(warnings) == 1 and "scope/gain is no parameter" in warnings[0]


def test_a_ring_of_state_inputs_is_a_warning_and_a_flow_through_a_ring_is_none(lab: Lab) -> None:
    lab.write(
        "echo.py",
        """
        import flame
        node = flame.Node("Echo")
        node.inputs.state("seen", float)
        node.inputs.flow("heard", float, default=0.0)
        node.outputs.runtime("said", float)
        node.register()
        """,
    )
    head = "from flame import Workflow\nfrom flame_nodes import Echo\nwf = Workflow('w')\na, b = Echo('a'), Echo('b')\n"
    warnings: list[str] = []
    ring = lab.write("ring.py", head + "a.i.seen = b.o.said\nb.i.seen = a.o.said\n")
    load_graph(ring, None, warn=warnings.append)
    assert [warning.split(":")[0] for warning in warnings] == ["a → b → a"]
    flow = lab.write("flow.py", head + "a.i.heard = b.o.said\nb.i.seen = a.o.said\na.i.seen = 1.0\n")
    load_graph(flow, None, warn=warnings.append)
    assert len(warnings) == 1


def test_a_flame_node_of_another_workflow_must_be_taken_in(lab: Lab) -> None:
    body = """
        other = Workflow("other")
        far = Scope("far", rate=1.0)
        near = Lock("near", wf, target=None, trace=far.o.trace)
        """
    assert "the flame node 'far' belongs to another workflow" in texts(lab.load(body).faults)[0]


def test_values_without_a_form_in_json_reach_the_graph(lab: Lab) -> None:
    graph = graph_of(lab.load("import math\nScope('scope', rate=1.0, gain=math.inf)\n"))
    assert parameter(graph.node("scope"), "gain") == (math.inf, "workflow")


def test_a_value_that_flame_does_not_keep_is_a_fault_at_its_line(lab: Lab) -> None:
    (fault,) = (f for f in lab.load("Scope('scope', rate=1.0,\n      gain={1, 2})\n").faults if "set" in f.sentence)
    assert fault.place.endswith("workflow.py, line 4")


def test_what_the_workflow_prints_is_not_mixed_with_the_answer(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    graph_of(lab.load("print('hello')\nScope('scope', rate=1.0)\n"))
    seen = capfd.readouterr()
    assert (seen.out, seen.err) == ("", "hello\n")


def test_bug_05_the_parameters_file_wins_over_the_workflow_and_a_second_assignment_over_the_first(lab: Lab) -> None:
    body = 'scope = Scope("scope", rate=1.0, gain=2.0)\nscope.i.gain = 3.0\n'
    graph = graph_of(lab.load(body, '{"scope": {"rate": 4.0}}'))
    assert parameter(graph.node("scope"), "rate") == (4.0, "file")
    assert parameter(graph.node("scope"), "gain") == (3.0, "workflow")


def test_bug_06_a_null_in_the_parameters_file_hides_no_other_value(lab: Lab) -> None:
    graph = graph_of(lab.load('Scope("scope")\n', '{"scope": {"gain": null, "rate": 2.0}}'))
    assert parameter(graph.node("scope"), "rate") == (2.0, "file")
    assert parameter(graph.node("scope"), "gain") == (1.0, "default")


def test_bug_06_a_null_is_a_value_where_the_type_allows_none(lab: Lab) -> None:
    body = 'Lock("lock", target=5.0, trace=Scope("scope", rate=1.0).o.trace)\n'
    graph = graph_of(lab.load(body, '{"lock": {"target": null}}'))
    assert parameter(graph.node("lock"), "target") == (None, "file")


def test_bug_08_a_text_that_begins_with_a_hash_is_a_text(lab: Lab) -> None:
    body = 'Lock("lock", label="#/j41/a/b", target=None, trace=Scope("scope", rate=1.0).o.trace)\n'
    assert parameter(graph_of(lab.load(body)).node("lock"), "label") == ("#/j41/a/b", "workflow")
    graph = graph_of(lab.load(body, '{"lock": {"label": "#scope/trace"}}'))
    assert parameter(graph.node("lock"), "label") == ("#scope/trace", "file")


def test_bug_08_none_is_a_value_and_unset_is_none_of_it(lab: Lab) -> None:
    loaded = lab.load('Lock("lock", trace=Scope("scope", rate=1.0).o.trace)\n')
    assert "lock/target" in texts(loaded.faults)[0]
    body = 'Lock("lock", target=None, trace=Scope("scope", rate=1.0).o.trace)\n'
    assert parameter(graph_of(lab.load(body)).node("lock"), "target") == (None, "workflow")


def test_bug_15_a_parameter_of_a_removed_node_is_no_obstacle(lab: Lab) -> None:
    graph = graph_of(lab.load('Scope("scope")\n', '{"removed": {"x": 1}, "scope": {"rate": 2.0}}'))
    assert parameter(graph.node("scope"), "rate") == (2.0, "file")


def test_what_a_file_that_does_not_read_would_say_is_not_guessed(lab: Lab) -> None:
    (fault,) = lab.load('Scope("scope")\n', "{").faults
    assert fault.code == Code.PARAMETERS_MALFORMED


def test_bug_16_a_workflow_in_another_folder_works_with_node_files_in_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path / "sub")
    lab.nodes()
    (lab.folder / "devices").mkdir()
    (lab.folder / "scope.py").rename(lab.folder / "devices" / "scope.py")
    lab.workflow('import helper\nScope("scope", rate=helper.RATE)\n')
    lab.write("helper.py", "RATE = 2.0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")  # the interpreter that runs is used, no `python3` of another
    graph = load_graph(Path("sub/workflow.py"), None)
    assert graph.node("scope").file == str(lab.folder / "devices" / "scope.py")


def test_bug_17_references_move_with_a_workflow_that_is_taken_in(lab: Lab) -> None:
    body = """
        with Workflow("calibration") as calibration:
            scope = Scope("scope", rate=1.0)
            lock = Lock("lock", trace=scope.o.trace.as_latest(2), target=None)
            scope.i.gain = lock.o.error
            calibration.stop_when(lock.o.done)
        one = wf.include(calibration, "one")
        wf.include(calibration, "two")
        Lock("outer", trace=one.scope.o.trace, target=None)
        """
    graph = graph_of(lab.load(body))
    assert [node.name for node in graph.nodes] == ["one_scope", "one_lock", "two_scope", "two_lock", "outer"]
    edges = {(edge.source, edge.target, edge.policy) for edge in graph.edges}
    assert edges == {
        ("one_scope", "one_lock", "latest"),
        ("one_lock", "one_scope", "latest"),
        ("two_scope", "two_lock", "latest"),
        ("two_lock", "two_scope", "latest"),
        ("one_scope", "outer", "block"),
    }
    assert graph.stop_when == (("one_lock", "done"), ("two_lock", "done"))


def test_a_class_that_two_files_declare_is_a_fault_with_both_files_and_lines_where_it_is_used(lab: Lab) -> None:
    lab.write("twin.py", "import flame\n\nnode = flame.Node('Scope')\nnode.register()\n")
    told = "twin.py, line 3: it declares a flame node Scope, as scope.py, line 2 does [node-file-wrong]"
    assert texts(lab.load("scope = Scope('scope', rate=2)\n").faults) == [told]
    assert texts(lab.load("lock = Lock('lock', target=None)\n").structure_faults) == []


@pytest.mark.parametrize(
    ("second", "line", "fault"),
    [
        ("node.register(", 3, "SyntaxError: '(' was never closed"),
        ("raise ValueError('no driver')", 3, "ValueError: no driver"),
    ],
)
def test_a_broken_node_file_is_told_once_and_not_at_the_import_of_its_class(
    lab: Lab, second: str, line: int, fault: str
) -> None:
    lab.write("probe.py", f"import flame\nnode = flame.Node('Probe')\n{second}\nnode.register()\n")
    loaded = load(lab.write("workflow.py", "from flame import Workflow\nfrom flame_nodes import Probe\n"))
    (told,) = texts(loaded.faults)
    assert told.endswith(f"probe.py, line {line}: {fault} [node-file-wrong]")


@pytest.mark.parametrize("use", ["from flame_nodes import Scop", "import flame_nodes\nflame_nodes.Scop('scope')"])
def test_a_class_that_no_file_declares_is_told_with_the_nearest(lab: Lab, use: str) -> None:
    loaded = load(lab.write("workflow.py", f"from flame import Workflow\nwf = Workflow('lab')\n{use}\n"))
    (told,) = loaded.faults
    assert told.sentence == "no node file declares a flame node 'Scop'"
    assert told.next_step.startswith("did you mean Scope? ")


@pytest.mark.parametrize(
    ("line", "sentence", "step"),
    [
        ("scope.rate = 2", "Scope scope takes nothing under the name 'rate'", "write scope.i.rate = …"),
        ("scope.speed = 2", "Scope scope takes nothing under the name 'speed'", "its inputs are rate, gain: scope.i.…"),
        (
            "scope.o.count = 2",
            "Scope scope was given a value for its output 'count'",
            "outputs are set by the flame node",
        ),
        ("Scope('b', 2)", "2 is no workflow for 'b'", "write inputs by their names"),
        ("scope.i.gain = scope.o.count.as_latest(10**12)", "1000000000000 values cannot wait", "write a whole number"),
        ("raise SystemExit('no')", "it ended itself with 'no'", "leave out the call of exit()"),
    ],
)
def test_a_slip_that_would_reach_nothing_is_told_at_its_line(lab: Lab, line: str, sentence: str, step: str) -> None:
    (fault,) = lab.load(f"scope = Scope('scope', rate=2)\n{line}\n").structure_faults
    assert fault.sentence.startswith(sentence) and fault.next_step.startswith(step)
    assert fault.place == "workflow.py, line 5"


def test_an_output_that_is_sought_at_the_flame_node_is_told_with_its_place(lab: Lab) -> None:
    (fault,) = lab.load("scope = Scope('scope', rate=2)\nlock = Lock('lock', trace=scope.trace)\n").structure_faults
    assert fault.text == "workflow.py, line 5: AttributeError: Scope has no attribute 'trace': write .o.trace"


def test_what_a_broken_node_file_declared_before_is_no_second_fault(lab: Lab) -> None:
    lab.write("scope.py", "import flame\nnode = flame.Node('Scope')\n1 / 0\nnode.register()\n")
    (told,) = texts(lab.load("scope = Scope('scope')\n").faults)  # rate had no default
    assert told.endswith("scope.py, line 3: ZeroDivisionError: division by zero [node-file-wrong]")


def test_a_workflow_without_flame_nodes_is_noted(lab: Lab) -> None:
    told: list[str] = []
    load(lab.workflow(""), warn=told.append).checked()
    assert told == ["the workflow has no flame nodes"]


def test_pipes_in_the_place_of_files_are_not_waited_for(lab: Lab) -> None:
    os.mkfifo(lab.folder / "pipe.py")
    os.mkfifo(lab.folder / "parameters.json")
    (told,) = texts(lab.load("Scope('scope', rate=2)\n").faults)
    assert told.endswith("parameters.json: it is no file [parameters-malformed]")


def test_more_flame_nodes_than_a_run_takes_are_a_fault_of_the_check(lab: Lab) -> None:
    (fault,) = lab.load("for n in range(257):\n    Scope(f'n{n}', rate=2)\n").structure_faults
    assert (fault.sentence, fault.place) == (
        "the workflow has 257 flame nodes; a run takes 256",
        "workflow.py, line 5",
    )
