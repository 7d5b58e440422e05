"""What a power cut leaves of a journal, by the model of a disk that `tests.faults` has for the store.

Each write that was not synced survives or not, on its own. LMDB syncs its commits itself: an image has the index as
its last commit left it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flame.journal import Journal, JournalReader, Keeping, writer
from flame.journal.dropping import Drop
from flame.journal.keeping import Choice, drop_next
from flame.values import decode, encode
from protocol.errors import StorageError
from tests.faults.disk_model import Disk
from tests.faults.disk_record import DiskCall, FolderSynced, Made, Renamed, Synced, Truncated, Written


class Recorder:
    """Tells the disk what is asked of the segments in a folder. Stands for functions of `os`."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk
        self._names: dict[int, str] = {}  # by descriptor; "" for the folder itself
        self._os = {name: getattr(os, name) for name in ("open", "pwrite", "ftruncate", "fsync", "close", "replace")}

    def stand_in(self, patch: pytest.MonkeyPatch) -> None:
        for name in self._os:
            patch.setattr(os, name, getattr(self, name))
        patch.setattr(os, "fdatasync", self.fsync)

    def open(self, path: Any, flags: int, *mode: int, **more: Any) -> int:
        is_new = flags & os.O_CREAT and not Path(path).exists()
        descriptor: int = self._os["open"](path, flags, *mode, **more)
        if Path(path) == self._folder:
            self._names[descriptor] = ""
        elif Path(path).parent == self._folder and Path(path).suffix in (".seg", ".part"):
            self._names[descriptor] = Path(path).name
            if is_new:
                self._disk.apply(Made(Path(path).name))
        return descriptor

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        count: int = self._os["pwrite"](descriptor, data, offset)
        if self._names.get(descriptor):
            self._disk.apply(Written(self._names[descriptor], offset, bytes(data[:count])))
        return count

    def ftruncate(self, descriptor: int, size: int) -> None:
        self._os["ftruncate"](descriptor, size)
        if self._names.get(descriptor):
            self._disk.apply(Truncated(self._names[descriptor], size))

    def fsync(self, descriptor: int) -> None:
        self._os["fsync"](descriptor)
        name = self._names.get(descriptor)
        if name is not None:
            self._disk.apply(Synced(name) if name else FolderSynced())

    def replace(self, source: Any, target: Any) -> None:
        self._os["replace"](source, target)
        if Path(target).parent == self._folder and Path(target).suffix == ".seg":
            self._disk.apply(Renamed(Path(source).name, Path(target).name))

    def close(self, descriptor: int) -> None:
        self._names.pop(descriptor, None)
        self._os["close"](descriptor)


class WatchedDisk(Disk):
    """`on_call` is asked after each call."""

    on_call: Callable[[], None] | None = None

    def apply(self, call: DiskCall) -> None:
        super().apply(call)
        if self.on_call is not None:
            on_call, self.on_call = self.on_call, None  # it uses a disk itself
            on_call()
            self.on_call = on_call


class Bench:
    """A journal on a recorded disk. What it is asked to do comes from chance alone: its thread sleeps."""

    def __init__(self, folder: Path, disk: WatchedDisk, chance: Random, *kinds: str) -> None:
        self.folder = folder
        self.disk = disk
        self.chance = chance
        self.kinds = kinds or ("small", "small", "large", "durable", "sync", "index")
        self.written = 0
        self.safe = 0  # sets up to this number were synced
        self.dropped = 0  # of values that are not kept for ever

    def work(self, images: Path) -> int:
        """How many images were taken and judged."""
        taken = 0
        for _ in range(self.chance.randint(1, 3)):
            with Journal.open(self.folder, ["a", "f"], sync_ms=3_600_000) as journal:
                for _ in range(self.chance.randint(0, 12)):
                    self.act(journal)
                    if self.chance.random() < 0.4:
                        self.judge(images / str(taken))
                        taken += 1
            self.safe = self.written
        return taken

    def act(self, journal: Journal) -> None:
        match self.chance.choice(self.kinds):
            case "sync":
                journal._sync_and_index(index=False)
                self.safe = self.written
            case "index":
                journal._sync_and_index(index=True)
                self.safe = self.written
            case "drop":
                self.drop(journal)
            case kind:
                self.written += 1
                size = 5_000 if kind == "large" else self.chance.randint(0, 40)
                journal.append(
                    {"a": encode([self.written, bytes(size)]), "f": encode(self.written)},
                    self.written,
                    memory={"count": encode(self.written)},
                    cursors={"count": self.written},
                    durable=kind == "durable",
                )
                if kind == "durable":
                    self.safe = self.written

    def drop(self, journal: Journal) -> None:
        """The power may be cut at each call of the disk meanwhile."""
        images = self.folder.with_name("while-dropping")

        class Telling:
            """The journal, which tells what is not kept any more."""

            last_seqs = journal.last_seqs

            @staticmethod
            def drop(lasts: Mapping[str, int]) -> Drop:
                self.dropped = max(self.dropped, *lasts.values())
                told = journal.drop(lasts)
                self.safe = self.written
                return told

        self.disk.on_call = lambda: self.judge(images) if self.chance.random() < 0.5 else None
        drop_next(self.folder, Choice(self.folder, {"f": Keeping(0)}), Telling(), time.time())
        self.disk.on_call = None

    def judge(self, folder: Path) -> None:
        """The power is cut now: what was synced is there, nothing is there by half, and the journal goes on."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("*.seg"))
        for name, content in self.disk.image(self.chance).items():
            (folder / name).write_bytes(content)
        with JournalReader(folder) as reader:
            count = reader.cursors().get("count", 0)
            assert [decode(one.data)[0] for one in reader.read("a", 1)] == list(range(1, count + 1))
            kept = [decode(one.data) for one in reader.read("f", 1)]
            assert kept == list(range(count + 1 - len(kept), count + 1)) and count - len(kept) <= self.dropped
        assert self.safe <= count <= self.written
        with Journal.open(folder, ["a", "f"], sync_ms=3_600_000) as journal:
            assert journal.recovered.next_seq == {"a": count + 1, "f": count + 1}
            assert journal.recovered.memory.get("count", 0) == journal.recovered.cursors.get("count", 0) == count
            journal.append({"a": encode([count + 1, b""])}, 1)
        with JournalReader(folder) as reader:
            assert [decode(one.data)[0] for one in reader.read("a", 1)] == list(range(1, count + 2))
        shutil.rmtree(folder)


@pytest.mark.parametrize("seed", range(5))
def test_no_power_cut_while_values_are_dropped_loses_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    lose_power_while_dropping(tmp_path, seed, monkeypatch)


def lose_power_while_dropping(folder: Path, seed: int, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(writer, "SEGMENT_BYTES", 3_000)
    disk = WatchedDisk()
    (folder / "images").mkdir(parents=True)
    Recorder(folder / "node", disk).stand_in(patch)
    bench = Bench(folder / "node", disk, Random(seed), "small", "large", "sync", "drop", "drop")
    while bench.dropped < 2:
        bench.work(folder / "images")


def test_dropping_that_does_not_sync_is_caught(tmp_path: Path) -> None:
    caught = 0
    for seed in range(4):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("flame.journal.dropping.sync_file", lambda descriptor: None)
            try:
                lose_power_while_dropping(tmp_path / str(seed), seed, patch)
            except (AssertionError, StorageError):
                caught += 1
    assert caught > 1


@pytest.mark.parametrize("seed", range(12))
def test_no_power_cut_loses_what_was_synced_nor_leaves_a_set_by_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 6_000)
    disk = WatchedDisk()
    (tmp_path / "images").mkdir()
    Recorder(tmp_path / "node", disk).stand_in(monkeypatch)
    Bench(tmp_path / "node", disk, Random(seed)).work(tmp_path / "images")


def test_a_journal_that_does_not_sync_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    monkeypatch.setattr("flame.journal.segments.SegmentWriter.sync", lambda self: None)
    caught = 0
    for seed in range(10):
        disk = WatchedDisk()
        with pytest.MonkeyPatch.context() as patch:
            Recorder(tmp_path / str(seed), disk).stand_in(patch)
            try:
                Bench(tmp_path / str(seed), disk, Random(seed)).work(tmp_path / "images" / str(seed))
            except (AssertionError, StorageError):
                caught += 1
    assert caught > 3
