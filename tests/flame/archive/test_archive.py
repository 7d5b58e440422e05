from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame.archive import Archive, columns, write_archive, writing
from flame.graph import Parameter
from flame.journal import Journal, JournalReader
from flame.limits import ATTRIBUTE_BYTES_MAX
from flame.run.run_record import NodeResult, Provenance, Source, read_document
from flame.values import encode
from protocol.errors import Code, StorageError
from tests.flame.any_values import NAN_WITH_A_MESSAGE, arrays, scalars, values
from tests.flame.archive.builders import JOB, archived, document, ended, journal, node, output, run_folder
from tests.flame.same import is_same

FLOATS = [0.0, -0.0, 1.5, math.nan, NAN_WITH_A_MESSAGE, math.inf, -math.inf, 5e-324]
KINDS: list[tuple[str, list[Any]]] = [
    ("number", FLOATS),
    ("number", [0, -(2**63), 2**63 - 1]),
    ("number", [2**63, 2**64 - 1, 0]),
    ("number", [True, False]),
    ("number", []),
    ("text", ["", "€ and more", "line\nline", " "]),
    ("bytes", [b"", b"\0\xff", b"abc", b"def"]),
    ("bytes", [b"abc", b"def"]),
    ("array", [np.arange(6.0).reshape(2, 3) * k for k in range(3)]),
    ("array", [np.array([True, False]), np.array([True, True])]),
    ("array", [np.array([1 + 2j]), np.array([math.nan * 1j])]),
    ("array", [np.array(1.5), np.array(2.5)]),
    ("array", [np.array(FLOATS)]),
    ("array", [np.arange(3, dtype=dtype) for dtype in ["f2"] * 3]),
    ("ragged", [np.arange(k, dtype="u2") for k in (3, 0, 5)]),
    ("ragged", [np.ones((k, 2), "f4") for k in (0, 2, 1)]),
    ("ragged", [np.empty((0, 3)), np.empty((0, 3))]),
    ("message-pack", [-1, 2**64 - 1]),
    ("message-pack", [1, 1.0]),
    ("message-pack", [1.5, None]),
    ("message-pack", [True, 1]),
    ("message-pack", ["a\0b", "c"]),
    ("message-pack", [{"a": [np.arange(3), {"b": None}]}, {None: b"x", 1: math.nan}]),
    ("message-pack", [[1.0, 2.0], [3.0]]),
    ("message-pack", [np.arange(2), np.arange(2.0)]),
    ("message-pack", [np.arange(2), np.ones((2, 2), int)]),
    ("message-pack", [np.array(["a", "bcd"])]),
    ("message-pack", [np.array(["2026-01-01"], "M8[ns]")]),
    ("message-pack", [np.zeros(2, [("a", "i4")])]),
]


@pytest.mark.parametrize(("kind", "stream"), KINDS, ids=repr)
def test_bug_02_values_of_an_archive_are_those_that_were_set(tmp_path: Path, kind: str, stream: list[Any]) -> None:
    """The old code stored 0.0 as 1.1e-308, NaN, inf and bytes as null, 2^63 negative and 3.0 as 3."""
    seen, archive = archived(tmp_path, stream)
    assert is_same(seen, stream)
    assert archive.attributes("lock/beat")["kind"] == kind
    assert archive.streams() == {"lock/beat": (1, len(stream), 10 * len(stream))}
    archive.close()


@given(st.lists(values, max_size=5) | st.lists(scalars) | st.lists(arrays, max_size=4))
@settings(max_examples=40)
def test_bug_09_ragged_and_mixed_values_come_back_and_do_not_cut_the_archive_short(stream: list[Any]) -> None:
    """The old code raised during the flush and left a short file and no result."""
    with tempfile.TemporaryDirectory() as folder:
        seen, archive = archived(Path(folder), stream)
        assert is_same(seen, [*stream])
        archive.close()


def test_bug_10_times_stand_beside_the_values_in_their_order(tmp_path: Path) -> None:
    """The old code took time and values from two queries without an order, as local time marked as UTC."""
    run = run_folder(tmp_path)
    measured = [1_700_000_000_000_000_001, 5, -3, 2**62]
    with Journal.open(run.journal("lock"), ["beat"]) as writer:
        for i, time_ns in enumerate(measured):
            writer.append({"beat": encode(float(i))}, time_ns)
    path = write_archive(run, document(node("lock", output("beat"))), None)
    with h5py.File(path) as file:
        assert file["lock/beat_time"].dtype == np.int64
        assert file["lock/beat_time"].attrs["unit"] == "ns"
        assert file["lock/beat_time"][:].tolist() == measured
        assert file["lock/beat"][:].tolist() == [0.0, 1.0, 2.0, 3.0]
    with Archive(path) as archive:
        assert [one.time_ns for one in archive.read("lock/beat", 1)] == measured


def test_bug_13_a_new_run_leaves_the_data_of_one_whose_executor_died(tmp_path: Path) -> None:
    """The old code dropped at the next start whatever had not reached HDF5."""
    run = run_folder(tmp_path)
    journal(run, "lock", beat=[1.0, 2.0])  # and no archive: everything was killed
    other = run_folder(tmp_path / "next")
    journal(other, "lock", beat=[7.0])
    write_archive(other, document(node("lock", output("beat"))), None)
    with JournalReader(run.journal("lock")) as reader:
        assert reader.streams()["beat"].last_seq == 2
    with Archive(write_archive(run, document(node("lock", output("beat"))), None)) as archive:
        assert [one.value for one in archive.read("lock/beat", 1)] == [1.0, 2.0]


def test_only_permanent_streams_go_in_each_with_what_was_declared_of_it(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    journal(run, "lock", beat=[80.0], piezo=[1.0], note=["on"])
    outputs = [
        output("beat", type="float", unit="MHz", doc="the beat note"),
        output("piezo", "finite"),
        output("error", "runtime"),
        output("note"),
        output("never"),
    ]
    with Archive(write_archive(run, document(node("lock", *outputs), node("idle", output("x"))), None)) as archive:
        assert set(archive.streams()) == {"lock/beat", "lock/note", "lock/never", "idle/x"}
        assert archive.attributes("lock/beat") == {
            "kind": "number",
            "unit": "MHz",
            "description": "the beat note",
            "dtype": "float",
            "eui": f"#/{JOB}/lock/beat",
            "lifetime": "permanent",
            "time": "beat_time",
            "first_seq": 1,
        }
        for stream in ("idle/x", "lock/never"):
            assert archive.streams()[stream] == (1, 0, 0)
            assert (
                list(archive.read(stream, 1)) == [] and archive.last(stream) is None and archive.at(stream, 9) is None
            )
        with pytest.raises(KeyError):
            archive.read("lock/piezo", 1)


def test_what_ran_is_told_by_the_attributes_of_the_file(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    run.sources.mkdir()
    (run.sources / "lock.py").write_bytes(b"print('\xc3\xa9')\n\0")
    ran = hashlib.sha256(b"print('\xc3\xa9')\n\0").hexdigest()
    long_diff = "+" * (ATTRIBUTE_BYTES_MAX + 1)
    provenance = Provenance(
        sources=(Source("lock.py", ran), Source("gone.py", "cd" * 32)),
        commit="c0ffee",
        diff=long_diff,
        host="lab-pc",
        user="eva",
        versions={"python": "3.12"},
    )
    parameters = (Parameter("gain", 0.2, "default"), Parameter("f0", 80.0, "run", f"#/{JOB}/calib/f0"))
    record = document(node("lock", output("beat"), parameters=parameters), provenance=provenance)
    result = ended(lock=NodeResult("failed", exit_code=3, problem="lock.py:7: no laser"))
    path = write_archive(run, record, result)
    with Archive(path) as archive:
        facts = archive.facts()
    assert facts["id"] == JOB and facts["alias"] == "j1" and facts["name"] == "Rabi scan"
    assert facts["started_ns"] == 1_000 and facts["ended_ns"] == 2_000
    assert facts["end"] == "failed" and facts["reason"] == "lock ended"
    assert facts["commit"] == "c0ffee" and facts["diff"] == long_diff
    assert facts["host"] == "lab-pc" and facts["user"] == "eva"
    assert json.loads(facts["versions"]) == {"python": "3.12"}
    assert json.loads(facts["sources"]) == {"lock.py": ran, "gone.py": "cd" * 32}
    assert json.loads(facts["exits"])["lock"]["exit_code"] == 3
    assert json.loads(facts["parameters"])["lock"]["f0"]["address"] == f"#/{JOB}/calib/f0"
    assert json.loads(facts["parameters"])["lock"]["gain"]["origin"] == "default"
    with h5py.File(path) as file:
        assert file["@run/sources/lock.py"][:].tobytes() == b"print('\xc3\xa9')\n\0"
        assert read_document(file["@run/document"].asstr()[()].encode()) == record
        assert file.attrs["diff"] == "/@run/diff"
        assert file["lock"].attrs["type"] == "Lock"


def test_an_output_that_is_called_like_the_times_of_another_keeps_its_name(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    names = ["x", "x_time", "x__time", "x_json", "x_time_time"]
    journal(run, "lock", **{name: [None, name] for name in names})
    with Archive(write_archive(run, document(node("lock", *map(output, names))), None)) as archive:
        for name in names:
            assert [one.value for one in archive.read(f"lock/{name}", 1)] == [None, name]
            assert [one.time_ns for one in archive.read(f"lock/{name}", 1)] == [10, 20]


def test_values_are_found_by_number_and_by_time_across_blocks(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(writing, "ARCHIVE_BLOCK_ROWS", 7)
    monkeypatch.setattr("flame.archive.reading.ARCHIVE_BLOCK_ROWS", 5)
    streams: list[tuple[str, list[Any]]] = [
        ("a", [float(k) for k in range(40)]),
        ("b", [np.arange(k) for k in range(40)]),
    ]
    for kind, stream in streams:
        seen, archive = archived(tmp_path / kind, stream)
        assert is_same(seen, stream)
        assert [one.seq for one in archive.read("lock/beat", 3, 9)] == list(range(3, 10))
        assert is_same([one.value for one in archive.read("lock/beat", 3, 9)], stream[2:9])
        assert list(archive.read("lock/beat", 41)) == [] == list(archive.read("lock/beat", 5, 4))
        assert archive.at("lock/beat", 9) is None
        found = [archive.at("lock/beat", 10), archive.at("lock/beat", 205), archive.at("lock/beat", 10**18)]
        assert [one and one.seq for one in found] == [1, 20, 40]
        last = archive.last("lock/beat")
        assert last is not None and (last.seq, last.time_ns) == (40, 400)
        archive.close()


def test_large_arrays_are_archived(tmp_path: Path) -> None:
    large = np.random.default_rng(1).random((2_000, 2_500))  # 40 MB
    seen, archive = archived(tmp_path, [large, large * 2])
    assert is_same(seen, [large, large * 2])
    archive.close()


def test_an_archive_may_be_written_again_also_while_the_run_goes_on(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    record = document(node("lock", output("beat")))
    with Journal.open(run.journal("lock"), ["beat"]) as writer:
        for count in (1, 2, 3):
            writer.append({"beat": encode(float(count))}, count)
            with Archive(write_archive(run, record, None)) as archive:
                assert archive.count("lock/beat") == count
                assert "end" not in archive.facts()
    write_archive(run, record, ended())
    assert [path.name for path in run.path.iterdir() if path.is_file()] == ["j1.h5"]


def test_an_archive_that_does_not_hold_what_the_journals_hold_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    run = run_folder(tmp_path)
    journal(run, "lock", beat=[1.0, 2.0])
    record = document(node("lock", output("beat")))
    old = write_archive(run, record, None).read_bytes()
    monkeypatch.setattr(columns.Numbers, "append", lambda self, values: None)
    monkeypatch.setattr(writing, "_blocks", lambda values: iter([list(values)[:1]]))
    with pytest.raises(StorageError, match="expected"):
        write_archive(run, record, None)
    assert run.archive.read_bytes() == old
    assert [path.name for path in run.path.iterdir() if path.is_file()] == ["j1.h5"]


def test_an_archive_is_on_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: Any) -> None:
    run = run_folder(tmp_path)
    record = document(node("lock", output("beat")))
    old = write_archive(run, record, None).read_bytes()

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(StorageError) as caught:
            write_archive(run, record, ended())
    assert caught.value.code is Code.DISK_FULL
    assert run.archive.read_bytes() == old
    assert [path.name for path in run.path.iterdir() if path.is_file()] == ["j1.h5"]


def test_a_file_that_is_no_archive_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "j1.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(StorageError, match=r"j1\.h5"):
        Archive(path)


@pytest.mark.parametrize("damage", ["byte", "end", "segment"])
def test_what_reads_of_a_damaged_journal_is_archived_and_the_rest_is_told(tmp_path: Path, damage: str) -> None:
    run = run_folder(tmp_path)
    folder = run.journal("lock")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flame.journal.writer.SEGMENT_BYTES", 4_000)
        journal(run, "lock", beat=[f"{k:0100}" for k in range(100)], other=[1.0])
    segments = sorted(folder.glob("*.seg"))
    data = bytearray(segments[1].read_bytes())
    if damage == "byte":
        data[data.index(b"0" * 97)] ^= 1
    elif damage == "end":
        del data[-20:]
    segments[1].write_bytes(data)
    if damage == "segment":
        segments[1].unlink()
    record = document(node("lock", output("beat"), output("other")))
    with pytest.raises(StorageError) as caught:
        write_archive(run, record, None)
    assert caught.value.code is Code.JOURNAL_DAMAGED and not run.archive.exists()
    with Archive(write_archive(run, record, None, salvage=True)) as archive:
        stored = list(archive.read("lock/beat", 1))
        missing = archive.attributes("lock/beat")["missing"]
        assert missing == 100 - len(stored) == (1 if damage != "segment" else missing) and missing < 30
        assert [one.value for one in stored] == [f"{one.seq - 1:0100}" for one in stored]
        assert [one.time_ns for one in stored] == [10 * one.seq for one in stored]
        assert stored[0].seq == 1 and stored[-1].seq == 100 and archive.streams()["lock/beat"].last_seq == 100
        assert [one.seq for one in archive.read("lock/beat", stored[40].seq, 99)] == [one.seq for one in stored[40:-1]]
        assert "missing" not in archive.attributes("lock/other")


def test_numbers_times_and_arrays_are_compressed_by_what_every_hdf5_library_reads(tmp_path: Path) -> None:
    picture = np.arange(64 * 64, dtype="u2").reshape(64, 64) % 4_096
    ragged = [np.arange(100 + i % 7, dtype="f8") for i in range(200)]
    streams: dict[str, list[Any]] = {
        "n": [float(i % 10) for i in range(5_000)],
        "p": [picture] * 50,
        "r": ragged,
        "t": ["text"] * 9,
    }
    run = run_folder(tmp_path)
    journal(run, "lock", **streams)
    path = write_archive(run, document(node("lock", *(output(name) for name in streams))), None)
    with h5py.File(path) as file:
        for name in ("n", "n_time", "p", "r"):
            dataset = file["lock"][name]
            assert (dataset.compression, dataset.shuffle) == ("gzip", True)
            assert dataset.id.get_storage_size() < dataset.size * dataset.dtype.itemsize / 2
    with Archive(path) as archive:
        for name, values in streams.items():
            assert is_same([one.value for one in archive.read(f"lock/{name}", 1)], values)
