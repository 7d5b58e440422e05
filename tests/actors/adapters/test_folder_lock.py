from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from actors.adapters import folder_lock
from actors.adapters.folder_lock import (
    LockHolder,
    check_disk_space,
    check_workdir,
    lock_folder,
    lock_holder,
    prepare_workdir,
    signal_holder,
)
from protocol.errors import Code, ConfigError, StorageError
from tests.users import NOBODY, without_privileges

ROOT = Path(folder_lock.__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from actors.adapters.folder_lock import lock_folder
lock = lock_folder(Path(sys.argv[1]))
lock.name_node("NODEID")
print("locked", flush=True)
time.sleep(60)
"""


def test_a_locked_folder_is_refused_naming_process_and_node_until_that_process_dies(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
            with pytest.raises(ConfigError) as caught:
                lock_folder(tmp_path)
        finally:
            holder.kill()
    assert (caught.value.code, caught.value.sentence) == (
        Code.FOLDER_LOCKED,
        f"the work directory {tmp_path} is in use by process {holder.pid} (node NODEID)",
    )
    lock_folder(tmp_path).release()


def test_a_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = lock_folder(tmp_path)
    program = "print('runs', flush=True); import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], close_fds=False, stdout=subprocess.PIPE) as child:
        try:
            assert (
                child.stdout is not None and child.stdout.readline() == b"runs\n"
            )  # its own program, not a copy of us
            lock.release()
            lock_folder(tmp_path).release()
        finally:
            child.kill()


def test_a_lock_is_given_back_at_the_end_of_its_block_and_once_only(tmp_path: Path) -> None:
    with lock_folder(tmp_path) as lock:
        assert (tmp_path / "lock").read_text() == f"{os.getpid()} \n"
        with pytest.raises(ConfigError):
            lock_folder(tmp_path)
    with lock_folder(tmp_path):
        lock.release()
        with pytest.raises(ConfigError) as caught:
            lock_folder(tmp_path)
    assert caught.value.sentence == f"the work directory {tmp_path} is in use by process {os.getpid()}"


def test_a_link_in_the_place_of_the_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(ConfigError) as caught:
        lock_folder(tmp_path)
    assert caught.value.code == Code.FOLDER_UNUSABLE and not (tmp_path / "target").exists()


def test_a_new_work_directory_is_closed_to_others(tmp_path: Path) -> None:
    prepare_workdir(tmp_path / "a" / "b")
    prepare_workdir(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_an_empty_folder_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir(mode=0o755)
    prepare_workdir(tmp_path / "work")
    assert (tmp_path / "work").stat().st_mode & 0o777 == 0o700


def test_an_open_folder_with_contents_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "photos").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError) as caught:
        prepare_workdir(tmp_path)
    assert caught.value.code == Code.FOLDER_UNUSABLE and tmp_path.stat().st_mode & 0o777 == 0o755
    assert str(caught.value) == (
        f"the work directory {tmp_path} cannot be used: its mode 0755 lets other users in. "
        f"Next: chmod 700 {tmp_path}, or choose another workdir"
    )


def test_a_work_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "work").touch()
    for path in (tmp_path / "work", tmp_path / "work" / "below"):
        with pytest.raises(ConfigError) as caught:
            prepare_workdir(path)
        assert caught.value.code == Code.FOLDER_UNUSABLE


def test_a_work_directory_without_the_right_to_write_is_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NOBODY if os.geteuid() == 0 else -1, -1)
        with without_privileges():
            (Path(folder) / "work").mkdir(mode=0o500)
            with pytest.raises(ConfigError) as caught:
                prepare_workdir(Path(folder) / "work")
    assert caught.value.sentence.endswith("this user may not write in it")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_work_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(ConfigError) as caught:
        prepare_workdir(tmp_path)
    assert "it belongs to user 12345" in caught.value.sentence


def test_a_disk_that_is_nearly_full_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_disk_space(tmp_path)
    monkeypatch.setattr(folder_lock, "DISK_FREE_BYTES_MIN", 1 << 62)
    with pytest.raises(StorageError) as caught:
        check_disk_space(tmp_path)
    assert caught.value.code == Code.DISK_FULL and f"the disk of {tmp_path} has " in caught.value.sentence


def test_the_holder_of_a_lock_is_known_without_taking_it(tmp_path: Path) -> None:
    assert lock_holder(tmp_path) is None
    with lock_folder(tmp_path) as lock:
        lock.name_node("NODE")
        assert lock_holder(tmp_path) == LockHolder(pid=os.getpid(), node="NODE")
    assert lock_holder(tmp_path) is None
    lock_folder(tmp_path).release()  # whoever looked has kept nobody out


def test_a_signal_goes_to_who_holds_the_lock_and_to_no_process_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    signal_holder(tmp_path, signal.SIGTERM)
    with lock_folder(tmp_path) as lock:
        assert not sent
        signal_holder(tmp_path, signal.SIGTERM)
        os.pwrite(lock.fileno(), f"{1 << 30} \n".encode(), 0)
        signal_holder(tmp_path, signal.SIGTERM)  # who is gone needs none
        os.ftruncate(lock.fileno(), 0)
        with pytest.raises(PermissionError):
            signal_holder(tmp_path, signal.SIGTERM)
        named = os.getpid() if os.getuid() == 0 else 1
        os.pwrite(lock.fileno(), f"{named} \n".encode(), 0)
        if os.getuid() == 0:
            os.chown(tmp_path / "lock", 12_345, -1)
        with pytest.raises(PermissionError):
            signal_holder(tmp_path, signal.SIGTERM)
    assert sent == [(os.getpid(), signal.SIGTERM)]


def test_where_the_system_lists_no_locks_the_lock_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_list(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", no_list)
    with lock_folder(tmp_path):
        assert lock_holder(tmp_path) is not None
    assert lock_holder(tmp_path) is None


def test_a_check_of_a_work_directory_changes_nothing(tmp_path: Path) -> None:
    work = tmp_path / "work"
    with pytest.raises(ConfigError):
        check_workdir(work)
    assert not work.exists()
    work.mkdir(mode=0o755)
    with pytest.raises(ConfigError) as caught:
        check_workdir(work)
    assert caught.value.code == Code.FOLDER_UNUSABLE
    assert work.stat().st_mode & 0o777 == 0o755
    prepare_workdir(work)  # an empty one is closed
    (work / "projects").mkdir()
    unfinished = work / "projects" / ".heart.token.x.new"
    unfinished.touch(mode=0o600)
    check_workdir(work)
    assert unfinished.exists()
    prepare_workdir(work)
    assert not unfinished.exists()
