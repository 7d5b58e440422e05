"""The keeper of a node in this process: crashes of it and of its executors, and folders that it is handed."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.adapters.flame_chores import Chores
from actors.adapters.flame_files import hold
from actors.adapters.flame_opening import Opening, RunOpener
from actors.flame_executor import FlameExecutorActor
from flame.journal import JournalReader
from flame.run.run_folder import RunFolder
from flame.run.run_record import to_json
from flame.run.runs import load
from flotta_p2p.demo.fleet import free_ports
from protocol.errors import Code, DeniedError
from protocol.ids import format_job_id
from protocol.machines import keeper
from protocol.machines.contract import OpenRun
from protocol.wire.control import TakeRun
from tests.faults.injection import injecting
from tests.flotta_p2p.nodes import RunningNode, running
from tests.system.flame.counting import check_whole, laboratory
from tests.system.flame.executions import wait_gone
from tests.system.flame.laboratory import Laboratory
from tests.system.flame.test_runs_of_a_node import MOVES, MOVING, SAFE
from tests.system.processes import wait_until

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("own_runtime"), pytest.mark.timeout(120)]

END_S = 60.0
HANGS = "import os, time\nwith open('hangs', 'w') as file:\n    file.write(str(os.getpid()))\ntime.sleep(60)\n"


@pytest.fixture
def node(tmp_path: Path, own_runtime: Path) -> Iterator[RunningNode]:
    with running(tmp_path / "node", name="Anna", port=free_ports(1)[0]) as one:
        yield one
        assert one.fatal == []


def hand_over(lab: Laboratory, node: RunningNode) -> str:
    """The id of the run."""
    handed = lab.json("run", "--background", "--workdir", str(node.workdir))
    assert handed.get("run") == "j1", handed
    return str(handed["id"])


def runs(node: RunningNode) -> list[tuple[str, str]]:
    return [(one["run"], one["state"]) for one in node.status()["runs"]]


def wait_for_archive(run: RunFolder) -> None:
    wait_until(lambda: run.result.exists() and json.loads(run.result.read_bytes())["archive"], END_S)


def values_kept(run: RunFolder, node: str, stream: str) -> int:
    with JournalReader(run.journal(node)) as reader:
        info = reader.streams()[stream]
    return info.last_seq - info.first_seq + 1


def crash_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next message to an executor of this process is its crash."""
    handle, armed = FlameExecutorActor.handle, threading.Event()
    armed.set()

    def failing(self: FlameExecutorActor, message: Any) -> None:
        if armed.is_set():
            armed.clear()
            raise KeyError("injected")
        handle(self, message)

    monkeypatch.setattr(FlameExecutorActor, "handle", failing)


def test_a_run_whose_executor_crashes_is_made_safe_and_goes_on(
    tmp_path: Path, node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Laboratory(tmp_path / "lab", MOVING, moves=MOVES, safe=SAFE)
    hand_over(lab, node)
    first = int(lab.wait_for("moves.pid"))
    (lab.folder / "moves.pid").unlink()
    crash_once(monkeypatch)
    wait_gone(first)
    lab.wait_for("moves.pid")
    assert lab.wait_for("safe") == "safe\nsafe\n"  # by the guard of the crashed executor, and before the run went on
    assert lab.type("stop").returncode == 0
    wait_until(lambda: runs(node) == [])


def test_values_of_a_run_whose_executor_crashes_have_no_gap_and_no_duplicate(
    tmp_path: Path, node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = laboratory(tmp_path / "lab", last=300, pause=0.01)
    hand_over(lab, node)
    lab.wait_for("sum.pid")
    wait_until(lambda: lab.run().journal("sum").exists())
    crash_once(monkeypatch)
    wait_for_archive(lab.run())
    check_whole(lab.run(), 300)
    assert load(lab.run()).document.resumes == 1


@pytest.mark.parametrize("actor", ["keeper", "store"])
def test_a_crash_of_the_keeper_or_under_it_ends_no_run_for_good(tmp_path: Path, actor: str) -> None:
    lab = laboratory(tmp_path / "lab", last=400, pause=0.01)
    with injecting() as injected, running(tmp_path / "node", name="Anna", port=free_ports(1)[0]) as node:
        hand_over(lab, node)
        lab.wait_for("sum.pid")
        injected[0].tree[actor].tell("what no actor takes")
        wait_for_archive(lab.run())
        assert node.fatal == []
    check_whole(lab.run(), 400)
    assert load(lab.run()).document.resumes == 1


def test_a_crash_of_an_actor_of_the_network_disturbs_no_run(tmp_path: Path) -> None:
    lab = laboratory(tmp_path / "lab", last=200, pause=0.01)
    with injecting() as injected, running(tmp_path / "node", name="Anna", port=free_ports(1)[0]) as node:
        hand_over(lab, node)
        lab.wait_for("sum.pid")
        injected[0].tree["gate"].tell("what no actor takes")
        wait_for_archive(lab.run())
        assert node.fatal == []
    check_whole(lab.run(), 200)
    assert load(lab.run()).document.resumes == 0


def test_a_run_that_the_node_refuses_leaves_no_folder(
    tmp_path: Path, node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "FLAME_KEPT_RUNS_MAX", 0)
    lab = laboratory(tmp_path / "lab")
    typed = lab.type("run", "--background", "--workdir", str(node.workdir))
    assert typed.returncode != 0 and "takes no more" in typed.stderr and "[busy]" in typed.stderr
    assert not lab.run().path.exists() and runs(node) == []


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, node: RunningNode) -> None:
    take = TakeRun(run=format_job_id(bytes(32)), alias="j1", folder=str(tmp_path / "gone" / "j1"), python="python")
    with pytest.raises(DeniedError) as refused:
        node.ask(take)
    assert refused.value.code is Code.FOLDER_UNUSABLE
    assert runs(node) == []


def test_after_a_run_of_a_node_finite_values_of_the_run_before_it_go(tmp_path: Path, node: RunningNode) -> None:
    lab = laboratory(tmp_path / "lab", last=20)
    counter = lab.folder / "counter.py"
    counter.write_text(counter.read_text().replace("outputs.permanent", "outputs.finite"))
    first = lab.run()
    hand_over(lab, node)
    wait_until(lambda: runs(node) == [], END_S)
    assert (values_kept(first, "counter", "count"), values_kept(first, "sum", "total")) == (20, 20)
    assert lab.json("run", "--background", "--workdir", str(node.workdir))["run"] == "j2"
    wait_until(lambda: values_kept(first, "counter", "count") == 1, END_S)
    assert values_kept(first, "sum", "total") == 20


# --- folders -----------------------------------------------------------------------------------------------------


class Folders:
    """An opener, and what it told."""

    def __init__(self, workdir: Path) -> None:
        self.told: list[Opening] = []
        self.opener = RunOpener(workdir, Chores(), self.told.append)

    def open(self, run: RunFolder, *, again: bool) -> Opening:
        document = load(run).document
        self.opener.open(
            OpenRun(run=document.id, folder=str(run.path), python=sys.executable, parameters="", again=again)
        )
        wait_until(lambda: self.told, END_S)
        return self.told.pop()


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    made = Folders(tmp_path)
    yield made
    made.opener.stop()


def of_node(run: RunFolder, workdir: Path) -> RunFolder:
    """A run that a command has executed, as if the node had."""
    document = msgspec.structs.replace(load(run).document, workdir=str(workdir.resolve()))
    run.document.write_bytes(to_json(document))
    return run


def without_archive(run: RunFolder) -> None:
    result = load(run).result
    assert result is not None and result.archive
    run.archive.unlink()
    run.result.write_bytes(to_json(msgspec.structs.replace(result, archive="")))


def test_a_run_whose_archive_was_cut_off_gets_it_and_is_over(tmp_path: Path, folders: Folders) -> None:
    lab = laboratory(tmp_path / "lab")
    assert lab.type("run").returncode == 0
    run = of_node(lab.run(), tmp_path)
    without_archive(run)
    opening = folders.open(run, again=True)
    assert opening.problem is not None and opening.problem.over
    result = load(run).result
    assert result is not None and result.archive == "j1.h5"
    check_whole(run, 20)
    hold(run).release()


def test_a_run_that_a_command_has_taken_over_is_not_the_nodes_any_more(tmp_path: Path, folders: Folders) -> None:
    lab = laboratory(tmp_path / "lab")
    assert lab.type("run").returncode == 0
    opening = folders.open(lab.run(), again=True)
    assert opening.problem is not None and opening.problem.over


def test_a_run_that_somebody_holds_is_tried_later(tmp_path: Path, folders: Folders) -> None:
    lab = laboratory(tmp_path / "lab")
    assert lab.type("run").returncode == 0
    with hold(of_node(lab.run(), tmp_path)):
        opening = folders.open(lab.run(), again=True)
    assert opening.problem is not None
    assert (opening.problem.over, opening.problem.code) == (False, Code.RUN_IN_PROGRESS)


def test_a_run_whose_result_cannot_be_read_is_tried_later_and_keeps_it(tmp_path: Path, folders: Folders) -> None:
    lab = laboratory(tmp_path / "lab")
    assert lab.type("run").returncode == 0
    run = of_node(lab.run(), tmp_path)
    run.result.write_text("{")
    opening = folders.open(run, again=True)
    assert opening.problem is not None
    assert (opening.problem.over, opening.problem.code) == (False, Code.FOLDER_UNUSABLE)
    assert run.result.read_text() == "{"


@pytest.mark.parametrize(
    ("added", "code"), [("# other\n", Code.RUN_CHANGED), ("wf = Workflow(\n", Code.WORKFLOW_WRONG)]
)
def test_what_is_wrong_with_the_files_of_a_run_has_its_own_code(
    tmp_path: Path, folders: Folders, added: str, code: Code
) -> None:
    lab = laboratory(tmp_path / "lab")
    assert lab.type("run").returncode == 0
    run = of_node(lab.run(), tmp_path)
    run.result.unlink()
    with (lab.folder / "workflow.py").open("a") as file:
        file.write(added)
    opening = folders.open(run, again=True)
    assert opening.problem is not None and (opening.problem.over, opening.problem.code) == (False, code)
    assert "workflow.py" in opening.problem.sentence


def test_an_open_run_that_nobody_claimed_is_let_go(tmp_path: Path, folders: Folders) -> None:
    lab = laboratory(tmp_path / "lab")
    assert lab.type("run").returncode == 0
    assert folders.open(of_node(lab.run(), tmp_path), again=False).problem is None
    assert load(lab.run()).is_running
    folders.opener.stop()
    assert not load(lab.run()).is_running


def test_an_opening_that_hangs_ends_with_the_node(tmp_path: Path, folders: Folders) -> None:
    lab = laboratory(tmp_path / "lab")
    assert lab.type("run").returncode == 0
    run = of_node(lab.run(), tmp_path)
    run.result.unlink()
    file = lab.folder / "counter.py"
    file.write_text(HANGS + file.read_text())
    document = load(run).document
    folders.opener.open(
        OpenRun(run=document.id, folder=str(run.path), python=sys.executable, parameters="", again=True)
    )
    lab.wait_for("hangs")
    began_s = time.monotonic()
    folders.opener.stop()
    wait_gone(int(lab.wait_for("hangs")))
    assert time.monotonic() - began_s < 2.0
    assert folders.told == []
    hold(run).release()
