"""How a network grows in virtual time: messages, bytes and steps of each node, for meeting, for a minute at rest, for
one job.

Nothing breaks here. Everybody joins through one node that was there before, as people do who know one member. Each
signature is replaced by a keyed hash of the same size: counts and bytes stay what they are, and ten thousand nodes fit
into one process.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, Final

from protocol import signing
from protocol.limits import PARTICIPANTS_MAX
from protocol.machines.delivery import CourierSnapshot
from protocol.machines.membership_view import MembershipSnapshot
from protocol.record import Record
from protocol.wire import frame
from protocol.wire.peers import Heartbeat
from protocol.wire.registry import BY_RECORD
from simulations.checkers import Checkers
from simulations.network import Network
from simulations.node import Node
from simulations.options import JobPlan, NodePlan, Options
from simulations.submitter import Submitter
from simulations.trace import Trace
from simulations.violation import Violation
from simulations.world import World

STARTS_MS: Final = 4_000  # all nodes start within so long
SETTLES_MS: Final = 7_000  # and have found their peers so long after that
REST_MS: Final = 2_000  # observed; one heartbeat
JOB_MS: Final = 7_000  # by then the job has ended
HOLDERS_MAX: Final = 100  # of the one job; all nodes where there are fewer
_TYPE: Final = slice(6, 8)  # of a frame
_HEARTBEAT: Final = BY_RECORD[Heartbeat].number.to_bytes(2)


class Count(Record, frozen=True):
    """Of all nodes together, and the most of any single one."""

    messages: int
    bytes: int
    steps: int
    messages_busiest: int


class Growth(Record, frozen=True):
    """One network. `rest`: a minute of it; `job`: all that it adds to rest, the roll call included."""

    nodes: int
    peers_mean: float
    peers_most: int
    reached: int
    meeting: Count
    rest: Count
    job: Count
    holders: int
    seconds: float


class _Meter(Network):
    """Counts what is sent."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.reset()

    def reset(self) -> None:
        self.messages = self.beats = self.bytes = self.beat_bytes = 0
        self.by_node: dict[int, int] = {}

    def send(self, sender: Node, raw: bytes, node: bytes, session: bytes) -> None:
        self.messages += 1
        self.bytes += len(raw)
        if raw[_TYPE] == _HEARTBEAT:
            self.beats += 1
            self.beat_bytes += len(raw)
        else:
            self.by_node[sender.number] = self.by_node.get(sender.number, 0) + 1
        super().send(sender, raw, node, session)


class _Unchecked(Checkers):
    """Ten thousand nodes would fill the memory of the checkers; what must hold is looked at in other runs."""

    def arrived(self, node: Node, event: Any, effects: Any) -> None:
        pass

    def sending(self, node: Node, owner: str, send: Any) -> None:
        pass

    def committing(self, node: Node, owner: str, writes: Any) -> None:
        pass

    def task_starts(self, node: Node, task: Any) -> None:
        pass


class ScaleWorld(World):
    def __init__(self, nodes: int, seed: int) -> None:
        super().__init__(_options(nodes, seed), Trace())
        self.chaos = False
        self.meter = _Meter(self)
        self.network = self.meter
        self.checkers = _Unchecked(self)
        rng = Random(f"scale/{seed}/{nodes}")
        self._through = [rng.randrange(max(1, number)) for number in range(nodes)]

    def note(self, node: Node, machine: str, event: str, detail: str = "", *, main: bool = False) -> None:
        pass  # nobody reads a trace of millions of lines

    def typed_by(self, node: Node) -> tuple[str, ...]:
        return () if node.number == 0 else (self.nodes[self._through[node.number]].address,)


def measure(nodes: int, seed: int = 1) -> Growth:
    """Raises Violation when a node cannot be reached over neighbours, or the job does not succeed."""
    started = time.perf_counter()
    with _hashes_for_signatures():
        world = ScaleWorld(nodes, seed)
        for node in world.nodes:
            world.after(node.plan.start_ms * 1_000_000, node.start)
        meeting = _observe(world, STARTS_MS + SETTLES_MS)
        peers = [len(_membership(node).peers) for node in world.nodes]
        reached = _reached(world)
        if reached < nodes:
            raise Violation(f"of {nodes} nodes {reached} can be reached from the first over neighbours")
        rest = _observe(world, REST_MS)
        job, holders = _job(world, rest)
    return Growth(
        nodes=nodes,
        peers_mean=sum(peers) / nodes,
        peers_most=max(peers),
        reached=reached,
        meeting=meeting,
        rest=_scaled(rest, 60_000 / REST_MS),
        job=job,
        holders=holders,
        seconds=time.perf_counter() - started,
    )


def _options(nodes: int, seed: int) -> Options:
    plans = tuple(
        NodePlan(
            start_ms=STARTS_MS * number // nodes,
            projects=(0,),
            sources={"data": (0,)},
            clock_offset_ms=0,
            drift_ppm=0,
            meets="typed",
        )
        for number in range(nodes)
    )
    return Options(
        seed=seed,
        chaos_ms=0,
        loss=0.0,
        duplicates=0.0,
        replays=0.0,
        spikes=0.0,
        delay_ms_min=1,
        delay_ms_max=20,
        spike_ms=0,
        commit_ms_max=1,
        task_ms_max=100,
        task_faults=0.0,
        task_deaths=0.0,
        nodes=plans,
        crashes=(),
        jobs=(),
    )


def _observe(world: ScaleWorld, ms: int) -> Count:
    world.meter.reset()
    steps = world.steps
    world.run_for(ms)
    meter = world.meter
    return Count(
        messages=meter.messages,
        bytes=meter.bytes,
        steps=world.steps - steps,
        messages_busiest=max(meter.by_node.values(), default=0),
    )


def _scaled(count: Count, factor: float) -> Count:
    return Count(
        messages=round(count.messages * factor),
        bytes=round(count.bytes * factor),
        steps=round(count.steps * factor),
        messages_busiest=round(count.messages_busiest * factor),
    )


def _job(world: ScaleWorld, rest: Count) -> tuple[Count, int]:
    """One job of listed holders, drawn from all, led by a node somewhere in the network."""
    rng = Random(f"job/{world.options.seed}/{len(world.nodes)}")
    holders = rng.sample(world.nodes, min(HOLDERS_MAX, PARTICIPANTS_MAX, len(world.nodes)))
    plan = JobPlan(
        at_ms=0,
        node=rng.randrange(len(world.nodes)),
        project=0,
        lease_ms=15_000,
        deadline_ms=60_000,
        life_ms=3_600_000,
        cancel_after_ms=0,
        listed=True,
        altered=False,
    )
    submitter = Submitter(world, 0, world.nodes[plan.node], plan, listed=tuple(node.own_id for node in holders))
    world.submitters.append(submitter)
    submitter.submit()
    seen = _observe(world, JOB_MS)
    beats, beat_bytes = world.meter.beats, world.meter.beat_bytes
    submitter.fetch()
    world.run_for(1_000)
    if submitter.status is None or submitter.status.state != "succeeded":
        raise Violation(
            f"among {len(world.nodes)} nodes the job is {submitter.status or submitter.refusal or submitter.state}"
        )
    return (
        Count(
            messages=seen.messages - beats,
            bytes=seen.bytes - beat_bytes,
            steps=max(0, seen.steps - round(rest.steps * JOB_MS / REST_MS)),
            messages_busiest=seen.messages_busiest,
        ),
        len(holders),
    )


def _reached(world: ScaleWorld) -> int:
    """How many nodes a word from the first one reaches, passed on over neighbours alone."""
    seen, waiting = {0}, [0]
    while waiting:
        for view in _membership(world.nodes[waiting.pop()]).peers:
            number = world.by_id[view.node].number
            if view.neighbour and number not in seen:
                seen.add(number)
                waiting.append(number)
    return len(seen)


def _membership(node: Node) -> MembershipSnapshot:
    snapshot = node.machines["membership"].snapshot()
    assert isinstance(snapshot, CourierSnapshot) and isinstance(snapshot.inner, MembershipSnapshot)
    return snapshot.inner


@contextmanager
def _hashes_for_signatures() -> Iterator[None]:
    """For this run alone; no node of the product can be made to do so."""

    def sign(self: Any, message: bytes) -> bytes:
        return hashlib.blake2b(message, key=self.public_key).digest()

    def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
        return hashlib.blake2b(message, key=public_key).digest() == signature

    before = (signing.SigningKey.sign, signing.verify)
    signing.SigningKey.sign = sign  # type: ignore[method-assign]
    signing.verify = frame.verify = verify  # type: ignore[attr-defined]
    try:
        yield
    finally:
        signing.SigningKey.sign = before[0]  # type: ignore[method-assign]
        signing.verify = frame.verify = before[1]  # type: ignore[attr-defined]
