"""From a question to a result: make and sign an order, submit it over a channel, wait, and verify what comes back.

Used by the command line, the submission tool and the demo alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from actors.ports import Clock, Entropy
from flotta_p2p.channels import Channel, ControlChannel
from flotta_p2p.order_options import OrderOptions
from flotta_p2p.result import Result, read_result
from protocol.errors import Code, DeniedError, RemoteProtocolError, UnreachableError, WorkflowError
from protocol.ids import format_job_id
from protocol.limits import (
    BODY_BYTES_MANIFEST_MAX,
    CONTROL_WAIT_MS_MAX,
    ROLL_CALL_WAIT_MS,
)
from protocol.plan.artifact import Artifact, artifact_bytes
from protocol.plan.order import Cancel, JobLimits, Order, ParticipantRule, SignedOrder, sign_cancel, sign_order
from protocol.plan.plan import check_product, verify_outcome
from protocol.plan.products import chunk_digest
from protocol.record import Record
from protocol.signing import SigningKey
from protocol.wire.codec import decode_record, encode_record
from protocol.wire.control import WaitJob
from protocol.wire.jobs import (
    ENDED,
    AskCancel,
    AskJob,
    AskJobs,
    AskRemove,
    AskRemoveEnded,
    AskResult,
    AskResultChunk,
    JobRemoved,
    JobResult,
    JobsRemoved,
    JobStatus,
    ResultChunk,
    Submit,
)

POLL_MS_MIN: Final = 20  # at the door, where nobody tells news: doubling up to POLL_MS_MAX
POLL_MS_MAX: Final = 1_000
GATHERING_MS_MAX: Final = 3 * ROLL_CALL_WAIT_MS  # the call and its answers, and once more if the node restarts


class Prepared(Record, frozen=True):
    """A signed order that still lacks the proof of membership."""

    envelope: bytes
    job_id: bytes
    project: bytes
    submitter_key: bytes


def prepare_order(
    artifact: Artifact,
    options: OrderOptions,
    key: SigningKey,
    clock: Clock,
    entropy: Entropy,
    *,
    holders: tuple[bytes, ...] = (),
    schedulers: tuple[bytes, ...] = (),
) -> Prepared:
    """Signs a new order: the same artifact twice gives two jobs. Raises WorkflowError when it makes no sense.

    `holders`: exactly these nodes take part; empty: every holder that the scheduler knows.
    `schedulers`: these nodes alone may lead the job; empty: any member, and whoever leads it sees the holders' shares.
    """
    now_ms = clock.now().wall_ms
    order = Order(
        version=1,
        artifact=artifact_bytes(artifact),
        participants=ParticipantRule(
            rule="listed" if holders else "all", nodes=holders, holders_min=options.holders_min
        ),
        schedulers=schedulers,
        limits=JobLimits(lease_ms=options.lease_ms, deadline_ms=options.deadline_ms),
        nonce=entropy.bytes(16),
        issued_ms=now_ms,
        expires_ms=now_ms + options.life_ms,
    )
    envelope, job_id = sign_order(order, key)
    return Prepared(envelope=envelope, job_id=job_id, project=artifact.project, submitter_key=key.public_key)


def order_to_bytes(signed: SignedOrder) -> bytes:
    """The content of an order file, as `sign` writes and `send` reads it."""
    return encode_record(signed)


def order_from_bytes(data: bytes) -> SignedOrder:
    """Raises WorkflowError(ORDER_MALFORMED) for anything but an order file."""
    try:
        return decode_record(data, SignedOrder, bytes_max=BODY_BYTES_MANIFEST_MAX)
    except RemoteProtocolError as error:
        raise WorkflowError(
            Code.ORDER_MALFORMED,
            "this is no order file, or not the whole of one",
            next_step="copy it again, or make one with `flotta-p2p sign`",
        ) from error


class JobClient:
    """A submitter's view of the jobs of one scheduling node."""

    def __init__(self, channel: Channel, clock: Clock, pause: Callable[[float], None]) -> None:
        """`pause` waits so many seconds between two looks at a job where nobody tells news."""
        self._channel = channel
        self._clock = clock
        self._pause = pause

    def prove(self, prepared: Prepared) -> SignedOrder:
        proof = self._channel.proof(prepared.project, prepared.job_id, prepared.submitter_key)
        return SignedOrder(envelope=prepared.envelope, proof=proof)

    def submit(self, order: SignedOrder) -> JobStatus:
        """Harmless to repeat: the same order is the same job. Raises DeniedError with the node's reason.

        A node of a large network that has to ask for the holders first is asked again until it has.
        """
        until_ns = self._clock.now().after_ms(GATHERING_MS_MAX)
        while True:
            try:
                return self._status(Submit(order=order))
            except DeniedError as error:
                if error.code != Code.HOLDERS_GATHERING or self._clock.now().boot_ns > until_ns:
                    raise
            self._pause(POLL_MS_MAX / 1000)

    def status(self, job_id: bytes) -> JobStatus:
        return self._status(AskJob(job_id=job_id))

    def jobs(self) -> tuple[JobStatus, ...]:
        """The newest JOBS_LISTED_MAX of the asker."""
        answer = self._channel.request(AskJobs())
        return tuple(answer.jobs)

    def cancel(self, job_id: bytes, key: SigningKey, reason: str = "") -> JobStatus:
        """Signed by the submitter, so that every worker can check it."""
        cancel = Cancel(version=1, job_id=job_id, issued_ms=self._clock.now().wall_ms, reason=reason)
        return self._status(AskCancel(job_id=job_id, cancel=sign_cancel(cancel, key)))

    def remove(self, job_id: bytes) -> JobRemoved:
        """An ended job with its result, for good. Harmless to repeat. DeniedError: JOB_NOT_ENDED, JOB_UNKNOWN."""
        answer: JobRemoved = self._channel.request(AskRemove(job_id=job_id))
        return answer

    def remove_ended(self, ended_ms_ago: int) -> Iterator[JobsRemoved]:
        """All of the asker that ended at least so long ago, in portions as they are removed."""
        while True:
            answer: JobsRemoved = self._channel.request(AskRemoveEnded(ended_ms_ago=ended_ms_ago))
            yield answer
            if not answer.left:
                return

    def wait(
        self, job_id: bytes, *, limit_s: float | None = None, progress: Callable[[JobStatus], None] | None = None
    ) -> JobStatus:
        """Returns the status once the job has ended. Raises UnreachableError(TIMED_OUT) when it still runs after
        `limit_s`.
        """
        status = self.status(job_id)
        deadline_ns = self._clock.now().after_ms(int(limit_s * 1000)) if limit_s is not None else None
        pause_ms = POLL_MS_MIN
        while True:
            if progress is not None:
                progress(status)
            if status.state in ENDED:
                return status
            left_ms = self._left_ms(deadline_ns)
            if left_ms <= 0:
                raise UnreachableError(
                    Code.TIMED_OUT,
                    f"the job is still {status.state} ({status.tasks_done} of {status.tasks_all} tasks done)",
                    job=format_job_id(job_id),
                    next_step=f"go on with `flotta-p2p job wait {format_job_id(job_id)[:9]}`",
                )
            if isinstance(self._channel, ControlChannel):
                status = self._news(job_id, status, left_ms)
            else:
                self._pause(min(pause_ms, left_ms) / 1000)
                pause_ms = min(POLL_MS_MAX, pause_ms * 2)
                status = self.status(job_id)

    def result(self, job_id: bytes, scheduler: bytes) -> tuple[Result, JobResult]:
        """The verified result of a question, as `product` gives it."""
        answer = self.product(job_id, scheduler)
        return read_result(self.whole(answer)), answer

    def product(self, job_id: bytes, scheduler: bytes) -> JobResult:
        """The verified result: the product is the one that the scheduler's node signed for this job. A large one is a
        manifest, and `whole` fetches it.
        """
        answer: JobResult = self._channel.request(AskResult(job_id=job_id))
        outcome, signer = verify_outcome(answer.outcome)
        if outcome.job_id != job_id or signer != scheduler:
            raise DeniedError(Code.RESULT_ALTERED, "the result is not signed by the scheduler for this job")
        check_product(outcome, answer.product)
        return answer

    def whole(self, answer: JobResult) -> bytes:
        """All bytes of a verified result, each chunk of a large one compared with its manifest."""
        if isinstance(answer.product, bytes):
            return answer.product
        return b"".join(self._chunk(answer.job_id, digest) for digest in answer.product.chunks)

    def _chunk(self, job_id: bytes, digest: bytes) -> bytes:
        chunk: ResultChunk = self._channel.request(AskResultChunk(job_id=job_id, digest=digest))
        if chunk_digest(chunk.data) != digest:
            raise DeniedError(Code.RESULT_ALTERED, "a chunk of the result is not the one that its manifest names")
        return chunk.data

    def _left_ms(self, deadline_ns: int | None) -> int:
        if deadline_ns is None:
            return CONTROL_WAIT_MS_MAX
        return (deadline_ns - self._clock.now().boot_ns) // 1_000_000

    def _news(self, job_id: bytes, status: JobStatus, left_ms: int) -> JobStatus:
        wait_ms = min(left_ms, CONTROL_WAIT_MS_MAX)
        ask = WaitJob(job_id=job_id, known_state=status.state, known_done=status.tasks_done, wait_ms=wait_ms)
        answer = self._channel.request(ask, limit_s=wait_ms / 1000 + 10)
        assert isinstance(answer, JobStatus)
        return answer

    def _status(self, message: object) -> JobStatus:
        answer = self._channel.request(message)
        assert isinstance(answer, JobStatus)
        return answer
