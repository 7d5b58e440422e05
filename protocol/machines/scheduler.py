"""The scheduler: a submitted order becomes a plan, tasks and one result, and every job ends.

The scheduler chooses where and when, never what. Leases make sure that a holder that went silent is noticed; the
epoch (this node's boot id) fences off everything that an earlier life of the scheduler began. Who takes part stands in
planning.py, what submitters ask in answers.py, why a job failed in causes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, assert_never

from protocol import kinds
from protocol.errors import Code, DeniedError, RemoteProtocolError, WorkflowError
from protocol.ids import format_job_id
from protocol.limits import JOBS_LIVE_MAX, LEASE_GRACE_MS, TASK_ATTEMPTS_MAX, TASK_INPUT_BYTES_MAX
from protocol.machines import causes
from protocol.machines.answers import Answers, asker, refused, tell
from protocol.machines.contract import (
    Audit,
    ClearTimer,
    Drop,
    Effect,
    Effects,
    LogJob,
    Now,
    Persist,
    Publish,
    Put,
    Received,
    Refuse,
    Send,
    SetTimer,
    Stories,
    TimerFired,
    Write,
    unexpected,
    writes_first,
)
from protocol.machines.events import (
    HealthChanged,
    JobChanged,
    MembersPartlyKnown,
    PeerLeft,
    PeersAllowed,
    PeerSeen,
    ProjectsHeld,
    ResourceFound,
)
from protocol.machines.job_book import JobBook
from protocol.machines.jobs import Job, TaskState, forget, new_job
from protocol.machines.planning import Holders
from protocol.machines.retention import TIMER as RETENTION_TIMER
from protocol.machines.retention import Retention
from protocol.machines.roll_calls import Gathering
from protocol.machines.stored_results import KEPT_BY_DEFAULT, ResultsView, RetentionRules
from protocol.plan.order import check_not_expired, verify_cancel, verify_order
from protocol.plan.plan import Outcome, check_product, verify_outcome
from protocol.plan.products import Carried
from protocol.record import Record
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey
from protocol.wire.codec import encode_record
from protocol.wire.jobs import (
    ENDED,
    AskCancel,
    AskJob,
    AskJobs,
    AskRemove,
    AskRemoveEnded,
    AskResult,
    AskResultChunk,
    Cause,
    JobState,
    JobStatus,
    Renew,
    Renewed,
    Results,
    Submit,
    TaskOffer,
    Tasks,
)

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
        "Withdrawn": "failed",
        "Settled": "cancelled",
        "DeadlinePassed": "expired",
    },
    "succeeded": {},
    "failed": {},
    "cancelled": {},
    "expired": {},
}


class SchedulerSnapshot(Record, frozen=True):
    live: tuple[JobStatus, ...]
    ended: int
    holders: dict[str, int]
    results: ResultsView


# News of this node and of others, and all that this machine takes.
_News = ProjectsHeld | PeersAllowed | MembersPartlyKnown | PeerSeen | PeerLeft | HealthChanged
SchedulerEvent = Received | TimerFired | ResourceFound | _News


class Scheduler:
    """Machine of the scheduler actor."""

    def __init__(
        self,
        key: SigningKey,
        own_id: bytes,
        own_name: str,
        epoch: int,
        own_sources: Mapping[str, frozenset[bytes]],
        rows: Mapping[str, list[tuple[bytes, bytes]]],
        *,
        client: bool = False,
        hands_out_results: bool = True,
        durable: bool = True,
        retention: RetentionRules = KEPT_BY_DEFAULT,
    ) -> None:
        """Without `hands_out_results` this node leads no job, since the result would stay on it; nor does a `client`,
        whom the others could not reach. `durable`: whether its jobs survive a restart, for those who submit.
        """
        self._key = key
        self._own_id = own_id
        self._epoch = epoch
        self._projects: dict[bytes, ProjectKey] = {}  # limits.PROJECTS_MAX
        self._knows_projects = False  # soon after every start
        self._holders = Holders(own_id, own_name, own_sources)
        self._book = JobBook(rows, own_id)
        self._retention = Retention(retention, self._book, rows)
        self._answers = Answers(own_id, self._book, client=client, durable=durable, hands_out=hands_out_results)
        self._gathering = Gathering(key)
        self._stories = Stories()

    def begin(self, now: Now) -> Effects:
        """After a start every live job goes on under the new epoch: a new plan, the unfinished tasks offered again."""
        effects = self._retention.look(now)
        for job in list(self._book.live.values()):
            job.deadline_ns = now.after_ms(max(1, job.row.submitted_ms + job.order.limits.deadline_ms - now.wall_ms))
            self._sign_plan(job)
            effects += self._stop_again(job, now) if job.row.cancel else self._advance(job, now)
        return writes_first(effects)

    def step(self, event: SchedulerEvent, now: Now) -> Effects:
        match event:
            case Received():
                return writes_first(self._received(event, now))
            case TimerFired(name=name) if name == RETENTION_TIMER:
                return writes_first(self._retention.look(now))
            case TimerFired(name=name):
                return writes_first(self._timer(bytes.fromhex(name.removeprefix("job:")), now))
            case ProjectsHeld(projects=projects, statement=statement, left=left):
                self._projects = {project.project_id: project for project in projects}
                self._knows_projects = True
                self._gathering.statement = statement
                self._holders.own(event.sources)
                return self._withdraw(causes.of_projects_given_up(self._book, self._projects, left=left), now)
            case PeersAllowed(banned=banned):
                ending = causes.of_banned_holders(self._book, banned, self._holders)
                self._holders.keep_only(event.admits)
                return self._withdraw(ending, now)
            case MembersPartlyKnown():
                self._gathering.partly = True
                return ()
            case PeerSeen(node=node, name=name, sources=sources, via=via):
                self._holders.seen(node, name, sources, via)
                return ()
            case PeerLeft(node=node):
                self._holders.gone(node)
                return ()
            case HealthChanged(unwell=unwell):
                self._answers.room_lost = next((one for one in unwell if one.leads_no_job), None)
                return ()
            case ResourceFound():
                return self._answers.found(event, now)
            case _:
                assert_never(event)

    def _received(self, event: Received, now: Now) -> Effects:
        match event.message:
            case Submit() as submit:
                return self._answered(event, lambda: self._submit(event, submit, now))
            case AskJob() as ask_one:
                return self._answered(event, lambda: self._answers.one(event, ask_one))
            case AskJobs() as ask_many:
                return self._answers.many(event, ask_many)
            case AskResult() as ask_result:
                return self._answered(event, lambda: self._answers.result(event, ask_result, now))
            case AskResultChunk() as ask_chunk:
                return self._answered(event, lambda: self._answers.chunk(event, ask_chunk, now))
            case AskCancel() as ask_cancel:
                return self._answered(event, lambda: self._cancel(event, ask_cancel, now))
            case AskRemove() | AskRemoveEnded():
                return self._answered(event, lambda: self._retention.asked(event, now))
            case Results() as results:
                return tuple(self._results(event, results, now))
            case Renew() as renew:
                return self._renew(event, renew, now)
        raise unexpected(event.message)

    def check(self) -> None:
        assert len(self._book.live) <= JOBS_LIVE_MAX
        self._book.check()
        for job_id, job in self._book.live.items():
            if job.row.state in ENDED:
                raise self._stories.broken(format_job_id(job_id), "an ended job is still live")
            if not any(task.state == "offered" for task in job.tasks):
                raise self._stories.broken(format_job_id(job_id), "a live job waits for nobody")

    def snapshot(self) -> SchedulerSnapshot:
        return SchedulerSnapshot(
            live=tuple(self._answers.status(job.row) for job in self._book.live.values()),
            ended=len(self._book.ended),
            holders=self._holders.offered(),
            results=self._retention.view(),
        )

    # --- submission --------------------------------------------------------------------------------------------------

    def _answered(self, event: Received, work: Callable[[], Effects]) -> Effects:
        """Runs a request; what speaks against it becomes a refusal for the one who asked."""
        try:
            return work()
        except (DeniedError, WorkflowError, RemoteProtocolError) as error:
            return (refused(event, error),)

    def _submit(self, event: Received, submit: Submit, now: Now) -> Effects:
        if not self._knows_projects:
            raise DeniedError(Code.BUSY, "this node has just started", next_step="try again in a moment")
        verified = verify_order(submit.order, self._projects)
        known = self._book.row(verified.job_id)
        if known is not None:
            return (tell(event, self._answers.status(known)),)
        if event.project and event.project != verified.artifact.project:
            raise DeniedError(Code.PROJECT_UNKNOWN, "the order is for another project than the one proved at the door")
        check_not_expired(verified.order, now.wall_ms)
        self._answers.check_leads()
        self._answers.check_room()
        self._retention.check_new(verified)
        gathering = self._gathering.gather(event, verified, self._holders, now)
        if gathering:
            return gathering
        job = new_job(verified, self._holders, self._own_id, self._epoch, now)
        self._book.live[job.job_id] = job
        self._sign_plan(job)
        effects = (job.taken(asker(event.sender), now), *self._advance(job, now))
        return (*effects, tell(event, self._answers.status(job.row)))

    def _sign_plan(self, job: Job) -> None:
        job.plan(self._epoch, self._key)
        if job.row.state == "submitted":
            self._move(job, "PlanSigned")

    # --- the task graph ----------------------------------------------------------------------------------------------

    def _advance(self, job: Job, now: Now) -> list[Effect]:
        """Offers every task whose inputs are there, and stores the job."""
        if job.row.cancel:
            return self._settle(job, now)
        ready = job.ready()
        heavy = next((task for task in ready if job.input_bytes(task) > TASK_INPUT_BYTES_MAX), None)
        if heavy is not None:
            self._move(job, "TaskFailed")
            return self._end(job, causes.heavy(heavy.task, job.input_bytes(heavy), self._holders), now)
        if ready:
            self._move(job, "TasksOffered")
        sends = [self._offer(job, tasks) for tasks in job.loads(ready)]
        for task in ready:
            task.offer(now.after_ms(job.lease_ms + LEASE_GRACE_MS))
        return [self._stored(job), *sends, *self._watch(job)]

    def _offer(self, job: Job, tasks: list[TaskState]) -> Send:
        offers = tuple(
            TaskOffer(index=one.task.index, attempt=one.attempt, inputs=job.inputs(one.task)) for one in tasks
        )
        message = Tasks(job_id=job.job_id, order=job.row.order, plan=job.plan_envelope, tasks=offers)
        return Send(message=message, to=tasks[0].task.node, project=job.row.project, fence=self._epoch)

    def _results(self, event: Received, results: Results, now: Now) -> list[Effect]:
        job = self._book.live.get(results.job_id)
        if job is None:
            code = Code.JOB_ENDED if results.job_id in self._book.ended else Code.JOB_UNKNOWN
            return [
                Refuse(code=code, sentence="a result of a job that is not live here"),
                forget(results.job_id, event, self._epoch),
            ]
        effects: list[Effect] = []
        accepted = False
        for result in results.results:
            if job.row.state in ENDED:
                break
            try:
                outcome, signer = verify_outcome(result.outcome)
                job.check_outcome(outcome, signer, event.sender, self._epoch)
                check_product(outcome, result.product)
            except (RemoteProtocolError, DeniedError) as error:
                effects.append(Refuse(code=error.code, sentence=error.sentence))
                continue
            accepted = True
            effects += self._task_over(job, outcome, result.outcome, result.product, now)
        if job.row.state not in ENDED:
            if accepted:
                job.renew(event.sender, now.after_ms(job.lease_ms + LEASE_GRACE_MS))
            effects += self._advance(job, now)
        return effects

    def _task_over(self, job: Job, outcome: Outcome, envelope: bytes, product: Carried, now: Now) -> list[Effect]:
        state = job.tasks[outcome.index]
        if outcome.state == "succeeded":
            return self._task_succeeded(job, state, outcome, envelope, product, now)
        if job.row.cancel:
            state.state = "stopped"
            return [Persist(writes=(self._log(job, now, "task stopped", outcome.index),))]
        if outcome.code == Code.TASK_CRASHED and state.task.effect != "once" and state.attempt < TASK_ATTEMPTS_MAX:
            state.again()
            return [Persist(writes=(job.task_put(state), self._log(job, now, "task crashed", outcome.index)))]
        self._move(job, "TaskFailed")
        return self._end(job, causes.told(state.task, outcome, self._holders), now)

    def _task_succeeded(
        self, job: Job, state: TaskState, outcome: Outcome, envelope: bytes, product: Carried, now: Now
    ) -> list[Effect]:
        state.succeed(outcome, job.kept(state.task, product))
        log = self._log(job, now, "result accepted", outcome.index)
        if state is not job.tasks[-1] or job.row.cancel:
            self._move(job, "TaskSucceeded")
            return [Persist(writes=(job.task_put(state), log))]
        self._move(job, "LastTaskSucceeded")
        keep = self._book.to_keep(outcome.digest, product)
        job.update(digest=outcome.digest, outcome=envelope)
        return [Persist(writes=(log, *keep)), *self._end(job, None, now)]

    # --- leases, deadlines, cancel and the end -----------------------------------------------------------------------

    def _renew(self, event: Received, renew: Renew, now: Now) -> Effects:
        job = self._book.live.get(renew.job_id)
        if job is None:
            return (forget(renew.job_id, event, self._epoch),) if renew.job_id in self._book.ended else ()
        job.renew(event.sender, now.after_ms(job.lease_ms + LEASE_GRACE_MS), frozenset(renew.indexes))
        renewed = Renewed(job_id=renew.job_id, token=renew.token)
        return (Send(message=renewed, to=event.sender, project=job.row.project, fence=self._epoch),)

    def _timer(self, job_id: bytes, now: Now) -> list[Effect]:
        job = self._book.live.get(job_id)
        if job is None:
            return []
        lost = job.overdue(now)
        if lost and job.row.cancel:
            for task in lost:
                task.state = "stopped"
            return self._settle(job, now)
        if lost:
            self._move(job, "LeaseLost")
            return self._end(job, causes.silent(lost[0].task, job.lease_ms + LEASE_GRACE_MS, self._holders), now)
        if now.boot_ns >= job.deadline_ns:
            waiting = next(task for task in job.tasks if task.state == "offered")
            self._move(job, "DeadlinePassed")
            return self._end(job, causes.late(waiting.task, job.order.limits.deadline_ms, self._holders), now)
        return self._watch(job)

    def _cancel(self, event: Received, ask: AskCancel, now: Now) -> Effects:
        job = self._book.live.get(ask.job_id)
        if job is None:
            return self._answers.one(event, AskJob(job_id=ask.job_id))
        verify_cancel(ask.cancel, job.job_id, job.row.submitter)
        effects: list[Effect] = []
        if not job.row.cancel:
            job.update(cancel=ask.cancel)
            effects.append(Persist(writes=(self._log(job, now, "cancel asked"),)))
            effects += (job.stop(node, self._epoch, ended=False) for node in job.workers("offered"))
            effects += self._settle(job, now)
        return (*effects, tell(event, self._answers.status(job.row)))

    def _withdraw(self, ending: list[tuple[Job, Cause]], now: Now) -> Effects:
        """The operator took back what these jobs stand on."""
        effects: list[Effect] = []
        for job, cause in ending:
            self._move(job, "Withdrawn")
            effects += self._end(job, cause, now)
        return writes_first(effects)

    def _stop_again(self, job: Job, now: Now) -> list[Effect]:
        """After a start nobody knows which tasks of a cancelled job still run: those that could are waited for."""
        for task in job.ready():
            task.offer(now.after_ms(job.lease_ms + LEASE_GRACE_MS))
        return [*(job.stop(node, self._epoch, ended=False) for node in job.workers("offered")), *self._settle(job, now)]

    def _settle(self, job: Job, now: Now) -> list[Effect]:
        """A cancelled job is final when every holder has said so or its lease is over."""
        if job.workers("offered"):
            return [self._stored(job), *self._watch(job)]
        self._move(job, "Settled")
        return self._end(job, Cause(code=Code.JOB_CANCELLED, sentence="the submitter cancelled the job"), now)

    def _end(self, job: Job, cause: Cause | None, now: Now) -> list[Effect]:
        """Stores the end, tells every worker to forget the job, and lets go of its tasks."""
        job.update(cause=cause, ended_ms=now.wall_ms, tasks_done=job.done(), tasks_all=len(job.tasks))
        self._book.end(job)
        state = job.row.state
        writes: list[Write] = [
            *self._stored(job).writes,
            *(Drop(kind=kinds.TASK, key=job.task_key(task.task.index)) for task in job.tasks),
            self._log(job, now, state),
            Audit(wall_ms=now.wall_ms, actor="scheduler", event=f"job {state}", detail=job.job_id),
        ]
        return [
            Persist(writes=tuple(writes)),
            *(job.stop(node, self._epoch, ended=True) for node in job.workers()),
            ClearTimer(name=f"job:{job.job_id.hex()}"),
            Publish(event=JobChanged(status=self._answers.news(job.row))),
        ]

    # --- small parts -------------------------------------------------------------------------------------------------

    def _move(self, job: Job, event: str) -> None:
        before, name = job.row.state, format_job_id(job.job_id)
        after = TRANSITIONS[before].get(event)
        if after is None:
            raise self._stories.broken(name, f"{event} cannot follow in state {before}")
        self._stories.add(name, before, event, after)
        job.update(state=after)

    def _stored(self, job: Job) -> Persist:
        return Persist(writes=(Put(kind=kinds.JOB, key=job.job_id, value=encode_record(job.row)),))

    def _watch(self, job: Job) -> list[Effect]:
        """One timer for the job, at its next lease or deadline; and the news for whoever watches it."""
        leases = (task.lease_until_ns for task in job.tasks if task.state == "offered")
        timer = SetTimer(name=f"job:{job.job_id.hex()}", at_ns=min([job.deadline_ns, *leases]))
        return [timer, Publish(event=JobChanged(status=self._answers.news(job.row)))]

    def _log(self, job: Job, now: Now, event: str, index: int | None = None) -> LogJob:
        detail = b"" if index is None else index.to_bytes(4)
        return LogJob(job_id=job.job_id, wall_ms=now.wall_ms, event=event, detail=detail)
