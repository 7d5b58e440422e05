"""Membership: peers that were proved stay peers, strangers get nothing, and everybody knows who is within reach."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from protocol import kinds
from protocol.errors import Code
from protocol.ids import node_id
from protocol.limits import ENROL_RETRY_MS_MAX, HEARTBEAT_INTERVAL_MS, PEER_AWAY_MS, SOURCES_MAX, STRANGERS_MAX
from protocol.machines.contract import Effects, Put, SetTimer, TimerFired
from protocol.machines.events import (
    Discovered,
    DiscoveryLost,
    Encountered,
    EnrolmentFailed,
    PeerAdmitted,
    PeerAway,
    PeerProved,
    PeersAllowed,
    PeerSeen,
    ProjectsHeld,
    StatementMissing,
    StatementWanted,
)
from protocol.machines.membership import Membership
from protocol.wire.peers import Greeting, Heartbeat, SourceOffer
from tests.protocol.builders import (
    OTHER_PROJECT,
    PROJECT,
    messages,
    news,
    node_key,
    now,
    received,
    refusals,
    sends,
    statement,
    writes,
)

OWN_KEY, PEER_KEY = node_key(1), node_key(2)
OWN, PEER = node_id(OWN_KEY.public_key), node_id(PEER_KEY.public_key)
SAYS = statement(PEER_KEY)
SOURCES = {"open": frozenset([PROJECT.project_id]), "other": frozenset([OTHER_PROJECT.project_id])}
ADDRESS = "10.0.0.2:1456"


def new(rows: Any = None, joins: tuple[str, ...] = (), projects: Any = (PROJECT,)) -> tuple[Membership, Effects]:
    machine = Membership(OWN, "own", SOURCES, joins, rows or {})
    return machine, machine.step(ProjectsHeld(projects=projects, statement=statement(OWN_KEY).data), now())


def with_peer() -> tuple[Membership, Effects]:
    machine, _ = new()
    return machine, machine.step(PeerProved(certified=SAYS, project=PROJECT.project_id, heard_at=ADDRESS), now())


def greeting(**changes: Any) -> Greeting:
    fields: dict[str, Any] = {
        "statement": SAYS.data,
        "name": "peer",
        "projects": (PROJECT.project_id,),
        "sources": (SourceOffer(name="table", project=PROJECT.project_id),),
        "answer_wanted": False,
    }
    return Greeting(**(fields | changes))


def test_a_proved_node_is_stored_before_it_is_admitted_and_greeted_with_what_it_may_reach() -> None:
    _, effects = with_peer()
    (put,) = writes(effects[:1])
    assert isinstance(put, Put) and (put.kind, put.key) == (kinds.PEER, PEER)
    (admitted,) = news(effects, PeerAdmitted)
    assert (admitted.node, admitted.projects) == (PEER, (PROJECT.project_id,))
    assert admitted.addresses == (ADDRESS, *SAYS.statement.addresses)
    (hello,) = messages(effects, Greeting)
    assert hello.sources == (SourceOffer(name="open", project=PROJECT.project_id),) and hello.answer_wanted


def test_a_stored_peer_is_a_peer_again_after_a_restart_even_if_its_statement_has_expired() -> None:
    _, effects = with_peer()
    (put,) = writes(effects)
    assert isinstance(put, Put)
    machine, effects = new({kinds.PEER: [(put.key, put.value)]})
    assert [one.node for one in news(effects, PeerAdmitted)] == [PEER]
    assert machine.snapshot().peers[0].presence == "admitted"


def test_a_peer_of_a_project_whose_token_is_gone_is_not_admitted() -> None:
    _, effects = with_peer()
    (put,) = writes(effects)
    assert isinstance(put, Put)
    _, effects = new({kinds.PEER: [(put.key, put.value)]}, projects=(OTHER_PROJECT,))
    assert not news(effects, PeerAdmitted) and not sends(effects)


def test_a_stranger_is_listed_and_told_nothing() -> None:
    machine, _ = new()
    effects = machine.step(Discovered(certified=SAYS), now())
    assert [type(one) for one in news(effects)] == [Encountered] and not messages(effects)
    assert [one.node for one in machine.snapshot().strangers] == [PEER]
    machine.step(DiscoveryLost(node=PEER), now())
    assert machine.snapshot().strangers == ()


def test_strangers_are_bounded() -> None:
    machine, _ = new()
    for number in range(STRANGERS_MAX + 5):
        machine.step(Discovered(certified=statement(node_key(100 + number), projects=())), now())
    machine.check()
    assert len(machine.snapshot().strangers) == STRANGERS_MAX


def test_a_greeting_makes_present_and_its_offers_are_those_of_common_projects_once_each_with_names() -> None:
    machine, _ = with_peer()
    sources = (
        SourceOffer(name="table", project=PROJECT.project_id),
        SourceOffer(name="table", project=PROJECT.project_id),
        SourceOffer(name="secret", project=OTHER_PROJECT.project_id),
        SourceOffer(name="../etc", project=PROJECT.project_id),
        SourceOffer(name="", project=PROJECT.project_id),
        SourceOffer(name="n" * 65, project=PROJECT.project_id),
    )
    projects = (PROJECT.project_id, OTHER_PROJECT.project_id)
    effects = machine.step(received(greeting(sources=sources, projects=projects), PEER), now())
    (seen,) = news(effects, PeerSeen)
    assert seen.sources == (SourceOffer(name="table", project=PROJECT.project_id),)
    assert not messages(effects)


def test_a_greeting_with_too_many_sources_changes_nothing() -> None:
    machine, _ = with_peer()
    sources = tuple(SourceOffer(name=f"s{i}", project=PROJECT.project_id) for i in range(SOURCES_MAX + 1))
    effects = machine.step(received(greeting(sources=sources), PEER), now())
    assert refusals(effects) == [Code.BODY_MALFORMED] and machine.snapshot().peers[0].presence == "admitted"
    fewer = machine.step(received(greeting(sources=sources[1:]), PEER), now())
    assert len(news(fewer, PeerSeen)[0].sources) == SOURCES_MAX


def test_a_greeting_with_another_nodes_statement_is_refused() -> None:
    machine, _ = with_peer()
    for data, code in ((statement(node_key(3)).data, Code.SENDER_WRONG), (b"no", Code.STATEMENT_MALFORMED)):
        effects = machine.step(received(greeting(statement=data), PEER), now())
        assert refusals(effects) == [code] and not news(effects)


def test_a_newer_statement_replaces_the_older_and_an_older_one_never_the_newer() -> None:
    machine, _ = with_peer()
    newer = statement(PEER_KEY, sequence=5, addresses=("10.0.0.7:1",), curve=b"k" * 32)
    effects = machine.step(received(greeting(statement=newer.data), PEER), now())
    assert news(effects, PeerAdmitted)[0].curve_key == b"k" * 32 and writes(effects)
    for event in (
        received(greeting(), PEER),
        Discovered(certified=SAYS),
        PeerProved(certified=SAYS, project=PROJECT.project_id),
    ):
        machine.step(event, now())
        assert machine.snapshot().peers[0].addresses == (ADDRESS, "10.0.0.7:1")


def test_an_answer_is_given_only_where_it_is_wanted_so_that_greetings_come_to_rest() -> None:
    machine, _ = with_peer()
    (answer,) = messages(machine.step(received(greeting(answer_wanted=True), PEER), now()), Greeting)
    assert not answer.answer_wanted


def test_a_silent_peer_is_away_and_back_with_its_next_greeting() -> None:
    machine, _ = with_peer()
    machine.step(received(greeting(), PEER), now())
    beat = TimerFired(name="beat")
    assert [type(one) for one in messages(machine.step(beat, now(HEARTBEAT_INTERVAL_MS)))] == [Heartbeat]
    machine.step(received(Heartbeat(), PEER), now(HEARTBEAT_INTERVAL_MS))
    assert not news(machine.step(beat, now(PEER_AWAY_MS + 1)), PeerAway)
    effects = machine.step(beat, now(HEARTBEAT_INTERVAL_MS + PEER_AWAY_MS + 1))
    assert [one.node for one in news(effects, PeerAway)] == [PEER]
    assert messages(effects, Greeting)[0].answer_wanted  # it goes on knocking
    (asked,) = messages(machine.step(received(Heartbeat(), PEER), now(60_000)))
    assert asked.answer_wanted
    assert news(machine.step(received(greeting(), PEER), now(60_001)), PeerSeen)


def test_a_typed_address_is_asked_for_once_the_tokens_are_known_and_again_ever_later_until_it_is_joined() -> None:
    machine, effects = new(joins=(ADDRESS,))
    assert news(effects, StatementWanted) == [StatementWanted(address=ADDRESS)]
    pauses = []
    for _ in range(10):
        effects = machine.step(StatementMissing(address=ADDRESS, sentence="nobody answers"), now())
        (timer,) = [one for one in effects if isinstance(one, SetTimer)]
        pauses.append((timer.at_ns - now().boot_ns) // 1_000_000)
        wanted = machine.step(TimerFired(name=timer.name), now())
        assert news(wanted) == [StatementWanted(address=ADDRESS)]
    assert pauses == sorted(pauses) and pauses[-1] == ENROL_RETRY_MS_MAX
    (view,) = machine.snapshot().joins
    assert (view.state, view.attempts, view.problem) == ("asking", 10, "nobody answers")
    machine.step(Discovered(certified=SAYS, heard_at=ADDRESS, typed=True), now())
    assert machine.snapshot().joins[0].state == "knocking"
    machine.step(EnrolmentFailed(node=PEER, address=ADDRESS, sentence="no token in common"), now())
    assert machine.snapshot().joins[0].problem == "no token in common"
    machine.step(PeerProved(certified=SAYS, project=PROJECT.project_id, heard_at=ADDRESS), now())
    assert (machine.snapshot().joins[0].state, machine.snapshot().joins[0].problem) == ("joined", "")
    assert machine.step(StatementMissing(address=ADDRESS, sentence="gone"), now()) == ()


def test_the_own_address_typed_is_a_named_problem() -> None:
    machine, _ = new(joins=(ADDRESS,))
    machine.step(Discovered(certified=statement(OWN_KEY), heard_at=ADDRESS, typed=True), now())
    assert "this node itself" in machine.snapshot().joins[0].problem
    assert machine.snapshot().strangers == ()


def test_it_tells_through_whom_a_peer_speaks() -> None:
    machine, _ = with_peer()
    (seen,) = news(machine.step(received(greeting(), PEER, via=b"s" * 32), now()), PeerSeen)
    assert seen.via == b"s" * 32


def test_a_client_that_proved_itself_greets_first_and_is_greeted_all_the_same_when_it_does_not() -> None:
    """A greeting of ours would overtake the credential without which the client refuses it."""
    machine, _ = new()
    client = statement(PEER_KEY, addresses=())
    effects = machine.step(PeerProved(certified=client, project=PROJECT.project_id), now())
    assert news(effects, PeerAdmitted) and not messages(effects, Greeting)
    (asked,) = messages(machine.step(TimerFired(name="beat"), now(HEARTBEAT_INTERVAL_MS)), Greeting)
    assert asked.answer_wanted


def test_a_client_dials_each_of_its_schedulers_also_one_that_it_met_through_another_first() -> None:
    """Else it would be cut off with the first, though the second was typed for just that."""
    machine = Membership(OWN, "own", SOURCES, (ADDRESS,), {}, client=True)
    machine.step(ProjectsHeld(projects=(PROJECT,), statement=statement(OWN_KEY, addresses=()).data), now())
    machine.step(Discovered(certified=SAYS, heard_at=ADDRESS, typed=True), now())
    through_another = machine.step(PeerProved(certified=SAYS, project=PROJECT.project_id), now())
    (admitted,) = news(through_another, PeerAdmitted)
    assert admitted.addresses == () and machine.snapshot().joins[0].state != "joined"
    assert [one.address for one in news(through_another, StatementWanted)] == [ADDRESS]
    found = machine.step(Discovered(certified=SAYS, heard_at=ADDRESS, typed=True), now())
    (admitted,) = news(found, PeerAdmitted)
    assert ADDRESS in admitted.addresses and machine.snapshot().joins[0].state == "joined"
    assert not news(machine.step(Discovered(certified=SAYS, heard_at=ADDRESS, typed=True), now()), PeerAdmitted)


@pytest.mark.parametrize(("client", "hints", "again"), [(True, 2, True), (True, 1, False), (False, 2, False)])
def test_a_client_proves_itself_anew_to_a_peer_that_forgot_one_of_its_projects(
    client: bool, hints: int, again: bool
) -> None:
    """The hints of the peer show whether it still holds the project that its greeting lacks."""
    both = (PROJECT, OTHER_PROJECT)
    says = statement(PEER_KEY, projects=both[:hints])
    machine = Membership(OWN, "own", SOURCES, (), {}, client=client)
    machine.step(ProjectsHeld(projects=both, statement=statement(OWN_KEY).data), now())
    for project in both:
        machine.step(PeerProved(certified=says, project=project.project_id, heard_at=ADDRESS), now())
    effects = machine.step(received(greeting(statement=says.data, projects=(PROJECT.project_id,)), PEER), now())
    assert [one.again for one in news(effects, Encountered)] == ([True] if again else [])


def test_all_are_let_in_when_each_is() -> None:
    some: tuple[frozenset[bytes], ...] = (
        frozenset(),
        frozenset([b"a"]),
        frozenset([b"b", b"c"]),
        frozenset([b"a", b"b", b"c"]),
    )
    for banned, named, alone, nodes in product(some, (None, *some), (False, True), some):
        allowed = PeersAllowed(banned=banned, named=named, alone=alone)
        assert allowed.admits_all(dict.fromkeys(nodes).keys()) == all(map(allowed.admits, nodes))
