"""The plan: what a scheduler signs, and the tasks that follow from order and plan.

The scheduler chooses where and when, never what: every worker derives its tasks itself.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from protocol.errors import Code, DeniedError, RemoteProtocolError
from protocol.ids import format_id, length_safe, node_id
from protocol.limits import JOB_TASKS_MAX, NAME_CHARS_MAX, PARTICIPANTS_MAX, SENTENCE_CHARS_MAX, STATEMENT_BYTES_MAX
from protocol.plan.artifact import Artifact
from protocol.plan.operations import operation, tasks_for_each
from protocol.plan.order import Order
from protocol.plan.products import Carried, product_bytes, product_digest
from protocol.record import Record
from protocol.signing import (
    PLAN_STATEMENT,
    RESULT_STATEMENT,
    Envelope,
    SigningKey,
    envelope_bytes,
    open_statement,
    sign_statement,
)
from protocol.wire.codec import decode_record, encode_record


class Participant(Record, frozen=True, order=True):
    """One data source of one holder."""

    node: bytes
    source: str

    @property
    def label(self) -> str:
        return f"{format_id(self.node)}/{self.source}"


class Plan(Record, frozen=True):
    version: Literal[1]
    job_id: bytes
    epoch: int
    participants: tuple[Participant, ...]  # sorted, each once


class VerifiedPlan(Record, frozen=True):
    plan: Plan
    scheduler: bytes
    envelope: bytes


class Task(Record, frozen=True):
    """One unit of a job's plan, run on one node. `inputs` are indexes of tasks, in the order of participants."""

    index: int
    step: int
    operation: str
    effect: Literal["pure", "idempotent", "once"]
    node: bytes
    source: str
    inputs: tuple[int, ...]


class Outcome(Record, frozen=True):
    """What a worker signs of one task. `digest`: `products.product_digest`; code and sentence: why there is no
    product.
    """

    version: Literal[1]
    job_id: bytes
    index: int
    attempt: int
    epoch: int
    state: Literal["succeeded", "failed", "cancelled"]
    inputs: tuple[bytes, ...]
    digest: bytes = b""
    size_bytes: int = 0
    code: str = ""
    sentence: str = ""
    next_step: str = ""
    started_ms: int = 0
    ended_ms: int = 0


def sign_plan(plan: Plan, key: SigningKey) -> bytes:
    return envelope_bytes(sign_statement(PLAN_STATEMENT, encode_record(plan), key))


def verify_plan(data: bytes) -> VerifiedPlan:
    """Raises RemoteProtocolError."""
    statement = open_statement(data, PLAN_STATEMENT)
    plan = decode_record(statement.payload, Plan, bytes_max=STATEMENT_BYTES_MAX)
    return VerifiedPlan(plan=plan, scheduler=node_id(statement.signer), envelope=data)


def check_plan(plan: Plan, order: Order, scheduler: bytes) -> None:
    """Raises DeniedError(SCHEDULER_NOT_ALLOWED | PLAN_OUTSIDE_ORDER) unless the order allows this plan."""
    if order.schedulers and scheduler not in order.schedulers:
        raise DeniedError(Code.SCHEDULER_NOT_ALLOWED, f"the order does not let the node {format_id(scheduler)} lead it")
    participants = plan.participants
    if not participants or list(participants) != sorted(set(participants)):
        raise _outside("its participants are not a sorted list without repetition")
    if len(participants) > PARTICIPANTS_MAX:
        raise _outside(f"{len(participants)} sources would take part, at most {PARTICIPANTS_MAX} can")
    if any(not 0 < len(one.source) <= NAME_CHARS_MAX or len(one.node) != 32 for one in participants):
        raise _outside("a participant is not a node and a source")
    nodes = {one.node for one in participants}
    rule = order.participants
    if rule.rule == "listed" and nodes != set(rule.nodes):
        raise _outside("its holders are not those that the order lists")
    if len(nodes) < rule.holders_min:
        raise _outside(f"it has {len(nodes)} holders, the order asks for at least {rule.holders_min}")


def participants_digest(plan: Plan) -> bytes:
    """The same for all plans of a job: only the epoch changes, else a task could run again under another index."""
    return hashlib.sha256(b"".join(length_safe(one.node, one.source.encode()) for one in plan.participants)).digest()


def derive(artifact: Artifact, plan: Plan, scheduler: bytes) -> tuple[Task, ...]:
    """The task graph: the same for everybody who holds the same artifact and plan.

    Raises DeniedError(PLAN_OUTSIDE_ORDER) for more than JOB_TASKS_MAX tasks.
    """
    tasks: list[Task] = []
    before: tuple[int, ...] = ()
    for number, step in enumerate(artifact.steps):
        known = operation(step.operation)
        places = plan.participants if known.place == "holder" else (Participant(node=scheduler, source=""),)
        each = tasks_for_each(step.operation, step.parameters)
        first = len(tasks)
        if first + each * len(places) > JOB_TASKS_MAX:
            raise _outside(f"it has more than {JOB_TASKS_MAX} tasks")
        for place in (place for place in places for _ in range(each)):
            tasks.append(
                Task(
                    index=len(tasks),
                    step=number,
                    operation=step.operation,
                    effect=known.effect,
                    node=place.node,
                    source=place.source,
                    inputs=before,
                )
            )
        before = tuple(range(first, len(tasks)))
    return tuple(tasks)


def labels_of(task: Task, tasks: tuple[Task, ...]) -> tuple[str, ...]:
    """Whose products the inputs of a task are."""
    owners = [(tasks[i].node, tasks[i].source) for i in task.inputs]
    labels = {owner: Participant(node=owner[0], source=owner[1]).label for owner in dict.fromkeys(owners)}
    return tuple(labels[owner] for owner in owners)


def sign_outcome(outcome: Outcome, key: SigningKey) -> bytes:
    return envelope_bytes(sign_statement(RESULT_STATEMENT, encode_record(outcome), key))


def verify_outcome(data: bytes) -> tuple[Outcome, bytes]:
    """(outcome, node id of its signer). Raises RemoteProtocolError."""
    statement = open_statement(data, RESULT_STATEMENT)
    outcome = decode_record(statement.payload, Outcome, bytes_max=STATEMENT_BYTES_MAX)
    if len(outcome.code) > NAME_CHARS_MAX or max(len(outcome.sentence), len(outcome.next_step)) > SENTENCE_CHARS_MAX:
        raise RemoteProtocolError(Code.BODY_MALFORMED, f"a reason has at most {SENTENCE_CHARS_MAX} characters")
    return outcome, node_id(statement.signer)


def outcome_of(data: bytes) -> Outcome:
    """What an outcome says that was verified before it was stored. Raises RemoteProtocolError."""
    envelope = decode_record(data, Envelope, bytes_max=STATEMENT_BYTES_MAX)
    return decode_record(envelope.payload, Outcome, bytes_max=STATEMENT_BYTES_MAX)


def check_product(outcome: Outcome, product: Carried) -> None:
    """Raises RemoteProtocolError(RESULT_ALTERED) unless this is the product that the worker signed."""
    signed = (outcome.size_bytes, outcome.digest)
    if outcome.state == "succeeded" and (product_bytes(product), product_digest(product)) != signed:
        raise RemoteProtocolError(Code.RESULT_ALTERED, "the product is not the one that its worker signed")


def _outside(sentence: str) -> DeniedError:
    return DeniedError(Code.PLAN_OUTSIDE_ORDER, f"the plan is outside its order: {sentence}")
