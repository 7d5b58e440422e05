"""A run of another user of this machine: what is closed is told as such, and the rest can be read."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from actors.adapters.flame_files import take_up
from flame.archive import write_archive
from flame.graph import Writable
from flame.names.name_space import NameSpace
from flame.run.run_folder import all_runs
from flame.run.write_journal import WriteJournal
from flame.run.writes import Author
from protocol.errors import Code, DeniedError, StorageError
from tests.flame.saved_runs import SavedRun, graph
from tests.users import without_privileges


@pytest.fixture
def runs() -> Iterator[Path]:
    """Where everybody may look: the folders of pytest are closed, and so is one that a run makes."""
    folder = Path(tempfile.mkdtemp(prefix="flame-others-"))
    runs = folder / "flame_runs"
    runs.mkdir()
    for path in (folder, runs):
        path.chmod(0o755)
    yield runs
    shutil.rmtree(folder)


@contextmanager
def as_another(run: SavedRun) -> Iterator[None]:
    """Root becomes somebody else; anybody else takes the rights away from himself."""
    closed = [run.folder.lock, *run.folder.journal("lock").iterdir(), *run.folder.writes.iterdir()]
    modes = [(path, path.stat().st_mode) for path in (run.folder.path, *closed)]
    for path in closed:
        path.chmod(0o600 if os.geteuid() == 0 else 0)
    run.folder.path.chmod(0o755 if os.geteuid() == 0 else 0o555)
    try:
        with without_privileges():
            yield
    finally:
        for path, mode in modes:
            path.chmod(mode)


@pytest.fixture
def saved(runs: Path) -> SavedRun:
    made = graph(folder=runs.parent)
    lock = msgspec.structs.replace(made.node("lock"), writable=(Writable("gain"),))
    run = SavedRun(runs, msgspec.structs.replace(made, nodes=(made.node("scope"), lock)))
    written = WriteJournal(run.folder.writes, ["lock/gain"])
    written.append("lock/gain", 0.5, Author(1001, "anna"))
    written.close()
    run.set_values("lock", {"beat": [80.0, 80.1], "piezo": [0.5]}, memory={"integral": 1.5})
    return run


def test_what_is_permanent_is_read_from_the_archive_where_the_journal_is_closed(saved: SavedRun, runs: Path) -> None:
    write_archive(saved.folder, saved.document, saved.end())
    saved.folder.archive.chmod(0o644)
    with as_another(saved):
        assert [value.value for value in NameSpace(runs).read("#lock/beat")] == [80.0, 80.1]
        assert [(one.value, one.author) for one in NameSpace(runs).read("#lock/in/gain")] == [(0.5, "anna")]


@pytest.mark.parametrize("address", ["#lock/beat", "#lock/piezo", "#lock/memory"])
def test_a_closed_journal_names_its_owner(saved: SavedRun, runs: Path, address: str) -> None:
    owner = saved.folder.path.owner()
    with as_another(saved), pytest.raises(DeniedError, match=f"run j1 belongs to {owner}: the journals") as caught:
        list(NameSpace(runs).read(address))
    assert caught.value.code == Code.RUN_FOREIGN


def test_what_was_written_there_names_its_owner(saved: SavedRun, runs: Path) -> None:
    with as_another(saved), pytest.raises(DeniedError, match="what is written to its inputs is read by") as caught:
        list(NameSpace(runs).read("#lock/in/gain"))
    assert caught.value.code == Code.RUN_FOREIGN


def test_what_it_has_is_listed_all_the_same(saved: SavedRun, runs: Path) -> None:
    with as_another(saved):
        listed = {entry.name: entry.values for entry in NameSpace(runs).list("#lock/out")}
        assert listed == {"beat": None, "error": None, "piezo": None}
        assert [entry.name for entry in NameSpace(runs).list("#lock/memory")] == ["integral"]
        (written,) = NameSpace(runs).list("#lock/in/gain")
        assert (written.state, written.source, written.values) == ("writable", "file", None)


def test_a_runtime_output_is_not_waited_for_where_its_sockets_are_closed(saved: SavedRun, runs: Path) -> None:
    sockets = runs.parent / "sockets"
    sockets.mkdir(mode=0o700 if os.geteuid() == 0 else 0)
    saved.folder.sockets.symlink_to(sockets)
    with saved.running(), as_another(saved), pytest.raises(DeniedError, match="seen by that user alone"):
        list(NameSpace(runs).read("#lock/error"))


def test_it_is_not_taken_up_and_a_folder_of_ones_own_is_advised(saved: SavedRun) -> None:
    with as_another(saved), pytest.raises(DeniedError) as caught:
        take_up(saved.folder, saved.document.graph)
    assert (caught.value.code, "a folder of your own" in caught.value.next_step) == (Code.RUN_FOREIGN, True)


def test_a_folder_of_runs_that_is_closed_is_told(saved: SavedRun, runs: Path) -> None:
    runs.chmod(0o700 if os.geteuid() == 0 else 0)
    try:
        with without_privileges(), pytest.raises(StorageError, match="cannot be listed: Permission denied"):
            all_runs(runs)
    finally:
        runs.chmod(0o755)
