"""The worker's record of one job and of its tasks, in memory and in the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from protocol.errors import Code, DeniedError, FlottaError
from protocol.limits import (
    INLINE_BYTES_MAX,
    NAME_CHARS_MAX,
    RENEWALS_PER_LEASE,
    SENTENCE_CHARS_MAX,
    TASK_FETCH_BYTES_MAX,
    TASK_RUN_MS_MAX,
)
from protocol.machines.contract import Received, StartTask
from protocol.machines.events import TaskDied
from protocol.plan.operations import operation
from protocol.plan.order import VerifiedOrder
from protocol.plan.plan import Outcome, Task, labels_of, sign_outcome
from protocol.plan.products import Carried, Manifest, inline_bytes, product_bytes, product_digest
from protocol.plan.tasks import TaskRequest
from protocol.record import Record
from protocol.signing import SigningKey
from protocol.wire.jobs import Results, TaskOffer, TaskResult

_DIED: Final[dict[str, tuple[Code, str]]] = {
    "crashed": (Code.TASK_CRASHED, "the process that computed the task died"),
    "out-of-memory": (Code.TASK_OUT_OF_MEMORY, "the task needed more memory than this node allows"),
    "out-of-time": (Code.TASK_OUT_OF_TIME, f"the task ran longer than {TASK_RUN_MS_MAX // 1000} s"),
}
AttemptState = Literal["running", "succeeded", "failed", "cancelled", "lost"]


class AttemptRow(Record, frozen=True):
    """One task at this worker: what it takes to run it again, or to give its answer again."""

    job_id: bytes
    index: int
    attempt: int
    epoch: int
    scheduler: bytes
    project: bytes
    operation: str
    effect: Literal["pure", "idempotent", "once"]
    source: str
    artifact: bytes
    inputs: tuple[Carried, ...]
    labels: tuple[str, ...]
    lease_ms: int
    state: AttemptState = "running"
    product: Carried = b""
    code: str = ""
    sentence: str = ""
    next_step: str = ""
    started_ms: int = 0
    ended_ms: int = 0
    makers: tuple[tuple[int, bytes], ...] = ()  # where an input is large: of each the index of its task, and the node
    takers: tuple[bytes, ...] = ()  # the nodes whose tasks take the product; of a result its scheduler
    inline_bytes: int = INLINE_BYTES_MAX  # a larger product is carried as a manifest

    @classmethod
    def taken(
        cls,
        event: Received,
        verified: VerifiedOrder,
        task: Task,
        offer: TaskOffer,
        tasks: tuple[Task, ...],
        now_wall_ms: int,
    ) -> AttemptRow:
        """A task that this worker runs from now on. Raises DeniedError(RESULT_TOO_LARGE) for more than it can take."""
        makers = _makers(task, offer.inputs, tasks)
        takers = [one for one in tasks if task.index in one.inputs and takes_products(one)]
        return cls(
            job_id=verified.job_id,
            index=offer.index,
            attempt=offer.attempt,
            epoch=event.fence,
            scheduler=event.sender,
            project=verified.artifact.project,
            operation=task.operation,
            effect=task.effect,
            source=task.source,
            artifact=verified.order.artifact,
            inputs=offer.inputs,
            labels=labels_of(task, tasks),
            lease_ms=verified.order.limits.lease_ms,
            started_ms=now_wall_ms,
            makers=makers,
            takers=tuple(dict.fromkeys(one.node for one in takers)) if task is not tasks[-1] else (event.sender,),
            inline_bytes=inline_bytes(max((len(one.inputs) for one in takers), default=0)),
        )

    @classmethod
    def refused(
        cls, event: Received, job_id: bytes, offer: TaskOffer, error: FlottaError, now_wall_ms: int
    ) -> AttemptRow:
        """A task that this worker will not run; never stored."""
        return cls(
            job_id=job_id,
            index=offer.index,
            attempt=offer.attempt,
            epoch=event.fence,
            scheduler=event.sender,
            project=event.project,
            operation="",
            effect="pure",
            source="",
            artifact=b"",
            inputs=(),
            labels=(),
            lease_ms=0,
            state="failed",
            code=error.code,
            sentence=error.sentence,
            next_step=error.next_step,
            ended_ms=now_wall_ms,
        )

    @property
    def key(self) -> bytes:
        return self.job_id + self.index.to_bytes(4)

    def start_task(self, run: int) -> StartTask:
        """The shell adds where the source lies."""
        request = TaskRequest(
            operation=self.operation,
            artifact=self.artifact,
            source=None,
            inputs=self.inputs,
            labels=self.labels,
            inline_bytes=self.inline_bytes,
        )
        return StartTask(
            key=self.key,
            job_id=self.job_id,
            source=self.source,
            request=request,
            limit_ms=TASK_RUN_MS_MAX,
            run=run,
        )

    def changed(self, **changes: Any) -> AttemptRow:
        return msgspec.structs.replace(self, **changes)

    def outcome(self) -> Outcome:
        """What the worker signs of an attempt that has ended."""
        assert self.state in ("succeeded", "failed", "cancelled")
        done = self.state == "succeeded"
        return Outcome(
            version=1,
            job_id=self.job_id,
            index=self.index,
            attempt=self.attempt,
            epoch=self.epoch,
            state=self.state,
            inputs=tuple(product_digest(data) for data in self.inputs),
            digest=product_digest(self.product) if done else b"",
            size_bytes=product_bytes(self.product) if done else 0,
            code=self.code[:NAME_CHARS_MAX],
            sentence=_reason(self.sentence),
            next_step=_reason(self.next_step),
            started_ms=self.started_ms,
            ended_ms=self.ended_ms,
        )


def _makers(task: Task, inputs: tuple[Carried, ...], tasks: tuple[Task, ...]) -> tuple[tuple[int, bytes], ...]:
    large = [
        (one.size_bytes, tasks[index])
        for index, one in zip(task.inputs, inputs, strict=True)
        if isinstance(one, Manifest)
    ]
    if large and not takes_products(task):
        raise DeniedError(Code.TASK_NOT_DERIVED, f"{task.operation} takes no products")
    for size_bytes, maker in large:
        if size_bytes > operation(maker.operation).product_bytes_max:
            raise DeniedError(Code.RESULT_TOO_LARGE, f"no task of {maker.operation} makes {size_bytes} bytes")
    large_bytes = sum(size_bytes for size_bytes, _ in large)
    if large_bytes > TASK_FETCH_BYTES_MAX:
        raise DeniedError(
            Code.RESULT_TOO_LARGE,
            f"{task.operation} takes products of {large_bytes} bytes, at most {TASK_FETCH_BYTES_MAX} can be fetched",
            next_step="ask for less, or of fewer holders",
        )
    return tuple((index, tasks[index].node) for index in task.inputs) if large else ()


def results_of(rows: Sequence[AttemptRow], key: SigningKey) -> Results:
    """The signed outcomes of tasks of one job."""
    results = tuple(TaskResult(outcome=sign_outcome(row.outcome(), key), product=row.product) for row in rows)
    return Results(job_id=rows[0].job_id, results=results)


def death(event: TaskDied) -> tuple[Code, str]:
    """Why a task failed whose child process ended under it."""
    code, sentence = _DIED[event.reason]
    return code, f"{sentence} ({event.detail})" if event.detail else sentence


def takes_products(task: Task) -> bool:
    return operation(task.operation).takes == "products"


def withdrawal(*, left: bool) -> tuple[Code, str]:
    """Why a task is stopped whose project this node no longer holds."""
    if left:
        return Code.NODE_LEFT, "this holder has left its projects"
    return Code.PROJECT_ROTATED, "this holder no longer holds the project's token: it was rotated or taken away"


def _reason(text: str) -> str:
    """A sentence may quote what came in; it is shown shortened, and says so."""
    return text if len(text) <= SENTENCE_CHARS_MAX else text[: SENTENCE_CHARS_MAX - 2] + " …"


class Lease:
    """The worker's side of a lease: it holds from the moment at which the last renewed renewal was sent."""

    def __init__(self, lease_ms: int, now_ns: int) -> None:
        self._lease_ns = lease_ms * 1_000_000
        self.until_ns = now_ns + self._lease_ns
        self._sent: dict[int, int] = {}  # limits.RENEWALS_PER_LEASE × 2: token → boot time
        self._token = 0

    @property
    def pause_ns(self) -> int:
        return self._lease_ns // RENEWALS_PER_LEASE

    def next_ns(self, now_ns: int) -> int:
        """When to look again: a pause later, but no later than the moment at which the lease is over."""
        due_ns = now_ns + self.pause_ns
        return min(due_ns, self.until_ns) if now_ns < self.until_ns else due_ns

    def renewal(self, now_ns: int) -> int:
        self._token += 1
        self._sent[self._token] = now_ns
        for stale in [token for token in self._sent if token <= self._token - 2 * RENEWALS_PER_LEASE]:
            del self._sent[stale]
        return self._token

    def renewed(self, token: int) -> None:
        sent_ns = self._sent.pop(token, None)
        if sent_ns is not None:
            self.until_ns = max(self.until_ns, sent_ns + self._lease_ns)

    def restart(self, now_ns: int) -> None:
        self.until_ns = now_ns + self._lease_ns
