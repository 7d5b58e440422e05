"""Values of finite outputs go when their time is over, and nothing else does."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flame.journal import Journal, JournalReader, Keeping, Taker, writer
from flame.journal.dropping import Drop
from flame.journal.index import Index
from flame.journal.keeping import Choice, drop_next
from flame.journal.segments import TornError
from flame.values import encode
from protocol.errors import StorageError
from tests.flame.journal.builders import forget_index, segments_of, value_of, values_of

FINITE = {"f": Keeping(60.0)}
STREAMS = ("f", "p")


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 2_000)


@contextmanager
def written(folder: Path, count: int, *, with_permanent: bool = True) -> Iterator[Journal]:
    """Finite values 1 to `count`; with every tenth a permanent one, memory and a position that count along."""
    with Journal.open(folder, STREAMS) as journal:
        for i in range(1, count + 1):
            has_permanent = with_permanent and i % 10 == 0
            journal.append(
                {"f": encode(i), **({"p": encode([i, "x" * 50])} if has_permanent else {})},
                i,
                memory={"count": encode(i)} if i % 7 == 0 else None,
                cursors={"in": i},
            )
        yield journal


def drop(folder: Path, journal: Journal, keeping: Mapping[str, Keeping] = FINITE, *, after_s: float = 61.0) -> int:
    """How many segments lost values."""
    choice = Choice(folder, keeping)
    count = 0
    while drop_next(folder, choice, journal, time.time() + after_s):
        count += 1
    return count


def bytes_of(folder: Path) -> int:
    """What the segments take on the disk."""
    return sum(path.stat().st_blocks * 512 for path in segments_of(folder))


@pytest.mark.parametrize("has_index", [True, False])
def test_values_whose_time_is_over_go_and_all_else_stays(tmp_path: Path, has_index: bool) -> None:
    with written(tmp_path, 500) as journal:
        assert drop(tmp_path, journal, after_s=59.0) == 0
        assert drop(tmp_path, journal) == len(segments_of(tmp_path)) - 1
        assert drop(tmp_path, journal) == 0
    if not has_index:
        forget_index(tmp_path)
    with JournalReader(tmp_path) as reader:
        first, last, _ = reader.streams()["f"]
        assert 1 < first <= last == 500
        assert values_of(reader, "f", first) == list(range(first, 501))
        assert [one.seq for one in reader.read("f", 1)] == list(range(first, 501))
        assert values_of(reader, "p") == [[i, "x" * 50] for i in range(10, 501, 10)]
        assert reader.memory() == {"count": 497} and reader.cursors() == {"in": 500}
        assert reader.at("f", first - 1) is None and value_of(reader.at("f", first)) == first
        assert value_of(reader.at("p", 133)) == [130, "x" * 50]
    with Journal.open(tmp_path, STREAMS) as journal:
        assert journal.recovered.next_seq == {"f": 501, "p": 51}
        assert journal.recovered.memory == {"count": 497} and journal.recovered.cursors == {"in": 500}


def test_the_newest_value_of_an_output_stays_however_old(tmp_path: Path) -> None:
    with written(tmp_path, 1, with_permanent=False) as journal:
        for i in range(200):
            journal.append({"p": encode(i)}, i)
        assert drop(tmp_path, journal) == 0
        journal.append({"f": encode("next")}, 1)
        for i in range(200):
            journal.append({"p": encode(i)}, i)
        assert drop(tmp_path, journal) == 1
    with JournalReader(tmp_path) as reader:
        assert values_of(reader, "f", 2) == ["next"] and value_of(reader.last("f")) == "next"
        assert values_of(reader, "p") == [*range(200), *range(200)]


def test_memory_that_is_in_force_stays_where_all_values_go(tmp_path: Path) -> None:
    with Journal.open(tmp_path, STREAMS) as journal:
        journal.append({"f": encode(0)}, 1, memory={"offset": encode(np.arange(9)), "count": encode(1)})
        for i in range(300):
            journal.append({"f": encode(i)}, 1, memory={"count": encode(i)})
        assert drop(tmp_path, journal) > 3
    for _ in range(2):
        with Journal.open(tmp_path, STREAMS) as journal:
            assert journal.recovered.memory["count"] == 299
            assert journal.recovered.memory["offset"].tolist() == list(range(9))
        forget_index(tmp_path)


def test_room_on_the_disk_comes_free_also_between_permanent_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 1_000_000)
    with Journal.open(tmp_path, STREAMS) as journal:
        for i in range(30):
            journal.append({"f": encode(bytes(100_000)), "p": encode(i)}, i)
        before = bytes_of(tmp_path)
        assert drop(tmp_path, journal) >= 2
        assert bytes_of(tmp_path) < before / 2
    with JournalReader(tmp_path) as reader:
        assert values_of(reader, "p") == list(range(30))


def test_a_segment_without_permanent_values_shrinks_to_a_few_bytes(tmp_path: Path) -> None:
    with written(tmp_path, 500, with_permanent=False) as journal:
        begun = len(segments_of(tmp_path))
        drop(tmp_path, journal)
    sizes = [path.stat().st_size for path in segments_of(tmp_path)]
    assert begun > 5 and all(size < 200 for size in sizes[: begun - 2]), "the newest value and memory stand behind"


def test_outputs_that_are_kept_longer_stay_longer(tmp_path: Path) -> None:
    with written(tmp_path, 500) as journal:
        both = {"f": Keeping(60.0), "p": Keeping(600.0)}
        assert drop(tmp_path, journal, both) > 0
        with JournalReader(tmp_path) as reader:
            assert reader.streams()["f"].first_seq > 1 and reader.streams()["p"].first_seq == 1
        assert drop(tmp_path, journal, both, after_s=601.0) > 0
        with JournalReader(tmp_path) as reader:
            first = reader.streams()["p"].first_seq
            assert first > 1
            assert [one.seq for one in reader.read("p", 1)] == list(range(first, 51))


def test_what_a_consumer_has_still_to_take_stays(tmp_path: Path) -> None:
    keeping = {"f": Keeping(60.0, (Taker(tmp_path / "sink", "x"),))}
    with written(tmp_path / "node", 500) as journal:
        assert drop(tmp_path / "node", journal, keeping) == 0, "nobody knows how far the consumer is"
        for position in (100, 250, 250):
            with Journal.open(tmp_path / "sink", (), inputs=["x"]) as sink:
                sink.advance({"x": position})
            drop(tmp_path / "node", journal, keeping)
            with JournalReader(tmp_path / "node") as reader:
                first = reader.streams()["f"].first_seq
                assert position - 50 < first <= position + 1, "whole segments"


def test_a_position_that_a_power_cut_may_take_back_does_not_count(tmp_path: Path) -> None:
    with Journal.open(tmp_path, (), inputs=["x"], sync_ms=3_600_000) as sink:
        sink.append({}, 1, cursors={"x": 7})
        assert Taker(tmp_path, "x").taken() == 0
    assert Taker(tmp_path, "x").taken() == 7


def test_a_reader_that_reads_while_values_go_passes_over_them_and_misses_nothing_else(tmp_path: Path) -> None:
    with written(tmp_path, 500) as journal, JournalReader(tmp_path) as reader:
        finite, permanent = reader.read("f", 1), reader.read("p", 1)
        assert [next(finite).seq for _ in range(3)] == [1, 2, 3]
        begun = [next(permanent).seq for _ in range(3)]
        drop(tmp_path, journal)
        rest = [one.seq for one in finite]
        first = reader.streams()["f"].first_seq
        assert rest[-(501 - first) :] == list(range(first, 501)) and rest == sorted(set(rest))
        assert [*begun, *(one.seq for one in permanent)] == list(range(1, 51))


def test_a_reader_that_knew_the_journal_before_finds_what_is_there_now(tmp_path: Path) -> None:
    with written(tmp_path, 500) as journal, JournalReader(tmp_path) as reader:
        assert len(values_of(reader, "f", 1, 90)) == 90
        assert len(values_of(reader, "p", 1, 9)) == 9
        drop(tmp_path, journal)
        assert next(reader.read("f", 91)).seq == reader.streams()["f"].first_seq
        assert [one.seq for one in reader.read("p", 10)] == list(range(10, 51))


class Refused:
    """A journal on a disk that refuses `call` from the moment on when it was told what goes."""

    def __init__(self, journal: Journal, call: str, patch: pytest.MonkeyPatch) -> None:
        self._journal = journal
        self._call = call
        self._patch = patch

    def last_seqs(self) -> dict[str, int]:
        return self._journal.last_seqs()

    def drop(self, lasts: Mapping[str, int]) -> Drop:
        told = self._journal.drop(lasts)
        self._patch.setattr(self._call, _refuse)
        return told


def _refuse(*args: Any, **options: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["os.pwrite", "os.ftruncate", "os.utime", "os.fsync", "os.replace"])
def test_dropping_that_is_broken_off_loses_nothing_and_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    folder, killed = tmp_path / "node", tmp_path / "killed"
    with written(folder, 500) as journal:
        for _ in range(2):
            with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
                drop_next(folder, Choice(folder, FINITE), Refused(journal, call, patch), time.time() + 61)
        shutil.copytree(folder, killed)
    with JournalReader(killed) as reader:
        first = reader.streams()["f"].first_seq
        assert first > 1 and values_of(reader, "f", first) == list(range(first, 501))
        assert len(values_of(reader, "p")) == 50 and reader.memory() == {"count": 497}
    with Journal.open(killed, STREAMS) as journal:
        assert drop(killed, journal) > 5
    assert not list(killed.glob("*.part"))


def test_the_index_forgets_what_went(tmp_path: Path) -> None:
    with (
        Journal.open(tmp_path, ["f", "f2"]) as journal,
        contextlib.closing(Index.open(tmp_path, writable=False)) as index,
    ):
        for i in range(50):
            journal.append({"f": encode(bytes(20_000)), "f2": encode(i)}, i)
        assert drop(tmp_path, journal) > 40
        with JournalReader(tmp_path) as reader:
            first = reader.streams()["f"].first_seq
        entries = [entry.seq for entry in index.backwards("f", 50)]
        assert first > 40 and first - 1 <= entries[-1] <= first
        assert [entry.seq for entry in index.backwards("f2", 50)][-1] == 1


def test_a_damaged_segment_is_left_as_it_is(tmp_path: Path) -> None:
    with written(tmp_path, 500) as journal:
        damaged = segments_of(tmp_path)[1]
        content = bytearray(damaged.read_bytes())
        content[500] ^= 1
        damaged.write_bytes(content)
        choice = Choice(tmp_path, FINITE)
        drop_next(tmp_path, choice, journal, time.time() + 61)
        with pytest.raises(TornError):
            drop_next(tmp_path, choice, journal, time.time() + 61)
        assert damaged.read_bytes() == content
        with JournalReader(tmp_path) as reader, pytest.raises(StorageError, match="is damaged"):
            list(reader.read("p", 1))


def test_a_journal_drops_by_itself_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flame.journal.keeping.DROP_LOOK_S", 0.01)
    monkeypatch.setattr(writer, "SEGMENT_S_MIN", 0.02)
    with Journal.open(tmp_path, STREAMS, keeping={"f": Keeping(0.1)}) as journal, JournalReader(tmp_path) as reader:
        deadline = time.monotonic() + 10
        i = 0
        while reader.streams()["f"].first_seq < 5:
            assert time.monotonic() < deadline
            i += 1
            journal.append({"f": encode(i)}, i)
        assert value_of(reader.last("f")) == i
