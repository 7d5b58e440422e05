"""What submitters and the operator ask about jobs. Nothing here changes a job."""

from __future__ import annotations

import heapq

import msgspec

from protocol.errors import Code, DeniedError, FlottaError
from protocol.findings import Finding
from protocol.ids import NODE_ID_BYTES, format_id, short_job_id
from protocol.limits import JOBS_LISTED_MAX, RESOURCE_BYTES_MAX, WATCHERS_MAX
from protocol.machines.contract import Effects, Now, Publish, Received, Refuse, Send
from protocol.machines.events import ResourceFound, ResourceWanted
from protocol.machines.job_book import JobBook
from protocol.machines.jobs import Job, JobRow
from protocol.machines.tickets import Tickets
from protocol.plan.products import Carried, Manifest, chunk_digest, is_large_result
from protocol.wire.codec import decode_record
from protocol.wire.jobs import (
    ENDED,
    AskJob,
    AskJobs,
    AskResult,
    AskResultChunk,
    Cause,
    JobList,
    JobResult,
    JobStatus,
    ResultChunk,
    TaskStatus,
)

_CAUSE_CHARS_IN_LISTS = 160  # a list of JOBS_LISTED_MAX causes must fit into one message; `job show` has the whole


def tell(event: Received, message: object) -> Send:
    """The answer to a request."""
    return Send(message=message, session=event.session, reply_to=event.message_id)


def refused(event: Received, error: FlottaError) -> Refuse:
    """What speaks against a request, for whoever made it."""
    return Refuse(
        code=error.code,
        sentence=error.sentence,
        session=event.session,
        reply_to=event.message_id,
        next_step=error.next_step,
    )


def asker(sender: bytes) -> str:
    """Who made a request, for the audit."""
    return format_id(sender) if len(sender) == NODE_ID_BYTES else "operator"


class Answers:
    """Reads the scheduler's book. Methods that take a request raise DeniedError for whoever may not know."""

    def __init__(self, own_id: bytes, book: JobBook, *, client: bool, durable: bool, hands_out: bool) -> None:
        self._own_id = own_id
        self._client = client
        self._hands_out = hands_out
        self._durable = durable
        self._book = book
        self.room_lost: Finding | None = None  # what is wrong with this node's disk, as its health says
        self._asked = Tickets[tuple[JobRow, Received]](WATCHERS_MAX)  # results and chunks being read

    def one(self, event: Received, ask: AskJob) -> Effects:
        row = self._book.permitted(event.sender, ask.job_id)
        return (tell(event, self.status(row) if ask.with_tasks else self.news(row)),)

    def many(self, event: Received, ask: AskJobs) -> Effects:
        newest = max(1, min(ask.newest, JOBS_LISTED_MAX))
        mine = heapq.nsmallest(
            newest,
            (row for row in self._book.rows() if self._book.sees(event.sender, row)),
            key=lambda row: (-row.submitted_ms, row.job_id),
        )
        return (tell(event, JobList(jobs=tuple(self._brief(row) for row in mine))),)

    def check_leads(self) -> None:
        """Whether this node may lead a job, and hand out its result. Raises DeniedError."""
        if self._client:
            raise DeniedError(
                Code.POLICY_DENIED,
                "this node is a client, so it leads no job",
                next_step="submit to its scheduler: flotta-p2p submit --to HOST:PORT, the address that it joined",
            )
        if not self._hands_out:
            raise DeniedError(
                Code.POLICY_DENIED,
                "this node hands out no results (node.allow_resource_download is false), so it leads no job",
                next_step="submit to another node of the project",
            )

    def check_room(self) -> None:
        """Whether this node can keep what it would promise. Raises DeniedError, without a word of its folders."""
        if self.room_lost is not None:
            raise DeniedError(
                self.room_lost.code or Code.DISK_FULL,
                "this node's disk is full, or cannot be written, so it leads no new job",
                next_step="submit to another node of the project; there: flotta-p2p status",
            )

    def result(self, event: Received, ask: AskResult, now: Now) -> Effects:
        return self._read(event, self._with_result(event, ask.job_id), now)

    def chunk(self, event: Received, ask: AskResultChunk, now: Now) -> Effects:
        """Its manifest is read first: it says whether this is a chunk of that result."""
        row = self._with_result(event, ask.job_id)
        if not is_large_result(row.result_bytes):
            raise DeniedError(Code.RESULT_NOT_READY, "the result of this job has no chunks")
        return self._read(event, row, now)

    def _with_result(self, event: Received, job_id: bytes) -> JobRow:
        self.check_leads()
        row = self._book.permitted(event.sender, job_id)
        if row.state != "succeeded":
            wait = f"wait for it with `flotta-p2p job wait {short_job_id(job_id)}`"
            raise DeniedError(
                Code.RESULT_NOT_READY,
                f"the job is {row.state} and has no result" + (f": {row.cause.sentence}" if row.cause else ""),
                next_step="" if row.state in ENDED else wait,
            )
        return row

    def _read(self, event: Received, row: JobRow, now: Now, digest: bytes = b"") -> Effects:
        """The resource of this digest, or the result itself."""
        ticket = self._asked.take((row, event), now)
        if ticket is None:
            raise DeniedError(Code.BUSY, "too many results are asked for at once", next_step="ask again in a moment")
        return (Publish(event=ResourceWanted(ticket=ticket, digest=digest or row.digest)),)

    def found(self, found: ResourceFound, now: Now) -> Effects:
        """The store has read a result, or has it no longer."""
        asked = self._asked.pop(found.ticket)
        if asked is None:
            return ()
        row, event = asked
        data = found.data
        if data is None:
            refusal = Refuse(
                code=Code.RESULT_NOT_READY,
                sentence="the result is no longer stored on this node",
                session=event.session,
                reply_to=event.message_id,
                next_step="submit again",
            )
            return (refusal,)
        if is_large_result(row.result_bytes):
            return self._large(row, event, data, now)
        return (tell(event, self._result(row, data)),)

    def _large(self, row: JobRow, event: Received, data: bytes, now: Now) -> Effects:
        """`data`: the manifest of a large result, or the chunk of it that was asked for."""
        ask = event.message
        if isinstance(ask, AskResultChunk) and chunk_digest(data) == ask.digest:
            return (tell(event, ResultChunk(job_id=row.job_id, digest=ask.digest, data=data)),)
        manifest = decode_record(data, Manifest, bytes_max=RESOURCE_BYTES_MAX)
        if not isinstance(ask, AskResultChunk):
            return (tell(event, self._result(row, manifest)),)
        if ask.digest not in manifest.chunks:
            return (refused(event, DeniedError(Code.RESULT_NOT_READY, "this is no chunk of that result")),)
        return self._read(event, row, now, ask.digest)

    def _result(self, row: JobRow, product: Carried) -> JobResult:
        return JobResult(job_id=row.job_id, outcome=row.outcome, product=product, holder_names=row.holder_names)

    def status(self, row: JobRow) -> JobStatus:
        """All that is known of a job, with its tasks while it is live."""
        job = self._book.live.get(row.job_id)
        return self._status(row, job, row.holder_names, row.cause, () if job is None else job.task_statuses())

    def news(self, row: JobRow) -> JobStatus:
        """For those who watch a job, at every change of it: without its tasks, which are there for who asks."""
        return self._status(row, self._book.live.get(row.job_id), row.holder_names, row.cause, ())

    def _brief(self, row: JobRow) -> JobStatus:
        cause = row.cause
        if cause is not None and len(cause.sentence) > _CAUSE_CHARS_IN_LISTS:
            cause = msgspec.structs.replace(cause, sentence=cause.sentence[:_CAUSE_CHARS_IN_LISTS] + " …")
        if cause is not None:
            cause = msgspec.structs.replace(cause, next_step="")
        return self._status(row, self._book.live.get(row.job_id), {}, cause, ())

    def _status(
        self, row: JobRow, job: Job | None, names: dict[str, str], cause: Cause | None, tasks: tuple[TaskStatus, ...]
    ) -> JobStatus:
        return JobStatus(
            job_id=row.job_id,
            project=row.project,
            submitter=row.submitter_id,
            state=row.state,
            epoch=row.epoch,
            submitted_ms=row.submitted_ms,
            ended_ms=row.ended_ms,
            tasks_done=row.tasks_done if job is None else job.done(),
            tasks_all=row.tasks_all if job is None else len(job.tasks),
            cancelling=bool(row.cancel) and row.state not in ENDED,
            scheduler=self._own_id,
            holder_names=names,
            durable=self._durable,
            cause=cause,
            tasks=tasks,
        )
