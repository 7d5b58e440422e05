"""The scheduler's record of one job, in memory and in the store."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from protocol.ids import node_id
from protocol.limits import STATEMENT_BYTES_MAX
from protocol.machines.contract import Record
from protocol.plan.artifact import read_artifact
from protocol.plan.order import Order, SignedOrder, VerifiedOrder
from protocol.plan.plan import Outcome, Participant, Plan, Task, derive
from protocol.signing import ORDER_STATEMENT, open_statement
from protocol.wire.codec import decode_record
from protocol.wire.jobs import Cause, JobState, TaskStatus


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

    @property
    def submitter_id(self) -> bytes:
        return node_id(self.submitter)


class TaskRow(Record, frozen=True):
    """The stored part of a task of a live job."""

    state: Literal["waiting", "succeeded"]
    attempt: int
    digest: bytes = b""
    product: bytes = b""


class TaskState:
    """A task of a live job. `offered`: a worker has it under a lease; `stopped`: the worker said that it will not end
    it.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.state: Literal["waiting", "offered", "succeeded", "stopped"] = "waiting"
        self.attempt = 1
        self.lease_until_ns = 0
        self.digest = b""
        self.product = b""

    def succeed(self, outcome: Outcome, product: bytes) -> None:
        self.state, self.digest, self.product = "succeeded", outcome.digest, product

    def row(self) -> TaskRow:
        state: Literal["waiting", "succeeded"] = "succeeded" if self.state == "succeeded" else "waiting"
        return TaskRow(state=state, attempt=self.attempt, digest=self.digest, product=self.product)


class Job:
    """A live job."""

    def __init__(self, row: JobRow, verified: VerifiedOrder, tasks: list[TaskState]) -> None:
        self.row = row
        self.verified = verified
        self.tasks = tasks  # limits.TASKS_PER_JOB_MAX
        self.plan_envelope = b""
        self.deadline_ns = 0

    @property
    def job_id(self) -> bytes:
        return self.row.job_id

    @property
    def order(self) -> Order:
        return self.verified.order

    def update(self, **changes: Any) -> None:
        self.row = msgspec.structs.replace(self.row, **changes)

    def done(self) -> int:
        return sum(task.state == "succeeded" for task in self.tasks)

    def task_key(self, index: int) -> bytes:
        return self.job_id + index.to_bytes(4)

    def task_statuses(self) -> tuple[TaskStatus, ...]:
        return tuple(
            TaskStatus(
                index=state.task.index,
                operation=state.task.operation,
                node=state.task.node,
                source=state.task.source,
                state=state.state,
                attempt=state.attempt,
                bytes_out=len(state.product),
            )
            for state in self.tasks
        )


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
        state.digest, state.product = stored.digest, stored.product
    return Job(row, verified, states)
