"""What must hold, seen from outside: from frames on the wire, committed rows and answers, never from a machine's word.

Each method is told of one kind of happening and raises Violation when a rule is broken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol import kinds
from protocol.errors import Code
from protocol.ids import short_job_id
from protocol.limits import LEASE_GRACE_MS
from protocol.machines.attempts import AttemptRow, ExecutedRow
from protocol.machines.contract import Effects, LogJob, Publish, Put, Received, Send, Write
from protocol.machines.events import Arrived, PeerAdmitted
from protocol.machines.jobs import JobRow, TaskRow, restore_job
from protocol.plan.plan import check_product, product_digest, verify_outcome
from protocol.wire.codec import decode_record
from protocol.wire.frame import parse_header
from protocol.wire.jobs import ENDED, Tasks
from protocol.wire.peers import Acknowledge
from protocol.wire.registry import BY_NUMBER
from simulations.products import expected_products
from simulations.tasks import PLANTED_FAULT
from simulations.violation import Violation

if TYPE_CHECKING:
    from simulations.client import Client
    from simulations.node import Node
    from simulations.world import World

PROMPT_NS: Final = LEASE_GRACE_MS * 1_000_000 // 2  # an offer on its way no longer than this is under its lease
ROW_BYTES_MAX: Final = 64 * 1024 * 1024
# Why a job may fail in a run: what was planted can cause these and nothing else.
PLANTED_CAUSES: Final = frozenset(
    {
        Code.HOLDER_LOST,
        Code.TASK_CRASHED,
        Code.TASK_OUT_OF_MEMORY,
        Code.TASK_OUT_OF_TIME,
        Code.TIMED_OUT,
        Code.JOB_CANCELLED,
        PLANTED_FAULT,
    }
)


class Checkers:
    def __init__(self, world: World) -> None:
        self._world = world
        self._frames: set[tuple[int, int, bytes, int, int]] = set()  # receiver, its life, sender, boot, sequence
        self._applied: set[tuple[int, bytes]] = set()  # receiver, inbox key
        self._accepted: set[bytes] = set()  # job id + index
        self._ended: dict[bytes, str] = {}
        self._epochs: dict[tuple[int, str, bytes], int] = {}
        self._products: dict[bytes, set[bytes]] = {}  # job id + index → digests made by the workers
        self._offers: set[bytes] = set()  # message ids
        self._offered: dict[bytes, int] = {}  # job id + index → when its last offer was first sent
        self.frames_accepted = self.frames_refused = 0

    # --- frames ------------------------------------------------------------------------------------------------------

    def arrived(self, node: Node, event: Arrived, effects: Effects) -> None:
        """No frame is accepted twice in one life of its receiver."""
        if not any(isinstance(one, Publish) and isinstance(one.event, Received) for one in effects):
            self.frames_refused += 1
            return
        header = parse_header(event.raw)
        name = BY_NUMBER[header.type].record.__name__
        self.frames_accepted += 1
        self._world.note(node, "gate", "accepted", f"{name} {header.boot_id}/{header.sequence}")
        seen = (node.number, node.life, header.sender_key, header.boot_id, header.sequence)
        if seen in self._frames:
            raise Violation(f"{node.name} accepted the replayed frame {header.sequence} ({name}) a second time")
        self._frames.add(seen)

    def admitted(self, node: Node, event: PeerAdmitted) -> None:
        """A node without a common project stays a stranger."""
        peer = self._world.by_id[event.node]
        common = set(node.project_ids) & set(peer.project_ids)
        if not common or not set(event.projects) <= common:
            raise Violation(f"{node.name} admitted {peer.name} to a project that they do not share")

    def sending(self, node: Node, owner: str, send: Send) -> None:
        """What is acknowledged is committed."""
        if isinstance(send.message, Tasks) and send.message_id not in self._offers:
            self._offers.add(send.message_id)
            for offer in send.message.tasks:
                self._offered[send.message.job_id + offer.index.to_bytes(4)] = self._world.now_ns
        if isinstance(send.message, Acknowledge):
            for identity in send.message.message_ids:
                if node.store.get(kinds.INBOX, owner.encode() + b"\0" + send.to + identity) is None:
                    raise Violation(f"{node.name} {owner} acknowledges a message that it has not committed")

    # --- commits -----------------------------------------------------------------------------------------------------

    def committing(self, node: Node, owner: str, writes: tuple[Write, ...]) -> None:
        """Called before the batch is in the store."""
        for write in writes:
            match write:
                case Put(kind=kinds.INBOX, key=key):
                    self._apply_once(node, key)
                case Put(kind=kinds.SEEN_BOOT, key=key, value=value):
                    self._rise(node, kinds.SEEN_BOOT, key, int.from_bytes(value))
                case Put(kind=kinds.EXECUTED, key=key, value=value):
                    self._check_executed(node, key, decode_record(value, ExecutedRow, bytes_max=ROW_BYTES_MAX))
                case Put(kind=kinds.ATTEMPT, key=key, value=value):
                    row = decode_record(value, AttemptRow, bytes_max=ROW_BYTES_MAX)
                    self._rise(node, kinds.ATTEMPT, key, row.epoch)
                case Put(kind=kinds.TASK, key=key, value=value):
                    self._check_task(node, key, decode_record(value, TaskRow, bytes_max=ROW_BYTES_MAX))
                case Put(kind=kinds.JOB, value=value):
                    self._check_job(node, decode_record(value, JobRow, bytes_max=ROW_BYTES_MAX))
                case LogJob(event="result accepted") if owner == "scheduler":
                    self._accept_once(node, write)

    def _apply_once(self, node: Node, key: bytes) -> None:
        if (node.number, key) in self._applied:
            raise Violation(f"{node.name} applied the message {key.hex()} twice")
        self._applied.add((node.number, key))

    def _accept_once(self, node: Node, log: LogJob) -> None:
        task = log.job_id + log.detail
        if task in self._accepted:
            raise Violation(f"{node.name} accepted a second result of task {int.from_bytes(log.detail)}")
        self._accepted.add(task)

    def _rise(self, node: Node, kind: str, key: bytes, epoch: int) -> None:
        before = self._epochs.get((node.number, kind, key), 0)
        if epoch < before:
            raise Violation(f"the fence of {kind} {key.hex()[:12]} at {node.name} fell from {before} to {epoch}")
        self._epochs[node.number, kind, key] = epoch

    def _check_executed(self, node: Node, job_id: bytes, row: ExecutedRow) -> None:
        self._rise(node, kinds.EXECUTED, job_id, row.epoch)
        before = node.store.get(kinds.EXECUTED, job_id)
        if before is not None:
            old = decode_record(before, ExecutedRow, bytes_max=ROW_BYTES_MAX)
            if old.scheduler != row.scheduler:
                raise Violation(f"{node.name} lets a second scheduler lead {short_job_id(job_id)}")
            if old.state != "live" and row.state == "live":
                raise Violation(f"{node.name} revives the order {short_job_id(job_id)}")

    def _check_task(self, node: Node, key: bytes, row: TaskRow) -> None:
        """The product that is stored is one that the task's worker made."""
        if row.state == "succeeded" and (
            product_digest(row.product) != row.digest or row.digest not in self._products.get(key, ())
        ):
            raise Violation(f"{node.name} accepted a product that no worker of task {key.hex()[-8:]} made")

    def _check_job(self, node: Node, row: JobRow) -> None:
        if row.job_id not in self._world.job_ids:
            raise Violation(f"{node.name} leads a job that nobody signed")
        before = self._ended.get(row.job_id)
        if before is not None and row.state != before:
            raise Violation(f"{node.name} moves the ended job {short_job_id(row.job_id)} from {before} to {row.state}")
        if row.state in ENDED:
            self._ended[row.job_id] = row.state
            if row.state == "cancelled" and before is None:
                self._check_stopped(row.job_id)
            if row.cause is not None and row.cause.code not in self._causes(row):
                raise Violation(f"{short_job_id(row.job_id)} {row.state} for no planted reason: {row.cause.sentence}")

    def _check_stopped(self, job_id: bytes) -> None:
        """A cancel is final when every holder has said so or its lease is over. An offer that was late on its way
        begins a lease of which the scheduler cannot know.
        """
        for node in self._world.nodes:
            for key, started_ns in node.tasks.running(job_id).items():
                if started_ns - self._offered.get(key, 0) <= PROMPT_NS:
                    raise Violation(f"{short_job_id(job_id)} is finally cancelled, and {node.name} still runs a task")

    def _causes(self, row: JobRow) -> frozenset[str]:
        """A short order may expire at a holder before it gets there."""
        short = self._world.job_ids[row.job_id].plan.life_ms < 3_600_000
        return PLANTED_CAUSES | ({Code.ORDER_EXPIRED} if short else frozenset())

    def produced(self, node: Node, key: bytes, product: bytes) -> None:
        self._products.setdefault(key, set()).add(product_digest(product))

    # --- submitters --------------------------------------------------------------------------------------------------

    def acknowledged(self, client: Client) -> None:
        if client.plan.altered:
            raise Violation(f"{client.node.name} took the forged order of job {client.number}")
        self._must_be_stored(client)

    def _must_be_stored(self, client: Client) -> JobRow:
        stored = client.node.store.get(kinds.JOB, client.job_id)
        if stored is None:
            raise Violation(f"{client.node.name} has lost job {client.number}, which it had acknowledged")
        return decode_record(stored, JobRow, bytes_max=ROW_BYTES_MAX)

    def finished(self, client: Client) -> JobRow:
        """At the end: the job is there, it has ended, and what the submitter was told is what the workers computed."""
        row = self._must_be_stored(client)
        if client.status is None or client.status.state != row.state:
            raise Violation(f"job {client.number} is {row.state}, its submitter was told otherwise")
        if (client.result is not None) != (row.state == "succeeded"):
            given = "given" if client.result is not None else "not given"
            raise Violation(f"job {client.number} is {row.state}, and its result was {given}")
        if client.result is not None:
            job = restore_job(row, {}, client.node.own_id)
            expected = expected_products(job.verified.artifact, tuple(state.task for state in job.tasks))[-1]
            outcome, signer = verify_outcome(client.result.outcome)
            check_product(outcome, client.result.product)
            if client.result.product != expected or signer != client.node.own_id:
                raise Violation(f"the result of job {client.number} is not what its tasks compute")
        return row
