"""What every `Spawner` promises, with real child processes: by way of a launcher, and of a thread of this process."""

from __future__ import annotations

import json
import os
import queue
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors import children
from actors.adapters.processes import DirectSpawner, LauncherSpawner
from actors.ports import ChildGone, ChildSaid, ChildStarted, Spawner, SpawnerEvent
from protocol.errors import LocalProtocolError, UnreachableError
from protocol.limits import (
    CHILD_KEY_CHARS_MAX,
    CHILD_MESSAGE_BYTES_MAX,
    CHILD_OUTBOX_BYTES_MAX,
    MIB,
)
from tests.system.processes import ROLES, is_alive, start_launcher, wait_until

pytestmark = pytest.mark.system

LIMIT_S = 10.0
SECRET = "token-that-no-child-may-see"


class Bench:
    """A spawner and what it has said so far."""

    def __init__(self) -> None:
        self.events: queue.Queue[SpawnerEvent] = queue.Queue()
        self.spawner: Spawner

    def spawn(self, key: str = "a", role: str = "stub", *, memory: int = 512 * MIB) -> None:
        self.spawner.spawn(key, role, on_node_death="kill", rss_bytes_max=memory)

    def say(self, *words: object, key: str = "a") -> None:
        assert self.spawner.send(key, " ".join(map(str, words)).encode())

    def event(self) -> SpawnerEvent:
        return self.events.get(timeout=LIMIT_S)

    def started(self) -> ChildStarted:
        event = self.event()
        assert isinstance(event, ChildStarted), event
        return event

    def said(self) -> bytes:
        event = self.event()
        assert isinstance(event, ChildSaid), event
        return event.message

    def gone(self) -> ChildGone:
        event = self.event()
        assert isinstance(event, ChildGone), event
        return event


@contextmanager
def borrowed_from_a_launcher() -> Iterator[socket.socket]:
    """The node's socket to a real launcher, in this process."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as door:
        path = str(Path(folder, "s"))
        door.bind(path)
        door.listen()
        door.settimeout(LIMIT_S)
        node = [sys.executable, "-m", "tests.system.stub_lender", path]
        with start_launcher(node, environment=dict(os.environ)) as launcher:
            try:
                with door.accept()[0] as lender:
                    _, fds, _, _ = socket.recv_fds(lender, 1, 1)
                yield socket.socket(fileno=fds[0])
            finally:
                launcher.terminate()
                launcher.communicate(timeout=LIMIT_S)


@pytest.fixture(params=["launcher", "direct", "direct-elsewhere"])
def bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("FLOTTA_TOKEN", SECRET)
    bench = Bench()
    if request.param == "direct-elsewhere":  # as on a system without Linux's ways to hear of a process's end
        monkeypatch.setattr(children, "CAN_WATCH_ENDS", False)
        monkeypatch.delattr(os, "waitid")
    if request.param != "launcher":
        bench.spawner = DirectSpawner(ROLES, bench.events.put)
        yield bench
        bench.spawner.stop()
    else:
        with borrowed_from_a_launcher() as launcher:
            bench.spawner = LauncherSpawner(launcher, bench.events.put)
            yield bench
            bench.spawner.stop()


def test_a_child_starts_and_answers(bench: Bench) -> None:
    bench.spawn()
    assert is_alive(bench.started().pid)
    bench.say("echo", "hello")
    assert bench.said() == b"hello"


def test_messages_sent_before_the_start_arrive_in_order(bench: Bench) -> None:
    bench.spawn()
    for number in range(50):
        bench.say("echo", number)
    bench.started()
    assert [bench.said() for _ in range(50)] == [b"%d" % number for number in range(50)]


def test_the_largest_message_goes_both_ways(bench: Bench) -> None:
    message = os.urandom(CHILD_MESSAGE_BYTES_MAX - len(b"echo "))
    bench.spawn()
    bench.started()
    assert bench.spawner.send("a", b"echo " + message)
    assert bench.said() == message


@pytest.mark.parametrize("length", [0, CHILD_MESSAGE_BYTES_MAX + 1])
def test_a_message_outside_the_limits_is_the_callers_bug(bench: Bench, length: int) -> None:
    with pytest.raises(LocalProtocolError):
        bench.spawner.send("a", bytes(length))


def test_a_code_is_reported(bench: Bench) -> None:
    bench.spawn()
    bench.started()
    bench.say("exit", 3)
    assert bench.gone() == ChildGone(key="a", code=3, signal=None, reason="exited")


def test_a_signal_is_reported(bench: Bench) -> None:
    bench.spawn()
    bench.started()
    bench.say("segfault")
    assert bench.gone() == ChildGone(key="a", code=None, signal=11, reason="exited")


def test_all_that_a_child_said_comes_before_its_end(bench: Bench) -> None:
    bench.spawn()
    bench.started()
    bench.say("last-words", 0)
    assert bench.said() == b"a"
    assert bench.said() == b"b"
    assert bench.gone().code == 0


def test_a_killed_child_is_gone_with_its_group_and_its_key_is_free(bench: Bench) -> None:
    bench.spawn()
    pid = bench.started().pid
    bench.say("bear")
    grandchild = int(bench.said())
    bench.spawner.kill("a")
    assert bench.gone() == ChildGone(key="a", code=None, signal=9, reason="killed")
    wait_until(lambda: not is_alive(pid) and not is_alive(grandchild), 2)
    bench.spawn()
    assert bench.started().pid != pid


def test_what_an_ended_child_left_in_its_group_is_killed(bench: Bench) -> None:
    bench.spawn()
    bench.started()
    bench.say("bear")
    grandchild = int(bench.said())
    bench.say("exit", 0)
    assert bench.gone().code == 0
    wait_until(lambda: not is_alive(grandchild), 2)


def test_a_child_killed_before_it_started_is_reported_once(bench: Bench) -> None:
    bench.spawn()
    bench.spawner.kill("a")
    bench.spawner.kill("a")
    bench.started()
    assert bench.gone().reason == "killed"
    bench.spawn("b")
    assert bench.started().key == "b"


def test_a_child_over_its_memory_limit_is_killed_with_that_reason(bench: Bench) -> None:
    bench.spawn(memory=64 * MIB)
    bench.started()
    bench.say("hoard", 200)
    assert bench.gone() == ChildGone(key="a", code=None, signal=9, reason="out-of-memory")


@pytest.mark.parametrize(
    ("word", "reason"),
    [("garbage", "frame-too-large"), ("empty", "frame-malformed"), ("torn", "frame-malformed")],
)
def test_a_child_that_sends_what_is_no_message_is_killed_with_that_reason(bench: Bench, word: str, reason: str) -> None:
    bench.spawn()
    pid = bench.started().pid
    bench.say(word)
    assert bench.gone().reason == reason
    assert not is_alive(pid)


def test_a_child_that_hangs_up_and_stays_is_killed_with_that_reason(bench: Bench) -> None:
    bench.spawn()
    bench.started()
    bench.say("hang-up")
    assert bench.gone() == ChildGone(key="a", code=None, signal=9, reason="channel-closed")


def test_a_program_that_is_not_there_is_reported(bench: Bench) -> None:
    bench.spawn(role="missing")
    assert bench.gone() == ChildGone(key="a", code=None, signal=None, reason="spawn-failed: No such file or directory")


def test_a_role_that_is_not_in_the_plan_is_reported(bench: Bench) -> None:
    bench.spawn(role="shell")
    assert bench.gone() == ChildGone(key="a", code=None, signal=None, reason="role-unknown")


@pytest.mark.parametrize("key", ["a", "", "k" * (CHILD_KEY_CHARS_MAX + 1)])
def test_a_key_that_is_taken_or_outside_the_limits_is_the_callers_bug(bench: Bench, key: str) -> None:
    bench.spawn("a")
    with pytest.raises(LocalProtocolError):
        bench.spawn(key)
    assert bench.started().key == "a"


def test_nothing_is_sent_to_nobody(bench: Bench) -> None:
    assert not bench.spawner.send("nobody", b"hello")
    bench.spawner.kill("nobody")
    bench.spawn()
    assert bench.started().key == "a"


def test_a_child_that_does_not_read_fills_its_own_buffer_and_nothing_else(bench: Bench) -> None:
    bench.spawn()
    bench.spawn("b")
    assert {bench.started().key, bench.started().key} == {"a", "b"}
    bench.say("hoard", 1)  # and then it sleeps
    megabyte = b"echo " + bytes(MIB)
    began_s = time.monotonic()
    accepted = sum(bench.spawner.send("a", megabyte) for _ in range(2 * CHILD_OUTBOX_BYTES_MAX // MIB))
    assert CHILD_OUTBOX_BYTES_MAX // MIB - 1 <= accepted < 2 * CHILD_OUTBOX_BYTES_MAX // MIB
    assert time.monotonic() - began_s < LIMIT_S
    bench.say("echo", "still here", key="b")
    assert bench.said() == b"still here"


def test_a_child_sees_no_secret_and_has_a_group_of_its_own(bench: Bench) -> None:
    bench.spawn()
    pid = bench.started().pid
    bench.say("about")
    about = json.loads(bench.said())
    assert SECRET not in about["environment"].values()
    assert "FLOTTA_LAUNCHER_FD" not in about["environment"]
    assert about["environment"]["PATH"] == os.environ["PATH"]
    assert about["environment"]["POLARS_MAX_THREADS"] == "2"
    assert about["group"] == pid


def test_what_a_child_prints_is_no_message(bench: Bench) -> None:
    bench.spawn()
    bench.started()
    bench.say("print", "to whom it may concern")
    assert bench.said() == b"printed"


def test_many_children_get_each_its_own_channel(bench: Bench) -> None:
    keys = [f"child-{number}" for number in range(20)]
    for key in keys:
        bench.spawn(key)
        bench.say("echo", key, key=key)
    events = [bench.event() for _ in range(2 * len(keys))]
    said = {event.key: event.message for event in events if isinstance(event, ChildSaid)}
    assert said == {key: key.encode() for key in keys}


def test_stop_ends_the_children_and_the_events(bench: Bench) -> None:
    bench.spawn()
    pid = bench.started().pid
    bench.spawner.stop()
    wait_until(lambda: not is_alive(pid), 2)
    assert bench.events.empty()
    assert not bench.spawner.send("a", b"hello")
    with pytest.raises(UnreachableError):
        bench.spawn("b")
