from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from actors.adapters.lmdb_resources import LmdbResources
from protocol.errors import Code, StorageError
from protocol.limits import MIB, RESOURCE_MAP_BYTES_MIN


def resource(i: int, size: int = MIB) -> tuple[bytes, bytes]:
    data = i.to_bytes(4) * (size // 4)
    return hashlib.sha256(data).digest(), data


def test_the_map_grows_before_it_is_full(tmp_path: Path) -> None:
    resources = LmdbResources.open(tmp_path / "r", map_bytes_max=512 * MIB)
    count = RESOURCE_MAP_BYTES_MIN // MIB + 8
    for start in range(0, count, 24):
        resources.put_all([resource(i) for i in range(start, min(start + 24, count))])
    assert all(resources.get(resource(i)[0]) == resource(i)[1] for i in range(0, count, 10))
    assert resources._env.info()["map_size"] == 2 * RESOURCE_MAP_BYTES_MIN
    resources.close()


def test_a_full_store_refuses_by_name_and_keeps_what_it_has(tmp_path: Path) -> None:
    resources = LmdbResources.open(tmp_path / "r", map_bytes_max=4 * MIB)
    resources.put_all([resource(1), resource(2)])
    with pytest.raises(StorageError, match="reached their limit") as caught:
        resources.put_all([resource(i) for i in range(3, 8)])
    assert caught.value.code is Code.STORE_FULL
    assert resources.get(resource(3)[0]) is None
    assert resources.get(resource(2)[0]) == resource(2)[1]
    resources.put_all([resource(9, 1024)])
    resources.close()


def test_bytes_altered_on_disk_are_never_handed_out(tmp_path: Path) -> None:
    digest, data = resource(0x01020304)
    resources = LmdbResources.open(tmp_path)
    resources.put_all([(digest, data)])
    resources.close()
    file = tmp_path / "data.mdb"
    content = bytearray(file.read_bytes())
    content[content.index(data) + 5] ^= 1
    file.write_bytes(content)
    resources = LmdbResources.open(tmp_path)
    with pytest.raises(StorageError, match="does not have the hash") as caught:
        resources.get(digest)
    assert caught.value.code is Code.DATABASE_FAILED
    resources.close()


def test_what_was_stored_is_there_after_closing_and_not_after_clearing(tmp_path: Path) -> None:
    resources = LmdbResources.open(tmp_path)
    resources.put_all([resource(1)])
    resources.close()
    resources = LmdbResources.open(tmp_path)
    assert resources.get(resource(1)[0]) == resource(1)[1]
    resources.clear()
    assert resources.get(resource(1)[0]) is None
    resources.close()


def test_commits_are_synced_and_the_map_is_never_written(tmp_path: Path) -> None:
    resources = LmdbResources.open(tmp_path)
    flags = resources._env.flags()
    assert (flags["sync"], flags["metasync"], flags["writemap"]) == (True, True, False)
    resources.close()


def test_a_foreign_file_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"no LMDB file" * 1_000)
    with pytest.raises(StorageError, match="not an LMDB file") as caught:
        LmdbResources.open(tmp_path)
    assert caught.value.code is Code.DATABASE_FAILED
    assert str(tmp_path) in caught.value.sentence


def test_a_file_in_place_of_the_folder_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be used") as caught:
        LmdbResources.open(tmp_path / "r")
    assert caught.value.code is Code.DATABASE_FAILED


def test_the_lock_file_has_no_holes(tmp_path: Path) -> None:
    """LMDB maps it, so a hole that a full disk cannot fill would kill the process."""
    LmdbResources.open(tmp_path).close()
    state = (tmp_path / "lock.mdb").stat()
    assert state.st_blocks * 512 >= state.st_size >= 512 * 64
