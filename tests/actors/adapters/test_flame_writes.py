"""The executor's socket for writes: who is at the other end, and what strangers can do to it."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Queue

import msgspec
import pytest

from actors.adapters import flame_writes
from actors.adapters.flame_writes import FlameWrites, WriteAsked
from flame.limits import WRITE_BYTES_MAX, WRITES_WAITING_EACH_MAX, WRITES_WAITING_MAX
from flame.run.write_request import Accepted, Refused, encode
from flame.run.writes import Author, WriteRequest
from protocol.errors import ConfigError
from tests.users import NOBODY, without_privileges

LIMIT_S = 20.0
REQUEST = WriteRequest("lock", "target", 81.5)
LINE = encode(REQUEST)


class Door:
    def __init__(self, *, for_others: bool = False, is_known: bool = True) -> None:
        self.asked: Queue[WriteAsked] = Queue()
        self.known: list[int] = []  # besides, by number
        self.writes = FlameWrites(
            for_others=for_others,
            is_known=lambda author: is_known or author.uid in self.known,
            on_asked=self.asked.put,
        )

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(LIMIT_S)
        sock.connect(str(self.writes.path))
        return sock

    def check_open(self) -> None:
        """One who asks as he should is heard and answered."""
        with self.connect() as sock:
            sock.sendall(LINE)
            asked = self.asked.get(timeout=LIMIT_S)
            assert asked.request == REQUEST
            self.writes.answer(asked.number, Accepted(1, 2, asked.author.name))
            assert told(sock) == Accepted(1, 2, asked.author.name)


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.writes.stop()


def told(sock: socket.socket) -> Accepted | Refused | None:
    """The one answer, until the connection ends; None for none."""
    data = b""
    with suppress(ConnectionResetError):
        while more := sock.recv(65_536):
            data += more
    return msgspec.json.decode(data, type=Accepted | Refused) if data else None


def test_who_asks_is_who_the_system_says(door: Door) -> None:
    with door.connect() as sock:
        sock.sendall(b'{"node": "lock", "input": "target", "value": 81.5, "author": "anna", "uid": 4711}\n')
        asked = door.asked.get(timeout=LIMIT_S)
        user = pwd.getpwuid(os.getuid())
        assert (asked.author.uid, asked.author.name) == (user.pw_uid, user.pw_name)
        assert grp.getgrgid(user.pw_gid).gr_name in asked.author.groups
        assert asked.request == REQUEST


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
def test_another_user_is_seen_as_that_user() -> None:
    door = Door(for_others=True)
    try:
        with without_privileges():
            sock = door.connect()
        with sock:
            sock.sendall(LINE)
            author = door.asked.get(timeout=LIMIT_S).author
        user = pwd.getpwuid(NOBODY)
        assert (author.uid, author.name) == (NOBODY, user.pw_name)
        assert "root" not in author.groups
    finally:
        door.writes.stop()


def test_an_answer_ends_its_connection(door: Door) -> None:
    door.check_open()
    door.check_open()


def test_only_this_user_can_reach_it_unless_others_are_named(door: Door) -> None:
    open_door = Door(for_others=True)
    try:
        modes = [
            [stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent, path.parent.parent)]
            for path in (door.writes.path, open_door.writes.path)
        ]
    finally:
        open_door.writes.stop()
    assert modes == [[0o600, 0o700, 0o700], [0o666, 0o711, 0o711]]
    assert not open_door.writes.path.parent.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"null\n",
        bytes(range(128, 192)) + b"\n",
        b'{"node": "lock", "input": "target", "value": ' + b"[" * 50_000 + b"\n",
        b"x" * (WRITE_BYTES_MAX + 1),
        b'{"node": "lock", "input": "' + b"x" * 1_000 + b'", "value": 1}\n',
    ],
)
def test_what_is_no_request_is_refused_and_the_next_one_is_heard(door: Door, data: bytes) -> None:
    with door.connect() as sock:
        with suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
        assert isinstance(told(sock), Refused)
    assert door.asked.empty()
    door.check_open()


def test_who_hangs_up_at_any_time_hurts_nobody(door: Door) -> None:
    for sent in (b"", LINE[:10], LINE, LINE * 3):
        sock = door.connect()
        sock.sendall(sent)
        sock.close()
    numbers = [door.asked.get(timeout=LIMIT_S).number for _ in range(2)]
    for number in numbers:
        door.writes.answer(number, Accepted(1, 2, "gone"))
    door.writes.answer(4_711, Accepted(1, 2, "nobody"))
    door.check_open()


def test_more_than_one_request_of_a_connection_is_not_read(door: Door) -> None:
    with door.connect() as sock:
        sock.sendall(LINE * 2_000)
        asked = door.asked.get(timeout=LIMIT_S)
        door.writes.answer(asked.number, Accepted(1, 2, "tom"))
        assert told(sock) == Accepted(1, 2, "tom")
    assert door.asked.empty()
    door.check_open()


def test_who_says_nothing_is_let_go_after_a_while(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flame_writes, "WRITE_REQUEST_S", 0.05)
    with door.connect() as sock:
        sock.sendall(LINE[:10])
        answer = told(sock)
    assert isinstance(answer, Refused) and answer.code == "timed-out"
    door.check_open()


def test_one_user_cannot_shut_the_others_out(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    authors = iter([*[Author(1, "greedy")] * (WRITES_WAITING_EACH_MAX + 1), Author(2, "other")])
    monkeypatch.setattr(flame_writes, "author_at", lambda sock: next(authors))
    held = [door.connect() for _ in range(WRITES_WAITING_EACH_MAX)]
    with door.connect() as sock:
        answer = told(sock)
    assert isinstance(answer, Refused) and answer.code == "busy"
    door.check_open()
    for one in held:
        one.close()


def test_all_to_whom_nothing_is_granted_share_the_seats_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(for_others=True, is_known=False)
    door.known = [1_000]
    try:
        authors = iter([*(Author(uid, f"s{uid}") for uid in range(WRITES_WAITING_EACH_MAX + 1)), Author(1_000, "tom")])
        monkeypatch.setattr(flame_writes, "author_at", lambda sock: next(authors))
        held = [door.connect() for _ in range(WRITES_WAITING_EACH_MAX)]
        with door.connect() as sock:
            answer = told(sock)
        assert isinstance(answer, Refused) and answer.code == "busy"
        door.check_open()
        for one in held:
            one.close()
    finally:
        door.writes.stop()


def test_the_number_of_connections_is_bounded(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    authors = iter([Author(uid, f"u{uid}") for uid in range(WRITES_WAITING_MAX + 1)])
    monkeypatch.setattr(flame_writes, "author_at", lambda sock: next(authors))
    held = [door.connect() for _ in range(WRITES_WAITING_MAX)]
    with door.connect() as sock:
        answer = told(sock)
    assert isinstance(answer, Refused) and answer.code == "busy"
    for one in held:
        one.close()


def test_the_end_of_the_run_ends_connections(door: Door) -> None:
    with door.connect() as sock:
        sock.sendall(LINE)
        door.asked.get(timeout=LIMIT_S)
        door.writes.stop()
        assert told(sock) is None
    assert not door.writes.path.exists()


def test_a_folder_that_somebody_else_laid_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"flotta-p2p-writes-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="open to others"):
        Door(for_others=True)
