"""Power cuts in small numbers; the proof takes more. And the images are harsh enough to find what is wrong."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from actors.adapters.store import LocalStore
from protocol.errors import Code, StorageError
from protocol.kinds import INBOX
from protocol.machines.contract import Put
from tests.faults import power_cut
from tests.faults.disk_model import SECTOR_BYTES, Disk
from tests.faults.disk_record import FolderSynced, Made, Removed, Synced, Truncated, Written, recorded_disk
from tests.faults.power_cut import CONTROLS, DATABASE, SCENARIOS, Image, Recording, Scenario, judge, run_all, shares

OLD, NEW = b"o" * 2 * SECTOR_BYTES, b"n" * 2 * SECTOR_BYTES


@pytest.mark.timeout(300)  # 3 s at rest
def test_no_power_cut_loses_or_tears_what_was_acknowledged() -> None:
    tally = run_all(1, SCENARIOS, shares(150, 25), workers=1)
    assert tally.failures == []
    assert tally.verdicts == {"good": 150}
    assert tally.points > 120


def test_a_store_that_does_not_sync_its_log_is_caught() -> None:
    tally = run_all(1, CONTROLS["synchronous=NORMAL"], shares(40, 20), workers=1)
    assert tally.verdicts["lost"] > 10
    assert set(tally.verdicts) <= {"good", "lost"}


def test_a_store_without_a_journal_is_caught() -> None:
    tally = run_all(1, CONTROLS["journal_mode=OFF"], shares(40, 20), workers=1)
    assert tally.verdicts["corrupt"] + tally.verdicts["torn"] > 5


def test_a_control_that_finds_nothing_breaks_the_part() -> None:
    good, caught = power_cut.Tally(), power_cut.Tally()
    caught.verdicts.update({"lost": 1, "torn": 1})
    assert power_cut.finding(1, good, caught, caught, 1.0).held
    assert not power_cut.finding(1, good, good, caught, 1.0).held
    assert not power_cut.finding(1, good, caught, good, 1.0).held


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return Recording(tmp_path_factory.mktemp("recorded"), Scenario(in_memory=False), Random(1))


def whole(recording: Recording) -> Image:
    files = {DATABASE: (recording.folder / DATABASE).read_bytes()}
    count = recording.expected.batches
    return Image(len(recording.entries), files, acknowledged=count, issued=count)


def test_what_a_store_left_after_its_close_is_good(recording: Recording, tmp_path: Path) -> None:
    assert judge(whole(recording), recording, tmp_path) == ("good", "")


def test_a_batch_that_is_half_there_is_torn(recording: Recording, tmp_path: Path) -> None:
    image = whole(recording)
    (tmp_path / DATABASE).write_bytes(image.files[DATABASE])
    store = LocalStore.open(tmp_path, metadata=Path(DATABASE))
    store.commit([(Put(kind=INBOX, key=b"of no batch", value=b""),)])
    store.close()
    altered = {DATABASE: (tmp_path / DATABASE).read_bytes()}
    (tmp_path / "image").mkdir()
    changed = Image(image.point, altered, image.acknowledged, image.issued)
    assert judge(changed, recording, tmp_path / "image")[0] == "torn"


def test_a_missing_page_is_corrupt(recording: Recording, tmp_path: Path) -> None:
    image = whole(recording)
    image.files[DATABASE] = image.files[DATABASE][: -3 * 4096]
    assert judge(image, recording, tmp_path)[0] == "corrupt"


def test_an_empty_disk_after_an_acknowledgement_is_a_loss(recording: Recording, tmp_path: Path) -> None:
    image = whole(recording)
    image.files.clear()
    assert judge(image, recording, tmp_path)[0] == "lost"


def test_a_store_that_refuses_the_next_commit_is_stuck(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = StorageError(Code.DISK_FULL, "refused")
    monkeypatch.setattr(LocalStore, "commit", lambda _self, batches: [refusal] * len(batches))
    assert judge(whole(recording), recording, tmp_path)[0] == "stuck"


def test_the_record_names_each_call_in_its_order(tmp_path: Path) -> None:
    with recorded_disk() as record:
        store = LocalStore.open(tmp_path, metadata=Path(DATABASE))
        record.entries.clear()
        assert store.commit([(Put(kind=INBOX, key=b"k", value=b"v"),)]) == [None]
        calls = [(type(entry), getattr(entry, "name", "")) for entry in record.entries]
        store.close()
    log = f"{DATABASE}-wal"
    assert set(calls[:-1]) == {(Written, log)} and calls[-1] == (Synced, log)
    assert record.entries[-1] == Removed(log)
    assert (tmp_path / DATABASE).exists()


def seen(disk: Disk) -> set[bytes | None]:
    """Every content of the file `f` that images show; None: no such file."""
    return {disk.image(Random(seed)).get("f") for seed in range(200)}


def named(*calls: Written | Truncated | Synced) -> Disk:
    disk = Disk()
    for call in (Made("f"), FolderSynced(), *calls):
        disk.apply(call)
    return disk


def test_what_was_synced_is_in_every_image() -> None:
    assert seen(named(Written("f", 0, OLD), Synced("f"))) == {OLD}


def test_what_was_not_synced_is_there_whole_in_part_or_not_at_all() -> None:
    half = NEW[:SECTOR_BYTES] + OLD[SECTOR_BYTES:], OLD[:SECTOR_BYTES] + NEW[SECTOR_BYTES:]
    assert seen(named(Written("f", 0, OLD), Synced("f"), Written("f", 0, NEW))) == {OLD, NEW, *half}


def test_a_later_write_may_survive_without_an_earlier_one() -> None:
    short = named(Written("f", 0, b"1"), Written("f", 1, b"2"))
    assert seen(short) == {b"", b"1", b"\0002", b"12"}


def test_a_truncation_may_be_lost_until_it_is_synced() -> None:
    calls = (Written("f", 0, b"12"), Synced("f"), Truncated("f", 1))
    assert seen(named(*calls)) == {b"1", b"12"}
    assert seen(named(*calls, Synced("f"))) == {b"1"}


def test_a_name_lasts_when_its_folder_was_synced_and_not_before() -> None:
    disk = Disk()
    for call in (Made("f"), Written("f", 0, b"1"), Synced("f")):
        disk.apply(call)
    assert seen(disk) == {None, b"1"}
    disk.apply(FolderSynced())
    assert seen(disk) == {b"1"}
    disk.apply(Removed("f"))
    assert seen(disk) == {None, b"1"}
    disk.apply(Made("f"))
    assert seen(disk) == {None, b"1", b""}
    disk.apply(FolderSynced())
    assert seen(disk) == {b""}
