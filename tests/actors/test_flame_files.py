"""The documents of a run: whole or not at all, and of one executor."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.adapters import flame_files
from actors.adapters.flame_files import HeldRun, hold, keep_result, make_shared, new_run, take_up
from flame.run.run_folder import RUNS_FOLDER
from flame.run.run_record import NodeResult, RunEnd, RunResult, read_document
from flame.run.runs import load
from protocol.errors import Code, StorageError, WorkflowError
from protocol.limits import FLAME_NODES_MAX
from tests.flame.runs import AT_ONCE, graph, graph_node


@pytest.fixture(autouse=True)
def waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flame_files, "FLAME_LOCK_MS", 20)


def begun(folder: Path) -> HeldRun:
    return new_run(folder / RUNS_FOLDER, graph(folder, graph_node(folder, "a", AT_ONCE)))


def result_of(run: HeldRun, end: RunEnd) -> RunResult:
    nodes = {"a": NodeResult("succeeded", 0)}
    return RunResult(run.document.id, run.folder.alias, end, "", nodes, run.document.started_ns, 2)


def test_a_run_is_written_down_before_anything_starts(tmp_path: Path) -> None:
    with begun(tmp_path).lock:
        pass
    run = begun(tmp_path)
    with run.lock:
        assert run.folder.alias == "j2"
        assert read_document(run.folder.document.read_bytes()) == run.document
        assert {path.name for path in run.folder.path.iterdir()} == {"lock", "run.json", "sources"}


def test_a_run_is_held_by_one_executor_until_it_lets_go(tmp_path: Path) -> None:
    run = begun(tmp_path)
    with pytest.raises(WorkflowError, match="run j1 is in progress: in use by process") as refused:
        hold(run.folder)
    assert refused.value.code is Code.RUN_IN_PROGRESS
    run.lock.release()
    hold(run.folder).release()


def test_a_result_is_kept_and_what_was_on_its_way_is_removed(tmp_path: Path) -> None:
    run = begun(tmp_path)
    with run.lock:
        run.folder.shared.mkdir()
        (run.folder.shared / "payload").touch()
        assert load(run.folder).result is None
        keep_result(run.folder, result_of(run, "failed"))
        assert load(run.folder).result == result_of(run, "failed")
        assert not run.folder.shared.exists()
        assert not list(run.folder.path.glob(".*"))


def test_large_arrays_lie_in_memory_or_in_the_folder_of_the_run(tmp_path: Path) -> None:
    run = begun(tmp_path)
    memory = tmp_path / "memory"
    memory.mkdir()
    with run.lock:
        make_shared(run.folder, tmp_path / "gone")  # of an executor that was killed
        make_shared(run.folder, memory)
        (run.folder.shared / "payload").touch()
        assert (memory / "payload").exists()
        make_shared(run.folder, None)
        assert (run.folder.shared.stat().st_mode & 0o777, run.folder.shared.is_symlink()) == (0o700, False)
        make_shared(run.folder, memory)
        keep_result(run.folder, result_of(run, "failed"))
        assert not run.folder.shared.is_symlink() and (memory / "payload").exists()  # its owner removes it


@pytest.mark.parametrize("end", ["failed", "timed-out", "interrupted", None])
def test_a_run_that_did_not_end_as_it_was_meant_to_is_taken_up(tmp_path: Path, end: RunEnd | None) -> None:
    run = begun(tmp_path)
    if end is not None:
        keep_result(run.folder, result_of(run, end))
    run.lock.release()
    again = take_up(run.folder, run.document.graph)
    with again.lock:
        assert (again.document.resumes, again.document.id) == (1, run.document.id)
        assert read_document(run.folder.document.read_bytes()) == again.document
        assert load(run.folder).result is None


def test_a_run_that_was_stopped_in_order_is_added_to_only_anyway(tmp_path: Path) -> None:
    run = begun(tmp_path)
    keep_result(run.folder, result_of(run, "stopped"))
    run.lock.release()
    with pytest.raises(WorkflowError, match="it has ended in order"):
        take_up(run.folder, run.document.graph)
    assert load(run.folder).result == result_of(run, "stopped")
    with take_up(run.folder, run.document.graph, anyway=True).lock:
        assert load(run.folder).result is None


def test_a_refused_run_is_not_held_and_not_changed(tmp_path: Path) -> None:
    run = begun(tmp_path)
    keep_result(run.folder, result_of(run, "succeeded"))
    run.lock.release()
    with pytest.raises(WorkflowError, match="it has succeeded"):
        take_up(run.folder, run.document.graph)
    hold(run.folder).release()
    assert load(run.folder).result == result_of(run, "succeeded")


def test_a_run_whose_result_cannot_be_read_is_not_taken_up_and_keeps_it(tmp_path: Path) -> None:
    run = begun(tmp_path)
    run.folder.result.write_text("{")
    run.lock.release()
    with pytest.raises(StorageError, match="cannot be read"):
        take_up(run.folder, run.document.graph)
    hold(run.folder).release()
    assert run.folder.result.read_text() == "{" and load(run.folder).document == run.document


def test_changed_code_goes_on_only_anyway_and_what_ran_then_stays(tmp_path: Path) -> None:
    run = begun(tmp_path)
    run.lock.release()
    before = (tmp_path / "a.py").read_text()
    (tmp_path / "a.py").write_text("another\n")
    with pytest.raises(WorkflowError, match="has changed") as refused:
        take_up(run.folder, run.document.graph)
    assert refused.value.code is Code.RUN_CHANGED
    again = take_up(run.folder, run.document.graph, anyway=True)
    with again.lock:
        assert (run.folder.sources / "a.py").read_text() == "another\n"
        assert (run.folder.path / "sources-before-resume-1" / "a.py").read_text() == before
        assert again.document.provenance.sources != run.document.provenance.sources


def test_a_run_of_too_many_flame_nodes_is_refused(tmp_path: Path) -> None:
    node = graph_node(tmp_path, "a", AT_ONCE)
    with pytest.raises(WorkflowError, match=f"has {FLAME_NODES_MAX + 1} flame nodes") as refused:
        new_run(tmp_path / RUNS_FOLDER, graph(tmp_path, *[node] * (FLAME_NODES_MAX + 1)))
    assert refused.value.code is Code.WORKFLOW_WRONG
    assert not (tmp_path / RUNS_FOLDER).exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / RUNS_FOLDER).touch()
    with pytest.raises(StorageError, match="the run cannot be written"):
        begun(tmp_path)
