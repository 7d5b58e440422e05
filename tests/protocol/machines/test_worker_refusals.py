"""Nothing starts at a worker unless order, plan, offer and message all hold; every refusal says why, signed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from protocol import kinds
from protocol.columns import ColumnRules
from protocol.errors import Code, DeniedError, RemoteProtocolError
from protocol.ids import node_id
from protocol.key_statement import KeyStatement
from protocol.limits import (
    CANCEL_BYTES_MAX,
    CLOCK_TOLERANCE_MS,
    INLINE_BYTES_MAX,
    ORDER_LIFE_MS,
    PARTICIPANTS_MAX,
    RENEWALS_PER_LEASE,
    TASKS_LIVE_PER_WORKER_MAX,
)
from protocol.machines.attempts import AttemptRow
from protocol.machines.contract import Effects, KillTask, Persist, Put, Received, StartTask, TimerFired
from protocol.machines.events import ProjectsHeld, TaskDied, TaskProduced
from protocol.machines.executed import ExecutedRow
from protocol.machines.worker import Worker
from protocol.plan.artifact import Query, artifact_bytes, groups_artifact, summary_artifact
from protocol.plan.filters import Compare
from protocol.plan.operations import GroupParameters
from protocol.plan.order import (
    Cancel,
    JobLimits,
    Order,
    ParticipantRule,
    SignedOrder,
    sign_cancel,
    verify_cancel,
)
from protocol.plan.plan import Outcome, Participant, Plan, sign_plan
from protocol.plan.products import product_digest
from protocol.policy import NodePolicy, SourcePolicy
from protocol.signing import ORDER_STATEMENT, PLAN_STATEMENT, Envelope, SigningKey, envelope_bytes, sign_statement
from protocol.wire.codec import decode_record, encode_record
from protocol.wire.jobs import Renew, Renewed, Results, Stop, TaskOffer, Tasks
from protocol.wire.registry import encode_message
from tests.protocol.builders import (
    COUNT,
    OTHER_PROJECT,
    PROJECT,
    STRANGER,
    SUBMITTER,
    WALL_MS,
    cancel_of,
    messages,
    node_key,
    now,
    order,
    outcomes,
    received,
    refusals,
    signed,
    writes,
)

KEY, SCHEDULER, RIVAL = node_key(1), node_key(2), node_key(3)
OWN, LEADER = node_id(KEY.public_key), node_id(SCHEDULER.public_key)
HERE = (Participant(node=OWN, source="s"),)
SETTINGS = b"settings"
MEASURE = TaskOffer(index=1, attempt=1, inputs=(SETTINGS,))


BEFORE = DeniedError(Code.POLICY_DENIED, "denied before")


def new_worker(rows: dict[str, list[tuple[bytes, bytes]]] | None = None, **policy: Any) -> Worker:
    source = SourcePolicy(**({"projects": frozenset([PROJECT.project_id])} | policy))
    worker = Worker(KEY, OWN, NodePolicy(sources={"s": source}), rows or {})
    worker.step(ProjectsHeld(projects=(PROJECT,), statement=b""), now())
    return worker


def plan(job_id: bytes, key: SigningKey = SCHEDULER, /, **changes: Any) -> bytes:
    fields: dict[str, Any] = {"version": 1, "job_id": job_id, "epoch": 5, "participants": HERE}
    return sign_plan(Plan(**(fields | changes)), key)


def offer(
    an_order: SignedOrder | None = None, job_id: bytes = b"", *, plan_bytes: bytes = b"", **header: Any
) -> Received:
    """A good offer unless told otherwise; `header` changes the frame's facts."""
    good, good_id = signed()
    an_order, job_id = an_order or good, job_id or good_id
    tasks = Tasks(job_id=job_id, order=an_order, plan=plan_bytes or plan(job_id), tasks=(MEASURE,))
    return received(tasks, header.pop("sender", LEADER), **({"project": PROJECT.project_id, "fence": 5} | header))


def with_message(event: Received, **changes: Any) -> Received:
    return msgspec.structs.replace(event, message=msgspec.structs.replace(event.message, **changes))


def started(effects: Effects) -> list[StartTask]:
    return [one for one in effects if isinstance(one, StartTask)]


def assert_refused(worker: Worker, event: Received, *codes: Code, at_ms: int = 0) -> None:
    """Refused with the reason, told in a signed outcome; nothing started, no attempt stored."""
    effects = worker.step(event, now(at_ms))
    worker.check()
    assert not started(effects) and not worker.snapshot().running
    (code,) = set(refusals(effects))
    assert code in codes, code
    told = outcomes(effects)
    assert [(one.state, one.code) for one in told] == [("failed", code)] * len(event.message.tasks)
    assert all(one.sentence for one in told)


def test_a_good_offer_starts_its_task_after_its_rows_are_written() -> None:
    effects = new_worker().step(offer(), now())
    (start,) = started(effects)
    assert (start.source, start.request.operation, start.request.inputs) == ("s", "summary.measure", (SETTINGS,))
    puts = [write for write in writes(effects) if isinstance(write, Put)]
    assert {put.kind for put in puts} == {kinds.EXECUTED, kinds.ATTEMPT} and isinstance(effects[0], Persist)
    assert not refusals(effects)


# --- the order ---------------------------------------------------------------------------------------------------

OTHER_ARTIFACT = artifact_bytes(summary_artifact(PROJECT.project_id, Query(columns=("income",)), COUNT))
ORDER_CHANGES: dict[str, Any] = {
    "version": None,  # only 1 can be written
    "artifact": OTHER_ARTIFACT,
    "participants": ParticipantRule(holders_min=1, rule="listed", nodes=(OWN,)),
    "schedulers": (LEADER,),
    "limits": JobLimits(deadline_ms=77_000),
    "nonce": b"N" * 16,
    "issued_ms": WALL_MS - 1,
    "expires_ms": WALL_MS + ORDER_LIFE_MS + 1,
}


def test_every_field_of_an_order_is_altered_below() -> None:
    assert set(ORDER_CHANGES) == set(Order.__struct_fields__)


def altered_payloads() -> list[Any]:
    changed = [
        pytest.param(encode_record(order(**{name: value})), id=name)
        for name, value in ORDER_CHANGES.items()
        if value is not None
    ]
    other_version = encode_record(order()).replace(b"version\x01", b"version\x02")
    return [*changed, pytest.param(other_version, id="version")]


def envelope_of(signed_order: SignedOrder) -> Envelope:
    return decode_record(signed_order.envelope, Envelope, bytes_max=200_000)


@pytest.mark.parametrize("payload", altered_payloads())
def test_a_field_altered_under_the_old_signature_is_refused(payload: bytes) -> None:
    good, job_id = signed()
    assert payload != envelope_of(good).payload
    forged = envelope_bytes(msgspec.structs.replace(envelope_of(good), payload=payload))
    event = offer(SignedOrder(envelope=forged, proof=good.proof), job_id)
    assert_refused(new_worker(), event, Code.ORDER_ALTERED)


@pytest.mark.parametrize("payload", altered_payloads())
def test_a_field_altered_and_signed_by_somebody_else_is_refused(payload: bytes) -> None:
    good, job_id = signed()
    forged = envelope_bytes(sign_statement(ORDER_STATEMENT, payload, STRANGER))
    event = offer(SignedOrder(envelope=forged, proof=good.proof), job_id)
    assert_refused(new_worker(), event, Code.SUBMITTER_NOT_MEMBER, Code.ORDER_MALFORMED)


@pytest.mark.parametrize("field", Envelope.__struct_fields__)
def test_each_field_of_the_envelope_is_refused_when_altered(field: str) -> None:
    good, job_id = signed()
    value: Any = getattr(envelope_of(good), field)
    changed = value + "x" if isinstance(value, str) else bytes([value[0] ^ 1]) + value[1:]
    forged = envelope_bytes(msgspec.structs.replace(envelope_of(good), **{field: changed}))
    event = offer(SignedOrder(envelope=forged, proof=good.proof), job_id)
    assert_refused(new_worker(), event, Code.ORDER_ALTERED, Code.ORDER_MALFORMED)


@pytest.mark.parametrize("proof", [b"", bytes(32), PROJECT.submit_proof(b"o" * 32, SUBMITTER.public_key)])
def test_an_order_without_its_own_proof_of_membership_is_refused(proof: bytes) -> None:
    good, job_id = signed()
    event = offer(SignedOrder(envelope=good.envelope, proof=proof), job_id)
    assert_refused(new_worker(), event, Code.SUBMITTER_NOT_MEMBER)


def test_a_proof_made_with_another_token_is_refused() -> None:
    assert_refused(new_worker(), offer(*signed(project=OTHER_PROJECT)), Code.SUBMITTER_NOT_MEMBER)


def test_an_order_of_a_project_that_this_node_is_not_in_is_refused() -> None:
    artifact = artifact_bytes(summary_artifact(OTHER_PROJECT.project_id, Query(columns=("age",)), COUNT))
    an_order, job_id = signed(order(artifact=artifact), project=OTHER_PROJECT)
    assert_refused(new_worker(), offer(an_order, job_id), Code.PROJECT_UNKNOWN)


def test_an_order_is_refused_from_the_first_millisecond_after_it_expired() -> None:
    assert started(new_worker().step(offer(), now(ORDER_LIFE_MS)))
    assert_refused(new_worker(), offer(), Code.ORDER_EXPIRED, at_ms=ORDER_LIFE_MS + 1)


def test_an_order_from_the_future_is_refused_beyond_the_tolerance() -> None:
    early = order(issued_ms=WALL_MS + CLOCK_TOLERANCE_MS, expires_ms=WALL_MS + ORDER_LIFE_MS)
    assert started(new_worker().step(offer(*signed(early)), now()))
    assert_refused(new_worker(), offer(*signed(early)), Code.TIME_OUTSIDE, at_ms=-1)


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": b"short"},
        {"expires_ms": WALL_MS},
        {"expires_ms": WALL_MS + 10**12},
        {"limits": JobLimits(lease_ms=1)},
        {"limits": JobLimits(lease_ms=10**12)},
        {"limits": JobLimits(deadline_ms=0)},
        {"limits": JobLimits(deadline_ms=10**12)},
        {"schedulers": (b"short",)},
        {"participants": ParticipantRule(rule="listed")},
        {"participants": ParticipantRule(rule="all", nodes=(OWN,))},
        {"participants": ParticipantRule(rule="listed", nodes=(OWN, OWN))},
        {"participants": ParticipantRule(holders_min=0)},
        {"artifact": b"no artifact"},
    ],
)
def test_an_order_that_makes_no_sense_is_refused_although_it_is_signed(changes: dict[str, Any]) -> None:
    envelope = sign_statement(ORDER_STATEMENT, encode_record(order(**changes)), SUBMITTER)
    event = offer(SignedOrder(envelope=envelope_bytes(envelope), proof=b""), b"j" * 32)
    assert_refused(new_worker(), event, Code.ORDER_MALFORMED, Code.ARTIFACT_MALFORMED)


# --- the plan ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"job_id": b"o" * 32}, Code.PLAN_OUTSIDE_ORDER),
        ({"epoch": 4}, Code.PLAN_OUTSIDE_ORDER),
        ({"epoch": 6}, Code.PLAN_OUTSIDE_ORDER),
        ({"participants": ()}, Code.PLAN_OUTSIDE_ORDER),
        ({"participants": HERE * 2}, Code.PLAN_OUTSIDE_ORDER),
        ({"participants": (Participant(node=b"\xff" * 32, source="s"), *HERE)}, Code.PLAN_OUTSIDE_ORDER),
        ({"participants": (Participant(node=OWN, source=""),)}, Code.PLAN_OUTSIDE_ORDER),
        ({"participants": (Participant(node=OWN, source="s" * 65),)}, Code.PLAN_OUTSIDE_ORDER),
        ({"participants": (Participant(node=b"short", source="s"),)}, Code.PLAN_OUTSIDE_ORDER),
        ({"participants": (Participant(node=LEADER, source="s"),)}, Code.TASK_NOT_DERIVED),
        (
            {"participants": tuple(Participant(node=OWN, source=f"s{i:03}") for i in range(PARTICIPANTS_MAX + 1))},
            Code.PLAN_OUTSIDE_ORDER,
        ),
    ],
)
def test_each_field_of_a_plan_is_refused_when_it_is_not_the_orders(changes: dict[str, Any], code: Code) -> None:
    _, job_id = signed()
    assert_refused(new_worker(), offer(plan_bytes=plan(job_id, **changes)), code)


def test_a_plan_altered_under_its_signature_is_refused() -> None:
    _, job_id = signed()
    envelope = decode_record(plan(job_id), Envelope, bytes_max=200_000)
    for field in Envelope.__struct_fields__:
        value: Any = getattr(envelope, field)
        changed = value + "x" if isinstance(value, str) else bytes([value[0] ^ 1]) + value[1:]
        forged = envelope_bytes(msgspec.structs.replace(envelope, **{field: changed}))
        event = offer(plan_bytes=forged)
        assert_refused(new_worker(), event, Code.SIGNATURE_WRONG, Code.STATEMENT_MALFORMED, Code.KEY_WEAK)


def test_a_plan_of_another_version_is_refused() -> None:
    _, job_id = signed()
    payload = decode_record(plan(job_id), Envelope, bytes_max=200_000).payload.replace(b"version\x01", b"version\x02")
    forged = envelope_bytes(sign_statement(PLAN_STATEMENT, payload, SCHEDULER))
    assert_refused(new_worker(), offer(plan_bytes=forged), Code.BODY_MALFORMED)


def test_a_plan_signed_by_somebody_else_than_the_sender_is_refused() -> None:
    _, job_id = signed()
    assert_refused(new_worker(), offer(plan_bytes=plan(job_id, RIVAL)), Code.PLAN_OUTSIDE_ORDER)


def test_a_scheduler_that_the_order_does_not_name_is_refused() -> None:
    an_order, job_id = signed(order(schedulers=(node_id(RIVAL.public_key),)))
    assert_refused(new_worker(), offer(an_order, job_id), Code.SCHEDULER_NOT_ALLOWED)


@pytest.mark.parametrize(
    "rule", [ParticipantRule(rule="listed", nodes=(LEADER,)), ParticipantRule(rule="listed", nodes=(OWN, LEADER))]
)
def test_a_plan_with_other_holders_than_listed_is_refused(rule: ParticipantRule) -> None:
    assert_refused(new_worker(), offer(*signed(order(participants=rule))), Code.PLAN_OUTSIDE_ORDER)


def test_a_plan_with_fewer_holders_than_asked_for_is_refused() -> None:
    rule = ParticipantRule(holders_min=2)
    assert_refused(new_worker(), offer(*signed(order(participants=rule))), Code.PLAN_OUTSIDE_ORDER)


# --- offer, message, header --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"index": 0},
        {"index": 2},
        {"index": 3},
        {"index": -1},
        {"index": 2**40},
        {"inputs": ()},
        {"inputs": (b"a", b"b")},
    ],
)
def test_an_offer_that_does_not_follow_from_order_and_plan_is_refused(change: dict[str, Any]) -> None:
    event = with_message(offer(), tasks=(msgspec.structs.replace(MEASURE, **change),))
    assert_refused(new_worker(), event, Code.TASK_NOT_DERIVED)


def test_more_offers_than_a_plan_can_have_are_refused_with_no_more_answers_than_that() -> None:
    event = with_message(offer(), tasks=(MEASURE,) * (PARTICIPANTS_MAX + 5))
    effects = new_worker().step(event, now())
    assert set(refusals(effects)) == {Code.TASK_NOT_DERIVED} and not started(effects)
    assert len(outcomes(effects)) == PARTICIPANTS_MAX


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (offer(job_id=b"o" * 32), Code.ORDER_ALTERED),
        (offer(fence=4), Code.PLAN_OUTSIDE_ORDER),
        (offer(fence=6), Code.PLAN_OUTSIDE_ORDER),
        (offer(sender=node_id(RIVAL.public_key)), Code.PLAN_OUTSIDE_ORDER),
        (offer(project=OTHER_PROJECT.project_id), Code.PROJECT_UNKNOWN),
        (offer(project=b""), Code.PROJECT_UNKNOWN),
    ],
    ids=["job id", "lower fence", "higher fence", "sender", "other project", "no project"],
)
def test_a_fact_of_message_or_header_that_does_not_fit_is_refused(event: Received, code: Code) -> None:
    assert_refused(new_worker(), event, code)


# --- the holder's policy -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ({"projects": frozenset()}, Code.SOURCE_UNKNOWN),
        ({"projects": frozenset([OTHER_PROJECT.project_id])}, Code.SOURCE_UNKNOWN),
        ({"submitters": frozenset([node_id(STRANGER.public_key)])}, Code.POLICY_DENIED),
        ({"columns": ColumnRules(columns=frozenset(["age"]))}, Code.POLICY_DENIED),
    ],
)
def test_the_holders_policy_says_no_with_a_next_step(policy: dict[str, Any], code: Code) -> None:
    worker = new_worker(**policy)
    assert_refused(worker, offer(), code)
    assert all(one.next_step for one in outcomes(new_worker(**policy).step(offer(), now())))


def test_a_source_that_does_not_exist_reads_as_one_that_is_not_open() -> None:
    _, job_id = signed()
    event = offer(plan_bytes=plan(job_id, participants=(Participant(node=OWN, source="secret"),)))
    assert_refused(new_worker(), event, Code.SOURCE_UNKNOWN)


def test_columns_of_the_filter_count_as_well() -> None:
    query = Query(columns=("age",), where=Compare(column="income", relation=">", value=1))
    artifact = artifact_bytes(summary_artifact(PROJECT.project_id, query, COUNT))
    worker = new_worker(columns=ColumnRules(columns=frozenset(["age"])))
    assert_refused(worker, offer(*signed(order(artifact=artifact))), Code.POLICY_DENIED)


def test_columns_that_group_count_as_well() -> None:
    parameters = GroupParameters(by=("sex",), statistics=("count",))
    artifact = artifact_bytes(groups_artifact(PROJECT.project_id, Query(columns=("age",)), parameters))
    worker = new_worker(columns=ColumnRules(columns=frozenset(["age"])))
    assert_refused(worker, offer(*signed(order(artifact=artifact))), Code.POLICY_DENIED)


# --- orders that the worker knows --------------------------------------------------------------------------------


def finish(worker: Worker, job_id: bytes) -> Outcome:
    effects = worker.step(TaskProduced(key=job_id + b"\0\0\0\1", product=b"product"), now())
    worker.check()
    return outcomes(effects)[0]


def test_an_order_that_has_run_never_runs_again_even_after_a_restart() -> None:
    _, job_id = signed()
    worker = new_worker()
    effects = list(worker.step(offer(), now()))
    finish(worker, job_id)
    effects += worker.step(received(Stop(job_id=job_id, ended=True), LEADER, fence=5), now())
    assert_refused(worker, offer(), Code.ALREADY_RUN)
    puts = [write for write in writes(tuple(effects)) if isinstance(write, Put)]
    executed = [put.value for put in puts if put.kind == kinds.EXECUTED][-1]
    assert_refused(new_worker({"executed": [(job_id, executed)]}), offer(), Code.ALREADY_RUN)


def test_the_same_offer_again_gives_the_same_answer_again_without_running() -> None:
    _, job_id = signed()
    worker = new_worker()
    worker.step(offer(), now())
    assert not started(worker.step(offer(), now()))  # it runs
    first = finish(worker, job_id)
    effects = worker.step(offer(), now())
    assert not started(effects) and outcomes(effects) == [first]


def test_another_scheduler_cannot_take_over_a_job() -> None:
    _, job_id = signed()
    worker = new_worker()
    worker.step(offer(), now())
    event = offer(plan_bytes=plan(job_id, RIVAL, epoch=9), sender=node_id(RIVAL.public_key), fence=9)
    effects = worker.step(event, now())
    assert refusals(effects) == [Code.SCHEDULER_NOT_ALLOWED] and not started(effects)


def test_an_older_epoch_of_the_same_scheduler_is_refused_and_a_newer_one_fences_the_attempt() -> None:
    _, job_id = signed()
    worker = new_worker()
    worker.step(offer(), now())
    effects = worker.step(offer(plan_bytes=plan(job_id, epoch=7), fence=7), now())
    assert not started(effects) and not refusals(effects)
    assert refusals(worker.step(offer(), now())) == [Code.EPOCH_OLD]
    assert finish(worker, job_id).epoch == 7


def test_an_older_attempt_is_refused_and_a_newer_one_of_a_failed_task_runs() -> None:
    _, job_id = signed()
    worker = new_worker()
    worker.step(offer(), now())
    worker.step(TaskDied(key=job_id + b"\0\0\0\1", reason="crashed"), now())
    again = with_message(offer(), tasks=(msgspec.structs.replace(MEASURE, attempt=2),))
    assert len(started(worker.step(again, now()))) == 1
    assert refusals(worker.step(offer(), now())) == [Code.EPOCH_OLD]


def test_a_cancelled_order_is_refused_and_its_task_killed() -> None:
    _, job_id = signed()
    worker = new_worker()
    worker.step(offer(), now())
    effects = worker.step(received(Stop(job_id=job_id, cancel=cancel_of(job_id)), LEADER, fence=5), now())
    assert [one.key for one in effects if isinstance(one, KillTask)] == [job_id + b"\0\0\0\1"]
    assert [one.state for one in outcomes(effects)] == ["cancelled"]
    assert_refused(worker, offer(), Code.JOB_CANCELLED)


@pytest.mark.parametrize(
    "cancel",
    [b"", b"x" * 100, cancel_of(signed()[1], STRANGER), cancel_of(signed()[1], SCHEDULER), cancel_of(b"o" * 32)],
)
def test_a_cancel_that_is_not_the_submitters_stops_nothing(cancel: bytes) -> None:
    _, job_id = signed()
    worker = new_worker()
    worker.step(offer(), now())
    effects = worker.step(received(Stop(job_id=job_id, cancel=cancel), LEADER, fence=5), now())
    assert refusals(effects) and worker.snapshot().running == 1


@pytest.mark.parametrize("facts", [{"sender": node_id(RIVAL.public_key), "fence": 5}, {"sender": LEADER, "fence": 4}])
def test_a_stop_of_another_node_or_an_older_epoch_stops_nothing(facts: dict[str, Any]) -> None:
    _, job_id = signed()
    worker = new_worker()
    worker.step(offer(), now())
    effects = worker.step(received(Stop(job_id=job_id, ended=True), **facts), now())
    assert refusals(effects) == [Code.JOB_UNKNOWN] and worker.snapshot().running == 1


def test_a_worker_takes_no_more_tasks_than_its_limit() -> None:
    rows = []
    for count in range(TASKS_LIVE_PER_WORKER_MAX // 10):  # rows of others, ten at a time
        for index in range(10):
            key = count.to_bytes(32) + index.to_bytes(4)
            one = msgspec.structs.replace(MEASURE, index=index)
            rows.append((key, encode_record(AttemptRow.refused(offer(), key[:32], one, BEFORE, WALL_MS))))
    worker = new_worker({"attempt": rows})
    effects = worker.step(offer(), now())
    assert refusals(effects) == [Code.BUSY] and not started(effects)


def test_an_order_is_forgotten_once_it_has_expired_and_is_over() -> None:
    ended = ExecutedRow(
        scheduler=LEADER, epoch=5, expires_ms=WALL_MS, ends_ms=WALL_MS, submitter=SUBMITTER.public_key, state="ended"
    )
    worker = new_worker({"executed": [(b"o" * 32, encode_record(ended))]})
    worker.step(offer(), now(3 * CLOCK_TOLERANCE_MS))
    assert worker.snapshot().orders == 1


def test_a_job_whose_scheduler_has_gone_for_good_is_forgotten_in_the_end() -> None:
    _, job_id = signed()
    worker = new_worker()
    worker.step(offer(), now())
    finish(worker, job_id)
    name = f"lease:{job_id.hex()}"
    much_later = now(ORDER_LIFE_MS + JobLimits().deadline_ms + CLOCK_TOLERANCE_MS + 1)
    worker.step(TimerFired(name=name), much_later)
    worker.check()
    assert worker.snapshot().ended == 0


# --- lease and product -------------------------------------------------------------------------------------------


def test_a_lease_holds_from_the_moment_its_last_answered_renewal_was_sent() -> None:
    _, job_id = signed()
    worker = new_worker()
    worker.step(offer(), now())
    name, lease_ms = f"lease:{job_id.hex()}", JobLimits().lease_ms
    pause = lease_ms // RENEWALS_PER_LEASE
    (renew,) = messages(worker.step(TimerFired(name=name), now(pause)), Renew)
    for wrong in (
        received(Renewed(job_id=job_id, token=renew.token), node_id(RIVAL.public_key)),
        received(Renewed(job_id=job_id, token=99), LEADER),
    ):
        worker.step(wrong, now(lease_ms - 1))
    worker.step(received(Renewed(job_id=job_id, token=renew.token), LEADER), now(lease_ms - 1))
    assert not [one for one in worker.step(TimerFired(name=name), now(lease_ms)) if isinstance(one, KillTask)]
    lost = worker.step(TimerFired(name=name), now(lease_ms + pause))
    assert [one for one in lost if isinstance(one, KillTask)] and worker.snapshot().running == 0


def test_a_product_at_the_limit_is_answered_with_its_digest() -> None:
    _, job_id = signed()
    worker = new_worker()
    worker.step(offer(), now())
    product = bytes(INLINE_BYTES_MAX)
    effects = worker.step(TaskProduced(key=job_id + b"\0\0\0\1", product=product), now())
    (outcome,) = outcomes(effects)
    assert (outcome.state, outcome.digest, outcome.inputs) == (
        "succeeded",
        product_digest(product),
        (product_digest(SETTINGS),),
    )
    assert messages(effects, Results)[0].results[0].product == product


# --- one kind of statement is never another ----------------------------------------------------------------------

STATEMENTS: dict[str, Callable[[], bytes]] = {
    "order": lambda: signed()[0].envelope,
    "plan": lambda: plan(signed()[1]),
    "cancel": lambda: cancel_of(signed()[1]),
}


@pytest.mark.parametrize("given", STATEMENTS)
@pytest.mark.parametrize("place", STATEMENTS)
def test_a_statement_of_one_kind_is_never_taken_as_another(given: str, place: str) -> None:
    good, job_id = signed()
    data = STATEMENTS[given]()
    worker = new_worker()
    if place == "cancel":
        worker.step(offer(), now())
        effects = worker.step(received(Stop(job_id=job_id, cancel=data), LEADER, fence=5), now())
    elif place == "plan":
        effects = worker.step(offer(plan_bytes=data), now())
    else:
        effects = worker.step(offer(SignedOrder(envelope=data, proof=good.proof), job_id), now())
    assert bool(refusals(effects)) == (given != place)


def test_records_of_statements_have_no_common_shape() -> None:
    """Even without the type in the signature, the payload of one would not read as another."""
    payloads = {
        Order: encode_record(order()),
        Cancel: encode_record(Cancel(version=1, job_id=b"j" * 32, issued_ms=0)),
        Plan: encode_record(Plan(version=1, job_id=b"j" * 32, epoch=1, participants=HERE)),
    }
    for record in (Order, Cancel, Plan, Outcome, KeyStatement):
        for made_as, payload in payloads.items():
            if made_as is not record:
                with pytest.raises(RemoteProtocolError, match="not the record expected"):
                    decode_record(payload, record, bytes_max=200_000)


def test_a_scheduler_cannot_run_a_task_again_under_the_index_of_another_plan() -> None:
    """With one more participant before it, the same source would be a new task, run on what the table holds by now."""
    worker = new_worker()
    good = offer()
    assert started(worker.step(good, now()))
    job_id = good.message.job_id
    wider = sorted((*HERE, Participant(node=min(bytes(32), OWN), source="s")))
    again = plan(job_id, participants=tuple(wider))
    event = with_message(good, plan=again, tasks=(TaskOffer(index=2, attempt=1, inputs=(SETTINGS,)),))
    assert_refused_beside_a_running_one(worker, event, Code.PLAN_OUTSIDE_ORDER)
    newer = plan(job_id, participants=tuple(wider), epoch=6)
    event = msgspec.structs.replace(with_message(event, plan=newer), fence=6)
    assert_refused_beside_a_running_one(worker, event, Code.PLAN_OUTSIDE_ORDER)


def assert_refused_beside_a_running_one(worker: Worker, event: Received, code: Code) -> None:
    effects = worker.step(event, now())
    worker.check()
    assert not started(effects) and worker.snapshot().running == 1
    assert refusals(effects) == [code]


def test_one_message_does_not_make_a_worker_write_and_send_hundreds() -> None:
    event = with_message(offer(), plan=b"", tasks=(MEASURE,) * PARTICIPANTS_MAX)
    effects = new_worker().step(event, now())
    assert len(outcomes(effects)) == PARTICIPANTS_MAX
    assert len(writes(effects)) == 1 and len(messages(effects, Results)) == 4


def test_a_cancel_that_no_stop_could_carry_on_is_refused() -> None:
    long = Cancel(version=1, job_id=b"j" * 32, issued_ms=0, reason="r" * CANCEL_BYTES_MAX)
    with pytest.raises(DeniedError) as caught:
        verify_cancel(sign_cancel(long, SUBMITTER), b"j" * 32, SUBMITTER.public_key)
    assert caught.value.code == Code.STATEMENT_MALFORMED
    stop = Stop(job_id=b"j" * 32, cancel=bytes(CANCEL_BYTES_MAX), ended=True)
    encode_message(stop)
