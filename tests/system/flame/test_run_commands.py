"""`flame run`, `resume`, `ps`, `stop`, `logs`, as they are typed, with flame nodes of the node library."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from unittest.mock import Mock

import pytest

from flame.journal import Journal, JournalReader
from flame.run import dropping
from flame.run.run_folder import RunFolder
from flame.run.run_record import read_result
from flame.values import encode
from flotta_p2p.commands.flame import flame
from tests.system.flame.counting import COUNTER, ENDLESS, RESTART, SUM, WORKFLOW, check_whole, laboratory, values
from tests.system.flame.laboratory import Laboratory
from tests.system.processes import wait_until

pytestmark = pytest.mark.system


def test_a_run_ends_with_its_values_in_the_archive(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    typed = lab.type("run")
    assert typed.returncode == 0, typed.stderr
    assert "j1 succeeded after" in typed.stdout and f"archive: {lab.run().archive}" in typed.stdout
    check_whole(lab.run(), 20)


def test_the_result_is_all_that_json_prints(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    typed = lab.type("run", "--json")
    result = json.loads(typed.stdout)
    assert (result["end"], result["alias"], result["archive"], typed.stderr) == ("succeeded", "j1", "j1.h5", "")
    assert result["nodes"]["sum"]["inputs"]["number"]["received"] == 20
    assert result == json.loads(lab.run().result.read_bytes())


def test_bug_12_a_run_that_fails_says_where_and_ends_with_code_1(tmp_path: Path) -> None:
    lab = Laboratory(
        tmp_path, WORKFLOW.format(last=ENDLESS, pause=0.01, more=""), counter=COUNTER, sum=SUM.replace("+=", "/= 0 *")
    )
    line = (tmp_path / "sum.py").read_text().splitlines().index("    memory.total /= 0 * record.value") + 1
    typed = lab.type("run")
    assert typed.returncode == 1
    assert f"run j1 failed: sum: sum.py:{line}: ZeroDivisionError" in typed.stderr
    assert "Next: `flame logs j1 sum`" in typed.stderr and "[run-failed]" in typed.stderr
    assert (tmp_path / "below").read_text() == "the loop"
    assert "ZeroDivisionError" in lab.type("logs", "j1", "sum").stdout
    assert values(lab.run(), "counter/count")[:2] == [1, 2]


TARGET = """
    import flame
    node = flame.Node("Target")
    node.outputs.runtime("target", float)
    node.register()
    node.outputs.set(target=0.5)
"""
HOLDS = """
    import os, pathlib
    import flame
    node = flame.Node("Holds")
    target = node.inputs.state("target", float)
    held = node.outputs.permanent("held", float)
    node.register()
    node.outputs.set(held=target.get())
    if not pathlib.Path("killed").exists():
        pathlib.Path("killed").touch()
        os.kill(os.getpid(), 9)
"""
HOLDING = """
    from flame import Workflow
    from flame_nodes import Holds, Target
    wf = Workflow("holding", "")
    target = Target("target")
    holds = Holds("holds", target=target.o.target)
    holds.restart("on-failure", max=3)
"""


def test_one_that_is_started_anew_finds_a_runtime_state_that_will_not_be_set_again(tmp_path: Path) -> None:
    lab = Laboratory(tmp_path, HOLDING, target=TARGET, holds=HOLDS)
    result = lab.json("run")
    assert (result["end"], result["nodes"]["holds"]["restarts"]) == ("succeeded", 1)
    assert values(lab.run(), "holds/held") == [0.5, 0.5]


def test_a_declaration_that_follows_a_file_which_changed_since_the_check_ends_the_run(tmp_path: Path) -> None:
    depends = """
        import pathlib
        import flame
        looks = pathlib.Path("looks")
        looks.write_text(looks.read_text() + "x" if looks.exists() else "x")
        node = flame.Node("Target")
        node.outputs.runtime("target", float, unit="V" if len(looks.read_text()) < 2 else "mV")
        node.register()
        node.outputs.set(target=0.5)
    """
    only = "from flame import Workflow\nfrom flame_nodes import Target\nwf = Workflow('only', '')\nTarget('target')\n"
    typed = Laboratory(tmp_path, only, target=depends).type("run")
    assert typed.returncode == 1
    assert "node-file-wrong: target.py declares other" in typed.stderr
    assert """output 'target' has unit "mV", and had "V\"""" in typed.stderr


def test_bug_14_ctrl_c_stops_in_order_and_the_archive_is_written(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, last=ENDLESS, pause=0.01)
    running = lab.begin("run", "--json")
    lab.wait_for("sum.pid")
    os.killpg(running.pid, signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    result = json.loads(out)
    assert (running.returncode, result["end"]) == (1, "interrupted")
    assert {node["end"] for node in result["nodes"].values()} == {"stopped"}
    assert (tmp_path / "below").read_text() == "the loop"
    check_whole_so_far(lab.run())


def check_whole_so_far(run: RunFolder) -> None:
    counted, summed = values(run, "counter/count"), values(run, "sum/total")
    assert counted == list(range(1, len(counted) + 1)) and counted
    assert summed == [number * (number + 1) // 2 for number in range(1, len(summed) + 1)]


def test_ctrl_c_while_values_of_earlier_runs_are_dropped_takes_nothing_from_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_runtime: Path
) -> None:
    lab = laboratory(tmp_path)
    monkeypatch.chdir(lab.folder)
    with monkeypatch.context() as interrupting:
        interrupting.setattr(dropping, "drop_finite_values", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(SystemExit) as end:
            flame(["run"])
    assert end.value.code == 0
    check_whole(lab.run(), 20)


def test_bug_16_a_workflow_in_another_folder_runs_there(tmp_path: Path) -> None:
    lab = laboratory(tmp_path / "sub" / "deep")
    typed = lab.type("run", "sub/deep/workflow.py", cwd=tmp_path)
    assert typed.returncode == 0, typed.stderr
    assert lab.run().result.exists() and not (tmp_path / "flame_runs").exists()


def test_runs_are_listed_stopped_and_their_logs_followed(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, last=ENDLESS, pause=0.01)
    running = lab.begin("run")
    lab.wait_for("sum.pid")
    assert [(one["run"], one["state"]) for one in lab.json("ps")["runs"]] == [("j1", "running")]
    wait_until(lambda: lab.json("cat", "#/j1/sum/stats")["value"]["sent"].get("total", 0) > 0, 30.0)
    live = lab.json("cat", "#/j1/sum/stats")["value"]
    following = lab.begin("logs", "-f", "j1")
    assert following.stdout is not None and "counting from 0" in following.stdout.readline()
    stopped = lab.type("stop")
    assert (stopped.returncode, stopped.stdout) == (0, "j1 stopped\n"), stopped.stderr
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0 and "j1 stopped after" in out and "j1 running" in err
    following.communicate(timeout=60)
    assert following.returncode == 0
    assert [(one["run"], one["state"]) for one in lab.json("ps")["runs"]] == [("j1", "stopped")]
    ended = lab.json("cat", "#/j1/sum/stats")["value"]
    assert list(live) == list(ended) == ["outputs", "inputs", "sent"]
    assert 0 < live["inputs"]["number"]["received"] <= ended["inputs"]["number"]["received"]
    assert "no run goes on here" in lab.type("stop").stderr
    assert "run j1 does not run: it is stopped" in lab.type("stop", "j1").stderr


def test_a_flame_node_that_is_killed_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, last=400, pause=0.005, more=RESTART)
    running = lab.begin("run", "--json")
    for node in ("sum", "counter", "sum"):
        lab.kill(node)
    out, err = running.communicate(timeout=90)
    result = json.loads(out)
    assert result["end"] == "succeeded", err
    assert [result["nodes"][node]["restarts"] for node in ("counter", "sum")] == [1, 2]
    check_whole(lab.run(), 400)


def test_a_run_that_is_killed_as_a_whole_is_resumed_without_gap_or_duplicate(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, last=300, pause=0.005)
    running = lab.begin("run")
    lab.wait_for("sum.pid")
    wait_until(lambda: (lab.run().journal("sum")).exists())
    for _ in range(2):
        running.kill()
        running.communicate(timeout=10)
        assert lab.json("ps")["runs"][0]["state"] == "broken off"
        (tmp_path / "counter.pid").unlink(missing_ok=True)
        running = lab.begin("resume", "j1", "--json")
        lab.wait_for("counter.pid")
    out, err = running.communicate(timeout=90)
    assert json.loads(out)["end"] == "succeeded", err
    check_whole(lab.run(), 300)
    assert json.loads(lab.run().document.read_bytes())["resumes"] == 2


def test_a_resume_with_other_parameters_is_refused_and_names_them(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, last=ENDLESS, pause=0.01)
    running = lab.begin("run")
    lab.wait_for("sum.pid")
    running.kill()
    running.communicate(timeout=10)
    text = (tmp_path / "workflow.py").read_text()
    (tmp_path / "workflow.py").write_text(text.replace(f"last={ENDLESS}", "last=5"))
    refused = lab.type("resume", "j1")
    assert refused.returncode != 0
    assert "workflow.py has changed" in refused.stderr
    assert f"counter/last is 5, and was {ENDLESS}" in refused.stderr and "--anyway" in refused.stderr
    anyway = lab.type("resume", "j1", "--anyway")
    assert anyway.returncode == 0, anyway.stderr
    assert (lab.run().path / "sources-before-resume-1" / "workflow.py").read_text() == text


@pytest.mark.parametrize("words", [("run",), ("resume", "j1")])
def test_a_mistake_in_a_command_is_one_sentence(tmp_path: Path, words: tuple[str, ...]) -> None:
    lab = Laboratory(tmp_path, "x = 1\n")
    typed = lab.type(*words)
    assert typed.returncode != 0 and "Traceback" not in typed.stderr and typed.stderr.count("\n") == 1


def test_a_run_whose_producer_lost_values_in_a_power_cut_is_resumed_and_says_so(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, last=60, pause=0.05)
    running = lab.begin("run")
    lab.wait_for("sum.pid")
    wait_until(lambda: _position(lab.run()) > 10)
    running.kill()
    running.communicate(timeout=60)
    wait_until(lambda: "broken off" in lab.type("ps").stdout)
    taken = _position(lab.run())
    shutil.rmtree(lab.run().journal("counter"))
    with Journal.open(lab.run().journal("counter"), ["count"]) as journal:  # as the disk has it: only the first values
        for number in range(1, 6):
            journal.append({"count": encode(number)}, 1, memory={"number": encode(number)})
    resumed = lab.type("resume", "j1")
    assert resumed.returncode == 0, resumed.stderr
    sentence = f"input number had taken values 6 to {taken} of counter/count, which its journal has lost"
    assert f"sum: {sentence}" in resumed.stdout
    assert sentence in lab.type("logs", "j1", "sum").stdout
    result = read_result(lab.run().result.read_bytes())
    assert [note.startswith(sentence) for note in result.nodes["sum"].notes] == [True]
    assert result.nodes["sum"].inputs["number"].received == 60 - 5
    assert values(lab.run(), "counter/count") == list(range(1, 61))


def _position(run: RunFolder) -> int:
    with JournalReader(run.journal("sum")) as journal:
        return journal.cursors().get("number", 0)


def test_a_flame_node_that_ends_itself_with_a_code_has_failed_and_its_value_comes_again(tmp_path: Path) -> None:
    """Its consumers took it for an end in order, and the value that it had taken was gone."""
    early = SUM.replace(
        "for record in number:", "for record in number:\n        if record.value == 5: import sys; sys.exit(3)", 1
    )
    lab = Laboratory(tmp_path, WORKFLOW.format(last=20, pause=0.0, more=""), counter=COUNTER, sum=early)
    assert lab.type("run").returncode == 1
    file = tmp_path / "sum.py"
    file.write_text(file.read_text().replace("sys.exit(3)", "0"))
    assert lab.type("resume", "j1", "--anyway").returncode == 0
    check_whole(lab.run(), 20)


def test_a_node_file_in_a_folder_that_cannot_be_written_runs_alone(tmp_path: Path) -> None:
    lab = Laboratory(tmp_path, "", alone="import flame\nnode = flame.Node('Alone', '')\nnode.register()\n")
    (tmp_path / "schema").write_text("in the way, also for a user who may do everything")
    typed = lab.type("dry", "alone.py")
    assert "Traceback" not in typed.stderr
    assert typed.returncode == 0, typed.stderr
