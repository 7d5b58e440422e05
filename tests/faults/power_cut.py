"""Power cuts under the store: no acknowledged batch is lost, none is half there, the node can go on.

    python -m tests.faults.power_cut --images 2000 --seed 1 --workers 2

The product's own store writes batches of real jobs on a recorded disk. For crash points all over the record an image of
the disk is made, with any part of what was not synced, and the product's own store opens it. Two controls show that
the images are harsh enough: with `synchronous=NORMAL` acknowledged batches are lost, without a journal batches are
torn. A run is repeated by its seed and number; only the salts of the log differ, since SQLite draws them itself.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Literal

import apsw

from actors.adapters.lmdb_resources import LmdbResources
from actors.adapters.store import SAFETY_FILE, LocalStore
from protocol.errors import StorageError
from protocol.kinds import SEEN_BOOT
from protocol.machines.contract import Keep, Put
from simulations import report as proof
from simulations.report import FAILURES_SHOWN_MAX
from tests.faults.disk_model import Disk
from tests.faults.disk_record import Acknowledged, DiskRecord, Entry, Issued, recorded_disk
from tests.faults.store_workload import Batch, Expected, boot_batch, machine_batches, observed

BATCHES = 160  # of one run, at least
GROUPS = (1, 1, 2, 6, 20)  # batches in one commit
RUN_IMAGES = 100  # of one recording
CONTROL_IMAGES_MIN = 50
DATABASE = "node.sqlite"
WALL_MS = 1_760_000_000_000

NOTES = (
    "The disk is a model: of the writes that were not synced any subset survives, the last three of a file torn.",
    "A name lasts when its folder was synced. Disks that lie about a sync are outside.",
    "When SQLite syncs the folder is taken from its source (first sync of a new journal or log), not observed.",
    "Resources in LMDB are outside, each image has all; tests of the order say: there before the row, gone after it.",
)

Verdict = Literal["good", "lost", "torn", "corrupt", "stuck"]
"""lost: an acknowledged batch is not there; torn: the contents are not those after any number of batches; corrupt: the
store cannot be read; stuck: it takes no further commit.
"""


@dataclass(frozen=True)
class Scenario:
    """`checkpoint_pages`: SQLite's wal_autocheckpoint; None leaves its own. `pragma`: what a control spoils."""

    in_memory: bool
    checkpoint_pages: int | None = None
    pragma: str | None = None


SCENARIOS = [Scenario(in_memory, pages) for in_memory in (False, True) for pages in (None, 40, 8)]
CONTROLS = {
    "synchronous=NORMAL": [
        Scenario(False, pragma="PRAGMA main.synchronous = NORMAL"),
        Scenario(True, pragma="PRAGMA safety.synchronous = NORMAL"),
    ],
    "journal_mode=OFF": [
        Scenario(False, pragma="PRAGMA main.journal_mode = OFF"),
        Scenario(True, pragma="PRAGMA safety.journal_mode = OFF"),
    ],
}


@dataclass
class Tally:
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    points: int = 0  # different crash points
    batches: int = 0
    calls: int = 0  # of the disk
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.verdicts.update(other.verdicts)
        self.points += other.points
        self.batches += other.batches
        self.calls += other.calls
        self.failures = (self.failures + other.failures)[:FAILURES_SHOWN_MAX]

    @property
    def images(self) -> int:
        return self.verdicts.total()


class Recording:
    """One life of a store on a recorded disk: opened for the first time, written, closed, opened again, written."""

    def __init__(self, folder: Path, scenario: Scenario, random: Random) -> None:
        self.folder = folder
        self.in_memory = scenario.in_memory
        self.expected = Expected(scenario.in_memory)
        self.batches = machine_batches(random, BATCHES)
        self._scenario = scenario
        with recorded_disk() as self._record:
            half = len(self.batches) // 2
            self._live(self.batches[:half], WALL_MS, random)
            self._live(self.batches[half:], WALL_MS + 1, random)
        self.entries: Sequence[Entry] = self._record.entries
        if not self.in_memory:
            self._keep_all_resources()

    def _keep_all_resources(self) -> None:
        resources = LmdbResources.open(self.folder / "resources")
        keeps = (write for batch in self.batches for write in batch if isinstance(write, Keep))
        resources.put_all([(keep.digest, keep.data) for keep in keeps])
        resources.close()

    def _live(self, batches: Sequence[Batch], boot_id: int, random: Random) -> None:
        store = open_store(self.folder, self.in_memory)
        self._spoil(self._record)
        self._issue([boot_batch(boot_id)])
        self._acknowledge(store.next_boot_id(boot_id) == boot_id)
        while batches:
            size = random.choice(GROUPS)
            group, batches = batches[:size], batches[size:]
            self._issue(group)
            self._acknowledge(not any(store.commit(group)))
        store.close()
        self._record.connections.clear()

    def _spoil(self, record: DiskRecord) -> None:
        connection = record.connections[-1]
        if self._scenario.checkpoint_pages is not None:
            connection.wal_autocheckpoint(self._scenario.checkpoint_pages)
        if self._scenario.pragma is not None:
            list(connection.execute(self._scenario.pragma))

    def _issue(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self.expected.add(batch)
        self._record.entries.append(Issued(self.expected.batches))

    def _acknowledge(self, taken: bool) -> None:
        if not taken:
            raise RuntimeError("the store refused a commit on a healthy disk")
        self._record.entries.append(Acknowledged(self.expected.batches))


@dataclass(frozen=True)
class Image:
    """What was found after a power cut before entry `point` of the record."""

    point: int
    files: dict[str, bytes]
    acknowledged: int
    issued: int


def images(entries: Sequence[Entry], count: int, random: Random) -> Iterator[Image]:
    """`count` images at crash points drawn with equal chance from all boundaries between two calls."""
    boundaries = [n for n, entry in enumerate(entries) if not isinstance(entry, Issued)]
    points = iter(sorted(random.choices([*boundaries, len(entries)], k=count)))
    disk, acknowledged, issued = Disk(), 0, 0
    point = next(points, None)
    for n, entry in enumerate([*entries, Acknowledged(0)]):
        while n == point:
            yield Image(n, disk.image(random), acknowledged, issued)
            point = next(points, None)
        match entry:
            case Issued(batches=issued):
                pass
            case Acknowledged(batches=acknowledged):
                pass
            case call:
                disk.apply(call)


def judge(image: Image, recording: Recording, folder: Path) -> tuple[Verdict, str]:
    """Open the image in `folder` as the product does, compare, write on, close, and check the file once more."""
    for name, data in image.files.items():
        (folder / name).write_bytes(data)
    if not recording.in_memory:
        shutil.copytree(recording.folder / "resources", folder / "resources")  # opening removes what no row names
    expected = recording.expected
    try:
        store = open_store(folder, recording.in_memory)
        try:
            found = observed(store, expected.jobs, expected.digests)
            audit = store.verify_audit()
            stuck = _is_stuck(store)
        finally:
            store.close()
        damage = _damage(folder / (SAFETY_FILE if recording.in_memory else DATABASE))
    except (StorageError, apsw.Error) as error:
        return "corrupt", str(error)
    if damage or not audit.ok:
        return "corrupt", damage or f"the audit chain breaks at row {audit.first_bad}"
    numbers = [number for number in expected.numbers_of(found) if number <= image.issued]
    if not numbers:
        return "torn", f"after {image.acknowledged} to {image.issued} batches the contents fit no number of batches"
    if numbers[-1] < image.acknowledged:
        return "lost", f"batches {numbers[-1] + 1} to {image.acknowledged} were acknowledged and are not there"
    return ("stuck", "no further commit is taken") if stuck else ("good", "")


def _is_stuck(store: LocalStore) -> bool:
    boot_id = store.next_boot_id(WALL_MS + 2)
    mark = Put(kind=SEEN_BOOT, key=b"after the power cut", value=boot_id.to_bytes(8))
    return any(store.commit([(mark,)])) or (mark.key, mark.value) not in store.load([SEEN_BOOT])[SEEN_BOOT]


def _damage(path: Path) -> str:
    db = apsw.Connection(str(path))
    try:
        found = [str(line) for (line,) in db.execute("PRAGMA quick_check")]
    finally:
        db.close()
    return "" if found == ["ok"] else found[0]


def open_store(folder: Path, in_memory: bool) -> LocalStore:
    return LocalStore.open(folder, metadata="memory" if in_memory else Path(DATABASE))


def run(seed: int, scenarios: Sequence[Scenario], share: tuple[int, int]) -> Tally:
    """Run `number` of a seed, with so many images: one recording and its power cuts."""
    number, count = share
    random = Random(f"{seed}/{number}")
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="flotta-power-cut-", dir=scratch()) as name:
        recording = Recording(Path(name, "recorded"), scenarios[number % len(scenarios)], random)
        tally.batches = recording.expected.batches
        tally.calls = sum(not isinstance(entry, Issued | Acknowledged) for entry in recording.entries)
        points = set[int]()
        for n, image in enumerate(images(recording.entries, count, random)):
            with tempfile.TemporaryDirectory(prefix=f"image-{n}-", dir=name) as folder:
                verdict, sentence = judge(image, recording, Path(folder))
            points.add(image.point)
            tally.verdicts[verdict] += 1
            if verdict != "good" and len(tally.failures) < FAILURES_SHOWN_MAX:
                tally.failures.append(f"{verdict}: {sentence} (seed {seed}, run {number}, image {n})")
        tally.points = len(points)
    return tally


def scratch() -> Path:
    """Images are many and short-lived: memory holds them best. Nothing here relies on real syncs."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else Path(tempfile.gettempdir())


def shares(count: int, run_images: int = RUN_IMAGES) -> list[tuple[int, int]]:
    """(number of the run, its images) for `count` images together."""
    return [(n, min(run_images, count - first)) for n, first in enumerate(range(0, count, run_images))]


def run_all(seed: int, scenarios: Sequence[Scenario], parts: Sequence[tuple[int, int]], workers: int) -> Tally:
    """All runs, spread over processes; in this process when `workers` is 1."""
    one = partial(run, seed, scenarios)
    total = Tally()
    if workers == 1:
        for tally in map(one, parts):
            total.add(tally)
        return total
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for n, tally in enumerate(pool.map(one, parts), start=1):
            total.add(tally)
            if n % 20 == 0:
                print(f"  {total.images} images: {dict(total.verdicts)}", flush=True)
    return total


def finding(seed: int, tally: Tally, normal: Tally, off: Tally, seconds: float) -> proof.Report:
    failures = list(tally.failures)
    if not normal.verdicts["lost"]:
        failures.append("control: with synchronous=NORMAL no acknowledged batch was lost: the images are too kind")
    if not off.verdicts["torn"] + off.verdicts["corrupt"]:
        failures.append("control: without a journal no batch was torn: the images are too kind")
    counts: dict[str, int | str] = {
        "crash images": tally.images,
        "crash points": tally.points,
        "batches committed": tally.batches,
        "disk calls recorded": tally.calls,
        **{f"images {verdict}": tally.verdicts[verdict] for verdict in ("lost", "torn", "corrupt", "stuck")},
        "control NORMAL: images": normal.images,
        "control NORMAL: images lost": normal.verdicts["lost"],
        "control NORMAL: images torn or corrupt": normal.verdicts["torn"] + normal.verdicts["corrupt"],
        "control journal OFF: images": off.images,
        "control journal OFF: images torn": off.verdicts["torn"],
        "control journal OFF: images corrupt": off.verdicts["corrupt"],
        "control journal OFF: images lost": off.verdicts["lost"],
        "images per second": f"{(tally.images + normal.images + off.images) / seconds:.0f}",
        "seed": seed,
    }
    return proof.Report(
        part="power cut",
        promise="No power cut loses an acknowledged batch, tears one, or leaves a store that cannot go on.",
        counts=counts,
        failures=tuple(failures),
        notes=tuple(NOTES),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Cut the power of a recorded disk and open what is left.")
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    started = time.monotonic()
    seed, workers = arguments.seed, arguments.workers
    tally = run_all(seed, SCENARIOS, shares(arguments.images), workers)
    control_shares = shares(max(CONTROL_IMAGES_MIN, arguments.images // 10), RUN_IMAGES // 2)
    normal, off = (run_all(seed, scenarios, control_shares, workers) for scenarios in CONTROLS.values())
    return finding(seed, tally, normal, off, time.monotonic() - started).tell(arguments.report)


if __name__ == "__main__":
    sys.exit(main())
