"""A scheduler that knows only some members asks all of them for their sources before it plans a job."""

from __future__ import annotations

from typing import Any

from protocol.errors import Code
from protocol.limits import ROLL_CALL_FRESH_MS, ROLL_CALL_WAIT_MS
from protocol.machines.contract import Publish
from protocol.machines.events import MembersPartlyKnown, PeerSeen, RollCallWanted
from protocol.plan.order import ParticipantRule
from protocol.wire.peers import SourceOffer
from tests.protocol.builders import PROJECT, order, signed
from tests.protocol.fleet import Fleet


def wide(holders: int = 2) -> tuple[Fleet, list[RollCallWanted]]:
    """A fleet whose leader has heard that there are more members, and the calls that it makes."""
    fleet = Fleet(holders)
    fleet.step(fleet.leader, "scheduler", MembersPartlyKnown())
    calls: list[RollCallWanted] = []
    carry_out = fleet.carry_out

    def note(node: Any, owner: str, effects: Any) -> None:
        calls.extend(one.event for one in effects if isinstance(one, Publish) and isinstance(one.event, RollCallWanted))
        carry_out(node, owner, effects)

    fleet.carry_out = note  # type: ignore[method-assign]
    return fleet, calls


def test_where_all_members_are_known_nobody_is_called() -> None:
    fleet = Fleet(2)
    an_order, job_id = signed()
    fleet.submit(an_order)
    assert fleet.end(job_id).state == "succeeded"


def test_the_first_submission_calls_once_and_the_same_order_is_taken_when_the_answers_are_in() -> None:
    fleet, calls = wide()
    an_order, job_id = signed()
    assert fleet.submit(an_order).code == Code.HOLDERS_GATHERING
    fleet.run_for(ROLL_CALL_WAIT_MS - 1)
    assert fleet.submit(an_order).code == Code.HOLDERS_GATHERING
    assert [one.project for one in calls] == [PROJECT.project_id]
    fleet.run_for(1)
    fleet.submit(an_order)
    assert fleet.end(job_id).state == "succeeded"


def test_answers_stay_fresh_for_a_while_and_then_the_roll_is_called_again() -> None:
    fleet, calls = wide()
    fleet.submit(signed()[0])
    fleet.run_for(ROLL_CALL_WAIT_MS)
    assert not hasattr(fleet.submit(signed(order(nonce=b"2" * 16))[0]), "next_step")
    fleet.run_for(ROLL_CALL_FRESH_MS)
    assert fleet.submit(signed(order(nonce=b"3" * 16))[0]).code == Code.HOLDERS_GATHERING
    assert len(calls) == 2


def test_two_calls_of_one_scheduler_keep_a_distance_since_others_would_not_answer_the_second() -> None:
    fleet, calls = wide()
    far = signed(order(participants=ParticipantRule(rule="listed", nodes=(b"f" * 32,))))[0]
    assert fleet.submit(far).code == Code.HOLDERS_GATHERING
    everybody = signed(order(nonce=b"2" * 16))[0]
    assert fleet.submit(everybody).code == Code.HOLDERS_GATHERING and len(calls) == 1
    fleet.run_for(ROLL_CALL_WAIT_MS)
    assert fleet.submit(everybody).code == Code.HOLDERS_GATHERING and len(calls) == 2


def test_a_job_of_listed_holders_that_are_known_calls_nobody() -> None:
    fleet, calls = wide(3)
    known = fleet.nodes[2].id
    an_order, job_id = signed(order(participants=ParticipantRule(rule="listed", nodes=(known,))))
    fleet.submit(an_order)
    assert fleet.end(job_id).state == "succeeded" and not calls


def test_a_job_of_a_listed_holder_that_is_not_known_calls_for_it_alone() -> None:
    fleet, calls = wide()
    far = b"f" * 32
    an_order = signed(order(participants=ParticipantRule(rule="listed", nodes=(far,))))[0]
    assert fleet.submit(an_order).code == Code.HOLDERS_GATHERING and len(calls) == 1
    offer = (SourceOffer(name="s0", project=PROJECT.project_id),)
    fleet.step(fleet.leader, "scheduler", PeerSeen(node=far, name="far", sources=offer))
    assert fleet.submit(an_order).state == "running"


def test_a_job_that_is_known_already_is_told_of_and_calls_nobody() -> None:
    fleet, calls = wide(1)
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run_for(ROLL_CALL_WAIT_MS)
    fleet.submit(an_order)
    fleet.end(job_id)
    fleet.run_for(ROLL_CALL_FRESH_MS)
    assert fleet.submit(an_order).state == "succeeded" and len(calls) == 1
