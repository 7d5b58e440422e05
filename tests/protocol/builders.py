"""Keys, orders, plans and messages for the tests of the machines."""

from __future__ import annotations

from typing import Any

from protocol.ids import node_id
from protocol.key_statement import Certified, KeyStatement, sign_key_statement, verify_key_statement
from protocol.limits import ORDER_LIFE_MS
from protocol.machines.contract import Effects, Now, Persist, Publish, Received, Refuse, Send, Write
from protocol.plan.artifact import Query, artifact_bytes, summary_artifact
from protocol.plan.operations import SummaryParameters
from protocol.plan.order import Cancel, JobLimits, Order, ParticipantRule, SignedOrder, sign_cancel, sign_order
from protocol.plan.plan import Outcome, verify_outcome
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey
from protocol.wire.jobs import Results

WALL_MS = 1_750_000_000_000
SECOND_NS = 1_000_000_000
PROJECT = ProjectKey(b"p" * 32)
OTHER_PROJECT = ProjectKey(b"q" * 32)
SUBMITTER = SigningKey(b"s" * 32)
STRANGER = SigningKey(b"x" * 32)
QUERY = Query(columns=("age", "dose"))
COUNT = SummaryParameters(statistics=("count",))
ARTIFACT = artifact_bytes(summary_artifact(PROJECT.project_id, QUERY, COUNT))


def node_key(number: int) -> SigningKey:
    return SigningKey(b"node" + number.to_bytes(28))


def now(ms: int = 0) -> Now:
    """Both clocks, `ms` after the tests begin."""
    return Now(1_000 * SECOND_NS + ms * 1_000_000, WALL_MS + ms)


def order(**changes: Any) -> Order:
    fields: dict[str, Any] = {
        "version": 1,
        "artifact": ARTIFACT,
        "participants": ParticipantRule(),
        "schedulers": (),
        "limits": JobLimits(),
        "nonce": b"n" * 16,
        "issued_ms": WALL_MS,
        "expires_ms": WALL_MS + ORDER_LIFE_MS,
    }
    return Order(**(fields | changes))


def signed(
    an_order: Order | None = None, key: SigningKey = SUBMITTER, project: ProjectKey = PROJECT
) -> tuple[SignedOrder, bytes]:
    """(order in its envelope with the proof of membership, job id)."""
    envelope, job_id = sign_order(an_order or order(), key)
    return SignedOrder(envelope=envelope, proof=project.submit_proof(job_id, key.public_key)), job_id


def cancel_of(job_id: bytes, key: SigningKey = SUBMITTER) -> bytes:
    return sign_cancel(Cancel(version=1, job_id=job_id, issued_ms=WALL_MS), key)


def statement(
    key: SigningKey, *, projects: tuple[ProjectKey, ...] = (PROJECT,), curve: bytes = b"", **changes: Any
) -> Certified:
    """A node's key statement as others receive it."""
    node = node_id(key.public_key)
    fields: dict[str, Any] = {
        "version": 1,
        "curve_key": curve or node,
        "seal_key": b"s" * 32,
        "addresses": ("127.0.0.1:1456",),
        "sequence": 1,
        "not_after_ms": WALL_MS + 1_000_000,
        "name": "node",
        "hints": tuple(project.hint(node) for project in projects),
    }
    return verify_key_statement(sign_key_statement(KeyStatement(**(fields | changes)), key), 0)


def received(message: Any, sender: bytes, **fields: Any) -> Received:
    """`message` as it comes out of the gate."""
    return Received(message=message, sender=sender, **({"message_id": b"m" * 16} | fields))


def sends(effects: Effects, kind: type[Any] = object) -> list[Send]:
    return [one for one in effects if isinstance(one, Send) and isinstance(one.message, kind)]


def messages(effects: Effects, kind: type[Any] = object) -> list[Any]:
    return [one.message for one in sends(effects, kind)]


def news(effects: Effects, kind: type[Any] = object) -> list[Any]:
    return [one.event for one in effects if isinstance(one, Publish) and isinstance(one.event, kind)]


def refusals(effects: Effects) -> list[str]:
    return [one.code for one in effects if isinstance(one, Refuse)]


def writes(effects: Effects) -> list[Write]:
    return [write for one in effects if isinstance(one, Persist) for write in one.writes]


def outcomes(effects: Effects) -> list[Outcome]:
    """The signed outcomes that a worker sends."""
    return [verify_outcome(one.outcome)[0] for message in messages(effects, Results) for one in message.results]
