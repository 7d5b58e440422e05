"""Row N5: a token opens exactly the data sources that list it, at submission and at the worker."""

from __future__ import annotations

import pytest

from protocol.errors import Code, DeniedError
from protocol.ids import node_id
from protocol.machines.events import ProjectsHeld
from protocol.machines.planning import Holders
from protocol.machines.worker import Worker
from protocol.plan.artifact import Query, artifact_bytes, summary_artifact
from protocol.plan.order import SignedOrder, verify_order
from protocol.plan.plan import Participant
from protocol.policy import NodePolicy, SourcePolicy
from protocol.tokens import ProjectKey
from protocol.wire.jobs import TaskOffer, Tasks
from tests.protocol.builders import (
    COUNT,
    OTHER_PROJECT,
    PROJECT,
    node_key,
    now,
    order,
    outcomes,
    received,
    refusals,
    signed,
)
from tests.protocol.machines.test_worker_refusals import LEADER, plan, started

KEY = node_key(1)
OWN = node_id(KEY.public_key)
HELD = {project.project_id: project for project in (PROJECT, OTHER_PROJECT)}
SOURCES = {"heart": frozenset([PROJECT.project_id]), "stroke": frozenset([OTHER_PROJECT.project_id])}


def order_of(project: ProjectKey) -> tuple[SignedOrder, bytes]:
    artifact = artifact_bytes(summary_artifact(project.project_id, Query(columns=("age",)), COUNT))
    return signed(order(artifact=artifact), project=project)


@pytest.mark.parametrize(("project", "source"), [(PROJECT, "heart"), (OTHER_PROJECT, "stroke")])
def test_n5_a_job_is_planned_over_exactly_the_sources_that_list_its_token(project: ProjectKey, source: str) -> None:
    chosen = Holders(OWN, "north", SOURCES).choose(verify_order(order_of(project)[0], HELD))
    assert chosen == (Participant(node=OWN, source=source),)


def test_n5_a_job_of_a_project_that_no_source_lists_is_refused_at_submission() -> None:
    third = ProjectKey(b"t" * 32)
    verified = verify_order(order_of(third)[0], {third.project_id: third})
    with pytest.raises(DeniedError) as caught:
        Holders(OWN, "north", SOURCES).choose(verified)
    assert caught.value.code == Code.HOLDERS_MISSING


@pytest.mark.parametrize("project", [PROJECT, OTHER_PROJECT])
@pytest.mark.parametrize("source", SOURCES)
def test_n5_a_worker_reads_a_source_for_exactly_the_projects_that_it_lists(project: ProjectKey, source: str) -> None:
    """Whatever the scheduler signs: this one holds both tokens and plans any source for any project."""
    worker = Worker(
        KEY, OWN, NodePolicy(sources={name: SourcePolicy(projects=one) for name, one in SOURCES.items()}), {}
    )
    worker.step(ProjectsHeld(projects=(PROJECT, OTHER_PROJECT), statement=b""), now())
    signed_order, job_id = order_of(project)
    envelope = plan(job_id, participants=(Participant(node=OWN, source=source),))
    offer = TaskOffer(index=1, attempt=1, inputs=(b"settings",))
    tasks = Tasks(job_id=job_id, order=signed_order, plan=envelope, tasks=(offer,))
    effects = worker.step(received(tasks, LEADER, project=project.project_id, fence=5), now())
    if project.project_id in SOURCES[source]:
        assert [one.source for one in started(effects)] == [source] and not refusals(effects)
    else:
        assert not started(effects) and refusals(effects) == [Code.SOURCE_UNKNOWN]
        assert [one.code for one in outcomes(effects)] == [Code.SOURCE_UNKNOWN]
