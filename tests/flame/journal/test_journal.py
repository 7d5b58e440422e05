from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flame.journal import Journal, JournalReader, positions, writer
from flame.journal.index import Index
from flame.values import decode, encode
from protocol.errors import Code, ConfigError, LocalProtocolError, StorageError
from tests.flame.journal.builders import fill, forget_index, segments_of, value_of, values_of
from tests.flame.same import is_same
from tests.users import without_privileges

WAIT_S = 10.0


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)


def test_a_set_gets_sequence_numbers_from_one_without_gaps(tmp_path: Path) -> None:
    with Journal.open(tmp_path, ["a", "b"]) as journal:
        assert journal.append({"a": encode(1.0), "b": encode(2.0)}, 5) == {"a": 1, "b": 1}
        assert journal.append({"b": encode(3.0)}, 6) == {"b": 2}
        assert journal.append({}, 7, cursors={"x": 4}) == {}
    with Journal.open(tmp_path, ["a", "b"]) as journal:
        assert journal.recovered.next_seq == {"a": 2, "b": 3}
        assert journal.append({"a": encode(4.0), "b": encode(5.0)}, 8) == {"a": 2, "b": 3}


def test_a_reader_sees_a_set_as_soon_as_append_has_returned(tmp_path: Path) -> None:
    with Journal.open(tmp_path, ["a", "b"], sync_ms=60_000) as journal, JournalReader(tmp_path) as reader:
        assert reader.streams() == {"a": (1, 0, 0), "b": (1, 0, 0)}
        assert reader.last("a") is None and reader.at("a", 100) is None and values_of(reader, "a") == []
        for i in range(1, 50):
            before_ns = time.time_ns()
            journal.append({"a": encode(i)}, i, memory={"m": encode([i])}, cursors={"x": i})
            last = reader.last("a")
            assert last is not None
            assert (last.seq, last.time_ns, decode(last.data)) == (i, i, i)
            assert before_ns <= last.written_ns <= time.time_ns()
            assert reader.memory() == {"m": [i]} and reader.cursors() == {"x": i}
            assert values_of(reader, "a", i) == [i]
        assert values_of(reader, "a") == list(range(1, 50))
        assert values_of(reader, "a", 7, 9) == [7, 8, 9]
        assert reader.streams()["a"] == (1, 49, 49)


def test_readers_hold_nothing_where_there_is_no_journal_yet_and_see_it_come(tmp_path: Path) -> None:
    with JournalReader(tmp_path / "node") as reader:
        assert reader.streams() == {} and reader.last("a") is None and reader.memory() == {}
        assert list(reader.read("a", 1)) == []
        fill(tmp_path / "node", [{"a": 1}])
        assert value_of(reader.last("a")) == 1


def test_bug_10_time_and_order_are_those_of_the_sets(tmp_path: Path) -> None:
    """The old code took the clock of a database at insertion, and read times and values without an order."""
    measured = [5, 3, 2**62, -7, 3]
    with Journal.open(tmp_path, ["a"]) as journal:
        for i, time_ns in enumerate(measured):
            journal.append({"a": encode(i)}, time_ns)
    with JournalReader(tmp_path) as reader:
        stored = list(reader.read("a", 1))
    assert [one.seq for one in stored] == [1, 2, 3, 4, 5]
    assert [decode(one.data) for one in stored] == [0, 1, 2, 3, 4]
    assert [one.time_ns for one in stored] == measured
    assert all(abs(one.written_ns - time.time_ns()) < 60_000_000_000 for one in stored)


def test_the_value_in_force_at_a_time_is_the_newest_that_is_not_after_it(tmp_path: Path) -> None:
    fill(tmp_path, ({"a": i} for i in range(1, 101)))
    with JournalReader(tmp_path) as reader:
        assert reader.at("a", 9) is None
        assert [value_of(reader.at("a", time_ns)) for time_ns in (10, 19, 20, 555, 1_000, 10**18)] == [
            *(1, 1, 2, 55, 100, 100)
        ]
        assert reader.at("nothing", 10) is None


@given(st.lists(st.tuples(st.integers(-100, 100), st.booleans()), min_size=1, max_size=60), st.integers(-110, 110))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_the_look_up_by_time_holds_where_the_clock_went_back(
    tmp_path_factory: pytest.TempPathFactory, sets: list[tuple[int, bool]], asked_ns: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    with Journal.open(folder, ["a", "b"]) as journal, JournalReader(folder) as live:
        for i, (time_ns, is_large) in enumerate(sets):
            journal.append({"a": encode(i)}, time_ns)
            journal.append({"b": encode(bytes(50_000 if is_large else 1))}, time_ns)  # so that there are many entries
        wanted = [i for i, (time_ns, _) in enumerate(sets) if time_ns <= asked_ns]
        seen = live.at("a", asked_ns)
        assert (seen is None) if not wanted else value_of(seen) == wanted[-1]
    with JournalReader(folder) as reader:
        assert reader.at("a", asked_ns) == seen


def test_every_value_of_a_slow_stream_beside_a_fast_one_is_found(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 500_000)
    sets = [{"a": i, **({"b": [i, bytes(3_000)]} if i % 7 == 0 else {})} for i in range(2_000)]
    fill(tmp_path, sets)
    slow = [s["b"] for s in sets if "b" in s]
    assert len(segments_of(tmp_path)) > 1
    for index_lost in (False, True):
        if index_lost:
            forget_index(tmp_path)
        with JournalReader(tmp_path) as reader:
            assert values_of(reader, "a") == list(range(2_000))
            assert values_of(reader, "b") == slow
            for seq in range(1, len(slow) + 1, 13):
                assert values_of(reader, "b", seq, seq) == [slow[seq - 1]]
            together = zip(reader.read("a", 1), reader.read("b", 1), strict=False)
            assert [decode(b.data) for _, b in together] == slow


def test_a_consumer_that_reads_on_gets_each_value_once_across_segments(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 20_000)
    seen: list[int] = []
    with Journal.open(tmp_path, ["a"]) as journal, JournalReader(tmp_path) as reader:
        for i in range(1_000):
            journal.append({"a": encode(i)}, i)
            if i % 17 == 0:
                seen += values_of(reader, "a", len(seen) + 1)
        seen += values_of(reader, "a", len(seen) + 1)
    assert seen == list(range(1_000))
    assert len(segments_of(tmp_path)) > 2


def test_memory_and_cursors_are_those_of_the_last_set_that_changed_them(tmp_path: Path) -> None:
    with Journal.open(tmp_path, ["a"]) as journal:
        journal.append({}, 1, memory={"x": encode(1), "y": encode(np.arange(3))}, cursors={"in": 5, "other": 1})
        journal.append({"a": encode(0)}, 2, memory={"x": encode({"z": None})}, cursors={"in": 6})
    with Journal.open(tmp_path, ["a"]) as journal:
        memory = journal.recovered.memory
        assert is_same(memory, {"x": {"z": None}, "y": np.arange(3)})
        assert journal.recovered.cursors == {"in": 6, "other": 1}
        assert journal.recovered.run_restarts == 1


def test_a_large_array_is_kept_beside_a_number_of_the_same_set(tmp_path: Path) -> None:
    large = np.random.default_rng(1).random(1_000_000)  # 8 MB; an archive of 40 MB has a test of its own
    fill(tmp_path, [{"a": 1.0, "b": large}, {"a": 2.0, "b": large + 1}])
    with JournalReader(tmp_path) as reader:
        assert values_of(reader, "a") == [1.0, 2.0]
        assert is_same(value_of(next(reader.read("b", 1))), large)
        assert is_same(value_of(reader.last("b")), large + 1)


def test_a_second_writer_is_refused_and_told_who_writes(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("flame.journal.lock.JOURNAL_LOCK_S", 0.0)
    with Journal.open(tmp_path, ["a"]):
        with pytest.raises(ConfigError, match=str(os.getpid())) as caught:
            Journal.open(tmp_path, ["a"])
        assert caught.value.code is Code.FOLDER_LOCKED
    Journal.open(tmp_path, ["a"]).close()


def test_a_writer_waits_for_the_one_before_to_end(tmp_path: Path) -> None:
    first = Journal.open(tmp_path, ["a"])
    ending = threading.Timer(0.1, first.close)
    ending.start()
    Journal.open(tmp_path, ["a"]).close()
    ending.join()


def test_writer_and_readers_of_one_process_share_the_index(tmp_path: Path) -> None:
    fill(tmp_path, [{"a": 1}])
    with JournalReader(tmp_path) as early, JournalReader(tmp_path) as other:
        assert value_of(early.last("a")) == 1
        fill(tmp_path, [{"a": 2}])
        assert value_of(early.last("a")) == value_of(other.last("a")) == 2
    with Journal.open(tmp_path, ["a"]), JournalReader(tmp_path) as late:
        assert values_of(late, "a") == [1, 2]


def test_the_index_follows_within_moments_and_is_complete_after_close(tmp_path: Path) -> None:
    with Journal.open(tmp_path, ["a"], sync_ms=1) as journal:
        journal.append({"a": encode(1)}, 1)
        index = Index.open(tmp_path, writable=False)

        def indexed() -> int:
            contents = index.load()
            return contents.streams["a"].last_seq if contents else 0

        wait_for(lambda: indexed() == 1)
        journal.append({"a": encode(2)}, 2)
    assert indexed() == 2
    index.close()


def test_what_is_written_reaches_the_disk_soon_and_a_durable_set_at_once(tmp_path: Path, monkeypatch: Any) -> None:
    synced: list[int] = []
    sync = os.fdatasync

    def noted(descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        sync(descriptor)
        synced.append(size)

    monkeypatch.setattr(os, "fdatasync", noted)
    (tmp_path / "slow").mkdir()
    with Journal.open(tmp_path / "slow", ["a"], sync_ms=60_000) as journal:
        synced.clear()
        journal.append({"a": encode(1)}, 1)
        assert not synced
        journal.append({"a": encode(1)}, 1, durable=True)
        assert synced == [segments_of(tmp_path / "slow")[0].stat().st_size]
    with Journal.open(tmp_path / "quick", ["a"], sync_ms=1) as journal:
        journal.append({"a": encode(1)}, 1)
        size = segments_of(tmp_path / "quick")[0].stat().st_size
        wait_for(lambda: size in synced)


def test_a_refused_write_changes_nothing_and_the_next_may_go_well(tmp_path: Path, monkeypatch: Any) -> None:
    write = os.pwrite
    with Journal.open(tmp_path, ["a"], sync_ms=60_000) as journal:
        journal.append({"a": encode(1)}, 1)
        size = segments_of(tmp_path)[0].stat().st_size

        def full(descriptor: int, data: Any, offset: int) -> int:
            write(descriptor, bytes(data)[:9], offset)
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch, pytest.raises(StorageError, match="is full") as caught:
            patch.setattr(os, "pwrite", full)
            journal.append({"a": encode(2)}, 2)
        assert caught.value.code is Code.DISK_FULL and str(tmp_path) in str(caught.value)
        assert segments_of(tmp_path)[0].stat().st_size == size
        assert journal.append({"a": encode(3)}, 3) == {"a": 2}
    with JournalReader(tmp_path) as reader:
        assert values_of(reader, "a") == [1, 3]


def test_a_write_that_goes_in_pieces_is_whole(tmp_path: Path, monkeypatch: Any) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: write(file, bytes(data)[:100], offset))
    fill(tmp_path, [{"a": bytes(1_000)}, {"a": bytes(100_000)}])
    with JournalReader(tmp_path) as reader:
        assert values_of(reader, "a") == [bytes(1_000), bytes(100_000)]


def test_after_a_refused_sync_nothing_more_is_taken(tmp_path: Path, monkeypatch: Any) -> None:
    journal = Journal.open(tmp_path, ["a"], sync_ms=60_000)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", _refuse)
        with pytest.raises(StorageError) as caught:
            journal.append({"a": encode(1)}, 1, durable=True)
        assert caught.value.code is Code.DATABASE_FAILED
    for attempt in (lambda: journal.append({"a": encode(1)}, 1), journal.close):
        with pytest.raises(StorageError, match="refused"):
            attempt()
    journal.close()


def _refuse(descriptor: int) -> None:
    raise OSError(errno.EIO, "the disk refused")


def test_the_programmers_mistakes_are_named(tmp_path: Path) -> None:
    with Journal.open(tmp_path, ["a"]) as journal:
        with pytest.raises(LocalProtocolError, match="'c'"):
            journal.append({"a": encode(1), "c": encode(1)}, 1)
        with pytest.raises(LocalProtocolError, match="no time"):
            journal.append({"a": encode(1)}, 2**63)
        assert journal.append({"a": encode(1)}, 1) == {"a": 1}
    with pytest.raises(LocalProtocolError, match="closed"):
        journal.append({"a": encode(1)}, 1)


def test_a_stream_that_a_newer_program_does_not_have_is_still_read(tmp_path: Path) -> None:
    fill(tmp_path, [{"old": 1}], streams=("old",))
    fill(tmp_path, [{"new": 2}], streams=("new",))
    with JournalReader(tmp_path) as reader:
        assert values_of(reader, "old") == [1] and values_of(reader, "new") == [2]


def test_sets_of_several_threads_stand_one_after_another(tmp_path: Path) -> None:
    def work(journal: Journal, numbers: Sequence[int]) -> None:
        for i in numbers:
            journal.append({"a": encode(i)}, i)

    with Journal.open(tmp_path, ["a"]) as journal:
        threads = [threading.Thread(target=work, args=(journal, range(k, 1_000, 4))) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with JournalReader(tmp_path) as reader:
        assert sorted(values_of(reader, "a")) == list(range(1_000))


def test_a_disk_that_does_not_give_its_bytes_and_a_folder_of_somebody_else_are_named(
    tmp_path: Path, monkeypatch: Any
) -> None:
    fill(tmp_path, [{"a": 1}])

    def refuse(*_: Any) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with JournalReader(tmp_path) as reader, monkeypatch.context() as patch:
        patch.setattr(os, "pread", refuse)
        with pytest.raises(StorageError, match=r"00000001\.seg cannot be read: Input/output error"):
            reader.last("a")
    segments_of(tmp_path)[0].chmod(0)
    with (
        without_privileges(),
        pytest.raises(StorageError, match="cannot be read: Permission denied"),
        JournalReader(tmp_path) as reader,
    ):
        reader.last("a")


def in_a_process_that_is_killed(work: Callable[[], None]) -> None:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def advance_and_die(folder: Path) -> None:
    def work() -> None:
        journal = Journal.open(folder, ["a"], inputs=["x", "y"], sync_ms=60_000)
        journal.append({"a": encode(1)}, 1, cursors={"x": 1, "y": 7})
        for seq in range(2, 100):
            journal.advance({"x": seq})

    in_a_process_that_is_killed(work)


def test_a_position_that_was_advanced_survives_a_kill_with_no_record_of_it(tmp_path: Path) -> None:
    advance_and_die(tmp_path)
    with JournalReader(tmp_path) as reader:
        assert reader.cursors() == {"x": 1, "y": 7}, "no sync has come in between"
    for _ in range(2):
        with Journal.open(tmp_path, ["a"], inputs=["y", "x"]) as journal:
            assert journal.recovered.cursors == {"x": 99, "y": 7}


def test_after_another_boot_positions_are_those_of_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advance_and_die(tmp_path)
    monkeypatch.setattr(positions, "_boot", lambda: "another")
    with Journal.open(tmp_path, ["a"], inputs=["x", "y"]) as journal:
        assert journal.recovered.cursors == {"x": 1, "y": 7}


def test_an_advanced_position_is_in_the_journal_after_the_next_sync_set_or_end(tmp_path: Path) -> None:
    with Journal.open(tmp_path, ["a"], inputs=["x", "y"]) as journal, JournalReader(tmp_path) as reader:
        journal.advance({"x": 3})
        wait_for(lambda: reader.cursors() == {"x": 3})
    with Journal.open(tmp_path, ["a"], inputs=["x", "y"], sync_ms=60_000) as journal:
        journal.advance({"x": 4})
        journal.append({"a": encode(1)}, 1, cursors={"y": 1})
        with JournalReader(tmp_path) as reader:
            assert reader.cursors() == {"x": 4, "y": 1}
        journal.advance({"x": 5})
    with JournalReader(tmp_path) as reader:
        assert reader.cursors() == {"x": 5, "y": 1}


@pytest.mark.parametrize("data", [b"", b"\x01", b"\xff" * 64, b"\x03" + b"\0" * 20])
def test_positions_that_do_not_read_are_those_of_the_journal(tmp_path: Path, data: bytes) -> None:
    advance_and_die(tmp_path)
    (tmp_path / "positions").write_bytes(data)
    with Journal.open(tmp_path, ["a"], inputs=["x"]) as journal:
        assert journal.recovered.cursors == {"x": 1, "y": 7}
