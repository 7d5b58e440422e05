"""What holds for every plan, every filter text and every order."""

from __future__ import annotations

import contextlib
import string
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import DeniedError, WorkflowError
from protocol.limits import FILTER_DEPTH_MAX, JOB_TASKS_MAX, PARTICIPANTS_MAX, PROBE_TASKS_MAX
from protocol.machines.jobs import Job, JobRow, TaskState
from protocol.plan.artifact import Artifact, artifact_bytes, probe_artifact, read_artifact
from protocol.plan.filters import AllOf, AnyOf, Compare, Filter, IsIn, IsNull, Not, leaves, parse_filter
from protocol.plan.operations import ProbeParameters
from protocol.plan.order import Order, VerifiedOrder, verify_order
from protocol.plan.plan import Participant, Plan, check_plan, derive, labels_of, sign_plan, verify_plan
from protocol.signing import SigningKey
from tests.protocol.builders import ARTIFACT, PROJECT, SUBMITTER, node_key, order, signed

SCHEDULER = b"s" * 32
SUMMARY: Artifact = read_artifact(ARTIFACT)
NODES = st.binary(min_size=32, max_size=32)
SOURCES = st.text(string.ascii_letters, min_size=1, max_size=8)
PARTICIPANTS = st.sets(
    st.builds(lambda node, source: Participant(node=node, source=source), NODES, SOURCES), min_size=1, max_size=30
).map(lambda some: tuple(sorted(some)))

VALUES = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=5))
NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=8)
LEAVES: st.SearchStrategy[Filter] = st.one_of(
    st.builds(
        lambda column, relation, value: Compare(column=column, relation=relation, value=value),
        NAMES,
        st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
        VALUES,
    ),
    st.builds(lambda column: IsNull(column=column), NAMES),
    st.builds(lambda column, values: IsIn(column=column, values=tuple(values)), NAMES, st.lists(VALUES, min_size=1)),
)


def grown(terms: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    lists = st.lists(terms, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.builds(lambda some: AllOf(terms=some), lists),
        st.builds(lambda some: AnyOf(terms=some), lists),
        st.builds(lambda term: Not(term=term), terms),
    )


def depth(term: Filter) -> int:
    match term:
        case AllOf(terms=terms) | AnyOf(terms=terms):
            return 1 + max(depth(one) for one in terms)
        case Not(term=inner):
            return 1 + depth(inner)
        case _:
            return 0


FILTERS = st.recursive(LEAVES, grown, max_leaves=6).filter(lambda term: depth(term) <= FILTER_DEPTH_MAX)


def plan_of(participants: tuple[Participant, ...]) -> Plan:
    return Plan(version=1, job_id=b"j" * 32, epoch=1, participants=participants)


@given(PARTICIPANTS)
def test_every_source_is_measured_once_between_one_start_and_one_end(participants: tuple[Participant, ...]) -> None:
    tasks = derive(SUMMARY, plan_of(participants), SCHEDULER)
    assert [task.index for task in tasks] == list(range(len(participants) + 2))
    first, *measured, last = tasks
    assert (first.node, first.source, first.inputs) == (SCHEDULER, "", ())
    assert [(task.node, task.source) for task in measured] == [(one.node, one.source) for one in participants]
    assert all(task.inputs == (0,) for task in measured)
    assert (last.node, last.inputs) == (SCHEDULER, tuple(task.index for task in measured))
    assert labels_of(last, tasks) == tuple(one.label for one in participants)
    assert len(set(labels_of(last, tasks))) == len(participants)


@given(PARTICIPANTS, st.integers(1, 30))
def test_a_probe_gives_every_source_the_same_number_of_tasks(participants: tuple[Participant, ...], each: int) -> None:
    tasks = derive(probe_artifact(PROJECT.project_id, ProbeParameters(tasks=each)), plan_of(participants), SCHEDULER)
    first, *work, last = tasks
    assert [task.index for task in tasks] == list(range(len(participants) * each + 2))
    assert [(task.node, task.source) for task in work] == [
        (o.node, o.source) for o in participants for _ in range(each)
    ]
    assert all(task.inputs == (first.index,) for task in work)
    assert last.inputs == tuple(task.index for task in work)


def test_a_plan_with_more_tasks_than_a_job_may_have_is_refused() -> None:
    participants = tuple(Participant(node=bytes([number]) * 32, source="s") for number in range(5))
    artifact = probe_artifact(PROJECT.project_id, ProbeParameters(tasks=PROBE_TASKS_MAX))
    assert len(derive(artifact, plan_of(participants[:3]), SCHEDULER)) == 3 * PROBE_TASKS_MAX + 2
    with pytest.raises(DeniedError, match=f"more than {JOB_TASKS_MAX} tasks"):
        derive(artifact, plan_of(participants), SCHEDULER)


@given(PARTICIPANTS)
def test_everybody_derives_the_same_tasks_from_the_bytes(participants: tuple[Participant, ...]) -> None:
    data = sign_plan(plan_of(participants), SigningKey(SCHEDULER))
    read = verify_plan(data).plan
    assert read == plan_of(participants)
    assert derive(read_artifact(artifact_bytes(SUMMARY)), read, SCHEDULER) == derive(
        SUMMARY, plan_of(participants), SCHEDULER
    )


@given(PARTICIPANTS, st.randoms(use_true_random=False))
def test_only_a_sorted_list_without_repetition_is_a_plan(participants: tuple[Participant, ...], random: Any) -> None:
    check_plan(plan_of(participants), order(), SCHEDULER)
    mixed = [*participants, random.choice(participants)]
    random.shuffle(mixed)
    with pytest.raises(DeniedError, match="sorted list"):
        check_plan(plan_of(tuple(mixed)), order(), SCHEDULER)


def test_the_largest_plan_with_the_longest_names_still_fits_its_statement() -> None:
    participants = tuple(Participant(node=i.to_bytes(32), source="s" * 64) for i in range(PARTICIPANTS_MAX))
    assert verify_plan(sign_plan(plan_of(participants), SigningKey(SCHEDULER))).plan.participants == participants


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=12), st.integers(0, 200_000))
@settings(max_examples=50)
def test_loads_hold_each_ready_task_once_one_worker_each_and_fit(sources: list[int], size: int) -> None:
    participants = tuple(
        sorted(Participant(node=(number % 3).to_bytes(32), source=f"s{i}") for i, number in enumerate(sources))
    )
    tasks = [TaskState(task) for task in derive(SUMMARY, plan_of(participants), SCHEDULER)]
    tasks[0].state, tasks[0].product = "succeeded", bytes(size)
    an_order, job_id = signed()
    verified = VerifiedOrder(
        job_id=job_id, order=order(), artifact=SUMMARY, submitter=SUBMITTER.public_key, signed=an_order
    )
    row = JobRow(
        job_id=job_id,
        order=an_order,
        project=PROJECT.project_id,
        submitter=SUBMITTER.public_key,
        state="running",
        epoch=1,
        participants=participants,
        submitted_ms=0,
        holder_names={},
    )
    job = Job(row, verified, tasks)
    loads = job.loads(job.ready())
    assert sorted(one.task.index for load in loads for one in load) == list(range(1, len(participants) + 1))
    for load in loads:
        assert len({one.task.node for one in load}) == 1
        assert sum(job.input_bytes(one) for one in load) <= 655_360


@given(st.one_of(st.text(), st.text("ab<>=! ()[]'andornotisNone01.,-")))
def test_any_text_is_a_filter_or_a_workflow_error(text: str) -> None:
    try:
        found = parse_filter(text)
    except WorkflowError:
        return
    assert leaves(found)
    query = msgspec.structs.replace(SUMMARY.query, where=found)
    with contextlib.suppress(WorkflowError):  # a column's name may still be too long
        artifact_bytes(msgspec.structs.replace(SUMMARY, query=query))


@given(FILTERS)
def test_every_filter_survives_the_artifact_that_carries_it(where: Filter) -> None:
    query = msgspec.structs.replace(SUMMARY.query, where=where)
    artifact = msgspec.structs.replace(SUMMARY, query=query)
    assert read_artifact(artifact_bytes(artifact)) == artifact


@given(
    st.binary(min_size=16, max_size=16), st.integers(0, 2**60), st.integers(1, 86_400_000), st.sampled_from(range(1, 5))
)
@settings(max_examples=30)
def test_job_ids_of_different_orders_or_submitters_differ(nonce: bytes, issued_ms: int, life_ms: int, who: int) -> None:
    one: Order = order(nonce=nonce, issued_ms=issued_ms, expires_ms=issued_ms + life_ms)
    other = msgspec.structs.replace(one, nonce=bytes([nonce[0] ^ 1]) + nonce[1:])
    ids = {signed(an_order, key)[1] for an_order in (one, other) for key in (node_key(who), node_key(who + 1))}
    assert len(ids) == 4
    verified = verify_order(signed(one)[0], {PROJECT.project_id: PROJECT})
    assert (verified.order, verified.job_id) == (one, signed(one)[1])
