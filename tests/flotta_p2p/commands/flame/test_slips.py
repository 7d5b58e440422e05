"""Slips on the command line: each is one sentence with what to do, and none an exit code 0 that says nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from flotta_p2p import exit_codes
from flotta_p2p.commands.flame import flame
from tests.flame.saved_runs import SavedRun, graph


def typed(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(flame, words)
    return result.exit_code, result.output


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    run = SavedRun(tmp_path / "flame_runs", graph(folder=tmp_path))
    run.set_values("lock", {"beat": [80.0, 80.1]})
    run.end()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("limit", ["nan", "inf", "0", "-1", "1e300", "soon"])
def test_a_limit_is_a_number_of_seconds(lab: Path, limit: str) -> None:
    code, text = typed("run", "--limit", limit)
    assert (code, "--limit" in text) == (exit_codes.USAGE, True)


@pytest.mark.parametrize("address", ["#lock/beat[2]", "#lock/beat[-3]", "#lock/beat@2020-01-01"])
def test_one_value_that_is_not_there_is_told(lab: Path, address: str) -> None:
    code, text = typed("cat", address)
    assert (code, text.startswith(f"flame: {address}: there is no such value. Next: ")) == (exit_codes.DATA, True)
    assert typed("cat", "#lock/beat[5:9]") == (exit_codes.OK, "")


@pytest.mark.parametrize("words", [("logs", "lock"), ("archive", "x y"), ("stop", "#lock"), ("diff", "lock", "j1")])
def test_what_is_no_run_is_told_as_such(lab: Path, words: tuple[str, ...]) -> None:
    code, text = typed(*words)
    assert (code, "is no run" in text) == (exit_codes.USAGE if "#lock" in words else exit_codes.DATA, True)


def test_a_folder_of_runs_that_is_not_there_is_told(lab: Path) -> None:
    code, text = typed("ls", "--runs", "elsewhere")
    assert (code, "elsewhere is no folder" in text) == (exit_codes.DATA, True)
    assert typed("find", "--unit", "K") == (exit_codes.OK, "nothing is there\n")


def test_a_current_folder_that_was_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        code, text = typed("ps")
    finally:
        os.chdir(tmp_path)
    assert (code, "the current folder was removed" in text) == (exit_codes.STORAGE, True)
