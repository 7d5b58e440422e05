"""What must hold, seen from outside: from frames on the wire, committed rows and answers, never from a machine's word.

Each method is told of one kind of happening and raises Violation when a rule is broken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol import kinds
from protocol.ids import JOB_ID_BYTES, MESSAGE_ID_BYTES, node_id, short_job_id
from protocol.limits import LEASE_GRACE_MS
from protocol.machines.attempts import AttemptRow
from protocol.machines.contract import Effects, LogJob, Publish, Put, Received, Send, StartTask, Write
from protocol.machines.events import Arrived, PeerAdmitted
from protocol.machines.executed import ExecutedRow
from protocol.machines.jobs import JobRow, TaskRow, restore_job
from protocol.plan.plan import Outcome, check_product, verify_outcome
from protocol.plan.products import Manifest, chunks_in, is_large_result, manifest_of, product_digest, resource_of
from protocol.wire.codec import decode_record
from protocol.wire.frame import parse_header
from protocol.wire.jobs import ENDED, JobResult, JobStatus, Results, Tasks
from protocol.wire.peers import Acknowledge
from protocol.wire.registry import BY_NUMBER
from protocol.wire.relay import is_relayed
from simulations.causes import causes_of
from simulations.products import expected_products
from simulations.violation import Violation

if TYPE_CHECKING:
    from simulations.node import Node
    from simulations.submitter import Submitter
    from simulations.world import World

PROMPT_NS: Final = LEASE_GRACE_MS * 1_000_000 // 2  # an offer on its way no longer than this is under its lease
ROW_BYTES_MAX: Final = 64 * 1024 * 1024


class Checkers:
    def __init__(self, world: World) -> None:
        self._world = world
        self._frames: dict[tuple[int, bytes, int], tuple[int, set[int]]] = {}  # receiver, sender, boot: gate, sequences
        self._outcomes: dict[bytes, tuple[Outcome, ...]] = {}  # message id: what a worker sent under it
        self._told_end: dict[bytes, str] = {}  # job id: the end that its submitter heard
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
        """No frame is accepted twice in one life of its receiver's gate, and none of a banned node."""
        if is_relayed(event.raw):
            return
        if not any(isinstance(one, Publish) and isinstance(one.event, Received) for one in effects):
            self.frames_refused += 1
            return
        header = parse_header(event.raw)
        name = BY_NUMBER[header.type].record.__name__
        if node_id(header.sender_key) in node.kept_out:
            raise Violation(f"{node.name} accepted a {name} of a node that is banned there")
        self.frames_accepted += 1
        self._world.note(node, "gate", "accepted", f"{name} {header.boot_id}/{header.sequence}")
        peer = (node.number, header.sender_key, header.boot_id)
        gate, seen = self._frames.get(peer, (0, set()))
        if gate != node.incarnations["gate"]:
            seen = set()
        if header.sequence in seen:
            raise Violation(f"{node.name} accepted the replayed frame {header.sequence} ({name}) a second time")
        seen.add(header.sequence)
        self._frames[peer] = (node.incarnations["gate"], seen)

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
        if isinstance(send.message, Results):
            outcomes = (verify_outcome(result.outcome)[0] for result in send.message.results)
            self._outcomes[send.message_id] = tuple(outcomes)
        if isinstance(send.message, Acknowledge):
            for identity in send.message.message_ids:
                if node.store.get(kinds.INBOX, owner.encode() + b"\0" + send.to + identity) is None:
                    raise Violation(f"{node.name} {owner} acknowledges a message that it has not committed")

    # --- commits -----------------------------------------------------------------------------------------------------

    def committing(self, node: Node, owner: str, writes: tuple[Write, ...]) -> None:
        """Called before the batch is in the store, when it is synced."""
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
                    self._check_fence(node, write, writes)

    def _apply_once(self, node: Node, key: bytes) -> None:
        if (node.number, key) in self._applied:
            raise Violation(f"{node.name} applied the message {key.hex()} twice")
        self._applied.add((node.number, key))

    def _accept_once(self, node: Node, log: LogJob) -> None:
        task = log.job_id + log.detail
        if task in self._accepted:
            raise Violation(f"{node.name} accepted a second result of task {int.from_bytes(log.detail)}")
        self._accepted.add(task)

    def _check_fence(self, node: Node, log: LogJob, writes: tuple[Write, ...]) -> None:
        """A result counts under the newest fence of its job and task only: anything else is the word of an older life
        of the scheduler, or of an attempt that was given up.
        """
        index = int.from_bytes(log.detail)
        received = (write.key[-MESSAGE_ID_BYTES:] for write in writes if isinstance(write, Put))
        sent = (one for identity in received for one in self._outcomes.get(identity, ()) if one.index == index)
        outcomes = [one for one in sent if one.job_id == log.job_id]
        if not outcomes:
            raise Violation(f"{node.name} accepted a result of task {index} that nobody sent")
        job = decode_record(node.store.get(kinds.JOB, log.job_id) or b"", JobRow, bytes_max=ROW_BYTES_MAX)
        stored = node.store.get(kinds.TASK, log.job_id + log.detail)
        attempt = decode_record(stored, TaskRow, bytes_max=ROW_BYTES_MAX).attempt if stored is not None else 1
        fences = [(one.epoch, one.attempt) for one in outcomes]  # of one turn; those that were refused are among them
        if (job.epoch, attempt) not in fences:
            raise Violation(
                f"{node.name} accepted a result of task {index} under an old fence: epoch {fences[0][0]}, attempt "
                f"{fences[0][1]} instead of {job.epoch}, {attempt}"
            )

    def task_starts(self, node: Node, task: StartTask) -> None:
        """Only what was stored as running is run: else a crash would forget it, and its fence."""
        if (node.number, kinds.ATTEMPT, task.key) not in self._epochs:
            raise Violation(f"{node.name} starts a task of {short_job_id(task.job_id)} that it has not stored")

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
        if row.job_id not in self._world.signed:
            raise Violation(f"{node.name} leads a job that nobody signed")
        before = self._ended.get(row.job_id)
        if before is not None and row.state != before:
            raise Violation(f"{node.name} moves the ended job {short_job_id(row.job_id)} from {before} to {row.state}")
        if row.state in ENDED:
            self._ended[row.job_id] = row.state
            if row.state == "cancelled" and before is None:
                self._check_stopped(row.job_id)
            if row.cause is not None and row.cause.code not in causes_of(
                self._world.options, self._world.signed[row.job_id].plan
            ):
                raise Violation(f"{short_job_id(row.job_id)} {row.state} for no planted reason: {row.cause.sentence}")

    def _check_stopped(self, job_id: bytes) -> None:
        """A cancel is final when every holder has said so or its lease is over. An offer that was late on its way
        begins a lease of which the scheduler cannot know.
        """
        for node in self._world.nodes:
            if node.paused:
                continue  # its process stands still and cannot kill its children
            for key, started_ns in node.tasks.running(job_id).items():
                if started_ns - self._offered.get(key, 0) <= PROMPT_NS:
                    raise Violation(f"{short_job_id(job_id)} is finally cancelled, and {node.name} still runs a task")

    def produced(self, node: Node, key: bytes, product: bytes) -> None:
        digests = {product_digest(product), product_digest(manifest_of(product))}
        self._products.setdefault(key, set()).update(digests)

    def settled(self, node: Node) -> None:
        """At the end: chunks are there for tasks alone, and resources for chunks and results alone."""
        jobs = {key[:JOB_ID_BYTES] for key in node.store.keys(kinds.ATTEMPT)}
        chunks = node.store.keys(kinds.CHUNK)
        if any(key[:JOB_ID_BYTES] not in jobs for key in chunks):
            raise Violation(f"{node.name} keeps chunks of a job that is over")
        named = {key[JOB_ID_BYTES:] for key in chunks}
        for value in node.store.values(kinds.JOB):
            row = decode_record(value, JobRow, bytes_max=ROW_BYTES_MAX)
            if row.state == "succeeded":
                named.add(row.digest)
                if is_large_result(row.result_bytes):
                    stored = node.store.resource(row.digest) or b""
                    named.update(decode_record(stored, Manifest, bytes_max=ROW_BYTES_MAX).chunks)
        if node.store.resources() != named:
            raise Violation(f"{node.name} stores other resources than its rows name")

    # --- submitters --------------------------------------------------------------------------------------------------

    def acknowledged(self, submitter: Submitter) -> None:
        if submitter.plan.altered:
            raise Violation(f"{submitter.node.name} took the forged order of job {submitter.number}")
        self._must_be_stored(submitter)

    def _must_be_stored(self, submitter: Submitter) -> JobRow:
        stored = submitter.node.store.get(kinds.JOB, submitter.job_id)
        if stored is None:
            raise Violation(f"{submitter.node.name} has lost job {submitter.number}, which it had acknowledged")
        return decode_record(stored, JobRow, bytes_max=ROW_BYTES_MAX)

    def told(self, submitter: Submitter, status: JobStatus) -> None:
        """An end that a submitter hears is on disk, and it is the only one that it ever hears."""
        if status.state not in ENDED:
            if submitter.job_id in self._told_end:
                raise Violation(f"job {submitter.number} is {status.state} again after its submitter heard its end")
            return
        if self._must_be_stored(submitter).state != status.state:
            raise Violation(
                f"{submitter.node.name} tells that job {submitter.number} {status.state} before it is stored"
            )
        if self._told_end.setdefault(submitter.job_id, status.state) != status.state:
            raise Violation(f"the submitter of job {submitter.number} heard two different ends")

    def given(self, submitter: Submitter, result: JobResult) -> None:
        """A result that is given is on disk, and it is what the tasks compute."""
        row = self._must_be_stored(submitter)
        if submitter.node.store.resource(row.digest) != resource_of(result.product):
            raise Violation(f"{submitter.node.name} gives another result of job {submitter.number} than it stored")
        job = restore_job(row, {}, submitter.node.own_id)
        expected = expected_products(job.verified.artifact, tuple(state.task for state in job.tasks))[-1]
        outcome, signer = verify_outcome(result.outcome)
        check_product(outcome, result.product)
        if submitter.node.store.whole(result.product) != expected or signer != submitter.node.own_id:
            raise Violation(f"the result of job {submitter.number} is not what its tasks compute")

    def finished(self, submitter: Submitter) -> JobRow:
        """At the end: the job is there, it has ended, and what the submitter was told is what the workers computed."""
        row = self._must_be_stored(submitter)
        if submitter.status is None or submitter.status.state != row.state:
            raise Violation(f"job {submitter.number} is {row.state}, its submitter was told otherwise")
        if (submitter.result is not None) != (row.state == "succeeded"):
            given = "given" if submitter.result is not None else "not given"
            raise Violation(f"job {submitter.number} is {row.state}, and its result was {given}")
        if submitter.result is not None and not submitter.chunks.issuperset(chunks_in(submitter.result.product)):
            raise Violation(f"a part of the result of job {submitter.number} was not given")
        return row
