"""A job from its submission to its end, with everything that may go wrong on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from protocol import findings, kinds
from protocol.errors import Code
from protocol.findings import Disk
from protocol.ids import node_id, short_job_id
from protocol.limits import LEASE_GRACE_MS, LEASE_MS, TASK_ATTEMPTS_MAX
from protocol.machines import scheduler
from protocol.machines.contract import Received, Refuse, StartTask
from protocol.machines.delivery import Courier
from protocol.machines.events import HealthChanged, TaskDied, TaskFaulted, TaskProduced
from protocol.machines.scheduler import Scheduler
from protocol.plan import operations
from protocol.plan.order import JobLimits, ParticipantRule
from protocol.plan.plan import sign_outcome
from protocol.wire.jobs import (
    AskCancel,
    AskJob,
    AskJobs,
    AskResult,
    JobList,
    JobResult,
    JobStatus,
    Renew,
    Results,
    TaskResult,
)
from tests.protocol.builders import STRANGER, SUBMITTER, cancel_of, order, signed
from tests.protocol.fleet import Fleet, Node, product_of, replaced

SILENCE_MS = LEASE_MS + LEASE_GRACE_MS


def hangs_on(number: int) -> Callable[[Node, StartTask], Any]:
    """Measuring at this node never ends by itself."""

    def compute(node: Node, start: StartTask) -> Any:
        return None if node.number == number and start.source else product_of(node, start)

    return compute


def nothing_left(fleet: Fleet) -> bool:
    """No task, attempt, outbox row or timer of the job is left at any node."""
    kept = {kind for node in fleet.nodes for kind, table in node.rows.items() if table}
    return kept <= {kinds.JOB, kinds.EXECUTED, kinds.INBOX, kinds.WITNESSED} and not any(
        node.running for node in fleet.nodes
    )


# --- the good way ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("holders", "sources"), [(1, 1), (3, 1), (10, 1), (2, 3)])
def test_a_job_runs_once_on_every_source_and_its_result_is_stored(holders: int, sources: int) -> None:
    fleet = Fleet(holders, sources)
    an_order, job_id = signed()
    assert fleet.submit(an_order).state == "running"
    ended = fleet.end(job_id)
    assert (ended.state, ended.tasks_done, ended.tasks_all) == (
        "succeeded",
        holders * sources + 2,
        holders * sources + 2,
    )
    measured = [(number, source) for number, operation, source in fleet.started if operation == "summary.measure"]
    assert sorted(measured) == [(n, f"s{i}") for n in range(holders) for i in range(sources)]
    result = fleet.ask(AskResult(job_id=job_id))
    assert isinstance(result, JobResult)
    assert result.product == f"summary.merge of {holders * sources}".encode()
    fleet.run_for(60_000)
    assert nothing_left(fleet)
    assert fleet.refused == []


def test_the_same_order_again_is_the_same_job_and_a_new_nonce_a_new_one() -> None:
    fleet = Fleet(2)
    an_order, job_id = signed()
    first = fleet.submit(an_order)
    again = fleet.submit(an_order)
    assert (first.job_id, again.job_id) == (job_id, job_id)
    fleet.end(job_id)
    started = len(fleet.started)
    assert fleet.submit(an_order).state == "succeeded"
    fleet.run()
    assert len(fleet.started) == started
    second, second_id = signed(order(nonce=b"o" * 16))
    assert second_id != job_id
    fleet.submit(second)
    assert fleet.end(second_id).state == "succeeded"
    assert len(fleet.started) == 2 * started


def test_a_scheduler_that_does_not_know_its_projects_yet_asks_for_patience_instead_of_a_token() -> None:
    fleet = Fleet(1)
    leader, (an_order, _) = fleet.leader, signed()
    leader.machines["scheduler"] = Courier(
        Scheduler(leader.key, leader.id, leader.name, 2, leader.sources, {}), "scheduler", leader.id, 2, 2, {}
    )
    assert fleet.submit(an_order).code == Code.BUSY


def test_a_node_whose_disk_is_full_leads_no_new_job_and_brings_those_that_it_leads_to_their_end() -> None:
    fleet = Fleet(2)
    known, job_id = signed()
    fleet.submit(known)
    full = findings.disk("/srv/node", Disk(free_bytes=0, all_bytes=1, free_files=1, read_only=False))
    fleet.step(fleet.leader, "scheduler", HealthChanged(unwell=(full,), begun=(full,), ended=()))
    refused = fleet.submit(signed(order(nonce=b"o" * 16))[0])
    assert isinstance(refused, Refuse) and refused.code == Code.DISK_FULL and refused.next_step
    assert "/srv/node" not in refused.sentence, "others learn nothing of this node's folders"
    assert fleet.submit(known).job_id == job_id, "the same order again is no new job"
    assert fleet.end(job_id).state == "succeeded"
    assert isinstance(fleet.ask(AskResult(job_id=job_id)), JobResult)
    fleet.step(fleet.leader, "scheduler", HealthChanged(unwell=(), begun=(), ended=(full,)))
    assert fleet.submit(signed(order(nonce=b"o" * 16))[0]).state == "running"


def test_each_answer_goes_to_submitter_and_operator_alone() -> None:
    fleet = Fleet(1)
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.end(job_id)
    mine, other = node_id(SUBMITTER.public_key), node_id(STRANGER.public_key)
    assert isinstance(fleet.ask(AskJob(job_id=job_id), sender=mine), JobStatus)
    for question in (AskJob(job_id=job_id), AskResult(job_id=job_id), AskCancel(job_id=job_id, cancel=b"")):
        answer = fleet.ask(question, sender=other)
        assert isinstance(answer, Refuse) and answer.code == Code.JOB_UNKNOWN
    assert fleet.ask(AskJobs(), sender=other) == JobList(jobs=())
    assert [one.job_id for one in fleet.ask(AskJobs(newest=-5), sender=mine).jobs] == [job_id]


def test_a_result_is_refused_before_the_end_and_when_it_is_no_longer_stored() -> None:
    fleet = Fleet(1, compute=hangs_on(0))
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    refused = fleet.ask(AskResult(job_id=job_id))
    assert refused.code == Code.RESULT_NOT_READY
    assert refused.next_step == f"wait for it with `flotta-p2p job wait {short_job_id(job_id)}`"
    fleet.compute = product_of
    fleet.end(job_id)
    fleet.leader.resources.clear()
    assert fleet.ask(AskResult(job_id=job_id)).code == Code.RESULT_NOT_READY


# --- holders that go silent, crash or refuse ---------------------------------------------------------------------


def test_a_holder_that_is_lost_ends_the_job_within_its_lease_and_is_named() -> None:
    fleet = Fleet(3, compute=hangs_on(2))
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    fleet.nodes[2].cut_off = True
    fleet.run_for(SILENCE_MS + 1_000)
    ended = fleet.status(job_id)
    assert ended.state == "failed"
    assert ended.cause is not None
    assert (ended.cause.code, ended.cause.node) == (Code.HOLDER_LOST, fleet.nodes[2].id)
    assert "n2" in ended.cause.sentence and ended.cause.next_step
    assert not fleet.nodes[2].running  # the holder's own lease was over first: it killed the task


def test_a_holder_that_comes_back_within_its_lease_finishes_its_task() -> None:
    fleet = Fleet(3, compute=hangs_on(2))
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    fleet.nodes[2].cut_off = True
    fleet.run_for(LEASE_MS // 2)
    fleet.nodes[2].cut_off = False
    fleet.compute = product_of
    assert fleet.end(job_id).state == "succeeded"
    assert [number for number, _, source in fleet.started if source] == [0, 1, 2]


def test_renewals_keep_a_long_task_alive_far_beyond_one_lease() -> None:
    fleet = Fleet(2, compute=hangs_on(1))
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run_for(6 * LEASE_MS)
    assert fleet.status(job_id).state == "running"
    fleet.compute = product_of
    assert fleet.end(job_id).state == "succeeded"


@pytest.mark.parametrize("crashes", [1, TASK_ATTEMPTS_MAX - 1, TASK_ATTEMPTS_MAX])
def test_a_crashed_task_is_tried_again_until_its_attempts_are_used_up(crashes: int) -> None:
    left = [crashes]

    def compute(node: Node, start: StartTask) -> Any:
        if node.number == 1 and left[0]:
            left[0] -= 1
            return TaskDied(key=start.key, reason="crashed")
        return product_of(node, start)

    fleet = Fleet(2, compute=compute)
    an_order, job_id = signed()
    fleet.submit(an_order)
    ended = fleet.end(job_id)
    attempts = [number for number, _, source in fleet.started if number == 1 and source]
    if crashes < TASK_ATTEMPTS_MAX:
        assert ended.state == "succeeded" and len(attempts) == crashes + 1
    else:
        assert ended.state == "failed" and len(attempts) == TASK_ATTEMPTS_MAX
        assert ended.cause is not None and (ended.cause.code, ended.cause.node) == (
            Code.TASK_CRASHED,
            fleet.nodes[1].id,
        )


@pytest.mark.parametrize("reason", ["out-of-memory", "out-of-time"])
def test_a_task_that_needs_too_much_is_not_tried_again(reason: Any) -> None:
    def compute(node: Node, start: StartTask) -> Any:
        return TaskDied(key=start.key, reason=reason) if node.number else product_of(node, start)

    fleet = Fleet(2, compute=compute)
    an_order, job_id = signed()
    fleet.submit(an_order)
    assert fleet.end(job_id).state == "failed"
    assert len([1 for number, _, _ in fleet.started if number == 1]) == 1


def test_a_holders_fault_reaches_the_submitter_in_its_own_words() -> None:
    def compute(node: Node, start: StartTask) -> Any:
        if not start.source:
            return product_of(node, start)
        return TaskFaulted(key=start.key, code=Code.COLUMN_UNKNOWN, sentence='no column "dose"', next_step="look")

    fleet = Fleet(1, compute=compute)
    an_order, job_id = signed()
    fleet.submit(an_order)
    cause = fleet.end(job_id).cause
    assert cause is not None
    assert (cause.code, cause.sentence, cause.next_step) == (Code.COLUMN_UNKNOWN, 'no column "dose"', "look")


@pytest.mark.parametrize("step", ["put the file back", ""])
def test_a_fault_of_one_table_also_says_that_the_others_can_be_asked_without_it(step: str) -> None:
    def compute(_node: Node, start: StartTask) -> Any:
        return TaskFaulted(key=start.key, code=Code.SOURCE_MISSING, sentence="no such file", next_step=step)

    fleet = Fleet(2, compute=compute)
    an_order, job_id = signed()
    fleet.submit(an_order)
    cause = fleet.end(job_id).cause
    others = "name the other holders with --holders"
    assert cause is not None and cause.next_step == (f"{step}, or {others}" if step else others)


def test_a_fault_of_any_length_ends_the_job_and_is_shortened_visibly() -> None:
    def compute(_node: Node, start: StartTask) -> Any:
        return TaskFaulted(key=start.key, code="c" * 500, sentence="ü" * 100_000)

    fleet = Fleet(1, compute=compute)
    an_order, job_id = signed()
    fleet.submit(an_order)
    cause = fleet.end(job_id).cause
    assert cause is not None and cause.sentence.endswith("…") and len(cause.sentence) <= 1_000


def test_products_that_are_too_much_together_fail_the_job_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "TASK_INPUT_BYTES_MAX", 100)
    fleet = Fleet(1, sources=7)
    an_order, job_id = signed()
    fleet.submit(an_order)
    cause = fleet.end(job_id).cause
    assert cause is not None and cause.code == Code.RESULT_TOO_LARGE and "7 products" in cause.sentence


def test_many_large_offers_to_one_worker_travel_in_several_messages() -> None:
    """Seven times 150 kB do not fit into one frame; the fleet encodes every message under its cap."""

    def compute(node: Node, start: StartTask) -> Any:
        large = start.request.operation == "summary.prepare"
        return TaskProduced(key=start.key, product=bytes(150_000)) if large else product_of(node, start)

    fleet = Fleet(2, sources=7, compute=compute)
    an_order, job_id = signed()
    fleet.submit(an_order)
    assert fleet.end(job_id).state == "succeeded"


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring becomes a task that must not run twice."""
    measure = operations.OPERATIONS["summary.measure"]
    changed = msgspec.structs.replace(measure, effect="once")
    monkeypatch.setitem(operations.OPERATIONS, "summary.measure", changed)


@pytest.mark.usefixtures("once")
def test_a_task_that_must_not_run_twice_is_never_tried_again() -> None:
    def compute(node: Node, start: StartTask) -> Any:
        return TaskDied(key=start.key, reason="crashed") if start.source else product_of(node, start)

    fleet = Fleet(1, compute=compute)
    an_order, job_id = signed()
    fleet.submit(an_order)
    assert fleet.end(job_id).state == "failed"
    assert len([1 for _, _, source in fleet.started if source]) == 1


@pytest.mark.usefixtures("once")
def test_a_lost_holder_of_such_a_task_leaves_its_outcome_unknown() -> None:
    fleet = Fleet(2, compute=hangs_on(1))
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    fleet.nodes[1].cut_off = True
    cause = fleet.end(job_id).cause
    assert cause is not None and cause.code == Code.OUTCOME_UNKNOWN


@pytest.mark.usefixtures("once")
def test_a_restart_of_the_worker_under_such_a_task_leaves_its_outcome_unknown() -> None:
    fleet = Fleet(2, compute=hangs_on(1))
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    fleet.nodes[1].restart()
    fleet.compute = product_of
    cause = fleet.end(job_id).cause
    assert cause is not None and cause.code == Code.OUTCOME_UNKNOWN
    assert len([1 for number, _, source in fleet.started if number == 1 and source]) == 1


# --- cancel and deadline -------------------------------------------------------------------------------------------


def test_cancel_kills_the_tasks_and_the_job_is_final_when_every_holder_has_said_so() -> None:
    fleet = Fleet(3, compute=lambda _node, _start: None)
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.compute = hangs_on(2)
    fleet.run()
    answer = fleet.ask(AskCancel(job_id=job_id, cancel=cancel_of(job_id)))
    assert (answer.state, answer.cancelling) == ("running", True)
    fleet.run()
    ended = fleet.status(job_id)
    assert ended.state == "cancelled"
    assert ended.cause is not None and ended.cause.code == Code.JOB_CANCELLED
    fleet.run_for(60_000)
    assert nothing_left(fleet)


def test_a_cancelled_job_whose_holder_is_away_ends_with_its_lease() -> None:
    fleet = Fleet(2, compute=hangs_on(1))
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    fleet.nodes[1].cut_off = True
    fleet.ask(AskCancel(job_id=job_id, cancel=cancel_of(job_id)))
    assert fleet.status(job_id).state == "running"
    fleet.run_for(SILENCE_MS + 1_000)
    assert fleet.status(job_id).state == "cancelled"


def test_cancel_before_any_task_came_to_its_worker_lets_none_start() -> None:
    fleet = Fleet(2)
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.ask(AskCancel(job_id=job_id, cancel=cancel_of(job_id)))
    ended = fleet.end(job_id)
    assert ended.state == "cancelled"
    assert not [1 for _, _, source in fleet.started if source]


def test_cancel_after_the_end_changes_nothing() -> None:
    fleet = Fleet(1)
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.end(job_id)
    assert fleet.ask(AskCancel(job_id=job_id, cancel=cancel_of(job_id))).state == "succeeded"


def test_cancel_twice_is_one_cancel() -> None:
    fleet = Fleet(2, compute=hangs_on(1))
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    for _ in range(2):
        assert fleet.ask(AskCancel(job_id=job_id, cancel=cancel_of(job_id))).cancelling
    fleet.run()
    assert fleet.status(job_id).state == "cancelled"


def test_only_its_submitter_cancels_a_job() -> None:
    fleet = Fleet(2, compute=hangs_on(1))
    an_order, job_id = signed()
    fleet.submit(an_order)
    for cancel in (cancel_of(job_id, STRANGER), cancel_of(b"o" * 32), b"", cancel_of(job_id)[:-1] + b"!"):
        answer = fleet.ask(AskCancel(job_id=job_id, cancel=cancel))
        assert isinstance(answer, Refuse)
    assert fleet.status(job_id).state == "running"


def test_a_job_ends_at_its_deadline_naming_the_holder_it_waited_for() -> None:
    fleet = Fleet(2, compute=hangs_on(1))
    an_order, job_id = signed(order(limits=JobLimits(deadline_ms=30_000)))
    fleet.submit(an_order)
    fleet.run_for(30_000)
    ended = fleet.status(job_id)
    assert ended.state == "expired"
    assert ended.cause is not None
    assert (ended.cause.code, ended.cause.node) == (Code.TIMED_OUT, fleet.nodes[1].id)
    fleet.run_for(60_000)
    assert nothing_left(fleet)


# --- restarts --------------------------------------------------------------------------------------------------------


def steps_of_the_good_way() -> int:
    fleet = Fleet(2)
    count = [0]

    def counted() -> None:
        count[0] += 1

    fleet.after_step = counted
    fleet.submit(signed()[0])
    fleet.run()
    return count[0]


@pytest.mark.parametrize("restarted", [0, 1])
@pytest.mark.parametrize("at", range(1, steps_of_the_good_way() + 1))
def test_a_restart_at_any_step_loses_nothing_and_doubles_nothing(at: int, restarted: int) -> None:
    fleet = Fleet(2)
    left = [at]

    def restart_once() -> None:
        left[0] -= 1
        if left[0] == 0:
            fleet.nodes[restarted].restart()

    fleet.after_step = restart_once
    an_order, job_id = signed()
    fleet.submit(an_order)
    ended = fleet.end(job_id, limit_ms=60_000)
    assert ended.state == "succeeded"
    succeeded = [row.detail for row in fleet.leader.log if row.event == "result accepted"]
    assert len(succeeded) == len(set(succeeded)) == ended.tasks_all
    fleet.run_for(120_000)
    assert nothing_left(fleet)


def test_a_cancelled_job_is_forgotten_by_its_workers_when_the_scheduler_restarts() -> None:
    fleet = Fleet(2, compute=hangs_on(1))
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    fleet.ask(AskCancel(job_id=job_id, cancel=cancel_of(job_id)))
    fleet.leader.restart()
    assert fleet.end(job_id).state == "cancelled"
    fleet.run_for(60_000)
    assert nothing_left(fleet)


def test_a_result_of_an_earlier_life_of_the_scheduler_is_refused_and_asked_for_again() -> None:
    fleet = Fleet(2, compute=hangs_on(1))
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    fleet.compute = product_of
    old: list[Received] = []

    def keep_results(event: Received) -> Received | None:
        if isinstance(event.message, Results) and event.sender == fleet.nodes[1].id and not old:
            old.append(event)
            return None
        return event

    fleet.alter = keep_results
    fleet.run()
    fleet.leader.restart()
    fleet.step(fleet.leader, "scheduler", old[0])
    assert fleet.refused == [Code.EPOCH_OLD]
    assert fleet.end(job_id).state == "succeeded"


# --- results ---------------------------------------------------------------------------------------------------------


def altered_product(event: Received) -> Received:
    result = event.message.results[0]
    return replaced(event, results=(msgspec.structs.replace(result, product=result.product + b"!"),))


def altered_outcome(event: Received) -> Received:
    result = event.message.results[0]
    outcome = result.outcome[:-1] + bytes([result.outcome[-1] ^ 1])
    return replaced(event, results=(msgspec.structs.replace(result, outcome=outcome),))


@pytest.mark.parametrize("change", [altered_product, altered_outcome])
def test_an_altered_result_is_refused_and_never_accepted(change: Callable[[Received], Received]) -> None:
    fleet = Fleet(2)
    fleet.alter = lambda event: change(event) if isinstance(event.message, Results) and event.fence else event
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    assert fleet.status(job_id).tasks_done == 0
    assert set(fleet.refused) <= {Code.RESULT_ALTERED, Code.SIGNATURE_WRONG, Code.STATEMENT_MALFORMED}
    assert fleet.refused


def test_a_result_told_twice_by_a_worker_changes_nothing() -> None:
    fleet = Fleet(2)
    an_order, job_id = signed()

    def twice(event: Received) -> Received:
        return replaced(event, results=event.message.results * 2) if isinstance(event.message, Results) else event

    fleet.alter = twice
    fleet.submit(an_order)
    assert fleet.end(job_id).state == "succeeded"
    done = [row.detail for row in fleet.leader.log if row.event == "result accepted"]
    assert len(done) == len(set(done)) == 4
    assert set(fleet.refused) == {Code.ALREADY_RUN}


def test_a_late_result_is_refused_and_its_worker_told_to_forget() -> None:
    fleet = Fleet(2, compute=hangs_on(1))
    an_order, job_id = signed(order(limits=JobLimits(deadline_ms=5_000)))
    fleet.submit(an_order)
    fleet.run()
    late: list[Received] = []
    fleet.alter = lambda event: event if event.sender == fleet.leader.id else late.append(event)
    fleet.compute = product_of
    fleet.run_for(6_000)
    assert fleet.status(job_id).state == "expired"
    fleet.alter = lambda event: event
    fleet.step(fleet.leader, "scheduler", next(event for event in late if isinstance(event.message, Results)))
    assert fleet.refused == [Code.JOB_ENDED]
    assert fleet.status(job_id).state == "expired"
    fleet.run_for(60_000)
    assert nothing_left(fleet)


def test_a_worker_renewing_a_job_that_has_ended_is_told_to_forget_it_under_the_current_epoch() -> None:
    fleet = Fleet(2)
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.end(job_id)
    event = Received(
        message=Renew(job_id=job_id, indexes=(1,), token=1), sender=fleet.nodes[1].id, message_id=b"i" * 16
    )
    fleet.step(fleet.leader, "scheduler", event)
    (_, told) = fleet.wire[-1]
    assert told.message.ended and told.fence == fleet.leader.boot


def test_an_order_for_more_holders_than_known_is_refused_with_the_next_step() -> None:
    fleet = Fleet(2)
    for rule in (ParticipantRule(holders_min=3), ParticipantRule(rule="listed", nodes=(b"?" * 32,))):
        answer = fleet.submit(signed(order(participants=rule))[0])
        assert answer.code == Code.HOLDERS_MISSING and answer.next_step


def test_listed_holders_alone_take_part() -> None:
    fleet = Fleet(3)
    an_order, job_id = signed(order(participants=ParticipantRule(rule="listed", nodes=(fleet.nodes[2].id,))))
    fleet.submit(an_order)
    assert fleet.end(job_id).state == "succeeded"
    assert [number for number, _, source in fleet.started if source] == [2]


def test_a_signed_outcome_for_no_task_of_the_plan_is_refused() -> None:
    """Negative indexes too: they would name tasks from the end of the list."""
    fleet = Fleet(2, compute=hangs_on(1))
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    row = next(iter(fleet.nodes[1].machines["worker"].machine._attempts.values()))  # type: ignore[attr-defined]
    for index in (-2, -1, 4, 2**40):
        outcome = msgspec.structs.replace(row.changed(state="succeeded").outcome(), index=index)
        results = Results(job_id=job_id, results=(TaskResult(outcome=sign_outcome(outcome, fleet.nodes[1].key)),))
        identity = index.to_bytes(16, signed=True)
        event = Received(message=results, sender=fleet.nodes[1].id, message_id=identity, fence=1)
        fleet.step(fleet.leader, "scheduler", event)
    assert fleet.refused == [Code.TASK_NOT_DERIVED] * 4


def test_a_holder_that_says_cancelled_of_itself_fails_the_job_by_name() -> None:
    fleet = Fleet(2, compute=hangs_on(1))
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    worker = fleet.nodes[1].machines["worker"].machine
    row = next(iter(worker._attempts.values()))  # type: ignore[attr-defined]
    answer = worker._answer(row.changed(state="cancelled", code=Code.JOB_CANCELLED, sentence="no"))  # type: ignore[attr-defined]
    event = Received(message=answer.message, sender=fleet.nodes[1].id, message_id=b"i" * 16, fence=1)
    fleet.step(fleet.leader, "scheduler", event)
    ended = fleet.status(job_id)
    assert ended.state == "failed" and ended.cause is not None and ended.cause.node == fleet.nodes[1].id
