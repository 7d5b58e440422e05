"""The checks of a worker before it takes tasks, in their order. The first one that fails is the reason."""

from __future__ import annotations

from collections.abc import Mapping

from protocol.errors import Code, DeniedError
from protocol.ids import format_id
from protocol.limits import EXECUTED_ORDERS_MAX, TASKS_OFFERED_MAX
from protocol.machines.contract import Received
from protocol.machines.executed import ExecutedRow
from protocol.plan.order import VerifiedOrder, check_not_expired, verify_order
from protocol.plan.plan import Plan, check_plan, participants_digest, verify_plan
from protocol.tokens import ProjectKey
from protocol.wire.jobs import Tasks


def verify_tasks(
    event: Received,
    message: Tasks,
    projects: Mapping[bytes, ProjectKey],
    executed: Mapping[bytes, ExecutedRow],
    now_wall_ms: int,
) -> tuple[VerifiedOrder, Plan]:
    """The order and the plan of an offer that may be taken up. `executed`: the orders that this node knows already.

    Raises DeniedError, WorkflowError or RemoteProtocolError.
    """
    verified = verify_order(message.order, projects)
    if verified.job_id != message.job_id:
        raise DeniedError(Code.ORDER_ALTERED, "the order is not the one of the job that the scheduler names")
    if event.project != verified.artifact.project:
        raise DeniedError(Code.PROJECT_UNKNOWN, "the scheduler has not proved to be in the order's project")
    known = executed.get(verified.job_id)
    if known is not None:
        _check_known(known, event.sender)
    else:
        check_not_expired(verified.order, now_wall_ms)
        if len(executed) >= EXECUTED_ORDERS_MAX:
            raise DeniedError(Code.BUSY, f"this node remembers {EXECUTED_ORDERS_MAX} orders and takes no more for now")
    plan = _check_plan(event, message, verified, known)
    return verified, plan


def _check_known(known: ExecutedRow, sender: bytes) -> None:
    if known.state == "cancelled":
        raise DeniedError(Code.JOB_CANCELLED, "its submitter has cancelled this job")
    if known.state == "ended":
        raise DeniedError(
            Code.ALREADY_RUN, "this node has already run this order", next_step="submit again as a new job"
        )
    if known.scheduler != sender:
        raise DeniedError(
            Code.SCHEDULER_NOT_ALLOWED, f"the job is led by the node {format_id(known.scheduler)}, not by the sender"
        )


def _check_plan(event: Received, message: Tasks, verified: VerifiedOrder, known: ExecutedRow | None) -> Plan:
    signed = verify_plan(message.plan)
    plan = signed.plan
    if signed.scheduler != event.sender or plan.job_id != verified.job_id or plan.epoch != event.fence:
        raise DeniedError(Code.PLAN_OUTSIDE_ORDER, "the plan is not the sender's plan of this job and epoch")
    if known is not None and plan.epoch < known.epoch:
        raise DeniedError(Code.EPOCH_OLD, "the plan is of an older epoch than one seen before")
    check_plan(plan, verified.order, event.sender)
    if known is not None and known.participants != participants_digest(plan):
        raise DeniedError(Code.PLAN_OUTSIDE_ORDER, "the plan has other participants than an earlier one of this job")
    if len(message.tasks) > TASKS_OFFERED_MAX:
        raise DeniedError(Code.TASK_NOT_DERIVED, "more tasks are offered than one message may hold")
    return plan
