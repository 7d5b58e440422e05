"""What was written to an input: by its address and in the archive, live, afterwards, and of the archive alone."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from shutil import rmtree

import msgspec
import numpy
import pytest

from flame.archive import Archive, write_archive
from flame.graph import Graph, Writable
from flame.names.name_space import NameSpace
from flame.names.saved_inputs import saved_inputs
from flame.run.run_record import WriteCount
from flame.run.write_journal import WriteJournal, counted
from flame.run.writes import Author
from flame.types.portable import dump
from protocol.errors import Code, StorageError, WorkflowError
from tests.flame.saved_runs import BEGAN_NS, SavedRun, graph

ANNA = Author(1001, "anna")
TOM = Author(1002, "tom")


def opened(*names: str) -> Graph:
    """The graph of a lock whose `gain` may be written."""
    made = graph()
    lock = msgspec.structs.replace(made.node("lock"), writable=tuple(Writable(name) for name in names or ("gain",)))
    return msgspec.structs.replace(made, nodes=(made.node("scope"), lock))


def write(run: SavedRun, *values: tuple[object, Author], stream: str = "lock/gain") -> None:
    journal = WriteJournal(run.folder.writes, [stream])
    for value, author in values:
        journal.append(stream, dump(value), author)
    journal.close()


def authors(archive: Archive, stream: str) -> list[str]:
    return [one.author for one in archive.read(stream, 1)]


@pytest.fixture
def run(tmp_path: Path) -> SavedRun:
    saved = SavedRun(tmp_path / "flame_runs", opened())
    write(saved, (0.5, ANNA), (0.25, TOM), (0.125, ANNA))
    return saved


@pytest.fixture
def space(run: SavedRun) -> NameSpace:
    return NameSpace(run.folder.path.parent)


@pytest.mark.parametrize("is_archived", [False, True])
def test_values_come_with_time_and_author_from_the_journal_and_from_the_archive(
    run: SavedRun, space: NameSpace, is_archived: bool
) -> None:
    result = run.end()
    if is_archived:
        write_archive(run.folder, run.document, result)
        rmtree(run.folder.writes)
    read = list(space.read("#lock/in/gain"))
    assert [(one.index, one.value, one.author) for one in read] == [
        (0, 0.5, "anna"),
        (1, 0.25, "tom"),
        (2, 0.125, "anna"),
    ]
    assert all(abs(one.time_ns - time.time_ns()) < 3_600 * 10**9 for one in read)
    assert space.read_value("#lock/in/gain") == 0.125
    assert space.read_value("#lock/in/gain[0]") == 0.5
    assert space.read_value("#lock/in/gain[1:]") == [0.25, 0.125]
    assert space.read_value("#lock/params/gain") == 0.2
    (entry,) = space.list("#lock/in/gain")
    assert (entry.values, entry.source, entry.state, entry.kind) == (3, "written by anna", "writable", "parameter")
    assert entry.newest_ns == read[-1].time_ns


def test_before_the_first_write_it_is_the_parameter(tmp_path: Path) -> None:
    saved = SavedRun(tmp_path / "flame_runs", opened())
    space = NameSpace(saved.folder.path.parent)
    (value,) = space.read("#lock/in/gain")
    assert (value.value, value.is_constant, value.author, value.time_ns) == (0.2, True, "", BEGAN_NS)
    assert space.read_value("#lock/in/gain") == 0.2
    with pytest.raises(WorkflowError) as nothing:
        space.read_value("#lock/in/gain[0]")
    assert nothing.value.code is Code.NOTHING_THERE
    (entry,) = space.list("#lock/in/gain")
    assert (entry.values, entry.source, entry.state) == (None, "file", "writable")


def test_a_list_says_who_may_write(tmp_path: Path) -> None:
    made = opened()
    lock = msgspec.structs.replace(made.node("lock"), writable=(Writable("gain", ("anna", "@lab")),))
    SavedRun(tmp_path / "flame_runs", msgspec.structs.replace(made, nodes=(made.node("scope"), lock)))
    (entry,) = NameSpace(tmp_path / "flame_runs").list("#lock/in/gain")
    assert entry.state == "writable, also by anna, @lab"


def test_an_input_that_is_not_open_is_as_before(tmp_path: Path) -> None:
    SavedRun(tmp_path / "flame_runs", graph())
    space = NameSpace(tmp_path / "flame_runs")
    assert space.read_value("#lock/in/gain") == 0.2
    assert [entry.state for entry in space.list("#lock/in")] == ["", "", ""]


def test_watching_gives_the_newest_write_and_each_further_one_until_the_end(tmp_path: Path) -> None:
    saved = SavedRun(tmp_path / "flame_runs", opened())
    space = NameSpace(saved.folder.path.parent)
    write(saved, (1.0, ANNA), (2.0, ANNA))
    seen: list[tuple[object, str]] = []
    has_begun = threading.Event()

    def follow() -> None:
        for value in space.watch("#lock/in/gain").values:
            seen.append((value.value, value.author))
            has_begun.set()

    with saved.running():
        watcher = threading.Thread(target=follow)
        watcher.start()
        assert has_begun.wait(20)
        write(saved, (3.0, TOM), (4.0, TOM))
    watcher.join(20)
    assert not watcher.is_alive()
    assert seen == [(2.0, "anna"), (3.0, "tom"), (4.0, "tom")]


def test_watching_waits_for_the_first_write(tmp_path: Path) -> None:
    saved = SavedRun(tmp_path / "flame_runs", opened())
    seen: list[object] = []
    with saved.running():
        values = NameSpace(saved.folder.path.parent).watch("#lock/in/gain").values
        watcher = threading.Thread(target=lambda: seen.extend(one.value for one in values))
        watcher.start()
        write(saved, (1.0, ANNA), (2.0, ANNA))
    watcher.join(20)
    assert seen in ([1.0, 2.0], [2.0])  # whether it looked before both were there


def test_a_dry_run_gets_the_parameter_and_then_what_was_written(run: SavedRun, space: NameSpace) -> None:
    run.end()
    assert saved_inputs("#/j1/lock", space.runs.parent, ["gain"]) == {"gain": [0.2, 0.5, 0.25, 0.125]}


def test_how_often_and_by_whom_it_was_written_is_counted(run: SavedRun) -> None:
    counts = counted(run.folder.writes)
    assert counts.keys() == {"lock/gain"}
    assert (counts["lock/gain"].values, counts["lock/gain"].authors) == (3, {"anna": 2, "tom": 1})
    assert counted(run.folder.path / "nothing") == {}


# --- the archive -------------------------------------------------------------------------------------------------


def test_the_archive_has_value_time_author_and_number_of_the_user(run: SavedRun) -> None:
    result = msgspec.structs.replace(run.end(), written={"lock/gain": WriteCount(3, 7, {"anna": 2, "tom": 1})})
    with Archive(write_archive(run.folder, run.document, result)) as archive:
        assert [one.value for one in archive.read("lock/in/gain", 1)] == [0.5, 0.25, 0.125]
        assert authors(archive, "lock/in/gain") == ["anna", "tom", "anna"]
        attributes = archive.attributes("lock/in/gain")
        assert attributes["eui"] == f"#/{run.document.id}/lock/in/gain" and attributes["dtype"] == "float"
        assert "lock/in/gain" not in archive.streams()
        assert msgspec.json.decode(archive.facts()["written"])["lock/gain"]["authors"] == {"anna": 2, "tom": 1}
    import h5py

    with h5py.File(run.folder.archive) as file:
        group = file["lock/in"]
        assert sorted(group) == ["gain", "gain_author", "gain_time", "gain_uid"]
        assert group["gain_time"].dtype == numpy.dtype("i8") and group["gain_uid"][:].tolist() == [1001, 1002, 1001]


def test_arrays_and_maps_are_kept_bit_for_bit(tmp_path: Path) -> None:
    saved = SavedRun(tmp_path / "flame_runs", opened())
    values = [numpy.array([1.0, float("nan")]), numpy.array([2.0, -0.0])]
    write(saved, *((value, ANNA) for value in values))
    write(saved, ({"a": [1, None]}, ANNA), (b"\0", TOM), stream="lock/queue")
    with Archive(write_archive(saved.folder, saved.document, None)) as archive:
        back = [one.value.tobytes() for one in archive.read("lock/in/gain", 1)]
        assert back == [value.tobytes() for value in values]
        assert [one.value for one in archive.read("lock/in/queue", 1)] == [{"a": [1, None]}, b"\0"]


def test_inputs_whose_names_would_clash_beside_each_other_are_told_apart(tmp_path: Path) -> None:
    saved = SavedRun(tmp_path / "flame_runs", opened())
    write(saved, (1.0, ANNA))
    write(saved, (2.0, TOM), stream="lock/gain_author")
    with Archive(write_archive(saved.folder, saved.document, None)) as archive:
        assert authors(archive, "lock/in/gain") == ["anna"] and [
            one.author for one in archive.read("lock/in/gain_author", 1)
        ] == ["tom"]
        assert [one.value for one in archive.read("lock/in/gain_author", 1)] == [2.0]


def test_what_was_written_to_a_flame_node_that_is_there_no_more_is_kept(tmp_path: Path) -> None:
    saved = SavedRun(tmp_path / "flame_runs", opened())
    write(saved, (1.0, ANNA), stream="gone/x")
    with Archive(write_archive(saved.folder, saved.document, None)) as archive:
        assert archive.written().keys() == {"gone/in/x"}


def test_a_damaged_journal_of_writes_is_told_and_salvaged(run: SavedRun) -> None:
    (segment,) = run.folder.writes.glob("*.seg")
    data = bytearray(segment.read_bytes())
    place = data.find(b"tom")
    data[place] ^= 1
    segment.write_bytes(data)
    with pytest.raises(StorageError) as damaged:
        write_archive(run.folder, run.document, None)
    assert damaged.value.code is Code.JOURNAL_DAMAGED
    with Archive(write_archive(run.folder, run.document, None, salvage=True)) as archive:
        assert [one.value for one in archive.read("lock/in/gain", 1)] == [0.5, 0.125]
        assert authors(archive, "lock/in/gain") == ["anna", "anna"]
        assert archive.attributes("lock/in/gain")["missing"] == 1
