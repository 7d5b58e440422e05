"""The executor within the process of a command: what it hands back, and what its failures leave."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.adapters.flame_files import new_run
from actors.flame_embedded import execute
from actors.flame_executor import FlameExecutorActor, RunOver, RunProgress
from actors.flame_plans import limits_of
from flame.graph import Graph
from flame.run.run_folder import RUNS_FOLDER, RunFolder
from flame.run.run_record import RunDocument, RunResult
from flame.run.runs import load
from protocol.errors import Code, StorageError
from tests.flame.runs import AT_ONCE, TO_THE_END, graph, graph_node
from tests.system.flame.executions import PID, wait_gone

pytestmark = pytest.mark.system

Archive = Callable[[RunFolder, RunDocument, RunResult], Path]


def written(run: RunFolder, document: RunDocument, result: RunResult) -> Path:
    assert load(run).result == result  # an archive that is cut off takes nothing from it
    run.archive.touch()
    return run.archive


def full_disk(run: RunFolder, document: RunDocument, result: RunResult) -> Path:
    raise StorageError(Code.DISK_FULL, "the disk is full")


def our_own_mistake(run: RunFolder, document: RunDocument, result: RunResult) -> Path:
    raise KeyError("mistake")


def executed(
    folder: Path, nodes: Graph, archive: Archive, on_progress: Callable[[RunProgress], None] = lambda progress: None
) -> RunOver:
    run = new_run(folder / RUNS_FOLDER, nodes)
    with run.lock:
        return execute(run, limits=limits_of(run.document), write_archive=archive, on_progress=on_progress)


def test_a_run_hands_back_its_result_and_shows_every_state(tmp_path: Path, own_runtime: Path) -> None:
    states: list[str] = []
    over = executed(
        tmp_path,
        graph(tmp_path, graph_node(tmp_path, "a", AT_ONCE)),
        written,
        lambda progress: states.append(progress.view.nodes[0].state),
    )
    assert (over.result.end, over.result.archive, over.fault) == ("succeeded", "j1.h5", "")
    assert over.run == over.result.id
    order = ["starting", "wiring", "running", "ended"]
    assert [state for state in dict.fromkeys(states) if state in order] == order
    assert load(RunFolder(tmp_path / RUNS_FOLDER, "j1")).result == over.result
    assert not list((own_runtime / f"flotta-p2p-{os.getuid()}").iterdir())


def test_an_archive_that_cannot_be_written_is_told_and_the_result_is_kept(tmp_path: Path) -> None:
    over = executed(tmp_path, graph(tmp_path, graph_node(tmp_path, "a", AT_ONCE)), full_disk)
    assert (over.result.end, over.result.archive) == ("succeeded", "")
    assert "the disk is full" in over.fault
    assert load(RunFolder(tmp_path / RUNS_FOLDER, "j1")).result == over.result


def test_a_mistake_of_ours_is_told_as_one_and_the_result_is_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mistake"):
        executed(tmp_path, graph(tmp_path, graph_node(tmp_path, "a", AT_ONCE)), our_own_mistake)
    result = load(RunFolder(tmp_path / RUNS_FOLDER, "j1")).result
    assert result is not None and result.end == "succeeded"


def test_a_watcher_that_fails_leaves_no_process_behind(tmp_path: Path) -> None:
    def fails(progress: RunProgress) -> None:
        if progress.view.phase == "running":
            raise ValueError("mistake")

    with pytest.raises(ValueError, match="mistake"):
        executed(tmp_path, graph(tmp_path, graph_node(tmp_path, "a", PID + TO_THE_END)), written, fails)
    wait_gone(int((tmp_path / "a.pid").read_text()))


def test_a_program_that_is_gone_is_told_and_handlers_of_signals_come_back(tmp_path: Path) -> None:
    nodes = graph(tmp_path, graph_node(tmp_path, "a", AT_ONCE))
    before = signal.getsignal(signal.SIGINT)
    (tmp_path / "a.py").unlink()
    over = executed(tmp_path, nodes, written)
    assert over.result.nodes["a"].end == "failed"
    problem = over.result.nodes["a"].problem
    assert problem.startswith("its process ended with exit code 2; it printed last: ") and "No such file" in problem
    assert signal.getsignal(signal.SIGINT) is before


def test_a_process_that_cannot_be_started_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults: Any = FlameExecutorActor.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "python", "/nowhere/python")
    over = executed(tmp_path, graph(tmp_path, graph_node(tmp_path, "a", AT_ONCE)), written)
    assert over.result.nodes["a"].problem == "its process could not be started: No such file or directory"
    assert over.result.end == "failed"
