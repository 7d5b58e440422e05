"""How long a scheduler keeps ended jobs and their results, how much room it gives them, and who removes them before.

Three ways lead out of the store: the time of a job is over, the operator removes it, or its submitter does. A job goes
as a whole, in one transaction: row, log, result, and in their place stays the short row of its removal. That one is
kept at least as long as its order could be started again, so that no order runs twice. What workers keep of orders
that they executed, and the audit, are not touched by any of this.

Room is never made by itself: a job whose result might not fit is refused before it is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final

from protocol import kinds
from protocol.errors import Code, DeniedError
from protocol.ids import short_job_id
from protocol.limits import (
    CLOCK_NOTE_MS,
    JOBS_KEPT_MAX,
    JOBS_LIVE_MAX,
    JOBS_REMOVED_MAX,
    REMOVED_KEEP_MS,
    RETENTION_JOBS_AT_ONCE,
    RETENTION_LOGS_AT_ONCE,
    RETENTION_LOOK_MS,
    RETENTION_PAUSE_MS,
)
from protocol.machines.answers import asker, tell
from protocol.machines.contract import (
    Audit,
    Drop,
    DropLog,
    DropOldLogs,
    Effect,
    Effects,
    Now,
    Persist,
    Put,
    Received,
    Release,
    SetTimer,
    Write,
    unexpected,
)
from protocol.machines.events import OPERATOR
from protocol.machines.job_book import JobBook
from protocol.machines.jobs import JobRow
from protocol.machines.removals import RemovedRow
from protocol.machines.stored_results import ResultsView, RetentionRules
from protocol.machines.witnessed_time import WitnessedTime
from protocol.plan.artifact import result_bytes_max
from protocol.plan.order import VerifiedOrder
from protocol.wire.codec import encode_record
from protocol.wire.jobs import AskRemove, AskRemoveEnded, JobsRemoved, RemovedBy
from protocol.words import exact_span, size

TIMER: Final = "retention"


class Retention:
    """The part of the scheduler that lets go of jobs. Methods that take a request raise DeniedError."""

    def __init__(self, rules: RetentionRules, book: JobBook, rows: Mapping[str, list[tuple[bytes, bytes]]]) -> None:
        self._rules = rules
        self._book = book
        self._noted_ms = max((int.from_bytes(value) for _, value in rows.get(kinds.WITNESSED, [])), default=0)
        # Without a note the newest end of a job is a time that this node has seen.
        self._clock = WitnessedTime(self._noted_ms or max((row.ended_ms for row in book.ended.values()), default=0))

    # --- room ------------------------------------------------------------------------------------

    def check_new(self, verified: VerifiedOrder) -> None:
        """Whether there is room for this job and its result, and it is not one that was removed. Raises DeniedError."""
        removed = self._book.removed.get(verified.job_id)
        if removed is not None:
            raise removed.refusal()
        if len(self._book.live) >= JOBS_LIVE_MAX:
            raise DeniedError(
                Code.BUSY, f"this node already leads {JOBS_LIVE_MAX} jobs", next_step="submit again later"
            )
        step = "remove results with `flotta-p2p job remove`, or submit to another node of the project"
        if len(self._book.live) + len(self._book.ended) >= JOBS_KEPT_MAX:
            raise DeniedError(
                Code.QUOTA_REACHED,
                f"this node keeps {JOBS_KEPT_MAX:,} jobs already, the most that it can",
                next_step=f"{step}, or keep them for a shorter time (settings.results.keep_days)",
            )
        self._check_quota(result_bytes_max(verified.artifact), step)

    def _check_quota(self, wanted_bytes: int, step: str) -> None:
        used_bytes, reserved_bytes = self._book.stored.used_bytes, self._reserved_bytes()
        quota_bytes = self._rules.quota_bytes
        if used_bytes + reserved_bytes + wanted_bytes <= quota_bytes:
            return
        if used_bytes + wanted_bytes <= quota_bytes:
            step = f"wait until running jobs have ended, or cancel some; else {step}"
        raise DeniedError(
            Code.QUOTA_REACHED,
            f"of {quota_bytes >> 20:,} MiB for results (settings.results.quota_mb) this node uses {size(used_bytes)} "
            f"and has reserved {size(reserved_bytes)} for running jobs: the result of one more might not fit",
            next_step=f"{step}, or raise the quota",
        )

    def view(self) -> ResultsView:
        return ResultsView(
            jobs=len(self._book.ended),
            used_bytes=self._book.stored.used_bytes,
            reserved_bytes=self._reserved_bytes(),
            quota_bytes=self._rules.quota_bytes,
            keep_ms=self._rules.keep_ms,
            clock_in_doubt=self._clock.in_doubt,
        )

    def _reserved_bytes(self) -> int:
        return sum(result_bytes_max(job.verified.artifact) for job in self._book.live.values())

    # --- the time is over ------------------------------------------------------------------------

    def look(self, now: Now) -> list[Effect]:
        """At every start and again and again: removes some of what is due, and sets the timer for the rest."""
        sure_ms = self._clock.look(now)
        writes = [*self._note(sure_ms), *self._forget_removals(sure_ms)]
        more = False
        if self._rules.keep_ms is not None:
            limit_ms = sure_ms - self._rules.keep_ms
            due = (job_id for job_id, row in self._book.ended.items() if row.ended_ms <= limit_ms)
            taken = list(islice(due, self._room_for_removals()))
            for job_id in taken:
                writes += self._remove(job_id, "retention", now)
            more = len(taken) == RETENTION_JOBS_AT_ONCE
            writes.append(DropOldLogs(before_ms=limit_ms, rows_max=RETENTION_LOGS_AT_ONCE))
        timer = SetTimer(name=TIMER, at_ns=now.after_ms(RETENTION_PAUSE_MS if more else RETENTION_LOOK_MS))
        return [*([Persist(writes=tuple(writes))] if writes else []), timer]

    def _note(self, sure_ms: int) -> list[Write]:
        """For the next start, which has not seen the time until then."""
        if abs(sure_ms - self._noted_ms) < CLOCK_NOTE_MS:
            return []
        self._noted_ms = sure_ms
        return [Put(kind=kinds.WITNESSED, key=b"", value=max(0, sure_ms).to_bytes(8))]

    def _forget_removals(self, sure_ms: int) -> list[Write]:
        """Of the oldest: when their time is over, or there are too many; but none whose order still lives."""
        surplus = len(self._book.removed) - JOBS_REMOVED_MAX + RETENTION_JOBS_AT_ONCE
        dead = [
            job_id
            for number, (job_id, row) in enumerate(self._book.removed.items())
            if row.order_ends_ms < sure_ms and (number < surplus or row.removed_ms + REMOVED_KEEP_MS <= sure_ms)
        ]
        for job_id in dead:
            del self._book.removed[job_id]
        return [Drop(kind=kinds.REMOVED, key=job_id) for job_id in dead]

    # --- somebody asks ---------------------------------------------------------------------------

    def asked(self, event: Received, now: Now) -> Effects:
        """A removal by the operator or a submitter: answered once it is committed."""
        match event.message:
            case AskRemove(job_id=job_id):
                return self._remove_one(event, job_id, now)
            case AskRemoveEnded(ended_ms_ago=ended_ms_ago):
                sure_ms = min(now.wall_ms, self._clock.look(now))  # a clock that jumped ahead is not believed yet
                return self._remove_ended(event, sure_ms - ended_ms_ago, now)
        raise unexpected(event.message)

    def _remove_one(self, event: Received, job_id: bytes, now: Now) -> Effects:
        removed = self._book.removed.get(job_id)
        if removed is not None and removed.is_of(event.sender):
            return (tell(event, removed.answer(job_id, already=True)),)
        row = self._book.permitted(event.sender, job_id)
        if job_id in self._book.live:
            raise DeniedError(
                Code.JOB_NOT_ENDED,
                f"the job is {row.state}, and only one that has ended can be removed",
                next_step=f"cancel it with `flotta-p2p job cancel {short_job_id(job_id)}`, and then remove it",
            )
        self._check_removable()
        writes = self._remove(job_id, _by(event), now)
        answer = self._book.removed[job_id].answer(job_id, already=False)
        return (Persist(writes=tuple(writes)), tell(event, answer))

    def _remove_ended(self, event: Received, limit_ms: int, now: Now) -> Effects:
        found = [
            job_id
            for job_id, row in self._book.ended.items()
            if row.ended_ms <= limit_ms and self._book.sees(event.sender, row)
        ]
        if not found:
            return (tell(event, JobsRemoved(job_ids=(), freed_bytes=0, left=0)),)
        self._check_removable()
        taken = found[: self._room_for_removals()]
        writes = [write for job_id in taken for write in self._remove(job_id, _by(event), now)]
        freed_bytes = sum(self._book.removed[job_id].freed_bytes for job_id in taken)
        answer = JobsRemoved(job_ids=tuple(taken), freed_bytes=freed_bytes, left=len(found) - len(taken))
        return (Persist(writes=tuple(writes)), tell(event, answer))

    # --- small parts -----------------------------------------------------------------------------

    def _check_removable(self) -> None:
        if not self._room_for_removals():
            raise DeniedError(
                Code.BUSY,
                f"{JOBS_REMOVED_MAX:,} removed jobs have orders that could still be started, so they are remembered",
                next_step="remove more once those have expired, which takes a week at most",
            )

    def _room_for_removals(self) -> int:
        return max(0, min(RETENTION_JOBS_AT_ONCE, JOBS_REMOVED_MAX - len(self._book.removed)))

    def _remove(self, job_id: bytes, by: RemovedBy, now: Now) -> list[Write]:
        """Everything of an ended job, and in its place the row of its removal."""
        row, free = self._book.forget(job_id)
        removed = self._book.removed[job_id] = RemovedRow(
            submitter=row.submitter_id,
            by=by,
            ended_ms=row.ended_ms,
            removed_ms=now.wall_ms,
            order_ends_ms=row.order_ends_ms,
            freed_bytes=sum(free.values()),
            kept_ms=(self._rules.keep_ms or 0) if by == "retention" else 0,
        )
        return [
            Drop(kind=kinds.JOB, key=job_id),
            DropLog(job_id=job_id),
            *([Release(digests=tuple(free))] if free else []),
            Put(kind=kinds.REMOVED, key=job_id, value=encode_record(removed)),
            Audit(wall_ms=now.wall_ms, actor=_actor(row, by), event=_audited(removed), detail=job_id),
        ]


def _by(event: Received) -> RemovedBy:
    return "operator" if event.sender == OPERATOR else "submitter"


def _actor(row: JobRow, by: RemovedBy) -> str:
    if by == "submitter":
        return asker(row.submitter_id)
    return "operator" if by == "operator" else "scheduler"


def _audited(removed: RemovedRow) -> str:
    what = f"job removed, {removed.freed_bytes} bytes of results"
    return f"{what}: kept for {exact_span(removed.kept_ms)}" if removed.by == "retention" else what
