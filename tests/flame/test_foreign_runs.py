"""A run that somebody else has laid there: named errors, bounded memory, and nothing outside of its folder."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flame.archive import Archive, write_archive
from flame.control import read_from_node
from flame.graph import Edge
from flame.journal import JournalReader
from flame.journal.segments import _LENGTHS, _MARK, _RECORD, HEAD, Piece, Record, record_bytes
from flame.locks import is_file_locked
from flame.names.name_space import NameSpace
from flame.run.run_folder import claim, is_below, is_node_name
from flame.run.run_record import Provenance, Source, to_json
from flame.run.runs import load, workflow_of
from flotta_p2p.commands.flame.runs import _Tail
from flotta_p2p.commands.output import table
from protocol.errors import Code, StorageError
from tests.flame.archive import builders
from tests.flame.saved_runs import SavedRun, graph


@pytest.fixture
def saved(tmp_path: Path) -> SavedRun:
    return SavedRun(tmp_path / "flame_runs", graph(folder=tmp_path))


@pytest.mark.parametrize("name", ["", ".", "..", "../lock", "/etc/passwd", "a//b", "a/../b", "a\0b"])
def test_a_name_that_leads_elsewhere_is_no_name(name: str) -> None:
    assert not is_below(name) and not is_node_name(name)


def test_files_of_sources_may_lie_in_folders_and_those_of_flame_nodes_not() -> None:
    assert is_below("nodes/lock.py") and is_node_name("lock") and not is_node_name("nodes/lock")


def of_a_node(saved: SavedRun) -> bytes:
    node = msgspec.structs.replace(saved.document.graph.nodes[0], name="../../lock")
    return to_json(
        msgspec.structs.replace(saved.document, graph=msgspec.structs.replace(saved.document.graph, nodes=(node,)))
    )


def of_a_source(saved: SavedRun) -> bytes:
    return to_json(msgspec.structs.replace(saved.document, provenance=Provenance((Source("/etc/passwd", ""),))))


@pytest.mark.parametrize(
    "bytes_of",
    [
        of_a_node,
        of_a_source,
        lambda saved: b"[" * 100_000,
        lambda saved: b'{"x": ' * 100_000,
        lambda saved: b'{"id": "\xff"}',
        lambda saved: b"",
        lambda saved: os.urandom(1_000),
    ],
)
def test_a_run_json_that_is_none_is_named(saved: SavedRun, bytes_of: Callable[[SavedRun], bytes]) -> None:
    saved.folder.document.write_bytes(bytes_of(saved))
    with pytest.raises(StorageError, match=r"j1/run\.json cannot be read") as raised:
        load(saved.folder)
    assert raised.value.code is Code.FOLDER_UNUSABLE


def test_a_run_json_that_is_a_pipe_a_device_or_endless_is_named(saved: SavedRun) -> None:
    file = saved.folder.document
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(StorageError, match="no ordinary file"):
        load(saved.folder)
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(StorageError, match="no ordinary file"):
        load(saved.folder)
    file.unlink()
    with file.open("wb") as endless:
        endless.truncate(1 << 40)
    with pytest.raises(StorageError, match="at most"):
        load(saved.folder)


def test_an_archive_takes_no_file_that_did_not_run(tmp_path: Path) -> None:
    run = builders.run_folder(tmp_path)
    (tmp_path / "secret").write_text("of this user")
    run.sources.mkdir()
    (run.sources / "lock.py").symlink_to(tmp_path / "secret")
    (run.sources / "good.py").write_text("pass")
    good = Source("good.py", hashlib.sha256(b"pass").hexdigest())
    document = builders.document(
        builders.node("lock", builders.output("beat")), provenance=Provenance((Source("lock.py", "00"), good))
    )
    builders.journal(run, "lock", beat=[1.0])
    path = write_archive(run, document, None)
    Archive(path).close()
    data = path.read_bytes()
    assert b"of this user" not in data and b"good.py" in data


def segment(folder: Path, *records: bytes) -> Path:
    folder.mkdir(parents=True)
    (folder / "00000001.seg").write_bytes(HEAD + b"".join(records))
    return folder


def hostile(tells: bytes) -> bytes:
    return _RECORD.pack(_MARK, len(tells), 0, zlib.crc32(tells, zlib.crc32(_LENGTHS.pack(len(tells), 0)))) + tells


@pytest.mark.parametrize("length", [-1, 1 << 40, 1 << 63])
def test_a_piece_that_goes_beyond_its_record_is_damage(tmp_path: Path, length: int) -> None:
    record = Record(1, 1, [Piece("v", 1, length, 0)], opening=1, streams=["v"])
    with JournalReader(segment(tmp_path / "j", record_bytes(record, 4), b"abcd")) as journal:
        with pytest.raises(StorageError) as raised:
            list(journal.read("v", 1))
            journal.last("v")
            raise StorageError(Code.JOURNAL_DAMAGED, "nothing of it was there")
        assert raised.value.code is Code.JOURNAL_DAMAGED


@pytest.mark.parametrize("tells", [b"\x81\xa1x" + b"\x91" * 100_000, b"\x81\xa1s\x91\xa1\xff", b"\xc1", b"\x93\x01"])
def test_a_record_whose_checksum_is_right_and_that_does_not_read_is_damage_or_a_torn_end(
    tmp_path: Path, tells: bytes
) -> None:
    whole = record_bytes(Record(opening=1, streams=["v"]), 0)
    folder = segment(tmp_path / "j", whole, hostile(tells), whole)
    with pytest.raises(StorageError) as raised, JournalReader(folder) as journal:
        journal.streams()
    assert raised.value.code is Code.JOURNAL_DAMAGED


def test_a_lock_that_may_not_be_opened_still_tells_whether_it_is_held(saved: SavedRun) -> None:
    assert not is_file_locked(saved.folder.lock)
    with saved.running():
        assert is_file_locked(saved.folder.lock)


def test_a_lock_of_another_file_that_has_the_same_number_holds_no_run(
    saved: SavedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of files are those of their disk: another user makes files elsewhere until one has that of ours."""
    saved.folder.lock.touch()
    monkeypatch.setattr("flame.locks._is_listed", lambda facts: True)
    assert not load(saved.folder).is_running
    with saved.running():
        assert load(saved.folder).is_running
    assert not load(saved.folder).is_running


def test_what_is_resumed_lies_beside_the_runs_whatever_their_record_says(saved: SavedRun, tmp_path: Path) -> None:
    assert workflow_of(load(saved.folder)) == tmp_path / "workflow.py"
    elsewhere = msgspec.structs.replace(saved.document.graph, workflow_file="/tmp/another/workflow.py")
    saved.folder.document.write_bytes(to_json(msgspec.structs.replace(saved.document, graph=elsewhere)))
    assert workflow_of(load(saved.folder)) == tmp_path / "workflow.py"


def test_a_line_without_an_end_is_shown_in_pieces_and_no_character_moves_the_cursor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flotta_p2p.commands.flame.runs.LOG_LINE_BYTES_MAX", 10)
    monkeypatch.setattr("flotta_p2p.commands.flame.runs._LOG_READ_BYTES", 8)
    (tmp_path / "log").write_text("short\n\x1b[2J" + 30 * "x")
    lines = list(_Tail(tmp_path / "log", "").lines(whole=False))
    assert lines[0] == "short" and lines[1].startswith("�[2J") and max(map(len, lines)) <= 18


@pytest.mark.parametrize(
    "change",
    [
        {"edges": (Edge("nobody", "trace", "lock", "trace", "block", 8),)},
        {"edges": (Edge("scope", "nothing", "lock", "trace", "block", 8),)},
        {"edges": (Edge("scope", "trace", "../../lock", "trace", "block", 8),)},
        {"edges": (Edge("scope", "trace", "lock", "nothing", "block", 8),)},
        {"stop_when": (("nobody", "done"),)},
        {"nodes": 2 * graph().nodes},
    ],
)
def test_a_graph_that_is_not_whole_is_none(saved: SavedRun, change: dict[str, Any]) -> None:
    changed = msgspec.structs.replace(saved.document.graph, **change)
    saved.folder.document.write_bytes(to_json(msgspec.structs.replace(saved.document, graph=changed)))
    with pytest.raises(StorageError, match=r"j1/run\.json cannot be read"):
        load(saved.folder)


@pytest.mark.parametrize("change", [{"started_ns": 10**30}, {"started_ns": -1}, {"workdir": "/tmp/a\0b"}])
def test_a_time_or_a_folder_that_cannot_be_is_none(saved: SavedRun, change: dict[str, Any]) -> None:
    saved.folder.document.write_bytes(to_json(msgspec.structs.replace(saved.document, **change)))
    with pytest.raises(StorageError, match=r"j1/run\.json cannot be read"):
        load(saved.folder)


@pytest.mark.timeout(30)
def test_a_log_or_a_lock_that_is_a_pipe_or_leads_in_a_circle_is_named(saved: SavedRun) -> None:
    log = saved.folder.log("lock")
    log.parent.mkdir(exist_ok=True)
    os.mkfifo(log)
    with pytest.raises(StorageError, match="no ordinary file"):
        list(_Tail(log, "").lines(whole=True))
    with pytest.raises(StorageError, match="no ordinary file"):
        NameSpace(saved.folder.path.parent).read_value("#/j1/lock/log")
    saved.folder.lock.unlink(missing_ok=True)
    saved.folder.lock.symlink_to("lock")
    with pytest.raises(StorageError, match="j1/lock cannot be read"):
        _ = load(saved.folder).is_running
    saved.folder.lock.unlink()
    os.mkfifo(saved.folder.lock)
    with pytest.raises(StorageError, match="no ordinary file"):
        _ = load(saved.folder).is_running


@pytest.mark.timeout(30)
def test_the_number_of_the_newest_run_is_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "last")
    assert claim(tmp_path).alias == "j1"


@pytest.mark.parametrize("message", [b"\x81\xa1x" + b"\x91" * 100_000, b"\x81\xa4kind" + b"\x91" * 100_000])
def test_what_a_flame_node_sends_that_is_nested_without_end_is_no_message(message: bytes) -> None:
    with pytest.raises((ValueError, msgspec.DecodeError)):
        read_from_node(message)


def test_a_cell_of_a_table_makes_no_row() -> None:
    assert len(table(("run", "reason"), [("j1", "ended\nj2  succeeded\r\nj3  succeeded")])) == 2
