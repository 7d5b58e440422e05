"""Jobs with several tasks for each participant."""

from __future__ import annotations

from typing import Any

from protocol import kinds
from protocol.limits import LEASE_MS, RECORD_BYTES_MAX, TASKS_SHOWN_MAX
from protocol.machines.contract import StartTask
from protocol.machines.events import TaskProduced
from protocol.machines.jobs import TaskRow
from protocol.plan.artifact import artifact_bytes, probe_artifact
from protocol.plan.operations import ProbeParameters
from protocol.plan.order import ParticipantRule
from protocol.plan.products import product_digest
from protocol.plan.tasks import TaskRequest, fact_of
from protocol.wire.codec import decode_record
from protocol.wire.jobs import Renew
from tests.protocol.builders import PROJECT, order, signed
from tests.protocol.fleet import Fleet, Node, live_of

TASKS = 100
LARGE = b"x" * 10_000


def probe(tasks: int = TASKS) -> bytes:
    return artifact_bytes(probe_artifact(PROJECT.project_id, ProbeParameters(tasks=tasks)))


def probe_fleet(tasks: int, *, hanging: bool) -> Fleet:
    """Two nodes and a probe on the second one alone, as far as it goes; `hanging`: its work does not end."""
    fleet = Fleet(holders=2)
    fleet.compute = lambda node, start: (
        None if hanging and node.number == 1 else TaskProduced(key=start.key, product=b"")
    )
    only = ParticipantRule(rule="listed", nodes=(fleet.nodes[1].id,))
    an_order, _ = signed(order(artifact=probe(tasks), participants=only))
    fleet.submit(an_order)
    fleet.run()
    return fleet


class Seen:
    """Computes, and keeps what the merge was given."""

    def __init__(self) -> None:
        self.merge: TaskRequest | None = None

    def compute(self, _node: Node, start: StartTask) -> Any:
        if start.request.operation == "probe.merge":
            self.merge = start.request
        return TaskProduced(key=start.key, product=LARGE if start.request.operation == "probe.work" else b"")


def test_every_task_of_every_participant_runs_once_and_the_job_succeeds() -> None:
    seen = Seen()
    fleet = Fleet(holders=3, compute=seen.compute)
    an_order, job_id = signed(order(artifact=probe()))
    fleet.submit(an_order)
    fleet.run()
    status = fleet.status(job_id)
    assert (status.state, status.tasks_done, status.tasks_all) == ("succeeded", 3 * TASKS + 2, 3 * TASKS + 2)
    work = [(number, source) for number, operation, source in fleet.started if operation == "probe.work"]
    assert sorted(work) == sorted([(number, "s0") for number in range(3)] * TASKS)


def test_the_merge_gets_what_was_signed_of_each_product_and_not_the_product() -> None:
    seen = Seen()
    fleet = Fleet(holders=3, compute=seen.compute)
    an_order, _ = signed(order(artifact=probe()))
    fleet.submit(an_order)
    fleet.run()
    assert seen.merge is not None
    assert set(seen.merge.inputs) == {fact_of(product_digest(LARGE), len(LARGE))}
    assert len(seen.merge.inputs) == len(seen.merge.labels) == 3 * TASKS


def test_a_product_whose_facts_are_enough_is_not_kept_and_its_size_is_known() -> None:
    fleet = Fleet(holders=1, compute=Seen().compute)
    an_order, job_id = signed(order(artifact=probe(3)))
    fleet.submit(an_order)
    kept: list[bytes] = []

    def note() -> None:
        kept.extend(value for value in fleet.leader.rows.get(kinds.TASK, {}).values())

    fleet.after_step = note
    fleet.run()
    assert fleet.status(job_id).state == "succeeded"
    rows = [decode_record(value, TaskRow, bytes_max=RECORD_BYTES_MAX) for value in kept]
    assert max(row.size_bytes for row in rows) == len(LARGE)
    assert all(row.product != LARGE for row in rows)


def test_a_job_goes_on_where_it_was_when_its_scheduler_starts_again() -> None:
    fleet = Fleet(holders=2)
    fleet.compute = lambda node, start: None if node.number == 1 else TaskProduced(key=start.key, product=b"")
    an_order, job_id = signed(order(artifact=probe(tasks=5)))
    fleet.submit(an_order)
    fleet.run()
    fleet.leader.restart()
    fleet.compute = lambda node, start: TaskProduced(key=start.key, product=b"")
    fleet.run()
    assert fleet.status(job_id).state == "succeeded"
    assert len([one for one in fleet.started if one[1] == "probe.work"]) == 10


def test_a_status_shows_the_unfinished_tasks_first_and_says_how_many_there_are() -> None:
    fleet = Fleet(holders=3)
    fleet.compute = lambda node, start: None if node.number == 2 else TaskProduced(key=start.key, product=b"")
    an_order, job_id = signed(order(artifact=probe(tasks=240)))
    fleet.submit(an_order)
    fleet.run()
    status = fleet.status(job_id)
    assert (status.tasks_done, status.tasks_all) == (481, 722)
    assert len(status.tasks) == TASKS_SHOWN_MAX
    assert sum(task.state != "succeeded" for task in status.tasks) == 241


def test_an_outcome_is_a_sign_of_life_for_the_other_tasks_of_its_holder() -> None:
    fleet = probe_fleet(tasks=3, hanging=True)
    holder = fleet.nodes[1]
    fleet.alter = lambda event: None if isinstance(event.message, Renew) else event  # every renewal is lost
    for number, key in enumerate(list(holder.running)[:2]):
        fleet.run_for(LEASE_MS - 1_000)
        del holder.running[key]
        holder.machines["worker"].machine._leases[key[:32]].restart(fleet.now.boot_ns)  # type: ignore[attr-defined]
        fleet.step(holder, "worker", TaskProduced(key=key, product=b""))
        fleet.run()
        assert live_of(fleet)[0].tasks_done == number + 2
    fleet.run_for(LEASE_MS - 1_000)
    assert live_of(fleet)[0].state == "running"
    fleet.run_for(3_000)
    assert live_of(fleet) == ()  # now it was silent
