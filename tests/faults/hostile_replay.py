"""Replays: every frame of a real run of jobs sent again, to its receiver and to another node, after restarts and after
steps of the clock, through the machines and over real sockets.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final
from unittest.mock import patch

import zmq

from actors.adapters.clock import SystemClock
from actors.adapters.store import LocalStore
from actors.adapters.zmq_wire import ZmqWire
from flotta_p2p.demo.fleet import free_ports
from flotta_p2p.identity import load_identity
from protocol import kinds
from protocol.limits import STORE_PAGE_ROWS_MAX
from protocol.machines.contract import Now
from protocol.machines.events import Arrived
from protocol.tokens import ProjectKey
from protocol.wire.frame import parse_header
from protocol.wire.registry import MESSAGES
from tests.faults.outcome import Found
from tests.faults.replay_node import DATABASE, ReplayNode, rows_of
from tests.flotta_p2p.nodes import TOKEN, meet, running
from tests.system.jobs import mean_of
from tests.system.processes import wait_until

NAMES: Final = ("Anna", "Bert")
HOUR_MS: Final = 3_600_000
STEPS_MS: Final = (0, 0, HOUR_MS, -HOUR_MS, 24 * HOUR_MS, -1_000)
FRAMES_BEFORE_RESTART: Final = 2_000
AT_ONCE: Final = 1_500  # below what the wire lets one peer send at once


@dataclass
class Recording:
    """`frames`: number of the receiving node, and the frame as its wire delivered it."""

    workdirs: tuple[Path, ...]
    ports: tuple[int, ...]
    frames: list[tuple[int, Arrived]]


@contextmanager
def tapped(record: Callable[[bytes, Arrived], None]) -> Iterator[None]:
    """Every wire that is made within the block tells what it delivers, with its own CURVE key."""
    make = ZmqWire.__init__

    def init(self: ZmqWire, keys: Any, clock: Any, *, deliver: Callable[[Arrived], None], **rest: Any) -> None:
        def tap(arrived: Arrived) -> None:
            record(keys.public, arrived)
            deliver(arrived)

        make(self, keys, clock, deliver=tap, **rest)

    with patch.object(ZmqWire, "__init__", init):
        yield


def record_run(folder: Path, jobs: int) -> Recording:
    """Two nodes meet at the door and answer jobs that each of them leads in turn."""
    heard: list[tuple[bytes, Arrived]] = []
    ports = tuple(free_ports(2))
    options: dict[str, Any] = {"database": True}
    with (
        tapped(lambda key, arrived: heard.append((key, arrived))),
        running(folder / NAMES[0], name=NAMES[0], port=ports[0], **options) as anna,
        running(folder / NAMES[1], name=NAMES[1], port=ports[1], join=f"127.0.0.1:{ports[0]}", **options) as bert,
    ):
        meet(anna, bert)
        for node in itertools.islice(itertools.cycle((anna, bert)), jobs):
            status, _ = node.run_job(mean_of(TOKEN, "value"), holders_min=2)
            assert status.state == "succeeded", status
        workdirs = (anna.workdir, bert.workdir)
    keys = [load_identity(workdir / "keys").curve.public for workdir in workdirs]
    return Recording(workdirs, ports, [(keys.index(key), arrived) for key, arrived in heard])


def replay_machines(recording: Recording, count: int, seed: int) -> Found:
    """In random order: each frame to its receiver or to the other node, with a clock that jumps."""
    found = Found()
    random = Random(seed)
    project = ProjectKey.derive(TOKEN)
    rows = [rows_of(workdir) for workdir in recording.workdirs]
    clock = SystemClock()
    ids = [load_identity(workdir / "keys").node for workdir in recording.workdirs]
    nodes: list[ReplayNode] = []
    for number in range(count):
        now = clock.now()
        if number % FRAMES_BEFORE_RESTART == 0:
            nodes = [
                ReplayNode(workdir, project, name.lower(), row, now)
                for workdir, name, row in zip(recording.workdirs, NAMES, rows, strict=True)
            ]
            found.counts["restarts of both receivers"] += 1
        receiver, arrived = random.choice(recording.frames)
        target = receiver if random.random() < 0.7 else 1 - receiver
        shift_ms = random.choice(STEPS_MS)
        nodes[target].feed(_again(arrived, ids[1 - target], random), Now(now.boot_ns, now.wall_ms + shift_ms))
        found.counts["frames replayed to " + ("their receiver" if target == receiver else "another node")] += 1
        if nodes[target].second_effects:
            name = _name(arrived)
            found.fail(f"seed {seed}, frame {number}: {name} had second effects {nodes[target].second_effects[:5]}")
            nodes[target].second_effects.clear()
    return found


def control(recording: Recording) -> Found:
    """A receiver that has forgotten what it did acts on the same frames: the replay would be seen."""
    found = Found()
    now = SystemClock().now()
    project = ProjectKey.derive(TOKEN)
    ids = [load_identity(workdir / "keys").node for workdir in recording.workdirs]
    for number, workdir in enumerate(recording.workdirs):
        rows = {kind: one for kind, one in rows_of(workdir).items() if kind in (kinds.PEER, kinds.SEEN_BOOT)}
        node = ReplayNode(workdir, project, NAMES[number].lower(), rows, now)
        for receiver, arrived in recording.frames:
            if receiver == number and arrived.node:
                node.feed(Arrived(raw=arrived.raw, node=ids[1 - number]), now)
        found.hold("StartTask" in node.second_effects, f"a receiver without memory starts no task: {NAMES[number]}")
    return found


def _again(arrived: Arrived, peer: bytes, random: Random) -> Arrived:
    """Over the connection of a peer, or over a session at the door that has just begun."""
    if arrived.node:
        return Arrived(raw=arrived.raw, node=peer)
    session = random.choice((arrived.session, random.randbytes(16)))
    return Arrived(raw=arrived.raw, session=session, project=arrived.project, dialled=arrived.dialled)


def _name(arrived: Arrived) -> str:
    number = parse_header(arrived.raw).type
    return next(entry.record.__name__ for entry in MESSAGES if entry.number == number)


def replay_sockets(recording: Recording, count: int, seed: int) -> Found:
    """To the second node after its restart, over the CURVE connection of the first."""
    found = Found()
    random = Random(seed)
    sender, workdir = load_identity(recording.workdirs[0] / "keys"), recording.workdirs[1]
    before = fingerprint(workdir)
    frames = [arrived.raw for receiver, arrived in recording.frames if receiver == 1 and arrived.node]
    port = recording.ports[1]
    with running(workdir.parent, name=NAMES[1], port=port, join=f"127.0.0.1:{recording.ports[0]}", database=True) as it:
        server = load_identity(workdir / "keys").curve.public
        with dealer(server, sender.curve.public, sender.curve.secret) as one:
            one.connect(f"tcp://127.0.0.1:{port}")
            sent = 0
            while sent < count:
                wanted = door_counts(it.status()) + min(AT_ONCE, count - sent)
                for _ in range(min(AT_ONCE, count - sent)):
                    one.send(random.choice(frames))
                    sent += 1
                wait_until(partial(lambda number: door_counts(it.status()) >= number, wanted), 30)
                time.sleep(AT_ONCE / 1_000)  # what the wire lets one peer send in a second
        started = it.status()["work"]["tasks_started"]
    found.counts["frames replayed over sockets"] += sent
    found.hold(started == 0, f"{started} tasks were started again")
    after = fingerprint(workdir)
    for name, number in before.items():
        found.hold(after[name] == number, f"{name}: {number} before the replay, {after[name]} after it")
    return found


@contextmanager
def dealer(server: bytes, public: bytes, secret: bytes) -> Iterator[zmq.Socket[bytes]]:
    context = zmq.Context()
    one: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    try:
        one.setsockopt(zmq.LINGER, 0)
        one.setsockopt(zmq.SNDHWM, 100_000)
        one.setsockopt(zmq.CURVE_SERVERKEY, server)
        one.setsockopt(zmq.CURVE_PUBLICKEY, public)
        one.setsockopt(zmq.CURVE_SECRETKEY, secret)
        yield one
    finally:
        one.close(0)
        context.term()


def door_counts(status: dict[str, Any]) -> int:
    """Frames that the gate has judged or the wire has dropped."""
    door = status["door"]
    return int(door["frames_in"] + sum(door["refused"].values()) + door["dropped"])


def fingerprint(workdir: Path) -> dict[str, int]:
    """How many there are of everything that a message can add."""
    store = LocalStore.open(workdir, metadata=DATABASE)
    try:
        kinds_counted = sorted(kinds.KINDS - {kinds.BOOT})
        counts = {kind: len(rows) for kind, rows in store.load(kinds_counted).items()}
        counts["audit rows"] = store.verify_audit().rows
        jobs = [key for key, _ in store.load([kinds.JOB])[kinds.JOB]]
        executed = [key for key, _ in store.load([kinds.EXECUTED])[kinds.EXECUTED]]
        counts["job events"] = sum(len(store.job_events(job)) for job in {*jobs, *executed})
        assert counts["job events"] < STORE_PAGE_ROWS_MAX
        return counts
    finally:
        store.close()
