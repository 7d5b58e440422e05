"""Scheduling: a submitted order becomes a plan, tasks and one result, and every job ends.

The scheduler chooses where and when, never what. Leases make sure that a holder that went silent is noticed; the
epoch (this node's boot id)
fences off everything that an earlier life of the scheduler began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from protocol import kinds
from protocol.errors import Code, DeniedError, FlottaError, RemoteProtocolError, WorkflowError
from protocol.ids import format_id, format_job_id
from protocol.limits import JOBS_KEPT_MAX, JOBS_LIVE_MAX, LEASE_GRACE_MS, SOURCES_MAX, TASK_ATTEMPTS_MAX
from protocol.machines.contract import (
    Audit,
    ClearTimer,
    Drop,
    Effect,
    Effects,
    Keep,
    LogJob,
    Now,
    Persist,
    Publish,
    Put,
    Received,
    Record,
    Refuse,
    Send,
    SetTimer,
    Stories,
    TimerFired,
    Write,
    writes_first,
)
from protocol.machines.events import (
    OPERATOR,
    JobChanged,
    PeerAway,
    PeerSeen,
    ProjectsHeld,
    ResourceFound,
    ResourceWanted,
)
from protocol.machines.jobs import Job, JobRow, TaskRow, TaskState, restore_job
from protocol.plan.order import VerifiedOrder, check_not_expired, verify_cancel, verify_order
from protocol.plan.plan import (
    Outcome,
    Participant,
    Plan,
    check_plan,
    check_product,
    derive,
    sign_plan,
    verify_outcome,
)
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey
from protocol.wire.codec import decode_record, encode_record
from protocol.wire.jobs import (
    ENDED,
    AskCancel,
    AskJob,
    AskJobs,
    AskResult,
    Cause,
    JobList,
    JobResult,
    JobState,
    JobStatus,
    Renew,
    Renewed,
    Results,
    Stop,
    Submit,
    TaskOffer,
    Tasks,
)
from protocol.wire.peers import SourceOffer

# States of a job. "Settled" is the moment at which a cancelled job hears of its last task, or its lease is over.
TRANSITIONS: Final[dict[JobState, dict[str, JobState]]] = {
    "submitted": {"PlanSigned": "planned"},
    "planned": {"TasksOffered": "running"},
    "running": {
        "TasksOffered": "running",
        "TaskSucceeded": "running",
        "LastTaskSucceeded": "succeeded",
        "TaskFailed": "failed",
        "LeaseLost": "failed",
        "Settled": "cancelled",
        "DeadlinePassed": "expired",
    },
    "succeeded": {},
    "failed": {},
    "cancelled": {},
    "expired": {},
}
_ROW_BYTES_MAX: Final = 64 * 1024 * 1024  # our own rows, read back from our own store


class _Holder:
    """What the scheduler knows of one node with sources."""

    def __init__(self, name: str, sources: tuple[SourceOffer, ...], present: bool) -> None:
        self.name = name
        self.sources = sources
        self.present = present


class SchedulingSnapshot(Record, frozen=True):
    live: tuple[JobStatus, ...]
    ended: int
    holders: dict[str, int]


class Scheduling:
    """Machine of the scheduler actor."""

    def __init__(
        self,
        key: SigningKey,
        own_id: bytes,
        own_name: str,
        epoch: int,
        own_sources: Mapping[str, frozenset[bytes]],
        rows: Mapping[str, list[tuple[bytes, bytes]]],
    ) -> None:
        assert len(own_sources) <= SOURCES_MAX
        self._key = key
        self._own_id = own_id
        self._epoch = epoch
        self._projects: dict[bytes, ProjectKey] = {}  # limits.PROJECTS_MAX
        offers = tuple(
            SourceOffer(name=name, project=p) for name, ps in sorted(own_sources.items()) for p in sorted(ps)
        )
        self._holders = {own_id: _Holder(own_name, offers, True)}  # limits.PEERS_MAX
        self._jobs: dict[bytes, Job] = {}  # limits.JOBS_LIVE_MAX
        self._ended: dict[bytes, JobRow] = {}  # limits.JOBS_KEPT_MAX
        self._asked: dict[int, tuple[JobRow, Received]] = {}  # limits.WATCHERS_MAX: results being fetched
        self._tickets = 0
        self._stories = Stories()
        for _, value in rows.get(kinds.JOB, []):
            self._restore(decode_record(value, JobRow, bytes_max=_ROW_BYTES_MAX), rows)

    def begin(self, now: Now) -> Effects:
        """After a start every live job goes on under the new epoch: a new plan, the unfinished tasks offered again."""
        effects: list[Effect] = []
        for job in list(self._jobs.values()):
            job.deadline_ns = now.after_ms(max(1, job.row.submitted_ms + job.order.limits.deadline_ms - now.wall_ms))
            for task in job.tasks:
                if task.state == "offered":
                    task.state = "waiting"
            self._sign_plan(job)
            effects += self._advance(job, now)
        return writes_first(effects)

    def step(self, event: object, now: Now) -> Effects:
        match event:
            case Received(message=Submit() as submit):
                return self._answered(event, lambda: self._submit(event, submit, now))
            case Received(message=AskJob() as ask):
                return self._answered(event, lambda: self._tell(event, self._status_for(event, ask.job_id)))
            case Received(message=AskJobs() as ask_all):
                return self._list(event, ask_all)
            case Received(message=AskResult() as ask_result):
                return self._answered(event, lambda: self._ask_result(event, ask_result))
            case Received(message=AskCancel() as ask_cancel):
                return self._answered(event, lambda: self._cancel(event, ask_cancel, now))
            case Received(message=Results() as results):
                return writes_first(self._results(event, results, now))
            case Received(message=Renew() as renew):
                return self._renew(event, renew, now)
            case TimerFired(name=name):
                return writes_first(self._timer(bytes.fromhex(name.removeprefix("job:")), now))
            case ProjectsHeld(projects=projects):
                self._projects = {project.project_id: project for project in projects}
                return ()
            case PeerSeen(node=node, name=name, sources=sources):
                self._holders[node] = _Holder(name, sources, True)
                return ()
            case PeerAway(node=node):
                if node in self._holders:
                    self._holders[node].present = False
                return ()
            case ResourceFound():
                return self._found(event)
        raise TypeError(f"scheduling takes no {type(event).__name__}")

    def check(self) -> None:
        assert len(self._jobs) <= JOBS_LIVE_MAX
        assert not self._jobs.keys() & self._ended.keys()
        for job_id, job in self._jobs.items():
            if job.row.state in ENDED:
                raise self._stories.broken(job_id, "an ended job is still live")
            if not any(task.state == "offered" for task in job.tasks):
                raise self._stories.broken(job_id, "a live job waits for nobody")

    def snapshot(self) -> SchedulingSnapshot:
        return SchedulingSnapshot(
            live=tuple(self._status(job.row, job) for job in self._jobs.values()),
            ended=len(self._ended),
            holders={format_id(node): len(holder.sources) for node, holder in self._holders.items()},
        )

    # --- submission
    # ------------------------------------------------------------------------------------------------------

    def _submit(self, event: Received, submit: Submit, now: Now) -> Effects:
        verified = verify_order(submit.order, self._projects)
        known = self._row(verified.job_id)
        if known is not None:
            return self._tell(event, self._status(known, self._jobs.get(verified.job_id)))
        if event.project and event.project != verified.artifact.project:
            raise DeniedError(Code.PROJECT_UNKNOWN, "the order is for another project than the one proved at the door")
        check_not_expired(verified.order, now.wall_ms)
        if len(self._jobs) >= JOBS_LIVE_MAX:
            raise DeniedError(
                Code.BUSY, f"this node already leads {JOBS_LIVE_MAX} jobs", next_step="submit again later"
            )
        plan = self._plan(verified)
        check_plan(plan, verified.order, self._own_id)
        job = self._create(verified, plan, now)
        self._jobs[verified.job_id] = job
        log = LogJob(job_id=job.job_id, wall_ms=now.wall_ms, event="submitted", detail=submit.order.envelope)
        audit = Audit(
            wall_ms=now.wall_ms,
            actor=format_id(event.sender) if len(event.sender) == 32 else "operator",
            event="job submitted",
            detail=job.job_id,
        )
        self._sign_plan(job)
        effects: list[Effect] = [Persist(writes=(log, audit)), *self._advance(job, now)]
        return writes_first([*effects, *self._tell(event, self._status(job.row, job))])

    def _create(self, verified: VerifiedOrder, plan: Plan, now: Now) -> Job:
        row = JobRow(
            job_id=verified.job_id,
            order=verified.signed,
            project=verified.artifact.project,
            submitter=verified.submitter,
            state="submitted",
            epoch=self._epoch,
            participants=plan.participants,
            submitted_ms=now.wall_ms,
            holder_names={one.label: self._holders[one.node].name for one in plan.participants},
        )
        tasks = [TaskState(task) for task in derive(verified.artifact, plan, self._own_id)]
        job = Job(row, verified, tasks)
        job.deadline_ns = now.after_ms(verified.order.limits.deadline_ms)
        return job

    def _plan(self, verified: VerifiedOrder) -> Plan:
        """Every known source of the project, or those of the listed nodes. Raises DeniedError(HOLDERS_MISSING)."""
        project, rule = verified.artifact.project, verified.order.participants
        participants = tuple(
            sorted(
                Participant(node=node, source=offer.name)
                for node, holder in self._holders.items()
                for offer in holder.sources
                if offer.project == project and (rule.rule == "all" or node in rule.nodes)
            )
        )
        holders = {one.node for one in participants}
        missing = [node for node in rule.nodes if node not in holders]
        if missing:
            raise DeniedError(
                Code.HOLDERS_MISSING,
                f"the node {format_id(missing[0])} offers no source of this project here",
                next_step="see `flotta-p2p peers`, and wait until it is present",
            )
        if len(holders) < rule.holders_min:
            raise DeniedError(
                Code.HOLDERS_MISSING,
                f"{len(holders)} holders of this project are known here, the order asks for {rule.holders_min} or more",
                next_step="see `flotta-p2p peers`; a holder lists the project's token under its data source",
            )
        return Plan(version=1, job_id=verified.job_id, epoch=self._epoch, participants=participants)

    def _sign_plan(self, job: Job) -> None:
        plan = Plan(version=1, job_id=job.job_id, epoch=self._epoch, participants=job.row.participants)
        job.plan_envelope = sign_plan(plan, self._key)
        job.update(epoch=self._epoch)
        if job.row.state == "submitted":
            self._move(job, "PlanSigned")

    # --- the task graph
    # ----------------------------------------------------------------------------------------------------

    def _advance(self, job: Job, now: Now) -> list[Effect]:
        """Offers every task whose inputs are there, one message for each worker, and stores the job."""
        if job.row.cancel:
            return self._settle(job, now)
        ready: dict[bytes, list[TaskState]] = {}
        for state in job.tasks:
            if state.state == "waiting" and all(job.tasks[i].state == "succeeded" for i in state.task.inputs):
                ready.setdefault(state.task.node, []).append(state)
        effects: list[Effect] = []
        for node, states in ready.items():
            offers = tuple(
                TaskOffer(
                    index=state.task.index,
                    attempt=state.attempt,
                    inputs=tuple(job.tasks[i].product for i in state.task.inputs),
                )
                for state in states
            )
            tasks = Tasks(job_id=job.job_id, order=job.row.order, plan=job.plan_envelope, tasks=offers)
            effects.append(Send(message=tasks, to=node, project=job.row.project, fence=self._epoch))
            for state in states:
                state.state = "offered"
                state.lease_until_ns = now.after_ms(job.order.limits.lease_ms + LEASE_GRACE_MS)
        if ready:
            self._move(job, "TasksOffered")
        return [self._stored(job), *effects, *self._watch(job)]

    def _results(self, event: Received, results: Results, now: Now) -> list[Effect]:
        job = self._jobs.get(results.job_id)
        if job is None:
            code = Code.JOB_ENDED if results.job_id in self._ended else Code.JOB_UNKNOWN
            stop = Send(message=Stop(job_id=results.job_id, ended=True), to=event.sender, project=event.project)
            return [Refuse(code=code, sentence="a result of a job that is not live here"), stop]
        effects: list[Effect] = []
        for result in results.results:
            if job.row.state in ENDED:
                break
            try:
                outcome, signer = verify_outcome(result.outcome)
                self._check_outcome(job, outcome, signer, event.sender)
                check_product(outcome, result.product)
            except (RemoteProtocolError, DeniedError) as error:
                effects.append(Refuse(code=error.code, sentence=error.sentence))
                continue
            effects += self._accept(job, job.tasks[outcome.index], outcome, result.outcome, result.product, now)
        if job.row.state not in ENDED:
            effects += self._advance(job, now)
        return effects

    def _check_outcome(self, job: Job, outcome: Outcome, signer: bytes, sender: bytes) -> None:
        """Only the worker of a task, under the current epoch and attempt, says how the task ended, and says it once."""
        if outcome.job_id != job.job_id or outcome.index >= len(job.tasks):
            raise RemoteProtocolError(Code.TASK_NOT_DERIVED, "an outcome of a task that is not in the plan")
        state = job.tasks[outcome.index]
        if signer != sender or signer != state.task.node:
            raise RemoteProtocolError(Code.SENDER_WRONG, "an outcome signed by a node that does not run the task")
        if outcome.epoch != self._epoch or outcome.attempt != state.attempt:
            raise DeniedError(Code.EPOCH_OLD, "an outcome of an older epoch or attempt")
        if state.state != "offered":
            raise DeniedError(Code.ALREADY_RUN, "the task has its outcome already")
        expected = tuple(job.tasks[i].digest for i in state.task.inputs)
        if outcome.state == "succeeded" and outcome.inputs != expected:
            raise RemoteProtocolError(Code.RESULT_ALTERED, "an outcome computed from other inputs")

    def _accept(
        self, job: Job, state: TaskState, outcome: Outcome, envelope: bytes, product: bytes, now: Now
    ) -> list[Effect]:
        if outcome.state == "succeeded":
            state.succeed(outcome, product)
            row = Put(kind=kinds.TASK, key=job.task_key(outcome.index), value=encode_record(state.row()))
            log = self._log(job, now, "task succeeded", outcome.index)
            effects: list[Effect] = [Persist(writes=(row, log))]
            if outcome.index == len(job.tasks) - 1 and not job.row.cancel:
                self._move(job, "LastTaskSucceeded")
                job.update(digest=outcome.digest, outcome=envelope)
                keep = Keep(digest=outcome.digest, data=product)
                return [*effects, Persist(writes=(keep,)), *self._end(job, None, now)]
            self._move(job, "TaskSucceeded")
            return effects
        if job.row.cancel or outcome.state == "cancelled":
            state.state = "stopped"
            return [Persist(writes=(self._log(job, now, "task stopped", outcome.index),))]
        if outcome.code == Code.TASK_CRASHED and state.task.effect != "once" and state.attempt < TASK_ATTEMPTS_MAX:
            state.attempt += 1
            state.state = "waiting"
            row = Put(kind=kinds.TASK, key=job.task_key(outcome.index), value=encode_record(state.row()))
            return [Persist(writes=(row, self._log(job, now, "task crashed, tried again", outcome.index)))]
        self._move(job, "TaskFailed")
        return self._end(job, self._cause_of(job, state, outcome), now)

    def _cause_of(self, job: Job, state: TaskState, outcome: Outcome) -> Cause:
        return Cause(
            code=outcome.code,
            sentence=outcome.sentence,
            node=state.task.node,
            node_name=self._name(state.task.node),
            source=state.task.source,
            next_step=outcome.next_step,
        )

    # --- leases, deadlines, cancel and the end
    # -----------------------------------------------------------------------------------

    def _renew(self, event: Received, renew: Renew, now: Now) -> Effects:
        job = self._jobs.get(renew.job_id)
        if job is None:
            stop = Send(message=Stop(job_id=renew.job_id, ended=True), to=event.sender, project=event.project)
            return (stop,) if renew.job_id in self._ended else ()
        for index in renew.indexes[: len(job.tasks)]:
            state = job.tasks[index] if 0 <= index < len(job.tasks) else None
            if state is not None and state.task.node == event.sender and state.state == "offered":
                state.lease_until_ns = now.after_ms(job.order.limits.lease_ms + LEASE_GRACE_MS)
        return (
            Send(
                message=Renewed(job_id=renew.job_id, token=renew.token),
                to=event.sender,
                project=job.row.project,
                fence=self._epoch,
            ),
        )

    def _timer(self, job_id: bytes, now: Now) -> list[Effect]:
        job = self._jobs.get(job_id)
        if job is None:
            return []
        lost = [task for task in job.tasks if task.state == "offered" and task.lease_until_ns <= now.boot_ns]
        if lost and job.row.cancel:
            for task in lost:
                task.state = "stopped"
            return self._settle(job, now)
        if lost:
            self._move(job, "LeaseLost")
            return self._end(job, self._lost_cause(job, lost[0]), now)
        if now.boot_ns >= job.deadline_ns:
            return self._deadline(job, now)
        return self._watch(job)

    def _lost_cause(self, job: Job, task: TaskState) -> Cause:
        name = self._name(task.task.node)
        silent_s = (job.order.limits.lease_ms + LEASE_GRACE_MS) / 1000
        once = task.task.effect == "once"
        return Cause(
            code=Code.OUTCOME_UNKNOWN if once else Code.HOLDER_LOST,
            sentence=f"the holder {name} has been silent for {silent_s:g} s: it is down or cut off",
            node=task.task.node,
            node_name=name,
            source=task.task.source,
            next_step=f"start {name} again and submit again, or submit with --holders and leave it out",
        )

    def _deadline(self, job: Job, now: Now) -> list[Effect]:
        waiting = next((task for task in job.tasks if task.state == "offered"), job.tasks[0])
        self._move(job, "DeadlinePassed")
        cause = Cause(
            code=Code.TIMED_OUT,
            sentence=f"the job's deadline of {job.order.limits.deadline_ms / 1000:g} s has passed while it waited "
            f"for {self._name(waiting.task.node)}",
            node=waiting.task.node,
            node_name=self._name(waiting.task.node),
            source=waiting.task.source,
            next_step="submit again with a longer --deadline",
        )
        return self._end(job, cause, now)

    def _cancel(self, event: Received, ask: AskCancel, now: Now) -> Effects:
        job = self._jobs.get(ask.job_id)
        if job is None:
            return self._tell(event, self._status_for(event, ask.job_id))
        verify_cancel(ask.cancel, job.job_id, job.row.submitter)
        if job.row.cancel:
            return self._tell(event, self._status(job.row, job))
        job.update(cancel=ask.cancel)
        nodes = dict.fromkeys(task.task.node for task in job.tasks if task.state == "offered")
        stops = [self._stop(job, node, ended=False) for node in nodes]
        log = self._log(job, now, "cancel asked")
        effects = writes_first([Persist(writes=(log,)), *stops, *self._settle(job, now)])
        row = self._row(ask.job_id)
        assert row is not None
        return (*effects, *self._tell(event, self._status(row, self._jobs.get(ask.job_id))))

    def _settle(self, job: Job, now: Now) -> list[Effect]:
        """A cancelled job is final when every holder has said so or its lease is over."""
        if any(task.state == "offered" for task in job.tasks):
            return [self._stored(job), *self._watch(job)]
        self._move(job, "Settled")
        return self._end(job, Cause(code=Code.JOB_CANCELLED, sentence="the submitter cancelled the job"), now)

    def _end(self, job: Job, cause: Cause | None, now: Now) -> list[Effect]:
        """Stores the end, tells every worker to forget the job, and lets go of its tasks."""
        job.update(cause=cause, ended_ms=now.wall_ms, tasks_done=job.done(), tasks_all=len(job.tasks))
        del self._jobs[job.job_id]
        self._ended[job.job_id] = job.row
        if len(self._ended) > JOBS_KEPT_MAX:
            del self._ended[next(iter(self._ended))]  # leaves memory; the database keeps it
        writes: list[Write] = [
            Put(kind=kinds.JOB, key=job.job_id, value=encode_record(job.row)),
            *(Drop(kind=kinds.TASK, key=job.task_key(task.task.index)) for task in job.tasks),
            self._log(job, now, job.row.state),
            Audit(wall_ms=now.wall_ms, actor="scheduler", event=f"job {job.row.state}", detail=job.job_id),
        ]
        nodes = dict.fromkeys(task.task.node for task in job.tasks if task.state != "waiting")
        stops = [self._stop(job, node, ended=True) for node in nodes]
        timer = ClearTimer(name=f"job:{job.job_id.hex()}")
        return [
            Persist(writes=tuple(writes)),
            *stops,
            timer,
            Publish(event=JobChanged(status=self._status(job.row, None))),
        ]

    def _stop(self, job: Job, node: bytes, *, ended: bool) -> Send:
        stop = Stop(job_id=job.job_id, cancel=job.row.cancel, ended=ended)
        return Send(message=stop, to=node, project=job.row.project, fence=self._epoch)

    # --- answers
    # ---------------------------------------------------------------------------------------------------------

    def _answered(self, event: Received, work: Callable[[], Effects]) -> Effects:
        """Runs a request; what speaks against it becomes a refusal for the one who asked."""
        try:
            return work()
        except (DeniedError, WorkflowError, RemoteProtocolError) as error:
            return (self._refusal(event, error),)

    def _refusal(self, event: Received, error: FlottaError) -> Refuse:
        return Refuse(
            code=error.code,
            sentence=error.sentence,
            session=event.session,
            reply_to=event.message_id,
            next_step=error.next_step,
        )

    def _tell(self, event: Received, message: object) -> Effects:
        return (Send(message=message, session=event.session, reply_to=event.message_id),)

    def _status_for(self, event: Received, job_id: bytes) -> JobStatus:
        return self._status(self._permitted(event, job_id), self._jobs.get(job_id))

    def _permitted(self, event: Received, job_id: bytes) -> JobRow:
        """A submitter sees its own jobs, the operator of this node sees all. Others learn nothing, not even that it
        exists.
        """
        row = self._row(job_id)
        if row is None or not self._sees(event, row):
            raise DeniedError(
                Code.JOB_UNKNOWN,
                f"no job {format_job_id(job_id) if len(job_id) == 32 else '?'} of yours is known here",
                next_step="see `flotta-p2p jobs`",
            )
        return row

    def _sees(self, event: Received, row: JobRow) -> bool:
        return event.sender in (OPERATOR, row.submitter_id)

    def _list(self, event: Received, ask: AskJobs) -> Effects:
        newest = max(1, min(ask.newest, 200))
        rows = [*self._ended.values(), *(job.row for job in self._jobs.values())]
        mine = sorted((row for row in rows if self._sees(event, row)), key=lambda row: (-row.submitted_ms, row.job_id))
        jobs = tuple(self._status(row, self._jobs.get(row.job_id), brief=True) for row in mine[:newest])
        return self._tell(event, JobList(jobs=jobs))

    def _ask_result(self, event: Received, ask: AskResult) -> Effects:
        row = self._permitted(event, ask.job_id)
        if row.state != "succeeded":
            raise DeniedError(
                Code.RESULT_NOT_READY,
                f"the job is {row.state} and has no result" + (f": {row.cause.sentence}" if row.cause else ""),
                next_step="" if row.state in ENDED else "wait for it with `flotta-p2p job wait`",
            )
        self._tickets += 1
        self._asked[self._tickets] = (row, event)
        return (Publish(event=ResourceWanted(ticket=self._tickets, digest=row.digest)),)

    def _found(self, found: ResourceFound) -> Effects:
        asked = self._asked.pop(found.ticket, None)
        if asked is None:
            return ()
        row, event = asked
        if found.data is None:
            lost = DeniedError(
                Code.RESULT_NOT_READY, "the result is no longer stored on this node", next_step="submit again"
            )
            return (self._refusal(event, lost),)
        result = JobResult(job_id=row.job_id, outcome=row.outcome, product=found.data, holder_names=row.holder_names)
        return self._tell(event, result)

    def _row(self, job_id: bytes) -> JobRow | None:
        job = self._jobs.get(job_id)
        return job.row if job is not None else self._ended.get(job_id)

    def _status(self, row: JobRow, job: Job | None, *, brief: bool = False) -> JobStatus:
        return JobStatus(
            job_id=row.job_id,
            project=row.project,
            submitter=row.submitter_id,
            state=row.state,
            epoch=row.epoch,
            submitted_ms=row.submitted_ms,
            ended_ms=row.ended_ms,
            tasks_done=job.done() if job is not None else row.tasks_done,
            tasks_all=len(job.tasks) if job is not None else row.tasks_all,
            cancelling=bool(row.cancel) and row.state not in ENDED,
            scheduler=self._own_id,
            holder_names={} if brief else row.holder_names,
            cause=row.cause,
            tasks=() if brief or job is None else job.task_statuses(),
        )

    # --- small parts
    # -----------------------------------------------------------------------------------------------------

    def _move(self, job: Job, event: str) -> None:
        before = job.row.state
        after = TRANSITIONS[before].get(event)
        if after is None:
            raise self._stories.broken(format_job_id(job.job_id), f"{event} cannot follow in state {before}")
        self._stories.add(format_job_id(job.job_id), before, event, after)
        job.update(state=after)

    def _stored(self, job: Job) -> Persist:
        return Persist(writes=(Put(kind=kinds.JOB, key=job.job_id, value=encode_record(job.row)),))

    def _watch(self, job: Job) -> list[Effect]:
        """One timer for the job, at its next lease or deadline; and the news for whoever watches it."""
        leases = (task.lease_until_ns for task in job.tasks if task.state == "offered")
        timer = SetTimer(name=f"job:{job.job_id.hex()}", at_ns=min([job.deadline_ns, *leases]))
        return [timer, Publish(event=JobChanged(status=self._status(job.row, job)))]

    def _log(self, job: Job, now: Now, event: str, index: int | None = None) -> LogJob:
        detail = b"" if index is None else index.to_bytes(4)
        return LogJob(job_id=job.job_id, wall_ms=now.wall_ms, event=event, detail=detail)

    def _name(self, node: bytes) -> str:
        holder = self._holders.get(node)
        return f"{holder.name if holder else 'node'} ({format_id(node)[:7]})"

    def _restore(self, row: JobRow, rows: Mapping[str, list[tuple[bytes, bytes]]]) -> None:
        if row.state in ENDED:
            self._ended[row.job_id] = row
            return
        tasks = {
            int.from_bytes(key[32:]): decode_record(value, TaskRow, bytes_max=_ROW_BYTES_MAX)
            for key, value in rows.get(kinds.TASK, [])
            if key[:32] == row.job_id
        }
        self._jobs[row.job_id] = restore_job(row, tasks, self._own_id)
