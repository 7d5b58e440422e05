"""Folders of sockets: closed to others, gone with their process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.adapters.runtime_folder import SocketFolder, memory_folder, runtime_folder
from protocol.errors import Code, ConfigError

pytestmark = pytest.mark.usefixtures("own_runtime")


def test_a_folder_is_this_users_alone_and_leaves_with_its_owner() -> None:
    one, other = SocketFolder(), SocketFolder()
    assert one.path != other.path
    assert one.path.stat().st_mode & 0o777 == 0o700
    (one.path / "1").touch()
    one.close()
    assert not one.path.exists()
    assert other.path.exists()
    other.close()


def test_what_a_killed_process_left_is_removed_by_the_next_one_and_nothing_else() -> None:
    program = (
        "import os; from actors.adapters.runtime_folder import SocketFolder as F; f = F(); print(f.path, flush=True)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", f"{program}; os.kill(os.getpid(), 9)"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    living = SocketFolder()
    (runtime_folder() / "node.sock").touch()
    SocketFolder().close()
    assert not left.exists()
    assert living.path.is_dir()
    assert (runtime_folder() / "node.sock").exists()
    living.close()


def test_a_runtime_folder_that_others_can_open_is_refused() -> None:
    runtime_folder().mkdir()
    runtime_folder().chmod(0o755)
    with pytest.raises(ConfigError) as refused:
        SocketFolder()
    assert refused.value.code == Code.FOLDER_UNUSABLE
    assert "chmod 700" in refused.value.next_step


def test_a_runtime_folder_that_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    with pytest.raises(ConfigError) as refused:
        SocketFolder()
    assert refused.value.code == Code.FOLDER_UNUSABLE
    assert os.fspath(tmp_path / "file") in str(refused.value)


def test_a_runtime_folder_whose_path_has_no_room_for_a_socket_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 60)))
    with pytest.raises(ConfigError) as caught:
        SocketFolder()
    assert caught.value.code == Code.FOLDER_UNUSABLE and "XDG_RUNTIME_DIR" in (caught.value.next_step or "")


def test_a_folder_in_memory_is_this_users_alone_and_what_was_left_over_goes(tmp_path: Path) -> None:
    left = tmp_path / f"flotta-p2p-{os.getuid()}" / "arrays-killed"
    left.mkdir(parents=True)
    left.parent.chmod(0o700)
    folder = memory_folder(1, tmp_path)
    assert folder is not None and folder.path.stat().st_mode & 0o777 == 0o700 and not left.exists()
    folder.close()
    assert not folder.path.exists()


def test_without_enough_memory_that_is_this_users_alone_there_is_no_folder_in_it(tmp_path: Path) -> None:
    assert memory_folder(1 << 62, tmp_path) is None
    assert memory_folder(1, tmp_path / "missing") is None
    (tmp_path / f"flotta-p2p-{os.getuid()}").symlink_to(tmp_path)  # laid there by another
    assert memory_folder(1, tmp_path) is None
