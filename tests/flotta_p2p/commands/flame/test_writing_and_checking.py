"""`new`, `generate`, `check`, `graph`, `params`, and the help of all commands of flame."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from flame.authoring.generate import generate
from flotta_p2p import exit_codes
from flotta_p2p.commands.flame import flame
from tests.flame.labs import Lab


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lab = Lab(tmp_path_factory.mktemp("lab")).nodes()
    generate(lab.folder)
    return lab.folder


@pytest.fixture
def lab(tmp_path: Path, described: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    shutil.copytree(described, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Lab(tmp_path)


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        flame.main(list(words), "flame")
    said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    assert "Traceback" not in said.err
    return ended.value.code, said.out, said.err


def names() -> list[str]:
    return flame.list_commands(click.Context(flame))


@pytest.mark.parametrize("name", names())
def test_each_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, name, "--help")
    assert code == 0
    assert f"  flame {name}" in out.partition("Example")[2]


def test_the_same_commands_stand_below_flotta_p2p() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "flotta_p2p", "flame", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert all(f"\n  {name} " in ended.stdout for name in names())


def test_knowing_the_commands_loads_none_of_them() -> None:
    program = (
        "import sys, flotta_p2p.commands.flame as f;"
        "print([name for name in sys.modules if name.startswith(('flame', 'flotta_p2p.commands.flame.', 'numpy'))])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == "[]"


def test_an_unknown_command_is_told_by_the_name_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "chek")
    assert code == exit_codes.USAGE
    assert err.startswith("flame: No such command 'chek'")


# --- check -------------------------------------------------------------------------------------

GOOD = 'scope = Scope("scope", rate=1.0)\nlock = Lock("lock", trace=scope.o.trace, target=5.0)\n'
BAD = 'scope = Scope("scope", rat=1.0)\nlock = Lock("lock", trace=scope.o.count, target=5.0)\n'


def test_check_says_what_a_sound_workflow_is(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.workflow(GOOD)
    code, out, err = call(capsys, "check")
    assert (code, err) == (0, "")
    assert out == "lab: 2 flame nodes, 1 edge, 4 parameters; nothing is wrong.\n"


def test_check_tells_every_fault_with_its_line_and_code(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.workflow(BAD)
    code, out, err = call(capsys, "check")
    assert (code, out) == (exit_codes.DATA, "")
    lines = err.splitlines()
    assert lines[0] == "flame: 3 faults:"
    assert "workflow.py, line 4: Scope has no input 'rat'. Next: did you mean 'rate'?" in lines[1]
    assert "[wiring-wrong]" in lines[1] and "[wiring-wrong]" in lines[2] and "[parameter-missing]" in lines[3]


def test_check_gives_programs_each_fault_apart(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.workflow(BAD)
    code, out, _ = call(capsys, "check", "--json")
    assert code == exit_codes.DATA
    error: dict[str, Any] = json.loads(out)["error"]
    assert error["code"] == "wiring-wrong"
    assert [fault["code"] for fault in error["faults"]] == ["wiring-wrong", "wiring-wrong", "parameter-missing"]
    assert error["faults"][0]["place"].endswith("workflow.py, line 4")


def test_bug_15_a_broken_parameters_file_is_told_and_never_changed(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.workflow(GOOD)
    file = lab.write("parameters.json", '{"scope": {"rate": 1.0,}}\n')
    for command in ("check", "params"):
        code, out, err = call(capsys, command)
        assert (code, out) == (exit_codes.DATA, "")
        assert "parameters.json, line 1, column " in err and "[parameters-malformed]" in err
    assert file.read_text() == '{"scope": {"rate": 1.0,}}\n'


def test_bug_16_a_failing_generator_has_a_failing_exit_code(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.write("broken.py", "import flame\nregister(\n")
    code, _, err = call(capsys, "generate")
    assert code == exit_codes.DATA
    assert "broken.py, line 2: SyntaxError" in err


def test_generate_says_what_it_made(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "generate")
    assert (code, out) == (0, "Lock: lock.py\nScope: scope.py\nNothing of it changed.\n")
    (lab.folder / "lock.py").unlink()
    code, out, _ = call(capsys, "generate", "--json")
    assert json.loads(out)["classes"] == {"Scope": "scope.py"}
    assert json.loads(out)["removed"] == ["_Lock.py", "_Lock.pyi"]


# --- graph -------------------------------------------------------------------------------------


def test_graph_shows_what_is_joined(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.workflow(
        GOOD + "lock.restart('always')\nwf.stop_when(lock.o.done)\nlock.i.trace = scope.o.trace.as_latest(2)\n"
    )
    code, out, _ = call(capsys, "graph")
    assert code == 0
    assert "lock (Lock), restarts always, at most 3 times in 300 s" in out
    assert "  ◀ trace ← scope.trace  [latest(2), × 1000]" in out
    assert "  ▶ trace: permanent f8[4] in V → lock.trace" in out
    assert "  ▶ done: runtime bool → stops the run" in out
    assert "  ◀ rate = 1.0 MHz  (workflow)" in out


def test_graph_is_drawn_while_parameters_are_missing(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.workflow('Scope("scope")\n')
    code, out, _ = call(capsys, "graph")
    assert code == 0
    assert "  ◀ rate = missing" in out


def test_graph_as_dot_quotes_names(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.workflow(GOOD + "wf.name = 'a \"b\"'\n")
    code, out, _ = call(capsys, "graph", "--dot")
    assert code == 0
    assert out.splitlines()[0] == 'digraph "a \\"b\\"" {'
    assert '  "scope" -> "lock" [label="trace"];' in out


# --- params ------------------------------------------------------------------------------------


def test_params_lists_origins_and_writes_what_is_missing(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.workflow('Scope("scope")\n')
    file = lab.write("parameters.json", '{"scope": {"gain": 2.0}, "old": {"x": 1}}')
    code, out, _ = call(capsys, "params")
    assert code == 0
    rows = [line.split() for line in out.splitlines()[1:3]]
    assert rows == [["scope/rate", "MHz", "float", "missing", "samples"], ["scope/gain", "2.0", "float", "file"]]
    assert json.loads(file.read_text()) == {
        "scope": {"gain": 2.0, "rate": {"$missing": "state float in MHz, from 0 to 10: samples"}},
        "_unused": {"old": {"x": 1}},
    }
    assert "1 without a value" in out


def test_params_only_shows_when_told_so(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.workflow('Scope("scope")\n')
    code, out, _ = call(capsys, "params", "--dry", "--json")
    assert code == 0
    found = json.loads(out)
    assert [(one["input"], one["origin"]) for one in found["parameters"]] == [("rate", "missing"), ("gain", "default")]
    assert not found["written"]
    assert not (lab.folder / "parameters.json").exists()


def test_params_does_not_touch_the_file_while_the_workflow_is_wrong(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.workflow('raise ValueError("no")\n')
    file = lab.write("parameters.json", '{"scope": {"gain": 2.0}}')
    code, _, err = call(capsys, "params")
    assert code == exit_codes.DATA
    assert "workflow.py, line 4: ValueError: no" in err
    assert file.read_text() == '{"scope": {"gain": 2.0}}'


# --- new ---------------------------------------------------------------------------------------


def test_a_new_workflow_is_sound_and_its_node_files_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capsys, "new", "workflow", "rabi")
    assert code == 0
    assert "Next: cd rabi; flame run" in out
    code, out, _ = call(capsys, "check", "rabi/workflow.py")
    assert (code, "nothing is wrong" in out) == (0, True)
    for file in ("scan.py", "drift.py"):
        subprocess.run([sys.executable, file], cwd=tmp_path / "rabi", timeout=60, check=True, capture_output=True)


def test_a_new_node_file_runs_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capsys, "new", "node", "LaserLock")
    assert (code, out.splitlines()) == (0, ["Made laser_lock.py.", "Next: python laser_lock.py"])
    subprocess.run([sys.executable, "laser_lock.py"], cwd=tmp_path, timeout=60, check=True, capture_output=True)
    assert list(generate(tmp_path).kinds) == ["LaserLock"]


@pytest.mark.parametrize("name", ["Signal", "Math", "Flame"])
def test_a_new_node_file_hides_no_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, "new", "node", name)
    assert code == exit_codes.USAGE and f"{name.lower()}.py would hide a module" in err
    assert not list(tmp_path.iterdir())


def test_new_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.py").write_text("mine")
    code, _, err = call(capsys, "new", "workflow")
    assert code == exit_codes.USAGE
    assert "scan.py exists already" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.py"]
    code, _, err = call(capsys, "new", "node", "../x")
    assert code == exit_codes.USAGE
