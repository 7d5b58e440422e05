"""Every pair of state and event is a row of a table, or refused by name; and every row is taken by the real machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, get_args

import msgspec
import pytest

from protocol.errors import Code, InvariantBroken
from protocol.ids import format_job_id, node_id
from protocol.limits import NEIGHBOURS_MAX, PEER_AWAY_MS, STORY_ENTRIES_MAX, STORY_KEYS_MAX
from protocol.machines import enrolment, invitations, membership, poller, scheduler, worker
from protocol.machines.attempts import AttemptRow, AttemptState
from protocol.machines.contract import Effects, Received, Stories, TimerFired
from protocol.machines.enrolment import Enrolment
from protocol.machines.events import (
    Discovered,
    DiscoveryLost,
    Encountered,
    InvitationAnswered,
    PeerAdmitted,
    PeerProved,
    PeersAllowed,
    ProjectsHeld,
    TaskDied,
    TaskFaulted,
)
from protocol.machines.membership import Membership
from protocol.plan.order import JobLimits
from protocol.secret_text import SecretText
from protocol.wire import door, peers
from protocol.wire.jobs import ENDED, AskCancel, JobState, Results, Tasks
from tests.protocol.builders import (
    PROJECT,
    cancel_of,
    node_key,
    now,
    order,
    received,
    refusals,
    signed,
    statement,
)
from tests.protocol.fleet import Fleet, Node, product_of

Row = tuple[str, str, str]


def rows_of(table: Any) -> set[Row]:
    return {(before, event, after) for before, row in table.items() for event, after in row.items()}


def pairs_of(table: Any) -> list[tuple[str, str]]:
    """Every state with every event that stands in the table."""
    return list(product(table, sorted({event for row in table.values() for event in row})))


@pytest.mark.parametrize("machine", [enrolment, invitations, membership, poller, scheduler, worker])
def test_every_state_that_a_row_leads_to_has_rows_of_its_own(machine: Any) -> None:
    assert {after for _, _, after in rows_of(machine.TRANSITIONS)} <= set(machine.TRANSITIONS)


def test_the_ended_states_of_a_job_have_no_way_out() -> None:
    assert {state for state, row in scheduler.TRANSITIONS.items() if not row} == ENDED


# --- jobs and attempts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "event"), pairs_of(scheduler.TRANSITIONS))
def test_a_job_moves_by_its_table_or_tells_its_story(state: Any, event: str) -> None:
    fleet = Fleet(1, compute=lambda _node, _start: None)
    an_order, job_id = signed()
    fleet.submit(an_order)
    machine: Any = fleet.leader.machines["scheduler"].machine
    job = machine._book.live[job_id]
    job.update(state=state)
    expected = scheduler.TRANSITIONS[state].get(event)
    if expected is not None:
        machine._move(job, event)
        assert job.row.state == expected
        return
    with pytest.raises(InvariantBroken, match=f"{event} cannot follow in state {state}") as broken:
        machine._move(job, event)
    assert format_job_id(job_id) in str(broken.value) and "TasksOffered" in str(broken.value)
    assert job.row.state == state


@pytest.mark.parametrize(("state", "event"), pairs_of(worker.TRANSITIONS))
def test_an_attempt_moves_by_its_table_or_tells_its_story(state: Any, event: str) -> None:
    fleet = Fleet(1, compute=lambda _node, _start: None)
    fleet.submit(signed()[0])
    fleet.run()
    machine: Any = fleet.leader.machines["worker"].machine
    row: AttemptRow = next(iter(machine._attempts.values())).changed(state=state)
    expected = worker.TRANSITIONS[state].get(event)
    if expected is not None:
        assert machine._move(row, event).state == expected
    else:
        with pytest.raises(InvariantBroken, match=f"{event} cannot follow in state {state}.*none --Offered--> running"):
            machine._move(row, event)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[Row]]:
    """The rows that machines take while the test runs."""
    rows: set[Row] = set()
    add = Stories.add

    def noted(stories: Stories, key: Any, before: str, event: str, after: str) -> None:
        rows.add((before, event, after))
        add(stories, key, before, event, after)

    monkeypatch.setattr(Stories, "add", noted)
    yield rows


def measuring(ended: Callable[[Any], Any]) -> Callable[[Node, Any], Any]:
    return lambda node, start: ended(start) if start.source and node.number else product_of(node, start)


def play_every_end() -> None:
    good = Fleet(2)
    good.submit(signed()[0])
    offers: list[Received] = []

    def keep_offers(event: Received) -> Received:
        if isinstance(event.message, Tasks) and event.message.tasks[0].index == 2 and not offers:
            offers.append(event)
        return event

    good.alter = keep_offers
    holder = good.nodes[1]
    while not offers:
        good._one()
    good.step(holder, "worker", msgspec.structs.replace(offers[0], message_id=b"again-while-runs"))
    while holder.running:
        good._one()
    good.step(holder, "worker", msgspec.structs.replace(offers[0], message_id=b"again-when-ended"))
    good.run()

    failed = Fleet(2, compute=measuring(lambda start: TaskFaulted(key=start.key, code="c", sentence="s")))
    failed.submit(signed()[0])
    failed.alter = keep_results_back(failed)
    failed.run()

    crashed = Fleet(2, compute=measuring(lambda start: TaskDied(key=start.key, reason="crashed")))
    crashed.submit(signed()[0])
    crashed.run()

    for ending in ("cancel", "lease", "deadline"):
        fleet = Fleet(2, compute=measuring(lambda _start: None))
        an_order, job_id = signed(order(limits=JobLimits(deadline_ms=60_000)))
        fleet.submit(an_order)
        fleet.run()
        if ending == "cancel":
            fleet.ask(AskCancel(job_id=job_id, cancel=cancel_of(job_id)))
            fleet.run()
        else:
            fleet.nodes[1].cut_off = ending == "lease"
            fleet.run_for(70_000)
        assert fleet.status(job_id).state == {"cancel": "cancelled", "lease": "failed", "deadline": "expired"}[ending]
    lost_and_offered_again()
    given_up()


def given_up() -> None:
    """The token is taken away, first at the holder, then at the node that leads."""
    for number in (1, 0):
        fleet = Fleet(2, compute=measuring(lambda _start: None))
        an_order, job_id = signed()
        fleet.submit(an_order)
        fleet.run()
        for owner in ("worker", "scheduler"):
            fleet.step(fleet.nodes[number], owner, ProjectsHeld(projects=(), statement=b""))
        fleet.run()
        assert fleet.status(job_id).state == "failed"


def keep_results_back(fleet: Fleet) -> Callable[[Received], Received | None]:
    """The holder's first answer is lost, and its offer comes a second time: the failed attempt answers again."""
    seen: list[Received] = []

    def alter(event: Received) -> Received | None:
        if isinstance(event.message, Tasks) and event.message.tasks[0].index == 2 and not seen:
            seen.append(event)
        elif len(seen) == 1 and event.sender == fleet.nodes[1].id and isinstance(event.message, Results):
            seen.append(event)
            fleet.wire.append((1, msgspec.structs.replace(seen[0], message_id=b"a-second-message")))
            return None
        return event

    return alter


def lost_and_offered_again() -> None:
    """The holder's lease is over while it is cut off; the scheduler restarts and offers the task again."""
    fleet = Fleet(2, compute=measuring(lambda _start: None))
    an_order, job_id = signed()
    fleet.submit(an_order)
    fleet.run()
    fleet.nodes[1].cut_off = True
    fleet.run_for(15_500)
    fleet.nodes[1].cut_off = False
    fleet.leader.restart()
    fleet.compute = product_of
    assert fleet.end(job_id).state == "succeeded"


def test_every_row_of_jobs_and_attempts_is_taken(taken: set[Row]) -> None:
    play_every_end()
    expected = rows_of(scheduler.TRANSITIONS) | rows_of(worker.TRANSITIONS) | {("none", "Offered", "running")}
    assert taken == expected


def test_a_story_is_bounded_per_key_and_in_keys() -> None:
    stories = Stories()
    for number in range(STORY_ENTRIES_MAX + 5):
        stories.add("key", "a", str(number), "b")
    assert len(stories.of("key")) == STORY_ENTRIES_MAX and stories.of("key")[-1].startswith("a --36")
    for number in range(STORY_KEYS_MAX):
        stories.add(number, "a", "b", "c")
    assert stories.of("key") == () and len(stories.of(0)) == 1


# --- enrolment ---------------------------------------------------------------------------------------------------

OWN_KEY, PEER_KEY = node_key(1), node_key(2)
OWN, PEER = node_id(OWN_KEY.public_key), node_id(PEER_KEY.public_key)
PEER_SAYS = statement(PEER_KEY)
ADMITTED = PeerAdmitted(
    node=PEER,
    node_key=PEER_KEY.public_key,
    curve_key=b"c" * 32,
    seal_key=b"s" * 32,
    addresses=(),
    projects=(PROJECT.project_id,),
    name="p",
)
KNOCK = TimerFired(name=f"knock:{PEER.hex()}")


class Door:
    """Enrolment with one session in a chosen state."""

    def __init__(self, state: str) -> None:
        self.machine: Any = Enrolment(OWN, 1, b"secret", b"c" * 32, b"s" * 32)
        held = ProjectsHeld(projects=(PROJECT,), statement=statement(OWN_KEY).data)
        self.machine.step(held, now())
        self.session = b"session"
        if state in ("challenged", "proved"):
            self.fire("Hello")
            if state == "proved":
                self.fire("Proof")
        elif state in ("knocking", "proving"):
            self.fire("Encountered")
            self.session = next(iter(self.machine._sessions))
            if state == "proving":
                self.fire("Challenge")
        assert self.state() == state

    def state(self) -> str:
        session = self.machine._sessions.get(self.session)
        if session is None and self.session == b"session" and self.machine._sessions:
            session = next(iter(self.machine._sessions.values()))
        return "idle" if session is None else str(session.state)

    def fire(self, event: str) -> Effects:
        match event:
            case "Encountered":
                first = self.machine.step(Encountered(certified=PEER_SAYS), now())
                if self.machine._sessions:
                    return tuple(first)
                return (*first, *self.machine.step(KNOCK, now()))
            case "TimerFired":
                return tuple(self.machine.step(TimerFired(name=f"session:{self.session.hex()}"), now()))
            case "PeerAdmitted":
                return tuple(self.machine.step(ADMITTED, now()))
            case "InvitationAnswered":
                answer = InvitationAnswered(session=self.session, token=SecretText("t"), name="p")
                return tuple(self.machine.step(answer, now()))
        message = getattr(self, event.lower())()
        got = received(message, PEER, session=self.session, project=PROJECT.project_id)
        return tuple(self.machine.step(got, now()))

    def hello(self) -> door.Hello:
        curve = PEER_SAYS.statement.curve_key
        return door.Hello(role="node", statement=PEER_SAYS.data, curve_key=curve, nonce=b"n" * 16, versions=(1,))

    def challenge(self) -> door.Challenge:
        session = self.machine._sessions.get(self.session)
        nonce = session.joiner.hello.nonce if session is not None and session.joiner is not None else b"?" * 16
        parties = (OWN, PEER, b"c" * 32, PEER_SAYS.statement.curve_key, nonce, b"N" * 16)
        proof = PROJECT.proof("responder", *parties)
        return door.Challenge(statement=PEER_SAYS.data, nonce=b"N" * 16, proof=proof, version=1)

    def proof(self) -> door.Proof:
        session = self.machine._sessions.get(self.session)
        nonce = session.nonce if session is not None else b"?" * 16
        parties = (PEER, OWN, PEER_SAYS.statement.curve_key, b"c" * 32, b"n" * 16, nonce)
        return door.Proof(proof=PROJECT.proof("joiner", *parties))

    def welcome(self) -> door.Welcome:
        return door.Welcome()


# SubmitterProved is news of this machine itself, in the step of a submitter's proof; see test_enrolment.py.
@pytest.mark.parametrize(
    ("state", "event"), [pair for pair in pairs_of(enrolment.TRANSITIONS) if pair[1] != "SubmitterProved"]
)
def test_a_door_session_moves_by_its_table_or_the_message_is_refused(state: str, event: str) -> None:
    at_door = Door(state)
    effects = at_door.fire(event)
    at_door.machine.check()
    expected = enrolment.TRANSITIONS[state].get(event)
    assert at_door.state() == (expected or state)
    if expected is not None:
        assert not refusals(effects)
    elif event in ("Hello", "Challenge", "Proof", "Welcome"):
        assert refusals(effects) == [Code.EVENT_UNEXPECTED]
    else:
        assert not refusals(effects)  # a timer that came late, or a node seen again


def neighbour_rank(node: bytes) -> bytes:
    return hashlib.sha256(OWN + node).digest()


# --- membership --------------------------------------------------------------------------------------------------


class Hall:
    """Membership in which one other node has a chosen standing."""

    def __init__(self, state: str) -> None:
        self.machine: Any = Membership(OWN, "own", {"s": frozenset([PROJECT.project_id])}, (), {})
        self.machine.step(ProjectsHeld(projects=(PROJECT,), statement=statement(OWN_KEY).data), now())
        ways = {
            "unknown": [],
            "stranger": ["Discovered"],
            "admitted": ["PeerProved"],
            "present": ["PeerProved", "Greeting"],
            "away": ["PeerProved", "Greeting", "TimerFired"],
            "quiet": ["PeerProved", "Greeting", "LetGo"],
            "left": ["PeerProved", "Farewell"],
        }
        for event in ways[state]:
            self.fire(event)
        assert self.state() == state

    def state(self) -> str:
        snapshot = self.machine.snapshot()
        for view in snapshot.peers:
            if view.node == PEER:
                return str(view.presence)
        return "stranger" if snapshot.strangers else "unknown"

    def crowd(self) -> None:
        """NEIGHBOURS_MAX others that this node prefers, heard of just now."""
        ranked = sorted(range(1_000, 1_200), key=lambda number: neighbour_rank(node_id(node_key(number).public_key)))
        for number in ranked[:NEIGHBOURS_MAX]:
            other = statement(node_key(number))
            greeting = peers.Greeting(
                statement=other.data, name="o", projects=(PROJECT.project_id,), sources=(), answer_wanted=False
            )
            self.machine.step(PeerProved(certified=other, project=PROJECT.project_id), now())
            self.machine.step(received(greeting, other.node), now(PEER_AWAY_MS))

    def fire(self, event: str) -> Effects:
        if event == "LetGo":
            self.crowd()
            return tuple(self.machine.step(TimerFired(name="beat"), now(PEER_AWAY_MS + 1)))
        greeting = peers.Greeting(
            statement=PEER_SAYS.data, name="p", projects=(PROJECT.project_id,), sources=(), answer_wanted=False
        )
        events: dict[str, Any] = {
            "Discovered": Discovered(certified=PEER_SAYS),
            "DiscoveryLost": DiscoveryLost(node=PEER),
            "PeerProved": PeerProved(certified=PEER_SAYS, project=PROJECT.project_id),
            "Greeting": received(greeting, PEER),
            "Heartbeat": received(peers.Heartbeat(), PEER),
            "Farewell": received(peers.Farewell(), PEER),
            "PeersAllowed": PeersAllowed(banned=frozenset([PEER])),
            "TimerFired": TimerFired(name="beat"),
        }
        at = now(PEER_AWAY_MS + 1) if event == "TimerFired" else now()
        return tuple(self.machine.step(events[event], at))


@pytest.mark.parametrize(("state", "event"), pairs_of(membership.TRANSITIONS))
def test_a_nodes_standing_moves_by_its_table_or_its_word_is_refused(state: str, event: str) -> None:
    hall = Hall(state)
    effects = hall.fire(event)
    hall.machine.check()
    expected = membership.TRANSITIONS[state].get(event)
    assert hall.state() == (expected or state)
    if expected is None and event in ("Greeting", "Heartbeat", "Farewell"):
        assert refusals(effects) == [Code.STRANGER]
    else:
        assert not refusals(effects)


def test_the_states_of_the_tables_are_those_that_rows_can_hold() -> None:
    assert set(scheduler.TRANSITIONS) == set(get_args(JobState))
    assert set(worker.TRANSITIONS) == set(get_args(AttemptState))
