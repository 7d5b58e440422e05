"""A journal and an archive on a disk that is really full."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flame.archive import Archive, write_archive
from flame.journal import Journal, JournalReader
from flame.run.run_folder import RunFolder
from flame.values import decode, encode
from protocol.errors import Code, StorageError
from protocol.limits import KIB
from tests.flame.archive.builders import document, node, output
from tests.system.small_disk import fill, only_to_be_read, small_disk_of

pytestmark = pytest.mark.system

# A program that writes the archive of j1 in a folder and prints the code of its refusal.
ARCHIVING = """
import sys
from pathlib import Path
from flame.archive import write_archive
from flame.run.run_folder import RunFolder
from protocol.errors import StorageError
from tests.flame.archive.builders import document, node, output
try:
    write_archive(RunFolder(Path(sys.argv[1]), "j1"), document(node("lock", output("beat"))), None)
except StorageError as error:
    print(error.code.value)
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk_of(tmp_path / "disk", megabytes=8) as disk:
        yield disk


def numbers(folder: Path) -> list[int]:
    with JournalReader(folder) as reader:
        return [int(decode(stored.data)[0]) for stored in reader.read("beat", 1)]


@pytest.mark.parametrize("padding", [10, 3_000, 300_000], ids=["small", "medium", "large"])
def test_a_full_disk_refuses_a_set_by_name_keeps_all_before_it_and_passes(small_disk: Path, padding: int) -> None:
    folder = small_disk / "node"
    kept: list[int] = []
    refused = 0
    with Journal.open(folder, ["beat"], sync_ms=1) as journal:

        def append(number: int) -> None:
            journal.append({"beat": encode([number, bytes(padding)])}, number, memory={"last": encode(number)})
            kept.append(number)

        for number in range(20):
            append(number)
        filler = fill(small_disk)
        number = 100
        while refused < 20:  # the last block of the file has room at first
            number += 1
            try:
                append(number)
            except StorageError as error:
                assert error.code is Code.DISK_FULL and str(folder) in str(error)
                refused += 1
        assert numbers(folder) == kept
        filler.unlink()
        for number in range(1_000, 1_005):
            append(number)
        assert numbers(folder) == kept
    with Journal.open(folder, ["beat"]) as journal:
        assert journal.recovered.next_seq == {"beat": len(kept) + 1}
        assert journal.recovered.memory == {"last": 1_004}
    assert numbers(folder) == kept


def test_a_journal_that_was_closed_on_a_full_disk_is_whole(small_disk: Path) -> None:
    folder = small_disk / "node"
    with Journal.open(folder, ["beat"]) as journal:
        for number in range(20):
            journal.append({"beat": encode([number])}, number)
        filler = fill(small_disk)
    assert numbers(folder) == list(range(20))
    filler.unlink()
    with Journal.open(folder, ["beat"]) as journal:
        assert journal.recovered.next_seq == {"beat": 21}


@pytest.mark.parametrize("free_bytes", [0, 8 * KIB, 64 * KIB, 96 * KIB, 128 * KIB, 256 * KIB])
def test_opening_on_a_nearly_full_disk_works_or_says_so(small_disk: Path, free_bytes: int) -> None:
    filler = fill(small_disk)
    os.truncate(filler, filler.stat().st_size - free_bytes)
    try:
        with Journal.open(small_disk / "node", ["beat"]) as journal:
            journal.append({"beat": encode([1])}, 1)
    except StorageError as error:
        assert error.code is Code.DISK_FULL
    filler.unlink()
    with Journal.open(small_disk / "node", ["beat"]) as journal:
        journal.append({"beat": encode([2])}, 2)


def test_an_archive_that_does_not_fit_is_refused_by_name_and_the_old_one_stays(small_disk: Path) -> None:
    run = RunFolder(small_disk, "j1")
    run.path.mkdir()
    record = document(node("lock", output("beat")))
    with Journal.open(run.journal("lock"), ["beat"]) as journal:
        journal.append({"beat": encode(bytes(100))}, 1)
        old = write_archive(run, record, None).read_bytes()
        for i in range(30):
            journal.append({"beat": encode(os.urandom(60_000))}, i)
    filler = fill(small_disk)
    for free_bytes in (0, 4 * KIB, 64 * KIB, 1_024 * KIB):
        os.truncate(filler, filler.stat().st_size - free_bytes)
        with pytest.raises(StorageError) as caught:
            write_archive(run, record, None)
        assert caught.value.code is Code.DISK_FULL, caught.value
        assert run.archive.read_bytes() == old
        assert [path.name for path in run.path.iterdir() if path.is_file()] == ["j1.h5"]
    filler.unlink()
    with Archive(write_archive(run, record, None)) as archive:
        assert archive.count("lock/beat") == 31


@pytest.mark.parametrize("free_kib", [0, 4, 40, 300, 900])
def test_a_process_whose_archive_did_not_fit_ends_in_order(small_disk: Path, free_kib: int) -> None:
    """HDF5 crashed at the end of the process, over a file that it could not close."""
    run = RunFolder(small_disk, "j1")
    run.path.mkdir()
    with Journal.open(run.journal("lock"), ["beat"]) as journal:
        for i in range(12):
            journal.append({"beat": encode([os.urandom(300_000), i])}, i)
    filler = fill(small_disk)
    os.truncate(filler, filler.stat().st_size - free_kib * KIB)
    ended = subprocess.run(
        [sys.executable, "-c", ARCHIVING, str(small_disk)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, "disk-full", "")


def test_journals_and_archives_of_a_disk_that_may_only_be_read_are_read(small_disk: Path) -> None:
    run = RunFolder(small_disk, "j1")
    run.path.mkdir()
    with Journal.open(run.journal("lock"), ["beat"]) as journal:
        for number in range(20):
            journal.append({"beat": encode([number])}, number)
    write_archive(run, document(node("lock", output("beat"))), None)
    with only_to_be_read(run.path):
        assert numbers(run.journal("lock")) == list(range(20))
        with Archive(run.archive) as archive:
            assert archive.count("lock/beat") == 20
        with pytest.raises(StorageError, match="Read-only"):
            Journal.open(run.journal("lock"), ["beat"])
