"""Error numbers of the system as words: a full disk is told as such, and nothing else is."""

from __future__ import annotations

import errno
from pathlib import Path

import lmdb
import pytest

from flame.archive.failures import named as archive_named
from flame.journal.segments import unreadable
from flame.journal.writer import _named as journal_named
from flame.refusals import refusal
from flotta_p2p.doctor.laboratory import _runs, _sync
from protocol.errors import Code
from tests.users import folder_of_everybody, without_privileges

PLACE = Path("/data/lab")
EACH = [
    (errno.ENOSPC, Code.DISK_FULL, "full"),
    (errno.EDQUOT, Code.DISK_FULL, "quota"),
    (errno.EACCES, Code.FOLDER_UNUSABLE, "Permission denied"),
    (errno.EPERM, Code.FOLDER_UNUSABLE, "not permitted"),
    (errno.EROFS, Code.FOLDER_UNUSABLE, "Read-only"),
    (errno.EIO, Code.DATABASE_FAILED, "Input/output"),
    (errno.EMFILE, Code.DATABASE_FAILED, "Too many open files"),
]


@pytest.mark.parametrize(("number", "code", "why"), EACH)
def test_an_error_number_has_one_meaning_wherever_it_comes_from(number: int, code: Code, why: str) -> None:
    error = OSError(number, "as the library says", "/x")
    within = RuntimeError(f"unable to write: file write failed: time = now, errno = {number}, error message")
    assert why in refusal(error).why and refusal(error) == refusal(within)
    named = (journal_named(PLACE, error), archive_named(PLACE, error), archive_named(PLACE, within))
    assert [one.code for one in (refusal(error), *named, unreadable(PLACE, error))] == [code] * 5
    for one in named:
        assert str(PLACE) in str(one) and ("is full" in str(one)) == (code is Code.DISK_FULL)
        assert "make room" in str(one) or code is not Code.DISK_FULL


def test_an_error_without_a_number_is_told_as_it_is() -> None:
    assert refusal(lmdb.CorruptedError("page 7")) == (Code.DATABASE_FAILED, "page 7", "look at the disk")
    assert journal_named(PLACE, lmdb.MapFullError("x")).code is Code.DISK_FULL


def test_doctor_calls_a_folder_that_may_not_be_written_no_full_disk() -> None:
    with folder_of_everybody() as folder:
        folder.chmod(0o555)
        with without_privileges():
            (found,) = _sync(folder)
    assert found.code is Code.FOLDER_UNUSABLE and "Permission denied" in found.seen


def test_doctor_tells_of_runs_that_may_not_be_listed() -> None:
    with folder_of_everybody() as folder:
        (folder / "flame_runs").mkdir()
        (folder / "flame_runs").chmod(0o000)
        with without_privileges():
            (found,) = _runs(folder)
    assert found.code is Code.FOLDER_UNUSABLE and "cannot be listed" in found.seen
