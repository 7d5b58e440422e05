"""Runs that a node executes: they outlive the terminal, come back after a crash of the node, and stop without it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from flame.run.run_folder import RunFolder
from flotta_p2p.demo.fleet import free_ports
from tests.system.flame.counting import ENDLESS, check_whole, laboratory, values
from tests.system.flame.executions import wait_gone
from tests.system.flame.laboratory import FLAME, Laboratory
from tests.system.jobs import fresh_token
from tests.system.nodes import RunningNode, running_node
from tests.system.processes import wait_until

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("own_runtime"), pytest.mark.timeout(180)]

END_S = 60.0
Start = Callable[[], AbstractContextManager[RunningNode]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts the one node of a test, again and again."""
    port, token = free_ports(1)[0], fresh_token()
    return lambda: running_node(tmp_path / "node", name="Anna", port=port, token=token, csv_text=None)


def hand_over(lab: Laboratory, node: RunningNode, *words: str) -> Any:
    """`flame run --background`, or `words` instead of `run`."""
    handed = lab.json(*(words or ("run",)), "--background", "--workdir", str(node.workdir))
    assert handed.get("address") == "#/j1", handed
    return handed


def pids(lab: Laboratory) -> tuple[int, ...]:
    """Of both flame nodes, which are forgotten."""
    found = [int(lab.wait_for(f"{name}.pid")) for name in ("counter", "sum")]
    for name in ("counter", "sum"):
        (lab.folder / f"{name}.pid").unlink()
    return tuple(found)


def wait_for_archive(run: RunFolder) -> None:
    wait_until(lambda: run.result.exists() and json.loads(run.result.read_bytes())["archive"], END_S)


def resumes(lab: Laboratory) -> int:
    return int(json.loads(lab.run().document.read_bytes())["resumes"])


def states(node: RunningNode) -> list[tuple[str, str]]:
    return [(one["run"], one["state"]) for one in node.status()["runs"]]


def test_a_run_outlives_the_command_and_ends_with_result_and_archive(tmp_path: Path, start: Start) -> None:
    lab = laboratory(tmp_path / "lab", last=150, pause=0.01)
    with start() as node:
        typed = lab.type("run", "--background", "--workdir", str(node.workdir))
        assert typed.returncode == 0, typed.stderr
        assert f"j1 goes on in the node of {node.workdir}: #/j1" in typed.stdout
        assert states(node) == [("j1", "running")]
        told = subprocess.run(
            (*FLAME[:-1], "status", "--workdir", str(node.workdir)), capture_output=True, text=True, check=True
        )
        assert f"j1: running, in {lab.run().path}" in told.stdout
        listed = lab.json("ps")["runs"]
        assert [(one["state"], one["reason"]) for one in listed] == [("running", f"in the node of {node.workdir}")]
        followed = lab.type("logs", "-f", "j1", "counter")
        assert "counting from 0" in followed.stdout
        wait_for_archive(lab.run())
        check_whole(lab.run(), 150)
        assert lab.json("ps")["runs"][0]["state"] == "succeeded"
        node.wait_until(lambda one: states(one) == [])
        assert node.stop() == 0
    assert resumes(lab) == 0


@pytest.mark.parametrize("victim", ["node", "launcher"])
def test_a_run_whose_node_is_killed_goes_on_by_itself_when_it_is_back(
    tmp_path: Path, start: Start, victim: str
) -> None:
    lab = laboratory(tmp_path / "lab", last=500, pause=0.01)
    with start() as node:
        hand_over(lab, node)
        first = pids(lab)
        if victim == "node":
            os.kill(node.node_pid, signal.SIGKILL)
            wait_gone(*first)
            node.wait_until(lambda one: states(one) == [("j1", "running")])
            pids(lab)
            wait_for_archive(lab.run())
        else:
            node.kill()
            wait_gone(*first)
            wait_until(lambda: lab.json("ps")["runs"][0]["state"] == "broken off")
    if victim == "launcher":
        with start() as node:
            pids(lab)
            wait_for_archive(lab.run())
    check_whole(lab.run(), 500)
    assert resumes(lab) == 1


def test_a_run_is_stopped_without_its_node_and_without_the_other_runs_of_it(tmp_path: Path, start: Start) -> None:
    endless = laboratory(tmp_path / "endless", last=ENDLESS, pause=0.01)
    other = laboratory(tmp_path / "other", last=400, pause=0.01)
    with start() as node:
        hand_over(endless, node)
        hand_over(other, node)
        pids(endless)
        before = node.node_pid
        stopped = endless.type("stop", "j1")
        assert (stopped.returncode, stopped.stdout) == (0, "j1 stopped\n"), stopped.stderr
        assert (endless.folder / "below").read_text() == "the loop"
        assert json.loads(endless.run().result.read_bytes())["reason"] == "stopped by `flame stop`"
        assert values(endless.run(), "counter/count")[:2] == [1, 2]
        wait_for_archive(other.run())
        check_whole(other.run(), 400)
        assert node.node_pid == before
        assert node.stop() == 0
    with start() as node:
        assert states(node) == []
    assert (resumes(endless), resumes(other)) == (0, 0)


def test_a_node_that_stops_in_order_stops_its_runs_in_order_and_goes_on_with_them_when_it_is_back(
    tmp_path: Path, start: Start
) -> None:
    lab = laboratory(tmp_path / "lab", last=400, pause=0.01)
    with start() as node:
        hand_over(lab, node)
        first = pids(lab)
        wait_until(lambda: lab.run().journal("sum").exists())
        assert node.stop() == 0
        wait_gone(*first)
        assert (lab.folder / "below").read_text() == "the loop"
        assert not lab.run().result.exists()
        assert lab.json("ps")["runs"][0]["state"] == "broken off"
    with start() as node:
        pids(lab)
        wait_for_archive(lab.run())
    check_whole(lab.run(), 400)
    assert resumes(lab) == 1


def test_a_run_whose_files_have_changed_is_not_taken_up_and_the_status_says_so(tmp_path: Path, start: Start) -> None:
    lab = laboratory(tmp_path / "lab", last=ENDLESS, pause=0.01)
    with start() as node:
        hand_over(lab, node)
        pids(lab)
        node.kill()
    file = lab.folder / "workflow.py"
    file.write_text(file.read_text().replace(f"last={ENDLESS}", "last=5"))
    with start() as node:
        node.wait_until(lambda one: states(one) == [("j1", "refused")])
        assert "workflow.py has changed" in node.status()["runs"][0]["reason"]
        assert not (lab.folder / "counter.pid").exists()
        hand_over(lab, node, "resume", "j1", "--anyway")
        wait_for_archive(lab.run())
        node.wait_until(lambda one: states(one) == [])


def test_a_refused_run_is_given_up_by_stop(tmp_path: Path, start: Start) -> None:
    lab = laboratory(tmp_path / "lab", last=ENDLESS, pause=0.01)
    with start() as node:
        hand_over(lab, node)
        pids(lab)
        node.kill()
    (lab.folder / "sum.py").write_text((lab.folder / "sum.py").read_text() + "# other\n")
    with start() as node:
        node.wait_until(lambda one: states(one) == [("j1", "refused")])
        stopped = lab.type("stop", "j1")
        assert (stopped.returncode, stopped.stdout) == (0, "j1 broken off\n"), stopped.stderr
        assert states(node) == []


def test_a_workflow_with_a_parameters_file_is_taken_up_with_it(tmp_path: Path, start: Start) -> None:
    lab = laboratory(tmp_path / "lab", last=300, pause=0.01)
    file = lab.folder / "workflow.py"
    file.write_text(file.read_text().replace("last=300, ", ""))
    (lab.folder / "tuesday.json").write_text(json.dumps({"counter": {"last": 300}}))
    with start() as node:
        hand_over(lab, node, "run", "-p", "tuesday.json")
        pids(lab)
        os.kill(node.node_pid, signal.SIGKILL)
        pids(lab)
        wait_for_archive(lab.run())
    check_whole(lab.run(), 300)
    assert resumes(lab) == 1


def test_a_standalone_node_executes_runs_too(tmp_path: Path) -> None:
    lab = laboratory(tmp_path / "lab")
    alone = ("-m", "flotta_p2p.standalone", "-c", str(tmp_path / "alone.yaml"))
    (tmp_path / "alone.yaml").write_text(f"mode: standalone\nworkdir: ./work\nnode:\n  port: {free_ports(1)[0]}\n")
    with subprocess.Popen((sys.executable, *alone), stderr=subprocess.DEVNULL) as node:
        wait_until((tmp_path / "work" / "control").exists, END_S)
        handed = lab.json("run", "--background", "-c", str(tmp_path / "alone.yaml"))
        assert handed.get("address") == "#/j1", handed
        wait_for_archive(lab.run())
        node.terminate()
        assert node.wait(END_S) == 0
    check_whole(lab.run(), 20)


def test_without_a_node_nothing_is_made_and_the_next_step_is_told(tmp_path: Path) -> None:
    lab = laboratory(tmp_path / "lab")
    typed = lab.type("run", "--background", "--workdir", str(tmp_path / "nowhere"))
    assert typed.returncode != 0
    assert "no node runs" in typed.stderr and "flotta-p2p up" in typed.stderr and "[node-not-running]" in typed.stderr
    assert not lab.run().path.exists()


def test_a_node_that_is_named_without_background_is_a_mistake(tmp_path: Path) -> None:
    lab = laboratory(tmp_path / "lab")
    typed = lab.type("run", "--workdir", str(tmp_path))
    assert typed.returncode == 2 and "--background" in typed.stderr
    assert not lab.run().path.exists()


SAFE = """
    import pathlib
    with pathlib.Path("safe").open("a") as file:
        file.write("safe\\n")
"""
MOVES = """
    import os, pathlib, time
    import flame
    node = flame.Node("Moves")
    node.safe("safe.py")
    node.outputs.permanent("at", int)
    node.register()
    pathlib.Path("moves.pid").write_text(str(os.getpid()))
    while node.active:
        time.sleep(0.01)
"""
MOVING = "from flame import Workflow\nfrom flame_nodes import Moves\nwf = Workflow('moving', '')\nMoves('moves')\n"


def test_hardware_is_made_safe_when_the_node_is_killed_and_again_before_the_run_goes_on(
    tmp_path: Path, start: Start
) -> None:
    lab = Laboratory(tmp_path / "lab", MOVING, moves=MOVES, safe=SAFE)
    with start() as node:
        hand_over(lab, node)
        lab.wait_for("moves.pid")
        (lab.folder / "moves.pid").unlink()
        os.kill(node.node_pid, signal.SIGKILL)
        wait_until(lambda: (lab.folder / "safe").exists() and (lab.folder / "safe").read_text() == "safe\n")
        lab.wait_for("moves.pid")
        assert (lab.folder / "safe").read_text() == "safe\nsafe\n"
        assert lab.type("stop").returncode == 0
        assert (lab.folder / "safe").read_text() == "safe\nsafe\n"
