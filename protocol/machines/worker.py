"""The worker: verifies every order itself, derives its tasks itself, asks its own policy, runs, stores, and only then
answers.

The scheduler's word is worth nothing here: it chooses where and when, never what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final, Literal, assert_never

from protocol import kinds
from protocol.errors import Code, DeniedError, FlottaError, RemoteProtocolError, WorkflowError
from protocol.ids import format_id
from protocol.limits import (
    CLOCK_TOLERANCE_MS,
    RECORD_BYTES_MAX,
    TASKS_LIVE_PER_WORKER_MAX,
    TASKS_OFFERED_MAX,
)
from protocol.machines import transfers
from protocol.machines.attempts import AttemptRow, AttemptState, Lease, death, results_of, withdrawal
from protocol.machines.contract import (
    Audit,
    ClearTimer,
    Drop,
    Effect,
    Effects,
    KillTask,
    LogJob,
    Now,
    Persist,
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
    PeerReached,
    PeersAllowed,
    PeerSeen,
    ProjectsHeld,
    ResourceFound,
    TaskDied,
    TaskFaulted,
    TaskPiece,
    TaskProduced,
)
from protocol.machines.executed import Executed, ExecutedRow
from protocol.machines.verification import verify_tasks
from protocol.plan.order import VerifiedOrder, verify_cancel
from protocol.plan.plan import Plan, Task, derive
from protocol.plan.products import Manifest, product_bytes
from protocol.policy import Deny, NodePolicy, decide
from protocol.record import Record
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey
from protocol.wire.codec import decode_record, encode_record
from protocol.wire.jobs import AskChunk, Chunk, Renew, Renewed, Stop, TaskOffer, Tasks

# States of one attempt at a task. "Offered" again by a newer epoch or attempt of the same scheduler changes only the
# fence, or, where there is no product to give again, starts anew.
TRANSITIONS: Final[dict[AttemptState, dict[str, AttemptState]]] = {
    "running": {
        "Offered": "running",
        "TaskProduced": "succeeded",
        "TaskFaulted": "failed",
        "TaskDied": "failed",
        "ProjectWithdrawn": "failed",
        "Stop": "cancelled",
        "LeaseOver": "lost",
    },
    "succeeded": {"Offered": "succeeded"},
    "failed": {"Offered": "failed", "OfferedAgain": "running"},
    "cancelled": {},
    "lost": {"OfferedAgain": "running"},
}
_REFUSALS_AT_ONCE: Final = 64  # outcomes in one message; SENTENCE_CHARS_MAX twice in each, 512 KiB


class WorkerSnapshot(Record, frozen=True):
    running: int
    ended: int
    orders: int
    started: int  # tasks begun since this start
    bytes_released: int


_Ended = TaskProduced | TaskFaulted | TaskDied
WorkerEvent = (
    Received | _Ended | TaskPiece | ResourceFound | TimerFired | ProjectsHeld | PeersAllowed | PeerSeen | PeerReached
)


class Worker:
    """Machine of the worker actor."""

    def __init__(
        self,
        key: SigningKey,
        own_id: bytes,
        policy: NodePolicy,
        rows: Mapping[str, list[tuple[bytes, bytes]]],
    ) -> None:
        self._key = key
        self._own_id = own_id
        self._policy = policy
        self._projects: dict[bytes, ProjectKey] = {}  # limits.PROJECTS_MAX
        self.awake = False  # until it knows its projects it can judge no order: delivery leaves offers unacknowledged
        self._executed = Executed(rows)
        self._attempts = {  # limits.TASKS_LIVE_PER_WORKER_MAX
            key: decode_record(value, AttemptRow, bytes_max=RECORD_BYTES_MAX)
            for key, value in rows.get(kinds.ATTEMPT, [])
        }
        self._leases: dict[bytes, Lease] = {}  # limits.EXECUTED_ORDERS_MAX: one for each job that is not over
        self._transfers = transfers.Transfers(rows)
        self._started = self._released = 0
        self._stories = Stories()

    def begin(self, now: Now) -> Effects:
        """After a start: what may run twice runs again; the outcome of what must not is unknown, and says so."""
        effects: list[Effect] = []
        for row in list(self._attempts.values()):
            if row.job_id not in self._leases:
                self._leases[row.job_id] = Lease(row.lease_ms, now.boot_ns)
                effects.append(self._timer(row.job_id))
            if row.state == "running" and row.effect == "once":
                why = (Code.OUTCOME_UNKNOWN, "this node stopped while the task ran", "")
                effects += self._ended(self._fault(row, "TaskDied", *why, now), now)
            elif row.state == "running":
                effects += self._start(row, now)
            else:
                effects.append(KillTask(key=row.key))  # where this machine fell before its child was
        return writes_first(effects)

    def step(self, event: WorkerEvent, now: Now) -> Effects:
        match event:
            case Received():
                return writes_first(self._received(event, now))
            case TaskProduced() | TaskFaulted() | TaskDied():
                return writes_first(self._task_over(event, now))
            case TaskPiece(key=key):
                return writes_first(self._transfer(key, lambda row: self._transfers.piece(row, event), now))
            case ResourceFound():
                return tuple(self._transfers.found(event))
            case TimerFired(name=name) if name.startswith(transfers.TIMER):
                key = bytes.fromhex(name.removeprefix(transfers.TIMER))
                return writes_first(self._transfer(key, lambda row: self._transfers.ask_again(row, now), now))
            case TimerFired(name=name):
                return writes_first(self._lease_timer(bytes.fromhex(name.removeprefix("lease:")), now))
            case ProjectsHeld():
                return writes_first(self._hold(event, now))
            case PeersAllowed(banned=banned):
                return writes_first(self._desert(banned, now))
            case PeerSeen() | PeerReached():
                return ()  # for the delivery around this machine: what waits for that peer is sent again
            case _:
                assert_never(event)

    def _received(self, event: Received, now: Now) -> list[Effect]:
        match event.message:
            case Tasks() as tasks:
                return self._tasks(event, tasks, now)
            case Renewed(job_id=job_id, token=token):
                executed = self._executed.rows.get(job_id)
                if executed is not None and executed.scheduler == event.sender and job_id in self._leases:
                    self._leases[job_id].renewed(token)
                return []
            case Stop() as stop:
                return self._stop(event, stop, now)
            case AskChunk() as ask:
                row = self._attempts.get(ask.job_id + ask.index.to_bytes(4))
                return self._transfers.asked(event, ask, row if row and row.project in self._projects else None, now)
            case Chunk() as chunk:
                return self._chunk(event, chunk, now)
        raise unexpected(event.message)

    def check(self) -> None:
        assert len(self._attempts) <= TASKS_LIVE_PER_WORKER_MAX
        for key, row in self._attempts.items():
            executed = self._executed.rows.get(row.job_id)
            if executed is None or executed.state == "ended":
                raise self._stories.broken(key.hex(), "an attempt without a live order")
            if row.epoch > executed.epoch:
                raise self._stories.broken(key.hex(), "an attempt of a newer epoch than its order")
            assert row.job_id in self._leases
        self._transfers.check(lambda key: self._attempts[key].state == "running")

    def snapshot(self) -> WorkerSnapshot:
        running = sum(row.state == "running" for row in self._attempts.values())
        return WorkerSnapshot(
            running=running,
            ended=len(self._attempts) - running,
            orders=len(self._executed.rows),
            started=self._started,
            bytes_released=self._released,
        )

    # --- an offer ---------------------------------------------------------------------------------

    def _tasks(self, event: Received, message: Tasks, now: Now) -> list[Effect]:
        try:
            verified, plan = verify_tasks(event, message, self._projects, self._executed.rows, now.wall_ms)
            tasks = derive(verified.artifact, plan, event.sender)
        except (DeniedError, WorkflowError, RemoteProtocolError) as error:
            if not message.tasks:
                return [Refuse(code=error.code, sentence=error.sentence)]
            return self._refuse(event, [(offer, error) for offer in message.tasks[:TASKS_OFFERED_MAX]], now)
        effects: list[Effect] = self._accept(event, verified, plan, now)
        refused: list[tuple[TaskOffer, FlottaError]] = []
        for offer in message.tasks:
            try:
                effects += self._offer(event, verified, tasks, offer, now)
            except DeniedError as error:
                refused.append((offer, error))
        return [*effects, *self._refuse(event, refused, now)]

    def _accept(self, event: Received, verified: VerifiedOrder, plan: Plan, now: Now) -> list[Effect]:
        """Records the order before anything runs; older attempts take the new fence."""
        job_id = verified.job_id
        effects: list[Effect] = [*self._executed.accept(event, verified, plan, self._leases.keys(), now)]
        if job_id in self._leases:
            self._leases[job_id].restart(now.boot_ns)
        else:
            self._leases[job_id] = Lease(verified.order.limits.lease_ms, now.boot_ns)
            effects.append(self._timer(job_id))
        return effects

    def _offer(
        self, event: Received, verified: VerifiedOrder, tasks: tuple[Task, ...], offer: TaskOffer, now: Now
    ) -> list[Effect]:
        task = tasks[offer.index] if 0 <= offer.index < len(tasks) else None
        if task is None or task.node != self._own_id or len(offer.inputs) != len(task.inputs):
            raise DeniedError(Code.TASK_NOT_DERIVED, "the task does not follow from the order and the plan")
        verdict = decide(self._policy, verified, task)
        if isinstance(verdict, Deny):
            raise DeniedError(verdict.code, verdict.reason, next_step=verdict.next_step)
        known = self._attempts.get(verified.job_id + offer.index.to_bytes(4))
        if known is not None:
            return self._offered_again(known, offer, event.fence, now)
        if len(self._attempts) >= TASKS_LIVE_PER_WORKER_MAX:
            raise DeniedError(
                Code.BUSY,
                f"this node already has {TASKS_LIVE_PER_WORKER_MAX} tasks",
                next_step="submit later",
            )
        self._transfers.check_room(sum(product_bytes(one) for one in offer.inputs if isinstance(one, Manifest)))
        row = AttemptRow.taken(event, verified, task, offer, tasks, now.wall_ms)
        self._stories.add(row.key.hex(), "none", "Offered", "running")
        log = LogJob(job_id=row.job_id, wall_ms=now.wall_ms, event="task started", detail=row.index.to_bytes(4))
        return [self._stored(row), Persist(writes=(log,)), *self._start(row, now)]

    def _offered_again(self, known: AttemptRow, offer: TaskOffer, epoch: int, now: Now) -> list[Effect]:
        if offer.attempt < known.attempt:
            raise DeniedError(Code.EPOCH_OLD, "an offer of an older attempt")
        fenced = known.changed(epoch=epoch, attempt=offer.attempt)
        anew = known.state == "lost" or (known.state == "failed" and offer.attempt > known.attempt)
        if anew and known.effect == "once":
            raise DeniedError(Code.OUTCOME_UNKNOWN, "the task must not run twice and its outcome is unknown")
        if anew:
            restarted = self._move(fenced.changed(code="", sentence="", next_step=""), "OfferedAgain")
            return [self._stored(restarted), *self._start(restarted, now)]
        moved = self._move(fenced, "Offered")
        return [self._stored(moved)] if moved.state == "running" else self._ended(moved, now)

    def _start(self, row: AttemptRow, now: Now) -> list[Effect]:
        self._started += 1
        return self._transfers.start(row, now)

    # --- refusals ---------------------------------------------------------------------------------

    def _refuse(self, event: Received, refused: list[tuple[TaskOffer, FlottaError]], now: Now) -> list[Effect]:
        """A refusal is a signed outcome: the job ends, naming this holder and its reason. One message cannot make us
        write and send hundreds: there is one audit row for each reason, and one answer for many tasks.
        """
        job_id = event.message.job_id
        reasons = {error.code: error.sentence for _, error in refused}
        actor = format_id(event.sender)
        audits = tuple(
            Audit(wall_ms=now.wall_ms, actor=actor, event=f"task refused: {code}", detail=job_id) for code in reasons
        )
        rows = [AttemptRow.refused(event, job_id, offer, error, now.wall_ms) for offer, error in refused]
        return [
            Persist(writes=audits),
            *(Refuse(code=code, sentence=sentence) for code, sentence in reasons.items()),
            *(self._answer(*rows[at : at + _REFUSALS_AT_ONCE]) for at in range(0, len(rows), _REFUSALS_AT_ONCE)),
        ]

    # --- large products ---------------------------------------------------------------------------

    def _chunk(self, event: Received, chunk: Chunk, now: Now) -> list[Effect]:
        arrive = partial(self._transfers.arrived, chunk=chunk, now=now)
        takers = self._transfers.takers(event, chunk)
        return [effect for key in takers for effect in self._transfer(key, arrive, now)]

    def _transfer(self, key: bytes, work: Callable[[AttemptRow], list[Effect]], now: Now) -> list[Effect]:
        """A step of a transfer for a running task; what speaks against it is why the task fails."""
        row = self._attempts.get(key)
        if row is None or row.state != "running":
            return []
        try:
            return work(row)
        except FlottaError as error:
            fault = self._fault(row, "TaskFaulted", error.code, error.sentence, error.next_step, now)
            return [KillTask(key=key), *self._ended(fault, now)]

    # --- a task ends ------------------------------------------------------------------------------

    def _task_over(self, event: _Ended, now: Now) -> list[Effect]:
        row = self._attempts.get(event.key)
        if row is None or row.state != "running" or self._transfers.is_stale(event):
            return []  # it was stopped or lost its lease while its process ended
        match event:
            case TaskProduced():
                ended = self._produced(row, event, now)
            case TaskFaulted(code=code, sentence=sentence, next_step=next_step):
                ended = self._fault(row, "TaskFaulted", code, sentence, next_step, now)
            case TaskDied():
                ended = self._fault(row, "TaskDied", *death(event), "", now)
        return self._ended(ended, now)

    def _produced(self, row: AttemptRow, event: TaskProduced, now: Now) -> AttemptRow:
        try:
            product = self._transfers.product(row, event)
        except FlottaError as error:
            return self._fault(row, "TaskFaulted", error.code, error.sentence, error.next_step, now)
        return self._move(row.changed(product=product, ended_ms=now.wall_ms), "TaskProduced")

    def _fault(self, row: AttemptRow, event: str, code: str, sentence: str, next_step: str, now: Now) -> AttemptRow:
        return self._move(row.changed(code=code, sentence=sentence, next_step=next_step, ended_ms=now.wall_ms), event)

    def _ended(self, row: AttemptRow, now: Now) -> list[Effect]:
        """Stored first, answered after: the answer is an outbox row of the same batch."""
        log = LogJob(job_id=row.job_id, wall_ms=now.wall_ms, event=f"task {row.state}", detail=row.index.to_bytes(4))
        writes: list[Write] = [log]
        if row.state == "succeeded" and row.source:
            self._released += product_bytes(row.product)
            released = f"{product_bytes(row.product)} bytes of {row.operation} on {row.source} released"
            writes.append(Audit(wall_ms=now.wall_ms, actor=format_id(row.scheduler), event=released, detail=row.key))
        return [self._stored(row), Persist(writes=tuple(writes)), *self._transfers.ended(row.key), self._answer(row)]

    def _answer(self, *rows: AttemptRow) -> Send:
        """The outcomes of tasks of one job and epoch."""
        first, message = rows[0], results_of(rows, self._key)
        return Send(message=message, to=first.scheduler, project=first.project, fence=first.epoch)

    def _stop(self, event: Received, stop: Stop, now: Now) -> list[Effect]:
        executed = self._executed.rows.get(stop.job_id)
        if executed is None or executed.scheduler != event.sender or event.fence < executed.epoch:
            return [Refuse(code=Code.JOB_UNKNOWN, sentence="a stop for a job that its sender does not lead here")]
        mine = [row for row in self._attempts.values() if row.job_id == stop.job_id]
        running = [row for row in mine if row.state == "running"]
        kills: list[Effect] = [KillTask(key=row.key) for row in running]
        if stop.ended:
            return [*kills, *self._forget(stop.job_id, mine, executed)]
        try:
            verify_cancel(stop.cancel, stop.job_id, executed.submitter)
        except DeniedError as error:
            return [Refuse(code=error.code, sentence=error.sentence)]
        effects = [*kills, self._executed.mark(stop.job_id, "cancelled")]
        for row in running:
            sentence = "stopped, since the submitter cancelled the job"
            effects += self._ended(self._fault(row, "Stop", Code.JOB_CANCELLED, sentence, "", now), now)
        return effects

    def _forget(self, job_id: bytes, mine: Iterable[AttemptRow], executed: ExecutedRow) -> list[Effect]:
        """The job is over for the scheduler: only that the order was executed is remembered."""
        drops: list[Write] = self._transfers.forget(job_id)
        clears: list[Effect] = [ClearTimer(name=f"lease:{job_id.hex()}")]
        for row in mine:
            del self._attempts[row.key]
            drops.append(Drop(kind=kinds.ATTEMPT, key=row.key))
            clears += self._transfers.ended(row.key)
        self._leases.pop(job_id, None)
        state: Literal["ended", "cancelled"] = "cancelled" if executed.state == "cancelled" else "ended"
        return [Persist(writes=tuple(drops)), self._executed.mark(job_id, state), *clears]

    # --- the lease --------------------------------------------------------------------------------

    def _lease_timer(self, job_id: bytes, now: Now) -> list[Effect]:
        lease = self._leases.get(job_id)
        executed = self._executed.rows.get(job_id)
        if lease is None or executed is None:
            return []
        mine = [row for row in self._attempts.values() if row.job_id == job_id]
        running = [row for row in mine if row.state == "running"]
        if now.wall_ms > executed.ends_ms + CLOCK_TOLERANCE_MS:
            kills = [KillTask(key=row.key) for row in running]
            return [*kills, *self._forget(job_id, mine, executed)]  # its scheduler has gone for good
        effects: list[Effect] = []
        if now.boot_ns >= lease.until_ns:
            for row in running:
                effects += [KillTask(key=row.key), self._stored(self._move(row, "LeaseOver"))]
                effects += self._transfers.ended(row.key)
            running = []
        if running or any(row.state == "lost" for row in mine):  # of a lost task the scheduler may have to say: forget
            renew = Renew(job_id=job_id, indexes=tuple(row.index for row in running), token=lease.renewal(now.boot_ns))
            effects.append(Send(message=renew, to=executed.scheduler, project=mine[0].project, fence=executed.epoch))
        return [*effects, SetTimer(name=f"lease:{job_id.hex()}", at_ns=lease.next_ns(now.boot_ns))]

    def _timer(self, job_id: bytes) -> SetTimer:
        lease = self._leases[job_id]
        return SetTimer(name=f"lease:{job_id.hex()}", at_ns=lease.until_ns - 3 * lease.pause_ns)

    # --- the operator takes back what it allowed --------------------------------------------------

    def _hold(self, event: ProjectsHeld, now: Now) -> list[Effect]:
        """Running tasks of a project whose token was taken away are killed, and their scheduler is told why."""
        self._projects = {project.project_id: project for project in event.projects}
        self._policy = self._policy.opened_to(event.sources)
        self.awake = True
        effects: list[Effect] = []
        given_up = [row for row in self._attempts.values() if row.project not in self._projects]
        for job_id in dict.fromkeys(row.job_id for row in given_up):
            effects.append(Persist(writes=tuple(self._transfers.forget(job_id))))
        for row in [row for row in given_up if row.state == "running"]:
            why = withdrawal(left=event.left)
            ended = self._fault(row, "ProjectWithdrawn", *why, "ask for what the others hold", now)
            effects += [KillTask(key=row.key), *self._ended(ended, now)]
        return effects

    def _desert(self, banned: frozenset[bytes], now: Now) -> list[Effect]:
        """All tasks from a banned scheduler are killed and forgotten; nothing is said to it."""
        effects: list[Effect] = []
        for job_id in dict.fromkeys(row.job_id for row in self._attempts.values() if row.scheduler in banned):
            mine = [row for row in self._attempts.values() if row.job_id == job_id]
            audit = Audit(wall_ms=now.wall_ms, actor="operator", event="job dropped: scheduler banned", detail=job_id)
            effects += [KillTask(key=row.key) for row in mine if row.state == "running"]
            effects += [Persist(writes=(audit,)), *self._forget(job_id, mine, self._executed.rows[job_id])]
        return effects

    # --- small parts ------------------------------------------------------------------------------

    def _move(self, row: AttemptRow, event: str) -> AttemptRow:
        after = TRANSITIONS[row.state].get(event)
        if after is None:
            raise self._stories.broken(row.key.hex(), f"{event} cannot follow in state {row.state}")
        self._stories.add(row.key.hex(), row.state, event, after)
        return row.changed(state=after)

    def _stored(self, row: AttemptRow) -> Persist:
        self._attempts[row.key] = row
        return Persist(writes=(Put(kind=kinds.ATTEMPT, key=row.key, value=encode_record(row)),))
