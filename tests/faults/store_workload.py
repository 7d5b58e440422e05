"""Batches as the machines of a node write them, and what a store must hold after any number of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random

from actors.adapters.store import LocalStore
from protocol.ids import node_id
from protocol.kinds import BOOT, KINDS, PEER, SAFETY_KINDS, SEEN_BOOT
from protocol.limits import STORE_PAGE_ROWS_MAX
from protocol.machines.contract import (
    Audit,
    Drop,
    DropLog,
    Effects,
    Keep,
    LogJob,
    Persist,
    Put,
    Release,
    StartTask,
    Write,
)
from protocol.machines.events import TaskProduced
from protocol.wire.jobs import AskCancel, AskRemove
from tests.protocol.builders import cancel_of, node_key, order, signed
from tests.protocol.fleet import Fleet, Node

Batch = tuple[Write, ...]
HOLDERS = 2
CANCELLED_EVERY = 5  # jobs
REMOVED_EVERY = 3  # jobs


class _WatchedFleet(Fleet):
    """Keeps every batch of the leader, which schedules and works."""

    def __init__(self, random: Random) -> None:
        self.batches: list[Batch] = []
        self._random = random
        super().__init__(HOLDERS, compute=self._product)

    def carry_out(self, node: Node, owner: str, effects: Effects) -> None:
        if node.number == 0:
            self.batches += [effect.writes for effect in effects if isinstance(effect, Persist)]
        super().carry_out(node, owner, effects)

    def _product(self, _node: Node, start: StartTask) -> TaskProduced:
        size = self._random.choice((20, 300, 3_000, 12_000))
        return TaskProduced(key=start.key, product=self._random.randbytes(size))


def machine_batches(random: Random, count: int) -> list[Batch]:
    """At least `count` batches: whole jobs, some cancelled, some removed, and between them gate and membership."""
    fleet = _WatchedFleet(random)
    for number in range(count):
        if len(fleet.batches) >= count:
            break
        peer = node_id(node_key(number % 7).public_key)
        fleet.batches.append((Put(kind=SEEN_BOOT, key=peer, value=number.to_bytes(8)),))
        fleet.batches.append((Put(kind=PEER, key=peer, value=random.randbytes(400)),))
        wall_ms = fleet.now.wall_ms
        an_order, job_id = signed(order(nonce=number.to_bytes(16), issued_ms=wall_ms, expires_ms=wall_ms + 1_000_000))
        fleet.submit(an_order)
        if number % CANCELLED_EVERY == CANCELLED_EVERY - 1:
            fleet.ask(AskCancel(job_id=job_id, cancel=cancel_of(job_id)))
        fleet.end(job_id)
        if number % REMOVED_EVERY == REMOVED_EVERY - 1:
            fleet.ask(AskRemove(job_id=job_id))
    return fleet.batches


class Expected:
    """A fingerprint of the store's contents after each number of batches; `in_memory`: of what survives."""

    def __init__(self, in_memory: bool) -> None:
        self._in_memory = in_memory
        self._records: dict[tuple[str, bytes], bytes] = {}
        self._events: dict[bytes, list[tuple[int, str, bytes]]] = {}
        self._audit: list[tuple[int, str, str, bytes]] = []
        self._resources: set[bytes] = set()
        self.jobs: set[bytes] = set()
        self.digests: set[bytes] = set()
        self._prints: list[bytes] = [self._print()]

    @property
    def batches(self) -> int:
        return len(self._prints) - 1

    def add(self, batch: Batch) -> None:
        for write in batch:
            self._write(write)
        self._prints.append(self._print())

    def numbers_of(self, print_: bytes) -> list[int]:
        """After how many batches a store looks like this: usually one number, none when it never does."""
        return [number for number, one in enumerate(self._prints) if one == print_]

    def _write(self, write: Write) -> None:
        match write:
            case Put(kind=kind, key=key, value=value) if self._survives(kind):
                self._records[kind, key] = value
            case Drop(kind=kind, key=key) if self._survives(kind):
                self._records.pop((kind, key), None)
            case Audit():
                self._audit.append((write.wall_ms, write.actor, write.event, write.detail))
            case LogJob(job_id=job_id) if not self._in_memory:
                self.jobs.add(job_id)
                self._events.setdefault(job_id, []).append((write.wall_ms, write.event, write.detail))
            case Keep(digest=digest) if not self._in_memory:
                self.digests.add(digest)
                self._resources.add(digest)
            case Release(digests=digests):
                self._resources.difference_update(digests)
            case DropLog(job_id=job_id):
                self._events.pop(job_id, None)

    def _survives(self, kind: str) -> bool:
        return not self._in_memory or kind in SAFETY_KINDS

    def _print(self) -> bytes:
        records = [(kind, key, value) for (kind, key), value in self._records.items()]
        return _fingerprint(records, self._events, self._audit, self._resources)


def observed(store: LocalStore, jobs: set[bytes], digests: set[bytes]) -> bytes:
    """The fingerprint of an open store. Raises StorageError when anything in it cannot be read."""
    records = [(kind, *row) for kind, rows in store.load(KINDS).items() for row in rows]
    events = {job: [(e.wall_ms, e.event, e.detail) for e in store.job_events(job)] for job in jobs}
    audit = list[tuple[int, str, str, bytes]]()
    while rows := store.audit_rows(len(audit), STORE_PAGE_ROWS_MAX):
        audit += [(row.wall_ms, row.actor, row.event, row.detail) for row in rows]
    resources = {digest for digest in digests if store.resource(digest) is not None}
    return _fingerprint(records, {job: logged for job, logged in events.items() if logged}, audit, resources)


def _fingerprint(
    records: Sequence[tuple[str, bytes, bytes]],
    events: dict[bytes, list[tuple[int, str, bytes]]],
    audit: list[tuple[int, str, str, bytes]],
    resources: set[bytes],
) -> bytes:
    everything = (sorted(records), sorted(events.items()), audit, sorted(resources))
    return hashlib.sha256(repr(everything).encode()).digest()


def boot_batch(boot_id: int) -> Batch:
    """What `next_boot_id` writes."""
    return (Put(kind=BOOT, key=b"", value=boot_id.to_bytes(8)),)
