"""Keeping opens runs that nobody asked for: what somebody laid into one of them reaches no other file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from actors.flame_chore import drop_apart
from flame.run.dropping import drop_finite_values, has_finite_values
from flame.run.run_record import to_json
from tests.flame.journal.builders import segments_of
from tests.flame.saved_runs import SavedRun
from tests.flame.test_dropping_of_runs import PIEZO, ended, kept, lab

THESIS = "thesis\n" * 1_000


def link(name: str) -> Callable[[Path, Path], None]:
    def lay(journal: Path, precious: Path) -> None:
        (journal / name).unlink(missing_ok=True)
        (journal / name).symlink_to(precious)

    return lay


def hard_link(journal: Path, precious: Path) -> None:
    (journal / "lock").unlink(missing_ok=True)
    (journal / "lock").hardlink_to(precious)


@pytest.mark.parametrize(
    "lay", [link("lock"), link("00000001.part"), link("00000002.seg"), link("positions.new"), hard_link]
)
def test_a_link_in_the_journal_of_an_old_run_leads_nowhere(tmp_path: Path, lay: Callable[[Path, Path], None]) -> None:
    precious = tmp_path / "thesis.tex"
    precious.write_text(THESIS)
    first, second = ended(tmp_path / "runs", lab()), ended(tmp_path / "runs", lab())
    lay(first.folder.journal("lock"), precious)
    drop_finite_values(second.folder, lab())
    assert precious.read_text() == THESIS


def the_run(old: SavedRun, precious: SavedRun) -> Path:
    return old.folder.path


def its_journals(old: SavedRun, precious: SavedRun) -> Path:
    return old.folder.journal("lock").parent


def a_journal(old: SavedRun, precious: SavedRun) -> Path:
    return old.folder.journal("lock")


@pytest.mark.parametrize("place", [the_run, its_journals, a_journal])
def test_an_old_run_that_leads_to_another_takes_nothing_from_it(
    tmp_path: Path, place: Callable[[SavedRun, SavedRun], Path]
) -> None:
    precious = ended(tmp_path / "elsewhere", lab())
    first, second = ended(tmp_path / "runs", lab()), ended(tmp_path / "runs", lab())
    linked = place(first, precious)
    shutil.rmtree(linked)
    linked.symlink_to(place(precious, first))
    drop_finite_values(second.folder, lab())
    assert kept(precious) == PIEZO


@pytest.mark.timeout(30)
def test_a_pipe_in_an_old_run_is_not_waited_for(tmp_path: Path) -> None:
    in_journal, as_lock, last = (ended(tmp_path, lab()) for _ in range(3))
    (segment,) = segments_of(in_journal.folder.journal("lock"))
    segment.unlink()
    os.mkfifo(segment)
    as_lock.folder.lock.unlink(missing_ok=True)
    os.mkfifo(as_lock.folder.lock)
    drop_finite_values(last.folder, lab())
    assert not as_lock.folder.lock.is_file() and kept(last) == PIEZO


def test_an_index_that_is_cut_off_ends_no_run(tmp_path: Path) -> None:
    """LMDB maps it: who reads behind its end is killed."""
    first, second = ended(tmp_path, lab()), ended(tmp_path, lab())
    os.truncate(first.folder.journal("lock") / "index" / "data.mdb", 8_192)
    drop_apart(second.folder)
    assert kept(second) == PIEZO


def test_values_go_in_a_process_of_its_own_where_there_are_some(tmp_path: Path) -> None:
    first = ended(tmp_path, lab())
    assert not has_finite_values(first.folder, lab())
    second = ended(tmp_path, lab())
    assert has_finite_values(second.folder, lab())
    drop_apart(second.folder)
    assert kept(first) == PIEZO[-1:] and kept(second) == PIEZO


def test_a_run_with_an_edge_to_nowhere_is_left_alone(tmp_path: Path) -> None:
    first, second = ended(tmp_path, lab()), ended(tmp_path, lab())
    edges = tuple(msgspec.structs.replace(edge, target="nobody") for edge in lab().edges)
    graph = msgspec.structs.replace(lab(), edges=edges)
    first.folder.document.write_bytes(to_json(msgspec.structs.replace(first.document, graph=graph)))
    drop_finite_values(second.folder, lab())
    first.folder.document.write_bytes(to_json(first.document))
    assert kept(first) == PIEZO
