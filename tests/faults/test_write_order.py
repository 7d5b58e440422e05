"""Whoever says that a file is there has synced the file, then given it its name, then synced the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actors.adapters.private_files import create_private_file
from actors.adapters.store import LocalStore
from actors.adapters.token_files import add_project
from protocol.secret_text import SecretText
from protocol.tokens import new_token


class Calls:
    """The calls of this process that decide what a power cut leaves, with paths below `root`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self._root = root
        fsync, link, mkdir = os.fsync, os.link, Path.mkdir

        def watched_fsync(descriptor: int) -> None:
            fsync(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            self._add("sync", path if path.is_dir() else path.parent / "a file")

        def watched_link(source: str, target: Path, *, follow_symlinks: bool) -> None:
            link(source, target, follow_symlinks=follow_symlinks)
            self._add("name", target)

        def watched_mkdir(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
            if not path.exists():
                self._add("make", path)
            mkdir(path, mode, parents, exist_ok)

        monkeypatch.setattr(os, "fsync", watched_fsync)
        monkeypatch.setattr(os, "link", watched_link)
        monkeypatch.setattr(Path, "mkdir", watched_mkdir)

    def _add(self, verb: str, path: Path) -> None:
        self.made.append(f"{verb} {path.relative_to(self._root)}")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(tmp_path, monkeypatch)


def test_a_private_file_is_synced_then_named_then_its_folder_is_synced(tmp_path: Path, calls: Calls) -> None:
    create_private_file(tmp_path / "keys" / "node.key", b"secret")
    assert calls.made == ["make keys", "sync .", "sync keys/a file", "name keys/node.key", "sync keys"]


def test_a_project_that_was_added_is_on_the_disk_with_its_name(tmp_path: Path, calls: Calls) -> None:
    add_project(tmp_path, "north", SecretText(new_token(bytes(20))))
    assert calls.made[-3:] == ["sync projects/a file", "name projects/north.token", "sync projects"]


def test_each_new_folder_above_the_database_is_on_the_disk_before_anything_is_committed(
    tmp_path: Path, calls: Calls
) -> None:
    store = LocalStore.open(tmp_path, metadata=Path("a/b/node.sqlite"))
    store.close()
    assert calls.made[:4] == ["make a", "sync .", "make a/b", "sync a"]
