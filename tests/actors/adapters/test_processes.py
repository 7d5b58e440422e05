"""A spawner whose launcher misbehaves says so once and is of no more use; the launcher's part is played by the test."""

from __future__ import annotations

import os
import queue
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from actors.adapters.processes import LauncherSpawner
from actors.ports import ChildGone, LauncherGone, SpawnerEvent
from protocol.errors import Code, ConfigError, UnreachableError
from protocol.limits import LAUNCHER_LINE_BYTES_MAX, MIB

HELLO = b'{"event": "hello", "kept": {"old": 7}}\n'
LIMIT_S = 5.0


class Play:
    """The launcher's end, the spawner on the other one, and its events."""

    def __init__(self) -> None:
        self.launcher, node = socket.socketpair()
        self.launcher.settimeout(LIMIT_S)
        self.launcher.sendall(HELLO)
        self.events: queue.Queue[SpawnerEvent] = queue.Queue()
        self.spawner = LauncherSpawner(node, self.events.put)

    def lost(self) -> str:
        event = self.events.get(timeout=LIMIT_S)
        assert isinstance(event, LauncherGone), event
        return event.reason


@pytest.fixture
def play() -> Iterator[Play]:
    play = Play()
    yield play
    play.spawner.stop()
    play.launcher.close()


def test_a_launcher_that_ends_is_told_once_and_nothing_can_be_spawned_afterwards(play: Play) -> None:
    play.launcher.close()
    assert play.lost() == "the launcher has gone"
    with pytest.raises(UnreachableError):
        play.spawner.spawn("a", "r", on_node_death="kill", rss_bytes_max=MIB)
    assert not play.spawner.send("old", b"x")
    play.spawner.kill("old")
    play.spawner.stop()
    assert play.events.empty()


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        HELLO,
        b'{"event": "started", "key": "old", "pid": 8}\n',
        b'{"event": "exited", "key": "old"}\n',
        b"x" * (LAUNCHER_LINE_BYTES_MAX + 1),
    ],
)
def test_a_launcher_that_talks_nonsense_counts_as_gone(play: Play, line: bytes) -> None:
    play.launcher.sendall(line)
    assert play.lost()


def test_a_kept_child_has_no_channel_until_its_key_is_used_anew(play: Play) -> None:
    assert play.spawner.kept == {"old": 7}
    assert not play.spawner.send("old", b"x")
    play.launcher.sendall(b'{"event":"exited","key":"old","code":0,"signal":null,"reason":"exited"}\n')
    assert play.events.get(timeout=LIMIT_S) == ChildGone(key="old", code=0, signal=None, reason="exited")
    play.spawner.spawn("old", "r", on_node_death="keep", rss_bytes_max=MIB)
    assert play.spawner.send("old", b"x")
    assert b'"do":"spawn"' in play.launcher.recv(1000)


def test_an_end_of_a_child_of_the_last_run_is_no_fault(play: Play) -> None:
    play.launcher.sendall(b'{"event":"exited","key":"older","code":null,"signal":9,"reason":"node-gone"}\n')
    play.launcher.sendall(b'{"event":"exited","key":"old","code":0,"signal":null,"reason":"exited"}\n')
    assert play.events.get(timeout=LIMIT_S) == ChildGone(key="old", code=0, signal=None, reason="exited")


def test_what_comes_together_with_the_greeting_is_told_too() -> None:
    events: queue.Queue[SpawnerEvent] = queue.Queue()
    launcher, node = socket.socketpair()
    with launcher:
        launcher.sendall(HELLO + b'{"event":"exited","key":"old","code":0,"signal":null,"reason":"exited"}\n')
        spawner = LauncherSpawner(node, events.put)
        assert events.get(timeout=LIMIT_S) == ChildGone(key="old", code=0, signal=None, reason="exited")
        spawner.stop()


def test_a_launcher_that_does_not_greet_is_unreachable() -> None:
    launcher, node = socket.socketpair()
    launcher.close()
    with pytest.raises(UnreachableError):
        LauncherSpawner(node, lambda event: None)
    assert node.fileno() == -1


@pytest.mark.parametrize("value", [None, "", "x", "-1", "9999", "99999999999999999999"])
def test_a_node_without_a_launcher_is_told_how_to_start(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv("FLOTTA_LAUNCHER_FD", raising=False)
    else:
        monkeypatch.setenv("FLOTTA_LAUNCHER_FD", value)
    with pytest.raises(ConfigError) as caught:
        LauncherSpawner.of_this_process(lambda event: None)
    assert caught.value.code is Code.VARIABLE_UNSET


def test_a_callback_that_fails_ends_the_spawner_and_is_told() -> None:
    seen: queue.Queue[SpawnerEvent] = queue.Queue()

    def fail_at_first(event: SpawnerEvent) -> None:
        seen.put(event)
        if not isinstance(event, LauncherGone):
            raise ValueError("a fault of the node")

    launcher, node = socket.socketpair()
    with launcher:
        launcher.sendall(HELLO)
        spawner = LauncherSpawner(node, fail_at_first)
        launcher.sendall(b'{"event":"exited","key":"old","code":0,"signal":null,"reason":"exited"}\n')
        assert isinstance(seen.get(timeout=LIMIT_S), ChildGone)
        assert seen.get(timeout=LIMIT_S) == LauncherGone(reason="the spawner failed")
        spawner.stop()


@contextmanager
def no_descriptors_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As when strangers hold all, and those of the reserve."""
    monkeypatch.setattr("actors.adapters.descriptors.DESCRIPTORS_RESERVED", 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        with suppress(OSError):
            while True:
                held.append(os.dup(0))
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_child_whose_channel_finds_no_descriptor_is_ended_and_the_spawner_goes_on(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    play.spawner.spawn("a", "r", on_node_death="kill", rss_bytes_max=MIB)
    assert b'"spawn"' in play.launcher.recv(4_096)
    with ours, theirs, no_descriptors_left(monkeypatch):
        socket.send_fds(play.launcher, [b'{"event": "started", "key": "a", "pid": 8}\n'], [theirs.fileno()])
        assert b'"reason":"no-descriptor"' in play.launcher.recv(4_096)
    play.launcher.sendall(b'{"event": "exited", "key": "a", "code": null, "signal": 9, "reason": "no-descriptor"}\n')
    gone = play.events.get(timeout=LIMIT_S)
    assert isinstance(gone, ChildGone) and gone.reason == "no-descriptor"
    play.spawner.spawn("a", "r", on_node_death="kill", rss_bytes_max=MIB)
    assert b'"spawn"' in play.launcher.recv(4_096)
