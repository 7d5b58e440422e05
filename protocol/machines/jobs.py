"""The scheduler's record of one job, in memory and in the store."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from protocol import kinds
from protocol.errors import Code, DeniedError, RemoteProtocolError
from protocol.ids import node_id
from protocol.limits import (
    CLOCK_TOLERANCE_MS,
    LEASE_GRACE_MS,
    ORDER_LIFE_MS_MAX,
    STATEMENT_BYTES_MAX,
    TASK_INPUT_BYTES_MAX,
    TASKS_OFFERED_MAX,
    TASKS_SHOWN_MAX,
)
from protocol.machines.contract import Audit, LogJob, Now, Persist, Put, Received, Send
from protocol.machines.planning import Holders
from protocol.plan.artifact import read_artifact
from protocol.plan.operations import operation
from protocol.plan.order import Order, SignedOrder, VerifiedOrder
from protocol.plan.plan import Outcome, Participant, Plan, Task, check_plan, derive, outcome_of, sign_plan
from protocol.plan.products import Carried, carried_bytes, product_digest
from protocol.plan.tasks import FACT_BYTES, fact_of
from protocol.record import Record
from protocol.signing import ORDER_STATEMENT, SigningKey, open_statement
from protocol.wire.codec import decode_record, encode_record
from protocol.wire.jobs import Cause, JobState, Stop, TaskStatus


class JobRow(Record, frozen=True):
    """The stored part of a job; of an ended one all that is left."""

    job_id: bytes
    order: SignedOrder
    project: bytes
    submitter: bytes  # public key
    state: JobState
    epoch: int
    participants: tuple[Participant, ...]
    submitted_ms: int
    holder_names: dict[str, str]
    ended_ms: int = 0
    cancel: bytes = b""
    cause: Cause | None = None
    digest: bytes = b""  # of the result
    outcome: bytes = b""  # signed outcome of the last task
    tasks_done: int = 0
    tasks_all: int = 0
    expires_ms: int = 0  # of the order

    @property
    def submitter_id(self) -> bytes:
        return node_id(self.submitter)

    @property
    def result_bytes(self) -> int:
        return outcome_of(self.outcome).size_bytes

    @property
    def resources(self) -> dict[bytes, int]:
        """All that is stored because this row names it, each with its bytes; it goes with the last row that does."""
        return {self.digest: self.result_bytes} if self.digest else {}

    @property
    def order_ends_ms(self) -> int:
        """From then on nobody starts the order again, whatever the clocks of this network say."""
        return (self.expires_ms or self.submitted_ms + ORDER_LIFE_MS_MAX) + 2 * CLOCK_TOLERANCE_MS


class TaskRow(Record, frozen=True):
    """The stored part of a task of a live job."""

    state: Literal["waiting", "succeeded"]
    attempt: int
    digest: bytes = b""
    product: Carried = b""
    size_bytes: int = 0  # of the product, which is kept only where a later task takes it


class TaskState:
    """A task of a live job. `offered`: a worker has it under a lease; `stopped`: the worker said that it will not end
    it.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.state: Literal["waiting", "offered", "succeeded", "stopped"] = "waiting"
        self.attempt = 1
        self.offered_before = False  # its worker may know of it and must be told the end
        self.lease_until_ns = 0
        self.digest = b""
        self.product: Carried = b""
        self.size_bytes = 0

    def again(self) -> None:
        self.state, self.attempt = "waiting", self.attempt + 1

    def offer(self, lease_until_ns: int) -> None:
        self.state, self.offered_before, self.lease_until_ns = "offered", True, lease_until_ns

    def succeed(self, outcome: Outcome, product: Carried) -> None:
        """`product`: empty where the facts of it are enough."""
        self.state, self.digest, self.size_bytes = "succeeded", outcome.digest, outcome.size_bytes
        self.product = product

    def row(self) -> TaskRow:
        state: Literal["waiting", "succeeded"] = "succeeded" if self.state == "succeeded" else "waiting"
        return TaskRow(
            state=state, attempt=self.attempt, digest=self.digest, product=self.product, size_bytes=self.size_bytes
        )


class Job:
    """A live job."""

    def __init__(self, row: JobRow, verified: VerifiedOrder, tasks: list[TaskState]) -> None:
        self.row = row
        self.verified = verified
        self.tasks = tasks  # limits.JOB_TASKS_MAX
        self.plan_envelope = b""
        self.deadline_ns = 0

    @property
    def job_id(self) -> bytes:
        return self.row.job_id

    @property
    def order(self) -> Order:
        return self.verified.order

    @property
    def lease_ms(self) -> int:
        return self.order.limits.lease_ms

    def update(self, **changes: Any) -> None:
        self.row = msgspec.structs.replace(self.row, **changes)

    def taken(self, asker: str, now: Now) -> Persist:
        """The first writes of a job: what was signed, and who brought it."""
        log = LogJob(job_id=self.job_id, wall_ms=now.wall_ms, event="submitted", detail=self.row.order.envelope)
        audit = Audit(wall_ms=now.wall_ms, actor=asker, event="job submitted", detail=self.job_id)
        return Persist(writes=(log, audit))

    def plan(self, epoch: int, key: SigningKey) -> None:
        """Under a new epoch of the scheduler, who signs it."""
        plan = Plan(version=1, job_id=self.job_id, epoch=epoch, participants=self.row.participants)
        self.plan_envelope = sign_plan(plan, key)
        self.update(epoch=epoch)

    def done(self) -> int:
        return sum(task.state == "succeeded" for task in self.tasks)

    def ready(self) -> list[TaskState]:
        """Waiting tasks whose inputs are there."""
        done = [task.state == "succeeded" for task in self.tasks]
        return [one for one in self.tasks if one.state == "waiting" and all(done[i] for i in one.task.inputs)]

    def overdue(self, now: Now) -> list[TaskState]:
        """The offered tasks whose lease is over.

        None at first when that is noticed only LEASE_GRACE_MS after: then this node has slept or was stopped, and
        what the holders said meanwhile waits to be read. They get LEASE_GRACE_MS more.
        """
        over = [one for one in self.tasks if one.state == "offered" and one.lease_until_ns <= now.boot_ns]
        if over and now.boot_ns - min(one.lease_until_ns for one in over) > LEASE_GRACE_MS * 1_000_000:
            for one in over:
                one.lease_until_ns = now.after_ms(LEASE_GRACE_MS)
            return []
        return over

    def kept(self, task: Task, product: Carried) -> Carried:
        """What is kept of the product of a task until the job ends: all of it, or nothing where the next step takes
        only facts.
        """
        steps = self.verified.artifact.steps
        following = steps[task.step + 1].operation if task.step + 1 < len(steps) else ""
        return b"" if following and operation(following).takes == "facts" else product

    def inputs(self, task: Task) -> tuple[Carried, ...]:
        """What a task gets for the products before it."""
        before = [self.tasks[i] for i in task.inputs]
        if operation(task.operation).takes == "facts":
            return tuple(fact_of(one.digest, one.size_bytes) for one in before)
        return tuple(one.product for one in before)

    def input_bytes(self, state: TaskState) -> int:
        """What a message needs for them."""
        if operation(state.task.operation).takes == "facts":
            return len(state.task.inputs) * FACT_BYTES
        return sum(carried_bytes(self.tasks[i].product) for i in state.task.inputs)

    def loads(self, ready: list[TaskState]) -> list[list[TaskState]]:
        """The tasks of one worker together, as many as fit into one message (TASK_INPUT_BYTES_MAX and
        TASKS_OFFERED_MAX).
        """
        loads: list[list[TaskState]] = []
        left = 0
        for state in sorted(ready, key=lambda one: (one.task.node, one.task.index)):
            left -= self.input_bytes(state)
            full = left < 0 or (bool(loads) and len(loads[-1]) >= TASKS_OFFERED_MAX)
            if not loads or loads[-1][0].task.node != state.task.node or full:
                loads.append([])
                left = TASK_INPUT_BYTES_MAX - self.input_bytes(state)
            loads[-1].append(state)
        return loads

    def workers(self, *states: str) -> tuple[bytes, ...]:
        """The nodes of the tasks in one of these states, or, without any, of those that were ever offered."""
        tasks = (one for one in self.tasks if (one.state in states if states else one.offered_before))
        return tuple(dict.fromkeys(one.task.node for one in tasks))

    def check_outcome(self, outcome: Outcome, signer: bytes, sender: bytes, epoch: int) -> None:
        """Only the worker of a task, under the current epoch and attempt, says how the task ended, and says it once.

        Raises RemoteProtocolError or DeniedError for any other word.
        """
        if outcome.job_id != self.job_id or not 0 <= outcome.index < len(self.tasks):
            raise RemoteProtocolError(Code.TASK_NOT_DERIVED, "an outcome of a task that is not in the plan")
        state = self.tasks[outcome.index]
        if signer != sender or signer != state.task.node:
            raise RemoteProtocolError(Code.SENDER_WRONG, "an outcome signed by a node that does not run the task")
        if outcome.epoch != epoch or outcome.attempt != state.attempt:
            raise DeniedError(Code.EPOCH_OLD, "an outcome of an older epoch or attempt")
        if state.state != "offered":
            raise DeniedError(Code.ALREADY_RUN, "the task has its outcome already")
        if outcome.size_bytes > operation(state.task.operation).product_bytes_max:
            raise RemoteProtocolError(Code.RESULT_TOO_LARGE, f"no task of {state.task.operation} makes so much")
        if outcome.state == "succeeded" and outcome.inputs != self._input_digests(state.task):
            raise RemoteProtocolError(Code.RESULT_ALTERED, "an outcome computed from other inputs")

    def _input_digests(self, task: Task) -> tuple[bytes, ...]:
        if operation(task.operation).takes == "facts":
            return tuple(product_digest(fact) for fact in self.inputs(task))
        return tuple(self.tasks[i].digest for i in task.inputs)

    def renew(self, node: bytes, until_ns: int, indexes: frozenset[int] | None = None) -> None:
        """The worker works at these tasks, or, by an outcome of it, at all that it has: it is not silent."""
        for state in self.tasks:
            if indexes is not None and state.task.index not in indexes:
                continue
            if state.state == "offered" and state.task.node == node:
                state.lease_until_ns = until_ns

    def stop(self, node: bytes, epoch: int, *, ended: bool) -> Send:
        """Tells a worker that the job was cancelled, or that it is over."""
        message = Stop(job_id=self.job_id, cancel=self.row.cancel, ended=ended)
        return Send(message=message, to=node, project=self.row.project, fence=epoch)

    def task_key(self, index: int) -> bytes:
        return self.job_id + index.to_bytes(4)

    def task_put(self, state: TaskState) -> Put:
        return Put(kind=kinds.TASK, key=self.task_key(state.task.index), value=encode_record(state.row()))

    def task_statuses(self) -> tuple[TaskStatus, ...]:
        """Of the first TASKS_SHOWN_MAX tasks, unfinished ones before the others."""
        unfinished_first = sorted(self.tasks, key=lambda one: one.state == "succeeded")[:TASKS_SHOWN_MAX]
        return tuple(
            TaskStatus(
                index=state.task.index,
                operation=state.task.operation,
                node=state.task.node,
                source=state.task.source,
                state=state.state,
                attempt=state.attempt,
                bytes_out=state.size_bytes,
            )
            for state in sorted(unfinished_first, key=lambda one: one.task.index)
        )


def forget(job_id: bytes, event: Received, epoch: int) -> Send:
    """For a worker that still works at a job which is over here."""
    return Send(message=Stop(job_id=job_id, ended=True), to=event.sender, project=event.project, fence=epoch)


def new_job(verified: VerifiedOrder, holders: Holders, scheduler: bytes, epoch: int, now: Now) -> Job:
    """A job of those holders that the order asks for. Raises DeniedError when they are not known or not allowed."""
    participants = holders.choose(verified)
    plan = Plan(version=1, job_id=verified.job_id, epoch=epoch, participants=participants)
    check_plan(plan, verified.order, scheduler)
    row = JobRow(
        job_id=verified.job_id,
        order=verified.signed,
        project=verified.artifact.project,
        submitter=verified.submitter,
        state="submitted",
        epoch=epoch,
        participants=participants,
        submitted_ms=now.wall_ms,
        holder_names=holders.names(participants),
        expires_ms=verified.order.expires_ms,
    )
    job = Job(row, verified, [TaskState(task) for task in derive(verified.artifact, plan, scheduler)])
    job.deadline_ns = now.after_ms(verified.order.limits.deadline_ms)
    return job


def restore_job(row: JobRow, tasks: dict[int, TaskRow], scheduler: bytes) -> Job:
    """A live job from its rows. It was verified before it was stored, so membership is not asked again."""
    statement = open_statement(row.order.envelope, ORDER_STATEMENT)
    order = decode_record(statement.payload, Order, bytes_max=STATEMENT_BYTES_MAX)
    artifact = read_artifact(order.artifact)
    verified = VerifiedOrder(
        job_id=row.job_id, order=order, artifact=artifact, submitter=statement.signer, signed=row.order
    )
    plan = Plan(version=1, job_id=row.job_id, epoch=row.epoch, participants=row.participants)
    states = [TaskState(task) for task in derive(artifact, plan, scheduler)]
    for index, stored in tasks.items():
        state = states[index]
        state.state, state.attempt = stored.state, stored.attempt
        state.digest, state.product, state.size_bytes = stored.digest, stored.product, stored.size_bytes
    for state in states:
        state.offered_before = True  # rows do not tell, and to be told twice does no harm
    return Job(row, verified, states)
