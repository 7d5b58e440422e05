"""The order: what a submitter signs. One signature over the whole job, checked by every worker."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

from protocol.errors import Code, DeniedError, RemoteProtocolError, WorkflowError
from protocol.ids import format_id, node_id
from protocol.limits import (
    CANCEL_BYTES_MAX,
    CLOCK_TOLERANCE_MS,
    JOB_DEADLINE_MS,
    JOB_DEADLINE_MS_MAX,
    LEASE_MS,
    LEASE_MS_MAX,
    LEASE_MS_MIN,
    ORDER_LIFE_MS_MAX,
    PEERS_MAX,
    STATEMENT_BYTES_MAX,
)
from protocol.plan.artifact import Artifact, read_artifact
from protocol.record import Record
from protocol.signing import (
    CANCEL_STATEMENT,
    ORDER_STATEMENT,
    SigningKey,
    envelope_bytes,
    open_statement,
    sign_statement,
)
from protocol.tokens import ProjectKey
from protocol.wire.codec import decode_record, encode_record

_JOB_ID_DOMAIN = b"flotta-p2p/job-id/v1\0"


class ParticipantRule(Record, frozen=True):
    """Who must take part. `all`: every holder that the scheduler knows; `listed`: exactly these nodes."""

    rule: Literal["all", "listed"] = "all"
    nodes: tuple[bytes, ...] = ()
    holders_min: int = 1


class JobLimits(Record, frozen=True):
    """`lease_ms`: how long a holder may be silent. `deadline_ms`: the job ends so long after its submission, whatever
    happens.
    """

    lease_ms: int = LEASE_MS
    deadline_ms: int = JOB_DEADLINE_MS


class Order(Record, frozen=True):
    version: Literal[1]
    artifact: bytes
    participants: ParticipantRule
    schedulers: tuple[bytes, ...]  # node ids that may lead the job; empty: any
    limits: JobLimits
    nonce: bytes
    issued_ms: int
    expires_ms: int  # the job must have been started by then


class SignedOrder(Record, frozen=True):
    """An order in its envelope, with the proof that the submitter is a member of the project."""

    envelope: bytes
    proof: bytes


class VerifiedOrder(Record, frozen=True):
    job_id: bytes
    order: Order
    artifact: Artifact
    submitter: bytes
    signed: SignedOrder


class Cancel(Record, frozen=True):
    """The submitter's word that a job shall stop."""

    version: Literal[1]
    job_id: bytes
    issued_ms: int
    reason: str = ""


def job_id_of(payload: bytes, signer: bytes) -> bytes:
    """The hash of the signed order: of what was signed and by whom, never of the signature, which is no identifier."""
    return hashlib.sha256(_JOB_ID_DOMAIN + signer + payload).digest()


def sign_order(order: Order, key: SigningKey) -> tuple[bytes, bytes]:
    """(envelope, job id). Raises WorkflowError when the order makes no sense."""
    check_order(order)
    read_artifact(order.artifact)
    envelope = sign_statement(ORDER_STATEMENT, encode_record(order), key)
    data = envelope_bytes(envelope)
    if len(data) > STATEMENT_BYTES_MAX:
        raise _malformed(f"an order has at most {STATEMENT_BYTES_MAX} bytes")
    return data, job_id_of(envelope.payload, envelope.signer)


def check_order(order: Order) -> None:
    """Raises WorkflowError unless limits and participants are within bounds."""
    if len(order.nonce) != 16:
        raise _malformed("the nonce of an order has 16 bytes")
    if not 0 < order.expires_ms - order.issued_ms <= ORDER_LIFE_MS_MAX:
        raise _malformed(f"an order expires within {ORDER_LIFE_MS_MAX // 86_400_000} days after it is signed")
    if not LEASE_MS_MIN <= order.limits.lease_ms <= LEASE_MS_MAX:
        raise _malformed(f"a lease lasts {LEASE_MS_MIN} to {LEASE_MS_MAX} ms")
    if not LEASE_MS_MIN <= order.limits.deadline_ms <= JOB_DEADLINE_MS_MAX:
        raise _malformed(f"a deadline is {LEASE_MS_MIN} to {JOB_DEADLINE_MS_MAX} ms")
    rule = order.participants
    ids = (*rule.nodes, *order.schedulers)
    if any(len(one) != 32 for one in ids) or len(ids) > 2 * PEERS_MAX:
        raise _malformed("participants and schedulers are node ids")
    if len(set(rule.nodes)) != len(rule.nodes) or (rule.rule == "listed") != bool(rule.nodes):
        raise _malformed("listed participants are named, each once")
    if rule.holders_min < 1:
        raise _malformed("a job needs at least one holder")


def verify_order(signed: SignedOrder, projects: Mapping[bytes, ProjectKey]) -> VerifiedOrder:
    """Checks signature, form and membership; expiry is `check_not_expired`, since a job that runs may outlive its
    order.

    Raises DeniedError(ORDER_ALTERED | PROJECT_UNKNOWN | SUBMITTER_NOT_MEMBER) or WorkflowError.
    """
    try:
        statement = open_statement(signed.envelope, ORDER_STATEMENT)
        order = decode_record(statement.payload, Order, bytes_max=STATEMENT_BYTES_MAX)
    except RemoteProtocolError as error:
        if error.code in (Code.SIGNATURE_WRONG, Code.KEY_WEAK):
            raise DeniedError(
                Code.ORDER_ALTERED,
                "the order does not carry the submitter's valid signature",
                next_step="sign and submit it again",
            ) from error
        raise _malformed(f"the order does not read: {error.sentence}") from error
    check_order(order)
    artifact = read_artifact(order.artifact)
    job_id = job_id_of(statement.payload, statement.signer)
    project = projects.get(artifact.project)
    if project is None:
        raise DeniedError(
            Code.PROJECT_UNKNOWN,
            "this node is not in the order's project",
            next_step="add the project's token on this node",
        )
    if not project.check_submit_proof(job_id, statement.signer, signed.proof):
        raise DeniedError(
            Code.SUBMITTER_NOT_MEMBER,
            f"the submitter {format_id(node_id(statement.signer))} did not prove to know the project's token",
            next_step="sign with the project's token",
        )
    return VerifiedOrder(job_id=job_id, order=order, artifact=artifact, submitter=statement.signer, signed=signed)


def check_not_expired(order: Order, now_wall_ms: int) -> None:
    """Raises DeniedError(ORDER_EXPIRED | TIME_OUTSIDE)."""
    if now_wall_ms > order.expires_ms:
        late = (now_wall_ms - order.expires_ms) // 1000
        step = "submit again; if it was signed just now, compare the clocks of both machines"
        raise DeniedError(Code.ORDER_EXPIRED, f"the order expired {late} s ago", next_step=step)
    if order.issued_ms > now_wall_ms + CLOCK_TOLERANCE_MS:
        early = (order.issued_ms - now_wall_ms) // 1000
        raise DeniedError(
            Code.TIME_OUTSIDE,
            f"the order was signed {early} s in the future",
            next_step="compare the clocks of both machines",
        )


def sign_cancel(cancel: Cancel, key: SigningKey) -> bytes:
    return envelope_bytes(sign_statement(CANCEL_STATEMENT, encode_record(cancel), key))


def verify_cancel(data: bytes, job_id: bytes, submitter: bytes) -> Cancel:
    """The submitter's cancel of this job. Raises DeniedError(POLICY_DENIED) for anybody else's word."""
    if len(data) > CANCEL_BYTES_MAX:
        raise DeniedError(
            Code.STATEMENT_MALFORMED,
            f"a cancellation has at most {CANCEL_BYTES_MAX} bytes, this one {len(data)}",
            next_step="give a shorter reason",
        )
    try:
        statement = open_statement(data, CANCEL_STATEMENT)
        cancel = decode_record(statement.payload, Cancel, bytes_max=STATEMENT_BYTES_MAX)
    except RemoteProtocolError as error:
        raise DeniedError(error.code, "the cancellation does not carry a valid signature") from error
    if statement.signer != submitter or cancel.job_id != job_id:
        raise DeniedError(
            Code.POLICY_DENIED,
            "only its submitter cancels a job",
            next_step="cancel with the key that submitted it",
        )
    return cancel


def _malformed(sentence: str) -> WorkflowError:
    return WorkflowError(Code.ORDER_MALFORMED, sentence)
