"""Messages about jobs, by direction.

submitter → scheduler: Submit, AskJob, AskResult, AskResultChunk, AskCancel, AskJobs, AskRemove, AskRemoveEnded.
scheduler → submitter: JobStatus, JobResult, ResultChunk, JobList, JobRemoved, JobsRemoved.
scheduler → worker: Tasks, Renewed, Stop.  worker → scheduler: Results, Renew.
worker → worker: AskChunk, Chunk.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from protocol.ids import JOB_ID_BYTES, NODE_ID_BYTES, PROJECT_ID_BYTES
from protocol.limits import JOB_TASKS_MAX, JOBS_LISTED_MAX, WALL_MS_MAX
from protocol.plan.order import SignedOrder
from protocol.plan.products import Carried, Digest
from protocol.record import Record

# Checked where a body is decoded: the receiver stores a job id, signs it and sends it on in smaller messages.
JobId = Annotated[bytes, msgspec.Meta(min_length=JOB_ID_BYTES, max_length=JOB_ID_BYTES)]
# A status is shown to people: ids have their length, and a time is one that a calendar has.
NodeId = Annotated[bytes, msgspec.Meta(min_length=NODE_ID_BYTES, max_length=NODE_ID_BYTES)]
ProjectId = Annotated[bytes, msgspec.Meta(min_length=PROJECT_ID_BYTES, max_length=PROJECT_ID_BYTES)]
TaskIndex = Annotated[int, msgspec.Meta(ge=0, lt=JOB_TASKS_MAX)]  # rows are named after it, in four bytes
WallMs = Annotated[int, msgspec.Meta(ge=0, le=WALL_MS_MAX)]
JobState = Literal["submitted", "planned", "running", "succeeded", "failed", "cancelled", "expired"]
RemovedBy = Literal["retention", "operator", "submitter"]
ENDED: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled", "expired"})


# --- submitter → scheduler ------------------------------------------------------------------------


class Submit(Record, frozen=True):
    order: SignedOrder


class AskJob(Record, frozen=True):
    """`with_tasks`: the answer names the tasks of a live job too."""

    job_id: JobId
    with_tasks: bool = True


class AskResult(Record, frozen=True):
    job_id: JobId


class AskResultChunk(Record, frozen=True):
    """One chunk of the result of an ended job, as its manifest names it."""

    job_id: JobId
    digest: Digest


class AskCancel(Record, frozen=True):
    job_id: JobId
    cancel: bytes  # envelope of the submitter's cancel statement


class AskJobs(Record, frozen=True):
    """The asker's own jobs; the operator of the node sees all."""

    newest: int = JOBS_LISTED_MAX


class AskRemove(Record, frozen=True):
    """Remove an ended job with its result. Asked again, it is answered as before."""

    job_id: JobId


class AskRemoveEnded(Record, frozen=True):
    """Remove those of the asker's jobs, for the operator of the node all, that ended at least so long ago."""

    ended_ms_ago: Annotated[int, msgspec.Meta(ge=0, le=WALL_MS_MAX)]


# --- scheduler → submitter ------------------------------------------------------------------------


class Cause(Record, frozen=True):
    """Why a job did not succeed: code, sentence, the node that it concerns, and what to do."""

    code: str
    sentence: str
    node: bytes = b""
    node_name: str = ""
    source: str = ""
    next_step: str = ""


class TaskStatus(Record, frozen=True):
    index: int
    operation: str
    node: bytes
    source: str
    state: str
    attempt: int
    bytes_out: int = 0


class JobStatus(Record, frozen=True):
    job_id: JobId
    project: ProjectId
    submitter: NodeId
    state: JobState
    epoch: int
    submitted_ms: WallMs
    ended_ms: WallMs
    tasks_done: int
    tasks_all: int
    cancelling: bool
    scheduler: NodeId
    holder_names: dict[str, str]  # participant label → name of the node, for display
    durable: bool  # False: the scheduler keeps its jobs in memory, and a restart of it loses them
    cause: Cause | None = None
    tasks: tuple[TaskStatus, ...] = ()


class JobResult(Record, frozen=True):
    """The product of the last task, with the scheduler's signed outcome of it. The chunks of a large one are asked for
    one by one.
    """

    job_id: JobId
    outcome: bytes
    product: Carried
    holder_names: dict[str, str]


class ResultChunk(Record, frozen=True):
    job_id: JobId
    digest: Digest
    data: bytes


class JobList(Record, frozen=True):
    jobs: tuple[JobStatus, ...]


class JobRemoved(Record, frozen=True):
    """`already`: it had been removed before it was asked for. A result that another job has too is not freed."""

    job_id: JobId
    removed_ms: WallMs
    by: RemovedBy
    freed_bytes: int
    already: bool


class JobsRemoved(Record, frozen=True):
    """`left`: so many more are to be removed, and are when it is asked again."""

    job_ids: tuple[JobId, ...]
    freed_bytes: int
    left: int


# --- scheduler → worker ---------------------------------------------------------------------------


class TaskOffer(Record, frozen=True):
    index: int
    attempt: int
    inputs: tuple[Carried, ...]  # products of the tasks before it


class Tasks(Record, frozen=True):
    """Tasks of one job for one worker. The worker derives each of them itself and compares."""

    job_id: JobId
    order: SignedOrder
    plan: bytes
    tasks: tuple[TaskOffer, ...]


class Renewed(Record, frozen=True):
    """The lease is renewed from the moment at which the worker sent the renewal with this token."""

    job_id: JobId
    token: int


class Stop(Record, frozen=True):
    """The job has ended, or its submitter cancelled it (then with the signed cancel): stop and forget its tasks."""

    job_id: JobId
    cancel: bytes = b""
    ended: bool = False


# --- worker → scheduler ---------------------------------------------------------------------------


class TaskResult(Record, frozen=True):
    outcome: bytes  # envelope of the signed outcome
    product: Carried = b""


class Results(Record, frozen=True):
    job_id: JobId
    results: tuple[TaskResult, ...]


class Renew(Record, frozen=True):
    """The worker is alive and at work on these tasks."""

    job_id: JobId
    indexes: tuple[int, ...]
    token: int


# --- worker → worker ------------------------------------------------------------------------------


class AskChunk(Record, frozen=True):
    """One chunk of the product of task `index`, for a task of the same job that takes this product."""

    job_id: JobId
    index: TaskIndex
    digest: Digest


class Chunk(Record, frozen=True):
    job_id: JobId
    index: TaskIndex
    digest: Digest
    data: bytes
