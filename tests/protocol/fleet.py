"""Nodes in memory for scenarios of jobs: real schedulers and workers with delivery around them, and rows that survive.

Every message goes through its encoding, every step is followed by `check`, and its writes are in the rows before any
other effect happens. The gate, sockets and processes are left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from protocol import kinds
from protocol.ids import node_id
from protocol.machines.contract import (
    Audit,
    ClearTimer,
    Drop,
    Effects,
    Keep,
    KillTask,
    LogJob,
    NextPiece,
    Now,
    Persist,
    Publish,
    Put,
    Received,
    Refuse,
    Release,
    Send,
    SetTimer,
    StartTask,
    TimerFired,
)
from protocol.machines.delivery import Courier
from protocol.machines.events import (
    CONTROL_SESSION,
    OPERATOR,
    PeerSeen,
    ProjectsHeld,
    ResourceFound,
    ResourceWanted,
    TaskDied,
    TaskPiece,
    TaskProduced,
)
from protocol.machines.scheduler import Scheduler, SchedulerSnapshot
from protocol.machines.stored_results import KEPT_BY_DEFAULT, RetentionRules
from protocol.machines.worker import Worker
from protocol.plan.order import SignedOrder
from protocol.plan.products import Carried, chunks_of
from protocol.plan.tasks import TaskRequest
from protocol.policy import NodePolicy, SourcePolicy
from protocol.wire.jobs import AskJob, JobStatus, Submit
from protocol.wire.peers import SourceOffer
from protocol.wire.registry import decode_message, encode_message
from protocol.wiring import takers
from tests.protocol.builders import PROJECT, now
from tests.protocol.builders import node_key as key_of

SUBMISSION = CONTROL_SESSION + b"test"
Compute = Callable[["Node", StartTask], Any]  # → TaskProduced, TaskFaulted, TaskDied, or None for a task that hangs


def product_of(_node: Node, start: StartTask) -> Any:
    request: TaskRequest = start.request
    return TaskProduced(key=start.key, product=f"{request.operation} of {len(request.inputs)}".encode())


class Node:
    """Scheduler and worker of one node, its rows, and its tasks in execution."""

    def __init__(self, fleet: Fleet, number: int, sources: tuple[str, ...]) -> None:
        self.fleet = fleet
        self.number = number
        self.key = key_of(number)
        self.id = node_id(self.key.public_key)
        self.name = f"n{number}"
        self.sources = {name: frozenset([PROJECT.project_id]) for name in sources}
        self.rows: dict[str, dict[bytes, bytes]] = {}
        self.resources: dict[bytes, bytes] = {}
        self.log: list[LogJob] = []  # what the scheduler logged
        self.audit: list[Audit] = []
        self.running: dict[bytes, StartTask] = {}
        self.pieces: dict[bytes, list[tuple[int, bytes]]] = {}  # of large products: what their children still have
        self.told: dict[bytes, int] = {}
        self.keeps: dict[bytes, int] = {}  # of each resource
        self.parts: dict[bytes, tuple[bytes, ...]] = {}
        self.boot = 0
        self.cut_off = False
        self.machines: dict[str, Courier] = {}
        self.restart()

    def restart(self) -> None:
        """A new life of the whole process: memory, timers, tasks are lost; the rows are not."""
        self.boot += 1
        self.running.clear()
        self.pieces.clear()
        self.machines.clear()
        for timer in [one for one in self.fleet.timers if one[0] == self.number]:
            del self.fleet.timers[timer]
        rows = {kind: sorted(table.items()) for kind, table in self.rows.items()}
        policy = NodePolicy(sources={name: SourcePolicy(projects=one) for name, one in self.sources.items()})
        inner: dict[str, Any] = {
            "scheduler": Scheduler(
                self.key, self.id, self.name, self.boot, self.sources, rows, retention=self.fleet.retention
            ),
            "worker": Worker(self.key, self.id, policy, rows),
        }
        for owner, machine in inner.items():
            courier = self.machines[owner] = Courier(machine, owner, self.id, self.boot, self.boot, rows)
            self.fleet.carry_out(self, owner, courier.begin(self.fleet.now))
            courier.check()
        for owner in inner:
            self.fleet.step(self, owner, ProjectsHeld(projects=(PROJECT,), statement=b""))
        for peer in self.fleet.nodes:
            self.meet(peer)

    def meet(self, peer: Node) -> None:
        offers = tuple(SourceOffer(name=name, project=PROJECT.project_id) for name in peer.sources)
        for owner in ("scheduler", "worker"):
            self.fleet.step(self, owner, PeerSeen(node=peer.id, name=peer.name, sources=offers))

    def apply(self, owner: str, persist: Persist) -> None:
        for write in persist.writes:
            match write:
                case Put(kind=kind, key=key, value=value):
                    self.rows.setdefault(kind, {})[key] = value
                case Drop(kind=kind, key=key):
                    self.rows.get(kind, {}).pop(key, None)
                case Keep(digest=digest, data=data, parts=parts):
                    self._keep(digest, data, parts)
                case Release(digests=digests):
                    self._release(digests)
                case Audit():
                    self.audit.append(write)
                case LogJob() if owner == "scheduler":
                    self.log.append(write)

    def _keep(self, digest: bytes, data: bytes, parts: tuple[bytes, ...]) -> None:
        known = self.parts.get(digest, ())
        new = [part for part in dict.fromkeys(parts) if part not in known]
        self.parts[digest] = (*known, *new)
        for part in new:
            self.keeps[part] += 1
        self.resources[digest] = data
        self.keeps[digest] = self.keeps.get(digest, 0) + 1

    def _release(self, digests: tuple[bytes, ...]) -> None:
        for digest in digests:
            self.keeps[digest] -= 1
            if not self.keeps[digest]:
                del self.keeps[digest], self.resources[digest]
                self._release(self.parts.pop(digest))

    def whole(self, product: Carried) -> bytes:
        """The bytes of a product whose chunks are all here."""
        return product if isinstance(product, bytes) else b"".join(self.resources[one] for one in product.chunks)

    def attempts(self) -> int:
        return len(self.rows.get(kinds.ATTEMPT, {}))


class Fleet:
    """All nodes know each other and share a project. Node 0 leads the jobs."""

    def __init__(
        self,
        holders: int,
        sources: int = 1,
        compute: Compute = product_of,
        retention: RetentionRules = KEPT_BY_DEFAULT,
    ) -> None:
        self.now: Now = now()
        self.retention = retention
        self.compute = compute
        self.nodes: list[Node] = []
        self.timers: dict[tuple[int, str, str], tuple[int, int]] = {}
        self.wire: deque[tuple[int, Received]] = deque()
        self.told: list[Any] = []  # what the submitter hears
        self.refused: list[str] = []
        self.started: list[tuple[int, str, str]] = []  # node, operation, source
        self.alter: Callable[[Received], Received | None] = lambda event: event  # every message passes here
        self.after_step: Callable[[], None] = lambda: None
        for number in range(holders):
            node = Node(self, number, tuple(f"s{i}" for i in range(sources)))
            for peer in self.nodes:
                peer.meet(node)
            self.nodes.append(node)

    @property
    def leader(self) -> Node:
        return self.nodes[0]

    # --- the submitter ---

    def ask(self, message: Any, sender: bytes = OPERATOR) -> Any:
        """One request at the leader's control socket and its answer, before anything else happens."""
        event = Received(message=message, sender=sender, message_id=b"r" * 16, session=SUBMISSION)
        before = len(self.told)
        self.step(self.leader, "scheduler", event)
        assert len(self.told) == before + 1, "each request gets one answer"
        return self.told[-1]

    def submit(self, order: SignedOrder) -> Any:
        return self.ask(Submit(order=order))

    def status(self, job_id: bytes) -> JobStatus:
        status = self.ask(AskJob(job_id=job_id))
        assert isinstance(status, JobStatus)
        return status

    # --- the world ---

    def run(self) -> None:
        """Until nothing happens without time going on."""
        steps = 0
        while self._one():
            steps += 1
            assert steps < 20_000, "the nodes never come to rest"

    def run_for(self, ms: int) -> None:
        """Timers in their order, each followed by all that it causes."""
        until = self.now.boot_ns + ms * 1_000_000
        self.run()
        while due := [(at, key) for key, (at, _) in self.timers.items() if at <= until]:
            at, key = min(due)
            self._clock(max(at, self.now.boot_ns))
            number, owner, name = key
            _, generation = self.timers.pop(key)
            self.step(self.nodes[number], owner, TimerFired(name=name, generation=generation))
            self.run()
        self._clock(until)

    def end(self, job_id: bytes, limit_ms: int = 700_000) -> JobStatus:
        """Runs until the job has ended."""
        for _ in range(limit_ms // 1_000):
            self.run()
            status = self.status(job_id)
            if status.ended_ms:
                return status
            self.run_for(1_000)
        raise AssertionError(f"the job is still {status.state} after {limit_ms} ms")

    def step(self, node: Node, owner: str, event: Any) -> None:
        courier = node.machines[owner]
        effects = courier.step(event, self.now)
        assert sum(isinstance(one, Persist) for one in effects) <= 1, "one step, one batch"
        self.carry_out(node, owner, effects)
        courier.check()
        self.after_step()

    def carry_out(self, node: Node, owner: str, effects: Effects) -> None:
        assert not any(isinstance(one, Persist) for one in effects[1:]), "writes come first"
        for effect in effects:
            match effect:
                case Persist():
                    node.apply(owner, effect)
                case Send(session=session) if session:
                    self.told.append(effect.message)
                case Send():
                    self._send(node, effect)
                case Refuse(session=session):
                    self.refused.append(effect.code)
                    if session:
                        self.told.append(effect)
                case SetTimer(name=name, at_ns=at_ns, generation=generation):
                    self.timers[node.number, owner, name] = (at_ns, generation)
                case ClearTimer(name=name):
                    self.timers.pop((node.number, owner, name), None)
                case StartTask():
                    self.started.append((node.number, effect.request.operation, effect.source))
                    node.running[effect.key] = effect
                case KillTask() | NextPiece():
                    self._change_task(node, effect)
                case Publish(event=ResourceWanted(ticket=ticket, digest=digest, taker=taker)):
                    found = ResourceFound(ticket=ticket, data=node.resources.get(digest))
                    self.step(node, taker, found)

    def crash_task(self, node: Node) -> None:
        """The process of the node's oldest task dies."""
        key = next(iter(node.running))
        del node.running[key]
        self.step(node, "worker", TaskDied(key=key, reason="crashed"))

    def _clock(self, boot_ns: int) -> None:
        passed_ms = (boot_ns - self.now.boot_ns) // 1_000_000
        self.now = Now(boot_ns, self.now.wall_ms + passed_ms)

    def _send(self, node: Node, send: Send) -> None:
        number, body = encode_message(send.message)
        event = Received(
            message=decode_message(number, body),
            sender=node.id,
            message_id=send.message_id or b"unidentified-one",
            project=send.project,
            reply_to=send.reply_to,
            fence=send.fence,
            boot_id=node.boot,
        )
        target = next(peer for peer in self.nodes if peer.id == send.to)
        self.wire.append((target.number, event))

    def _one(self) -> bool:
        """Delivers one message, or lets one task end."""
        if self.wire:
            number, event = self.wire.popleft()
            changed = self.alter(event)
            sender = next(node for node in self.nodes if node.id == event.sender)
            if changed is None or ((self.nodes[number].cut_off or sender.cut_off) and sender.number != number):
                return True
            for owner in takers(changed):
                self.step(self.nodes[number], owner, changed)
            return True
        for node in self.nodes:
            for key, start in list(node.running.items()):
                ended = self.compute(node, start)
                if isinstance(ended, TaskProduced) and len(ended.product) > start.request.inline_bytes:
                    if key not in node.pieces:
                        node.pieces[key] = list(enumerate(chunks_of(ended.product)))
                        self._next_piece(node, key, start.run)
                        return True
                elif ended is not None:
                    del node.running[key]
                    self.step(node, "worker", ended)
                    return True
        return False

    def _change_task(self, node: Node, effect: KillTask | NextPiece) -> None:
        if isinstance(effect, NextPiece):
            self._next_piece(node, effect.key, effect.run)
        else:
            node.running.pop(effect.key, None)
            node.pieces.pop(effect.key, None)

    def _next_piece(self, node: Node, key: bytes, run: int) -> None:
        """The child of a large product goes on, if it is one that does."""
        if key not in node.pieces:
            return
        if node.pieces[key]:
            number, data = node.pieces[key].pop(0)
            node.told[key] = number + 1
            self.step(node, "worker", TaskPiece(key=key, number=number, data=data, run=run))
        else:
            del node.pieces[key], node.running[key]
            self.step(node, "worker", TaskProduced(key=key, product=b"", pieces=node.told.pop(key), run=run))


def live_of(fleet: Fleet) -> tuple[JobStatus, ...]:
    snapshot: SchedulerSnapshot = fleet.leader.machines["scheduler"].machine.snapshot()  # type: ignore[assignment]
    return snapshot.live


def replaced(event: Received, **changes: Any) -> Received:
    return msgspec.structs.replace(event, message=msgspec.structs.replace(event.message, **changes))
