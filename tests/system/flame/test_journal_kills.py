"""`kill -9` of a process that writes a journal, at random moments, while another reads along."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flame.journal import Journal, JournalReader
from flame.values import decode
from tests.system.flame.journal_writer import payload

pytestmark = pytest.mark.system

ROUNDS = 12
ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "tests.system.flame.journal_writer"]


def kill_at_a_random_moment(folder: Path, chance: random.Random, *words: str) -> int:
    """The last set whose `append` had returned."""
    with subprocess.Popen([*COMMAND, str(folder), *words], cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = int(writer.stdout.readline())
        killing = threading.Timer(chance.uniform(0.0, 0.4), writer.kill)
        killing.start()
        for line in writer.stdout:
            if line.endswith("\n"):
                told = int(line)
        killing.join()
    assert writer.returncode == -9
    return told


@pytest.mark.timeout(300)
def test_a_killed_writer_loses_nothing_that_append_had_returned_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(5)
    folder = tmp_path / "node"
    read_along = 0
    told = 0
    with JournalReader(folder) as along:
        for _ in range(ROUNDS):
            told = kill_at_a_random_moment(folder, chance)
            for stored in along.read("number", read_along + 1):
                read_along += 1
                assert stored.seq == read_along == decode(stored.data)
            assert read_along in (told, told + 1), "one more may have been written and not told"
            assert along.memory()["number"] == along.cursors()["input"] == read_along
            last = along.last("payload")
            assert last is not None and decode(last.data) == payload(read_along)
    with Journal.open(folder, ["number", "payload"]) as journal:
        assert journal.recovered.next_seq == {"number": read_along + 1, "payload": read_along + 1}
        assert journal.recovered.run_restarts == ROUNDS
    with JournalReader(folder) as reader:
        for name, wanted in (("number", lambda i: i), ("payload", payload)):
            stored_values = [(one.seq, one.time_ns, decode(one.data)) for one in reader.read(name, 1)]
            assert stored_values == [(i, i, wanted(i)) for i in range(1, read_along + 1)]
    assert len(list(folder.glob("*.seg"))) > 1


@pytest.mark.timeout(300)
def test_a_writer_that_is_killed_while_it_drops_values_loses_only_those(tmp_path: Path) -> None:
    chance = random.Random(6)
    first = 1
    with JournalReader(tmp_path) as along:
        for _ in range(ROUNDS):
            told = kill_at_a_random_moment(tmp_path, chance, "0.01")
            numbers = [one.seq for one in along.read("number", 1)]
            assert numbers == list(range(1, along.streams()["number"].last_seq + 1))
            with JournalReader(tmp_path) as fresh:
                for reader in (along, fresh):
                    before, (first, last, _) = first, reader.streams()["payload"]
                    assert first >= before and last in (told, told + 1)
                    kept = [(one.seq, decode(one.data)) for one in reader.read("payload", 1)]
                    assert kept == [(i, payload(i)) for i in range(first, last + 1)]
                    assert reader.memory()["number"] == reader.cursors()["input"] == last
    assert first > 1_000


@pytest.mark.timeout(120)
def test_a_reader_of_another_process_sees_every_value_once_while_it_is_written(tmp_path: Path) -> None:
    with (
        subprocess.Popen([*COMMAND, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer,
        JournalReader(tmp_path) as reader,
    ):
        assert writer.stdout is not None
        seen = 0
        for line in writer.stdout:
            for stored in reader.read("payload", seen + 1):
                seen += 1
                assert (stored.seq, decode(stored.data)) == (seen, payload(seen))
            assert seen >= int(line), "a set is there as soon as append has returned"
            if seen >= 5_000:
                break
        writer.kill()
