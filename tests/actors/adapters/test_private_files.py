from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from actors.adapters.private_files import (
    create_private_file,
    read_private_file,
    remove_unfinished,
    replace_private_file,
)
from protocol.errors import Code, ConfigError
from protocol.limits import PRIVATE_FILE_BYTES_MAX


def refusal(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read_private_file(path)
    return caught.value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "secret"
    create_private_file(path, b"hidden")
    return path


def test_a_new_file_and_its_folder_are_closed_to_others_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = tmp_path / "a" / "b" / "secret"
        create_private_file(path, b"hidden")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [folder.stat().st_mode & 0o777 for folder in (path.parent, path.parent.parent)] == [0o700, 0o700]
    assert read_private_file(path) == b"hidden"
    assert list(path.parent.iterdir()) == [path]


def test_an_existing_file_is_never_replaced(file: Path) -> None:
    with pytest.raises(FileExistsError):
        create_private_file(file, b"other")
    assert read_private_file(file) == b"hidden" and list(file.parent.iterdir()) == [file]


def test_a_link_in_the_place_of_a_new_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(FileExistsError):
        create_private_file(tmp_path / "link", b"hidden")
    assert not (tmp_path / "target").exists()


def test_of_many_that_create_one_file_one_succeeds(tmp_path: Path) -> None:
    made: list[int] = []

    def make(number: int) -> None:
        try:
            create_private_file(tmp_path / "secret", b"%d" % number)
        except FileExistsError:
            return
        made.append(number)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(made) == 1 and read_private_file(tmp_path / "secret") == b"%d" % made[0]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644, 0o666])
def test_a_file_that_others_may_reach_is_refused_with_the_remedy(file: Path, mode: int) -> None:
    file.chmod(mode)
    error = refusal(file)
    assert error.code == Code.KEY_FILE_UNSAFE
    assert error.sentence == (
        f"the file {file} is not safe for a secret: its mode {mode:04o} lets other users in, expected 0600"
    )
    assert error.next_step.startswith(f"chmod 600 {file}")


def test_a_symbolic_link_is_refused(file: Path) -> None:
    link = file.parent / "link"
    link.symlink_to(file)
    error = refusal(link)
    assert (error.code, error.sentence) == (
        Code.KEY_FILE_UNSAFE,
        f"the file {link} is not safe for a secret: it is a symbolic link",
    )


def test_what_is_not_a_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", tmp_path):
        assert refusal(path).sentence.endswith("is not safe for a secret: it is not a regular file")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(file: Path) -> None:
    os.chown(file, 12345, -1)
    assert "it belongs to user 12345, not to user 0 who runs this" in refusal(file).sentence


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_nothing_is_created_in_a_folder_that_others_may_change(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        create_private_file(tmp_path / "secret", b"hidden")
    assert caught.value.code == Code.KEY_FILE_UNSAFE and list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_nothing_is_created_in_a_folder_of_another_user(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(ConfigError) as caught:
        create_private_file(tmp_path / "secret", b"hidden")
    assert "it belongs to user 12345" in caught.value.sentence and list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_refused_with_a_sentence(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        create_private_file(file / "secret", b"hidden")
    assert caught.value.code == Code.FOLDER_UNUSABLE


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    create_private_file(tmp_path / "full", b"x" * PRIVATE_FILE_BYTES_MAX)
    assert len(read_private_file(tmp_path / "full")) == PRIVATE_FILE_BYTES_MAX
    create_private_file(tmp_path / "over", b"x" * (PRIVATE_FILE_BYTES_MAX + 1))
    assert refusal(tmp_path / "over").code == Code.KEY_FILE_MALFORMED


def test_what_a_killed_writer_has_left_is_removed_and_nothing_else(file: Path) -> None:
    (file.parent / ".secret.abcd1234.new").write_bytes(b"hid")
    with (file.parent / ".other.abcd1234.new").open("wb") as at_work:
        fcntl.flock(at_work, fcntl.LOCK_EX)
        remove_unfinished(file.parent)
        assert sorted(path.name for path in file.parent.iterdir()) == [".other.abcd1234.new", "secret"]


def test_a_folder_that_is_not_there_has_nothing_unfinished(tmp_path: Path) -> None:
    remove_unfinished(tmp_path / "none")


def test_a_file_is_replaced_whole_and_stays_closed_to_others(file: Path) -> None:
    replace_private_file(file, b"other")
    assert read_private_file(file) == b"other" and list(file.parent.iterdir()) == [file]
    new = file.parent / "new"
    replace_private_file(new, b"first")
    assert read_private_file(new) == b"first"


def test_a_link_is_replaced_and_not_followed(tmp_path: Path, file: Path) -> None:
    link = file.parent / "link"
    link.symlink_to(file)
    replace_private_file(link, b"other")
    assert read_private_file(link) == b"other" and read_private_file(file) == b"hidden"
