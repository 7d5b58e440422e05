from __future__ import annotations

import shutil
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flame.journal import Journal, JournalReader, segments, writer
from flame.values import encode
from protocol.errors import Code, StorageError
from tests.flame.journal.builders import fill, forget_index, segments_of, value_of, values_of

values = st.integers(0, 255) | st.binary(max_size=400) | st.text(max_size=5) | st.lists(st.floats(), max_size=9)
sets = st.lists(st.dictionaries(st.sampled_from(["a", "b"]), values), max_size=6)


def streams_of(written: list[dict[str, Any]], name: str) -> list[Any]:
    return [one[name] for one in written if name in one]


def assert_holds(folder: Path, written: list[dict[str, Any]], count: int) -> None:
    """The journal holds the first `count` of the sets, all of each, and nothing else."""
    with JournalReader(folder) as reader:
        for name in ("a", "b"):
            assert repr(values_of(reader, name)) == repr(streams_of(written[:count], name))
        assert reader.cursors() == ({"count": count} if count else {})
        assert reader.memory() == ({"count": count} if count else {})


@given(sets, st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_every_prefix_of_a_journal_opens_and_holds_a_prefix_of_its_sets(
    tmp_path_factory: pytest.TempPathFactory, written: list[dict[str, Any]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    fill(folder, written)
    forget_index(folder)
    whole = segments_of(folder)[0].read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    segments_of(folder)[0].write_bytes(whole[:cut])
    with JournalReader(folder) as reader:  # before anybody has repaired it
        before = reader.cursors().get("count", 0)
    assert_holds(folder, written, before)
    with Journal.open(folder, ["a", "b"]) as journal:
        assert journal.recovered.cursors.get("count", 0) == before
        assert journal.recovered.memory.get("count", 0) == before
        assert journal.recovered.next_seq == {
            name: 1 + len(streams_of(written[:before], name)) for name in journal.recovered.next_seq
        }
    assert_holds(folder, written, before)
    fill(folder, [{"a": "after"}])
    assert_holds(folder, [*written[:before], {"a": "after"}], before + 1)
    if cut == len(whole):
        assert before == len(written)


def test_every_single_cut_is_tried_on_one_journal(tmp_path: Path) -> None:
    written: list[dict[str, Any]] = [{"a": 1, "b": b"two"}, {"a": [3.0]}, {"b": "four"}]
    fill(tmp_path / "whole", written)
    whole = segments_of(tmp_path / "whole")[0].read_bytes()
    counts = []
    for cut in range(len(whole) + 1):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "00000001.seg").write_bytes(whole[:cut])
        with JournalReader(folder) as reader:
            counts.append(reader.cursors().get("count", 0))
        assert_holds(folder, written, counts[-1])
        shutil.rmtree(folder)
    assert counts == sorted(counts) and set(counts) == {0, 1, 2, 3}


def test_a_torn_end_behind_what_the_index_knows_is_cut_off_and_counted(tmp_path: Path) -> None:
    fill(tmp_path, [{"a": 1}])
    index = tmp_path / "index"
    shutil.copytree(index, tmp_path / "index-before")
    fill(tmp_path, [{"a": 2}, {"a": 3}])
    shutil.rmtree(index)
    (tmp_path / "index-before").rename(index)
    segment = segments_of(tmp_path)[0]
    segment.write_bytes(segment.read_bytes()[:-1])
    with JournalReader(tmp_path) as reader:
        assert values_of(reader, "a") == [1, 2]
    with Journal.open(tmp_path, ["a", "b"]) as journal:
        assert journal.recovered.cut_bytes > 0
        assert journal.recovered.next_seq == {"a": 3, "b": 1}
        assert journal.append({"a": encode(4)}, 1) == {"a": 3}
    with Journal.open(tmp_path, ["a", "b"]) as journal:
        assert journal.recovered.cut_bytes == 0
    with JournalReader(tmp_path) as reader:
        assert values_of(reader, "a") == [1, 2, 4]


def test_a_reader_passes_over_a_torn_end_and_goes_on_when_the_writer_has_repaired_it(tmp_path: Path) -> None:
    fill(tmp_path, [{"a": 1}, {"a": 2}])
    forget_index(tmp_path)
    segment = segments_of(tmp_path)[0]
    segment.write_bytes(segment.read_bytes()[:-1])
    with JournalReader(tmp_path) as reader:
        assert values_of(reader, "a") == [1]
        fill(tmp_path, [{"a": "new"}])
        assert values_of(reader, "a") == [1, "new"]
        assert value_of(reader.last("a")) == "new"


def test_zeros_that_a_power_cut_left_at_the_end_are_cut_off(tmp_path: Path) -> None:
    fill(tmp_path, [{"a": 1}, {"a": 2}])
    forget_index(tmp_path)
    segment = segments_of(tmp_path)[0]
    segment.write_bytes(segment.read_bytes() + bytes(5_000))
    with Journal.open(tmp_path, ["a"]) as journal:
        assert journal.recovered.cut_bytes == 5_000
        assert journal.recovered.next_seq["a"] == 3


def test_a_page_that_a_power_cut_kept_from_the_last_large_value_is_noticed(tmp_path: Path) -> None:
    fill(tmp_path, [{"a": 1}, {"a": bytes(range(256)) * 400}])
    forget_index(tmp_path)
    segment = segments_of(tmp_path)[0]
    data = bytearray(segment.read_bytes())
    data[-60_000:-55_904] = bytes(4_096)
    segment.write_bytes(data)
    with JournalReader(tmp_path) as reader:
        assert values_of(reader, "a") == [1]
    with Journal.open(tmp_path, ["a"]) as journal:
        assert journal.recovered.next_seq["a"] == 2


@pytest.mark.parametrize("index_lost", [False, True], ids=["index", "no index"])
@pytest.mark.parametrize("part", ["head", "tells", "piece"])
def test_damage_in_the_middle_is_named_by_segment_and_byte(tmp_path: Path, index_lost: bool, part: str) -> None:
    fill(tmp_path, [{"a": 1}])
    byte = segments_of(tmp_path)[0].stat().st_size
    fill(tmp_path, [{"a": b"x" * 500}, {"a": 3}])
    segment = segments_of(tmp_path)[0]
    data = bytearray(segment.read_bytes())
    begin = data.index(b"x" * 500)
    offset = {"head": data.rindex(b"\xf5REC", 0, begin), "tells": begin - 20, "piece": begin + 250}[part]
    data[offset] ^= 1
    segment.write_bytes(data)
    if index_lost:
        forget_index(tmp_path)
    with (
        pytest.raises(StorageError, match=r"segment 00000001\.seg is damaged at byte") as caught,
        JournalReader(tmp_path) as reader,
    ):
        values_of(reader, "a")
    assert caught.value.code is Code.JOURNAL_DAMAGED
    named = int(caught.value.sentence.split("byte ")[1].split(":")[0])
    assert byte <= named <= offset
    if index_lost:
        with pytest.raises(StorageError, match=f"byte {named}"):
            Journal.open(tmp_path, ["a"])
    assert segment.read_bytes() == data, "nothing was cut off"


def test_a_file_that_is_shorter_than_what_was_on_disk_is_damaged(tmp_path: Path) -> None:
    fill(tmp_path, [{"a": 1}, {"a": 2}])
    segment = segments_of(tmp_path)[0]
    data = segment.read_bytes()[:-3]
    segment.write_bytes(data)
    with pytest.raises(StorageError, match=f"byte {len(data)}") as caught:
        Journal.open(tmp_path, ["a"])
    assert caught.value.code is Code.JOURNAL_DAMAGED
    with pytest.raises(StorageError, match=f"byte {len(data)}"), JournalReader(tmp_path) as reader:
        reader.streams()
    assert segment.read_bytes() == data


@pytest.mark.parametrize("number", [1, 2, 3], ids=["first", "middle", "last"])
@pytest.mark.parametrize("index_lost", [False, True], ids=["index", "no index"])
def test_a_missing_segment_is_named(tmp_path: Path, monkeypatch: Any, number: int, index_lost: bool) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 500)
    fill(tmp_path, ({"a": bytes(300)} for _ in range(6)))
    assert len(segments_of(tmp_path)) == 3
    (tmp_path / f"0000000{number}.seg").unlink()
    if index_lost:
        forget_index(tmp_path)
        if number != 2:
            return  # nothing tells of it any more
    with pytest.raises(StorageError, match=rf"0000000{number}\.seg") as caught, JournalReader(tmp_path) as reader:
        values_of(reader, "a")
    assert caught.value.code is Code.JOURNAL_DAMAGED


def test_a_lost_or_broken_index_is_made_again_from_the_segments(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 5_000)
    fill(tmp_path, ({"a": i, "b": [i]} for i in range(300)))
    for content in (None, bytes(9_000), b""):
        file = tmp_path / "index" / "data.mdb"
        file.unlink() if content is None else file.write_bytes(content)
        with JournalReader(tmp_path) as reader:
            assert values_of(reader, "a") == list(range(300))
        with Journal.open(tmp_path, ["a", "b"]) as journal:
            assert journal.recovered.next_seq == {"a": 301, "b": 301}
            assert journal.recovered.memory == {"count": 300}
        with JournalReader(tmp_path) as reader:
            assert values_of(reader, "b") == [[i] for i in range(300)]


def test_a_crash_while_a_segment_is_begun_loses_nothing(tmp_path: Path) -> None:
    fill(tmp_path, [{"a": 1}])
    for head in (b"", b"FLA"):
        (tmp_path / "00000002.seg").write_bytes(head)
        with JournalReader(tmp_path) as reader:
            assert values_of(reader, "a") == [1]
        with Journal.open(tmp_path, ["a"]) as journal:
            assert journal.recovered.next_seq["a"] == 2
        (tmp_path / "00000002.seg").unlink()
        forget_index(tmp_path)


def test_records_of_a_newer_flame_with_more_keys_are_read(tmp_path: Path) -> None:
    class NewerRecord(segments.Record):
        later: int = msgspec.field(default=7, name="z")

    fill(tmp_path, [{"a": 1}])
    forget_index(tmp_path)
    data = encode(2)
    crc = zlib.crc32(data)
    record = NewerRecord(5, 6, [segments.Piece("a", 2, len(data), crc)], later=8)
    with segments_of(tmp_path)[0].open("ab") as file:
        file.write(segments.record_bytes(record, len(data)) + data)
    with JournalReader(tmp_path) as reader:
        assert values_of(reader, "a") == [1, 2]
