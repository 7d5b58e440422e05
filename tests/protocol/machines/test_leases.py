"""Leases at their edges: what the simulator found there."""

from __future__ import annotations

from protocol.limits import LEASE_GRACE_MS, RENEWALS_PER_LEASE
from protocol.machines.attempts import Lease
from protocol.machines.contract import TimerFired
from protocol.machines.events import PeerSeen
from protocol.wire.jobs import AskCancel, Stop
from protocol.wire.peers import SourceOffer
from tests.protocol.builders import PROJECT, cancel_of, signed
from tests.protocol.fleet import Fleet
from tests.protocol.machines.test_jobs_whole import SILENCE_MS, hangs_on

LEASE_NS = 8_000_000_000


def test_after_a_restart_a_cancelled_job_waits_for_a_holder_that_may_still_run_its_task() -> None:
    fleet = Fleet(2, compute=hangs_on(1))
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    fleet.nodes[1].cut_off = True
    fleet.ask(AskCancel(job_id=job_id, cancel=cancel_of(job_id)))
    fleet.leader.restart()
    fleet.run()
    assert fleet.nodes[1].running
    assert fleet.status(job_id).state == "running"
    fleet.run_for(SILENCE_MS + 1_000)
    assert not fleet.nodes[1].running
    assert fleet.status(job_id).state == "cancelled"


def test_a_worker_looks_at_its_lease_at_the_moment_at_which_it_is_over() -> None:
    lease = Lease(LEASE_NS // 1_000_000, 0)
    pause_ns = LEASE_NS // RENEWALS_PER_LEASE
    assert lease.next_ns(0) == pause_ns
    assert lease.next_ns(LEASE_NS - 1) == LEASE_NS
    assert lease.next_ns(LEASE_NS) == LEASE_NS + pause_ns  # it is over; a new offer may begin another


def test_a_worker_that_lost_its_lease_still_asks_until_it_is_told_to_forget() -> None:
    """An offer overtaken by the stop of its job begins a task that nobody waits for, and nobody tells of it again."""
    fleet = Fleet(2, compute=hangs_on(1))
    holder = fleet.nodes[1]
    an_order, job_id = signed()
    holder.cut_off = True
    fleet.submit(an_order)
    assert fleet.end(job_id).state == "failed"
    holder.cut_off = False
    waiting = [one.send for one in fleet.leader.machines["scheduler"]._outbox.values() if one.send.to == holder.id]
    fleet._send(fleet.leader, next(send for send in waiting if isinstance(send.message, Stop)))
    fleet.run()
    for _ in range(600):
        if holder.running:
            break
        fleet.run_for(100)
    assert holder.running
    holder.cut_off = True
    fleet.run_for(SILENCE_MS)
    assert not holder.running
    assert holder.attempts() == 1
    holder.cut_off = False
    fleet.run_for(60_000)
    assert holder.attempts() == 0


def test_a_scheduler_that_slept_through_a_lease_reads_first_what_was_said_meanwhile() -> None:
    fleet = Fleet(3, compute=hangs_on(2))
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    silent = fleet.nodes[2]
    silent.cut_off = True
    fleet._clock(fleet.now.boot_ns + 10 * SILENCE_MS * 1_000_000)
    timer = next(key for key in fleet.timers if key[:2] == (0, "scheduler") and key[2].startswith("job:"))
    _, generation = fleet.timers.pop(timer)
    fleet.step(fleet.leader, "scheduler", TimerFired(name=timer[2], generation=generation))
    assert fleet.status(job_id).state == "running"
    fleet.run_for(LEASE_GRACE_MS)
    ended = fleet.status(job_id)
    assert ended.state == "failed" and ended.cause is not None and ended.cause.node == silent.id


def test_of_a_client_that_is_silent_the_scheduler_through_which_it_is_reached_is_named_too() -> None:
    fleet = Fleet(3, compute=hangs_on(2))
    _, way, client = fleet.nodes
    offers = tuple(SourceOffer(name=name, project=PROJECT.project_id) for name in client.sources)
    fleet.step(fleet.leader, "scheduler", PeerSeen(node=client.id, name=client.name, sources=offers, via=way.id))
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    client.cut_off = True
    cause = fleet.end(job_id).cause
    assert cause is not None and cause.node == client.id
    assert "n2 (" in cause.sentence and "reached through n1 (" in cause.sentence
    assert cause.next_step.startswith("see whether n1 (")
