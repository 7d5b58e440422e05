"""What the operator takes back ends at once, in every machine: by a ban, by a new token, by leaving."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import kinds
from protocol.errors import Code
from protocol.key_statement import Certified
from protocol.limits import PEERS_SOUGHT
from protocol.machines.contract import KillTask, Publish, Put, Received, Send
from protocol.machines.enrolment import Enrolment
from protocol.machines.events import (
    Arrived,
    Counted,
    Discovered,
    Encountered,
    JoinsKept,
    KeptJoin,
    Outgoing,
    PeerAdmitted,
    PeerLeft,
    PeerProved,
    PeersAllowed,
    PeerSeen,
    PeerWaiting,
    ProjectsHeld,
    StatementWanted,
    TaskDied,
    TaskFaulted,
    TaskProduced,
)
from protocol.machines.gate import Gate
from protocol.machines.membership import Membership
from protocol.wire.jobs import Stop, Submit
from protocol.wire.peers import Farewell, Greeting, Heartbeat, SourceOffer
from tests.protocol.builders import (
    OTHER_PROJECT,
    PROJECT,
    messages,
    news,
    node_key,
    now,
    outcomes,
    received,
    refusals,
    sends,
    signed,
    statement,
    writes,
)
from tests.protocol.fleet import Fleet, Node, product_of

OWN_KEY, PEER_KEY = node_key(1), node_key(2)
OWN, PEER = statement(OWN_KEY), statement(PEER_KEY)
HELD = ProjectsHeld(projects=(PROJECT,), statement=OWN.data)
BANNED = PeersAllowed(banned=frozenset([PEER.node]))
NAMED = PeersAllowed(named=frozenset([OWN.node]))


def hangs_at_holders(node: Node, start: Any) -> TaskProduced | TaskFaulted | TaskDied | None:
    done: TaskProduced | TaskFaulted | TaskDied | None = None if start.source else product_of(node, start)
    return done


# --- the gate ----------------------------------------------------------------------------------------------------


def admitted(*projects: bytes) -> PeerAdmitted:
    return PeerAdmitted(
        node=PEER.node,
        node_key=PEER.node_key,
        curve_key=PEER.statement.curve_key,
        seal_key=PEER.statement.seal_key,
        addresses=(),
        projects=projects or (PROJECT.project_id,),
        name="peer",
    )


class Line:
    """A peer's gate and this node's, and the frames between them."""

    def __init__(self) -> None:
        self.gate, self.theirs = Gate(OWN_KEY, 1, {}), Gate(PEER_KEY, 1, {})
        own = PeerAdmitted(
            node=OWN.node,
            node_key=OWN.node_key,
            curve_key=b"c" * 32,
            seal_key=b"s" * 32,
            addresses=(),
            projects=(PROJECT.project_id,),
            name="own",
        )
        self.gate.step(HELD, now())
        self.gate.step(admitted(), now())
        self.theirs.step(own, now())

    def bring(self, project: bytes = b"") -> list[Any]:
        """A heartbeat of the peer, and what this gate tells the node of it."""
        send = Send(message=Heartbeat(), to=OWN.node, project=project)
        (sealed,) = self.theirs.step(Outgoing(send=send), now())
        assert isinstance(sealed, Publish)
        return news(self.gate.step(Arrived(raw=sealed.event.raw, node=PEER.node), now()))


def test_no_frame_of_a_banned_node_is_accepted_and_each_is_counted() -> None:
    line = Line()
    assert isinstance(line.bring()[0], Received)
    line.gate.step(BANNED, now())
    for _ in range(3):
        (told,) = line.bring()
        assert isinstance(told, Counted) and told.code == Code.NODE_BANNED
    assert line.gate.snapshot().refused == {Code.NODE_BANNED: 3} and line.gate.snapshot().peers == 0


def test_a_ban_that_is_lifted_needs_a_new_proof() -> None:
    line = Line()
    line.gate.step(BANNED, now())
    line.gate.step(admitted(), now())  # membership had not heard of the ban
    line.gate.step(PeersAllowed(), now())
    assert line.bring()[0].code == Code.STRANGER
    line.gate.step(admitted(), now())
    assert isinstance(line.bring()[0], Received)


def test_nothing_is_sent_to_a_banned_node() -> None:
    line = Line()
    line.gate.step(BANNED, now())
    assert line.gate.step(Outgoing(send=Send(message=Heartbeat(), to=PEER.node)), now()) == ()


def test_no_frame_of_before_a_ban_is_accepted_again_once_it_is_lifted() -> None:
    line = Line()
    (sealed,) = line.theirs.step(Outgoing(send=Send(message=Heartbeat(), to=OWN.node)), now())
    assert isinstance(sealed, Publish)
    recorded = Arrived(raw=sealed.event.raw, node=PEER.node)
    assert isinstance(news(line.gate.step(recorded, now()))[0], Received)
    for event in (BANNED, PeersAllowed(), admitted()):
        line.gate.step(event, now())
    assert news(line.gate.step(recorded, now()))[0].code == Code.REPLAYED


def test_frames_of_a_project_that_is_no_longer_held_are_refused_at_once() -> None:
    line = Line()
    assert isinstance(line.bring(PROJECT.project_id)[0], Received)
    line.gate.step(ProjectsHeld(projects=(OTHER_PROJECT,), statement=OWN.data), now())
    assert line.bring(PROJECT.project_id)[0].code == Code.PROJECT_ROTATED
    assert isinstance(line.bring()[0], Received)  # the peer may share another one
    line.gate.step(HELD, now())
    assert isinstance(line.bring(PROJECT.project_id)[0], Received)


def test_a_node_that_has_left_hears_no_peer_until_it_is_back() -> None:
    line = Line()
    line.gate.step(ProjectsHeld(projects=(), statement=OWN.data, left=True), now())
    assert line.bring()[0].code == Code.NODE_LEFT
    line.gate.step(HELD, now())
    assert isinstance(line.bring()[0], Received)


# --- the door ----------------------------------------------------------------------------------------------------


def door() -> Enrolment:
    machine = Enrolment(OWN.node, 1, b"secret", OWN.statement.curve_key, OWN.statement.seal_key)
    machine.step(HELD, now())
    return machine


def test_a_banned_node_is_not_knocked_at() -> None:
    machine = door()
    machine.step(Encountered(certified=PEER), now())
    machine.step(BANNED, now())
    assert machine.snapshot().knocking == () and machine.step(Encountered(certified=PEER), now()) == ()


def test_a_node_that_no_list_names_is_not_knocked_at_and_waits() -> None:
    machine = door()
    machine.step(NAMED, now())
    assert [one.certified.node for one in news(machine.step(Encountered(certified=PEER), now()), PeerWaiting)] == [
        PEER.node
    ]
    assert machine.snapshot().knocking == ()
    machine.step(PeersAllowed(named=frozenset([PEER.node])), now())
    machine.step(Encountered(certified=PEER), now())
    assert machine.snapshot().knocking == (PEER.node,)


# --- membership --------------------------------------------------------------------------------------------------


def hall(rows: Any = None, *events: Any) -> Membership:
    machine = Membership(OWN.node, "own", {}, (), rows or {})
    for event in (*events, HELD):
        machine.step(event, now())
    machine.check()
    return machine


def with_peer() -> Membership:
    machine = hall()
    machine.step(PeerProved(certified=PEER, project=PROJECT.project_id), now())
    return machine


def standing(machine: Membership) -> str:
    (view,) = machine.snapshot().strangers
    return view.standing


def test_membership_forgets_a_banned_peer_and_lists_it_as_banned() -> None:
    machine = with_peer()
    machine.step(BANNED, now())
    machine.check()
    assert machine.snapshot().peers == () and standing(machine) == "banned"
    assert refusals(machine.step(received(Heartbeat(), PEER.node), now())) == [Code.STRANGER]
    assert machine.step(PeerProved(certified=PEER, project=PROJECT.project_id), now()) == ()


def test_a_stored_peer_that_is_banned_is_not_taken_up_and_met_again_when_the_ban_is_lifted() -> None:
    before = hall()
    rows = {
        kinds.PEER: [
            (write.key, write.value)
            for write in writes(before.step(PeerProved(certified=PEER, project=PROJECT.project_id), now()))
            if isinstance(write, Put)
        ]
    }
    machine = hall(rows, BANNED)
    assert machine.snapshot().peers == () and standing(machine) == "banned"
    (met,) = news(machine.step(PeersAllowed(), now()), Encountered)
    assert met.certified.node == PEER.node


def test_who_waits_is_shown_and_met_again_once_accepted() -> None:
    machine = hall(None, NAMED)
    machine.step(PeerWaiting(certified=PEER), now())
    assert standing(machine) == "waiting"
    (met,) = news(machine.step(PeersAllowed(named=frozenset([PEER.node])), now()), Encountered)
    assert met.certified.node == PEER.node and standing(machine) == "stranger"


def test_a_peer_is_told_when_this_node_leaves_and_greeted_when_it_is_back() -> None:
    machine = with_peer()
    gone = machine.step(ProjectsHeld(projects=(), statement=OWN.data, left=True), now())
    assert [one.to for one in sends(gone, Farewell)] == [PEER.node]
    assert not news(gone, PeerAdmitted)
    back = machine.step(HELD, now())
    assert [one.to for one in sends(back, Greeting)] == [PEER.node] and news(back, PeerAdmitted)


@pytest.mark.parametrize("unfit", ["banned", "client"])
def test_who_is_never_knocked_at_takes_no_place_among_the_sought(unfit: str) -> None:
    addresses = () if unfit == "client" else ("10.0.0.1:1",)
    others = [statement(node_key(100 + number), addresses=addresses) for number in range(PEERS_SOUGHT)]
    banned = frozenset(one.node for one in others) if unfit == "banned" else frozenset()
    machine = hall(None, PeersAllowed(banned=banned), HELD)
    for one in others:
        assert news(machine.step(Discovered(certified=one), now()), Encountered) == []
    assert len(news(machine.step(Discovered(certified=PEER), now()), Encountered)) == 1


def test_a_peer_of_a_former_project_alone_is_introduced_to_nobody() -> None:
    machine, other = with_peer(), statement(node_key(3))
    machine.step(PeerProved(certified=other, project=PROJECT.project_id), now())
    machine.step(received(_greeting_of(other), other.node), now())
    asked = received(_greeting_of(PEER, seeks=8), PEER.node)
    (answer,) = messages(machine.step(asked, now()), Greeting)
    assert answer.introductions == (other.data,)
    machine.step(ProjectsHeld(projects=(OTHER_PROJECT,), statement=OWN.data), now())
    (answer,) = messages(machine.step(asked, now()), Greeting)
    assert answer.introductions == ()


def _greeting_of(peer: Certified, seeks: int = 0) -> Greeting:
    return Greeting(
        statement=peer.data,
        name="peer",
        projects=(PROJECT.project_id,),
        sources=(),
        answer_wanted=True,
        seeks=seeks,
        introductions=(),
    )


def test_a_peer_that_said_farewell_is_left_alone_until_it_greets() -> None:
    machine = with_peer()
    (told,) = news(machine.step(received(Farewell(), PEER.node), now()), PeerLeft)
    assert told.node == PEER.node and machine.snapshot().peers[0].presence == "left"
    assert machine.step(received(Heartbeat(), PEER.node), now(1)) == ()
    greeting = Greeting(statement=PEER.data, name="p", projects=(PROJECT.project_id,), sources=(), answer_wanted=False)
    machine.step(received(greeting, PEER.node), now(2))
    assert machine.snapshot().peers[0].presence == "present"


def test_a_farewell_of_a_stranger_is_refused() -> None:
    assert refusals(hall().step(received(Farewell(), PEER.node), now())) == [Code.STRANGER]


def test_a_kept_join_with_a_statement_asks_nobody_for_it() -> None:
    machine = hall()
    kept = (KeptJoin(address="10.0.0.2:1456", statement=PEER.data), KeptJoin(address="10.0.0.3:1456"))
    effects = machine.step(JoinsKept(joins=kept), now())
    (found,) = news(effects, Discovered)
    assert (found.certified, found.heard_at, found.typed) == (PEER, "10.0.0.2:1456", True)
    assert [one.address for one in news(effects, StatementWanted)] == ["10.0.0.3:1456"]
    assert machine.step(JoinsKept(joins=kept), now()) == ()  # told again: nothing new
    machine.step(JoinsKept(joins=kept[:1]), now())
    assert [one.address for one in machine.snapshot().joins] == ["10.0.0.2:1456"]


def test_a_kept_join_with_an_expired_statement_is_asked_for_a_new_one() -> None:
    machine = hall()
    old = statement(PEER_KEY, not_after_ms=1)
    effects = machine.step(JoinsKept(joins=(KeptJoin(address="10.0.0.2:1456", statement=old.data),)), now())
    assert [one.address for one in news(effects, StatementWanted)] == ["10.0.0.2:1456"]


# --- jobs --------------------------------------------------------------------------------------------------------


def running_job() -> tuple[Fleet, bytes]:
    fleet = Fleet(2, compute=hangs_at_holders)
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    assert fleet.nodes[1].running
    return fleet, job_id


def everywhere(fleet: Fleet, node: Node, event: Any) -> None:
    for owner in ("scheduler", "worker"):
        fleet.step(node, owner, event)


def test_a_job_in_which_a_banned_node_takes_part_fails_and_names_it() -> None:
    fleet, job_id = running_job()
    everywhere(fleet, fleet.leader, PeersAllowed(banned=frozenset([fleet.nodes[1].id])))
    status = fleet.status(job_id)
    assert status.state == "failed" and status.cause is not None
    assert status.cause.code == Code.NODE_BANNED and status.cause.node == fleet.nodes[1].id
    assert "n1" in status.cause.sentence and "banned" in status.cause.sentence


def test_a_banned_node_takes_part_in_no_new_job() -> None:
    fleet = Fleet(2)
    everywhere(fleet, fleet.leader, PeersAllowed(banned=frozenset([fleet.nodes[1].id])))
    status = fleet.submit(signed()[0])
    assert set(status.holder_names.values()) == {"n0"}


def test_tasks_of_a_banned_scheduler_are_killed_and_forgotten() -> None:
    fleet, _ = running_job()
    holder = fleet.nodes[1]
    everywhere(fleet, holder, PeersAllowed(banned=frozenset([fleet.leader.id])))
    assert holder.running == {} and holder.attempts() == 0
    holder.restart()
    assert holder.running == {}


def test_a_ban_that_was_told_only_after_a_restart_kills_what_was_resumed() -> None:
    fleet, _ = running_job()
    holder = fleet.nodes[1]
    holder.restart()
    assert holder.running  # the restart came between the ban's commit and the worker's
    everywhere(fleet, holder, PeersAllowed(banned=frozenset([fleet.leader.id])))
    assert holder.running == {}


@pytest.mark.parametrize(("left", "code"), [(False, Code.PROJECT_ROTATED), (True, Code.NODE_LEFT)])
def test_a_holder_that_gives_up_the_project_stops_and_says_why(left: bool, code: Code) -> None:
    fleet, job_id = running_job()
    holder = fleet.nodes[1]
    everywhere(fleet, holder, ProjectsHeld(projects=(), statement=b"", left=left))
    assert holder.running == {}
    fleet.run()
    status = fleet.status(job_id)
    assert status.state == "failed" and status.cause is not None
    assert status.cause.code == code and status.cause.node == holder.id


@pytest.mark.parametrize(("left", "code"), [(False, Code.PROJECT_ROTATED), (True, Code.NODE_LEFT)])
def test_a_job_of_a_project_that_its_leader_gives_up_ends_with_that_cause_everywhere(left: bool, code: Code) -> None:
    fleet, job_id = running_job()
    everywhere(fleet, fleet.leader, ProjectsHeld(projects=(OTHER_PROJECT,), statement=b"", left=left))
    status = fleet.status(job_id)
    assert status.state == "failed" and status.cause is not None and status.cause.code == code
    fleet.run()
    assert all(not node.running for node in fleet.nodes)


def test_a_source_goes_with_the_new_token_of_its_project() -> None:
    fleet = Fleet(1)
    sources = {"s0": frozenset([OTHER_PROJECT.project_id])}
    everywhere(fleet, fleet.leader, ProjectsHeld(projects=(OTHER_PROJECT,), statement=b"", sources=sources))
    refused = fleet.ask(Submit(order=signed()[0]))
    assert refused.code == Code.PROJECT_UNKNOWN
    machine: Any = fleet.leader.machines["worker"].machine
    assert machine._policy.sources["s0"].projects == sources["s0"]
    scheduler: Any = fleet.leader.machines["scheduler"].machine
    assert scheduler._holders.missing(OTHER_PROJECT.project_id, [fleet.leader.id]) == ()
    assert scheduler._holders.missing(PROJECT.project_id, [fleet.leader.id]) == (fleet.leader.id,)


def test_a_holder_that_left_offers_nothing_until_it_is_back() -> None:
    fleet = Fleet(2)
    node = fleet.nodes[1]
    fleet.step(fleet.leader, "scheduler", PeerLeft(node=node.id, name="n1"))
    assert set(fleet.submit(signed()[0]).holder_names.values()) == {"n0"}
    offers = (SourceOffer(name="s0", project=PROJECT.project_id),)
    fleet.step(fleet.leader, "scheduler", PeerSeen(node=node.id, name="n1", sources=offers))
    machine: Any = fleet.leader.machines["scheduler"].machine
    assert machine._holders.missing(PROJECT.project_id, [node.id]) == ()


def test_the_effects_of_taking_back_are_kills_outcomes_and_stops() -> None:
    fleet, job_id = running_job()
    worker = fleet.nodes[1].machines["worker"]
    effects = worker.step(ProjectsHeld(projects=(), statement=b""), fleet.now)
    assert any(isinstance(one, KillTask) for one in effects)
    assert {one.code for one in outcomes(effects)} == {Code.PROJECT_ROTATED}
    stops = messages(fleet.leader.machines["scheduler"].step(ProjectsHeld(projects=(), statement=b""), fleet.now), Stop)
    assert stops and all(stop.ended and stop.job_id == job_id for stop in stops)
