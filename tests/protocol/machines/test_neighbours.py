"""Large networks: a node keeps in touch with a bounded number of peers, finds others by introduction, and calls the
roll when it needs them all.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest

from protocol.errors import Code
from protocol.ids import node_id
from protocol.key_statement import Certified
from protocol.limits import (
    CLOCK_TOLERANCE_MS,
    CROWDED_MS,
    CROWDED_NEIGHBOURS,
    HEARTBEAT_INTERVAL_MS,
    INTRODUCTIONS_MAX,
    NEIGHBOURS_MAX,
    PEER_AWAY_MS,
    PEERS_SOUGHT,
    ROLL_CALL_LIFE_MS,
    ROLL_CALL_PAUSE_MS,
    ROLL_CALL_WAIT_MS,
    ROLL_CALLERS_MAX,
    ROLL_CALLS_OF_SENDER_MAX,
    SEEK_MS,
)
from protocol.machines.contract import Effects, Send, TimerFired
from protocol.machines.events import (
    Discovered,
    Encountered,
    EnrolmentFailed,
    MembersPartlyKnown,
    PeerAway,
    PeerProved,
    ProjectsHeld,
    RollCallWanted,
)
from protocol.machines.membership import Membership
from protocol.machines.roll_calls import CallsHeard
from protocol.roll_call import Call, RollCallStatement, sign_roll_call
from protocol.wire.peers import Greeting, Heartbeat, RollCall
from tests.protocol.builders import (
    OTHER_PROJECT,
    PROJECT,
    WALL_MS,
    messages,
    news,
    node_key,
    now,
    received,
    refusals,
    sends,
    statement,
)

OWN_KEY = node_key(1)
OWN = node_id(OWN_KEY.public_key)
PEERS = tuple(statement(node_key(number)) for number in range(10, 10 + 2 * CROWDED_NEIGHBOURS))


def greeting(peer: Certified, **changes: Any) -> Greeting:
    fields: dict[str, Any] = {
        "statement": peer.data,
        "name": "peer",
        "projects": (PROJECT.project_id,),
        "sources": (),
        "answer_wanted": False,
    }
    return Greeting(**(fields | changes))


def new(sources: tuple[str, ...] = ("s",)) -> Membership:
    machine = Membership(OWN, "own", {name: frozenset([PROJECT.project_id]) for name in sources}, (), {})
    machine.step(ProjectsHeld(projects=(PROJECT,), statement=statement(OWN_KEY).data), now())
    return machine


def meet(machine: Membership, peer: Certified, ms: int = 0, **changes: Any) -> Effects:
    proved = machine.step(PeerProved(certified=peer, project=PROJECT.project_id), now(ms))
    return (*proved, *machine.step(received(greeting(peer, **changes), peer.node), now(ms)))


def among(number: int, sources: tuple[str, ...] = ("s",)) -> Membership:
    """A node with so many peers within reach."""
    machine = new(sources)
    for peer in PEERS[:number]:
        meet(machine, peer)
    machine.check()
    return machine


def beat(machine: Membership, ms: int) -> Effects:
    return machine.step(TimerFired(name="beat"), now(ms))


def beaten(effects: Effects) -> dict[bytes, Heartbeat]:
    return {one.to: one.message for one in sends(effects, Heartbeat)}


def test_in_a_small_network_everybody_is_everybodys_neighbour() -> None:
    machine = among(NEIGHBOURS_MAX)
    assert beaten(beat(machine, 1)) == {peer.node: Heartbeat(chosen=True) for peer in PEERS[:NEIGHBOURS_MAX]}


def test_a_node_beats_for_no_more_than_its_neighbours_however_many_peers_it_has() -> None:
    assert len(beaten(beat(among(PEERS_SOUGHT), 1))) == NEIGHBOURS_MAX
    assert len(beaten(beat(among(len(PEERS)), 1))) == NEIGHBOURS_MAX


TYPED = "192.0.2.9:1456"


def named(number: int) -> Certified:
    return statement(node_key(number), addresses=(TYPED,))


def joined_to(typed: Certified, number: int) -> Membership:
    """A node with so many peers within reach that then hears of the one whose address its operator typed."""
    machine = Membership(OWN, "own", {}, (TYPED,), {})
    machine.step(ProjectsHeld(projects=(PROJECT,), statement=statement(OWN_KEY).data), now())
    for peer in PEERS[:number]:
        meet(machine, peer)
    beat(machine, 0)
    machine.step(Discovered(certified=typed, heard_at=TYPED, typed=True), now())
    return machine


def test_whom_the_operator_named_is_a_neighbour_however_many_others_there_are() -> None:
    for typed in map(named, range(200, 210)):
        machine = joined_to(typed, PEERS_SOUGHT)
        meet(machine, typed)
        assert typed.node in beaten(beat(machine, 1))


def test_whom_the_operator_named_is_no_longer_preferred_once_it_is_crowded() -> None:
    preferred = 0
    for typed in map(named, range(200, 210)):
        machine = joined_to(typed, PEERS_SOUGHT)
        meet(machine, typed)
        machine.step(received(Heartbeat(crowded=True), typed.node), now(1))
        preferred += typed.node in beaten(beat(machine, 2))
    assert preferred == 0


def test_whom_the_operator_named_introduces_others_once_though_there_is_no_room_for_more() -> None:
    """Two networks that are full each and meet at one node must not hang by that one thread."""
    typed, others = named(200), PEERS[-INTRODUCTIONS_MAX:]
    machine = joined_to(typed, PEERS_SOUGHT)
    (asked,) = [
        one.message
        for one in sends(machine.step(PeerProved(certified=typed, project=PROJECT.project_id), now()), Greeting)
        if one.to == typed.node
    ]
    assert asked.seeks == INTRODUCTIONS_MAX
    answer = greeting(typed, introductions=tuple(one.data for one in others))
    told = news(machine.step(received(answer, typed.node), now()), Encountered)
    assert {one.certified.node for one in told} == {one.node for one in others}
    machine.check()
    assert news(machine.step(received(answer, typed.node), now()), Encountered) == []


def test_others_introduce_nobody_where_there_is_no_room() -> None:
    machine = among(PEERS_SOUGHT)
    beat(machine, 0)
    (asked,) = sends(machine.step(PeerProved(certified=PEERS[-1], project=PROJECT.project_id), now()), Greeting)
    assert asked.message.seeks == 0
    answer = greeting(PEERS[-1], introductions=(PEERS[-2].data,))
    assert news(machine.step(received(answer, PEERS[-1].node), now()), Encountered) == []


def test_a_peer_that_chose_this_node_is_answered_as_long_as_it_says_so() -> None:
    machine = among(PEERS_SOUGHT)
    (other, *_) = [peer.node for peer in PEERS[:PEERS_SOUGHT] if peer.node not in beaten(beat(machine, 1))]
    machine.step(received(Heartbeat(chosen=True), other), now(2))
    assert beaten(beat(machine, 3))[other] == Heartbeat(chosen=False)
    machine.step(received(Heartbeat(chosen=False), other), now(4))
    assert other not in beaten(beat(machine, 5))


def test_a_neighbour_that_is_silent_is_away_and_another_silent_peer_is_quiet_and_nobody_is_told() -> None:
    machine = among(PEERS_SOUGHT)
    for peer in PEERS[NEIGHBOURS_MAX:PEERS_SOUGHT]:  # whoever is heard is preferred
        machine.step(received(Heartbeat(), peer.node), now(PEER_AWAY_MS))
    effects = beat(machine, PEER_AWAY_MS + 1)
    presence = {view.node: view.presence for view in machine.snapshot().peers}
    assert sorted(set(presence.values())) == ["away", "present", "quiet"]
    assert {one.node for one in news(effects, PeerAway)} == {
        node for node, state in presence.items() if state == "away"
    }


def test_a_quiet_peer_that_speaks_is_greeted_and_present_again() -> None:
    machine = among(len(PEERS))
    for peer in PEERS[:NEIGHBOURS_MAX]:
        machine.step(received(Heartbeat(), peer.node), now(PEER_AWAY_MS))
    beat(machine, PEER_AWAY_MS + 1)
    quiet = next(view.node for view in machine.snapshot().peers if view.presence == "quiet")
    (asked,) = sends(machine.step(received(Heartbeat(chosen=True), quiet), now(PEER_AWAY_MS + 2)), Greeting)
    assert asked.to == quiet and asked.message.answer_wanted


def test_a_peer_that_is_away_is_greeted_ever_more_seldom_and_for_ever() -> None:
    machine = among(1)
    beats = range(PEER_AWAY_MS + 1, 600_000, HEARTBEAT_INTERVAL_MS)
    at = [ms for ms in beats if sends(beat(machine, ms), Greeting)]
    pauses = [later - earlier for earlier, later in pairwise(at)]
    assert pauses[0] == HEARTBEAT_INTERVAL_MS and pauses == sorted(pauses)
    assert 12_000 <= pauses[-1] <= 16_000


def test_a_crowded_node_says_so_and_is_chosen_last_for_a_while() -> None:
    hub = among(len(PEERS))
    for peer in PEERS[: CROWDED_NEIGHBOURS + 1]:
        hub.step(received(Heartbeat(chosen=True), peer.node), now(1))
    assert all(one.crowded for one in beaten(beat(hub, 2)).values())

    machine = among(NEIGHBOURS_MAX + 1)
    crowded = next(iter(beaten(beat(machine, 1))))
    machine.step(received(Heartbeat(chosen=True, crowded=True), crowded), now(2))
    assert beaten(beat(machine, 3))[crowded] == Heartbeat(chosen=False)
    for peer in PEERS[: NEIGHBOURS_MAX + 1]:
        machine.step(received(Heartbeat(), peer.node), now(CROWDED_MS))
    assert beaten(beat(machine, CROWDED_MS + 3))[crowded] == Heartbeat(chosen=True)


def test_a_node_with_room_asks_for_introductions_and_is_introduced_to_members_of_its_project_alone() -> None:
    machine = among(INTRODUCTIONS_MAX + 3)
    asker = PEERS[0]
    (answer,) = messages(
        machine.step(received(greeting(asker, answer_wanted=True, seeks=100), asker.node), now(1)), Greeting
    )
    assert len(answer.introductions) == INTRODUCTIONS_MAX and asker.data not in answer.introductions
    assert set(answer.introductions) <= {peer.data for peer in PEERS}
    stranger = statement(node_key(9), projects=(OTHER_PROJECT,))
    both = new()
    both.step(ProjectsHeld(projects=(PROJECT, OTHER_PROJECT), statement=statement(OWN_KEY).data), now())
    meet(both, asker)
    both.step(PeerProved(certified=stranger, project=OTHER_PROJECT.project_id), now())
    both.step(received(greeting(stranger, projects=(OTHER_PROJECT.project_id,)), stranger.node), now())
    (answer,) = messages(
        both.step(received(greeting(asker, answer_wanted=True, seeks=8), asker.node), now(1)), Greeting
    )
    assert answer.introductions == ()


def test_whoever_is_introduced_is_knocked_at_and_believed_only_after_its_proof() -> None:
    machine = new()
    effects = meet(machine, PEERS[0], introductions=(PEERS[1].data, PEERS[0].data, b"rubbish"))
    (encountered,) = news(effects, Encountered)
    assert encountered.certified == PEERS[1] and encountered.introduced
    assert [view.node for view in machine.snapshot().peers] == [PEERS[0].node]


def test_a_peer_is_met_again_by_introduction_in_a_further_project_alone() -> None:
    """Else a client would not try again with one that it reached through a scheduler of the first project only."""
    projects = (PROJECT, OTHER_PROJECT)
    machine = new()
    machine.step(ProjectsHeld(projects=projects, statement=statement(OWN_KEY).data), now())
    in_both = statement(node_key(9), projects=projects)
    for peer in (in_both, PEERS[1]):
        meet(machine, peer)
    effects = meet(machine, PEERS[0], introductions=(in_both.data, PEERS[1].data))
    assert [one.certified for one in news(effects, Encountered) if one.introduced] == [in_both]
    machine.step(PeerProved(certified=in_both, project=OTHER_PROJECT.project_id), now())
    again = meet(machine, PEERS[2], introductions=(in_both.data,))
    assert not [one for one in news(again, Encountered) if one.introduced]
    machine.check()


def test_a_node_with_room_asks_one_neighbour_after_the_other_from_time_to_time() -> None:
    """Else an introduction whose handshake failed would never be heard of again."""
    assert {one.to for one in asked_by(among(3))} == {peer.node for peer in PEERS[:3]}
    assert len(asked_by(among(3))) == 4
    assert not asked_by(among(PEERS_SOUGHT)), "without room nobody is asked"


def asked_by(machine: Membership) -> list[Send]:
    """The greetings of a node whose peers are heard all the time, over four times SEEK_MS."""
    asked: list[Send] = []
    for ms in range(0, 4 * SEEK_MS + 1, HEARTBEAT_INTERVAL_MS):
        for view in machine.snapshot().peers:
            machine.step(received(Heartbeat(chosen=True), view.node), now(ms))
        asked += sends(beat(machine, ms), Greeting)
    return asked


def test_introductions_that_nobody_asked_for_are_not_read_and_a_bad_one_ends_the_reading() -> None:
    machine = new()
    meet(machine, PEERS[0])  # it was asked once, and has answered
    unasked = greeting(PEERS[0], introductions=(PEERS[1].data,))
    assert not news(machine.step(received(unasked, PEERS[0].node), now(1)), Encountered)
    other = new()
    assert not news(meet(other, PEERS[0], introductions=(b"rubbish", PEERS[1].data)), Encountered)


def test_others_are_sought_in_the_place_of_peers_that_went_away() -> None:
    machine = among(PEERS_SOUGHT)
    beat(machine, 1)
    assert not news(machine.step(Discovered(certified=PEERS[-1]), now(2)), Encountered)
    effects = beat(machine, PEER_AWAY_MS + 1)
    assert news(effects, PeerAway)
    assert [one.certified for one in news(effects, Encountered)] == [PEERS[-1]]


def test_an_older_statement_that_is_repeated_changes_nothing() -> None:
    machine = new()
    newer, older = (statement(node_key(10), sequence=number) for number in (5, 1))
    machine.step(Discovered(certified=newer), now())
    assert machine.step(Discovered(certified=older, heard_at="10.9.9.9:1"), now()) == ()


def test_more_introductions_than_allowed_are_refused() -> None:
    machine = new()
    effects = meet(machine, PEERS[0], introductions=tuple(peer.data for peer in PEERS[: INTRODUCTIONS_MAX + 1]))
    assert refusals(effects) == [Code.BODY_MALFORMED]


def test_a_node_seeks_so_many_members_and_takes_up_a_further_one_when_it_has_room_again() -> None:
    machine = new()
    told = [peer for peer in PEERS if news(machine.step(Discovered(certified=peer), now()), Encountered)]
    assert told == list(PEERS[:PEERS_SOUGHT])
    machine.step(EnrolmentFailed(node=PEERS[0].node, address="", sentence="shut"), now())
    (encountered,) = news(beat(machine, 1), Encountered)
    assert encountered.certified == PEERS[PEERS_SOUGHT]
    machine.check()


def test_strangers_take_no_room_from_members() -> None:
    machine = new()
    for number in range(2 * PEERS_SOUGHT):
        machine.step(Discovered(certified=statement(node_key(500 + number), projects=(OTHER_PROJECT,))), now())
    assert news(machine.step(Discovered(certified=PEERS[0]), now()), Encountered)


def test_a_node_that_has_all_the_peers_it_seeks_says_that_there_may_be_more_once() -> None:
    machine = new()
    told = [len(news(meet(machine, peer), MembersPartlyKnown)) for peer in PEERS[: PEERS_SOUGHT + 3]]
    assert told == [0] * (PEERS_SOUGHT - 1) + [1] + [0] * 3
    again = machine.step(ProjectsHeld(projects=(PROJECT,), statement=statement(OWN_KEY).data), now())
    assert len(news(again, MembersPartlyKnown)) == 1


# --- roll calls ----------------------------------------------------------------------------------------------------


def envelope(caller: int = 8, *, signer: int | None = None, **changes: Any) -> bytes:
    key = node_key(caller)
    fields: dict[str, Any] = {
        "version": 1,
        "project": PROJECT.project_id,
        "issued_ms": WALL_MS,
        "nodes": (),
        "statement": statement(key).data,
    }
    return sign_roll_call(RollCallStatement(**(fields | changes)), node_key(signer or caller))


def call(machine: Membership, data: bytes, ms: int = 0, sender: Certified = PEERS[0], **fields: Any) -> Effects:
    fields = {"project": PROJECT.project_id} | fields
    return machine.step(received(RollCall(envelope=data), sender.node, **fields), now(ms))


def test_a_holder_knocks_at_a_caller_that_it_does_not_know_and_passes_the_call_on() -> None:
    effects = call(among(5), envelope())
    (encountered,) = news(effects, Encountered)
    assert encountered.certified == statement(node_key(8)) and encountered.introduced
    assert {one.to for one in sends(effects, RollCall)} == {peer.node for peer in PEERS[1:5]}


def test_a_holder_greets_a_caller_that_is_its_peer() -> None:
    effects = call(among(5), envelope(13), sender=PEERS[0])  # the fourth of the peers
    (answer,) = sends(effects, Greeting)
    assert answer.to == PEERS[3].node and not news(effects, Encountered)
    assert {one.to for one in sends(effects, RollCall)} == {peer.node for peer in (PEERS[1], PEERS[2], PEERS[4])}


def test_a_node_without_a_source_or_not_among_the_wanted_only_passes_on() -> None:
    for machine, nodes in ((among(5, sources=()), ()), (among(5), (PEERS[9].node,))):
        effects = call(machine, envelope(nodes=nodes))
        assert len(sends(effects, RollCall)) == 4 and not news(effects) and not sends(effects, Greeting)
    assert news(call(among(5), envelope(nodes=(OWN,))), Encountered)


def test_a_call_is_answered_and_passed_on_once() -> None:
    machine = among(5)
    assert call(machine, envelope())
    assert call(machine, envelope(), sender=PEERS[1]) == ()
    later = envelope(issued_ms=WALL_MS + ROLL_CALL_PAUSE_MS)
    assert call(machine, later, ROLL_CALL_PAUSE_MS - 1) == (), "the same caller calls too soon"
    assert call(machine, later, ROLL_CALL_PAUSE_MS)
    assert call(machine, envelope(), 2 * ROLL_CALL_PAUSE_MS) == (), "an older call came late"


def test_while_the_memory_is_full_of_calls_that_live_new_ones_are_dropped_and_old_ones_stay_known() -> None:
    """Forgotten while they live, calls of more callers than are remembered would go round for ever."""
    heard = CallsHeard()
    calls = [Call(caller=peer, project=PROJECT.project_id, issued_ms=WALL_MS, nodes=()) for peer in callers()]
    taken = [heard.take(one, number.to_bytes(4), now()) for number, one in enumerate(calls)]
    assert taken == [True] * ROLL_CALLERS_MAX + [False] * (len(calls) - ROLL_CALLERS_MAX)
    assert not any(heard.take(one, b"again", now()) for one in calls)
    later_ms = ROLL_CALL_LIFE_MS + 2 * CLOCK_TOLERANCE_MS + 1
    assert heard.take(calls[-1], b"later", now(later_ms))


def callers() -> list[Certified]:
    return [msgspec.structs.replace(PEERS[0], node=number.to_bytes(32)) for number in range(ROLL_CALLERS_MAX + 3)]


def test_a_neighbour_brings_so_many_calls_and_later_others_again() -> None:
    heard = CallsHeard()
    calls = [Call(caller=peer, project=PROJECT.project_id, issued_ms=WALL_MS, nodes=()) for peer in callers()]
    taken = [heard.take(one, b"flood", now()) for one in calls[: ROLL_CALLS_OF_SENDER_MAX + 2]]
    assert taken == [True] * ROLL_CALLS_OF_SENDER_MAX + [False, False]
    assert heard.take(calls[-1], b"another", now())
    assert heard.take(calls[-2], b"flood", now(ROLL_CALL_WAIT_MS + 1))


def test_a_call_of_somebody_without_the_projects_hint_is_refused() -> None:
    data = envelope(statement=statement(node_key(8), projects=()).data)
    assert refusals(call(among(5), data)) == [Code.PROJECT_UNKNOWN]


def test_a_nodes_own_call_that_comes_back_is_dropped() -> None:
    assert call(among(5), envelope(1)) == ()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (envelope(signer=9), Code.SENDER_WRONG),
        (envelope(issued_ms=WALL_MS - 10 * ROLL_CALL_LIFE_MS), Code.TIME_OUTSIDE),
        (envelope(project=OTHER_PROJECT.project_id), Code.PROJECT_UNKNOWN),
        (envelope()[:-1], Code.STATEMENT_MALFORMED),
        (envelope(nodes=(b"short",)), Code.BODY_MALFORMED),
    ],
    ids=["signed by another", "of another time", "of another project", "cut", "malformed"],
)
def test_a_call_that_its_caller_did_not_make_here_and_now_is_refused_by_name(data: bytes, code: Code) -> None:
    effects = call(among(5), data)
    assert refusals(effects) == [code] and not messages(effects)


def test_a_call_for_a_project_that_its_sender_has_not_proved_is_refused() -> None:
    assert refusals(call(among(2), envelope(), sender=PEERS[5])) == [Code.PROJECT_UNKNOWN]
    assert refusals(call(among(2), envelope(), project=OTHER_PROJECT.project_id)) == [Code.PROJECT_UNKNOWN]


def test_the_schedulers_call_goes_to_every_neighbour_in_the_project() -> None:
    effects = among(5).step(RollCallWanted(project=PROJECT.project_id, envelope=b"signed"), now())
    assert {one.to for one in sends(effects, RollCall)} == {peer.node for peer in PEERS[:5]}
