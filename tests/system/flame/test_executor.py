"""Runs of real processes: each ends in a named state, says why, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from flame.limits import LOG_TOLD_BYTES
from flame.run.run_record import RunResult, read_document, read_result
from tests.flame.runs import AT_ONCE, TO_THE_END, graph, graph_node
from tests.system.flame.executions import PID, Execution, wait_gone
from tests.system.processes import is_alive, wait_until

pytestmark = pytest.mark.system

LOOP = PID + TO_THE_END
STOPPER = PID + "link = Link()\nlink.stop_run('enough')\nwhile link.active():\n    pass\nlink.bye()\n"
CRASHES = PID + "link = Link()\n\n\ndef measure():\n    return 1 / 0\n\n\nmeasure()\n"


def two(folder: Path, first: str, second: str) -> Execution:
    """A run of flame nodes `a` and `b`, of these programs."""
    return Execution(folder, graph(folder, graph_node(folder, "a", first), graph_node(folder, "b", second)))


def ends(result: RunResult) -> dict[str, str]:
    return {name: node.end for name, node in result.nodes.items()}


def test_a_run_goes_from_start_to_end_and_is_written_down(tmp_path: Path) -> None:
    execution = Execution(
        tmp_path, graph(tmp_path, graph_node(tmp_path, "a", STOPPER), graph_node(tmp_path, "b", LOOP))
    )
    result = execution.end()
    assert (result.end, result.reason, result.exit_code) == ("stopped", "enough", 0)
    assert ends(result) == {"a": "stopped", "b": "stopped"}
    run = execution.run()
    document = read_document(run.document.read_bytes())
    assert read_result(run.result.read_bytes()) == result
    assert (document.id, document.alias) == (result.id, "j1")
    assert {source.name for source in document.provenance.sources} == {"workflow.py", "a.py", "b.py"}
    assert (run.sources / "a.py").read_bytes() == (tmp_path / "a.py").read_bytes()
    assert document.provenance.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert not run.shared.exists()


def test_flame_nodes_that_all_end_by_themselves_have_succeeded(tmp_path: Path) -> None:
    result = Execution(tmp_path, graph(tmp_path, *(graph_node(tmp_path, name, AT_ONCE) for name in "ab"))).end()
    assert (result.end, ends(result)) == ("succeeded", {"a": "succeeded", "b": "succeeded"})


def test_bug_12_a_flame_node_that_crashes_stops_the_others_and_the_exit_code_is_1(tmp_path: Path) -> None:
    execution = Execution(
        tmp_path, graph(tmp_path, graph_node(tmp_path, "a", CRASHES), graph_node(tmp_path, "b", LOOP))
    )
    result = execution.end()
    line = (tmp_path / "a.py").read_text().splitlines().index("    return 1 / 0") + 1
    assert result.nodes["a"].problem == f"a.py:{line}: ZeroDivisionError: division by zero"
    assert result.reason == f"a: {result.nodes['a'].problem}"
    assert (result.end, result.exit_code, ends(result)) == ("failed", 1, {"a": "failed", "b": "stopped"})
    assert result.nodes["a"].exit_code == 1


BEFORE_REGISTER = [
    ("raise OSError('no laser')\n", "failed", "OSError: no laser"),
    ("import nothing_of_this_name\n", "failed", "ModuleNotFoundError"),
    ("def f(:\n", "failed", "SyntaxError"),
    ("import time\ntime.sleep(60)\n", "hung", "did not come to register() within 3 s"),
    ("pass\n", "failed", "ended before it came to register()"),
    ("raise SystemExit(3)\n", "failed", "exit code 3"),
    ("import os\nos._exit(0)\n", "failed", "ended before it came to register()"),
    ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "killed", "signal 11"),
]


@pytest.mark.parametrize(("text", "end", "problem"), BEFORE_REGISTER)
def test_a_program_that_does_not_come_to_register_ends_the_run_with_its_line(
    tmp_path: Path, text: str, end: str, problem: str
) -> None:
    execution = two(tmp_path, text, LOOP)
    result = execution.end()
    assert result.end == "failed"
    assert ends(result) == {"a": end, "b": "never-started"}
    assert problem in result.nodes["a"].problem
    if "Error" in problem:
        assert result.nodes["a"].problem.startswith("a.py:2: ")


@pytest.mark.parametrize("restart", ["never", "always"])
def test_a_flame_node_that_declares_other_than_was_checked_ends_the_run_before_its_start(
    tmp_path: Path, restart: str
) -> None:
    changed = PID + (
        "from flame.ports import InputPort\n"
        "Link.inputs = (InputPort('gain', 'state'),)\n"
        "link = Link()\n"
        "pathlib.Path('ran').touch()\n"
    )
    nodes = (graph_node(tmp_path, "a", changed, restart=restart), graph_node(tmp_path, "b", LOOP))
    result = Execution(tmp_path, graph(tmp_path, *nodes)).end()
    assert (result.end, ends(result)) == ("failed", {"a": "failed", "b": "never-started"})
    assert result.reason.startswith("a: node-file-wrong: a.py declares other than when the workflow was checked")
    assert "input 'gain' is new" in result.reason and "Next: " in result.reason and "`flame check`" in result.reason
    assert result.nodes["a"].restarts == 0 and not (tmp_path / "ran").exists()


def test_a_flame_node_that_is_stopped_by_the_system_has_hung(tmp_path: Path) -> None:
    execution = two(tmp_path, LOOP, LOOP)
    execution.wait_for("running")
    os.kill(execution.pid("a"), signal.SIGSTOP)
    result = execution.end()
    assert ends(result) == {"a": "hung", "b": "stopped"}
    assert "no sign of life" in result.nodes["a"].problem


def test_a_flame_node_that_computes_has_not_hung(tmp_path: Path) -> None:
    busy = "import time\nlink = Link()\nuntil = time.monotonic() + 7\nwhile time.monotonic() < until:\n    pass\n"
    result = Execution(tmp_path, graph(tmp_path, graph_node(tmp_path, "a", busy + "link.bye()\n"))).end()
    assert (result.end, ends(result)) == ("succeeded", {"a": "succeeded"})


def test_an_executor_that_was_stopped_by_ctrl_z_goes_on_with_its_flame_nodes(tmp_path: Path) -> None:
    execution = two(tmp_path, LOOP, LOOP)
    execution.wait_for("running")
    pids = execution.pid("a"), execution.pid("b")
    os.kill(execution.process.pid, signal.SIGSTOP)
    time.sleep(5.0)  # twice as long as beats may be missed
    os.kill(execution.process.pid, signal.SIGCONT)
    time.sleep(1.0)
    assert all(map(is_alive, pids))
    os.kill(execution.process.pid, signal.SIGTERM)
    assert ends(execution.end()) == {"a": "stopped", "b": "stopped"}


def test_a_flame_node_that_is_killed_is_started_anew_while_the_others_run(tmp_path: Path) -> None:
    waits = PID + (
        "link = Link()\n"
        "if link.wire.restarts:\n"
        "    link.stop_run(f'restart {link.wire.restarts}')\n"
        "while link.active():\n"
        "    pass\n"
        "link.bye()\n"
    )
    nodes = (graph_node(tmp_path, "a", waits, restart="on-failure"), graph_node(tmp_path, "b", LOOP))
    execution = Execution(tmp_path, graph(tmp_path, *nodes))
    execution.wait_for("running")
    others = execution.pid("b")
    os.kill(execution.pid("a"), signal.SIGKILL)
    result = execution.end()
    assert (result.end, result.reason) == ("stopped", "restart 1")
    assert result.nodes["a"].restarts == 1 and result.nodes["b"].restarts == 0
    assert execution.pid("b") == others


def test_a_run_is_stopped_at_its_limit(tmp_path: Path) -> None:
    result = Execution(tmp_path, graph(tmp_path, graph_node(tmp_path, "a", LOOP)), "1.5").end()
    assert (result.end, result.exit_code, ends(result)) == ("timed-out", 1, {"a": "stopped"})


# --- nothing is left behind ------------------------------------------------------------

PARENT = PID + (
    "import subprocess\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "pathlib.Path('child.pid').write_text(str(child.pid))\n"
)


def test_what_a_flame_node_started_ends_with_it(tmp_path: Path) -> None:
    execution = Execution(tmp_path, graph(tmp_path, graph_node(tmp_path, "a", PARENT + AT_ONCE)))
    assert execution.end().end == "succeeded"
    wait_gone(execution.pid("child"))


@pytest.mark.parametrize("hangs", [False, True])
def test_bug_13_kill_9_of_the_executor_leaves_no_process_behind(tmp_path: Path, hangs: bool) -> None:
    text = PARENT + ("import time\ntime.sleep(60)\n" if hangs else TO_THE_END)
    execution = two(tmp_path, text, LOOP)
    pids = execution.pid("a"), execution.pid("b"), execution.pid("child")
    if not hangs:
        execution.wait_for("running")
    execution.process.kill()
    execution.process.communicate(timeout=5)
    wait_gone(*pids)


@pytest.mark.parametrize("killed", [False, True])
def test_what_lies_in_memory_goes_with_the_run_though_its_executor_is_killed(tmp_path: Path, killed: bool) -> None:
    execution = Execution(tmp_path, graph(tmp_path, graph_node(tmp_path, "a", LOOP)))
    execution.wait_for("running")
    shared = execution.run().shared.resolve()
    assert shared.is_relative_to("/dev/shm") and shared.stat().st_mode & 0o777 == 0o700
    (shared / "payload").touch()
    if killed:
        execution.process.kill()
        execution.process.communicate(timeout=5)
    else:
        os.kill(execution.process.pid, signal.SIGTERM)
        execution.end()
        assert not execution.run().shared.is_symlink()
    wait_until(lambda: not shared.exists(), 5.0)


def test_a_guard_that_is_killed_is_replaced(tmp_path: Path) -> None:
    execution = Execution(tmp_path, graph(tmp_path, graph_node(tmp_path, "a", PARENT + TO_THE_END)))
    execution.wait_for("running")
    (first,) = guards(execution.process.pid)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: guards(execution.process.pid) not in ([], [first]))
    pids = execution.pid("a"), execution.pid("child"), *guards(execution.process.pid)
    execution.process.kill()
    execution.process.communicate(timeout=5)
    wait_gone(*pids)


def guards(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_text()
        except OSError:
            continue
        if int(words[1]) == parent and "flame_guard" in command and words[0] != "Z":
            found.append(int(entry.name))
    return found


def test_bug_13_two_runs_at_once_do_not_meet(tmp_path: Path) -> None:
    nodes = graph(tmp_path, graph_node(tmp_path, "a", LOOP), graph_node(tmp_path, "b", LOOP))
    first = Execution(tmp_path, nodes)
    first.wait_for("running")
    second = Execution(tmp_path, nodes)
    second.wait_for("running")
    os.kill(first.process.pid, signal.SIGTERM)
    assert (first.end().alias, second.process.poll()) == ("j1", None)
    os.kill(second.process.pid, signal.SIGTERM)
    result = second.end()
    assert (result.alias, result.end, ends(result)) == ("j2", "stopped", {"a": "stopped", "b": "stopped"})


def test_a_run_has_one_executor(tmp_path: Path) -> None:
    nodes = graph(tmp_path, graph_node(tmp_path, "a", LOOP))
    first = Execution(tmp_path, nodes)
    first.wait_for("running")
    assert (
        f"run j1 is in progress: in use by process {first.process.pid}"
        in Execution(tmp_path, nodes, "resume", "j1").refusal()
    )
    os.kill(first.process.pid, signal.SIGTERM)
    assert first.end().end == "stopped"


# --- taken up again ------------------------------------------------------------

ONCE = PID + "link = Link()\nwhile link.wire.restarts == 0 and link.active():\n    pass\nlink.bye()\n"


def broken_off(folder: Path) -> Execution:
    execution = Execution(folder, graph(folder, graph_node(folder, "a", ONCE), graph_node(folder, "b", ONCE)))
    execution.wait_for("running")
    execution.process.kill()
    execution.process.communicate(timeout=5)
    assert not execution.run().result.exists()
    return execution


def test_a_run_whose_executor_was_killed_is_resumed(tmp_path: Path) -> None:
    broken = broken_off(tmp_path)
    nodes = read_document(broken.run().document.read_bytes()).graph
    result = Execution(tmp_path, nodes, "resume", "j1").end()
    assert (result.end, result.alias, ends(result)) == ("succeeded", "j1", {"a": "succeeded", "b": "succeeded"})
    assert read_document(broken.run().document.read_bytes()).resumes == 1
    assert "it has succeeded" in Execution(tmp_path, nodes, "resume", "j1").refusal()


def test_a_run_whose_code_has_changed_is_not_resumed(tmp_path: Path) -> None:
    nodes = read_document(broken_off(tmp_path).run().document.read_bytes()).graph
    with (tmp_path / "a.py").open("a") as file:
        file.write("# another\n")
    assert "a.py has changed" in Execution(tmp_path, nodes, "resume", "j1").refusal()


# --- stopped in order ------------------------------------------------------------

AFTER_LOOP = LOOP + "pathlib.Path('after').write_text('safe')\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_bug_14_the_code_below_the_loop_runs_when_the_run_is_stopped(tmp_path: Path, number: int) -> None:
    execution = Execution(tmp_path, graph(tmp_path, graph_node(tmp_path, "a", AFTER_LOOP)))
    execution.wait_for("running")
    os.kill(execution.process.pid, number)
    result = execution.end()
    assert result.end == ("interrupted" if number == signal.SIGINT else "stopped")
    assert ends(result) == {"a": "stopped"}
    assert (tmp_path / "after").read_text() == "safe"


def test_ctrl_c_twice_kills(tmp_path: Path) -> None:
    deaf = PID + "link = Link()\nwhile True:\n    link.active()\n"
    execution = Execution(tmp_path, graph(tmp_path, graph_node(tmp_path, "a", deaf)))
    execution.wait_for("running")
    began = time.monotonic()
    os.kill(execution.process.pid, signal.SIGINT)
    execution.wait_for("stopping")
    os.kill(execution.process.pid, signal.SIGINT)
    result = execution.end()
    assert time.monotonic() - began < 2.5
    assert (result.end, result.exit_code, ends(result)) == ("interrupted", 1, {"a": "killed"})
    assert "second Ctrl-C" in result.nodes["a"].problem


# --- safe programs (L11) ------------------------------------------------------------

SAFE = "import os, pathlib\nwith pathlib.Path('calls').open('a') as file:\n    file.write('safe ')\n"
CALLS = PID + "with pathlib.Path('calls').open('a') as file:\n    file.write('run ')\n"


def test_the_safe_program_runs_after_an_unclean_death_and_before_the_restart(tmp_path: Path) -> None:
    (tmp_path / "off.py").write_text(SAFE)
    text = CALLS + "link = Link()\nif link.wire.restarts == 0:\n    os.kill(os.getpid(), 9)\nlink.bye()\n"
    node = graph_node(tmp_path, "a", text, safe="off.py", restart="on-failure")
    assert Execution(tmp_path, graph(tmp_path, node)).end().end == "succeeded"
    assert (tmp_path / "calls").read_text() == "run safe run "


def test_kill_9_of_the_executor_leaves_its_hardware_safe_and_a_resume_makes_sure(tmp_path: Path) -> None:
    (tmp_path / "off.py").write_text(SAFE)
    nodes = graph(tmp_path, graph_node(tmp_path, "a", CALLS + ONCE, safe="off.py"))
    execution = Execution(tmp_path, nodes)
    execution.wait_for("running")
    execution.process.kill()
    execution.process.communicate(timeout=5)
    wait_until(lambda: (tmp_path / "calls").read_text() == "run safe ")
    assert Execution(tmp_path, nodes, "resume", "j1").end().end == "succeeded"
    assert (tmp_path / "calls").read_text() == "run safe safe run "


def test_a_run_is_not_taken_up_while_its_hardware_is_made_safe(tmp_path: Path) -> None:
    wait = "import pathlib, time\nwhile not pathlib.Path('go').exists():\n    time.sleep(0.02)\n"
    (tmp_path / "off.py").write_text(wait + SAFE)
    nodes = graph(tmp_path, graph_node(tmp_path, "a", CALLS + ONCE, safe="off.py"))
    execution = Execution(tmp_path, nodes)
    execution.wait_for("running")
    execution.process.kill()
    execution.process.communicate(timeout=5)
    assert "run j1 is in progress" in Execution(tmp_path, nodes, "resume", "j1").refusal()
    (tmp_path / "go").touch()
    wait_until(lambda: (tmp_path / "calls").read_text() == "run safe ")


# --- where and how programs run ------------------------------------------------------------

TELLS = PID + (
    "import json\n"
    "facts = [sys.executable, os.getcwd(), os.environ.get('PYTHONPATH'), os.getpgid(0) == os.getpid()]\n"
    "pathlib.Path('facts').write_text(json.dumps(facts))\n"
)


def test_bug_16_programs_run_in_the_folder_of_the_workflow_by_this_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/tmp/of-the-user")
    folder = tmp_path / "sub" / "deep"
    (folder / "nodes").mkdir(parents=True)
    node = graph_node(folder / "nodes", "a", TELLS + AT_ONCE)
    assert Execution(folder, graph(folder, node)).end().end == "succeeded"
    assert json.loads((folder / "facts").read_text()) == [sys.executable, str(folder), "/tmp/of-the-user", True]


def test_bug_19_no_name_reaches_a_shell_and_no_port_is_opened(tmp_path: Path) -> None:
    name = "a'; touch gone; $(touch gone) \"b"
    looks = PID + (
        "link = Link()\n"
        "endpoint = os.environ['FLAME_CONTROL']\n"
        "folder = pathlib.Path(endpoint.removeprefix('ipc://')).parent\n"
        "assert endpoint.startswith('ipc://') and len(endpoint) <= 113, endpoint\n"
        "assert folder.stat().st_mode & 0o777 == 0o700, folder\n"
        "link.bye()\n"
    )
    node = graph_node(tmp_path, name, looks)
    execution = Execution(tmp_path, graph(tmp_path, node))
    result = execution.end()
    assert (result.end, result.reason) == ("succeeded", "every flame node has ended")
    assert not (tmp_path / "gone").exists()


def test_a_flame_node_that_prints_without_end_is_named_in_the_result(tmp_path: Path) -> None:
    floods = f"os.ftruncate(1, {LOG_TOLD_BYTES} + 1)\n"
    execution = Execution(tmp_path, graph(tmp_path, graph_node(tmp_path, "a", PID + floods + AT_ONCE)))
    (note,) = execution.end().nodes["a"].notes
    assert note.startswith("it printed 256 MiB") and note.endswith("logs/a.txt")


def test_what_a_flame_node_prints_is_in_its_log_at_once(tmp_path: Path) -> None:
    text = PID + "link = Link()\nprint('begun')\nprint('careful', file=sys.stderr)\n" + TO_THE_END.partition("\n")[2]
    execution = Execution(tmp_path, graph(tmp_path, graph_node(tmp_path, "a", text)))
    log = execution.run().log("a")
    wait_until(lambda: log.exists() and log.read_text() == "begun\ncareful\n")
    assert is_alive(execution.pid("a"))
    os.kill(execution.process.pid, signal.SIGTERM)
    assert execution.end().end == "stopped"
