"""The control socket: for this user alone, one request at a time, and no client can hurt another or the node."""

from __future__ import annotations

import os
import random
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from actors.adapters import control_client, control_socket
from actors.adapters.control_client import ControlClient
from actors.adapters.control_socket import ControlServer, control_path
from protocol.errors import Code, ConfigError, DeniedError, UnreachableError
from protocol.limits import CONTROL_BYTES_MAX, CONTROL_CLIENTS_MAX
from protocol.wire.control import HEAD, AskPeers, AskStatus, Report, encode_control
from tests.actors.tree import LIMIT_S, Journal
from tests.system.processes import wait_until

pytestmark = pytest.mark.usefixtures("own_runtime")


class Node:
    """A control server, whose requests the test answers."""

    def __init__(self, workdir: Path) -> None:
        self.workdir = workdir
        self.requests, self.gone, self.faults = Journal(), Journal(), Journal()
        self.server = ControlServer(
            control_path(workdir),
            on_request=lambda number, message: self.requests.add((number, message)),
            on_gone=self.gone.add,
            on_fault=self.faults.add,
        )

    def raw(self) -> socket.socket:
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(LIMIT_S)
        one.connect(str(control_path(self.workdir)))
        return one


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    one = Node(tmp_path / "work")
    one.server.start()
    yield one
    one.server.close()
    assert not control_path(one.workdir).exists()
    assert one.faults.entries() == []


@contextmanager
def echoing(node: Node) -> Iterator[None]:
    """Every request is answered at once, with the client's number."""
    record = node.requests.add

    def answer(entry: Any) -> None:
        record(entry)
        node.server.answer(entry[0], Report(values={"client": entry[0]}))

    node.requests.add = answer  # type: ignore[method-assign]
    yield
    node.requests.add = record  # type: ignore[method-assign]


def answers(node: Node) -> bool:
    client = ControlClient(node.workdir)
    try:
        with echoing(node):
            return isinstance(client.request(AskStatus()), Report)
    finally:
        client.close()


def is_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def test_a_request_is_answered_and_the_folder_is_closed_to_others(node: Node) -> None:
    assert answers(node)
    assert stat.S_IMODE(control_path(node.workdir).parent.stat().st_mode) == 0o700


def test_a_client_of_another_user_is_dropped(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "same_user", lambda sock: False)
    with node.raw() as client:
        assert is_closed(client)
    monkeypatch.undo()


def test_a_client_does_not_believe_a_socket_that_another_user_made(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_client, "same_user", lambda sock, *owners: False)
    with pytest.raises(DeniedError, match="another user"):
        ControlClient(node.workdir)
    monkeypatch.undo()


def test_peer_credentials_are_those_of_this_process() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert control_socket.same_user(ours)
        uid = struct.unpack("3i", ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        assert uid == os.getuid()


HOSTILE = {
    "oversize": HEAD.pack(CONTROL_BYTES_MAX + 1, 100),
    "unknown-type": HEAD.pack(1, 999) + b"\x80",
    "wrong-body": HEAD.pack(3, 100) + b"\xff\xff\xff",
    "noise": random.Random(7).randbytes(200_000),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_client_that_breaks_the_rules_is_dropped_and_nobody_else(node: Node, data: bytes) -> None:
    with node.raw() as client, node.raw() as quiet:
        with suppress(OSError):
            client.sendall(data)
        assert is_closed(client)
        assert answers(node)
        quiet.sendall(encode_control(AskPeers()))
        node.requests.wait(lambda told: any(isinstance(message, AskPeers) for _, message in told))


def test_half_a_frame_waits_and_holds_up_nobody(node: Node) -> None:
    frame = encode_control(AskPeers())
    with node.raw() as client:
        client.sendall(frame[:3])
        assert answers(node)
        client.sendall(frame[3:])
        node.requests.wait(lambda told: told[-1] == (1, AskPeers()))
        client.sendall(frame[:4])
    node.gone.wait(lambda told: 1 in told)


def test_a_second_request_waits_for_the_answer_to_the_first(node: Node) -> None:
    with node.raw() as client:
        client.sendall(encode_control(AskStatus()) + encode_control(AskPeers()))
        node.requests.wait_for((1, AskStatus()))
        assert answers(node)
        assert (1, AskPeers()) not in node.requests.entries()
        node.server.answer(1, Report(values={}))
        node.requests.wait_for((1, AskPeers()))


def test_a_client_that_asks_on_and_on_is_dropped(node: Node) -> None:
    with node.raw() as client:
        with pytest.raises(OSError):
            while True:
                client.sendall(encode_control(AskStatus()) * 1_000)
        node.gone.wait_for(1)
    assert answers(node)


def test_a_client_that_never_reads_holds_up_nobody_and_leaves(node: Node) -> None:
    with node.raw() as client:
        client.sendall(encode_control(AskStatus()))
        node.requests.wait(bool)
        node.server.answer(1, Report(values={"x": "x" * 900_000}))
        assert answers(node)
    node.gone.wait_for(1)
    node.server.answer(1, Report(values={}))  # nobody is there: no effect
    assert answers(node)


def test_silent_clients_give_way_the_longest_silent_one_first(node: Node) -> None:
    clients = [node.raw() for _ in range(CONTROL_CLIENTS_MAX)]
    wait_until(lambda: len(node.server._clients) == CONTROL_CLIENTS_MAX)
    with echoing(node):
        clients[0].sendall(encode_control(AskStatus()))
        assert clients[0].recv(1)  # it has asked and is not the longest silent one any more
    assert answers(node)
    assert is_closed(clients[1])
    for client in (clients[0], *clients[2:]):
        client.setblocking(False)
        with suppress(BlockingIOError):
            assert client.recv(4096) != b""
        client.close()
    clients[1].close()


def test_a_client_that_was_just_answered_is_not_the_longest_silent_one(node: Node) -> None:
    """While it waited for its answer others have come, who are silent since then."""
    with node.raw() as waiting:
        waiting.sendall(encode_control(AskStatus()))
        node.requests.wait(bool)
        clients = [node.raw() for _ in range(CONTROL_CLIENTS_MAX - 1)]
        wait_until(lambda: len(node.server._clients) == CONTROL_CLIENTS_MAX)
        node.server.answer(1, Report(values={}))
        assert waiting.recv(4096)
        assert answers(node)
        waiting.setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting.recv(1)
        for client in clients:
            client.close()


def test_a_client_whose_request_is_on_its_way_does_not_give_way() -> None:
    ours, theirs = socket.socketpair()
    client = control_socket._Client(ours, 1)
    with ours, theirs:
        assert control_socket._is_silent(client)
        theirs.sendall(b"r")
        assert not control_socket._is_silent(client)
        ours.recv(1)
        theirs.close()
        assert control_socket._is_silent(client)


def test_when_all_clients_wait_for_answers_others_are_turned_away_until_there_is_room(node: Node) -> None:
    clients = [node.raw() for _ in range(CONTROL_CLIENTS_MAX)]
    for client in clients:
        client.sendall(encode_control(AskStatus()))
    node.requests.wait(lambda told: len(told) == CONTROL_CLIENTS_MAX)
    with node.raw() as late:
        assert is_closed(late)
    for client in clients:
        client.close()
    node.gone.wait(lambda told: len(told) == CONTROL_CLIENTS_MAX)
    assert answers(node)


def test_an_answer_that_comes_too_late_is_never_taken_for_the_next_one(node: Node) -> None:
    client = ControlClient(node.workdir)
    with pytest.raises(UnreachableError) as caught:
        client.request(AskStatus(), limit_s=0.05)
    assert caught.value.code is Code.TIMED_OUT
    node.server.answer(1, Report(values={"late": True}))
    with echoing(node):
        assert client.request(AskPeers()) == Report(values={"client": 2})
    client.close()


def test_a_client_that_gave_way_while_it_was_silent_asks_again(node: Node) -> None:
    client = ControlClient(node.workdir)
    crowd = [node.raw() for _ in range(CONTROL_CLIENTS_MAX)]
    wait_until(lambda: 1 not in node.server._clients)
    with echoing(node):
        assert isinstance(client.request(AskStatus()), Report)
    client.close()
    for one in crowd:
        one.close()


def test_a_client_that_is_turned_away_each_time_says_that_there_are_too_many(node: Node) -> None:
    crowd = [node.raw() for _ in range(CONTROL_CLIENTS_MAX)]
    for one in crowd:
        one.sendall(encode_control(AskStatus()))
    node.requests.wait(lambda told: len(told) == CONTROL_CLIENTS_MAX)
    with pytest.raises(UnreachableError) as caught:
        ControlClient(node.workdir).request(AskStatus())
    assert caught.value.code is Code.BUSY
    for one in crowd:
        one.close()


def test_without_a_node_the_client_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError) as caught:
        ControlClient(tmp_path)
    assert caught.value.code is Code.NODE_NOT_RUNNING and str(tmp_path) in str(caught.value)


def test_a_node_that_stops_is_told_to_whoever_waits(tmp_path: Path) -> None:
    one = Node(tmp_path)
    one.server.start()
    client = ControlClient(tmp_path)
    one.requests.add = lambda entry: one.server.close()  # type: ignore[method-assign]
    with pytest.raises(UnreachableError):
        client.request(AskStatus())
    client.close()
    one.server._thread.join(LIMIT_S)


def test_a_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    path = control_path(tmp_path)
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    one = Node(tmp_path)
    one.server.start()
    assert answers(one)
    one.server.close()


def unusable(tmp_path: Path) -> ConfigError:
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    with pytest.raises(ConfigError) as caught:
        Node(tmp_path)
    assert caught.value.code is Code.FOLDER_UNUSABLE and caught.value.next_step
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before
    return caught.value


def spoil_mode(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)


def spoil_link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize("spoil", [spoil_mode, spoil_link, Path.touch])
def test_a_runtime_folder_that_is_not_ours_alone_is_refused(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(control_path(tmp_path).parent)
    unusable(tmp_path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder of another user")
def test_a_runtime_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = control_path(tmp_path).parent
    folder.mkdir(mode=0o700)
    os.chown(folder, 12_345, 12_345)
    assert "another user" in str(unusable(tmp_path))


def test_a_path_that_is_too_long_for_a_socket_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 100)))
    assert "too long" in str(unusable(tmp_path))


def test_a_bug_in_its_thread_is_reported(tmp_path: Path) -> None:
    one = Node(tmp_path)

    def bug(number: int) -> None:
        raise RuntimeError("a bug")

    one.server._on_request = lambda number, message: bug(number)
    one.server.start()
    with one.raw() as client:
        client.sendall(encode_control(AskStatus()))
        (error,) = one.faults.wait(bool)
        assert str(error) == "a bug"
        assert is_closed(client)
    one.server.close()
