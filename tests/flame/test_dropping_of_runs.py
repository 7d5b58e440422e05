"""Finite values of runs that have ended."""

from __future__ import annotations

import os
import time
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest

from flame.graph import Edge, Graph
from flame.journal import Journal, JournalReader
from flame.names.name_space import NameSpace
from flame.run import dropping
from flame.run.dropping import drop_finite_values
from flame.run.run_record import RunEnd
from protocol.errors import Code, StorageError
from tests.flame.journal.builders import segments_of
from tests.flame.saved_runs import SavedRun, graph

PIEZO = [0.1, 0.2, 0.3]


def lab(keep_s: float = 0.0) -> Graph:
    """The piezo voltage of the lock is kept for so long, and goes to a flow of the digitiser, too."""
    made = graph()
    scope, lock = made.nodes
    outputs = tuple(
        msgspec.structs.replace(port, keep_s=keep_s) if port.name == "piezo" else port for port in lock.schema.outputs
    )
    lock = msgspec.structs.replace(lock, schema=msgspec.structs.replace(lock.schema, outputs=outputs))
    return msgspec.structs.replace(made, nodes=(scope, lock))


def ended(runs: Path, of: Graph, end: RunEnd = "succeeded") -> SavedRun:
    run = SavedRun(runs, of)
    run.set_values("lock", {"piezo": PIEZO, "beat": [80.0, 81.0]}, memory={"integral": 2.5})
    run.end(end)
    return run


def kept(run: SavedRun, name: str = "piezo") -> list[float]:
    return [value.value for value in NameSpace(run.folder.path.parent).read(f"#/{run.folder.alias}/lock/{name}")]


def test_values_without_keep_stay_until_the_next_run_of_their_workflow_has_ended(tmp_path: Path) -> None:
    first = ended(tmp_path, lab())
    drop_finite_values(first.folder, lab())
    assert kept(first) == PIEZO
    second = ended(tmp_path, lab())
    drop_finite_values(second.folder, lab())
    assert kept(first) == PIEZO[-1:] and kept(second) == PIEZO
    assert kept(first, "beat") == [80.0, 81.0]
    with JournalReader(first.folder.journal("lock")) as reader:
        assert reader.memory() == {"integral": 2.5}


def test_a_run_whose_values_went_is_not_touched_again(tmp_path: Path) -> None:
    first, second = ended(tmp_path, lab()), ended(tmp_path, lab())
    drop_finite_values(second.folder, lab())
    before = [(path, path.stat().st_mtime_ns, path.stat().st_ino) for path in segments_of(first.folder.journal("lock"))]
    drop_finite_values(second.folder, lab())
    assert before == [(p, p.stat().st_mtime_ns, p.stat().st_ino) for p in segments_of(first.folder.journal("lock"))]


def test_values_with_keep_stay_as_long_as_that(tmp_path: Path) -> None:
    first, second = ended(tmp_path, lab(3_600)), ended(tmp_path, lab(3_600))
    drop_finite_values(second.folder, lab())
    assert kept(first) == PIEZO
    for segment in segments_of(first.folder.journal("lock")):
        os.utime(segment, (time.time() - 3_601,) * 2)
    drop_finite_values(second.folder, lab())
    assert kept(first) == PIEZO[-1:]


def test_runs_of_another_workflow_and_those_that_go_on_or_were_broken_off_are_left_alone(tmp_path: Path) -> None:
    other = ended(tmp_path, msgspec.structs.replace(lab(), workflow_file="/elsewhere/workflow.py"))
    broken, running = ended(tmp_path, lab()), ended(tmp_path, lab())
    broken.folder.result.unlink()
    unreadable = ended(tmp_path, lab())
    unreadable.folder.document.write_text("{")
    last = ended(tmp_path, lab())
    with running.running():
        drop_finite_values(last.folder, lab())
        assert kept(other) == kept(broken) == kept(running) == kept(last) == PIEZO


def test_runs_that_cannot_be_listed_or_looked_at_are_no_fault_of_the_run_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ended(tmp_path, lab()), ended(tmp_path, lab())
    for error in (StorageError(Code.FOLDER_UNUSABLE, "no"), OSError(5, "Input/output error")):
        with monkeypatch.context() as refusing:
            refusing.setattr(dropping, "looked_through", Mock(side_effect=error))
            drop_finite_values(second.folder, lab())
    assert kept(first) == PIEZO


@pytest.mark.parametrize(("end", "there"), [("stopped", PIEZO), ("succeeded", PIEZO[-1:])])
def test_what_a_run_that_may_be_resumed_has_still_to_take_stays(
    tmp_path: Path, end: RunEnd, there: list[float]
) -> None:
    fed_back = msgspec.structs.replace(lab(), edges=(*lab().edges, Edge("lock", "piezo", "lock", "trace", "block", 8)))
    first, second = ended(tmp_path, fed_back, end), ended(tmp_path, fed_back)
    drop_finite_values(second.folder, fed_back)
    assert kept(first) == there
    with Journal.open(first.folder.journal("lock"), first.journalled("lock")) as journal:
        journal.append({}, 1, cursors={"trace": 3})
    drop_finite_values(second.folder, fed_back)
    assert kept(first) == PIEZO[-1:]
