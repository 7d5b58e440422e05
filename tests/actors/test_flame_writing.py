"""What an executor does with a write: first the disk, then the flame node and its author."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from actors.adapters.flame_files import HeldRun, hold, new_run
from actors.adapters.flame_writes import WriteAsked
from actors.flame_writing import FlameWriting
from flame.control import Written
from flame.graph import Graph, GraphNode, Parameter, Writable
from flame.limits import AUTHORS_NAMED_MAX
from flame.ports import InputPort, NodeSchema
from flame.run.run_record import WriteCount
from flame.run.write_journal import counted, newest_values
from flame.run.writes import Author, WriteRequest
from protocol.errors import Code, StorageError

ME = Author(os.geteuid(), "tom")
OTHER = Author(4_711, "other")


def graph(folder: Path, kind: str = "float", *writable: str) -> Graph:
    (folder / "lock.py").touch()
    (folder / "workflow.py").touch()
    inputs = (InputPort("target", "state", kind), InputPort("gain", "state", "float"))
    given = (Parameter("target", 1.0, "file"), Parameter("gain", 2.0, "file"))
    opened = tuple(Writable(name) for name in writable or ("target", "gain"))
    node = GraphNode("lock", str(folder / "lock.py"), NodeSchema("Lock", "lock.py", inputs), given, writable=opened)
    return Graph("lab", (node,), workflow_file=str(folder / "workflow.py"))


class Executor:
    def __init__(self, run: HeldRun) -> None:
        self.run = run
        self.writing = FlameWriting(run, lambda asked: None)
        self.number = 0

    def take(self, value: object, name: str = "target", author: Author = ME, node: str = "lock") -> Written | None:
        self.number += 1
        asked = WriteAsked(number=self.number, author=author, request=WriteRequest(node, name, value))
        return self.writing.take(asked, has_ended=False)


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[Executor]:
    run = new_run(tmp_path / "flame_runs", graph(tmp_path))
    made = Executor(run)
    yield made
    made.writing.close()
    run.lock.release()


def again(before: Executor, changed: Graph) -> Executor:
    before.writing.close()
    document = type(before.run.document)("id", "j1", changed, 1)
    return Executor(HeldRun(before.run.folder, document, before.run.lock))


def test_a_write_is_journalled_with_its_author_and_given_on(executor: Executor) -> None:
    written = executor.take(81)
    assert written is not None and (written.input, written.value, written.seq) == ("target", 81.0, 1)
    stored = newest_values(executor.run.folder.writes)["lock/target"]
    assert (stored.value, stored.author, stored.uid, stored.seq) == (81.0, "tom", ME.uid, 1)
    assert stored.time_ns == written.time_ns
    assert executor.writing.newest("lock") == {"target": written}


def test_each_input_counts_its_own_writes(executor: Executor) -> None:
    numbers = [one.seq for one in (executor.take(1), executor.take(2), executor.take(3, "gain")) if one is not None]
    assert numbers == [1, 2, 1]
    assert {name: one.values for name, one in counted(executor.run.folder.writes).items()} == {
        "lock/target": 2,
        "lock/gain": 1,
    }


def test_what_a_flame_node_has_not_got_is_sent_again(executor: Executor) -> None:
    one, two = executor.take(1), executor.take(2)
    gain = executor.take(3, "gain")
    assert list(executor.writing.behind("lock", {})) == [two, gain]
    assert list(executor.writing.behind("lock", {"target": 1, "gain": 1})) == [two]
    assert list(executor.writing.behind("lock", {"target": 2, "gain": 1})) == []
    assert one is not None


def test_a_write_that_the_disk_refuses_is_given_to_nobody(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise StorageError(Code.DISK_FULL, "the disk is full")

    executor.take(1)
    with monkeypatch.context() as patched:
        patched.setattr("flame.run.write_journal.WriteJournal.append", full)
        assert executor.take(2) is None
    assert [one.value for one in executor.writing.newest("lock").values()] == [1.0]
    written = executor.take(3)
    assert written is not None and written.seq == 2


def test_others_fill_no_disk_of_the_user_who_runs_it(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.flame_writing.WRITTEN_BYTES_MAX", 10_000)
    inputs = executor.writing._graph.nodes[0].writable
    by_all = tuple(Writable(one.input, (OTHER.name,)) for one in inputs)
    node = msgspec.structs.replace(graph(tmp_path).nodes[0], writable=by_all)
    later = again(executor, msgspec.structs.replace(graph(tmp_path), nodes=(node,)))
    taken = 0
    while later.take(taken, author=OTHER) is not None:
        taken += 1
        assert taken < 10_000 / 100
    size = sum(file.stat().st_size for file in later.run.folder.writes.glob("*.seg"))
    assert taken > 10_000 / 400 and size < 2 * 10_000
    assert later.take(5) is not None and later.take(5, author=OTHER) is None
    after = again(later, msgspec.structs.replace(graph(tmp_path), nodes=(node,)))
    monkeypatch.setattr("actors.flame_writing.WRITTEN_BYTES_MAX", size // 2)
    assert after.take(5) is not None and after.take(5, author=OTHER) is None
    after.writing.close()


def test_what_was_written_stands_when_the_run_is_taken_up_again(executor: Executor, tmp_path: Path) -> None:
    executor.take(1)
    written = executor.take(2)
    later = again(executor, graph(tmp_path))
    assert later.writing.newest("lock") == {"target": written}
    assert list(later.writing.notes("lock")) == [
        "what tom wrote to target before the run was taken up again stands, and not its parameter"
    ]
    third = later.take(3)
    assert third is not None and third.seq == 3
    later.writing.close()


def test_what_does_not_fit_any_more_gives_way_to_the_parameter(executor: Executor, tmp_path: Path) -> None:
    executor.take(1.5)
    later = again(executor, graph(tmp_path, "str"))
    assert later.writing.newest("lock") == {}
    (note,) = later.writing.notes("lock")
    assert "does not fit any more, and its parameter stands: lock/target: 1.5 (float) is no str" in note
    later.writing.close()


def test_an_input_that_is_open_no_more_has_its_parameter(executor: Executor, tmp_path: Path) -> None:
    executor.take(1.5)
    later = again(executor, graph(tmp_path, "float", "gain"))
    assert later.writing.newest("lock") == {}
    assert later.take(5) is None
    assert counted(executor.run.folder.writes) == {
        "lock/target": WriteCount(1, newest_values(executor.run.folder.writes)["lock/target"].time_ns, {"tom": 1})
    }
    later.writing.close()


def test_who_was_refused_is_noted_and_counted(executor: Executor, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        assert executor.take(1, author=OTHER) is None
    assert executor.take("no number") is None  # a slip of the user who runs it is no attempt
    assert list(executor.writing.notes("lock")) == ["other (uid 4711) was refused to write target, 3 times"]
    assert [record.getMessage() for record in caplog.records] == ["other (uid 4711) was refused to write lock/target"]


def test_notes_of_refusals_hold_no_name_that_a_stranger_made_up_and_are_bounded(
    executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    for uid in range(10_000, 10_000 + 2 * AUTHORS_NAMED_MAX):
        executor.take(1, "made\nup", Author(uid, f"s{uid}"))
    executor.take(1, author=OTHER)
    assert list(executor.writing.notes("lock")) == []
    assert len(caplog.records) == AUTHORS_NAMED_MAX
    assert "made" not in caplog.text


def test_the_link_to_the_socket_goes_with_the_run(executor: Executor) -> None:
    link = executor.run.folder.write_socket
    assert link.is_symlink() and link.exists()
    executor.writing.close()
    executor.writing.close()
    assert not link.is_symlink()


def test_a_run_that_opens_nothing_makes_no_socket_and_no_journal(tmp_path: Path) -> None:
    closed = Graph("lab", (GraphNode("lock", "lock.py", NodeSchema("Lock", "lock.py")),))
    run = new_run(tmp_path / "flame_runs", closed)
    writing = FlameWriting(run, lambda asked: None)
    assert not run.folder.write_socket.is_symlink() and not run.folder.writes.exists()
    assert writing.newest("lock") == {} and list(writing.notes("lock")) == []
    writing.close()
    run.lock.release()
    hold(run.folder).release()
