"""What a node has done for its runs in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.flame_chore import archive, drop
from flame.journal import JournalReader
from flame.run.run_folder import RunFolder, all_runs
from protocol.errors import StorageError
from tests.flame.saved_runs import SavedRun


def ended(runs: Path) -> SavedRun:
    run = SavedRun(runs)
    run.set_values("lock", {"piezo": [0.1, 0.2, 0.3]})
    run.end("succeeded")
    return run


def values_kept(run: RunFolder) -> int:
    with JournalReader(run.journal("lock")) as reader:
        info = reader.streams()["piezo"]
    return info.last_seq - info.first_seq + 1


def test_the_archive_of_a_run_does_not_touch_the_runs_before_it(tmp_path: Path) -> None:
    first, second = ended(tmp_path), ended(tmp_path)
    archive(second.folder)
    assert second.folder.archive.exists() and values_kept(first.folder) == 3


def test_after_a_run_finite_values_of_the_one_before_go_and_no_archive_is_written(tmp_path: Path) -> None:
    first, second = ended(tmp_path), ended(tmp_path)
    drop(second.folder)
    assert (values_kept(first.folder), values_kept(second.folder)) == (1, 3)
    assert not any(run.archive.exists() for run in all_runs(tmp_path))


def test_a_run_that_cannot_be_read_has_no_archive_and_says_so(tmp_path: Path) -> None:
    run = ended(tmp_path)
    run.folder.result.write_text("{")
    with pytest.raises(StorageError, match="cannot be read"):
        archive(run.folder)
