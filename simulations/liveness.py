"""What the calm must bring: each function says what is still missing, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol import kinds
from protocol.ids import short_job_id
from protocol.machines.delivery import CourierSnapshot
from protocol.machines.jobs import JobRow
from protocol.machines.membership_view import MembershipSnapshot
from protocol.machines.worker import WorkerSnapshot
from protocol.wire.codec import decode_record
from protocol.wire.jobs import ENDED
from simulations.checkers import ROW_BYTES_MAX
from simulations.faults import MachineName

if TYPE_CHECKING:
    from simulations.node import Node
    from simulations.world import World

_COURIERS: Final[tuple[MachineName, ...]] = ("membership", "scheduler", "worker")


def apart(world: World) -> str:
    """Which two nodes with a common project are not yet together in all of them."""
    for node in world.nodes:
        if not node.open:
            return f"{node.name} is not yet open"
        snapshot = _inner(node, "membership")
        assert isinstance(snapshot, MembershipSnapshot)
        views = {view.node: view for view in snapshot.peers}
        for other in world.nodes:
            common = world.common(node, other)
            view = views.get(other.own_id)
            if other is node or not common or not (_can_meet(world, node, other) or view is not None):
                continue
            if view is None or set(view.projects) != common or view.presence != "present":
                return f"{node.name} and {other.name} are apart"
            if {(offer.name, offer.project) for offer in view.sources} != other.offers(common):
                return f"{node.name} does not know the sources of {other.name}"
    return ""


def live(world: World) -> str:
    """Which job has no answer or no end."""
    for submitter in world.submitters:
        if submitter.state in ("new", "asking") and submitter.refusal == "":
            return f"job {submitter.number} is neither accepted nor refused"
    for node in world.nodes:
        for value in node.store.values(kinds.JOB):
            row = decode_record(value, JobRow, bytes_max=ROW_BYTES_MAX)
            if row.state not in ENDED:
                return f"job {short_job_id(row.job_id)} at {node.name} is still {row.state}"
    for submitter in world.submitters:
        if submitter.state == "accepted" and not submitter.told_all:
            return f"the submitter of job {submitter.number} has not heard its end"
    return ""


def busy(world: World) -> str:
    """Whether anything is left of jobs that have ended: an unacknowledged message, a task, an attempt."""
    for node in world.nodes:
        for name in _COURIERS:
            snapshot = node.machines[name].snapshot()
            assert isinstance(snapshot, CourierSnapshot)
            if snapshot.waiting:
                return f"{snapshot.waiting} messages of {node.name} {name} are not acknowledged"
        worker = _inner(node, "worker")
        assert isinstance(worker, WorkerSnapshot)
        if worker.running or worker.ended or not node.tasks.idle():
            return f"{node.name} still holds {worker.running + worker.ended} tasks of jobs that have ended"
    return ""


def _inner(node: Node, machine: MachineName) -> object:
    snapshot = node.machines[machine].snapshot()
    assert isinstance(snapshot, CourierSnapshot)
    return snapshot.inner


def _can_meet(world: World, node: Node, other: Node) -> bool:
    """Two announced nodes hear of each other; one with typed addresses knows all; a client is introduced by its
    schedulers.
    """
    if other.plan.is_client:
        node, other = other, node
    if node.plan.is_client:
        schedulers = (world.nodes[number] for number in node.plan.schedulers)
        return other.number in node.plan.schedulers or all(_can_meet(world, one, other) for one in schedulers)
    return "typed" in (node.plan.meets, other.plan.meets) or node.plan.meets == other.plan.meets
