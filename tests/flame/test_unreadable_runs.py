"""Runs of which nothing can be read stand beside the others, which are listed as usual; and who may read a run."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from actors.adapters.flame_files import new_run, write_whole
from flame.names.name_space import NameSpace
from flame.run.run_folder import RUNS_FOLDER, all_runs, claim
from flotta_p2p.commands.flame import flame
from protocol.errors import Code, StorageError
from tests.flame.saved_runs import SavedRun, graph
from tests.users import folder_of_everybody, without_privileges


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def ps(runs: Path, *words: str) -> Result:
    return CliRunner().invoke(flame, ["ps", "--runs", str(runs), *words])


@pytest.mark.parametrize("damage", [b"", b'{"id": 1', b"\xff\xfe", b'{"id": "x", "alias": "j2", "from": "the future"}'])
def test_a_run_whose_document_does_not_read_is_listed_with_the_reason(tmp_path: Path, damage: bytes) -> None:
    first, second, third = (SavedRun(tmp_path) for _ in range(3))
    first.end()
    third.end("stopped")
    second.folder.document.write_bytes(damage)
    result = ps(tmp_path, "--json")
    listed = json.loads(result.stdout)["runs"]
    assert [(one["run"], one["state"]) for one in listed] == [
        ("j3", "stopped"),
        ("j2", "unreadable"),
        ("j1", "succeeded"),
    ]
    assert "j2/run.json cannot be read" in listed[1]["reason"]
    assert "unreadable" in ps(tmp_path).stdout
    assert [entry.state for entry in NameSpace(tmp_path).list()] == ["succeeded", "unreadable", "stopped"]


def test_a_run_whose_result_does_not_read_is_listed_with_the_reason(tmp_path: Path) -> None:
    first, second = SavedRun(tmp_path), SavedRun(tmp_path)
    second.end()
    first.folder.result.write_text('{"end": "fine"}')
    listed = json.loads(ps(tmp_path, "--json").stdout)["runs"]
    assert [(one["run"], one["state"], one["name"]) for one in listed] == [
        ("j2", "succeeded", "Rabi scan"),
        ("j1", "unreadable", "Rabi scan"),
    ]
    assert "j1/result.json cannot be read" in listed[1]["reason"]


def test_runs_that_may_not_be_entered_are_listed_as_such() -> None:
    with folder_of_everybody() as folder:
        closed, open_to_all = SavedRun(folder / "runs"), SavedRun(folder / "runs")
        open_to_all.end()
        (folder / "runs").chmod(0o755)
        open_to_all.folder.path.chmod(0o755)
        closed.folder.path.chmod(0o000)
        with without_privileges():
            listed = json.loads(ps(folder / "runs", "--json").stdout)["runs"]
        assert [(one["run"], one["state"]) for one in listed] == [("j2", "succeeded"), ("j1", "unreadable")]
        assert "Permission denied" in listed[1]["reason"]
        (folder / "runs").chmod(0o000)
        with without_privileges(), pytest.raises(StorageError, match="cannot be listed") as caught:
            all_runs(folder / "runs")
        assert caught.value.code is Code.FOLDER_UNUSABLE


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_runs_are_for_their_user_alone(tmp_path: Path) -> None:
    (tmp_path / "workflow.py").touch()
    run = new_run(tmp_path / RUNS_FOLDER, graph(folder=tmp_path))
    run.lock.release()
    write_whole(run.folder.result, b"{}")
    assert mode(tmp_path / RUNS_FOLDER) == mode(run.folder.path) == 0o700
    made = [run.folder.document, run.folder.result, *(tmp_path / RUNS_FOLDER / name for name in ("last", ".gitignore"))]
    assert [mode(path) for path in made] == [0o600] * 4


@pytest.mark.usefixtures("umask")
def test_runs_are_as_open_as_the_folder_that_is_there_already(tmp_path: Path) -> None:
    (tmp_path / RUNS_FOLDER).mkdir()
    (tmp_path / RUNS_FOLDER).chmod(0o750)
    run = claim(tmp_path / RUNS_FOLDER)
    write_whole(run.document, b"{}")
    assert (mode(tmp_path / RUNS_FOLDER), mode(run.path), mode(run.document)) == (0o750, 0o750, 0o640)
