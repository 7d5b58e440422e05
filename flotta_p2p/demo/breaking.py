"""`demo --break`: what somebody might try against the three nodes, and what came of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from actors.adapters.entropy import SystemEntropy
from flotta_p2p.demo.fleet import Fleet
from flotta_p2p.demo.meeting import Member
from flotta_p2p.demo.narration import Narrator
from flotta_p2p.demo.question import BILL, ask
from flotta_p2p.demo.submitter import JOB_LIMIT_S, Submitter
from flotta_p2p.submission import JobClient
from protocol.errors import Code, DeniedError, UnreachableError
from protocol.ids import short_job_id
from protocol.limits import LEASE_GRACE_MS, STATEMENT_BYTES_MAX
from protocol.plan.artifact import artifact_bytes, read_artifact
from protocol.plan.order import Order, SignedOrder, job_id_of
from protocol.record import Record
from protocol.signing import Envelope, SigningKey, envelope_bytes
from protocol.tokens import TOKEN_ENTROPY_BYTES, ProjectKey, new_token
from protocol.wire.codec import decode_record, encode_record
from protocol.wire.jobs import JobStatus

_LEASE_MS: Final = 2_000  # the holder that is killed may be silent so long
_END_LIMIT_S: Final = (_LEASE_MS + LEASE_GRACE_MS) / 1000
_BUSY_S: Final = 1.5  # a busy machine notices the end of a lease later, and we notice the end of the job later
_OTHER_COLUMN: Final = "flipper_length_mm"
_LOOK_S: Final = 0.02


class Attempt(Record, frozen=True):
    """One sentence each: what was tried, what was promised, what happened."""

    tried: str
    promised: str
    happened: str
    as_promised: bool


Ending = tuple[str, bool]  # what happened, and whether it was as promised


class _Setting(Record, frozen=True):
    fleet: Fleet
    members: list[Member]
    project: ProjectKey
    key: SigningKey
    order: SignedOrder  # of the job that has succeeded


def attempts(
    fleet: Fleet, members: list[Member], project: ProjectKey, key: SigningKey, order: SignedOrder, narrator: Narrator
) -> tuple[Attempt, ...]:
    """`order` is that of a job which the first member has led to success. The last member is dead afterwards."""
    setting = _Setting(fleet=fleet, members=members, project=project, key=key, order=order)
    names = {"first": members[0].name, "second": members[1].name, "last": members[-1].name}
    made: list[Attempt] = []
    narrator.step("Now somebody tries to break them")
    for attack, promise, act in _TRIALS:
        tried, promised = attack.format(**names), promise.format(**names)
        narrator.say(f"Tried:    {tried}")
        narrator.say(f"Promised: {promised}")
        with narrator.waiting("waiting for what happens"):
            happened, as_promised = act(setting)
        narrator.verdict(as_promised, f"Happened: {happened} {'As promised.' if as_promised else 'NOT AS PROMISED.'}")
        narrator.gap()
        made.append(Attempt(tried=tried, promised=promised, happened=happened, as_promised=as_promised))
    broken = [str(at) for at, attempt in enumerate(made, start=1) if not attempt.as_promised]
    verdict = f"Not as promised: attempt {', '.join(broken)} of {len(made)}." if broken else "All ended as promised."
    narrator.verdict(not broken, verdict)
    return tuple(made)


# --- refusals ------------------------------------------------------------------------------------


def _altered(setting: _Setting) -> Ending:
    return _all_refuse(setting, alter(setting.order, setting.project), Code.ORDER_ALTERED)


def alter(order: SignedOrder, project: ProjectKey) -> SignedOrder:
    """The order with another column in its question, and with the proof that one who knows the token can make for it:
    only the signature does not fit.
    """
    envelope = decode_record(order.envelope, Envelope, bytes_max=STATEMENT_BYTES_MAX)
    said = decode_record(envelope.payload, Order, bytes_max=STATEMENT_BYTES_MAX)
    artifact = read_artifact(said.artifact)
    columns = tuple(_OTHER_COLUMN if name == BILL else name for name in artifact.query.columns)
    asked = replace(artifact, query=replace(artifact.query, columns=columns))
    payload = encode_record(replace(said, artifact=artifact_bytes(asked)))
    proof = project.submit_proof(job_id_of(payload, envelope.signer), envelope.signer)
    return SignedOrder(envelope=envelope_bytes(replace(envelope, payload=payload)), proof=proof)


def _without_token(setting: _Setting) -> Ending:
    prepared = Submitter(setting.members[0], setting.key).prepare(ask(setting.project.project_id))
    other = ProjectKey.derive(new_token(SystemEntropy().bytes(TOKEN_ENTROPY_BYTES)))
    proof = other.submit_proof(prepared.job_id, prepared.submitter_key)
    order = SignedOrder(envelope=prepared.envelope, proof=proof)
    return _all_refuse(setting, order, Code.SUBMITTER_NOT_MEMBER)


def _all_refuse(setting: _Setting, order: SignedOrder, code: Code) -> Ending:
    refusals = {member.name: _refusal(member, setting.key, order) for member in setting.members}
    if all(refusal is not None and refusal.code == code for refusal in refusals.values()):
        sentences = {refusal.sentence for refusal in refusals.values() if refusal is not None}
        return f"{_and(list(refusals))} each refused: {'; '.join(sorted(sentences))}.", True
    return " ".join(f"{name}: {refusal or 'took it.'}" for name, refusal in refusals.items()), False


def _refusal(member: Member, key: SigningKey, order: SignedOrder) -> DeniedError | None:
    try:
        Submitter(member, key).client.submit(order)
    except DeniedError as refusal:
        return refusal
    return None


# --- replays -------------------------------------------------------------------------------------


def _replayed(setting: _Setting) -> Ending:
    client = Submitter(setting.members[0], setting.key).client
    (known,) = client.jobs()
    before = _work_done(setting)
    again = client.submit(setting.order)
    same = (again.job_id, again.state, again.ended_ms) == (known.job_id, "succeeded", known.ended_ms)
    idle = _work_done(setting) == before and len(client.jobs()) == 1
    answer = f"it answered with the job {short_job_id(again.job_id)}, {again.state}"
    return f"{answer}; {_tasks_run(before, _work_done(setting))}.", same and idle


def _replayed_elsewhere(setting: _Setting) -> Ending:
    member = setting.members[1]
    before = _work_done(setting)
    status = _end_of(Submitter(member, setting.key), setting.order)
    refused = status.cause is not None and status.cause.code in (Code.ALREADY_RUN, Code.SCHEDULER_NOT_ALLOWED)
    idle = _work_done(setting) == before
    return f"{_ended(status)}; {_tasks_run(before, _work_done(setting))}.", refused and idle


def _end_of(submitter: Submitter, order: SignedOrder) -> JobStatus:
    status = submitter.client.submit(order)
    return submitter.client.wait(status.job_id, limit_s=JOB_LIMIT_S)


def _work_done(setting: _Setting) -> list[tuple[int, int]]:
    """Of each node: tasks started, bytes released."""
    works = [member.status()["work"] for member in setting.members]
    return [(work["tasks_started"], work["bytes_released"]) for work in works]


def _tasks_run(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> str:
    (tasks, sent), (tasks_now, sent_now) = (map(sum, zip(*counts, strict=True)) for counts in (before, after))
    return f"tasks run on all nodes: {tasks} before and {tasks_now} after, bytes released: {sent} and {sent_now}"


# --- death ---------------------------------------------------------------------------------------


def _killed(setting: _Setting) -> Ending:
    """The holder is frozen first: so it cannot answer before it is dead, however fast it is."""
    victim, client = setting.members[-1], Submitter(setting.members[0], setting.key).client
    order = Submitter(setting.members[0], setting.key).sign(ask(setting.project.project_id), _LEASE_MS)
    try:
        os.kill(victim.pid, signal.SIGSTOP)
        job_id = client.submit(order).job_id
        _await_offers(client, job_id)
    finally:
        setting.fleet.kill(victim.holder, victim.pid)
    killed_s = time.monotonic()
    status = client.wait(job_id, limit_s=JOB_LIMIT_S)
    took_s = time.monotonic() - killed_s
    cause = status.cause
    named = cause is not None and (cause.code, cause.node) == (Code.HOLDER_LOST, victim.node)
    ending = f"{_ended(status)}, {took_s:.1f} s after its death."
    return ending, status.state == "failed" and named and took_s <= _END_LIMIT_S + _BUSY_S


def _await_offers(client: JobClient, job_id: bytes) -> None:
    """Until the first task is done and with it those of the holders are on their way."""
    deadline_s = time.monotonic() + JOB_LIMIT_S
    while client.status(job_id).tasks_done < 1:
        if time.monotonic() > deadline_s:
            raise UnreachableError(Code.TIMED_OUT, f"the job did not begin within {JOB_LIMIT_S:g} s")
        time.sleep(_LOOK_S)


def _ended(status: JobStatus) -> str:
    return f"the job {status.state}" + (f": {status.cause.sentence}" if status.cause is not None else "")


def _and(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


_TRIALS: Final[tuple[tuple[str, str, Callable[[_Setting], Ending]], ...]] = (
    (
        f"the signed order is changed to ask for {_OTHER_COLUMN} instead of {BILL}, and goes to every node.",
        "each node refuses it, since the signature covers the whole order.",
        _altered,
    ),
    (
        "a person who does not know the project's token signs an order of their own, and sends it to every node.",
        "each node refuses it, since the proof of membership is missing.",
        _without_token,
    ),
    (
        "the very same signed order is sent to {first} once more.",
        "it is the same job, and nothing runs twice.",
        _replayed,
    ),
    (
        "the very same signed order is sent to {second}, which did not lead the job.",
        "the job fails there, since every node remembers what it has run, and nothing runs twice.",
        _replayed_elsewhere,
    ),
    (
        f"{{last}} is killed (SIGKILL) in the middle of a job whose lease is {_LEASE_MS / 1000:g} s.",
        f"the job fails and names {{last}}, {_END_LIMIT_S:g} s after it fell silent.",
        _killed,
    ),
)
