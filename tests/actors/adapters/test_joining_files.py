"""Join addresses and the mark of a node that has left: whole on disk or not there, and never a traceback."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from actors.adapters.joining_files import forget_join, has_left, keep_join, list_joins, note_left
from protocol.errors import Code, ConfigError
from protocol.limits import KEPT_JOINS_MAX
from protocol.machines.events import KeptJoin
from tests.protocol.builders import node_key, statement

PLAIN = KeptJoin(address="lab.example.org:1456")
INVITED = KeptJoin(address="10.0.0.5:1456", statement=statement(node_key(1)).data)


def refused(tmp_path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        list_joins(tmp_path)
    assert error.value.next_step
    return error.value


def test_what_was_kept_is_listed_with_its_statement(tmp_path: Path) -> None:
    assert list_joins(tmp_path) == ()
    keep_join(tmp_path, PLAIN)
    keep_join(tmp_path, INVITED)
    assert set(list_joins(tmp_path)) == {PLAIN, INVITED}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "joins").iterdir()} == {0o600}


def test_the_same_address_again_replaces_what_was_said_of_it(tmp_path: Path) -> None:
    keep_join(tmp_path, INVITED)
    keep_join(tmp_path, KeptJoin(address=INVITED.address))
    assert list_joins(tmp_path) == (KeptJoin(address=INVITED.address),)


def test_an_address_is_forgotten_once(tmp_path: Path) -> None:
    keep_join(tmp_path, PLAIN)
    assert forget_join(tmp_path, PLAIN.address) is True
    assert forget_join(tmp_path, PLAIN.address) is False
    assert list_joins(tmp_path) == ()


def test_the_longest_address_can_be_kept(tmp_path: Path) -> None:
    longest = KeptJoin(address=f"{'a' * 253}:65535")
    keep_join(tmp_path, longest)
    assert list_joins(tmp_path) == (longest,)


def test_one_address_too_many_is_refused_and_the_others_stay(tmp_path: Path) -> None:
    for number in range(KEPT_JOINS_MAX):
        keep_join(tmp_path, KeptJoin(address=f"lab{number}:1456"))
    with pytest.raises(ConfigError) as error:
        keep_join(tmp_path, PLAIN)
    assert error.value.code is Code.CONFIG_VALUE_WRONG
    keep_join(tmp_path, KeptJoin(address="lab3:1456"))  # known: no further one
    assert len(list_joins(tmp_path)) == KEPT_JOINS_MAX


@pytest.mark.parametrize("content", [b"", b"\n", b"nowhere\n", b"lab:1456\n!!!\n", b"\xff\xfe\n", b"lab:0\n"])
def test_a_file_that_holds_something_else_is_named(tmp_path: Path, content: bytes) -> None:
    keep_join(tmp_path, PLAIN)
    (path,) = (tmp_path / "joins").iterdir()
    path.write_bytes(content)
    error = refused(tmp_path)
    assert error.code is Code.KEY_FILE_MALFORMED and str(path) in error.sentence


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    keep_join(tmp_path, INVITED)
    (path,) = (tmp_path / "joins").iterdir()
    path.chmod(0o644)
    assert refused(tmp_path).code is Code.KEY_FILE_UNSAFE


def test_a_node_has_left_until_it_is_noted_that_it_is_back(tmp_path: Path) -> None:
    assert not has_left(tmp_path)
    assert note_left(tmp_path, True) is True and has_left(tmp_path)
    assert note_left(tmp_path, True) is False and has_left(tmp_path)
    assert note_left(tmp_path, False) is True and not has_left(tmp_path)
    assert note_left(tmp_path, False) is False
