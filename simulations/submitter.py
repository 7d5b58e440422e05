"""A submitter at a node's control socket: submits, submits again until it is answered, polls, cancels, fetches the
result.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, Literal

from protocol.errors import Code
from protocol.machines.contract import Received
from protocol.machines.events import CONTROL_SESSION, OPERATOR
from protocol.plan.artifact import Query, artifact_bytes, summary_artifact
from protocol.plan.operations import SummaryParameters
from protocol.plan.order import Cancel, JobLimits, Order, ParticipantRule, SignedOrder, sign_cancel, sign_order
from protocol.plan.products import chunk_digest, chunks_in
from protocol.signing import SigningKey
from protocol.wire.jobs import (
    ENDED,
    AskCancel,
    AskJob,
    AskResult,
    AskResultChunk,
    JobResult,
    JobStatus,
    ResultChunk,
    Submit,
)
from protocol.wire.peers import Refused
from simulations.clocks import WALL_MS
from simulations.node import Node
from simulations.options import JobPlan

if TYPE_CHECKING:
    from simulations.world import World

PATIENCE_MS: Final = 1_500  # then the same question is asked again
POLL_MS_MIN: Final = 20  # between two looks at a job, doubling up to POLL_MS_MAX: as submitters of the product do
POLL_MS_MAX: Final = 1_000
SUBMITS_MAX: Final = 40  # a job whose holders are never all there is given up
_LATER: Final = frozenset({Code.HOLDERS_MISSING, Code.HOLDERS_GATHERING, Code.BUSY})  # refusals that may pass

State = Literal["new", "asking", "accepted", "refused"]


class Submitter:
    """One job. `accepted`: the node has said that it has the job; `refused`: that it will not take it."""

    def __init__(
        self,
        world: World,
        number: int,
        node: Node,
        plan: JobPlan,
        holders_min: int = 1,
        listed: tuple[bytes, ...] = (),
    ) -> None:
        """`listed`: the holders of its order, where the plan does not list all of the project."""
        self._world = world
        self.number = number
        self.node = node
        self.plan = plan
        self._holders_min = holders_min
        self._listed = listed
        self._key = SigningKey(hashlib.sha256(f"submitter/{world.options.seed}/{number}".encode()).digest())
        self._order: SignedOrder | None = None
        self._submits = self._questions = 0
        self._cancel = b""
        self._cancel_answered = False
        self._poll_ms = POLL_MS_MIN
        self.told_all = False  # the end of the job, and its result if it has one
        self.job_id = b""
        self.state: State = "new"
        self.refusal = ""
        self.status: JobStatus | None = None
        self.result: JobResult | None = None
        self.chunks: set[bytes] = set()  # of it, that were given

    # --- what it does ------------------------------------------------------------------------------------------------

    def submit(self) -> None:
        """Sign once; then submit until there is an answer."""
        if self._order is None:
            self._order = self._sign()
            if not self.plan.altered:
                self._world.signed[self.job_id] = self
        self.state = "asking"
        if self.node.open:
            self._submits += 1
            self._ask(Submit(order=self._order))
        self._world.after(PATIENCE_MS * 1_000_000, self._submit_again)

    def cancel(self) -> None:
        if self._cancel_answered or self.state == "refused":
            return
        if self.state == "accepted" and self.node.open:
            cancel = Cancel(version=1, job_id=self.job_id, issued_ms=self._wall_ms())
            self._cancel = self._cancel or sign_cancel(cancel, self._key)
            self._ask(AskCancel(job_id=self.job_id, cancel=self._cancel))
        self._world.after(PATIENCE_MS * 1_000_000, self.cancel)

    def fetch(self) -> None:
        """Ask how the job stands, and for its result if it has one."""
        self.status = self.result = None
        self._ask(AskJob(job_id=self.job_id))
        self._ask(AskResult(job_id=self.job_id))

    def answered(self, message: Any) -> None:
        match message:
            case JobStatus() if self.state != "accepted":
                self.state = "accepted"
                self._world.checkers.acknowledged(self)
                self._world.note(self.node, "submitter", "accepted", f"job {self.number}", main=True)
                self._poll()
            case JobStatus(cancelling=cancelling, state=state):
                self._world.checkers.told(self, message)
                self.status = message
                self._cancel_answered = self._cancel_answered or cancelling or state == "cancelled"
                self.told_all = self.told_all or (state in ENDED and state != "succeeded")
            case JobResult():
                self._world.checkers.given(self, message)
                self.result = message
                self.told_all = True
                for digest in chunks_in(message.product):
                    self._ask(AskResultChunk(job_id=self.job_id, digest=digest))
            case ResultChunk():
                self.chunks.add(chunk_digest(message.data))
            case Refused(code=code) if self.state == "asking":
                if code in _LATER and self._submits < SUBMITS_MAX:
                    return
                self.state, self.refusal = "refused", code
                self._world.note(self.node, "submitter", "refused", f"job {self.number}: {code}", main=True)

    def _poll(self) -> None:
        """Ask how the job stands until it has ended, and then for its result."""
        if self.told_all:
            return
        if self.node.open:
            ended = self.status is not None and self.status.state in ENDED
            self._ask(AskResult(job_id=self.job_id) if ended else AskJob(job_id=self.job_id))
        self._world.after(self._poll_ms * 1_000_000, self._poll)
        self._poll_ms = min(POLL_MS_MAX, 2 * self._poll_ms)

    # --- how ---------------------------------------------------------------------------------------------------------

    def _submit_again(self) -> None:
        if self.state == "asking":
            self.submit()

    def _sign(self) -> SignedOrder:
        project = self._world.projects[self.plan.project]
        query = Query(columns=("x",))
        artifact = summary_artifact(project.project_id, query, SummaryParameters(statistics=("count",)))
        listed = self._listed
        if self.plan.listed and not listed:
            listed = tuple(node.own_id for node in self._world.holders(self.plan.project))
        order = Order(
            version=1,
            artifact=artifact_bytes(artifact),
            participants=ParticipantRule(
                rule="listed" if listed else "all", nodes=listed, holders_min=self._holders_min
            ),
            schedulers=(),
            limits=JobLimits(lease_ms=self.plan.lease_ms, deadline_ms=self.plan.deadline_ms),
            nonce=hashlib.sha256(b"nonce" + self.number.to_bytes(4)).digest()[:16],
            issued_ms=self._wall_ms(),
            expires_ms=self._wall_ms() + self.plan.life_ms,
        )
        envelope, self.job_id = sign_order(order, self._key)
        if self.plan.altered:
            at = len(envelope) // 2
            envelope = envelope[:at] + bytes([envelope[at] ^ 1]) + envelope[at + 1 :]
        return SignedOrder(envelope=envelope, proof=project.submit_proof(self.job_id, self._key.public_key))

    def _ask(self, message: Any) -> None:
        self._questions += 1
        session = CONTROL_SESSION + self.number.to_bytes(4) + self._questions.to_bytes(4)
        asked = Received(
            message=message,
            sender=OPERATOR,
            message_id=hashlib.sha256(session).digest()[:16],
            session=session,
        )
        self.node.deliver("scheduler", asked)

    def _wall_ms(self) -> int:
        return WALL_MS + self._world.now_ns // 1_000_000
